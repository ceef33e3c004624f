package installer

import (
	"context"
	"errors"
	"fmt"
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
	"tljh/internal/host"
	"tljh/internal/host/hosttest"
	"tljh/internal/layout"
	"tljh/internal/report"
)

// site is a machine with an installation, whose systemd and hub are in memory.
type site struct {
	t       *testing.T
	files   host.Files
	systemd *hosttest.Systemd
	applier *Applier
	refuses string // the hub does not use a config that holds this
	hangs   string // the hub does not come up with a config that holds this
}

// Do stands for systemd, and for the hub that it starts: one that takes what it can use, and remembers it.
func (s *site) Do(ctx context.Context, verb, unit string) error {
	text, err := s.files.Read(layout.Config)
	if unit != layout.HubUnit || verb == "stop" || err != nil {
		return s.systemd.Do(ctx, verb, unit)
	}
	if s.hangs != "" && strings.Contains(string(text), s.hangs) {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	if s.refuses != "" && strings.Contains(string(text), s.refuses) {
		require.NoError(s.t, s.files.Write(layout.Problems, []byte(`{"problems": ["auth.type: no such thing"], "using": "the last config that worked"}`), secret))
	} else {
		require.NoError(s.t, errors.Join(s.files.Remove(layout.Problems), s.files.Write(layout.Applied, text, secret)))
	}
	return s.systemd.Do(ctx, verb, unit)
}

var errKilled = errors.New("killed")

func (s *site) Reload(ctx context.Context) error { return s.systemd.Reload(ctx) }
func (s *site) Enable(ctx context.Context, units ...string) error {
	return s.systemd.Enable(ctx, units...)
}
func (s *site) Disable(ctx context.Context, units ...string) error {
	return s.systemd.Disable(ctx, units...)
}
func (s *site) Unit(ctx context.Context, unit string) (host.UnitState, error) {
	return s.systemd.Unit(ctx, unit)
}

func newSite(t *testing.T) *site {
	t.Helper()
	files := host.Files{Root: t.TempDir()}
	for _, dir := range []string{
		layout.ConfigDir, layout.State, layout.Hub, layout.Units, "/etc/sudoers.d", "/run/systemd/system", "/srv", layout.Generations, layout.User,
	} {
		require.NoError(t, os.MkdirAll(files.Path(dir), 0o755))
	}
	require.NoError(t, os.WriteFile(files.Path("/etc/group"), []byte(fmt.Sprintf("%s:x:901:\n%s:x:902:\n", layout.AdminsGroup, layout.UsersGroup)), 0o644))
	require.NoError(t, os.WriteFile(files.Path(layout.Receipt), []byte("{\"event\":\"run\"}\n"), 0o600))
	s := &site{t: t, files: files, systemd: &hosttest.Systemd{Files: files}}
	runner := &hosttest.Runner{}
	runner.On(hosttest.Answer{Stdout: "systemd 257\n"}, "systemctl", "--version")
	runner.On(hosttest.Answer{}, "visudo")
	runner.On(hosttest.Answer{Stdout: "Sudo version 1.9.13p3\n"}, "sudo", "--version")
	runner.On(hosttest.Answer{}, "journalctl")
	runner.On(hosttest.Answer{Do: func(_ context.Context, call hosttest.Call) error {
		data, err := files.Read("/etc/group")
		name := call.Argv[len(call.Argv)-1]
		return errors.Join(err, os.WriteFile(files.Path("/etc/group"), fmt.Appendf(data, "%s:x:%d:\n", name, 903+len(data)), 0o644))
	}}, "groupadd")
	h := &host.Host{Files: files, Runner: runner, Systemd: s}
	now := time.Unix(0, 0)
	s.applier = &Applier{
		Host: h, Report: report.New(), Builder: environment.New(environment.Setup{Host: h}), Who: "alice", How: "config reload",
		Now:   func() time.Time { now = now.Add(time.Minute); return now },
		Prove: func(context.Context, *config.Config) error { return nil },
	}
	return s
}

// apply saves a config and puts it into effect, as the command does.
func (s *site) apply(text string) (*Applied, error) {
	s.t.Helper()
	require.NoError(s.t, s.files.Write(layout.Config, []byte(text), secret))
	cfg, problems := config.Parse("", []byte(text))
	require.NoError(s.t, problems.Err(), text)
	return s.applier.Apply(s.t.Context(), []byte(text), cfg)
}

// killed is apply by a program that is killed when it starts a unit.
func (s *site) killed(text, unit string) {
	s.t.Helper()
	require.NoError(s.t, s.files.Write(layout.Config, []byte(text), secret))
	cfg, problems := config.Parse("", []byte(text))
	require.NoError(s.t, problems.Err())
	ctx, kill := context.WithCancelCause(s.t.Context())
	s.applier.Host.Systemd = dying{s, unit, kill}
	_, err := s.applier.Apply(ctx, []byte(text), cfg)
	require.ErrorIs(s.t, err, errKilled)
	s.applier.Host.Systemd = s
}

// dying is a systemd whose caller is killed when it asks for a unit: nothing is done any more.
type dying struct {
	*site
	dies string
	kill context.CancelCauseFunc
}

func (d dying) Do(ctx context.Context, verb, unit string) error {
	if unit == d.dies {
		d.kill(errKilled)
		return errKilled
	}
	return d.site.Do(ctx, verb, unit)
}

func (s *site) read(p string) string {
	s.t.Helper()
	data, err := s.files.Read(p)
	require.NoError(s.t, err)
	return string(data)
}

// versions returns the history's files, with who and how.
func (s *site) versions() []string {
	s.t.Helper()
	history := History{Files: s.files, Now: time.Now}
	versions, err := history.Versions()
	require.NoError(s.t, err)
	found := []string{}
	for _, version := range versions {
		text, err := history.Text(version)
		require.NoError(s.t, err)
		found = append(found, version.Who+": "+string(text))
	}
	return found
}

func TestApply(t *testing.T) {
	s := newSite(t)
	_, err := s.apply("limits: {memory: 1G}")
	require.NoError(t, err)
	applied, err := s.apply("limits: {memory: 1G} # a remark")
	require.NoError(t, err)
	assert.Empty(t, applied.Changed, "nothing but a remark changed")
	assert.Equal(t, "limits: {memory: 1G} # a remark", s.read(layout.Applied))
	applied, err = s.apply("limits: {memory: 2G}")
	require.NoError(t, err)
	assert.Equal(t, []string{idHubUnit}, applied.Changed)
	applied, err = s.apply("limits: {memory: 2G}\nuser_environment: {packages: [numpy]}\nsources: {index: 'https://example.org/simple'}")
	require.NoError(t, err)
	assert.Equal(t, []string{"user_environment.packages", "sources.index"}, applied.Left)
	assert.Len(t, s.versions(), 4)
}

// Whatever the hub does not work with is taken back, and kept for whoever wrote it.
func TestApplyGoesBack(t *testing.T) {
	const good = "limits: {memory: 1G}"
	for name, test := range map[string]struct {
		bad  string
		fail func(s *site)
		says string
	}{
		"the hub falls back":     {"auth: {type: nosuch.Authenticator}", func(s *site) { s.refuses = "nosuch" }, "auth.type: no such thing"},
		"the hub does not start": {"limits: {memory: 2G}", func(s *site) { s.hangs = "2G" }, "did not come up within"},
		"the door does not open": {"http: {port: 8080}", func(s *site) { s.systemd.Fail(layout.EdgeSocket, "resources") }, "cannot restart " + layout.EdgeSocket},
		"the hub does not work":  {"limits: {memory: 2G}", func(s *site) { s.prove("2G") }, "no answer"},
		"the door does not work": {"http: {port: 8080}", func(s *site) { s.prove("8080") }, "no answer"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			if s.applier.patience = 0; name == "the hub does not start" {
				s.applier.patience = 300 * time.Millisecond
			}
			_, err := s.apply(good)
			require.NoError(t, err)
			test.fail(s)
			_, err = s.apply(test.bad)
			require.ErrorContains(t, err, test.says)
			var reverted *RevertedError
			if name == "the door does not open" { // and with the one before, neither: the stand-in has no reason to
				assert.ErrorContains(t, err, "going back failed, too")
			} else {
				require.ErrorAs(t, err, &reverted)
				assert.Equal(t, 1, reverted.Version)
			}
			assert.Equal(t, good, s.read(layout.Config))
			assert.Equal(t, test.bad, s.read(rejectedConfig()))
			assert.Equal(t, good, s.read(layout.Applied))
			assert.False(t, s.files.Exists(layout.Problems))
			assert.Equal(t, "alice: "+good, s.versions()[0])
		})
	}
}

// prove makes a hub that works with all but configs that hold this.
func (s *site) prove(bad string) {
	s.applier.Prove = func(context.Context, *config.Config) error {
		if strings.Contains(s.read(layout.Config), bad) {
			return errors.New("no answer")
		}
		return nil
	}
}

// What was in effect already is not to blame when something fails, and nothing older takes its place.
func TestApplyKeepsWhatWorkedBefore(t *testing.T) {
	s := newSite(t)
	for _, text := range []string{"limits: {memory: 1G}", "limits: {memory: 2G}"} {
		_, err := s.apply(text)
		require.NoError(t, err)
	}
	s.prove("2G")
	s.systemd.Kill(layout.ProxyUnit)
	_, err := s.apply("limits: {memory: 2G}")
	require.ErrorContains(t, err, "no answer")
	assert.Equal(t, "limits: {memory: 2G}", s.read(layout.Config))
}

// A config that the hub took by itself, after an edit by hand and a restart, is in the history: a later failure does not lose it.
func TestWhatTheHubTookByItselfIsKept(t *testing.T) {
	s := newSite(t)
	_, err := s.apply("limits: {memory: 1G}")
	require.NoError(t, err)
	require.NoError(t, s.files.Write(layout.Config, []byte("limits: {memory: 2G}"), secret))
	require.NoError(t, s.Do(t.Context(), "restart", layout.HubUnit))

	s.refuses = "nosuch"
	_, err = s.apply("auth: {type: nosuch.Authenticator}")
	require.Error(t, err)
	assert.Equal(t, "limits: {memory: 2G}", s.read(layout.Config))
	assert.Equal(t, []string{"alice: limits: {memory: 1G}", "the hub: limits: {memory: 2G}"}, s.versions())
}

// A reload that was killed at any point is finished by the next one, and one that was killed after the hub refused a config does not make that the last good one.
func TestApplyAfterAKill(t *testing.T) {
	const good, door = "limits: {memory: 1G}", "limits: {memory: 2G}\nhttp: {port: 8080}\nusers: {extra_user_groups: {g: []}}\nshared_folders: {data: {read: ['group:g']}}"
	for _, unit := range []string{layout.HubUnit, layout.EdgeSocket, layout.EdgeUnit} {
		t.Run(unit, func(t *testing.T) {
			s := newSite(t)
			_, err := s.apply(good)
			require.NoError(t, err)
			s.killed(door, unit)
			pending, known := Pending(s.files, parsed(t, door))
			require.True(t, known)
			assert.NotEmpty(t, pending)
			_, err = s.apply(door)
			require.NoError(t, err)
			pending, _ = Pending(s.files, parsed(t, door))
			assert.Empty(t, pending)
			assert.Equal(t, door, s.read(layout.Applied))
			unit, err := s.Unit(t.Context(), layout.EdgeSocket)
			require.NoError(t, err)
			assert.Equal(t, "active", unit.Active)
			assert.Contains(t, s.read(path.Join(layout.Units, layout.EdgeSocket)), "8080")
		})
	}
	t.Run("after a refusal", func(t *testing.T) {
		s := newSite(t)
		_, err := s.apply(good)
		require.NoError(t, err)
		s.refuses = "nosuch"
		const bad = "auth: {type: nosuch.Authenticator}\nhttp: {port: 8080}"
		s.killed(bad, layout.EdgeSocket)
		_, err = s.apply(bad)
		require.ErrorContains(t, err, "auth.type: no such thing")
		assert.Equal(t, good, s.read(layout.Config))
		assert.Equal(t, []string{"alice: " + good}, s.versions())

		// When the reason is gone, the same config is taken, although nothing in it has changed.
		s.refuses = ""
		_, err = s.apply(bad)
		require.NoError(t, err)
		assert.Equal(t, bad, s.read(layout.Applied))
	})
}

func parsed(t *testing.T, text string) *config.Config {
	t.Helper()
	cfg, problems := config.Parse("", []byte(text))
	require.NoError(t, problems.Err())
	return cfg
}

// Every key, put into effect alone, changes what the table says that it touches, and no more.
func TestEachKeyTouchesItsOwn(t *testing.T) {
	effects := map[string]func(id string) bool{
		"hub restart":  func(id string) bool { return id == idHubUnit },
		"edge restart": func(id string) bool { return strings.Contains(id, "tljh-edge") },
		"units": func(id string) bool {
			return id == idHubUnit || strings.HasPrefix(id, "file "+layout.Units) || strings.HasPrefix(id, "folder for homes")
		},
		"single-user servers, at their next start": func(id string) bool {
			return strings.HasSuffix(id, layout.ServersEnv) || strings.HasSuffix(id, layout.NetworkEnv)
		},
		"packet filter":                             func(id string) bool { return strings.Contains(id, "tljh-firewall") },
		"rule for sshd":                             func(id string) bool { return strings.HasSuffix(id, layout.SSHRule) },
		"sudo rules":                                func(id string) bool { return strings.HasSuffix(id, layout.Sudoers) },
		"groups and shared folders":                 func(id string) bool { return strings.HasPrefix(id, "group ") || strings.Contains(id, layout.Shared) },
		"certificates to trust":                     func(id string) bool { return strings.HasSuffix(id, layout.Authorities) },
		"user environment, by tljh-install install": func(string) bool { return false },
		"hub environment, by tljh-install install":  func(string) bool { return false },
	}
	const base = "users: {extra_user_groups: {g: [bob]}, admin: [dora]}\n"
	special := map[string]string{
		"https.enabled": "https: {enabled: true, letsencrypt: {email: t@example.org, domains: [hub.example.org]}}",
		"auth.*":        "auth: {FirstUseAuthenticator: {create_users: true}}",
		"https.hsts":    "", "https.address": "", "https.port": "", "https.tls.key": "", "https.tls.cert": "", // of effect with HTTPS only
		"https.letsencrypt.email": "", "https.letsencrypt.domains": "", "https.letsencrypt.staging": "", "https.letsencrypt.directory": "", "https.letsencrypt.ca": "",
		"network.no_proxy":      "", // of effect with a proxy only
		"hub.domain":            "", // of effect with hub.user_domain only
		"services.configurator": "", "traefik_api": "",
	}
	for _, doc := range config.Keys() {
		d := config.Read("", []byte(base))
		text, isSpecial := special[doc.Path]
		if isSpecial && text == "" {
			continue
		}
		if !isSpecial {
			name := "bob"
			if strings.HasPrefix(doc.Path, "limits.groups") {
				name = "g"
			}
			value := strings.Trim(doc.Example, `"`)
			if doc.Path == "users.first_login" {
				value = config.FirstPassword // code takes effect with a class code only
			}
			after, err := d.Set(strings.Replace(doc.Path, "*", name, 1), value)
			require.NoError(t, err, doc.Path)
			text = string(after.Data)
		} else {
			text = base + text
		}
		t.Run(doc.Path, func(t *testing.T) {
			s := newSite(t)
			require.NoError(t, os.MkdirAll(filepath.Dir(s.files.Path(layout.Authorities)), 0o755))
			for _, certificates := range []string{systemAuthorities[0], "/etc/ssl/certs/example-org.pem"} {
				require.NoError(t, os.MkdirAll(filepath.Dir(s.files.Path(certificates)), 0o755))
				require.NoError(t, os.WriteFile(s.files.Path(certificates), []byte("certificates\n"), 0o644))
			}
			_, err := s.apply(base)
			require.NoError(t, err)
			changes := config.Changes(parsed(t, base), parsed(t, text))
			require.NotEmpty(t, changes)
			applied, err := s.apply(text)
			if host.HintOf(err) != "" && errors.Is(err, host.ErrNoACL) {
				t.Skip("there are no access control lists here")
			}
			require.NoError(t, err)
			seen := map[string]bool{}
			for _, id := range applied.Changed {
				mine := false
				for _, touch := range changes[0].Touches {
					if effects[touch](id) {
						seen[touch], mine = true, true
					}
				}
				assert.True(t, mine, "%s was changed, which is none of %v", id, changes[0].Touches)
			}
			for _, touch := range changes[0].Touches {
				unseen := []string{"user environment, by tljh-install install", "hub environment, by tljh-install install"}
				if doc.Path == "users.extra_user_groups" { // only groups that share folders are made
					unseen = append(unseen, "groups and shared folders")
				}
				assert.True(t, seen[touch] || slices.Contains(unseen, touch), "%s: nothing was done about %s; done was %v", doc.Path, touch, applied.Changed)
			}
		})
	}
}

func TestPending(t *testing.T) {
	s := newSite(t)
	_, known := Pending(s.files, config.Default())
	assert.False(t, known)
	_, err := s.apply("limits: {memory: 1G}")
	require.NoError(t, err)
	// The hub took all of it, as it does after an edit by hand. What others read is not in effect.
	const text = "limits: {memory: 2G}\nhttp: {port: 8080}\nusers: {admin_sudo: none}"
	require.NoError(t, s.files.Write(layout.Config, []byte(text), secret))
	require.NoError(t, s.Do(t.Context(), "restart", layout.HubUnit))
	paths := func() []string {
		found := []string{}
		pending, known := Pending(s.files, parsed(t, text))
		require.True(t, known)
		for _, change := range pending {
			found = append(found, change.Path)
		}
		return found
	}
	assert.Equal(t, []string{"users.admin_sudo", "http.port"}, paths())
	_, err = s.apply(text)
	require.NoError(t, err)
	assert.Empty(t, paths())
}

func TestStatusOfTheConfig(t *testing.T) {
	s := newSite(t)
	_, err := s.apply("limits: {memory: 1G}")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(s.files.Path(layout.Config), 0o600))
	state := func() PartStatus {
		_, part, err := lookAtConfig(s.files)
		require.NoError(t, err)
		return part
	}
	if os.Geteuid() == 0 {
		assert.Equal(t, PartStatus{Name: "config", State: "valid, in effect"}, state())
		require.NoError(t, os.Chmod(s.files.Path(layout.Config), 0o644))
		assert.Contains(t, state().State, "others can read or write it")
		require.NoError(t, os.Chmod(s.files.Path(layout.Config), 0o600))
	}
	for text, want := range map[string]string{
		"limits: {memory: 2G}":                   "changes that are not in effect yet",
		"http: {port: 8080}":                     "changes that are not in effect yet",
		"limits: {memory: lots}":                 "limits.memory must be a size",
		"limits: {memory: 1G} # with packages\n": "valid, in effect",
	} {
		require.NoError(t, s.files.Write(layout.Config, []byte(text), host.Attr{Mode: 0o600, UID: os.Geteuid(), GID: os.Getegid()}))
		if os.Geteuid() == 0 {
			assert.Contains(t, state().State, want)
		}
	}
	require.NoError(t, s.files.Write(layout.Config, []byte("limits: {memory: 1G}"), host.Attr{Mode: 0o600, UID: os.Geteuid(), GID: os.Getegid()}))
	require.NoError(t, s.files.Write(layout.Problems, []byte(`{"problems": ["auth.type: gone"], "using": "the last config that worked"}`), secret))
	assert.Contains(t, state().State, "not used by the hub: auth.type: gone")
	assert.True(t, state().Problem)
	require.NoError(t, s.files.Remove(layout.Config))
	assert.Contains(t, state().State, "there is no ")
	assert.True(t, state().Problem)
}

// Who is editing is told to those who wait, and waiting ends.
func TestLockTellsWhoHoldsIt(t *testing.T) {
	s := newSite(t)
	now := time.Unix(0, 0)
	file := ConfigFile{Host: s.applier.Host, Path: layout.Config, Now: func() time.Time { now = now.Add(time.Second); return now }, Who: "alice (sudo)"}
	unlock, err := file.Lock(t.Context(), 0, nil)
	require.NoError(t, err)
	second := file
	second.Who = "bob"
	var busy *journal.BusyError
	_, err = second.Lock(t.Context(), 0, nil)
	require.ErrorAs(t, err, &busy)
	assert.ErrorContains(t, err, "alice (sudo), process ")
	told := []string{}
	_, err = second.Lock(t.Context(), 4*time.Second, func(holder string) { told = append(told, holder) })
	require.ErrorAs(t, err, &busy)
	require.Len(t, told, 1)
	assert.Contains(t, told[0], "alice (sudo)")
	begun := make(chan struct{})
	go func() { <-begun; unlock() }()
	got, err := second.Lock(t.Context(), WaitForEver, func(string) { close(begun) })
	require.NoError(t, err)
	got()
}

func TestOtherAccountsOfUsersAreTold(t *testing.T) {
	older, newer := parse(t, ""), parse(t, "users: {account_prefix: ''}")
	assert.Empty(t, otherAccounts(nil, newer))
	assert.Empty(t, otherAccounts(newer, newer))
	assert.Contains(t, otherAccounts(older, newer), "work in the accounts NAME. Their files stay in the homes of the accounts jupyter-NAME.")
	assert.Contains(t, otherAccounts(newer, older), "work in the accounts jupyter-NAME. Their files stay in the homes of the accounts NAME.")
}
