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

// variant builds a release, and returns a folder of its own with it.
func variant(t *testing.T, v release.Variant) string {
	t.Helper()
	w, err := workshop()
	want.OK(t, err)
	built, err := w.Build(t.Context(), v)
	want.OK(t, err)
	folder := t.TempDir()
	for _, name := range releaseFiles {
		want.OK(t, os.Link(filepath.Join(built, name), filepath.Join(folder, name)), "linking the release") // on one disk, see TempDir
	}
	return folder
}

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
	folder, err := w.Build(ctx, release.Previous(oldVersion))
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

func TestUpgrade(t *testing.T) {
	h := before(t)
	server := h.serve(t, variant(t, release.Next(newVersion)))
	r := h.upgrade(t, 0, "--yes --from "+server.URL())
	t.Logf("%s", r.Output())
	want.Equal(t, newVersion, h.version(t))
}

var _ = exec.Command
