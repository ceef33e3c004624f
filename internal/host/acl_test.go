package host_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
)

// as runs a shell script as somebody of no group but the one named.
func as(t *testing.T, dir string, uid, gid int, script string) error {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-euc", "umask 077; "+script)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return errors.New(string(out))
	}
	return nil
}

// A tree is really opened for those named and for no others, and what one writer makes another may change, whatever the umask.
func TestACLOpensATreeForGroups(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	const readers, writers, strangers = 40001, 40002, 40003
	dir, err := os.MkdirTemp("/var/tmp", "tljh-acl-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	files := host.Files{}
	shared := filepath.Join(dir, "shared")
	require.NoError(t, os.MkdirAll(filepath.Join(shared, "old"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(shared, "old", "notes"), []byte("kept"), 0o600))
	outside := filepath.Join(dir, "outside")
	require.NoError(t, os.WriteFile(outside, []byte("secret"), 0o600))
	require.NoError(t, os.Symlink(outside, filepath.Join(shared, "trap")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(shared, "pipe"), 0o600))

	acl := host.ACL{readers: host.Reader, writers: host.Writer}
	there, err := files.HasACL(shared, acl)
	if errors.Is(err, host.ErrNoACL) {
		t.Skip(err)
	}
	require.NoError(t, err)
	assert.False(t, there)
	if _, err := files.SetACL(shared, acl); errors.Is(err, host.ErrNoACL) {
		t.Skip(err)
	} else {
		require.NoError(t, err)
	}
	there, err = files.HasACL(shared, acl)
	require.NoError(t, err)
	assert.True(t, there)
	info, err := os.Stat(outside)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), info.Mode().Perm(), "a link was followed")

	require.NoError(t, as(t, shared, 50001, readers, "cat old/notes"))
	require.Error(t, as(t, shared, 50001, readers, "echo x > new"))
	require.Error(t, as(t, shared, 50001, readers, "echo x > old/notes"))
	require.NoError(t, as(t, shared, 50002, writers, "echo x > old/notes; mkdir -p a/b; echo one > a/b/c"))
	require.NoError(t, as(t, shared, 50003, writers, "echo two >> a/b/c"), "another writer")
	require.NoError(t, as(t, shared, 50001, readers, "cat a/b/c"))
	require.Error(t, as(t, shared, 50004, strangers, "ls ."))
	require.Error(t, as(t, dir, 50004, strangers, "cat shared/old/notes"))

	// Taken back, for what users made, too.
	_, err = files.SetACL(shared, host.ACL{writers: host.Reader})
	require.NoError(t, err)
	require.Error(t, as(t, dir, 50001, readers, "cat shared/a/b/c"))
	require.Error(t, as(t, shared, 50003, writers, "echo three >> a/b/c"))
	require.NoError(t, as(t, shared, 50003, writers, "cat a/b/c"))
}

// A user who fills the attributes of a file of their own leaves no room for a list: that keeps nobody else from being let in or out.
func TestAFullFileKeepsNoFolderFromBeingOpened(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	const writers, others = 40002, 40003
	dir, err := os.MkdirTemp("/var/tmp", "tljh-acl-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	files := host.Files{}
	shared := filepath.Join(dir, "shared")
	require.NoError(t, os.Mkdir(shared, 0o700))
	if _, err := files.SetACL(shared, host.ACL{writers: host.Writer}); errors.Is(err, host.ErrNoACL) {
		t.Skip(err)
	}
	require.NoError(t, as(t, shared, 50002, writers, "echo one > file; mkdir folder; echo two > folder/inner"))
	for _, name := range []string{"file", "folder"} {
		require.NoError(t, syscall.Removexattr(filepath.Join(shared, name), "system.posix_acl_access"))
		if !fill(t, filepath.Join(shared, name)) {
			t.Skip("attributes have no end on this file system")
		}
	}

	closed, err := files.SetACL(shared, host.ACL{writers: host.Reader, others: host.Writer, 40004: host.Reader})
	require.NoError(t, err)
	assert.Equal(t, []string{"file", "folder"}, closed)
	require.Error(t, as(t, shared, 50002, writers, "echo x > new"), "still a writer")
	require.NoError(t, as(t, shared, 50003, others, "echo three > new"))
	require.Error(t, as(t, shared, 50003, others, "cat file"))
	require.Error(t, as(t, shared, 50003, others, "ls folder"))
	require.NoError(t, as(t, shared, 50002, writers, "cat file folder/inner"), "its owner has it")
}

// Who could write to a file of somebody else's may have given it another name before the folder was closed, or be in a folder below.
func TestAClosedFolderIsClosedThroughout(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	const writers = 40002
	dir, err := os.MkdirTemp("/var/tmp", "tljh-acl-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	files := host.Files{}
	shared, home := filepath.Join(dir, "shared"), filepath.Join(dir, "home")
	require.NoError(t, os.Mkdir(shared, 0o700))
	require.NoError(t, os.Mkdir(home, 0o700))
	require.NoError(t, os.Chown(home, 50003, 50003))
	if _, err := files.SetACL(shared, host.ACL{writers: host.Writer}); errors.Is(err, host.ErrNoACL) {
		t.Skip(err)
	}
	require.NoError(t, as(t, shared, 50002, writers, "mkdir -p a/b; echo one > a/b/work; echo one > run; chmod u+x run"))
	require.NoError(t, as(t, dir, 50003, writers, "ln shared/a/b/work home/work; echo two >> home/work"))
	require.NoError(t, files.CloseTree(shared))
	require.Error(t, as(t, dir, 50003, writers, "cat home/work"))
	require.Error(t, as(t, dir, 50003, writers, "echo three >> home/work"))
	require.Error(t, as(t, filepath.Join(shared, "a"), 50003, writers, "ls ."), "from a folder below")
	info, err := os.Stat(filepath.Join(shared, "run"))
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
	assert.Equal(t, 50002, host.AttrOf(info).UID)

	_, err = files.SetACL(shared, host.ACL{writers: host.Reader})
	require.NoError(t, err)
	require.NoError(t, as(t, shared, 50003, writers, "cat a/b/work ../home/work run"), "opened again")
}

// fill takes what room there is for attributes, and tells whether there is an end to it.
func fill(t *testing.T, path string) bool {
	t.Helper()
	for i := range 100 {
		for size := 4000; size > 0; size /= 2 {
			err := syscall.Setxattr(path, fmt.Sprintf("user.%d.%d", i, size), make([]byte, size), 0)
			if size == 1 && err != nil {
				return true
			}
		}
	}
	return false
}

// ramfs keeps no access control lists.
func TestHandOverWithoutLists(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "ramfs", 0, ""); err != nil {
		t.Skip("nothing can be mounted here: ", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	files := host.Files{}
	tree := filepath.Join(dir, "tree")
	require.NoError(t, os.MkdirAll(filepath.Join(tree, "bin"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(tree, "bin", "pip"), nil, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(tree, "notes"), nil, 0o644))
	_, err := files.HasACL(tree, host.ACL{40001: host.Writer, host.Others: host.Reader})
	if err == nil {
		t.Skip("it keeps lists here")
	}
	require.ErrorIs(t, err, host.ErrNoACL)
	require.NoError(t, files.HandOver(tree, 40000, 40001, host.ACL{40001: host.Writer, host.Others: host.Reader}))
	for name, want := range map[string]fs.FileMode{"": fs.ModeDir | host.HandedOver, "bin": fs.ModeDir | host.HandedOver, "bin/pip": 0o775, "notes": 0o664} {
		info, err := os.Stat(filepath.Join(tree, name))
		require.NoError(t, err)
		assert.Equal(t, want, info.Mode(), name)
		attr := host.AttrOf(info)
		assert.Equal(t, []int{40000, 40001}, []int{attr.UID, attr.GID})
	}
	_, err = files.SetACL(tree, host.ACL{40001: host.Reader})
	require.ErrorIs(t, err, host.ErrNoACL)
}
