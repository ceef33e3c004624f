package integration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"tljh/integration-tests/client"
	"tljh/integration-tests/guest"
	"tljh/integration-tests/release"
	"tljh/integration-tests/want"
)

// The admin of the hubs that tests share.
const (
	admin         = "alice"
	adminPassword = "correct-horse-battery"
)

// Exit codes that the installer promises.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitBadInput    = 3
	exitRefused     = 4
	exitBusy        = 5
	exitIncomplete  = 6
	exitInterrupted = 130
)

// installLimit is far more than an installation takes on a slow network and a busy machine.
const installLimit = 12 * time.Minute

// hub is a guest with what a test needs to install and use it.
type hub struct {
	*guest.Guest
	release *release.Server
}

// bare boots a guest on which nothing is installed, with a release within its reach.
func bare(t *testing.T, opts guest.Options) *hub {
	t.Helper()
	guest.Require(t)
	timed(t)
	g := lab.Up(t, opts)
	ln, err := net.Listen("tcp", net.JoinHostPort(g.Gateway(), "0"))
	want.OK(t, err)
	server := release.Serve(ln, dist)
	t.Cleanup(func() { server.Close() })
	return &hub{Guest: g, release: server}
}

// line is the line of the README as root pastes it.
func (h *hub) line(args string) string { return release.Line(h.release.URL(), "", args) }

func (h *hub) run(t *testing.T, script string) guest.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), installLimit)
	defer cancel()
	r, err := h.Sh(ctx, script)
	want.OK(t, err)
	return r
}

// paste runs the line and wants it to end well.
func (h *hub) paste(t *testing.T, args string) guest.Result {
	t.Helper()
	r := h.run(t, h.line(args))
	if r.Code != 0 {
		t.Fatalf("the pasted line ended with %d:\n%s", r.Code, r.Output())
	}
	return r
}

// install is a hub installed once, from whose disk the guests of tests start.
type install struct {
	suite  string
	once   sync.Once
	snap   *guest.Snapshot
	output string
	took   time.Duration
	err    error
}

// Most tests start from the first; those of which the distribution is a part also from the second.
var (
	installation = &install{suite: guest.Bookworm}
	onDebian13   = &install{suite: guest.Trixie}
)

// installed boots a guest on which the hub of alice is installed and waits until it answers.
func installed(t *testing.T) *hub {
	t.Helper()
	return installation.boot(t)
}

// target is the installation that is attacked, on one distribution or the other in turns by the seed: what is attacked differs between them.
func target() *install {
	if seedOf(time.Now())%2 == 0 {
		return onDebian13
	}
	return installation
}

// attacked boots a guest on which that hub is installed and waits until it answers.
func attacked(t *testing.T) *hub {
	t.Helper()
	return target().boot(t)
}

func (in *install) boot(t *testing.T) *hub {
	t.Helper()
	guest.Require(t)
	h := bare(t, guest.Options{From: in.snapshot(t)})
	h.awaitHub(t, 30*time.Second)
	return h
}

func (in *install) snapshot(t *testing.T) *guest.Snapshot {
	t.Helper()
	in.once.Do(func() { in.snap, in.output, in.took, in.err = installOnce(in.suite) })
	if in.err != nil {
		t.Fatalf("cannot install the hub that this test uses: %v", in.err)
	}
	return in.snap
}

func installOnce(suite string) (snap *guest.Snapshot, output string, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), installLimit)
	defer cancel()
	g, err := lab.New(ctx, guest.Options{Name: "installed-" + suite, Suite: suite})
	if err != nil {
		return nil, "", 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.Close())
		}
	}()
	if err := g.Boot(ctx); err != nil {
		return nil, "", 0, err
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(g.Gateway(), "0"))
	if err != nil {
		return nil, "", 0, err
	}
	server := release.Serve(ln, dist)
	defer server.Close()
	h := &hub{Guest: g, release: server}
	r, err := g.Sh(ctx, h.line("--admin "+admin+":"+adminPassword))
	if err != nil {
		return nil, "", 0, err
	}
	if r.Code != 0 {
		return nil, "", 0, fmt.Errorf("the pasted line ended with %d:\n%s\n%s", r.Code, r.Output(), g.Journal(ctx, "-n", "100"))
	}
	snap, err = g.Snapshot(ctx)
	return snap, r.Output(), r.Took, err
}

// url is the hub's address as another computer has it.
func (h *hub) url() string { return "http://" + h.Address() }

// awaitHub waits until the login page comes.
func (h *hub) awaitHub(t *testing.T, limit time.Duration) {
	t.Helper()
	guest.Until(t, limit, h.answers)
}

func (h *hub) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	b, err := client.New(h.url(), "")
	if err != nil {
		return err
	}
	return showsLogin(ctx, b)
}

// showsLogin wants a browser to be shown the login page.
func showsLogin(ctx context.Context, b *client.Browser) error {
	page, err := b.Open(ctx, "/hub/login")
	if err == nil && page.Status != http.StatusOK {
		err = fmt.Errorf("the login page says %d", page.Status)
	}
	return err
}

// login opens a browser and logs in.
func (h *hub) login(t *testing.T, user, password string) *client.Browser {
	t.Helper()
	b := h.browser(t, user)
	want.OK(t, b.Login(t.Context(), password), user)
	return b
}

func (h *hub) browser(t *testing.T, user string) *client.Browser {
	t.Helper()
	b, err := client.New(h.url(), user)
	want.OK(t, err)
	return b
}

// admin logs alice in.
func (h *hub) admin(t *testing.T) *client.Browser {
	t.Helper()
	return h.login(t, admin, adminPassword)
}

// enrol lets the admin add students, as the admin panel does.
func enrol(t *testing.T, admin *client.Browser, names ...string) {
	t.Helper()
	_, err := admin.API(t.Context(), http.MethodPost, "users", map[string]any{"usernames": names}, nil)
	want.OK(t, err, "adding students")
}

// passwordOf is what a student chooses at the first login.
func passwordOf(user string) string { return user[:min(len(user), 20)] + "-has-a-password" }

// student adds a student, logs in as them for the first time and starts their server.
func (h *hub) student(t *testing.T, admin *client.Browser, name string) *client.Browser {
	t.Helper()
	enrol(t, admin, name)
	b := h.login(t, name, passwordOf(name))
	start(t, b)
	return b
}

// start starts the browser's own server and opens JupyterLab.
func start(t *testing.T, b *client.Browser) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	want.OK(t, b.Spawn(ctx), b.User)
	want.OK(t, b.OpenLab(ctx), b.User)
}

// kernel starts a kernel that is closed with the test.
func kernel(t *testing.T, b *client.Browser) *client.Kernel {
	t.Helper()
	return kernelOf(t, b, "python3")
}

// kernelOf starts a kernel by the name of its description.
func kernelOf(t *testing.T, b *client.Browser, name string) *client.Kernel {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	k, err := b.StartKernelOf(ctx, name)
	want.OK(t, err, b.User)
	t.Cleanup(func() { _ = k.Close() })
	return k
}

// compute runs code that must work, and returns what it printed.
func compute(t *testing.T, k *client.Kernel, code string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	out, err := k.Run(ctx, code)
	want.OK(t, err)
	if out.Error != "" || out.Died {
		t.Fatalf("the code failed (kernel died: %t): %s\n%s\n%s", out.Died, out.Error, out.Text, code)
	}
	return strings.TrimSpace(out.Text)
}

// property reads what systemd says of a unit.
func (h *hub) property(t *testing.T, unit, name string) string {
	t.Helper()
	return h.MustSh(t, "systemctl show --value -p "+name+" "+unit)
}

// config sets the hub's config to what the installation has and these lines, as an admin does: a file, and the installer again.
func (h *hub) config(t *testing.T, yaml string) {
	t.Helper()
	want.OK(t, h.Write(t.Context(), "/root/config.yaml", 0o600, strings.NewReader(yaml)))
	r := h.run(t, "tljh-install install --config /root/config.yaml")
	if r.Code != 0 {
		t.Fatalf("the config was not taken (%d):\n%s", r.Code, r.Output())
	}
	h.awaitHub(t, 30*time.Second)
}

// refusal wants an error by which the hub says no, and returns what it said.
func refusal(t *testing.T, err error, doing string) *client.Refused {
	t.Helper()
	var no *client.Refused
	if !errors.As(err, &no) {
		t.Fatalf("%s: wanted the hub to refuse it, got %v", doing, err)
	}
	return no
}
