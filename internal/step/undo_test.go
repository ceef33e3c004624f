package step

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
	"tljh/internal/host/hosttest"
)

// traced does to a step what the executor does, once or more, and returns what the receipt would tell of it.
func traced(t *testing.T, c *Context, steps ...Step) Trace {
	t.Helper()
	trace := Trace{ID: steps[0].ID()}
	c.Left = func(string) []Left { return trace.Left }
	for _, s := range steps {
		before, err := s.Before(t.Context(), c)
		require.NoError(t, err)
		if trace.First == nil {
			trace.First = &before
		}
		if leaver, ok := s.(Leaver); ok {
			trace.Left = append(trace.Left, leaver.Leaves())
		}
		require.NoError(t, s.Apply(t.Context(), c))
	}
	return trace
}

// undone takes a step back by its ID alone, which was to have this fate, and wants that nothing is left to do.
func undone(t *testing.T, c *Context, trace Trace, want Verb) Fate {
	t.Helper()
	undoer, _, ok := ByID(trace.ID)
	require.True(t, ok, trace.ID)
	fate, err := undoer.Fate(t.Context(), c, trace)
	require.NoError(t, err)
	require.Equal(t, want, fate.Verb, "%s: %s", fate.What, fate.Why)
	require.NoError(t, undoer.Undo(t.Context(), c, trace))
	again, err := undoer.Fate(t.Context(), c, trace)
	require.NoError(t, err)
	assert.Contains(t, []Verb{Nothing, Keep}, again.Verb, "something is left to do with "+fate.What)
	require.NoError(t, undoer.Undo(t.Context(), c, trace), "twice is no error")
	return fate
}

func contents(t *testing.T, c *Context, path string) string {
	t.Helper()
	data, err := c.Host.Files.Read(path)
	require.NoError(t, err)
	return string(data)
}

func rules(content string) File {
	return File{Path: "/rules", What: "rules", Content: []byte(content), Attr: attr(0o440)}
}

func TestFileIsMadeAndUndone(t *testing.T) {
	c := newContext(t)
	assertState(t, Absent, rules("new"), c)
	trace := traced(t, c, rules("new"))
	assert.False(t, trace.First.Existed)
	undone(t, c, trace, Delete)
	assert.False(t, c.Host.Files.Exists("/rules"))
}

func TestFileUndoPutsBackWhatWasThere(t *testing.T) {
	c := newContext(t)
	require.NoError(t, c.Host.Files.Write("/rules", []byte("theirs\n"), attr(0o640)))
	undone(t, c, traced(t, c, rules("ours"), rules("ours, of a later release")), Restore)
	assert.Equal(t, "theirs\n", contents(t, c, "/rules"))
	info, err := c.Host.Files.Lstat("/rules")
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o640), info.Mode().Perm())
}

func TestFileUndoPutsBackALink(t *testing.T) {
	c := newContext(t)
	require.NoError(t, c.Host.Files.Link("/their/file", "/rules"))
	undone(t, c, traced(t, c, rules("ours")), Restore)
	target, err := c.Host.Files.Readlink("/rules")
	require.NoError(t, err)
	assert.Equal(t, "/their/file", target)
}

// Whatever of ours is there, be it of an earlier run that was gone back to by hand, is no change of somebody's.
func TestFileOfAnEarlierRunIsOurs(t *testing.T) {
	c := newContext(t)
	trace := traced(t, c, rules("first"), rules("second"))
	require.NoError(t, c.Host.Files.Write("/rules", []byte("first"), attr(0o440)))
	undone(t, c, trace, Delete)
}

// A run that was killed between the journal's line and the change leaves what was there before.
func TestFileThatWasNeverWrittenIsNotOurs(t *testing.T) {
	c := newContext(t)
	require.NoError(t, c.Host.Files.Write("/rules", []byte("theirs"), attr(0o640)))
	before, err := rules("ours").Before(t.Context(), c)
	require.NoError(t, err)
	undone(t, c, Trace{ID: rules("").ID(), First: &before, Left: []Left{rules("ours").Leaves()}}, Nothing)
	assert.Equal(t, "theirs", contents(t, c, "/rules"))
}

func TestFileThatSomebodyChangedIsSetAside(t *testing.T) {
	c := newContext(t)
	trace := traced(t, c, rules("ours"))
	require.NoError(t, c.Host.Files.Write("/rules", []byte("edited"), attr(0o400)))
	fate := undone(t, c, trace, SetAside)
	assert.Equal(t, "/aside/rules", fate.To)
	assert.False(t, c.Host.Files.Exists("/rules"), "it is live still")
	assert.Equal(t, "edited", contents(t, c, "/aside/rules"))
	info, err := c.Host.Files.Lstat("/aside/rules")
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o400), info.Mode().Perm())
	info, err = c.Host.Files.Lstat("/aside")
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())
}

func TestFileThatSomebodyChangedMakesRoomForWhatWasThere(t *testing.T) {
	c := newContext(t)
	require.NoError(t, c.Host.Files.Write("/rules", []byte("theirs"), attr(0o640)))
	trace := traced(t, c, rules("ours"))
	require.NoError(t, c.Host.Files.Write("/rules", []byte("edited"), attr(0o440)))
	undone(t, c, trace, SetAside)
	assert.Equal(t, "theirs", contents(t, c, "/rules"))
	assert.Equal(t, "edited", contents(t, c, "/aside/rules"))
}

func TestFileThatTheReceiptTellsLittleOf(t *testing.T) {
	marked := "# " + Mark + " and replaced by it\nrule\n"
	for name, test := range map[string]struct {
		trace   Trace
		content string
		want    Verb
	}{
		"of a receipt that does not tell what was left": {Trace{First: &Before{}}, marked, SetAside},
		"of no receipt, but it says that it is ours":    {Trace{}, marked, SetAside},
		"of no receipt, and it does not say so":         {Trace{}, "# not ours\n", Nothing},
		"the mark is somewhere else":                    {Trace{}, "# not ours\n# " + Mark + "\n", Nothing},
	} {
		t.Run(name, func(t *testing.T) {
			c := newContext(t)
			require.NoError(t, c.Host.Files.Write("/rules", []byte(test.content), attr(0o440)))
			test.trace.ID = "file /rules"
			undone(t, c, test.trace, test.want)
			assert.Equal(t, test.want == Nothing, c.Host.Files.Exists("/rules"))
		})
	}
}

// A receipt may have been lost, and an installation made over an older one of ours: that one is not what was there before.
func TestWhatWasOursBeforeIsNotPutBack(t *testing.T) {
	c := newContext(t)
	require.NoError(t, c.Host.Files.Write("/rules", []byte("# "+Mark+".\nold\n"), attr(0o440)))
	undone(t, c, traced(t, c, rules("ours")), Delete)
	require.NoError(t, c.Host.Files.Link("/opt/program", "/program"))
	undone(t, c, traced(t, c, Link{Path: "/program", Target: "/opt/program"}), Delete)
	assert.False(t, c.Host.Files.Exists("/program"))
}

func TestFileThatBecameAFolderStays(t *testing.T) {
	c := newContext(t)
	trace := traced(t, c, rules("ours"))
	require.NoError(t, c.Host.Files.Remove("/rules"))
	require.NoError(t, c.Host.Files.Mkdir("/rules", attr(0o755)))
	undone(t, c, trace, Keep)
	assert.True(t, c.Host.Files.Exists("/rules"))
}

func TestWhatWasTakenAwayComesBackIfItWasNotOurs(t *testing.T) {
	c := newContext(t)
	require.NoError(t, c.Host.Files.Write("/rules", []byte("theirs"), attr(0o640)))
	trace := traced(t, c, Gone{Path: "/rules", What: "rules"})
	undone(t, c, trace, Restore)
	assert.Equal(t, "theirs", contents(t, c, "/rules"))

	require.NoError(t, c.Host.Files.Write("/rules", []byte("# "+Mark+"\n"), attr(0o640)))
	undone(t, c, traced(t, c, Gone{Path: "/rules", What: "rules"}), Nothing)
}

func TestSecretUndoKeepsOneThatWasThere(t *testing.T) {
	c := newContext(t)
	secret := Secret{Path: "/token", What: "token", Attr: attr(0o600), Generate: func() ([]byte, error) { return []byte("s3cret"), nil }}
	undone(t, c, traced(t, c, secret), Delete)
	require.NoError(t, c.Host.Files.Write("/token", []byte("theirs"), attr(0o644)))
	undone(t, c, traced(t, c, secret), Keep)
	assert.Equal(t, "theirs", contents(t, c, "/token"))
}

func TestDirUndoKeepsWhatIsNotOurs(t *testing.T) {
	c := newContext(t)
	trace := traced(t, c, Dir{Path: "/data", Attr: attr(0o700)})
	require.NoError(t, c.Host.Files.Write("/data/notes", []byte("x"), attr(0o600)))
	undone(t, c, trace, Keep)
	require.NoError(t, c.Host.Files.Remove("/data/notes"))
	require.NoError(t, c.Host.Files.Write("/data/.tljh-12345", []byte("half"), attr(0o600)))
	undone(t, c, trace, Delete)
}

func TestDirUndoGivesAFolderItsModeBack(t *testing.T) {
	c := newContext(t)
	require.NoError(t, c.Host.Files.Mkdir("/data", attr(0o750)))
	undone(t, c, traced(t, c, Dir{Path: "/data", Attr: attr(0o700)}), Restore)
	info, err := c.Host.Files.Lstat("/data")
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o750), info.Mode().Perm())
}

// In a plan, what is to be deleted is there still.
func TestDirThatWillBeEmptyGoes(t *testing.T) {
	c := newContext(t)
	trace := traced(t, c, Dir{Path: "/data", Attr: attr(0o700)})
	require.NoError(t, c.Host.Files.Write("/data/ours", nil, attr(0o600)))
	c.Deleted = func(path string) bool { return path == "/data/ours" }
	fate, err := Dir{Path: "/data"}.Fate(t.Context(), c, trace)
	require.NoError(t, err)
	assert.Equal(t, Delete, fate.Verb)
}

func TestLinkIsSwitchedAndPutBack(t *testing.T) {
	c := newContext(t)
	require.NoError(t, c.Host.Files.Link("/theirs", "/live"))
	undone(t, c, traced(t, c, Link{Path: "/live", Target: "/one"}, Link{Path: "/live", Target: "/two"}), Restore)
	target, err := c.Host.Files.Readlink("/live")
	require.NoError(t, err)
	assert.Equal(t, "/theirs", target)
}

func TestLinkThatLeadsElsewhereNowStays(t *testing.T) {
	c := newContext(t)
	trace := traced(t, c, Link{Path: "/live", Target: "/one"})
	require.NoError(t, c.Host.Files.Link("/theirs", "/live"))
	fate := undone(t, c, trace, Keep)
	assert.Contains(t, fate.Why, "/theirs")
}

// machine is a context whose accounts and groups are those of files, changed by the programs that change them.
func machine(t *testing.T) (*Context, *hosttest.Runner) {
	t.Helper()
	c := newContext(t)
	require.NoError(t, os.MkdirAll(c.Host.Files.Path("/etc"), 0o755))
	put := func(path, text string) {
		require.NoError(t, os.WriteFile(c.Host.Files.Path(path), []byte(text), 0o644))
	}
	put("/etc/group", "site:x:300:\n")
	put("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\n")
	runner := &hosttest.Runner{}
	drop := func(path, name string) {
		kept := []string{}
		for line := range strings.Lines(contents(t, c, path)) {
			if !strings.HasPrefix(line, name+":") {
				kept = append(kept, line)
			}
		}
		put(path, strings.Join(kept, ""))
	}
	on := func(program string, do func(name string)) {
		runner.On(hosttest.Answer{Do: func(_ context.Context, call hosttest.Call) error { do(call.Argv[len(call.Argv)-1]); return nil }}, program)
	}
	on("groupadd", func(name string) { put("/etc/group", contents(t, c, "/etc/group")+name+":x:301:\n") })
	on("groupdel", func(name string) { drop("/etc/group", name) })
	on("useradd", func(name string) {
		put("/etc/passwd", contents(t, c, "/etc/passwd")+name+":x:4242424:302::/nonexistent:/usr/sbin/nologin\n")
		put("/etc/group", contents(t, c, "/etc/group")+name+":x:302:\n")
	})
	on("userdel", func(name string) { drop("/etc/passwd", name) })
	c.Host.Runner = runner
	return c, runner
}

func TestGroupsAndAccountsThatWereThereStay(t *testing.T) {
	c, runner := machine(t)
	undone(t, c, traced(t, c, Group{Name: "ours"}), Delete)
	undone(t, c, Trace{ID: "group site", First: &Before{Existed: true}}, Keep)
	undone(t, c, traced(t, c, Account{Name: "env"}), Delete)
	trace := traced(t, c, Account{Name: "env"})
	require.NoError(t, os.WriteFile(c.Host.Files.Path("/etc/passwd"), []byte("root:x:0:0:root:/root:/bin/bash\n"), 0o644))
	undone(t, c, trace, Delete) // a power cut left its group
	undone(t, c, Trace{ID: "account root", First: &Before{Existed: true}}, Keep)
	assert.Equal(t, "site:x:300:\n", contents(t, c, "/etc/group"), "the account's own group, too")
	assert.Contains(t, runner.Lines(), "groupdel env")
	undone(t, c, Trace{ID: "group gone", First: &Before{}}, Nothing)
}

func TestUnitIsStoppedAndForgotten(t *testing.T) {
	c := newContext(t)
	const file = "/etc/systemd/system/x.service"
	for _, dir := range []string{"/etc/systemd/system", "/run/systemd/system"} {
		require.NoError(t, os.MkdirAll(c.Host.Files.Path(dir), 0o755))
	}
	systemd := &hosttest.Systemd{Files: c.Host.Files}
	c.Host.Systemd = systemd
	require.NoError(t, c.Host.Files.Write(file, []byte("[Service]\nExecStart=/bin/x\n[Install]\nWantedBy=multi-user.target\n"), attr(0o644)))
	unit := Unit{Name: "x.service", Enable: true, Stamp: func(*Context) string { return "" }}
	trace := traced(t, c, unit)
	assert.True(t, c.Host.Files.Exists("/etc/systemd/system/multi-user.target.wants/x.service"))
	undone(t, c, trace, Stop)
	assert.False(t, c.Host.Files.Exists("/etc/systemd/system/multi-user.target.wants/x.service"))

	systemd.Fail("x.service", "exit-code")
	require.Error(t, systemd.Do(t.Context(), "start", "x.service"))
	undone(t, c, trace, Stop)
	state, err := systemd.Unit(t.Context(), "x.service")
	require.NoError(t, err)
	assert.Equal(t, "inactive", state.Active, "it is remembered as failed")

	require.NoError(t, os.RemoveAll(c.Host.Files.Path("/run/systemd")))
	undone(t, c, trace, Nothing)
}

func TestASliceIsNeverRestarted(t *testing.T) {
	c := newContext(t)
	for _, dir := range []string{"/etc/systemd/system", "/run/systemd/system"} {
		require.NoError(t, os.MkdirAll(c.Host.Files.Path(dir), 0o755))
	}
	systemd := &hosttest.Systemd{Files: c.Host.Files}
	c.Host.Systemd = systemd
	for _, limit := range []string{"1G", "2G"} {
		require.NoError(t, c.Host.Files.Write("/etc/systemd/system/x.slice", []byte("[Slice]\nMemoryMax="+limit+"\n"), attr(0o644)))
		require.NoError(t, Unit{Name: "x.slice", Stamp: func(*Context) string { return limit }}.Apply(t.Context(), c))
	}
	done := systemd.Done()
	assert.Equal(t, "reload", done[len(done)-1], "systemd reads the new limit, and ends nothing in the slice")
	assert.Equal(t, 1, strings.Count(strings.Join(done, "\n"), "start x.slice"), done)
}

func TestSharedFolderIsTheUsers(t *testing.T) {
	c := newContext(t)
	trace := Trace{ID: "shared folder /data", First: &Before{}}
	folder := func() { require.NoError(t, os.MkdirAll(c.Host.Files.Path("/data"), 0o755)) }
	folder()
	undone(t, c, trace, Delete) // nothing is in it
	folder()
	require.NoError(t, os.WriteFile(c.Host.Files.Path("/data/homework"), []byte("done"), 0o600))
	undone(t, c, trace, Close)
	info, err := os.Stat(c.Host.Files.Path("/data"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), info.Mode().Perm(), "still open")
	assert.FileExists(t, c.Host.Files.Path("/data/homework"))
	undone(t, c, Trace{ID: trace.ID, First: &Before{Existed: true, Mode: 0o750, UID: os.Getuid(), GID: os.Getgid()}}, Restore)
	c.TakeAll = true
	undone(t, c, Trace{ID: trace.ID, First: &Before{Existed: true, Mode: 0o750, UID: os.Getuid(), GID: os.Getgid()}}, Keep)
	undone(t, c, trace, Delete)
}

func TestIDsLeadToTheirSteps(t *testing.T) {
	for _, s := range []Step{
		File{Path: "/a b"}, Gone{Path: "/a"}, Secret{Path: "/a"}, Link{Path: "/a"}, Dir{Path: "/a"}, Shared{Path: "/a"}, Group{Name: "g"}, Account{Name: "a"}, Unit{Name: "u.service"},
	} {
		undoer, _, ok := ByID(s.ID())
		require.True(t, ok, s.ID())
		assert.IsType(t, s, undoer, s.ID())
	}
	for _, id := range []string{"", "file", "file ", "file relative", "folder for homes /srv", "shared folders closed", "python", "group "} {
		_, _, ok := ByID(id)
		assert.False(t, ok, id)
	}
}

func TestUndoTellsWhatItCannotDo(t *testing.T) {
	c, _ := machine(t)
	refused := errors.New("gone on holiday")
	runner := &hosttest.Runner{}
	runner.On(hosttest.Answer{Err: refused}, "groupdel")
	c.Host = &host.Host{Files: c.Host.Files, Runner: runner}
	require.ErrorIs(t, Group{Name: "site"}.Undo(t.Context(), c, Trace{First: &Before{}}), refused)
}
