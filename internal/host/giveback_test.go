package host_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
)

const them = 65534

func ownerOf(t *testing.T, p string) int {
	t.Helper()
	info, err := os.Lstat(p)
	require.NoError(t, err)
	return host.AttrOf(info).UID
}

// sudo -E leaves files of root's in an admin's home. They become the admin's, and nothing else does.
func TestGiveBack(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	root := t.TempDir()
	files := host.Files{Root: root}
	home := filepath.Join(root, "home/bob")
	put := func(name string, mode os.FileMode) string {
		p := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
		require.NoError(t, os.WriteFile(p, []byte("x"), 0o600))
		require.NoError(t, os.Chmod(p, mode))
		return p
	}
	environments, wheel := put("home/bob/.conda/environments.txt", 0o644), put("home/bob/.cache/pip/http/a/b", 0o600)
	setuid, notes := put("home/bob/.cache/setuid", 0o755|os.ModeSetuid), put("home/bob/notes.txt", 0o644)
	shadow := put("etc/shadow", 0o600)
	theirs := put("home/bob/.local/share/theirs", 0o644)
	require.NoError(t, os.Chown(home, them, them))
	require.NoError(t, os.Lchown(theirs, 1234, 1234))
	// Ways to something of the system's.
	require.NoError(t, os.Link(shadow, filepath.Join(home, ".cache/hard")))
	require.NoError(t, os.Symlink(filepath.Join(root, "etc"), filepath.Join(home, ".cache/soft")))
	require.NoError(t, os.Symlink(filepath.Join(root, "etc"), filepath.Join(home, ".npm")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(home, ".cache/pipe"), 0o600))
	// conda's own second names are within.
	require.NoError(t, os.MkdirAll(filepath.Join(home, ".conda/envs/geo"), 0o755))
	package1 := put("home/bob/.conda/pkgs/file", 0o644)
	require.NoError(t, os.Link(package1, filepath.Join(home, ".conda/envs/geo/file")))

	names := []string{".cache", ".conda", ".config", ".local", ".npm"}
	owner := host.Attr{UID: them, GID: them}
	would, err := files.GiveBack("/home/bob", owner, names, true)
	require.NoError(t, err)
	assert.Equal(t, 0, ownerOf(t, environments), "it was only looked at")
	given, err := files.GiveBack("/home/bob", owner, names, false)
	require.NoError(t, err)
	assert.Equal(t, would, given)
	assert.Equal(t, names[:2], given.Names[:2])
	assert.Equal(t, 3, given.Left, "the second name of shadow, the program with root's rights, the pipe")
	for _, p := range []string{environments, wheel, package1, filepath.Join(home, ".conda/envs/geo/file"), filepath.Join(home, ".conda"), filepath.Join(home, ".cache/pip/http/a"), filepath.Join(home, ".cache/soft")} {
		assert.Equal(t, them, ownerOf(t, p), p)
	}
	for _, p := range []string{shadow, setuid, notes, filepath.Join(root, "etc"), filepath.Join(home, ".cache/pipe")} {
		assert.Equal(t, 0, ownerOf(t, p), p)
	}
	assert.Equal(t, 1234, ownerOf(t, theirs))
	again, err := files.GiveBack("/home/bob", owner, names, false)
	require.NoError(t, err)
	assert.Equal(t, host.Returned{Left: 3}, again)

	// A home that is not theirs, a link in its place, and none at all.
	require.NoError(t, os.Chown(home, 4321, 4321))
	require.NoError(t, os.Lchown(environments, 0, 0))
	require.NoError(t, os.Symlink("bob", filepath.Join(root, "home/link")))
	nothing, err := files.GiveBack("/home/bob", owner, names, false)
	require.NoError(t, err)
	assert.Equal(t, host.Returned{}, nothing)
	_, err = files.GiveBack("/home/link", owner, names, false)
	require.Error(t, err)
	nothing, err = files.GiveBack("/home/nobody", owner, names, false)
	require.NoError(t, err)
	assert.Equal(t, host.Returned{}, nothing)
	assert.Equal(t, 0, ownerOf(t, environments))
}
