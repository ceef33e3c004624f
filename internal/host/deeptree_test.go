package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A user can make a tree so deep that a descriptor for each level is more than a process may have.
func TestATreeDeeperThanDescriptorsIsRemoved(t *testing.T) {
	top := filepath.Join(t.TempDir(), "home")
	require.NoError(t, os.MkdirAll(filepath.Join(top, strings.Repeat("d/", 400)), 0o755))
	var usual unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &usual))
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 200, Max: usual.Max}))
	err := Files{}.RemoveTree(top)
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &usual))
	require.NoError(t, err)
	require.NoDirExists(t, top)
}
