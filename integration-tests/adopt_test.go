package integration

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tljh/integration-tests/client"
	"tljh/integration-tests/guest"
	"tljh/integration-tests/want"
)

// What the people of the older hub have.
const (
	bobsNotebook = "years of work"
	olderFolder  = "/root/older"
)

// oldHub is an older TLJH, as the installer written in Python leaves it: built once, with what stands for Traefik, which cannot be had here.
var oldHub struct {
	once sync.Once
	snap *guest.Snapshot
}

// older boots a guest with an older TLJH in which bob and alice have worked. Its config names a conda mirror within reach.
func older(t *testing.T) *hub {
	t.Helper()
	guest.Require(t)
	oldHub.once.Do(func() { oldHub.snap = buildOlder(t) })
	if oldHub.snap == nil {
		t.Fatal("the older TLJH could not be built")
	}
	h := bare(t, guest.Options{From: oldHub.snap})
	_, sources := h.channel(t)
	// A folder of a layer below can't be renamed, which is what an overlay is like and no machine of anybody's.
	h.MustSh(t, "systemctl stop jupyterhub traefik && cp -a /opt/tljh /opt/new && rm -rf /opt/tljh && mv /opt/new /opt/tljh && systemctl start traefik jupyterhub")
	h.MustSh(t, "printf '%s' '"+sources+"' >> /opt/tljh/config/config.yaml; sync")
	h.awaitHub(t, time.Minute)
	return h
}

func buildOlder(t *testing.T) *guest.Snapshot {
	t.Helper()
	begin := time.Now()
	h := bare(t, guest.Options{Name: "older"})
	server, _ := h.channel(t)
	m, err := theMirror()
	want.OK(t, err)
	h.copyFolder(t, filepath.Join(guest.RepositoryRoot(), "integration-tests", "testdata", "older"), olderFolder)
	r := h.run(t, "sh "+olderFolder+"/build.sh "+server.URL()+" "+m.Miniforge.Path)
	want.Equal(t, 0, r.Code, r.Output())
	h.awaitHub(t, time.Minute)
	h.workInOlder(t)
	t.Logf("an older TLJH was built in %.0f s", time.Since(begin).Seconds())
	snap, err := h.Snapshot(t.Context())
	want.OK(t, err)
	return snap
}

// copyFolder puts a folder of this machine into the guest.
func (h *hub) copyFolder(t *testing.T, from, to string) {
	t.Helper()
	tar, err := exec.CommandContext(t.Context(), "tar", "-C", from, "-cf", "-", ".").Output()
	want.OK(t, err)
	want.OK(t, h.Write(t.Context(), to+".tar", 0o600, strings.NewReader(string(tar))))
	h.MustSh(t, "mkdir -p "+to+" && tar -C "+to+" -xf "+to+".tar")
}

// workInOlder lets people do what is to be there afterwards.
func (h *hub) workInOlder(t *testing.T) {
	t.Helper()
	alice := h.login(t, admin, adminPassword)
	start(t, alice)
	_, err := alice.API(t.Context(), http.MethodPost, "groups/physics", nil, nil)
	want.OK(t, err)
	enrol(t, alice, "bob", "carol")
	bob := h.login(t, "bob", passwordOf("bob"))
	start(t, bob)
	compute(t, kernel(t, bob), "open('thesis.ipynb', 'w').write('"+bobsNotebook+"')")
	h.login(t, "carol", passwordOf("carol"))
	want.Contains(t, h.MustSh(t, "ls /opt/tljh/state"), "passwords.dbm", "jupyterhub.sqlite", "jupyterhub_cookie_secret")
}

// adoptLine is the line of the README as root pastes it into a machine with an older TLJH.
func (h *hub) adoptLine() string { return h.line("--yes") }

// olderState is what must be as it was when an older TLJH was not taken over, but for what it changes itself while it runs.
func (h *hub) olderState(t *testing.T) string {
	t.Helper()
	return h.MustSh(t, "find /opt/tljh -mindepth 1 -maxdepth 1 -printf '%y %m %u %p\n' | grep -v -e /bin$ -e installer.log | sort; ls /opt/tljh/config /opt/tljh/config/* /opt/tljh/state | grep -v -e jupyterhub.sqlite-; ls /opt/tljh/bin || true; "+
		"sha256sum /opt/tljh/config/config.yaml /opt/tljh/config/*/* /opt/tljh/state/passwords.dbm /opt/tljh/state/jupyterhub_cookie_secret /etc/sudoers.d/* /etc/systemd/system/*.service; "+
		"find /usr/bin/tljh-config /usr/local/bin /etc/systemd/system/*.wants -printf '%p %l\\n' | sort; ls /etc/profile.d; systemctl is-enabled jupyterhub traefik; systemctl is-active jupyterhub traefik; "+
		"getent group | grep -e tljh -e jupyter; getent passwd | grep -e tljh -e jupyter; cd /opt/tljh/user && find . -type f -not -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum | sha256sum; "+
		"/opt/tljh/hub/bin/python3 -c \"import sqlite3; d = sqlite3.connect('/opt/tljh/state/jupyterhub.sqlite'); print(d.execute('select version_num from alembic_version').fetchall(), d.execute('select name, admin from users order by 1').fetchall())\"")
}

// adoptionPhase is what its journal says; nothing when none is under way.
func (h *hub) adoptionPhase(t *testing.T) string {
	t.Helper()
	return h.MustSh(t, "grep -o '\"phase\":\"[a-z]*' /opt/tljh/state/adopt.json || true")
}

// realSite is what sites have that only a real one shows: a hook that writes to /srv, what sudo -E leaves in an admin's home, an environment of an admin's.
const realSite = `cat > /opt/tljh/config/jupyterhub_config.d/homework.py <<'EOF'
import os
def homework(spawner):
    os.makedirs("/srv/homework/" + spawner.user.name, exist_ok=True)
c.Spawner.pre_spawn_hook = homework
EOF
mkdir -p /home/jupyter-alice/.conda /home/jupyter-alice/.cache/pip && touch /home/jupyter-alice/.conda/environments.txt && touch /home/jupyter-alice/of-root
python3 -m venv --without-pip /opt/tljh/user/envs/geo`

const permitHomework = "mkdir -p /srv/homework && /opt/tljh/bin/tljh-install config add hub.writable_paths /srv/homework"

// TestAdopt takes over an older TLJH with the pasted line.
func TestAdopt(t *testing.T) {
	t.Parallel()
	h := older(t)
	h.MustSh(t, realSite)
	bob := h.login(t, "bob", passwordOf("bob"))
	start(t, bob)

	t.Run("a hook that the new hub would refuse", func(t *testing.T) {
		r := h.run(t, h.line("--yes"))
		want.Equal(t, exitRefused, r.Code, r.Output())
		want.Contains(t, r.Output(), "homework.py:3 writes to /srv/homework", "sudo mkdir -p /srv/homework && sudo /opt/tljh/bin/tljh-install config add hub.writable_paths /srv/homework")
		h.MustSh(t, permitHomework)
		h.awaitHub(t, 20*time.Second)
	})
	was := h.olderState(t)
	t.Run("the plan, and nobody to ask", func(t *testing.T) {
		r := h.run(t, h.line("--plan"))
		want.Equal(t, 0, r.Code, r.Output())
		t.Log(r.Output())
		want.Contains(t, r.Output(), "Adopt the legacy hub", "5.4.6 → 6.1.1", "admins: alice", "3, which stay", "course.py", "log.toml", "bob", "becomes the admin's: jupyter-alice (", "are found in their old places, too: geo")
		r = h.run(t, h.line(""))
		want.Equal(t, exitUsage, r.Code, r.Output())
		want.Contains(t, r.Output(), "cannot ask for confirmation", "--yes")
		want.SameLines(t, was+"\n", h.olderState(t)+"\n", "something was changed")
	})
	ctx, cancel := context.WithCancel(t.Context())
	w := &watched{cancel: cancel}
	anybody := h.browser(t, "") // one who is logged in would have a server started
	w.done.Go(func() { w.pollHub(ctx, anybody) })
	r := h.run(t, h.adoptLine())
	want.Equal(t, 0, r.Code, r.Output())
	t.Logf("taken over in %.1f s:\n%s", r.Took.Seconds(), r.Output())
	w.end(t, "taking over", time.Minute)
	want.Equal(t, "[(0,)]", h.MustSh(t, `/opt/tljh/hub/bin/python -c "import sqlite3; print(sqlite3.connect('/opt/tljh/state/jupyterhub.sqlite').execute('select count(*) from spawners where server_id is not null').fetchall())"`), "servers that the hub believes to run")
	h.adopted(t)
	h.keptWhatSitesHave(t)

	t.Run("again", func(t *testing.T) {
		r := h.run(t, h.adoptLine())
		want.Equal(t, 0, r.Code, r.Output())
		want.Contains(t, r.Output(), "Nothing to do")
	})
	t.Run("commands", func(t *testing.T) {
		want.Contains(t, h.must(t, "tljh-install status"), "")
		want.Contains(t, h.must(t, "tljh-install env list"), "")
		want.Contains(t, h.must(t, "tljh-install env check"), "is healthy")
		want.Contains(t, h.must(t, "tljh-install env history"), "")
	})
	t.Run("uninstall", func(t *testing.T) {
		h.uninstall(t, 0, "--yes")
		h.nothingOfOurs(t)
		want.Contains(t, h.MustSh(t, "cat /home/jupyter-bob/thesis.ipynb; ls /etc/systemd/system /opt/tljh"), bobsNotebook)
		want.Equal(t, "", h.MustSh(t, "ls -d /etc/systemd/system/traefik.service /opt/tljh/older /usr/bin/tljh-config /etc/sudoers.d/jupyterhub-admins 2>/dev/null || true"))
	})
}

// keptWhatSitesHave wants the hook to work, and without its key to say what is missing; homes and environments are their owners'.
func (h *hub) keptWhatSitesHave(t *testing.T) {
	t.Helper()
	carol := h.login(t, "carol", passwordOf("carol"))
	start(t, carol)
	want.Equal(t, "bob carol", h.MustSh(t, "ls /srv/homework | grep -v -e probe -e alice | xargs"))
	want.Equal(t, "jupyter-alice jupyter-alice jupyter-alice root", h.MustSh(t, "cd /home/jupyter-alice && stat -c %U .conda .conda/environments.txt .cache/pip of-root | xargs"))
	want.Equal(t, "/opt/tljh/user/envs/geo /opt/tljh/envs/geo", h.MustSh(t, "/opt/tljh/user/envs/geo/bin/python -c 'import os, sys; print(sys.prefix, os.path.realpath(sys.prefix))'"))
	h.must(t, "rm -r /srv/homework/carol && tljh-install config remove hub.writable_paths /srv/homework && tljh-install config reload")
	want.OK(t, carol.StopServer(t.Context(), "carol"))
	want.Contains(t, spawnFailure(t, carol), "/srv/homework/carol", "sudo tljh-install config add hub.writable_paths /srv/homework")
	want.Contains(t, h.MustSh(t, "journalctl -u jupyterhub -o cat --since -2min"), "config add hub.writable_paths /srv/homework")
	h.must(t, permitHomework+" && tljh-install config reload")
	start(t, carol)
}

// adopted wants an older TLJH to have become one of ours, with all that its people had.
func (h *hub) adopted(t *testing.T) {
	t.Helper()
	h.awaitHub(t, time.Minute)
	h.looksInstalled(t)
	refusal(t, h.browser(t, "bob").Login(t.Context(), "another-password"), "logging in with a wrong password")
	bob := h.login(t, "bob", passwordOf("bob"))
	start(t, bob)
	k := kernel(t, bob)
	want.Equal(t, bobsNotebook, compute(t, k, "print(open('thesis.ipynb').read())"))
	want.Equal(t, "6.0 jupyter-bob physics True", compute(t, k, "import cowsay, toolz, getpass, os, sys, importlib.metadata as m; print(m.version('cowsay'), getpass.getuser(), os.environ['COURSE'], 'generations/user-' in sys.prefix)"))
	h.isAdmin(t)
	h.login(t, "carol", passwordOf("carol"))
	var groups []map[string]any
	_, err := h.admin(t).API(t.Context(), http.MethodGet, "groups", nil, &groups)
	want.OK(t, err)
	want.Equal(t, 1, len(groups), "groups of the hub")
	want.Equal(t, "JupyterHub user bob", h.MustSh(t, "getent passwd jupyter-bob | cut -d: -f5"))
	want.Equal(t, "", h.MustSh(t, "systemctl list-unit-files --no-legend --plain | grep traefik; ls -d /opt/tljh/older /opt/tljh/state/adopt.json /opt/tljh/state/traefik* /opt/tljh/state/passwords.dbm /etc/systemd/system/traefik.service "+
		"/etc/systemd/system/*.wants/traefik.service /etc/sudoers.d/jupyterhub-admins 2>/dev/null || true"), "what is left of the older one")
	want.Equal(t, "/opt/tljh/bin/tljh-install", h.MustSh(t, "readlink /usr/bin/tljh-config"))
	want.Contains(t, h.must(t, "/usr/bin/tljh-config show"), "alice")
	want.Contains(t, h.MustSh(t, "cat /opt/tljh/user/conda-meta/pinned"), "cowsay ==6.0", "jupyterhub ==6.1.1")
	want.Contains(t, h.MustSh(t, "ls /opt/tljh/config/traefik_config.d; grep -c . /opt/tljh/config/config.yaml"), "log.toml")
}

// isAdmin wants alice to be an admin, and to have sudo.
func (h *hub) isAdmin(t *testing.T) {
	t.Helper()
	alice := h.admin(t)
	me, err := alice.Me(t.Context())
	want.OK(t, err)
	want.True(t, me.Admin, "alice is no admin")
	start(t, alice)
	k := kernel(t, alice)
	want.Contains(t, shell(t, k, "sudo -n id -un; conda list cowsay"), "root", "cowsay", "6.0", "exit 0")
}

// TestAdoptThatFails is a new hub that does not come up: the older one is running again.
func TestAdoptThatFails(t *testing.T) {
	inTurn(t)
	t.Parallel()
	h := older(t)
	was := h.olderState(t)
	// What the older hub passes over ends the new one.
	h.MustSh(t, "printf 'import jupyterhub\nif jupyterhub.version_info[0] > 5:\n    import os; os.write(2, b\"CRITICAL no hub today\" + bytes([10])); os._exit(1)\n' > /root/fails.py")
	h.MustSh(t, "cp /root/fails.py /opt/tljh/config/jupyterhub_config.d/fails.py")
	r := h.run(t, h.adoptLine())
	h.MustSh(t, "rm /opt/tljh/config/jupyterhub_config.d/fails.py")
	t.Logf("taken back after %.1f s: %s", r.Took.Seconds(), lastLines(r.Output(), 20))
	want.Equal(t, exitFailed, r.Code, r.Output())
	want.Contains(t, r.Output(), "Everything is as it was: the legacy hub is running again", "no hub today")
	h.olderAgain(t, was)

	t.Run("killed on the way back", func(t *testing.T) {
		h.MustSh(t, "cp /root/fails.py /opt/tljh/config/jupyterhub_config.d/fails.py")
		for _, moment := range []string{"going back to the older", "delete /opt/tljh/generations", "start the legacy hub again"} {
			h.killAt(t, "/opt/tljh/bin/tljh-install install --yes", moment)
			t.Logf("killed; phase %s", h.adoptionPhase(t))
		}
		r := h.run(t, "/opt/tljh/bin/tljh-install install --yes")
		h.MustSh(t, "rm /opt/tljh/config/jupyterhub_config.d/fails.py")
		want.Equal(t, exitFailed, r.Code, r.Output())
		want.Contains(t, r.Output(), "Everything is as it was")
		h.olderAgain(t, was)
	})
	r = h.run(t, h.adoptLine())
	want.Equal(t, 0, r.Code, r.Output())
	h.adopted(t)
}

// olderAgain wants the older one to be as it was, and bob to be able to work in it.
func (h *hub) olderAgain(t *testing.T, was string) {
	t.Helper()
	h.awaitHub(t, time.Minute)
	want.SameLines(t, was+"\n", strings.Replace(h.olderState(t), "tljh-install\n", "", 1)+"\n", "not all is as it was")
	b := h.login(t, "bob", passwordOf("bob"))
	start(t, b)
	want.Equal(t, bobsNotebook, compute(t, kernel(t, b), "print(open('thesis.ipynb').read())"))
}

// TestAdoptWithANewEnvironment leaves the older user environment what it is: a kernel.
func TestAdoptWithANewEnvironment(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := older(t)
	// Without its list of packages, it can't be told to be conda's.
	h.MustSh(t, "mv /opt/tljh/user/conda-meta /root/conda-meta")
	r := h.run(t, h.adoptLine())
	want.Equal(t, exitRefused, r.Code, r.Output())
	want.Contains(t, r.Output(), "no environment of conda's", "--new-environment")
	h.awaitHub(t, 20*time.Second)
	h.MustSh(t, "mv /root/conda-meta /opt/tljh/user/conda-meta")
	servesInherited, servesOwn := h.olderHTTPS(t)

	r = h.run(t, h.line("--yes --new-environment --package-manager uv"))
	want.Equal(t, 0, r.Code, r.Output())
	t.Logf("taken over in %.1f s", r.Took.Seconds())
	servesInherited()
	servesOwn()
	h.set(t, "unset https")
	h.awaitHub(t, time.Minute)
	want.Equal(t, "running", h.MustSh(t, "systemctl is-system-running || systemctl --failed --no-legend --plain"), "the machine's state")
	want.Contains(t, h.must(t, "tljh-install env kernels"), "older")
	bob := h.login(t, "bob", passwordOf("bob"))
	start(t, bob)
	want.Equal(t, "False", compute(t, kernel(t, bob), "import importlib.util as u; print(u.find_spec('cowsay') is not None)"))
	k := kernel(t, bob)
	want.Contains(t, shell(t, k, "jupyter kernelspec list"), "older", "python3")
	want.Contains(t, shell(t, k, "/opt/tljh/kernels/env/older/bin/python -c 'import cowsay, toolz, ipykernel, sys; print(sys.prefix)'"), "/opt/tljh/generations/kernel-older-1", "exit 0")
	older := compute(t, kernelOf(t, bob, "older"), "import shutil, os; print(shutil.which('python'), shutil.which('pip'), os.environ['CONDA_PREFIX'])")
	want.Equal(t, "/opt/tljh/kernels/env/older/bin/python /opt/tljh/kernels/env/older/bin/pip /opt/tljh/kernels/env/older", older)
	h.uninstall(t, 0, "--yes")
	h.nothingOfOurs(t)
}

// olderHTTPS gives the older one HTTPS with a certificate of an authority, which gives no more for now. The results want the door to show this
// certificate, and to show another one once the authority gives it.
func (h *hub) olderHTTPS(t *testing.T) (servesInherited, servesOwn func()) {
	t.Helper()
	const name = "hub.example.org"
	ca := h.authority(t, name)
	release := ca.Hold()
	cert, key := certificate(t, name, time.Now().AddDate(0, 1, 0))
	store, err := json.Marshal(map[string]any{"letsencrypt": map[string]any{"Certificates": []any{map[string]any{"certificate": []byte(cert), "key": []byte(key)}}}})
	want.OK(t, err)
	want.OK(t, h.Write(t.Context(), "/opt/tljh/state/acme.json", 0o600, strings.NewReader(string(store))))
	h.MustSh(t, "printf 'https:\n  enabled: true\n  letsencrypt: {email: teacher@example.org, domains: ["+name+"], directory: "+
		strconv.Quote(ca.Directory)+", ca: /etc/authority.pem}\n' >> /opt/tljh/config/config.yaml")
	want.Contains(t, h.must(t, h.line("--plan --new-environment --package-manager uv")), "that of Traefik serves until then")
	loginPage := func(roots *x509.CertPool) func(context.Context) error {
		secure, err := client.NewSecure(name, h.Address(), "bob", roots)
		want.OK(t, err)
		return func(ctx context.Context) error { return showsLogin(ctx, secure) }
	}
	inherited := x509.NewCertPool()
	want.True(t, inherited.AppendCertsFromPEM([]byte(cert)), "no certificate was made")
	servesInherited = func() {
		want.OK(t, loginPage(inherited)(t.Context()))
		want.Equal(t, "600 700", h.MustSh(t, "stat -c %a /var/lib/tljh-edge/inherited/"+name+".pem /var/lib/private/tljh-edge | xargs"))
	}
	servesOwn = func() {
		release()
		guest.Until(t, time.Minute, loginPage(ca.Roots))
		want.Equal(t, "", h.MustSh(t, "ls /var/lib/tljh-edge/inherited"))
	}
	return servesInherited, servesOwn
}

// TestAdoptKilled kills it outright at several moments. The older one works, or the same command completes it.
func TestAdoptKilled(t *testing.T) {
	inTurn(t)
	t.Parallel()
	h := older(t)
	for _, moment := range []string{"next to the live one", "give a copy of the older user environment"} {
		t.Run(moment, func(t *testing.T) {
			h.killAt(t, "sh -c "+"'"+h.adoptLine()+"'", moment)
			h.awaitHub(t, 20*time.Second)
			h.refusesWhileAdopting(t)
			h.awaitHub(t, 20*time.Second)
		})
	}
	for _, moment := range []string{"stop the older hub", "set the older one aside", "take over database", "start the hub", "start a server for a probe user", "remove what is left"} {
		t.Run(moment, func(t *testing.T) {
			h.killAt(t, "/opt/tljh/bin/tljh-install install --yes", moment)
			t.Logf("killed; the hub is %s; phase %s", h.MustSh(t, "systemctl is-active jupyterhub || true"), h.adoptionPhase(t))
			h.refusesWhileAdopting(t)
		})
	}
	if h.MustSh(t, "ls /opt/tljh/state/adopt.json 2>/dev/null || true") != "" { // it may have been done just before it was killed
		r := h.run(t, "/opt/tljh/bin/tljh-install uninstall --yes")
		want.Differ(t, 0, r.Code)
		want.Contains(t, r.Output(), "complete it first")
	}
	r := h.run(t, h.adoptLine())
	want.Equal(t, 0, r.Code, r.Output())
	h.adopted(t)
}

// signalInstall sends a signal to the installations that run.
func signalInstall(signal string) string {
	return `for each in /proc/[0-9]*; do case "$(tr '\0' ' ' <$each/cmdline 2>/dev/null)" in *tljh-install\ install*) kill -` + signal + ` ${each#/proc/};; esac; done; `
}

// TestAdoptWhileTheDiskFills wants the older hub to run again, with the disk still full, and nothing of what was built for the new one to stay on it.
func TestAdoptWhileTheDiskFills(t *testing.T) {
	inTurn(t)
	t.Parallel()
	h := older(t)
	was := h.olderState(t)
	for _, c := range []struct{ moment, words string }{
		{"start +give a copy of the older user environment", "what was built was removed again"},
		{"start +stop the older hub", "Everything is as it was: the legacy hub is running again"},
	} {
		far := regexp.MustCompile(c.moment)
		p := h.begun(t, func(p *guest.Process) bool { return far.MatchString(p.Output()) }, "bash", "-c", h.adoptLine())
		t.Log(h.MustSh(t, signalInstall("STOP")+fillDisk+"; df /var; "+signalInstall("CONT"))) // it would be done before the disk is full
		r, err := p.Wait()
		want.OK(t, err)
		t.Logf("exit code %d\n%s", r.Code, lastLines(r.Output(), 15))
		if r.Code == 0 {
			t.Log("all was written before the disk was full")
			h.MustSh(t, "rm -f /var/fill? /var/more")
			h.adopted(t)
			return
		}
		want.Equal(t, exitFailed, r.Code, r.Output())
		want.Contains(t, r.Output(), c.words)
		h.awaitHub(t, time.Minute)
		want.Equal(t, "enabled enabled", strings.Join(strings.Fields(h.MustSh(t, "systemctl is-enabled jupyterhub traefik")), " "))
		h.MustSh(t, "rm -f /var/fill? /var/more")
		h.olderAgain(t, was)
	}
}
