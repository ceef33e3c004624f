package installer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/config"
	"tljh/environment"
	"tljh/installer/journal"
	"tljh/installer/uninstall"
	"tljh/internal/host"
	"tljh/internal/host/hosttest"
	"tljh/internal/layout"
	"tljh/internal/report"
	"tljh/internal/step"
	"tljh/systemdunits"
)

// wholeSite is a machine below a temporary folder: files are real, systemd and the programs for accounts stand-ins.
type wholeSite struct {
	t       *testing.T
	files   host.Files
	runner  *hosttest.Runner
	systemd *hosttest.Systemd
	host    *host.Host
}

const bob = "jupyter-bob:x:1001:1001:JupyterHub user bob:/home/jupyter-bob:/bin/bash\n"

func newWholeSite(t *testing.T) *wholeSite {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("files of root's are made; run it as root")
	}
	s := &wholeSite{t: t, files: host.Files{Root: memoryDir(t)}, runner: &hosttest.Runner{}}
	s.systemd = &hosttest.Systemd{Files: s.files}
	s.host = &host.Host{Files: s.files, Runner: s.runner, Systemd: s.systemd}
	for _, dir := range []string{"/etc/systemd/system", "/etc/sudoers.d", "/etc/profile.d", "/usr/local/bin", "/opt", "/srv", "/home", "/run/systemd/system", "/run/systemd/transient", "/var/lib/private"} {
		require.NoError(t, os.MkdirAll(s.files.Path(dir), 0o755))
	}
	s.put("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\nteacher:x:1000:1000:A. Teacher:/home/teacher:/bin/bash\n")
	s.put("/etc/group", "root:x:0:\nteacher:x:1000:\n")
	s.onAccounts()
	return s
}

// memoryDir is a temporary folder where syncing takes no time, if there is one: some tests make a whole wholeSite for each of many moments.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "tljh-wholeSite-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func (s *wholeSite) put(p, text string) {
	s.t.Helper()
	require.NoError(s.t, os.MkdirAll(filepath.Dir(s.files.Path(p)), 0o755))
	require.NoError(s.t, os.WriteFile(s.files.Path(p), []byte(text), 0o644))
}

func (s *wholeSite) read(p string) string {
	s.t.Helper()
	data, err := s.files.Read(p)
	require.NoError(s.t, err)
	return string(data)
}

// onAccounts lets the programs for accounts do their work on the wholeSite's own files.
func (s *wholeSite) onAccounts() {
	drop := func(p, name string) error {
		kept := ""
		for line := range strings.Lines(s.read(p)) {
			if !strings.HasPrefix(line, name+":") {
				kept += line
			}
		}
		s.put(p, kept)
		return nil
	}
	add := func(p, line string) error { s.put(p, s.read(p)+line); return nil }
	gid := 900
	for program, do := range map[string]func(name string) error{
		"visudo":   func(string) error { return nil },
		"groupadd": func(name string) error { gid--; return add("/etc/group", fmt.Sprintf("%s:x:%d:\n", name, gid)) },
		"groupdel": func(name string) error { return drop("/etc/group", name) },
		"useradd": func(name string) error {
			return errors.Join(add("/etc/passwd", name+":x:998:998::/nonexistent:/usr/sbin/nologin\n"), add("/etc/group", name+":x:998:\n"))
		},
		"userdel": func(name string) error { return errors.Join(drop("/etc/passwd", name), drop("/etc/group", name)) },
	} {
		s.runner.On(hosttest.Answer{Do: func(_ context.Context, call hosttest.Call) error { return do(call.Argv[len(call.Argv)-1]) }}, program)
	}
}

// inputs are those of a plain installation.
func inputs(t *testing.T, yaml string) *Inputs {
	t.Helper()
	cfg, problems := config.Parse(layout.Config, []byte(yaml))
	require.NoError(t, problems.Err())
	return &Inputs{Facts: host.Facts{SystemdVersion: 252, MemoryBytes: 4 << 30, Sudo: "Sudo version 1.9"}, ConfigText: []byte(yaml), Config: cfg}
}

const plainConfig = "users:\n  admin: [alice]\n"

// trees are what tasks leave that are not carried out here.
var treesOfTasks = map[string][]string{
	idPython: {layout.Python + "/cpython/bin/python"}, idUV: {layout.Tools + "/uv/bin/uv"}, "user-environment-snapshot": {layout.Snapshots + "/1.json"},
}

// install carries out the installation's real plan, but for its tasks, of which some leave a file in their place.
func (s *wholeSite) install(yaml string) {
	s.t.Helper()
	builder := environment.New(environment.Setup{Host: s.host, Now: time.Now})
	plan, err := InstallPlan(inputs(s.t, yaml), builder)
	require.NoError(s.t, err)
	for n, node := range plan.Nodes {
		task, ok := node.Step.(step.Task)
		if !ok {
			continue
		}
		done := false
		plan.Nodes[n].Step = step.Task{
			Name: task.Name, What: task.What, Stamp: "stamp",
			Look: func(context.Context, *step.Context) (step.State, error) {
				if done {
					return step.Same, nil
				}
				return step.Absent, nil
			},
			Do: func(context.Context, *step.Context) error {
				done = true
				return s.standIn(task.Name)
			},
		}
	}
	receipt, err := journal.LoadReceipt(s.files, time.Now)
	require.NoError(s.t, err)
	executor := &journal.Executor{Host: s.host, Receipt: receipt, Report: report.New()}
	_, err = executor.Run(s.t.Context(), plan)
	require.NoError(s.t, err)
	require.NoError(s.t, executor.Finish(true))
}

func (s *wholeSite) standIn(task string) error {
	for _, file := range treesOfTasks[task] {
		s.put(file, task)
	}
	switch task {
	case "program " + layout.Binary:
		s.put(layout.Binary, "program")
	case idHub:
		s.put(layout.Generations+"/hub-1/generation.json", `{"kind":"hub","number":1}`)
		return s.files.Link(layout.Generations+"/hub-1", environment.Hub.Link())
	case idUser:
		s.put(layout.Generations+"/user-1/generation.json", `{"kind":"user","number":1}`)
		return s.files.Link(layout.Generations+"/user-1", environment.User.Link())
	}
	return nil
}

// inUse is what a class leaves: accounts, homes, servers, the hub's own files, and what systemd made for services.
func (s *wholeSite) inUse() {
	s.t.Helper()
	s.put("/etc/passwd", s.read("/etc/passwd")+bob)
	s.put("/etc/group", s.read("/etc/group")+"jupyter-bob:x:1001:\ncourse-a:x:1002:jupyter-bob\n")
	s.put("/home/jupyter-bob/thesis.ipynb", "years of work")
	require.NoError(s.t, os.Chown(s.files.Path("/home/jupyter-bob"), 1001, 1001))
	s.put("/run/systemd/transient/jupyter-bob.service", "[Unit]\nDescription=Jupyter server of jupyter-bob\n[Service]\nSlice=tljh-users.slice\n")
	s.put(`/run/systemd/transient/run-tljh-sockets-jupyter\x2dbob.mount`, "[Mount]\n")
	s.put("/run/systemd/transient/run-1.service", "[Unit]\nDescription=of somebody else\n[Service]\nSlice=system.slice\n")
	s.put("/run/tljh/sockets/jupyter-bob/server.sock", "")
	s.put("/var/lib/private/tljh-edge/account", "letters")
	require.NoError(s.t, s.files.Link("private/tljh-edge", layout.EdgeState))
	s.put(layout.HubGroups, "jupyterhub-users\ncourse-a\n")
	s.put(layout.Passwords, "secret")
	s.put(layout.Log, "log")
}

func (s *wholeSite) uninstaller() *uninstall.Uninstaller {
	return NewUninstaller(s.host, report.New(), time.Now)
}

// tree lists all files of the wholeSite.
func (s *wholeSite) tree() []string {
	found := []string{}
	require.NoError(s.t, filepath.WalkDir(s.files.Root, func(p string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		line := strings.TrimPrefix(p, s.files.Root)
		if entry.Type().IsRegular() {
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			line += " " + host.SHA256(data)[:8]
		}
		found = append(found, line)
		return nil
	}))
	return found
}

func (s *wholeSite) uninstall(options uninstall.Options) *uninstall.Removal {
	s.t.Helper()
	removal, err := s.uninstaller().Uninstall(s.t.Context(), options)
	require.NoError(s.t, err)
	return removal
}

// words are a removal's items, a line each.
func words(removal *uninstall.Removal) string {
	var text strings.Builder
	for _, fate := range removal.Items {
		line := fmt.Sprintf("%s %s %s", fate.Verb, fate.Kind, fate.What)
		if fate.To != "" {
			line += " to " + fate.To
		}
		if fate.Why != "" {
			line += " (" + fate.Why + ")"
		}
		text.WriteString(line + "\n")
	}
	for _, failed := range removal.Failed {
		text.WriteString("failed: " + failed + "\n")
	}
	return text.String()
}

// golden compares with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "uninstall", name+".txt")
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), got, "%s; go test -update writes it anew", file)
}

var manners = map[string]uninstall.Options{
	"keep": {}, "remove-users": {RemoveUsers: true}, "purge": {Purge: true}, "everything": {RemoveUsers: true, Purge: true},
}

func TestPlansOfUninstalling(t *testing.T) {
	for name, options := range manners {
		t.Run(name, func(t *testing.T) {
			s := newWholeSite(t)
			s.install(plainConfig)
			s.inUse()
			before := s.tree()
			removal, err := s.uninstaller().Plan(t.Context(), options)
			require.NoError(t, err)
			assert.Equal(t, before, s.tree(), "the plan changed something")
			golden(t, name, words(removal))

			// What is done is what was planned, but for what is gone by the time its turn comes.
			done := s.uninstall(options)
			assert.Empty(t, done.Failed)
			assert.Subset(t, strings.Split(words(removal), "\n"), strings.Split(words(done), "\n"))
			again, err := s.uninstaller().Plan(t.Context(), options)
			require.NoError(t, err)
			assert.True(t, again.Nothing(), "something is left to be done:\n%s", words(again))
		})
	}
}

func TestMachineIsAsBefore(t *testing.T) {
	s := newWholeSite(t)
	before := s.tree()
	s.install(plainConfig)
	s.inUse()
	removal := s.uninstall(uninstall.Options{RemoveUsers: true, Purge: true})
	assert.Empty(t, removal.Failed)
	// Not ours, or of the fixture: whose group it is, the receipt does not tell.
	extra := []string{"/run/systemd/transient/run-1.service"}
	after := slices.DeleteFunc(s.tree(), func(line string) bool { p, _, _ := strings.Cut(line, " "); return slices.Contains(extra, p) })
	assert.Equal(t, before, after)
}

func TestWhatIsKeptIsFoundAgain(t *testing.T) {
	s := newWholeSite(t)
	s.install(plainConfig)
	s.inUse()
	s.uninstall(uninstall.Options{})
	for _, p := range []string{layout.Config, layout.Passwords, layout.Receipt, layout.Log, "/home/jupyter-bob/thesis.ipynb"} {
		assert.True(t, s.files.Exists(p), p)
	}
	assert.Contains(t, s.read("/etc/passwd"), bob)
	assert.False(t, s.files.Exists(layout.HubGroups), "a group of that name may be anybody's from now on")
	receipt, err := journal.LoadReceipt(s.files, time.Now)
	require.NoError(t, err)
	assert.False(t, receipt.Finished())
	for _, trace := range receipt.Traces() {
		assert.Contains(t, trace.ID, layout.Root, "it was undone")
		assert.Empty(t, receipt.Recorded(trace.ID))
	}
	before := s.read(layout.Config)
	s.install(before)
	assert.Equal(t, "active", s.state(layout.HubUnit))
	s.uninstall(uninstall.Options{RemoveUsers: true, Purge: true})
	assert.False(t, s.files.Exists(layout.Root))
}

func (s *wholeSite) state(unit string) string {
	state, err := s.systemd.Unit(s.t.Context(), unit)
	require.NoError(s.t, err)
	return state.Active
}

func TestWhatWasThereBeforeComesBack(t *testing.T) {
	s := newWholeSite(t)
	const theirs = "[Service]\nExecStart=/usr/bin/their-hub\n[Install]\nWantedBy=multi-user.target\n"
	s.put(layout.Units+"/"+layout.HubUnit, theirs)
	s.put(layout.Sudoers, "# theirs\n")
	require.NoError(t, s.files.Link("/usr/bin/their-config", layout.ConfigLink))
	s.put("/etc/group", s.read("/etc/group")+layout.UsersGroup+":x:700:teacher\n")
	require.NoError(t, s.systemd.Enable(t.Context(), layout.HubUnit))
	require.NoError(t, s.systemd.Do(t.Context(), "start", layout.HubUnit))
	before := s.tree()
	s.install(plainConfig)
	removal := s.uninstall(uninstall.Options{RemoveUsers: true, Purge: true})
	assert.Empty(t, removal.Failed)
	assert.Equal(t, before, s.tree())
	assert.Equal(t, "active", s.state(layout.HubUnit), "what ran before runs again")
	assert.Contains(t, s.read("/etc/group"), layout.UsersGroup+":x:700:teacher")
}

func TestWhatSomebodyChangedIsSetAside(t *testing.T) {
	s := newWholeSite(t)
	s.install(plainConfig)
	s.put(layout.Sudoers, s.read(layout.Sudoers)+"teacher ALL=(ALL) ALL\n")
	s.put(layout.Units+"/"+layout.HubUnit, "[Service]\nExecStart=/bin/true\n")
	s.put(layout.Units+"/jupyterhub.service.d/override.conf", "[Service]\nNice=5\n")
	s.put(layout.Root+"/notes.txt", "remember")
	s.put(layout.Root+"/bin/mine", "script")
	require.NoError(t, s.files.Link("/elsewhere", layout.ConfigLink))
	removal := s.uninstall(uninstall.Options{RemoveUsers: true, Purge: true})
	golden(t, "changed", words(removal))
	assert.False(t, s.files.Exists(layout.Sudoers), "a sudo rule is live still")
	assert.Contains(t, s.read(layout.Aside+layout.Sudoers), "teacher ALL")
	assert.Contains(t, s.read(layout.Aside+layout.Units+"/"+layout.HubUnit), "/bin/true")
	for _, p := range []string{layout.Units + "/jupyterhub.service.d/override.conf", layout.Root + "/notes.txt", layout.Root + "/bin/mine", layout.ConfigLink} {
		assert.True(t, s.files.Exists(p), p)
	}
	assert.False(t, s.files.Exists(layout.Binary))
}

// An installation is ended at each of its steps in turn; what it had done by then is undone.
func TestHalfAnInstallationIsUndone(t *testing.T) {
	for steps := 0; ; steps++ {
		s := newWholeSite(t)
		before := s.tree()
		whole := s.installPart(steps)
		s.put(layout.Units+"/.tljh-123456", "half")
		removal := s.uninstall(uninstall.Options{RemoveUsers: true, Purge: true})
		assert.Empty(t, removal.Failed)
		require.Equal(t, before, s.tree(), "after %d steps", steps)
		if whole {
			assert.Greater(t, steps, 30)
			return
		}
	}
}

// installPart is an installation that is killed while it carries out a step.
func (s *wholeSite) installPart(steps int) (whole bool) {
	s.t.Helper()
	plan, err := InstallPlan(inputs(s.t, plainConfig), environment.New(environment.Setup{Host: s.host, Now: time.Now}))
	require.NoError(s.t, err)
	receipt, err := journal.LoadReceipt(s.files, time.Now)
	require.NoError(s.t, err)
	x := &journal.Executor{Host: s.host, Receipt: receipt, Report: report.New()}
	for n, node := range plan.Nodes {
		c := &step.Context{Host: s.host, Recorded: receipt.Recorded, Save: receipt.Save, Left: receipt.Left, Progress: func(string, int64, int64) {}}
		if n == steps {
			// Journalled, and then killed before or after the change itself.
			before, err := node.Step.Before(s.t.Context(), c)
			require.NoError(s.t, err)
			begin := journal.Record{Event: journal.EventBegin, Step: node.Step.ID(), Before: &before}
			if leaver, ok := node.Step.(step.Leaver); ok {
				leaves := leaver.Leaves()
				begin.Leaves = &leaves
			}
			require.NoError(s.t, receipt.Write(begin))
			if _, isTask := node.Step.(step.Task); n%2 == 0 && !isTask {
				require.NoError(s.t, node.Step.Apply(s.t.Context(), c))
			}
			return false
		}
		if task, isTask := node.Step.(step.Task); isTask {
			require.NoError(s.t, receipt.Write(journal.Record{Event: journal.EventBegin, Step: task.Name, Before: &step.Before{}}))
			require.NoError(s.t, s.standIn(task.Name))
			require.NoError(s.t, receipt.Write(journal.Record{Event: journal.EventEnd, Step: task.Name}))
			continue
		}
		_, err := x.Run(s.t.Context(), journal.Plan{Nodes: []journal.Node{{Step: node.Step}}})
		require.NoError(s.t, err)
	}
	return true
}

// Uninstalling is ended at each of its works in turn; the same command does the rest.
func TestInterruptedUninstallationIsFinished(t *testing.T) {
	for _, name := range []string{"keep", "everything"} {
		t.Run(name, func(t *testing.T) {
			options := manners[name]
			whole := newWholeSite(t)
			whole.install(plainConfig)
			whole.inUse()
			whole.uninstall(options)
			want := withoutReceipt(whole.tree())
			for works := 1; ; works++ {
				s := newWholeSite(t)
				s.install(plainConfig)
				s.inUse()
				ended := s.uninstallPart(works, options)
				removal := s.uninstall(options)
				assert.Empty(t, removal.Failed)
				require.Equal(t, want, withoutReceipt(s.tree()), "after %d works", works)
				if ended {
					assert.Greater(t, works, 30)
					return
				}
			}
		})
	}
}

// withoutReceipt leaves out contents that differ from site to wholeSite: times and secrets.
func withoutReceipt(tree []string) []string {
	for n, line := range tree {
		if file, _, _ := strings.Cut(line, " "); slices.Contains([]string{layout.Receipt, layout.Token, layout.ProxyEnv, layout.EdgeEnv}, file) {
			tree[n] = file
		}
	}
	return tree
}

// uninstallPart ends when so many works have begun.
func (s *wholeSite) uninstallPart(works int, options uninstall.Options) (whole bool) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	counter := &counter{limit: works, end: cancel}
	u := s.uninstaller()
	u.Report = report.New(counter)
	_, err := u.Uninstall(ctx, options)
	return err == nil && counter.begun < works
}

// counter ends a run when so many steps have begun.
type counter struct {
	begun, limit int
	end          func()
}

func (c *counter) Event(e report.Event) {
	if e.Status == report.Start {
		if c.begun++; c.begun == c.limit {
			c.end()
		}
	}
}

func TestWhatCannotBeUndoneIsToldAndKeepsNothingElse(t *testing.T) {
	s := newWholeSite(t)
	s.install(plainConfig)
	s.inUse()
	s.runner.On(hosttest.Answer{Code: 10, Stderr: "cannot lock /etc/group", Times: 2}, "groupdel", layout.ProxyGroup)
	s.runner.On(hosttest.Answer{Code: 10, Stderr: "cannot lock /etc/group", Times: 1}, "groupdel", layout.AdminsGroup)
	removal := s.uninstall(uninstall.Options{RemoveUsers: true, Purge: true})
	assert.NotContains(t, s.read("/etc/group"), layout.AdminsGroup, "the second try went well")
	require.Len(t, removal.Failed, 1)
	assert.Contains(t, removal.Failed[0], layout.ProxyGroup)
	assert.Contains(t, removal.Failed[0], "cannot lock")
	assert.False(t, s.files.Exists(layout.Sudoers))
	assert.True(t, s.files.Exists(layout.Binary), "with what shall the same command be given again?")
	assert.True(t, s.files.Exists(layout.BinaryLink))
	assert.True(t, s.files.Exists(layout.Receipt), "or how is to be known that the group is ours?")
	removal = s.uninstall(uninstall.Options{RemoveUsers: true, Purge: true})
	assert.Empty(t, removal.Failed)
	assert.NotContains(t, s.read("/etc/group"), layout.ProxyGroup)
	assert.False(t, s.files.Exists(layout.Root))
}

func TestUnitThatDoesNotStopIsStoppedWithoutItsFile(t *testing.T) {
	s := newWholeSite(t)
	s.install(plainConfig)
	s.systemd.Refuse(layout.HubUnit)
	removal := s.uninstall(uninstall.Options{})
	assert.Empty(t, removal.Failed)
	assert.Equal(t, "inactive", s.state(layout.HubUnit))
}

// silent is a systemd that answers nothing.
type silent struct{ host.Systemd }

var errSilent = errors.New("cannot reach systemd")

func (silent) Unit(context.Context, string) (host.UnitState, error) {
	return host.UnitState{}, errSilent
}
func (silent) Reload(context.Context) error { return errSilent }

func TestSystemdThatAnswersNothingKeepsNothingElse(t *testing.T) {
	s := newWholeSite(t)
	s.install(plainConfig)
	for _, slice := range []string{layout.UsersSlice, "tljh-services.slice", layout.Slice} { // systemd does so when a service in them starts
		require.NoError(t, s.systemd.Do(t.Context(), "start", slice))
	}
	s.host.Systemd = silent{s.systemd}
	removal, err := s.uninstaller().Plan(t.Context(), uninstall.Options{})
	require.NoError(t, err)
	assert.False(t, removal.Nothing())
	removal = s.uninstall(uninstall.Options{})
	assert.Contains(t, strings.Join(removal.Failed, "\n"), "cannot reach systemd")
	assert.False(t, s.files.Exists(layout.Sudoers))
	assert.False(t, s.files.Exists(layout.Units+"/"+layout.HubUnit))
	assert.False(t, s.files.Exists(layout.Generations))
	assert.True(t, s.files.Exists(layout.Binary))

	s.host.Systemd = s.systemd
	assert.Empty(t, s.uninstall(uninstall.Options{}).Failed)
	for _, unit := range systemdunits.Names() {
		assert.Equal(t, "inactive", s.state(unit), unit)
	}
	assert.False(t, s.files.Exists(layout.Binary))
}

func TestNothingIsNoError(t *testing.T) {
	s := newWholeSite(t)
	s.put(layout.Units+"/"+layout.HubUnit, "[Service]\nExecStart=/usr/bin/their-hub\n")
	before := s.tree()
	for _, options := range manners {
		removal, err := s.uninstaller().Plan(t.Context(), options)
		require.NoError(t, err)
		assert.True(t, removal.Nothing(), words(removal))
	}
	assert.Equal(t, before, s.tree())
}

// An older TLJH, and whatever else is at our place, is not touched.
func TestWhatIsNotOursIsNotTouched(t *testing.T) {
	for name, files := range map[string][]string{
		"an older TLJH":     {layout.Hub + "/bin/python3", layout.State + "/jupyterhub.sqlite", layout.Config, layout.User + "/bin/conda"},
		"something else":    {layout.Root + "/thesis.txt"},
		"a state of others": {layout.State + "/something"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newWholeSite(t)
			for _, file := range files {
				s.put(file, "precious")
			}
			before := s.tree()
			removal, err := s.uninstaller().Plan(t.Context(), uninstall.Options{RemoveUsers: true, Purge: true})
			require.NoError(t, err)
			assert.True(t, removal.Nothing(), words(removal))
			s.uninstall(uninstall.Options{RemoveUsers: true, Purge: true})
			assert.Equal(t, before, s.tree())
		})
	}
}

func TestAccountsThatTheHubDidNotMakeStay(t *testing.T) {
	s := newWholeSite(t)
	s.install("users:\n  admin: [alice]\n  account_prefix: ''\n")
	s.put("/etc/passwd", s.read("/etc/passwd")+
		"carol:x:1005:1005:Carol,,,:/home/carol:/bin/bash\n"+ // used as it is, without a prefix
		"dan:x:1006:1006:JupyterHub user dan:/home/dan:/bin/bash\n"+ // made by the hub
		"daemon:x:200:200:JupyterHub user daemon:/home/daemon:/bin/bash\n") // of the system, whatever it says
	group := strings.Replace(s.read("/etc/group"), layout.UsersGroup+":x:", "@", 1)
	before, after, _ := strings.Cut(group, "@")
	number, rest, _ := strings.Cut(after, ":")
	s.put("/etc/group", before+layout.UsersGroup+":x:"+number+":carol,dan"+rest)
	for _, name := range []string{"carol", "dan", "daemon"} {
		s.put("/home/"+name+"/work", "years of it")
	}
	require.NoError(t, os.Chown(s.files.Path("/home/dan"), 1006, 1006))
	removal := s.uninstall(uninstall.Options{RemoveUsers: true, Purge: true})
	assert.Empty(t, removal.Failed)
	assert.Contains(t, words(removal), "keep account carol (the hub did not make it)")
	assert.True(t, s.files.Exists("/home/carol/work"))
	assert.True(t, s.files.Exists("/home/daemon/work"))
	assert.False(t, s.files.Exists("/home/dan"))
	assert.NotContains(t, s.read("/etc/passwd"), "dan:")
	assert.Contains(t, s.read("/etc/passwd"), "carol:")
	assert.Contains(t, s.read("/etc/passwd"), "daemon:")
}

func TestHomesGoOnlyWhereTheyAreCertainlyThat(t *testing.T) {
	for name, test := range map[string]struct {
		home    string
		prepare func(s *wholeSite)
		words   string
	}{
		"of somebody else": {"/home/jupyter-bob", func(s *wholeSite) { require.NoError(s.t, os.Chown(s.files.Path("/home/jupyter-bob"), 1000, 1000)) }, "does not belong to jupyter-bob"},
		"all homes":        {"/home", func(s *wholeSite) { require.NoError(s.t, os.Chown(s.files.Path("/home"), 1001, 1001)) }, "no usual home"},
		"the whole disk":   {"/", func(*wholeSite) {}, "no usual home"},
		"a way around":     {"/home/jupyter-bob/../teacher", func(*wholeSite) {}, "no usual home"},
		"shared with another": {"/home/jupyter-bob", func(s *wholeSite) {
			s.put("/etc/passwd", s.read("/etc/passwd")+"eve:x:1010:1010::/home/jupyter-bob/eve:/bin/bash\n")
		}, "other accounts"},
		"a link": {"/home/jupyter-bob", func(s *wholeSite) {
			require.NoError(s.t, s.files.RemoveTree("/home/jupyter-bob"))
			require.NoError(s.t, s.files.Link("/home/teacher", "/home/jupyter-bob"))
		}, "no usual home"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newWholeSite(t)
			s.install(plainConfig)
			s.inUse()
			s.put("/home/teacher/notes", "precious")
			s.put("/etc/passwd", strings.Replace(s.read("/etc/passwd"), ":/home/jupyter-bob:", ":"+test.home+":", 1))
			test.prepare(s)
			removal := s.uninstall(uninstall.Options{RemoveUsers: true, Purge: true})
			assert.Empty(t, removal.Failed)
			assert.Contains(t, words(removal), test.words)
			assert.True(t, s.files.Exists("/home/teacher/notes"))
			assert.True(t, s.files.Exists("/home/jupyter-bob"))
		})
	}
}

func TestSharedFoldersAndFoldersForHomes(t *testing.T) {
	for name, keeps := range map[string]bool{"keep": true, "purge": true, "remove-users": true, "everything": false} {
		t.Run(name, func(t *testing.T) {
			s := newWholeSite(t)
			s.install(plainConfig)
			s.inUse()
			receipt, err := journal.LoadReceipt(s.files, time.Now)
			require.NoError(t, err)
			for _, dir := range []string{layout.Shared, layout.Shared + "/data", "/srv/homes", "/srv/homes/2026"} {
				require.NoError(t, os.MkdirAll(s.files.Path(dir), 0o755))
			}
			for _, id := range []string{"folder " + layout.Shared, "shared folder " + layout.Shared + "/data"} {
				require.NoError(t, receipt.Write(journal.Record{Event: journal.EventBegin, Step: id, Before: &step.Before{}}))
			}
			homes := homeRootStep("/srv/homes/2026")
			require.NoError(t, s.files.RemoveTree("/srv/homes"))
			x := &journal.Executor{Host: s.host, Receipt: receipt, Report: report.New()}
			_, err = x.Run(t.Context(), journal.Plan{Nodes: []journal.Node{{Step: homes}}})
			require.NoError(t, err)
			s.put(layout.Shared+"/data/paper", "shared")
			if name != "everything" {
				s.put("/srv/homes/2026/jupyter-eve/work", "of somebody who has gone")
			}
			removal := s.uninstall(manners[name])
			assert.Empty(t, removal.Failed)
			assert.Equal(t, keeps, s.files.Exists(layout.Shared+"/data/paper"))
			assert.Equal(t, keeps, s.files.Exists("/srv/homes"))
			if keeps {
				info, err := s.files.Lstat(layout.Shared + "/data")
				require.NoError(t, err)
				assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())
				s.uninstall(uninstall.Options{RemoveUsers: true, Purge: true})
				assert.Equal(t, name == "purge", s.files.Exists(layout.Shared+"/data/paper"), "what is known of it goes with the state")
			}
		})
	}
}

// Receipts of any format, on a machine that knows nothing of the plans that made them.
func TestOldReceiptsAreUndone(t *testing.T) {
	fixtures, err := filepath.Glob("journal/testdata/receipts/*.jsonl")
	require.NoError(t, err)
	for _, fixture := range fixtures {
		t.Run(filepath.Base(fixture), func(t *testing.T) {
			s := newWholeSite(t)
			s.install(plainConfig)
			data, err := os.ReadFile(fixture)
			require.NoError(t, err)
			s.put(layout.Receipt, string(data))
			s.put(layout.Config, "limits: [\n") // that is broken
			removal := s.uninstall(uninstall.Options{RemoveUsers: true, Purge: true})
			assert.Empty(t, removal.Failed)
			assert.NotContains(t, words(removal), "does not know")
			assert.False(t, s.files.Exists(layout.Root))
			for _, dir := range []string{layout.Units, path.Dir(layout.Sudoers), path.Dir(layout.Profile), path.Dir(layout.BinaryLink)} {
				names, err := s.files.List(dir)
				require.NoError(t, err)
				assert.Empty(t, names, dir)
			}
		})
	}
}

// Every step that any plan has is one that can be undone.
func TestEveryStepCanBeUndone(t *testing.T) {
	s := newWholeSite(t)
	s.put("/etc/ssl/certs/ca-certificates.crt", "certificates\n")
	s.put("/etc/ca.pem", "certificate\n")
	in := inputs(t, "users:\n  admin: [alice]\n  admin_sudo: none\n  home_root: /srv/homes\nshared_folders:\n  data:\n    read: [all]\n    write: [bob]\n"+
		"sources:\n  ca: /etc/ca.pem\nuser_environment:\n  packages: [numpy]\n")
	in.Requirements = "/course.txt"
	plan, err := InstallPlan(in, environment.New(environment.Setup{Host: s.host, Now: time.Now}))
	require.NoError(t, err)
	for _, node := range plan.Nodes {
		id := node.Step.ID()
		if _, _, ok := step.ByID(id); ok {
			continue
		}
		assert.True(t, uninstall.KnownTask(id), "nothing is known of what %q leaves: see the table inRoot", id)
	}
}

func TestDamagedReceiptIsUndoneAsFarAsItGoes(t *testing.T) {
	s := newWholeSite(t)
	s.install(plainConfig)
	lines := strings.SplitAfter(s.read(layout.Receipt), "\n")
	lines[len(lines)/2] = "\x00\x00\x00\n"
	s.put(layout.Receipt, strings.Join(lines, ""))
	removal := s.uninstall(uninstall.Options{RemoveUsers: true, Purge: true})
	assert.Empty(t, removal.Failed)
	assert.False(t, s.files.Exists(layout.Root))
	assert.False(t, s.files.Exists(layout.Sudoers))
}

func TestReceiptOfANewerReleaseIsLeftToIt(t *testing.T) {
	s := newWholeSite(t)
	s.install(plainConfig)
	s.put(layout.Receipt, s.read(layout.Receipt)+"{\"event\":\"run\",\"format\":99,\"version\":\"9.0.0\"}\n")
	before := s.tree()
	_, err := s.uninstaller().Plan(t.Context(), uninstall.Options{})
	require.ErrorContains(t, err, "newer release (9.0.0)")
	assert.NotEmpty(t, host.HintOf(err))
	assert.Equal(t, before, s.tree())
}

// Without a receipt, what says of itself that it is ours goes by its names, and is kept aside for want of knowledge.
func TestLostReceipt(t *testing.T) {
	s := newWholeSite(t)
	s.install(plainConfig)
	require.NoError(t, s.files.Remove(layout.Receipt))
	s.uninstall(uninstall.Options{RemoveUsers: true, Purge: true})
	for _, p := range []string{layout.Sudoers, layout.Units + "/" + layout.HubUnit, layout.BinaryLink, layout.Root} {
		assert.False(t, s.files.Exists(p), p)
	}
	assert.True(t, s.files.Exists(layout.Aside+layout.Sudoers))
	assert.Equal(t, "inactive", s.state(layout.HubUnit))
	assert.NotContains(t, s.read("/etc/passwd")+s.read("/etc/group"), "tljh-", "accounts and groups by names that only this program uses")
}

// After another installation, the receipt that it wrote anew does not tell of what was there, and an uninstallation is the same.
func TestLostReceiptAndInstalledAgain(t *testing.T) {
	s := newWholeSite(t)
	s.install(plainConfig)
	require.NoError(t, s.files.Remove(layout.Receipt))
	s.install(plainConfig)
	removal := s.uninstall(uninstall.Options{RemoveUsers: true, Purge: true})
	assert.Empty(t, removal.Failed)
	assert.False(t, s.files.Exists(layout.Root))
	assert.NotContains(t, s.read("/etc/passwd")+s.read("/etc/group"), "tljh-")
}

// What admins made by name with conda is not ours to delete, however much of the rest goes.
func TestEnvironmentsOfAdminsOutliveTheHub(t *testing.T) {
	s := newWholeSite(t)
	s.install(plainConfig)
	s.put(layout.Environments+"/geo/conda-meta/history", "x")
	removal := s.uninstall(uninstall.Options{RemoveUsers: true, Purge: true})
	assert.Empty(t, removal.Failed)
	assert.Equal(t, "x", s.read(layout.Environments+"/geo/conda-meta/history"))
	assert.Contains(t, words(removal), layout.Environments)
}
