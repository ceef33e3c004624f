package bootstrap

import (
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// openTerminal returns both ends of a new pseudo-terminal.
func openTerminal(t *testing.T) (ours, theirs *os.File) {
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("there are no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { _ = ours.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	return ours, theirs
}

func TestProgressOnATerminal(t *testing.T) {
	eachShell(t, func(t *testing.T, shell string) {
		big := standIn("amd64", 5_000_000)
		r := newRelease(t, func(w http.ResponseWriter, r *http.Request, _ int) bool {
			if !isBinary(r) {
				return false
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(big)))
			_, _ = w.Write(big[:3_500_000])
			w.(http.Flusher).Flush()
			select { // a slow line: the rest comes when the progress has been seen
			case <-r.Context().Done():
			case <-time.After(2500 * time.Millisecond):
			}
			_, _ = w.Write(big[3_500_000:])
			return true
		})
		r.put("tljh-install-linux-amd64", big)
		m := newMachine(t, shell, "curl").from(r)
		ours, theirs := openTerminal(t)
		cmd := m.command()
		cmd.Stdout, cmd.Stderr = theirs, theirs
		require.NoError(t, cmd.Start())
		require.NoError(t, theirs.Close())
		seen := drain(ours)
		require.NoError(t, cmd.Wait(), seen)
		assert.Contains(t, seen, "\r  3 MB ")
		assert.Contains(t, seen, "5 MB, checksum verified")
		assert.Contains(t, seen, "stand-in")
	})
}
