package integration

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"tljh/integration-tests/guest"
	"tljh/integration-tests/release"
	"tljh/integration-tests/want"
)

// TestARM64 runs the arm64 program under emulation: it starts, knows its version, and plans an installation.
func TestARM64(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := bare(t, guest.Options{})
	emulator, err := exec.LookPath("qemu-aarch64-static")
	want.OK(t, err, "run integration-tests/install-tools")
	for from, to := range map[string]string{emulator: "/root/emulator", filepath.Join(dist, release.ARM64): "/root/tljh-install"} {
		f, err := os.Open(from)
		want.OK(t, err)
		defer f.Close()
		want.OK(t, h.Write(t.Context(), to, 0o755, f))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r, err := h.Exec(ctx, "/root/emulator", "/root/tljh-install", "version")
	want.OK(t, err)
	want.Equal(t, 0, r.Code, r.Output())
	want.Contains(t, r.Output(), "arm64")
	before := h.state(t)
	r, err = h.Exec(ctx, "/root/emulator", "/root/tljh-install", "install", "--admin", "alice", "--plan", "--ignore-preflight", "programs") // this machine is none for arm64
	want.OK(t, err)
	want.Equal(t, 0, r.Code, r.Output())
	want.Contains(t, r.Output(), "jupyterhub.service", "configurable-http-proxy.service")
	want.SameLines(t, before, h.state(t), "--plan changed something")
}
