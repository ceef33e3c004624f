package installer

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/config"
	"tljh/internal/host"
	"tljh/internal/layout"
)

func newHistory(t *testing.T) History {
	t.Helper()
	files := host.Files{Root: t.TempDir()}
	require.NoError(t, os.MkdirAll(files.Path(layout.State), 0o700))
	now := time.Unix(0, 0)
	return History{Files: files, Now: func() time.Time { now = now.Add(time.Minute); return now }}
}

func TestHistoryKeepsEveryConfigOnce(t *testing.T) {
	h := newHistory(t)
	_, _, ok := h.Last()
	require.False(t, ok)
	for _, text := range []string{"a: 1\n", "a: 1\n", "a: 2\n", "a: 1\n"} {
		require.NoError(t, h.Add([]byte(text), "root", "config reload"))
	}
	versions, err := h.Versions()
	require.NoError(t, err)
	require.Len(t, versions, 3)
	for n, want := range []string{"a: 1\n", "a: 2\n", "a: 1\n"} {
		text, err := h.Text(versions[n])
		require.NoError(t, err)
		assert.Equal(t, want, string(text))
		assert.Equal(t, n+1, versions[n].Number)
	}
	info, err := h.Files.Lstat(versions[0].file())
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
}

// A line that a power cut left in the middle hides neither the versions before it nor those after.
func TestHistoryWithACutLine(t *testing.T) {
	h := newHistory(t)
	require.NoError(t, h.Add([]byte("a: 1\n"), "root", "install"))
	require.NoError(t, h.Files.Append(historyJournal(), []byte(`{"number": 2, "ti`), secret))
	require.NoError(t, h.Add([]byte("a: 3\n"), "root", "install"))
	versions, err := h.Versions()
	require.NoError(t, err)
	require.Len(t, versions, 2)
	_, text, ok := h.Last()
	require.True(t, ok)
	assert.Equal(t, "a: 3\n", string(text))
}

func TestHistoryThatWasTamperedWith(t *testing.T) {
	h := newHistory(t)
	require.NoError(t, h.Add([]byte("a: 1\n"), "root", "install"))
	versions, err := h.Versions()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(h.Files.Path(versions[0].file()), []byte("a: 2\n"), 0o600))
	_, err = h.Text(versions[0])
	require.ErrorContains(t, err, "was changed")
	_, _, ok := h.Last()
	assert.False(t, ok)
}

func TestGroupsOfSharedFolders(t *testing.T) {
	cfg, report := config.Parse("", []byte(`
users: {extra_user_groups: {course: [bob]}}
shared_folders:
  data: {read: [all], write: [admins, dan]}
  team: {read: [eve], write: ["group:course"]}
`))
	require.NoError(t, report.Err())
	groups, steps := sharedFolders(cfg)
	assert.Equal(t, []string{"course", "tljh-data-w", "tljh-team-r"}, groups)
	require.Len(t, steps, 2)
	assert.Equal(t, "/srv/tljh/data", steps[0].Path)
	assert.Equal(t, map[string]host.Access{"jupyterhub-users": host.Reader, "jupyterhub-admins": host.Writer, "tljh-data-w": host.Writer}, steps[0].Groups)
	assert.Equal(t, map[string]host.Access{"tljh-team-r": host.Reader, "course": host.Writer}, steps[1].Groups)
}

func TestSourcesOfTheConfig(t *testing.T) {
	environ := []string{"PIP_INDEX_URL=https://old.example.org", "HOME=/root"}
	assert.Equal(t, environ, withSources(environ, config.Sources{}))
	set := withSources(environ, config.Sources{Index: "https://new.example.org/simple", CA: "/etc/ca.pem"})
	assert.Contains(t, set, "HOME=/root")
	assert.Contains(t, set, "PIP_INDEX_URL=https://new.example.org/simple")
	assert.Contains(t, set, "UV_DEFAULT_INDEX=https://new.example.org/simple")
	assert.Contains(t, set, "SSL_CERT_FILE="+layout.Authorities)
	assert.NotContains(t, set, environ[0])
}
