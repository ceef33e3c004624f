package hub

import (
	"io/fs"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/layout"
)

// Facts that both languages need are written down in both: neither can read the other's sources when it runs.
func TestGoAndPythonHaveTheSameFacts(t *testing.T) {
	for _, twin := range []struct{ file, name, want string }{
		{"configure.py", "HUB", "http://" + layout.HubAddress},
		{"configure.py", "PROXY", "http://" + layout.ProxyAddress},
		{"configure.py", "PROXY_API", "http://" + layout.ProxyAPIAddress},
		{"paths.py", "PROBE_USER", layout.ProbeUser},
		{"paths.py", "PROXY_TOKEN", layout.ProxyTokenVariable},
		{"spawner.py", "TMP", layout.ServersTemporary},
	} {
		source, err := fs.ReadFile(PackageFS(), twin.file)
		require.NoError(t, err)
		line := regexp.MustCompile(`(?m)^` + twin.name + ` = "([^"]*)"`).FindStringSubmatch(string(source))
		if assert.NotNil(t, line, "%s sets no %s", twin.file, twin.name) {
			assert.Equal(t, twin.want, line[1], "%s in %s", twin.name, twin.file)
		}
	}
}

// What checks, locks and tests the Python sources is for the Python that runs them.
func TestToolsAreForThePythonOfTheHub(t *testing.T) {
	for file, form := range map[string]string{
		"pyproject.toml":  `(?m)^target-version = "py(3)(\d+)"$`,
		"locks/pin.py":    `"python_version": "(\d+)\.(\d+)"`,
		"locks/remake.sh": `--python-version (\d+)\.(\d+) `,
		"locks/hub.txt":   `CPython (\d+)\.(\d+)\.\n`,
	} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		found := regexp.MustCompile(form).FindStringSubmatch(string(text))
		if assert.NotNil(t, found, "%s names no Python", file) {
			assert.Equal(t, layout.PythonMinor, found[1]+"."+found[2], file)
		}
	}
}
