package installer

import (
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/environment"
	"tljh/installer/journal"
	"tljh/installer/switchover"
	"tljh/installer/uninstall"
	"tljh/internal/check"
	"tljh/internal/host"
	"tljh/internal/host/hosttest"
	"tljh/internal/layout"
	"tljh/internal/report"
	"tljh/internal/step"
)

// What the older TLJH's unit files say, as far as it matters.
const (
	olderHubFile   = "[Service]\nEnvironment=TLJH_INSTALL_PREFIX=/opt/tljh\nExecStart=/opt/tljh/hub/bin/python3 -m jupyterhub.app\n[Install]\nWantedBy=multi-user.target\n"
	olderProxyFile = "[Service]\nExecStart=/opt/tljh/hub/bin/traefik -c /opt/tljh/state/traefik.toml\n[Install]\nWantedBy=multi-user.target\n"
	olderConfig    = "users:\n  admin:\n  - alice\ntraefik_api:\n  port: 8099\n"
)

// olderSite has an older TLJH on it.
func olderSite(t *testing.T) *wholeSite {
	t.Helper()
	s := newWholeSite(t)
	for name, text := range map[string]string{
		layout.Hub + "/bin/python3": "python", layout.Hub + "/bin/traefik": "traefik",
		layout.Hub + "/lib/python3.10/site-packages/jupyterhub-5.1.0.dist-info/METADATA":             "",
		layout.Hub + "/lib/python3.10/site-packages/tljh_repo2docker-1.0.dist-info/entry_points.txt": "[tljh]\nrepo2docker = x\n",
		layout.User + "/bin/python":                                                       "python",
		layout.User + "/conda-meta/numpy-1.26.0-py312_0.json":                             "{}",
		layout.User + "/lib/python3.12/site-packages/jupyterhub-5.1.0.dist-info/METADATA": "",
		layout.User + "/pkgs/large":                                                       strings.Repeat("x", 4<<20),
		layout.User + "/share/data":                                                       strings.Repeat("x", 3<<20),
		layout.Units + "/" + layout.HubUnit:                                               olderHubFile,
		layout.Units + "/" + check.OlderProxyUnit:                                         olderProxyFile,
		layout.Config:                                olderConfig,
		layout.ConfigD + "/course.py":                "c.x = 1\n",
		olderTraefikDir + "/log.toml":                "[log]\n",
		layout.State + "/jupyterhub.sqlite":          "a database",
		layout.State + "/passwords.dbm":              "passwords",
		layout.State + "/traefik.toml":               "",
		olderSudoers:                                 "%jupyterhub-admins ALL = (ALL) NOPASSWD: ALL\n",
		"/run/systemd/transient/jupyter-bob.service": "[Unit]\nDescription=/opt/tljh/user/bin/jupyterhub-singleuser\n",
		"/run/systemd/transient/jupyter-zoe.service": "[Unit]\nDescription=Jupyter server of zoe\n",
		"/etc/group":                                 "root:x:0:\njupyterhub-admins:x:990:\njupyterhub-users:x:991:\n",
	} {
		s.put(name, text)
	}
	require.NoError(t, os.MkdirAll(s.files.Path("/usr/bin"), 0o755))
	require.NoError(t, os.Symlink(layout.Hub+"/bin/tljh-config", s.files.Path(olderConfigLink)))
	s.runner.On(hosttest.Answer{
		Stdout: `{"users": ["alice", "bob"], "admins": ["alice"], "groups": ["physics"], "passwords": ["alice", "bob"], "servers": ["bob"], "revision": "x"}`,
	}, layout.Hub+"/bin/python3")
	return s
}

func (s *wholeSite) installer() *Installer {
	return &Installer{
		Host: s.host, Report: report.New(), Now: time.Now, Builder: environment.New(environment.Setup{Host: s.host, Now: time.Now}), Begin: func() {}, Redact: func(string) {},
	}
}

func TestAnOlderTLJHIsRecognised(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(s *wholeSite)
		found   bool
		missing string
	}{
		"whole":             {func(*wholeSite) {}, true, ""},
		"ours":              {func(s *wholeSite) { s.remove(layout.Hub); s.link("generations/hub-1", layout.Hub) }, false, ""},
		"a folder only":     {func(s *wholeSite) { s.remove(layout.Hub + "/bin") }, false, ""},
		"no proxy":          {func(s *wholeSite) { s.remove(layout.Units + "/" + check.OlderProxyUnit) }, true, "its unit traefik.service"},
		"another hub":       {func(s *wholeSite) { s.put(layout.Units+"/"+layout.HubUnit, "[Service]\nExecStart=/srv/hub\n") }, true, "its unit jupyterhub.service"},
		"killed in half":    {func(s *wholeSite) { s.remove(layout.User) }, true, "its user environment"},
		"of the first days": {func(s *wholeSite) { s.remove(layout.Config); s.put(layout.Root+"/config.yaml", olderConfig) }, true, "its config " + layout.Config},
		"elsewhere":         {func(s *wholeSite) { s.remove(layout.User); s.link("/srv/user", layout.User) }, true, "its user environment"},
	} {
		t.Run(name, func(t *testing.T) {
			s := olderSite(t)
			c.change(s)
			found, missing := recogniseOlder(s.files)
			assert.Equal(t, c.found, found)
			if c.missing == "" {
				assert.Empty(t, missing)
			} else {
				assert.Contains(t, strings.Join(missing, "\n"), c.missing)
			}
		})
	}
}

func (s *wholeSite) remove(p string) {
	s.t.Helper()
	require.NoError(s.t, s.files.RemoveTree(p))
}

func (s *wholeSite) link(target, p string) {
	s.t.Helper()
	require.NoError(s.t, s.files.Link(target, p))
}

const wantedTakeover = `
Adopt the legacy hub in /opt/tljh

  JupyterHub   5.1.0 → HUB
  users        2, admins: alice
  groups       physics
  passwords    2, which stay what they are
  homes        stay where they are, with their accounts
  environment  a copy of /opt/tljh/user (Python 3.12, 2 packages, 3 MB), which gets JupyterHub HUB
  config       stays as it is
               jupyterhub_config.d: course.py

Stops
  units        jupyterhub.service, traefik.service of the legacy hub
  servers      bob: who works now has to start their server again

Is no longer used
  Traefik      its unit and files go; /opt/tljh/config/traefik_config.d stays and does nothing: log.toml
  plugins      do not come along (tljh_repo2docker-1.0); what they did stays, and afterwards each is added with: sudo tljh-install install --plugin NAME
  sudo rules   /etc/sudoers.d/jupyterhub-admins goes; the new ones are in /etc/sudoers.d/tljh

Until the new hub has proved itself, the older one is kept in /opt/tljh/older. If the new one does not work, the older one is started again.
`

func (s *wholeSite) olderInputs(yaml string) *Inputs {
	s.t.Helper()
	in := inputs(s.t, yaml)
	older, err := lookForOlder(s.t.Context(), s.host, in.Config)
	require.NoError(s.t, err)
	require.NotNil(s.t, older)
	in.older = older
	return in
}

func TestTakingOverIsShown(t *testing.T) {
	s := olderSite(t)
	before := s.tree()
	in := s.olderInputs(olderConfig)
	want := strings.ReplaceAll(wantedTakeover, "HUB", environment.JupyterHubVersion())
	assert.Equal(t, want, takeoverOf(s.files, in).Text())
	assert.Equal(t, before, s.tree(), "looking changed something")

	in.fresh = true
	assert.Contains(t, takeoverOf(s.files, in).Text(), "environment  a new one; a copy of /opt/tljh/user (Python 3.12, 2 packages, 3 MB) becomes the kernel older\n")
	s.put(layout.Units+"/jupyterhub.service.d/mine.conf", "[Service]\n")
	in = s.olderInputs(olderConfig + "https:\n  enabled: true\n  letsencrypt:\n    email: a@example.org\n    domains: [hub.example.org]\n")
	text := takeoverOf(s.files, in).Text()
	assert.Contains(t, text, "/etc/systemd/system/jupyterhub.service.d")
	assert.Contains(t, text, "hub.example.org")
	assert.Contains(t, text, "+https:")
}

// sudo -E, which the older TLJH's documentation has admins use, leaves root's files in their homes.
func TestWhatSudoLeftInHomesOfAdminsIsGivenBack(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	s := olderSite(t)
	s.put("/etc/group", "root:x:0:\njupyterhub-admins:x:990:jupyter-alice,ghost,root\njupyterhub-users:x:991:jupyter-bob\n")
	s.put("/etc/passwd", "root:x:0:0::/root:/bin/sh\njupyter-alice:x:65534:65534::/home/jupyter-alice:/bin/sh\njupyter-bob:x:65533:65533::/home/jupyter-bob:/bin/sh\n")
	for _, name := range []string{"/home/jupyter-alice/.conda/environments.txt", "/home/jupyter-alice/notes", "/home/jupyter-bob/.cache/x", "/root/.cache/y"} {
		s.put(name, "x")
	}
	require.NoError(t, os.Chown(s.files.Path("/home/jupyter-alice"), 65534, 65534))
	require.NoError(t, os.Chown(s.files.Path("/home/jupyter-bob"), 65533, 65533))
	in := s.olderInputs(olderConfig)
	assert.Contains(t, takeoverOf(s.files, in).Text(), "what root left in the home of an admin becomes the admin's: jupyter-alice (2 in .conda)")
	uid := func(name string) int {
		info, err := s.files.Lstat(name)
		require.NoError(t, err)
		return host.AttrOf(info).UID
	}
	assert.Equal(t, 0, uid("/home/jupyter-alice/.conda"), "it was only looked at")
	s.installer().giveBackToAdmins()
	assert.Equal(t, 65534, uid("/home/jupyter-alice/.conda/environments.txt"))
	for _, name := range []string{"/home/jupyter-alice/notes", "/home/jupyter-bob/.cache/x", "/root/.cache/y"} {
		assert.Equal(t, 0, uid(name), name)
	}
	found, err := giveBackHomes(s.files, true)
	require.NoError(t, err)
	assert.Empty(t, found)
}

func TestWhatKeepsAnOlderTLJHFromBeingTakenOver(t *testing.T) {
	for name, c := range map[string]struct {
		change func(s *wholeSite)
		fresh  bool
		failed string // the check
		words  string
	}{
		"half of it":              {func(s *wholeSite) { s.remove(layout.Units + "/" + check.OlderProxyUnit) }, false, "older-tljh", "missing: its unit traefik.service"},
		"an old Python":           {func(s *wholeSite) { s.oldPython() }, false, "older-environment", "it has Python 3.7"},
		"an old Python as kernel": {func(s *wholeSite) { s.oldPython() }, true, "", ""},
		"no conda":                {func(s *wholeSite) { s.remove(layout.User + "/conda-meta") }, false, "older-environment", "no environment of conda's"},
		"no state to read": {func(s *wholeSite) {
			s.remove(layout.Hub + "/bin/python3")
			s.put(layout.Hub+"/bin/python", "")
		}, true, "older-tljh", "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			s := olderSite(t)
			c.change(s)
			in := s.olderInputs(olderConfig)
			in.Config.HTTP.Port = 1 // nobody answers there
			in.fresh = c.fresh
			failed := ""
			about := &preflight{Env: s.installer().checkEnv(in), installer: s.installer(), in: in}
			for _, row := range checksOf(beforeAdoption, in.older) {
				if slices.ContainsFunc(check.Machine, func(of check.Check[*check.Env]) bool { return of.Name == row.Name }) {
					continue
				}
				finding := row.Run(t.Context(), about)
				finding.Name = row.Name
				if finding.Severity == check.Failed {
					failed = finding.Name
					assert.Contains(t, finding.Message, c.words)
					assert.NotEmpty(t, finding.Hint)
				}
			}
			assert.Equal(t, c.failed, failed)
		})
	}
}

func (s *wholeSite) oldPython() {
	s.t.Helper()
	lib := s.files.Path(layout.User + "/lib")
	require.NoError(s.t, os.Rename(path.Join(lib, "python3.12"), path.Join(lib, "python3.7")))
}

// Whatever was set aside when a run ended, going back brings all of it back.
func TestGoingBackToTheOlderTLJHFromAnywhere(t *testing.T) {
	for done := range len(olderPieces) + 4 {
		s := olderSite(t)
		i := s.installer()
		in := s.olderInputs(olderConfig)
		wants := layout.Units + "/multi-user.target.wants/"
		require.NoError(t, s.files.MkdirAll(wants, rootDir))
		for _, name := range check.OlderUnits {
			s.link(layout.Units+"/"+name, wants+name)
		}
		a, err := i.beginAdoption(t.Context(), in.older, false)
		require.NoError(t, err)
		for n := range a.Units {
			a.Units[n].Enabled = true
		}
		require.NoError(t, s.files.Remove(layout.Adopt))
		before := s.tree()
		require.NoError(t, a.enter(s.files, switchover.Switching))
		for _, name := range check.OlderUnits {
			require.NoError(t, i.disableOlder(t.Context(), name))
			require.False(t, s.files.Exists(wants+name))
		}
		require.NoError(t, switchover.Reserve(s.files, 4096))
		for _, dir := range []string{layout.State, layout.ConfigDir} {
			require.NoError(t, s.files.MkdirAll(olderPlace(dir), private))
		}
		for _, piece := range olderPieces[:min(done, len(olderPieces))] {
			require.True(t, piece.stands(s.files))
			require.NoError(t, piece.aside(s.files))
			require.False(t, piece.stands(s.files))
		}
		if done > len(olderPieces) {
			require.NoError(t, i.keepOlderConfig())
			s.put(olderPlace(liveDatabase), s.read(liveDatabase))
			s.put(liveDatabase, "in the new format")
		}
		if done > len(olderPieces)+1 {
			s.install(plainConfig)
			s.put(layout.State+"/passwords.sqlite", "passwords")
		}
		if done > len(olderPieces)+2 { // an earlier try could not take ours away
			require.NoError(t, i.piecesBack())
		}
		err = switchover.GoBack(t.Context(), s.files, i.Report, &olderSwitchover{i: i, in: in, a: a}, assert.AnError)
		var notAdopted *NotAdoptedError
		require.ErrorAs(t, err, &notAdopted, "after %d pieces", done)
		assert.Equal(t, without(before), without(s.tree()), "after %d pieces", done)
	}
}

// The journal says whose hub is to run: a machine on which it was lost would have none.
func TestTheJournalOfAnAdoptionIsKeptTwice(t *testing.T) {
	for what, damage := range map[string]string{"gone": "", "empty": "\n", "torn": `{"phase":"swi`, "garbled": `{"phase":"?"}`} {
		t.Run(what, func(t *testing.T) {
			files := newWholeSite(t).files
			require.NoError(t, files.MkdirAll(layout.State, private))
			write := func() {
				require.NoError(t, files.Write(layout.Adopt, []byte(damage), secret))
				if damage == "" {
					require.NoError(t, files.Remove(layout.Adopt))
				}
			}
			a := &Adoption{State: []string{"jupyterhub.sqlite"}}
			require.NoError(t, a.enter(files, switchover.Preparing))
			assert.False(t, files.Exists(layout.Older), "there is nothing to go back to yet")
			write()
			_, err := loadAdoption(files)
			if damage != "" {
				require.ErrorContains(t, err, "cannot read "+layout.Adopt)
				assert.Contains(t, host.HintOf(err), "sudo tljh-install install")
			}
			require.NoError(t, a.enter(files, switchover.Switching))
			write()
			got, err := loadAdoption(files)
			require.NoError(t, err)
			assert.Equal(t, a, got)
			state, err := FindState(files)
			require.NoError(t, err)
			assert.Equal(t, StateAdoptSwitching, state)
		})
	}
}

func TestUninstallLeavesAnOlderTLJHThatIsBeingTakenOver(t *testing.T) {
	s := olderSite(t)
	i := s.installer()
	a, err := i.beginAdoption(t.Context(), s.olderInputs(olderConfig).older, false)
	require.NoError(t, err)
	require.NoError(t, a.enter(s.files, switchover.Switching))
	before := s.tree()
	for _, options := range manners {
		_, err := s.uninstaller().Plan(t.Context(), options)
		var cannot *uninstall.CannotBeginError
		require.ErrorAs(t, err, &cannot)
		_, err = s.uninstaller().Uninstall(t.Context(), options)
		require.ErrorAs(t, err, &cannot)
	}
	_, err = installed(s.files)
	require.ErrorContains(t, err, "interrupted")
	assert.Equal(t, without(before), without(s.tree()))
}

func TestUninstallTakesBackWhatWasBuiltBesideAnOlderTLJH(t *testing.T) {
	for _, options := range manners {
		s := olderSite(t)
		i := s.installer()
		before := s.tree()
		_, err := i.beginAdoption(t.Context(), s.olderInputs(olderConfig).older, false)
		require.NoError(t, err)
		for _, each := range []step.Step{step.Dir{Path: layout.Generations, Attr: rootDir}, step.Account{Name: layout.EnvironmentUser}} {
			require.NoError(t, i.run(t.Context(), func() (journal.Plan, error) { return journal.Plan{Nodes: []journal.Node{{Step: each}}}, nil }))
		}
		s.put(layout.Generations+"/hub-1/bin/python", "")
		s.put(layout.Cache+"/wheels/one", "")
		removal := s.uninstall(options)
		assert.Empty(t, removal.Failed)
		assert.Equal(t, without(before), without(s.tree()))
	}
}

// without leaves out what the older one does not miss: this program, its lock, and a server of ours.
func without(tree []string) []string {
	return slices.DeleteFunc(slices.Clone(tree), func(line string) bool {
		return strings.HasPrefix(line, path.Dir(layout.Binary)) || strings.HasPrefix(line, layout.Runtime) || strings.Contains(line, "jupyter-zoe")
	})
}

func TestTheOlderOnesGroupsBecomeOurs(t *testing.T) {
	s := olderSite(t)
	i := s.installer()
	require.NoError(t, i.ownGroups())
	require.NoError(t, i.ownGroups())
	receipt, err := journal.LoadReceipt(s.files, time.Now)
	require.NoError(t, err)
	for _, trace := range receipt.Traces() {
		require.NotNil(t, trace.First)
		assert.False(t, trace.First.Existed, trace.ID)
	}
	assert.Len(t, receipt.Traces(), 2)
	assert.True(t, receipt.Finished())
}

// Every step of taking over can be undone, or needs no undoing.
func TestStepsOfAdoptionAreKnown(t *testing.T) {
	s := olderSite(t)
	i := s.installer()
	in := s.olderInputs(olderConfig)
	for _, fresh := range []bool{false, true} {
		in.fresh = fresh
		in.Manager = ManagerChoice{Name: "uv"}
		ahead, err := aheadOfAdoption(in, i.Builder)
		require.NoError(t, err)
		over, err := i.adoptionPlan(in, &Adoption{})
		require.NoError(t, err)
		for _, node := range append(ahead.Nodes, over.Nodes...) {
			if _, _, known := step.ByID(node.Step.ID()); !known {
				unknown := !uninstall.KnownTask(node.Step.ID())
				assert.False(t, unknown, node.Step.ID())
			}
		}
	}
}
