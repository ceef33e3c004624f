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

func TestLinkTreeSharesFilesAndFollowsNothing(t *testing.T) {
	root := t.TempDir()
	files := host.Files{Root: root}
	outside := filepath.Join(root, "outside")
	require.NoError(t, os.MkdirAll(filepath.Join(root, "from/a/b"), 0o755))
	require.NoError(t, os.Mkdir(outside, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, "from/a/b/file"), []byte("kept"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(outside, "secret"), nil, 0o600))
	require.NoError(t, os.Symlink(outside, filepath.Join(root, "from/link")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(root, "from/pipe"), 0o600))

	require.NoError(t, files.LinkTree("/from", "/to"))
	before, err := os.Stat(filepath.Join(root, "from/a/b/file"))
	require.NoError(t, err)
	after, err := os.Stat(filepath.Join(root, "to/a/b/file"))
	require.NoError(t, err)
	assert.True(t, os.SameFile(before, after))
	info, err := os.Lstat(filepath.Join(root, "to/link"))
	require.NoError(t, err)
	assert.Equal(t, os.ModeSymlink, info.Mode().Type())
	assert.NoFileExists(t, filepath.Join(root, "to/pipe"))

	// What replaces a file in one tree leaves the other as it was.
	require.NoError(t, files.Write("/from/a/b/file", []byte("new"), host.Attr{Mode: 0o644, UID: os.Getuid(), GID: os.Getgid()}))
	data, err := os.ReadFile(filepath.Join(root, "to/a/b/file"))
	require.NoError(t, err)
	assert.Equal(t, "kept", string(data))

	require.Error(t, files.LinkTree("/from", "/to"), "into a folder that is there")
	require.Error(t, files.LinkTree("/from/link", "/elsewhere"), "of a folder behind a link")
	require.Error(t, files.LinkTree("/nothing", "/elsewhere"))
}
