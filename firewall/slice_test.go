package firewall

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// unified returns the root of control groups of version 2, and the group that this process is in.
func unified(t *testing.T) (root, own string) {
	t.Helper()
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var system unix.Statfs_t
		if unix.Statfs(root, &system) != nil || system.Type != unix.CGROUP2_SUPER_MAGIC {
			continue
		}
		text, err := os.ReadFile("/proc/self/cgroup")
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			if own, found := strings.CutPrefix(strings.TrimSpace(line), "0::"); found {
				return root, filepath.Join(root, own)
			}
		}
	}
	t.Skip("there are no control groups of version 2 here")
	return "", ""
}

// What runs in the slice is not reached, whoever it runs as.
func TestTheSliceIsNotReachedFromOutside(t *testing.T) {
	root, own := unified(t)
	folder := fmt.Sprintf("tljh-test-%d/users", os.Getpid())
	if err := os.MkdirAll(filepath.Join(root, folder), 0o755); err != nil {
		t.Skipf("no control group for this test: %v", err)
	}
	t.Cleanup(func() {
		_ = os.Remove(filepath.Join(root, folder))
		_ = os.Remove(filepath.Join(root, filepath.Dir(folder)))
	})
	enter := func(group string) error {
		return os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0)
	}
	if err := enter(filepath.Join(root, folder)); err != nil {
		t.Skipf("cannot enter a control group: %v", err)
	}
	defer func() { require.NoError(t, enter(own)) }()
	machine, visitor := connected(t)
	machine.listen(t, 0, "0.0.0.0:18999", 8)
	visitor.listen(t, 0, "0.0.0.0:80", 8)
	require.NoError(t, enter(own))
	machine.listen(t, 0, "0.0.0.0:19000", 8)
	slice := sliceAt(root, folder, 2)
	require.NotNil(t, slice)
	machine.do(func() {
		used, err := Apply(Plan{Slice: slice})
		require.NoError(t, err)
		require.NotNil(t, used.Slice, "this kernel does not match sockets by control group")
	})
	require.False(t, visitor.reaches(0, "10.77.0.1:18999", 300*time.Millisecond))
	require.True(t, visitor.reaches(0, "10.77.0.1:19000", 5*time.Second), "what is not in the slice")
	require.True(t, machine.reaches(0, "127.0.0.1:18999", 5*time.Second))
	require.NoError(t, enter(filepath.Join(root, folder)))
	require.True(t, machine.reaches(0, "10.77.0.2:80", 5*time.Second), "the way out")
}
