package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Enabled says whether tests that need root and a quarter of an hour are wanted: `make test-integration` says so. Then a missing tool
// is a failure; otherwise these tests are left out, saying why.
func Enabled() bool { return os.Getenv("TLJH_INTEGRATION") == "1" }

// Require leaves the test out where integration tests are not wanted.
func Require(t testing.TB) {
	t.Helper()
	if !Enabled() {
		t.Skip("this test boots a guest as root; run it with `make test-integration` (TLJH_INTEGRATION=1)")
	}
}

// Up makes and boots a guest for a test. It ends with the test; when the test failed, its logs are kept among the artefacts.
func (l *Lab) Up(t testing.TB, opts Options) *Guest {
	t.Helper()
	if opts.Name == "" {
		opts.Name = t.Name()
	}
	g, err := l.New(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			g.KeepLogs(t)
		}
		if err := g.Close(); err != nil {
			t.Errorf("cannot take the guest down: %v", err)
		}
	})
	if err := g.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	return g
}

// KeepLogs writes the guest's console, journal and installer log to the artefacts.
func (g *Guest) KeepLogs(t testing.TB) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	dir := filepath.Join(g.lab.artefacts, strings.ReplaceAll(g.opts.Name, "/", "_"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Logf("cannot keep the guest's logs: %v", err)
		return
	}
	logs := map[string]string{"journal.log": g.Journal(ctx)}
	if data, err := os.ReadFile(filepath.Join(g.folder, "console.log")); err == nil {
		logs["console.log"] = string(data)
	}
	if data, err := g.Read(ctx, "/opt/tljh/installer.log"); err == nil {
		logs["installer.log"] = string(data)
	}
	for name, text := range logs {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Logf("cannot keep the guest's logs: %v", err)
		}
	}
	t.Logf("the guest's logs are in %s", dir)
}

// MustSh runs a script that must succeed and returns what it printed, without the last newline.
func (g *Guest) MustSh(t testing.TB, script string) string {
	t.Helper()
	r, err := g.Sh(t.Context(), script)
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	if r.Code != 0 {
		t.Fatalf("%s: exit %d: %s", script, r.Code, r.Output())
	}
	return strings.TrimRight(r.Stdout, "\n")
}

// patience is by how much the limits of Until are stretched: they are written for a machine that does nothing else, and a test that
// fails because its neighbours are busy says nothing of the product.
const patience = 3

// Until looks again and again until what says nil, and fails the test with its last error when the time is over.
func Until(t testing.TB, limit time.Duration, what func(ctx context.Context) error) {
	t.Helper()
	if err := Poll(t.Context(), patience*limit, what); err != nil {
		t.Fatal(err)
	}
}

// Poll looks again and again until what says nil. A look may take as long as the rest of the time.
func Poll(ctx context.Context, limit time.Duration, what func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := what(ctx)
		if err == nil {
			return nil
		}
		if perr := pause(ctx); perr != nil {
			return fmt.Errorf("not so after %s: %w", limit, errors.Join(err, perr))
		}
	}
}
