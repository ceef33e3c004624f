package host_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"tljh/internal/host"
)

func TestTreesWithMountsStay(t *testing.T) {
	files := newFiles(t)
	require.NoError(t, os.MkdirAll(files.Path("/data/a b/deep"), 0o755))
	require.NoError(t, os.MkdirAll(files.Path("/database"), 0o755))
	require.NoError(t, os.MkdirAll(files.Path("/proc/self"), 0o755))
	table := "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n40 22 8:2 / /data/a\\040b rw - ext4 /dev/sdb1 rw\n41 22 8:3 / /database rw - ext4 /dev/sdc1 rw\nnonsense\n"
	require.NoError(t, os.WriteFile(files.Path("/proc/self/mountinfo"), []byte(table), 0o644))
	assert.Equal(t, []string{"/data/a b"}, files.Mounts("/data"))

	var mounted *host.MountedError
	for _, remove := range []func(string) error{files.RemoveWhole, files.RemoveAtOnce} {
		err := remove("/data")
		require.ErrorAs(t, err, &mounted)
		assert.Contains(t, host.HintOf(err), "umount /data/a b")
		require.Error(t, remove("/data/a b"))
		assert.True(t, files.Exists("/data/a b/deep"))
	}
	require.NoError(t, files.RemoveWhole("/data/a b/deep"), "below is not at")
}

func TestTreeIsGoneAtOnce(t *testing.T) {
	files := newFiles(t)
	for range 2 { // the second time over what the first would have left
		require.NoError(t, os.MkdirAll(files.Path("/tree/deep"), 0o755))
		require.NoError(t, os.MkdirAll(files.Path("/.tljh-gone-tree/of an interruption"), 0o755))
		require.NoError(t, files.RemoveAtOnce("/tree"))
		names, err := files.List("/")
		require.NoError(t, err)
		assert.Empty(t, names)
	}
	require.Error(t, files.RemoveAtOnce("/tree"))
	require.NoError(t, files.RemoveWhole("/tree"), "nothing there is no error")
}

func TestUnfinishedFilesAreKnownByTheirNames(t *testing.T) {
	files := newFiles(t)
	// As killed programs would leave them, of earlier releases, too.
	ours := []string{".tljh-gone-python", ".tljh-1234567890", ".tljh-new-1234567890", ".tljh-install.4711", ".tljh-link-ABCDEFGHIJKLMNOPQRSTUVWX27"}
	for _, name := range append(ours, ".tljh-", ".tljh-notes", ".tljh-12.bak", "tljh-12", "x.tljh-12") {
		require.NoError(t, os.WriteFile(files.Path("/"+name), nil, 0o644))
	}
	assert.ElementsMatch(t, ours, files.Unfinished("/"))
	assert.Empty(t, files.Unfinished("/none"))
	require.NoError(t, files.Sweep("/"))
	assert.Equal(t, []string{".tljh-install.4711"}, files.Unfinished("/"), "a script may be fetching just now")

	// Names are what Write makes them.
	watched := make(chan string, 1)
	require.NoError(t, os.Mkdir(files.Path("/busy"), 0o755))
	go func() {
		for {
			if names := files.Unfinished("/busy"); len(names) > 0 || files.Exists("/busy/end") {
				watched <- strings.Join(names, " ")
				return
			}
		}
	}()
	for n := 0; len(watched) == 0 && n < 2000; n++ {
		require.NoError(t, files.Write("/busy/file", []byte("x"), mine(0o600)))
	}
	require.NoError(t, files.Write("/busy/end", nil, mine(0o600)))
	assert.Contains(t, <-watched, ".tljh-new-")
}

func TestOnlyRegularFilesAreRead(t *testing.T) {
	files := newFiles(t)
	require.NoError(t, files.Write("/file", []byte("text"), mine(0o600)))
	require.NoError(t, files.Link("/file", "/link"))
	require.NoError(t, unix.Mkfifo(files.Path("/pipe"), 0o600))
	data, regular, err := files.ReadFile("/file")
	require.NoError(t, err)
	assert.True(t, regular)
	assert.Equal(t, "text", string(data))
	for _, p := range []string{"/link", "/pipe", "/", "/none"} {
		_, regular, err := files.ReadFile(p)
		require.NoError(t, err)
		assert.False(t, regular, p)
	}
}

func TestFoldersOnTheWayAreMade(t *testing.T) {
	files := newFiles(t)
	require.NoError(t, os.Mkdir(files.Path("/there"), 0o755))
	require.NoError(t, files.MkdirAll("/there/a/b", mine(0o700)))
	require.NoError(t, files.MkdirAll("/there/a/b", mine(0o750)))
	for p, mode := range map[string]os.FileMode{"/there": 0o755, "/there/a": 0o700, "/there/a/b": 0o700} {
		info, err := files.Lstat(p)
		require.NoError(t, err)
		assert.Equal(t, mode, info.Mode().Perm(), p)
	}
	assert.False(t, files.ReadOnly("/there"))
	assert.False(t, files.ReadOnly("/none"))
}

// Who waits for a lock whose holder removes the file must not end up with a lock that keeps nobody out.
func TestLockOfARemovedFileIsNone(t *testing.T) {
	files := newFiles(t)
	unlock, _, ok, err := files.Lock("/run/lock", "first")
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, files.RemoveTree("/run"))
	second, _, ok, err := files.Lock("/run/lock", "second")
	require.NoError(t, err)
	require.True(t, ok, "the file is another one")
	_, holder, ok, err := files.Lock("/run/lock", "third")
	require.NoError(t, err)
	assert.False(t, ok)
	assert.Equal(t, "second", holder)
	unlock()
	_, _, ok, err = files.Lock("/run/lock", "third")
	require.NoError(t, err)
	assert.False(t, ok, "the first one's end frees nothing")
	second()
}

func TestAccountsAndMembersAreRead(t *testing.T) {
	files := newFiles(t)
	_, err := files.Accounts()
	require.Error(t, err)
	require.NoError(t, os.Mkdir(files.Path("/etc"), 0o755))
	put := func(p, text string) { require.NoError(t, os.WriteFile(files.Path(p), []byte(text), 0o644)) }
	put("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\n+::::::\nhalf:x:1\nbob:x:1001:1002:JupyterHub user bob,room 5,,:/home/bob:\n")
	put("/etc/group", "empty:x:1:\nclass:x:2:bob,eve\nhalf:x\n")
	accounts, err := files.Accounts()
	require.NoError(t, err)
	assert.Equal(t, []host.Account{
		{Name: "root", Comment: "root", Home: "/root"}, {Name: "bob", UID: 1001, GID: 1002, Comment: "JupyterHub user bob", Home: "/home/bob"},
	}, accounts)
	for group, want := range map[string][]string{"empty": nil, "class": {"bob", "eve"}, "half": nil, "none": nil} {
		members, err := files.Members(group)
		require.NoError(t, err)
		assert.Equal(t, want, members, group)
	}
}

func TestProcessesAreFoundAndEnded(t *testing.T) {
	files := host.Files{}
	ancestry := files.Ancestry()
	require.NotEmpty(t, ancestry)
	assert.Equal(t, os.Getpid(), ancestry[0].PID)
	assert.Equal(t, os.Geteuid(), ancestry[0].UID)
	assert.False(t, ancestry[0].In("no-such.slice"))
	program, err := os.Executable()
	require.NoError(t, err)
	assert.Equal(t, program, ancestry[0].Program)

	// One goes when it is asked to, the other must be killed.
	polite, stubborn := exec.Command("sleep", "1000"), exec.Command("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done")
	out, err := stubborn.StdoutPipe()
	require.NoError(t, err)
	for _, cmd := range []*exec.Cmd{polite, stubborn} {
		require.NoError(t, cmd.Start())
	}
	_, err = out.Read(make([]byte, 6))
	require.NoError(t, err)
	pids := map[int]bool{polite.Process.Pid: true, stubborn.Process.Pid: true}
	require.NoError(t, files.End(t.Context(), func(p host.Process) bool { return pids[p.PID] }))
	for cmd, signal := range map[*exec.Cmd]syscall.Signal{polite: syscall.SIGTERM, stubborn: syscall.SIGKILL} {
		var exit *exec.ExitError
		require.True(t, errors.As(cmd.Wait(), &exit))
		assert.Equal(t, signal, exit.Sys().(syscall.WaitStatus).Signal())
	}
}

func TestProcessBelongsToItsSlices(t *testing.T) {
	for group, want := range map[string]bool{
		"0::/tljh.slice/tljh-users.slice/jupyter-bob.service\n":                                 true,
		"12:pids:/x\n1:name=systemd:/machine/tljh.slice/tljh-users.slice/jupyter-bob.service\n": true,
		"0::/tljh.slice\n":                         true,
		"0::/system.slice/my-tljh.slice.service\n": false,
		"0::/user.slice\n":                         false,
	} {
		assert.Equal(t, want, host.Process{Group: group}.In("tljh.slice"), group)
	}
}

// Who was killed a moment ago may have started something that still makes files.
func TestRemoveTreeWhileItIsFilled(t *testing.T) {
	files := newFiles(t)
	tree := files.Path("/tree/deep")
	require.NoError(t, os.MkdirAll(tree, 0o755))
	begun, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for n := range 3000 { // until the folder has gone for good
			if os.WriteFile(filepath.Join(tree, fmt.Sprint(n)), nil, 0o600) != nil {
				return
			}
			if n == 500 {
				close(begun)
			}
		}
	}()
	<-begun
	require.NoError(t, files.RemoveTree("/tree"))
	<-ended
	require.NoDirExists(t, files.Path("/tree"))
}
