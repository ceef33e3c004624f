package host

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestACopyOfATreeSharesNothingWithIt(t *testing.T) {
	f := Files{Root: t.TempDir()}
	old := time.Unix(1_600_000_000, 0)
	for name, mode := range map[string]os.FileMode{"bin/tool": 0o755, "lib/a.py": 0o644, "pkgs/big": 0o644, "lib/pkgs/kept": 0o644} {
		file := f.Path("/env/" + name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(name), mode))
		require.NoError(t, os.Chtimes(file, old, old))
	}
	require.NoError(t, os.Symlink("/etc/shadow", f.Path("/env/lib/link")))
	require.NoError(t, f.CopyTree("/env", "/copy", "pkgs"))

	assert.False(t, f.Exists("/copy/pkgs"))
	assert.True(t, f.Exists("/copy/lib/pkgs/kept"), "only what is at the top is left out")
	info, err := f.Lstat("/copy/bin/tool")
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o755), info.Mode())
	assert.True(t, info.ModTime().Equal(old), "Python would take its byte code for another source's")
	leads, err := f.Readlink("/copy/lib/link")
	require.NoError(t, err)
	assert.Equal(t, "/etc/shadow", leads)
	require.NoError(t, os.WriteFile(f.Path("/copy/lib/a.py"), []byte("changed"), 0o644))
	data, err := f.Read("/env/lib/a.py")
	require.NoError(t, err)
	assert.Equal(t, "lib/a.py", string(data))
	assert.Error(t, f.CopyTree("/env", "/copy"), "there is something already")
}
