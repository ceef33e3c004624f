package host

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// hostile is a number that no account of a machine has.
const hostile = 64999

func ofHostile(p Process) bool { return p.UID == hostile }

// A process of the account may end or stop whatever runs as the account, also what root starts so.
func TestLeftoversCannotStrikeFirst(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for _, signal := range []string{"KILL", "STOP"} {
		t.Run(signal, func(t *testing.T) {
			h := &Host{Files: Files{}, Runner: &Exec{}}
			loop := exec.Command("/bin/sh", "-c", "while :; do kill -"+signal+" -1; done 2>/dev/null")
			loop.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: hostile, Gid: hostile}, Pdeathsig: syscall.SIGKILL}
			require.NoError(t, loop.Start())
			ended := make(chan error, 1)
			go func() { ended <- loop.Wait() }()
			require.Eventually(t, func() bool { return slices.ContainsFunc(h.Files.Processes(), ofHostile) }, 10*time.Second, 10*time.Millisecond)

			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			require.NoError(t, h.EndLeftovers(ctx, hostile))
			require.False(t, slices.ContainsFunc(h.Files.Processes(), ofHostile))
			require.ErrorContains(t, <-ended, "killed")
		})
	}
}
