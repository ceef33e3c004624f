package report

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"tljh/internal/host"
)

func newTestLog(clock *clockwork) *Log {
	log := NewLog()
	log.now = clock.Now
	return log
}

func logged(t *testing.T, files host.Files) string {
	t.Helper()
	data, err := files.Read("/installer.log")
	require.NoError(t, err)
	return string(data)
}

func TestLogGolden(t *testing.T) {
	files, clock := host.Files{Root: t.TempDir()}, newClock()
	log := newTestLog(clock)
	log.Redact("s3cret")
	log.Command(host.Command{Argv: []string{"useradd", "--comment", "two words", "it's", ""}}, host.Result{Took: 20 * time.Millisecond}, nil)
	log.Command(host.Command{Argv: []string{"uv", "pip", "install", "https://me:s3cret@index/simple"}},
		host.Result{ExitCode: 1, Output: []byte("fetching with s3cret\n\x1b[31merror\x1b[0m: no space left\n"), Took: 3 * time.Second}, &host.ExitError{Code: 1})
	log.Command(host.Command{Argv: []string{"cat", "/secret"}, Quiet: true}, host.Result{Output: []byte("hidden")}, nil)
	log.Command(host.Command{Argv: []string{"nope"}}, host.Result{}, errors.New("cannot run nope: no such program"))
	log.Command(host.Command{Argv: []string{"sleep"}}, host.Result{ExitCode: -1, Took: time.Minute}, &host.ExitError{Code: -1, Signal: "killed"})
	require.NoError(t, log.Attach(files, "/installer.log"))
	play(newReporter(clock, log), clock)
	require.NoError(t, log.Close())
	require.NoError(t, log.Close())
	golden(t, "log", logged(t, files))
}

func TestLogIsPrivateAndAppended(t *testing.T) {
	files := host.Files{Root: t.TempDir()}
	require.NoError(t, os.WriteFile(files.Path("/installer.log"), []byte("earlier\n"), 0o644))
	defer syscall.Umask(syscall.Umask(0))
	log := NewLog()
	require.NoError(t, log.Attach(files, "/installer.log"))
	log.Event(Event{Kind: KindNote, Message: "now", Time: newClock().Now()})
	require.NoError(t, log.Attach(files, "/elsewhere.log"), "it stays where it is")
	require.NoError(t, log.Close())
	assert.Equal(t, "earlier\n2027-03-01T12:00:00.000Z note         now\n", logged(t, files))
	info, err := files.Lstat("/installer.log")
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
	assert.False(t, files.Exists("/elsewhere.log"))
}

func TestLogIsWrittenAtOnce(t *testing.T) {
	files := host.Files{Root: t.TempDir()}
	log := NewLog()
	log.Event(Event{Kind: KindNote, Message: "before"})
	assert.False(t, files.Exists("/installer.log"), "nothing is touched before the folder is there")
	require.NoError(t, log.Attach(files, "/installer.log"))
	assert.Contains(t, logged(t, files), "before")
	log.Event(Event{Kind: KindNote, Message: "after"})
	assert.Contains(t, logged(t, files), "after", "should this process be killed now")
}

func TestLogThatCannotBeOpened(t *testing.T) {
	files := host.Files{Root: t.TempDir()}
	log := NewLog()
	require.ErrorContains(t, log.Attach(files, "/no/folder/installer.log"), "cannot keep a log")
	require.NoError(t, os.Symlink("/etc/passwd", files.Path("/installer.log")))
	require.Error(t, log.Attach(files, "/installer.log"), "links are not followed")
	log.Event(Event{Kind: KindNote, Message: "still alive"})
	require.NoError(t, log.Attach(files, "/other.log"))
	require.NoError(t, log.Close())
}

func TestNoFormOfASecretIsLogged(t *testing.T) {
	for _, secret := range []string{`pä ss"wo\rd`, "it's", "a b+c/d", "line\nfeed", "x"} {
		log := NewLog()
		if !strings.Contains(secret, "\n") {
			log.Event(Event{Kind: KindNote, Message: "held: " + secret})
		}
		log.Redact("")
		log.Redact(secret)
		quoted, err := encode(Event{Message: secret})
		require.NoError(t, err)
		log.Command(host.Command{Argv: []string{"tool", secret, "--json=" + string(quoted)}}, host.Result{Output: []byte("got " + secret + "!\n")}, nil)
		log.Event(Event{Kind: KindError, Message: "cannot use " + secret})
		text := log.pending.String()
		for _, part := range strings.Fields(secret) {
			if len(part) > 1 {
				assert.NotContains(t, text, part, "%q", secret)
			}
		}
		assert.Contains(t, text, "***")
	}
	log := NewLog()
	log.Redact("pass")
	log.Redact("password")
	log.Event(Event{Kind: KindNote, Message: "the password"})
	assert.NotContains(t, log.pending.String(), "word", "the longer one counts")
}

func TestFullDiskNeverFailsTheRunAndLosesLittle(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("cannot mount here: %v", err)
	}
	t.Cleanup(func() { assert.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	files := host.Files{Root: dir}
	log := NewLog()
	require.NoError(t, log.Attach(files, "/installer.log"))
	filler := files.Path("/filler")
	err := os.WriteFile(filler, make([]byte, 1<<20), 0o600)
	require.ErrorIs(t, err, syscall.ENOSPC)
	long := strings.Repeat("x", 100)
	for range 100 {
		log.Event(Event{Kind: KindNote, Message: long})
	}
	require.NoError(t, os.Remove(filler))
	log.Event(Event{Kind: KindNote, Message: "room again"})
	assert.Equal(t, 100, strings.Count(logged(t, files), long))
	assert.True(t, strings.HasSuffix(logged(t, files), "room again\n"))

	for range 3 * pendingLimit / (64 << 10) {
		log.Event(Event{Kind: KindNote, Message: strings.Repeat("y", 64<<10)})
	}
	assert.Less(t, log.pending.Len(), pendingLimit+(1<<20), "memory is not filled in the disk's place")
	require.ErrorContains(t, log.Close(), "is the disk full?")
}

func TestLogOfAFloodStopsAndSaysSo(t *testing.T) {
	log := NewLog()
	for range 200 {
		log.Event(Event{Kind: KindNote, Message: strings.Repeat("y", 64<<10)})
	}
	files := host.Files{Root: t.TempDir()}
	require.NoError(t, log.Attach(files, "/installer.log"))
	log.Event(Event{Kind: KindNote, Message: "the end"})
	require.NoError(t, log.Close())
	assert.Contains(t, logged(t, files), "(entries are missing here)")
	assert.Contains(t, logged(t, files), "the end")
}

func TestCommandsShowsOutput(t *testing.T) {
	var out guarded
	NewCommands(&out).Command(host.Command{Argv: []string{"echo", "a b"}}, host.Result{Output: []byte("a b\nc\n"), Took: time.Second}, nil)
	assert.Equal(t, "command      echo 'a b' (exit 0, 1.0 s)\n                 a b\n                 c\n", out.String())
}
