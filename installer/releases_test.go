package installer

import (
	"context"
	"errors"
	"io"
	"os"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/environment"
	"tljh/installer/journal"
	"tljh/installer/switchover"
	"tljh/internal/host"
	"tljh/internal/host/hosttest"
	"tljh/internal/layout"
	"tljh/internal/report"
	"tljh/internal/step"
	"tljh/internal/version"
)

func setVersion(t *testing.T, text string) {
	t.Helper()
	before := version.Version
	version.Version = text
	t.Cleanup(func() { version.Version = before })
}

// newMachine has the folders of an installation, a program and a hub environment.
func newMachine(t *testing.T) host.Files {
	t.Helper()
	files := host.Files{Root: t.TempDir()}
	for _, dir := range []string{layout.State, path.Dir(layout.Binary), layout.Generations, layout.ConfigDir} {
		require.NoError(t, os.MkdirAll(files.Path(dir), 0o755))
	}
	require.NoError(t, os.WriteFile(files.Path(layout.Binary), []byte("program of 0.1.0"), 0o755))
	generation(t, files, environment.Hub, 1)
	return files
}

func generation(t *testing.T, files host.Files, kind environment.Kind, number int) {
	t.Helper()
	g := environment.Generation{Kind: kind, Number: number}
	require.NoError(t, os.MkdirAll(files.Path(g.Path()), 0o755))
	require.NoError(t, os.WriteFile(files.Path(path.Join(g.Path(), "generation.json")), []byte(`{"kind":"`+string(kind)+`","number":`+string(rune('0'+number))+`}`), 0o644))
	require.NoError(t, environment.Switch(files, g))
}

func read(t *testing.T, files host.Files, name string) string {
	t.Helper()
	data, err := files.Read(name)
	require.NoError(t, err)
	return string(data)
}

func TestAnInstallationIsNotedOnceWithItsProgram(t *testing.T) {
	setVersion(t, "0.1.0")
	files := newMachine(t)
	require.NoError(t, noteInstalled(files, time.Now()))
	first := read(t, files, layout.ReleasesFile)
	require.NoError(t, noteInstalled(files, time.Now().Add(time.Hour)))
	assert.Equal(t, first, read(t, files, layout.ReleasesFile))
	assert.Equal(t, "program of 0.1.0", read(t, files, program("0.1.0")))

	// The pasted line of a newer release puts its program into place: the old one is still there.
	require.NoError(t, files.Write(layout.Binary, []byte("program of 0.2.0"), rootDir))
	assert.Equal(t, "program of 0.1.0", read(t, files, program("0.1.0")))
	releases, err := LoadReleases(files)
	require.NoError(t, err)
	assert.Equal(t, "0.1.0", releases.Live.Version)
	assert.Equal(t, 1, releases.Live.Hub)
	assert.Len(t, releases.Past, 1)
}

func TestInstallRefusesToBeAnUpgrade(t *testing.T) {
	setVersion(t, "0.1.0")
	files := newMachine(t)
	require.NoError(t, rightRelease(files), "a machine without a record")
	require.NoError(t, noteInstalled(files, time.Now()))
	for version, hint := range map[string]string{
		"0.1.0": "", "0.1.1": "tljh-install upgrade does", "0.2.0": "tljh-install upgrade does", "0.3.0": "upgrade --to 0.2", "0.0.9": "tljh-install rollback",
	} {
		setVersion(t, version)
		err := rightRelease(files)
		assert.Equal(t, hint != "", err != nil, version)
		assert.Contains(t, host.HintOf(err), hint, version)
	}
}

func TestOnlyWhatCanBeGoneBackToIsKept(t *testing.T) {
	files := newMachine(t)
	for _, version := range []string{"0.1.0", "0.2.0", "0.3.0", "0.4.0"} {
		require.NoError(t, os.MkdirAll(files.Path(path.Dir(program(version))), 0o755))
		require.NoError(t, os.MkdirAll(files.Path(keptDir(version)), 0o755))
	}
	releases := &Releases{Live: &Release{Version: "0.3.0"}, Before: &Release{Version: "0.2.0"}, Left: "0.4.0"}
	require.NoError(t, releases.save(files))
	require.NoError(t, releases.tidy(files))
	names, err := files.List(layout.Releases)
	require.NoError(t, err)
	assert.Equal(t, []string{"0.2.0", "0.3.0", "0.4.0", "releases.json"}, names)
	names, err = files.List(layout.Kept)
	require.NoError(t, err)
	assert.Equal(t, []string{"0.2.0", "0.3.0", "0.4.0"}, names)
}

// After a rollback and another upgrade, the environment of the release before is not the one with the number before.
func TestTheHubEnvironmentOfTheReleaseBeforeStays(t *testing.T) {
	files := newMachine(t)
	for _, number := range []int{2, 3, 4} {
		generation(t, files, environment.Hub, number)
	}
	require.NoError(t, (&Releases{Live: &Release{Hub: 4}, Before: &Release{Hub: 1}}).save(files))
	b := environment.New(environment.Setup{Host: &host.Host{Files: files}})
	old, err := outdated(b)
	require.NoError(t, err)
	assert.Equal(t, []string{layout.Generations + "/hub-2"}, old)

	change := &Change{Old: Release{Hub: 2}}
	require.NoError(t, change.enter(files, switchover.Switching))
	old, err = outdated(b)
	require.NoError(t, err)
	assert.Empty(t, old, "an upgrade under way may have to go back to it")
}

func TestWhatAnInterruptedChangeIsTakenUpBy(t *testing.T) {
	files := newMachine(t)
	require.NoError(t, os.MkdirAll(files.Path(path.Dir(program("0.2.0"))), 0o755))
	require.NoError(t, os.WriteFile(files.Path(program("0.2.0")), nil, 0o755))
	for _, test := range []struct {
		phase  string
		staged string
		back   bool
	}{{switchover.Preparing, "", false}, {switchover.Switching, program("0.2.0"), false}, {switchover.Back, "", true}, {switchover.Restored, "", true}} {
		require.NoError(t, (&Change{New: "0.2.0"}).enter(files, test.phase))
		staged, back, err := Staged(files)
		require.NoError(t, err)
		assert.Equal(t, test.staged, staged, test.phase)
		assert.Equal(t, test.back, back, test.phase)
	}
	require.NoError(t, (&Change{}).end(files))
	staged, back, err := Staged(files)
	require.NoError(t, err)
	assert.Empty(t, staged)
	assert.False(t, back)
}

// What only the new release brought goes; what both have stays for the old program to write.
func TestUndoOfWhatIsNew(t *testing.T) {
	setVersion(t, "0.1.0")
	files := host.Files{Root: t.TempDir()}
	require.NoError(t, os.MkdirAll(files.Path(layout.State), 0o700))
	h := &host.Host{Files: files, Systemd: &hosttest.Systemd{}}
	run := func(plan journal.Plan) {
		receipt, err := journal.LoadReceipt(files, time.Now)
		require.NoError(t, err)
		_, err = (&journal.Executor{Host: h, Receipt: receipt, Report: report.New()}).Run(t.Context(), plan)
		require.NoError(t, err)
	}
	require.NoError(t, os.MkdirAll(files.Path("/etc"), 0o755))
	attr := host.Attr{Mode: 0o644, UID: os.Getuid(), GID: os.Getgid()}
	both := func(text string) journal.Node {
		return journal.Node{Step: step.File{Path: "/etc/both", What: "b", Content: []byte(text), Attr: attr}}
	}
	run(journal.Plan{Nodes: []journal.Node{both("old")}})

	setVersion(t, "0.2.0")
	plan := journal.Plan{Nodes: []journal.Node{both("new"), {Step: step.File{Path: "/etc/only", What: "o", Content: []byte("new"), Attr: attr}}}}
	run(plan)

	u := &Upgrader{Installer: Installer{Host: h, Report: report.New(), Now: time.Now}}
	require.NoError(t, u.undoNew(context.Background(), &Change{New: "0.2.0"}, plan))
	assert.False(t, files.Exists("/etc/only"))
	assert.Equal(t, "new", read(t, files, "/etc/both"))
}

func TestWordsForWhatIsLost(t *testing.T) {
	assert.Empty(t, Lost{Users: []string{"carol"}}.text(), "the database stays")
	assert.Empty(t, Lost{Changed: true}.text())
	text := Lost{Changed: true, Users: []string{"carol", "dave"}, Back: []string{"erin"}}.text()
	assert.Equal(t, "  users added since: carol, dave\n  users removed since, who come back: erin\n", text)
}

// The hub is stopped only when the database's new format has been tried.
func TestTheDatabaseIsTriedBeforeTheHubIsStopped(t *testing.T) {
	for name, fails := range map[string]bool{"it works": false, "it fails": true} {
		t.Run(name, func(t *testing.T) {
			files := newMachine(t)
			require.NoError(t, os.MkdirAll(files.Path(keptDir("0.1.0")), 0o700))
			told := make(chan string, 1)
			runner := &following{do: func(cmd host.Command) error {
				if fails {
					return errors.New("no such revision")
				}
				if err := os.WriteFile(cmd.Argv[6], nil, 0o600); err != nil {
					return err
				}
				line, err := io.ReadAll(cmd.Stdin)
				told <- string(line)
				return err
			}}
			u := &Upgrader{Installer: Installer{Host: &host.Host{Files: files, Runner: runner}, Report: report.New(), Now: time.Now}}
			m, err := u.beginDatabase(context.Background(), "/python", Release{Version: "0.1.0"})
			if fails {
				require.ErrorContains(t, err, "no such revision")
				return
			}
			require.NoError(t, err)
			assert.Empty(t, told)
			require.NoError(t, m.finish())
			assert.Equal(t, "\n", <-told)
			m.end()
			assert.Contains(t, strings.Join(runner.argv, " "), "-m tljh.database follow")
		})
	}
}

// following is a runner whose one command goes on until it is told something.
type following struct {
	do   func(host.Command) error
	argv []string
}

func (f *following) Run(_ context.Context, cmd host.Command) (host.Result, error) {
	f.argv = cmd.Argv
	return host.Result{}, f.do(cmd)
}
