package installer

import (
	"os"
	"path"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
	"tljh/internal/host/hosttest"
	"tljh/internal/layout"
)

// A default config in the place of one that was deleted would take admins, limits and the authenticator away.
func TestAConfigThatWasDeletedIsNotReplacedByADefaultOne(t *testing.T) {
	files := host.Files{Root: t.TempDir()}
	h := &host.Host{Files: files, Runner: &hosttest.Runner{}}
	file := ConfigFile{Host: h, Path: layout.Config, Now: time.Now}
	for _, dir := range []string{path.Dir(layout.Config), layout.State, layout.Hub} {
		require.NoError(t, os.MkdirAll(files.Path(dir), 0o700))
	}
	first, err := file.Read()
	require.NoError(t, err, "a hub that never had one")
	assert.Empty(t, first)

	own := host.Attr{Mode: 0o600, UID: os.Getuid(), GID: os.Getgid()}
	require.NoError(t, files.Write(layout.Applied, []byte("{}\n"), own))
	_, err = file.Read()
	require.EqualError(t, err, layout.Config+" is missing, and nothing was changed")
	assert.Contains(t, host.HintOf(err), "cp "+layout.Applied)

	require.NoError(t, (History{Files: files, Now: time.Now}).Add([]byte("users: {admin: [alice]}\n"), "root", "install"))
	for name, read := range map[string]func() error{
		"config":  func() error { _, err := file.Read(); return err },
		"install": func() error { _, err := Gather(t.Context(), h, Options{}); return err },
		"more":    func() error { _, err := Gather(t.Context(), h, Options{Admins: []Admin{{Name: "bob"}}}); return err },
	} {
		err := read()
		require.EqualError(t, err, layout.Config+" is missing, and nothing was changed", name)
		assert.Equal(t, "sudo tljh-install config revert brings back the last one that worked", host.HintOf(err), name)
		assert.IsType(t, &BadInput{}, err, name)
	}
	_, err = file.ReadAny()
	require.NoError(t, err, "revert has to go on")
	require.NoError(t, files.Write(layout.Config, []byte("\n"), own))
	_, err = file.Read()
	require.EqualError(t, err, layout.Config+" is empty, and nothing was changed")
	require.NoError(t, files.Write(layout.Config, []byte("{}\n"), own))
	_, err = file.Read()
	require.NoError(t, err, "one that says nothing on purpose")
	require.NoError(t, files.Remove(layout.Config))
	_, err = ConfigFile{Host: h, Path: "/other.yaml"}.Read()
	require.NoError(t, err)
	require.NoError(t, files.Write("/given.yaml", []byte("{}\n"), own))
	_, err = Gather(t.Context(), h, Options{ConfigFile: files.Path("/given.yaml")})
	require.NoError(t, err, "a config that is given takes its place")
}
