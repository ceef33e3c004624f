package edge

import (
	"bufio"
	"context"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The edge's unit gets the variables of the network's proxy. A process reads them once, so that it takes one of its own.
func TestTheAuthorityIsAskedThroughTheProxy(t *testing.T) {
	const child = "TLJH_TEST_STATE"
	if state := os.Getenv(child); state != "" {
		a := newACMEKeeper(ACME{Domains: []string{"hub.example.org"}, Directory: "https://acme.invalid/directory", State: state}, log.New(io.Discard, "", 0))
		require.NoError(t, a.prepare(nil))
		require.Error(t, a.config.ObtainCertSync(t.Context(), "hub.example.org"))
		return
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	asked := make(chan string, 100)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			line, _ := bufio.NewReader(conn).ReadString('\n')
			asked <- line
			_, _ = io.WriteString(conn, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
			_ = conn.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = []string{child + "=" + t.TempDir(), "HOME=" + t.TempDir(), "https_proxy=http://" + ln.Addr().String(), "no_proxy=localhost,127.0.0.1"}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	select {
	case line := <-asked:
		assert.Equal(t, "CONNECT acme.invalid:443 HTTP/1.1\r\n", line)
	default:
		t.Fatalf("the proxy was not asked:\n%s", out)
	}
}
