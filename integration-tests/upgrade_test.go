package integration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"tljh/integration-tests/client"
	"tljh/integration-tests/guest"
	"tljh/integration-tests/release"
	"tljh/integration-tests/want"
	signed "tljh/internal/release"
)

// The releases of these tests: one with JupyterHub 5, one of the next minor from this tree with another schema of the config.
const (
	oldVersion = "0.0.9"
	newVersion = "0.1.0"
)

const exitUpgrade = 10

var workshop = sync.OnceValues(func() (*release.Workshop, error) {
	return release.OpenWorkshop(guest.RepositoryRoot(), guest.CacheDir())
})

// variant builds a release, and returns its folder, which is not to be changed.
func variant(t *testing.T, v release.Variant) string {
	t.Helper()
	w, err := workshop()
	want.OK(t, err)
	building.Lock()
	defer building.Unlock()
	folder, err := w.Build(t.Context(), v)
	want.OK(t, err)
	return folder
}

// building is held by the one test that builds a variant, which others may want, too.
var building sync.Mutex

var releaseFiles = []string{release.Bootstrap, "tljh-install-linux-" + runtime.GOARCH, release.Sums, signed.Signature}

// serve makes another release reachable from the guest.
func (h *hub) serve(t *testing.T, folder string) *release.Server {
	t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort(h.Gateway(), "0"))
	want.OK(t, err)
	server := release.Serve(ln, folder)
	t.Cleanup(func() { server.Close() })
	return server
}

// oldInstallation is a hub of the release before, installed once.
var oldInstallation struct {
	once sync.Once
	snap *guest.Snapshot
	err  error
}

// before boots a guest with the hub of the release before.
func before(t *testing.T) *hub {
	t.Helper()
	guest.Require(t)
	in := &oldInstallation
	in.once.Do(func() { in.snap, in.err = installOld(t) })
	if in.err != nil {
		t.Fatalf("cannot install the release before: %v", in.err)
	}
	h := bare(t, guest.Options{From: in.snap})
	h.awaitHub(t, 30*time.Second)
	return h
}

const oldConfig = `# The hub of a course.
users:
  admin: [alice]   # and nobody else
user_environment:
  # As the students know it.
  default_app: classic  # the old notebook
`

func installOld(t *testing.T) (*guest.Snapshot, error) {
	ctx, cancel := context.WithTimeout(context.Background(), installLimit)
	defer cancel()
	w, err := workshop()
	if err != nil {
		return nil, err
	}
	building.Lock()
	folder, err := w.Build(ctx, release.Previous(oldVersion))
	building.Unlock()
	if err != nil {
		return nil, err
	}
	g, err := lab.New(ctx, guest.Options{Name: "before"})
	if err != nil {
		return nil, err
	}
	if err := g.Boot(ctx); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(g.Gateway(), "0"))
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	server := release.Serve(ln, folder)
	defer server.Close()
	if err := g.Write(ctx, "/root/config.yaml", 0o600, strings.NewReader(oldConfig)); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	r, err := g.Sh(ctx, release.Line(server.URL(), "", "--config /root/config.yaml --admin "+admin+":"+adminPassword))
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("the pasted line ended with %d:\n%s\n%s", r.Code, r.Output(), g.Journal(ctx, "-n", "200"))
	}
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	t.Logf("the release before was installed in %.1f s", r.Took.Seconds())
	return g.Snapshot(ctx)
}

// upgrade runs the command and wants it to end with a code.
func (h *hub) upgrade(t *testing.T, code int, args string) guest.Result {
	t.Helper()
	r := h.run(t, "tljh-install upgrade "+args)
	if r.Code != code {
		t.Fatalf("wanted upgrade %s to end with %d, not %d:\n%s", args, code, r.Code, r.Output())
	}
	return r
}

func (h *hub) version(t *testing.T) string {
	t.Helper()
	words := strings.Fields(h.MustSh(t, "tljh-install version"))
	return words[1]
}

// TestUpgradeAtWork goes forward and back under a class that is at work.
func TestUpgradeAtWork(t *testing.T) {
	h := before(t)
	teacher := h.admin(t)
	k := kernel(t, h.student(t, teacher, "bob"))
	compute(t, k, "x = 42")
	h.student(t, teacher, "restless")
	w := h.class(t, teacher)
	next := h.serve(t, variant(t, release.Next(newVersion)))
	was := h.installedState(t)

	t.Run("the plan changes nothing", func(t *testing.T) {
		r := h.upgrade(t, 0, "--plan --from "+next.URL())
		want.Contains(t, r.Output(), "Upgrade from 0.0.9 to 0.1.0", "5.5.4 → 6.1.1", "-  default_app: classic  # the old notebook", "+  default_app: notebook  # the old notebook")
		want.SameLines(t, was, h.installedState(t), "the plan changed something")
	})
	t.Run("forward", func(t *testing.T) {
		plain := h.plainRestart(t)
		watch := w.watch(t, k)
		r := h.upgrade(t, 0, "--yes --from "+next.URL())
		// Three seconds are the aim, and what a quiet machine takes. On one that is busy nothing takes what it should, the hub's own start least of all.
		watch.end(t, "upgrade", max(10*time.Second, 4*plain))
		t.Logf("%s", lastLines(r.Output(), 4))
		want.Equal(t, newVersion, h.version(t))
		k = reconnected(t, w.browsers[0], k)
		want.Equal(t, strings.Replace(oldConfig, "classic", "notebook", 1), h.MustSh(t, "cat /opt/tljh/config/config.yaml")+"\n")
		want.Equal(t, "6.1.1", h.MustSh(t, "/opt/tljh/user/bin/jupyterhub-singleuser --version"))
		h.looksInstalled(t)
		h.stillAtWork(t, w.browsers[0], k.ID)
		r = h.upgrade(t, 0, "--yes --from "+next.URL())
		want.Contains(t, r.Output(), "Nothing to do")
		r = h.run(t, "tljh-install install")
		want.Contains(t, r.Output(), "Nothing to do")
	})
	t.Run("versions", func(t *testing.T) {
		r := h.run(t, "runuser -u nobody -- tljh-install releases --from "+next.URL())
		want.Equal(t, 0, r.Code, r.Output())
		want.Contains(t, r.Output(), "installed  0.1.0  (JupyterHub 6.1.1", "previous   0.0.9  (JupyterHub 5.5.4", "available  0.1.0")
	})
	t.Run("back", func(t *testing.T) {
		enrol(t, h.admin(t), "latecomer")
		restless := h.login(t, "restless", passwordOf("restless"))
		want.OK(t, restless.StopServer(t.Context(), "restless"))
		start(t, restless)
		r := h.run(t, "tljh-install rollback")
		want.Equal(t, exitUsage, r.Code, r.Output())
		want.Contains(t, r.Output(), "users added since: latecomer", "servers started since (they keep running, the hub forgets them): restless", "+  default_app: classic", "cannot ask for confirmation")
		watch := w.watch(t, k)
		r = h.run(t, "tljh-install rollback --yes")
		want.Equal(t, 0, r.Code, r.Output())
		watch.end(t, "rollback", 20*time.Second)
		want.Equal(t, oldVersion, h.version(t))
		k = reconnected(t, w.browsers[0], k)
		want.Equal(t, oldConfig, h.MustSh(t, "cat /opt/tljh/config/config.yaml")+"\n")
		want.Equal(t, "5.5.4", h.MustSh(t, "/opt/tljh/user/bin/jupyterhub-singleuser --version"))
		h.looksInstalled(t)
		restless = h.login(t, "restless", passwordOf("restless"))
		start(t, restless)
		want.Equal(t, "42", compute(t, kernel(t, restless), "print(6*7)"))
		refusal(t, h.browser(t, "latecomer").Login(t.Context(), passwordOf("latecomer")), "logging in as one who is lost")
		h.stillAtWork(t, w.browsers[0], k.ID)
		r = h.run(t, "tljh-install rollback --yes")
		want.Equal(t, exitRefused, r.Code, r.Output())
	})
	t.Run("and forward again, as the pasted line of the newer release", func(t *testing.T) {
		r := h.run(t, release.Line(next.URL(), "", ""))
		want.Equal(t, exitRefused, r.Code, r.Output())
		want.Contains(t, r.Output(), "sudo tljh-install upgrade --from "+next.URL(), "Nothing was changed")
		want.Equal(t, oldVersion, h.version(t), "the program stays")
		h.upgrade(t, 0, "--yes --from "+next.URL())
		want.Equal(t, newVersion, h.version(t))
		reconnected(t, w.browsers[0], k)
	})
}

// reconnected connects to a kernel as a browser does whose connection the door has closed, and wants it to be the same kernel.
func reconnected(t *testing.T, b *client.Browser, k *client.Kernel) *client.Kernel {
	t.Helper()
	again, err := b.Connect(t.Context(), k.ID)
	want.OK(t, err)
	t.Cleanup(func() { _ = again.Close() })
	want.Equal(t, "42", compute(t, again, "print(x)"))
	return again
}

// plainRestart is how long the hub is away when it is only restarted, on this machine and now.
func (h *hub) plainRestart(t *testing.T) time.Duration {
	t.Helper()
	begin := time.Now()
	h.MustSh(t, "systemctl restart jupyterhub")
	h.awaitHub(t, time.Minute)
	took := time.Since(begin)
	load, err := os.ReadFile("/proc/loadavg")
	want.OK(t, err)
	t.Logf("a plain restart of the hub takes %.2f s here; load %s", took.Seconds(), strings.TrimSpace(string(load)))
	return took
}

// installedState is what must be as before where an upgrade did nothing, or was taken back.
func (h *hub) installedState(t *testing.T) string {
	t.Helper()
	return h.MustSh(t, "readlink /opt/tljh/hub /opt/tljh/user /usr/local/bin/tljh-install; sha256sum /opt/tljh/bin/tljh-install /opt/tljh/config/config.yaml "+
		"/opt/tljh/state/proxy.env /etc/sudoers.d/tljh /etc/systemd/system/*jupyterhub* /etc/systemd/system/tljh* /etc/systemd/system/configurable*; "+
		"/opt/tljh/hub/bin/python -c \"import sqlite3; print(sqlite3.connect('/opt/tljh/state/jupyterhub.sqlite').execute('select version_num from alembic_version').fetchall())\"; "+
		"test ! -e /opt/tljh/state/upgrade.json && echo no upgrade under way")
}

// classSize is how many students have a server that is asked all the time.
const classSize = 20

// class is students whose servers run.
type class struct {
	h        *hub
	browsers []*client.Browser
}

func (h *hub) class(t *testing.T, teacher *client.Browser) *class {
	t.Helper()
	size := classSize
	if text := os.Getenv("TLJH_CLASS"); text != "" {
		_, err := fmt.Sscan(text, &size)
		want.OK(t, err)
	}
	bob := h.login(t, "bob", passwordOf("bob"))
	want.OK(t, bob.OpenLab(t.Context()))
	c := &class{h: h, browsers: []*client.Browser{bob}}
	for n := 1; n < size; n++ {
		c.browsers = append(c.browsers, h.student(t, teacher, fmt.Sprintf("student%02d", n)))
	}
	return c
}

// watched is what became of all that was asked during a change.
type watched struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu     sync.Mutex
	asked  int
	failed []string
	slow   time.Duration // the longest a user's server took to answer
	away   time.Duration // the longest the hub took to answer, refusals and all
	cells  int
	again  int // connections to the kernel that were made again, as a browser does
}

// watch asks every student's server, the hub, and a kernel, until it is ended.
func (c *class) watch(t *testing.T, k *client.Kernel) *watched {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watched{cancel: cancel}
	for _, b := range c.browsers {
		w.done.Go(func() { w.poll(ctx, b) })
	}
	w.done.Go(func() { w.pollHub(ctx, c.browsers[0]) })
	w.done.Go(func() { w.compute(ctx, c.browsers[0], k.ID) })
	return w
}

func (w *watched) poll(ctx context.Context, b *client.Browser) {
	for pause(ctx, 100*time.Millisecond) {
		begin := time.Now()
		_, err := b.ServerAPI(ctx, b.User, "GET", "status", nil, nil)
		if ctx.Err() != nil {
			return
		}
		w.mu.Lock()
		w.asked++
		w.slow = max(w.slow, time.Since(begin))
		if err != nil {
			w.failed = append(w.failed, fmt.Sprintf("%s at %s: %v", b.User, begin.Format(time.TimeOnly), err))
		}
		w.mu.Unlock()
	}
}

func (w *watched) pollHub(ctx context.Context, b *client.Browser) {
	good := time.Now()
	for pause(ctx, 50*time.Millisecond) {
		page, err := b.Open(ctx, "/hub/login")
		if ctx.Err() != nil {
			return
		}
		if err == nil && page.Status < 500 {
			w.mu.Lock()
			w.away = max(w.away, time.Since(good))
			w.mu.Unlock()
			good = time.Now()
		}
	}
}

// compute runs code in a kernel all the time. The door closes connections when it restarts, and browsers make them anew; that the kernel is the
// same is what counts.
func (w *watched) compute(ctx context.Context, b *client.Browser, id string) {
	var k *client.Kernel
	for pause(ctx, 100*time.Millisecond) {
		if k == nil {
			var err error
			if k, err = b.Connect(ctx, id); err != nil {
				w.note(ctx, fmt.Sprintf("cannot connect to the kernel: %v", err))
				continue
			}
		}
		out, err := k.Run(ctx, "print(x)")
		if err != nil {
			_ = k.Close()
			k = nil
			w.mu.Lock()
			w.again++
			w.mu.Unlock()
			continue
		}
		w.mu.Lock()
		w.cells++
		w.mu.Unlock()
		if strings.TrimSpace(out.Text) != "42" {
			w.note(ctx, fmt.Sprintf("the kernel said %+v", out))
		}
	}
	if k != nil {
		_ = k.Close()
	}
}

func (w *watched) note(ctx context.Context, failure string) {
	if ctx.Err() != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = append(w.failed, failure)
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// end tells the figures, and wants no request to a user's server to have failed. limit is for the hub.
func (w *watched) end(t *testing.T, what string, limit time.Duration) {
	t.Helper()
	w.cancel()
	w.done.Wait()
	t.Logf("%s: %d requests to users' servers, %d failed, the slowest %.2f s; hub away %.2f s; %d cells run in the kernel that was open, connected to %d times again",
		what, w.asked, len(w.failed), w.slow.Seconds(), w.away.Seconds(), w.cells, w.again)
	for _, failure := range w.failed[:min(5, len(w.failed))] {
		t.Errorf("%s: %s", what, failure)
	}
	if w.away > limit {
		t.Errorf("%s: the hub was away for %s", what, w.away)
	}
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// TestUpgradeOfTheProxy is one that can't leave the proxy alone.
func TestUpgradeOfTheProxy(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := before(t)
	teacher := h.admin(t)
	b := h.student(t, teacher, "bob")
	k := kernel(t, b)
	compute(t, k, "x = 42")
	server := h.serve(t, variant(t, release.Next(newVersion).WithOtherProxy()))
	pid := h.property(t, "configurable-http-proxy.service", "MainPID")
	ctx, cancel := context.WithCancel(t.Context())
	w := &watched{cancel: cancel}
	w.done.Go(func() { w.poll(ctx, b) })
	h.upgrade(t, 0, "--yes --from "+server.URL())
	w.end(t, "upgrade of the proxy", time.Minute)
	want.Differ(t, pid, h.property(t, "configurable-http-proxy.service", "MainPID"), "the proxy's process")
	begun, err := time.ParseDuration(h.MustSh(t, "echo $(( $(systemctl show --value -p ActiveEnterTimestampMonotonic configurable-http-proxy) ))us"))
	want.OK(t, err)
	t.Logf("the proxy was started %s after boot; a request waited for it for %.2f s", begun, w.slow.Seconds())
	want.True(t, w.slow < 10*time.Second, fmt.Sprintf("a request waited for %s", w.slow))
	h.stillAtWork(t, b, k.ID)
}

// TestUpgradeThatIsNone is all that is refused before anything is changed.
func TestUpgradeThatIsNone(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := before(t)
	was := h.installedState(t)
	ws, err := workshop()
	want.OK(t, err)
	next := variant(t, release.Next(newVersion))
	// labelled is a release that only says that it is of another version.
	labelled := func(version string) string {
		folder := t.TempDir()
		want.OK(t, os.WriteFile(filepath.Join(folder, "tljh-install-linux-"+runtime.GOARCH), []byte("no program"), 0o755))
		want.OK(t, os.WriteFile(filepath.Join(folder, release.Bootstrap), nil, 0o755))
		want.OK(t, ws.Sign(folder, version))
		return folder
	}
	altered := func(name string) string {
		folder := t.TempDir()
		for _, each := range releaseFiles {
			data, err := os.ReadFile(filepath.Join(next, each))
			want.OK(t, err)
			if each == name {
				data[len(data)/2] ^= 1
			}
			want.OK(t, os.WriteFile(filepath.Join(folder, each), data, 0o755))
		}
		return folder
	}
	foreign := t.TempDir()
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	want.OK(t, os.WriteFile(filepath.Join(foreign, "tljh-install-linux-"+other), []byte("no program"), 0o755))
	want.OK(t, os.WriteFile(filepath.Join(foreign, release.Bootstrap), nil, 0o755))
	want.OK(t, ws.Sign(foreign, newVersion))
	for _, test := range []struct {
		name, folder, args string
		code               int
		words              string
	}{
		{"the same version", labelled(oldVersion), "--yes", 0, "Nothing to do"},
		{"older", labelled("0.0.8"), "--yes", exitRefused, "tljh-install rollback"},
		{"too far", labelled("0.2.0"), "--yes", exitRefused, "go to 0.1 first: tljh-install upgrade --to 0.1"},
		{"checksums that were changed", altered(release.Sums), "--yes", exitBadInput, "is not one of the key that this program trusts"},
		{"a signature that was changed", altered(signed.Signature), "--yes", exitBadInput, ""},
		{"a program that was changed", altered("tljh-install-linux-" + runtime.GOARCH), "--yes", exitFailed, "is not the file that was expected"},
		{"for another kind of machine", foreign, "--yes", exitFailed, "has no program tljh-install-linux-" + runtime.GOARCH},
		{"another version than the one that is there", next, "--yes --to 0.1.7", exitBadInput, "contains 0.1.0, not 0.1.7"},
		{"nobody to ask", next, "", exitUsage, "--yes"},
		{"check", next, "--check", exitUpgrade, "0.1.0 is available at"},
		{"check, and there is none", labelled(oldVersion), "--check", 0, "No upgrade is available"},
		{"check, and it is too far", labelled("0.3.0"), "--check", exitUpgrade, "go to 0.1 first"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h.MustSh(t, "rm -f /opt/tljh/state/seen.json") // one of these that is newer has not been seen yet
			server := h.serve(t, test.folder)
			r := h.upgrade(t, test.code, test.args+" --from "+server.URL())
			want.Contains(t, r.Output(), test.words)
			want.SameLines(t, was, h.installedState(t), "something was changed")
		})
	}
	h.MustSh(t, "rm -f /opt/tljh/state/seen.json")
	t.Run("without root", func(t *testing.T) {
		server := h.serve(t, next)
		r := h.run(t, "runuser -u nobody -- tljh-install upgrade --check --from "+server.URL())
		want.Equal(t, exitUpgrade, r.Code, r.Output())
		r = h.run(t, "runuser -u nobody -- tljh-install upgrade --yes --from "+server.URL())
		want.Contains(t, r.Output(), "only root", "sudo")
	})
	t.Run("an address of the config", func(t *testing.T) {
		server := h.serve(t, next)
		at := server.URL() + " (by upgrade.url in the config)"
		h.must(t, "tljh-install config set upgrade.url "+server.URL()+" --reload")
		want.Contains(t, h.upgrade(t, exitUpgrade, "--check").Output(), "0.1.0 is available at "+at)
		want.Contains(t, h.must(t, "tljh-install releases"), "0.1.0  at "+at)
		want.Contains(t, h.upgrade(t, exitUsage, "").Output(), "looking for releases at "+at, "cannot ask for confirmation")
		h.must(t, "tljh-install config unset upgrade.url --reload")
		want.SameLines(t, was, h.installedState(t), "something was changed")
	})
	t.Run("a hub that does not work", func(t *testing.T) {
		server := h.serve(t, next)
		h.MustSh(t, "systemctl stop jupyterhub")
		r := h.upgrade(t, exitRefused, "--yes --from "+server.URL())
		want.Contains(t, r.Output(), "health", "tljh-install install repairs")
		h.MustSh(t, "systemctl start jupyterhub")
	})
}

// TestUpgradeThatFails is releases that can't work: the hub does not start, or starts no server.
func TestUpgradeThatFails(t *testing.T) {
	inTurn(t)
	t.Parallel()
	h := before(t)
	b := h.student(t, h.admin(t), "bob")
	k := kernel(t, b)
	compute(t, k, "x = 42")
	was := h.installedState(t)
	for _, test := range []struct {
		name, words string
		variant     release.Variant
	}{
		{"the hub does not start", "no hub today", release.Next(newVersion).With("hub/src/tljh/jupyterhub_config.py", "configure(c, here)", `raise SystemExit("no hub today")`)},
		{"no server starts", "no server today", release.Next(newVersion).With("hub/src/tljh/spawner.py", "    async def _start(self):\n", "    async def _start(self):\n        raise SpawnFailure(Story(\"system\", \"no server today\"))\n")},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := h.serve(t, variant(t, test.variant))
			r := h.upgrade(t, exitFailed, "--yes --from "+server.URL())
			t.Logf("%s", lastLines(r.Output(), 30))
			want.Contains(t, r.Output(), "Everything is as it was: 0.0.9 is running", test.words)
			want.SameLines(t, was, h.installedState(t), "not all is as it was")
			want.Equal(t, oldVersion, h.version(t))
			h.stillAtWork(t, b, k.ID)
			h.looksInstalled(t)
		})
	}
	t.Run("and then one that works", func(t *testing.T) {
		// It is signed after those that fail, as in life: one that was signed before them is held to be a release that somebody holds back.
		server := h.serve(t, variant(t, release.Next(newVersion).With("hub/src/tljh/links.py", "OURS = ", "# This one works.\nOURS = ")))
		h.upgrade(t, 0, "--yes --from "+server.URL())
		h.stillAtWork(t, b, k.ID)
	})
}

// TestUpgradeKilled kills the upgrade outright at several moments. The old release works or the same command completes it.
func TestUpgradeKilled(t *testing.T) {
	inTurn(t)
	t.Parallel()
	h := before(t)
	b := h.student(t, h.admin(t), "bob")
	k := kernel(t, b)
	compute(t, k, "x = 42")
	server := h.serve(t, variant(t, release.Next(newVersion)))
	line := "tljh-install upgrade --yes --from " + server.URL()
	for _, moment := range []string{
		"fetch the users' packages", "next to the live one", "keep this program at", "switch to the new environments", "start the hub", "start a server for a probe user",
	} {
		t.Run(moment, func(t *testing.T) {
			h.killAt(t, line, moment)
			k = reconnected(t, b, k)
			t.Logf("killed; the hub is %s", h.MustSh(t, "systemctl is-active jupyterhub || true"))
		})
	}
	h.saysInterrupted(t, "an upgrade from 0.0.9 to 0.1.0", "tljh-install upgrade")
	r := h.run(t, line)
	want.Equal(t, 0, r.Code, r.Output())
	want.Equal(t, newVersion, h.version(t))
	h.stillAtWork(t, b, k.ID)
	h.looksInstalled(t)
	want.Lacks(t, h.must(t, "tljh-install status"), "interrupted")

	t.Run("rollback", func(t *testing.T) {
		for _, moment := range []string{"going back", "put itself in order"} {
			h.killAt(t, "tljh-install rollback --yes", moment)
		}
		h.saysInterrupted(t, "a rollback to 0.0.9", "tljh-install rollback")
		r := h.run(t, "tljh-install rollback --yes")
		want.Equal(t, 0, r.Code, r.Output())
		want.Equal(t, oldVersion, h.version(t))
		h.stillAtWork(t, b, k.ID)
		h.looksInstalled(t)
	})
}

// saysInterrupted wants to be told what a killed command has left, and what completes it, by whoever looks and by whoever would get in its way.
func (h *hub) saysInterrupted(t *testing.T, what, command string) {
	t.Helper()
	for _, line := range []string{"tljh-install status", "tljh-install install"} {
		r := h.run(t, line)
		want.Differ(t, 0, r.Code, line)
		want.Contains(t, r.Output(), what+" was interrupted", command)
	}
}

// killAt kills a command, and the children that would go on, as soon as it says something, or when it ends before.
func (h *hub) killAt(t *testing.T, line, moment string) {
	t.Helper()
	h.killedAt(t, func(p *guest.Process) bool { return strings.Contains(p.Output(), moment) }, "bash", "-c", "exec "+line)
}

// TestTheSystemIsUpgradedUnderneath puts what an upgrade of the distribution keeps onto the next one: Debian 12 becomes 13, with another Python.
func TestTheSystemIsUpgradedUnderneath(t *testing.T) {
	t.Parallel()
	inTurn(t)
	old := installed(t)
	b := old.student(t, old.admin(t), "bob")
	compute(t, kernel(t, b), "open('notes', 'w').write('kept')")
	want.OK(t, old.Stop(t.Context()))

	h := bare(t, guest.Options{Suite: guest.Trixie})
	want.OK(t, h.Stop(t.Context()))
	for _, kept := range []string{
		"/opt/tljh", "/home", "/etc/systemd/system", "/etc/sudoers.d", "/etc/profile.d", "/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow",
		"/usr/local", "/var/lib/tljh-edge", "/var/lib/private",
	} {
		if _, err := os.Lstat(old.Path(kept)); err != nil {
			continue
		}
		out, err := exec.CommandContext(t.Context(), "cp", "--archive", "--no-target-directory", "--remove-destination", old.Path(kept), h.Path(kept)).CombinedOutput()
		want.OK(t, err, kept+": "+string(out))
	}
	want.OK(t, h.Boot(t.Context()))
	want.Contains(t, h.MustSh(t, "cat /etc/os-release"), "trixie")
	h.awaitHub(t, 60*time.Second)
	h.looksInstalled(t)
	b = h.login(t, "bob", passwordOf("bob"))
	start(t, b)
	want.Equal(t, "kept", compute(t, kernel(t, b), "print(open('notes').read())"))
	r := h.run(t, "tljh-install install")
	want.Equal(t, 0, r.Code, r.Output())
}
