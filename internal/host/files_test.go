package host_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"tljh/internal/host"
)

func newFiles(t *testing.T) host.Files {
	t.Helper()
	return host.Files{Root: t.TempDir()}
}

func mine(mode fs.FileMode) host.Attr {
	return host.Attr{Mode: mode, UID: os.Geteuid(), GID: os.Getegid()}
}

func attrOf(t *testing.T, files host.Files, p string) host.Attr {
	t.Helper()
	info, err := files.Lstat(p)
	require.NoError(t, err)
	return host.AttrOf(info)
}

func text(t *testing.T, files host.Files, p string) string {
	t.Helper()
	data, err := files.Read(p)
	require.NoError(t, err)
	return string(data)
}

// names lists all that is in the root: no temporary file may stay.
func names(t *testing.T, files host.Files) []string {
	t.Helper()
	found, err := files.List("/")
	require.NoError(t, err)
	return found
}

func TestModesHoldUnderAnyUmask(t *testing.T) {
	for _, umask := range []int{0, 0o777, 0o077} {
		t.Run(fmt.Sprintf("%#o", umask), func(t *testing.T) {
			files := newFiles(t)
			defer syscall.Umask(syscall.Umask(umask))
			for mode, p := range map[fs.FileMode]string{0o600: "/a", 0o640: "/b", 0o755: "/c", 0o755 | fs.ModeSetuid: "/d"} {
				require.NoError(t, files.Write(p, []byte("x"), mine(mode)))
				assert.Equal(t, mine(mode), attrOf(t, files, p))
			}
			for mode, p := range map[fs.FileMode]string{0o700: "/e", 0o755: "/f", 0o710 | fs.ModeSetgid: "/g", 0o777 | fs.ModeSticky: "/h"} {
				require.NoError(t, files.Mkdir(p, mine(mode)))
				assert.Equal(t, mine(mode), attrOf(t, files, p))
			}
			require.NoError(t, files.Append("/i", []byte("x"), mine(0o600)))
			assert.Equal(t, mine(0o600), attrOf(t, files, "/i"))
		})
	}
}

func TestOwnersAreSet(t *testing.T) {
	needRoot(t)
	files := newFiles(t)
	nobody := host.Attr{Mode: 0o750 | fs.ModeSetgid, UID: 65534, GID: 65533}
	require.NoError(t, files.Write("/file", nil, nobody))
	require.NoError(t, files.Mkdir("/dir", nobody))
	assert.Equal(t, nobody, attrOf(t, files, "/file"), "the set-group bit survives the change of owner")
	assert.Equal(t, nobody, attrOf(t, files, "/dir"))
	require.NoError(t, files.Mkdir("/dir", mine(0o700)))
	assert.Equal(t, mine(0o700), attrOf(t, files, "/dir"), "an existing folder is put right")
}

func TestWriteReplacesAndLeavesNothingElse(t *testing.T) {
	files := newFiles(t)
	require.NoError(t, files.Write("/file", []byte("old"), mine(0o600)))
	require.NoError(t, files.Write("/file", []byte("new"), mine(0o644)))
	assert.Equal(t, "new", text(t, files, "/file"))
	assert.Equal(t, []string{"file"}, names(t, files))

	err := files.Write("/no/such/folder", nil, mine(0o600))
	require.ErrorIs(t, err, fs.ErrNotExist)
	assert.Equal(t, "cannot write /no/such/folder: no such file or directory", err.Error())

	require.NoError(t, files.Mkdir("/dir", mine(0o700)))
	require.Error(t, files.Write("/dir", []byte("x"), mine(0o600)), "a folder is not replaced by a file")
	assert.Equal(t, []string{"dir", "file"}, names(t, files))
}

// A user who can put a link where root is about to write must not gain anything by it.
func TestLinksAreNotFollowed(t *testing.T) {
	files := newFiles(t)
	require.NoError(t, files.Write("/victim", []byte("precious"), mine(0o600)))
	require.NoError(t, files.Mkdir("/victims", mine(0o700)))
	require.NoError(t, files.Write("/victims/file", []byte("precious"), mine(0o600)))
	link := func(target, p string) { require.NoError(t, os.Symlink(files.Path(target), files.Path(p))) }

	link("/victim", "/write")
	require.NoError(t, files.Write("/write", []byte("new"), mine(0o644)))
	info, err := files.Lstat("/write")
	require.NoError(t, err)
	assert.True(t, info.Mode().IsRegular(), "the link itself is replaced")

	link("/victim", "/append")
	require.Error(t, files.Append("/append", []byte("new"), mine(0o644)))
	_, err = files.OpenAppend("/append", mine(0o644))
	require.Error(t, err)

	link("/victims", "/mkdir")
	require.Error(t, files.Mkdir("/mkdir", mine(0o777)))

	link("/victim", "/lock")
	_, _, _, err = files.Lock("/lock", "note")
	require.Error(t, err)

	require.NoError(t, files.Mkdir("/tree", mine(0o700)))
	link("/victims", "/tree/link")
	require.NoError(t, files.RemoveTree("/tree"))
	assert.False(t, files.Exists("/tree"))

	assert.Equal(t, "precious", text(t, files, "/victim"))
	assert.Equal(t, "precious", text(t, files, "/victims/file"))
	assert.Equal(t, mine(0o600), attrOf(t, files, "/victim"))
	assert.Equal(t, mine(0o700), attrOf(t, files, "/victims"))
}

func TestAppendGoesToTheEndOfRegularFilesOnly(t *testing.T) {
	files := newFiles(t)
	require.NoError(t, files.Append("/file", []byte("a\n"), mine(0o600)))
	require.NoError(t, files.Append("/file", []byte("b\n"), mine(0o600)))
	assert.Equal(t, "a\nb\n", text(t, files, "/file"))

	require.NoError(t, unix.Mkfifo(files.Path("/pipe"), 0o600))
	reader, err := os.OpenFile(files.Path("/pipe"), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	require.NoError(t, err)
	defer reader.Close()
	require.ErrorContains(t, files.Append("/pipe", []byte("a"), mine(0o600)), "not a regular file")

	require.NoError(t, files.Write("/open", []byte("a\n"), mine(0o644)))
	file, err := files.OpenAppend("/open", mine(0o600))
	require.NoError(t, err)
	_, err = file.WriteString("b\n")
	require.NoError(t, errors.Join(err, file.Close()))
	assert.Equal(t, "a\nb\n", text(t, files, "/open"))
	assert.Equal(t, mine(0o600), attrOf(t, files, "/open"), "the mode is put right")
}

func TestHardLink(t *testing.T) {
	files := newFiles(t)
	require.NoError(t, files.Write("/file", []byte("x"), mine(0o755)))
	require.NoError(t, files.Mkdir("/dir", mine(0o755)))
	require.NoError(t, files.Write("/dir/name", []byte("what was there"), mine(0o600)))
	for range 2 { // the second time it is that file already
		require.NoError(t, files.HardLink("/file", "/dir/name"))
		file, err := files.Lstat("/file")
		require.NoError(t, err)
		name, err := files.Lstat("/dir/name")
		require.NoError(t, err)
		assert.True(t, os.SameFile(file, name))
		list, err := files.List("/dir")
		require.NoError(t, err)
		assert.Equal(t, []string{"name"}, list, "nothing unfinished is left")
	}
	require.ErrorIs(t, files.HardLink("/nothing", "/dir/name"), fs.ErrNotExist)
	require.Error(t, files.HardLink("/file", "/dir"))
	assert.ElementsMatch(t, []string{"dir", "file"}, names(t, files))
}

func TestLinkReplacesInOneStep(t *testing.T) {
	files := newFiles(t)
	require.NoError(t, files.Link("a", "/link"))
	stop := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := files.Readlink("/link"); err != nil {
				t.Errorf("the link was away: %v", err)
				return
			}
		}
	})
	var writers sync.WaitGroup
	for n := range 4 {
		writers.Go(func() {
			for range 25 {
				assert.NoError(t, files.Link(fmt.Sprint(n), "/link"))
			}
		})
	}
	writers.Wait()
	close(stop)
	reader.Wait()
	assert.Equal(t, []string{"link"}, names(t, files))
}

func TestRemoveAndRename(t *testing.T) {
	files := newFiles(t)
	require.NoError(t, files.Remove("/nothing"))
	require.NoError(t, files.RemoveTree("/nothing/at/all"))
	require.NoError(t, files.Write("/a", []byte("x"), mine(0o600)))
	require.NoError(t, files.Rename("/a", "/b"))
	assert.Equal(t, []string{"b"}, names(t, files))
	require.NoError(t, files.Remove("/b"))
	require.ErrorIs(t, files.Rename("/a", "/b"), fs.ErrNotExist)
	require.NoError(t, files.Mkdir("/dir", mine(0o700)))
	require.NoError(t, files.Write("/dir/file", nil, mine(0o600)))
	require.Error(t, files.Remove("/dir"), "a folder that is not empty stays")
	require.NoError(t, files.Sync("/dir"))
	list, err := files.List("/nowhere")
	require.NoError(t, err)
	assert.Empty(t, list)
}

func playLocker(files host.Files) {
	unlock, _, ok, err := files.Lock("/run/lock", "the other process")
	if err != nil || !ok {
		os.Exit(1)
	}
	defer unlock()
	_ = files.Write("/locked", nil, mine(0o600))
	for {
		time.Sleep(time.Hour) // until it is killed
	}
}

func TestLockHoldsBetweenProcesses(t *testing.T) {
	files := newFiles(t)
	other := play(t, "locker", "TLJH_TEST_ROOT="+files.Root)
	eventually(t, "the other process has the lock", func() bool { return files.Exists("/locked") })

	_, holder, ok, err := files.Lock("/run/lock", "we")
	require.NoError(t, err)
	assert.False(t, ok)
	assert.Equal(t, "the other process", holder)

	require.NoError(t, other.Process.Kill())
	var unlock func()
	eventually(t, "the lock of a killed process is free", func() bool {
		unlock, _, ok, err = files.Lock("/run/lock", "we")
		return err == nil && ok
	})
	_, holder, ok, _ = files.Lock("/run/lock", "again")
	assert.False(t, ok, "nor can we take it twice")
	assert.Equal(t, "we", holder)
	unlock()
	unlock, _, ok, err = files.Lock("/run/lock", "again")
	require.NoError(t, err)
	assert.True(t, ok)
	unlock()
	assert.Equal(t, mine(0o600), attrOf(t, files, "/run/lock"))
}

func TestFreeSpaceOfWhatIsNotThereYet(t *testing.T) {
	files := newFiles(t)
	there, inodes, err := files.FreeSpace("/")
	require.NoError(t, err)
	assert.Positive(t, there)
	assert.Positive(t, inodes)
	notThere, _, err := files.FreeSpace("/not/there/yet")
	require.NoError(t, err)
	assert.InDelta(t, there, notThere, 1<<30)

	var st unix.Statfs_t
	if unix.Statfs("/proc", &st) == nil && st.Files == 0 {
		_, inodes, err := (host.Files{}).FreeSpace("/proc")
		require.NoError(t, err)
		assert.Equal(t, uint64(math.MaxUint64), inodes, "a file system that counts no inodes has enough")
	}
}

func TestAppendLeavesNoPartOnAFullDisk(t *testing.T) {
	files := smallDisk(t)
	require.NoError(t, files.Append("/journal", []byte("a whole line\n"), mine(0o600)))
	require.ErrorIs(t, files.Append("/journal", bytes.Repeat([]byte("x"), 1<<20), mine(0o600)), syscall.ENOSPC)
	require.NoError(t, files.Append("/journal", []byte("another\n"), mine(0o600)))
	data, err := files.Read("/journal")
	require.NoError(t, err)
	require.Equal(t, "a whole line\nanother\n", string(data))
}

// smallDisk mounts a file system of 256 kB.
func smallDisk(t *testing.T) host.Files {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("cannot mount here: %v", err)
	}
	t.Cleanup(func() { assert.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return host.Files{Root: dir}
}

func TestFullDiskLeavesTheOldFile(t *testing.T) {
	files := smallDisk(t)
	require.NoError(t, files.Write("/file", []byte("old"), mine(0o600)))
	err := files.Write("/file", bytes.Repeat([]byte("x"), 512<<10), mine(0o644))
	require.ErrorIs(t, err, syscall.ENOSPC)
	assert.Equal(t, "cannot write /file: no space left on device", err.Error())
	assert.Equal(t, "old", text(t, files, "/file"))
	assert.Equal(t, mine(0o600), attrOf(t, files, "/file"))
	assert.Equal(t, []string{"file"}, names(t, files))
	require.NoError(t, files.Write("/other", bytes.Repeat([]byte("x"), 128<<10), mine(0o644)), "the half of a file takes no room")
}

func TestModeBitsAreAsChmodTakesThem(t *testing.T) {
	for bits := uint32(0); bits <= 0o7777; bits++ {
		require.Equal(t, bits, host.BitsOf(host.ModeOf(bits)))
	}
	assert.Equal(t, 0o710|fs.ModeSetgid, host.ModeOf(0o2710))
}

func TestHashAndGroup(t *testing.T) {
	files := newFiles(t)
	require.NoError(t, os.Mkdir(filepath.Join(files.Root, "etc"), 0o755))
	require.NoError(t, files.Write("/etc/group", []byte("root:x:0:\nstudents:x:1200:a,b\nodd\nbad:x:y:\n"), mine(0o644)))
	id, err := files.GroupID("students")
	require.NoError(t, err)
	assert.Equal(t, 1200, id)
	_, err = files.GroupID("student")
	require.ErrorIs(t, err, host.ErrNoGroup)
	_, err = files.GroupID("bad")
	require.Error(t, err)
	require.NotErrorIs(t, err, host.ErrNoGroup)

	require.NoError(t, files.Write("/empty", nil, mine(0o644)))
	sum, err := files.SHA256("/empty")
	require.NoError(t, err)
	assert.Equal(t, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", sum)
}

func TestWhatKilledProgramsWereWritingIsSweptAway(t *testing.T) {
	files := host.Files{Root: t.TempDir()}
	for _, name := range []string{"/.tljh-new-123", "/.tljh-install.abc", "/kept"} {
		require.NoError(t, os.WriteFile(files.Path(name), nil, 0o600))
	}
	require.NoError(t, files.Sweep("/"))
	require.NoError(t, files.Sweep("/nosuch"))
	names, err := files.List("/")
	require.NoError(t, err)
	assert.Equal(t, []string{".tljh-install.abc", "kept"}, names)
}
