package integration

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"tljh/integration-tests/guest"
	"tljh/integration-tests/want"
)

// onWire runs a command of this machine within the guest's network.
func (h *hub) onWire(t *testing.T, stdin string, argv ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "nsenter", append([]string{"-t", strconv.Itoa(h.Leader()), "-n"}, argv...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	want.OK(t, err, string(out))
}

// noNetwork cuts all but the guest's own loopback.
func noNetwork(t *testing.T, h *hub) func() {
	h.onWire(t, "table inet cut {\nchain out {\ntype filter hook output priority 0\noifname != lo drop\n}\n}\n", "nft", "-f", "-")
	return func() { h.onWire(t, "", "nft", "delete", "table", "inet", "cut") }
}

// slowNetwork lets next to nothing through, without ending any connection.
func slowNetwork(t *testing.T, h *hub) func() {
	shape := func(verb string, rest ...string) {
		out, err := exec.CommandContext(t.Context(), "tc", append([]string{"qdisc", verb, "dev", h.Interface(), "root"}, rest...)...).CombinedOutput()
		want.OK(t, err, string(out))
	}
	shape("add", "tbf", "rate", "32kbit", "burst", "4k", "latency", "2s")
	return func() { shape("del") }
}

// captivePortal answers whatever is asked for with its own page, as the network of a hotel does before one has paid.
func captivePortal(t *testing.T, h *hub) func() {
	portal := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!DOCTYPE html><title>Welcome</title><p>Please accept our terms to go online.</p>\n")
	})
	return h.answeredBy(t, portal, "tcp dport 1-65535")
}

// wrongBytes changes a byte of everything longer that comes without encryption.
func wrongBytes(t *testing.T, h *hub) func() {
	proxy := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", r.In.Host },
		ModifyResponse: func(r *http.Response) error { r.Body = &spoilt{r.Body, 0}; return nil },
	}
	return h.answeredBy(t, proxy, "tcp dport != 443")
}

// spoilt is a body with one wrong byte.
type spoilt struct {
	io.ReadCloser
	done int
}

func (s *spoilt) Read(p []byte) (int, error) {
	const wrong = 3000
	n, err := s.ReadCloser.Read(p)
	if at := wrong - s.done; at >= 0 && at < n {
		p[at] ^= 1
	}
	s.done += n
	return n, err
}

// answeredBy has connections that begin in the guest answered by somebody else, and ends those that are open.
func (h *hub) answeredBy(t *testing.T, handler http.Handler, which string) func() {
	ln, err := h.Listen(t.Context(), "tcp", "127.0.0.1:0")
	want.OK(t, err)
	server := httptest.NewUnstartedServer(handler)
	server.StartTLS() // for its certificate, which nobody trusts
	front := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = front.Serve(eitherWay{ln, server.TLS}) }()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	want.OK(t, err)
	h.onWire(t, "table ip lie {\n"+
		"chain turned { type nat hook output priority -100; oifname != lo "+which+" redirect to :"+port+"; }\n"+
		"chain ended { type filter hook output priority 0; ip daddr != 127.0.0.0/8 "+which+" ct direction original reject with tcp reset; }\n}\n", "nft", "-f", "-")
	return func() {
		h.onWire(t, "", "nft", "delete", "table", "ip", "lie")
		server.Close()
		_ = front.Close()
	}
}

// eitherWay accepts connections with encryption and without.
type eitherWay struct {
	net.Listener
	tls *tls.Config
}

func (l eitherWay) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &undecided{Conn: conn, tls: l.tls}, nil
}

// undecided is a connection of which the first byte tells whether it is encrypted.
type undecided struct {
	net.Conn
	tls     *tls.Config
	decided net.Conn
}

func (u *undecided) conn() net.Conn {
	if u.decided == nil {
		const handshake = 22
		first := bufio.NewReaderSize(u.Conn, 16)
		begin, _ := first.Peek(1)
		plain := &replayed{u.Conn, first}
		u.decided = plain
		if bytes.Equal(begin, []byte{handshake}) {
			u.decided = tls.Server(plain, u.tls)
		}
	}
	return u.decided
}

func (u *undecided) Read(p []byte) (int, error)  { return u.conn().Read(p) }
func (u *undecided) Write(p []byte) (int, error) { return u.conn().Write(p) }

type replayed struct {
	net.Conn
	r io.Reader
}

func (c *replayed) Read(p []byte) (int, error) { return c.r.Read(p) }

// TestTheNetworkLies is what the faults of the matrix are worth: a guest sees what they say.
func TestTheNetworkLies(t *testing.T) {
	t.Parallel()
	h := bare(t, guest.Options{})
	address := h.release.URL() + "/" + "SHA256SUMS"
	honest := h.MustSh(t, "curl -fsS "+address)
	get := func(url string) guest.Result { return h.run(t, "curl --max-time 10 -fsS "+url) }

	end := captivePortal(t, h)
	want.Contains(t, get(address).Output(), "accept our terms")
	want.Contains(t, get("https://"+h.Gateway()).Output(), "certificate")
	end()
	end = wrongBytes(t, h)
	sum := h.MustSh(t, "curl -fsS "+h.release.URL()+"/bootstrap.sh | sha256sum")
	end()
	want.Differ(t, h.MustSh(t, "curl -fsS "+h.release.URL()+"/bootstrap.sh | sha256sum"), sum)
	end = noNetwork(t, h)
	want.Differ(t, 0, get(address).Code)
	end()
	end = slowNetwork(t, h)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	_, err := h.Sh(ctx, "curl -fsS "+h.release.URL()+"/tljh-install-linux-amd64 | wc -c")
	cancel()
	want.True(t, err != nil, "a slow network was fast")
	end()
	want.Equal(t, honest, h.MustSh(t, "curl -fsS "+address))
}
