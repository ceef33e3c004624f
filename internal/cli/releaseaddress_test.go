package cli

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/installer"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/version"
)

func TestWhereReleasesAreLookedFor(t *testing.T) {
	const configured = "upgrade: {url: https://config.example.org/tljh}\n"
	for name, c := range map[string]struct {
		from, variable, config, stamped, last string
		url, by                               string
	}{
		"said now":             {from: "/media", variable: "https://v", config: configured, stamped: "https://s", last: "https://l", url: "/media", by: askedNow},
		"a variable":           {variable: "https://v", config: configured, stamped: "https://s", last: "https://l", url: "https://v", by: "by TLJH_RELEASE_URL"},
		"the config":           {config: configured, stamped: "https://s", last: "https://l", url: "https://config.example.org/tljh", by: "by upgrade.url in the config"},
		"the program":          {config: "upgrade: {}\n", stamped: "https://s", last: "https://l", url: "https://s", by: "built into this program"},
		"the last upgrade":     {last: "https://l", url: "https://l", by: "where the installed release came from"},
		"a config that is bad": {config: "upgrade: {url: nowhere}\n", last: "https://l", url: "https://l", by: "where the installed release came from"},
	} {
		t.Run(name, func(t *testing.T) {
			files := host.Files{Root: t.TempDir()}
			writeConfigInEffect(t, files, c.config)
			t.Setenv("TLJH_RELEASE_URL", c.variable)
			stamp(t, c.stamped)
			got, err := upgradeOptions{from: c.from}.releaseAddress(files, &installer.Releases{Live: &installer.Release{From: c.last}})
			require.NoError(t, err)
			assert.Equal(t, releaseAddress{c.url, c.by}, got)
		})
	}
}

func TestNobodyKnowsWhereReleasesAre(t *testing.T) {
	t.Setenv("TLJH_RELEASE_URL", "")
	stamp(t, "")
	_, err := upgradeOptions{}.releaseAddress(host.Files{Root: t.TempDir()}, nil)
	assert.ErrorContains(t, err, "no release address is set")
	assert.Contains(t, host.HintOf(err), "config set upgrade.url")
}

func TestWordsOfAnAddress(t *testing.T) {
	assert.Equal(t, "https://x", beside("https://x", askedNow))
	assert.Equal(t, "https://x (by TLJH_RELEASE_URL)", beside("https://x", "by TLJH_RELEASE_URL"))
	err := host.Hint(errors.New("nothing there"), "look elsewhere")
	assert.Equal(t, err, releaseAddress{"https://x", askedNow}.explain(err))
	explained := releaseAddress{"https://x", "by upgrade.url in the config"}.explain(err)
	assert.EqualError(t, explained, "nothing there (the address is set by upgrade.url in the config)")
	assert.Equal(t, "look elsewhere", host.HintOf(explained))
}

func writeConfigInEffect(t *testing.T, files host.Files, text string) {
	t.Helper()
	name := files.Path(layout.Applied)
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
}

// stamp lets the program have an address written into it while the test runs.
func stamp(t *testing.T, url string) {
	t.Helper()
	was := version.ReleaseURL
	version.ReleaseURL = url
	t.Cleanup(func() { version.ReleaseURL = was })
}
