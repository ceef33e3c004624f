package edge

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// soon is how long anything may take before a test calls it missing.
const soon = 20 * time.Second

// notes collects a log.
type notes struct {
	lock sync.Mutex
	text bytes.Buffer
}

func (n *notes) Write(data []byte) (int, error) {
	n.lock.Lock()
	defer n.lock.Unlock()
	return n.text.Write(data)
}

func (n *notes) lines() []string {
	n.lock.Lock()
	defer n.lock.Unlock()
	return strings.FieldsFunc(n.text.String(), func(r rune) bool { return r == '\n' })
}

// behind is what is behind the door. It can be stopped and started again at the same address.
type behind struct {
	t       testing.TB
	address string
	handler http.Handler
	server  *httptest.Server
}

// newBehind reserves an address; nothing listens there before start.
func newBehind(t testing.TB, handler http.HandlerFunc) *behind {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	b := &behind{t: t, address: listener.Addr().String(), handler: handler}
	require.NoError(t, listener.Close())
	t.Cleanup(b.stop)
	return b
}

func (b *behind) start() *behind {
	b.t.Helper()
	var listener net.Listener
	require.Eventually(b.t, func() bool {
		var err error
		listener, err = net.Listen("tcp", b.address)
		return err == nil
	}, soon, time.Millisecond)
	b.server = httptest.NewUnstartedServer(b.handler)
	require.NoError(b.t, b.server.Listener.Close())
	b.server.Listener = listener
	b.server.Start()
	return b
}

// stop kills it: connections are cut.
func (b *behind) stop() {
	if b.server == nil {
		return
	}
	_ = b.server.Listener.Close()
	b.server.CloseClientConnections()
	b.server.Close()
	b.server = nil
}

// door is a running edge.
type door struct {
	server  *Server
	address string
	url     string
	secure  string // the same for HTTPS
	log     *notes
	close   func()     // as SIGTERM does
	ended   chan error // what Serve returned
}

func open(t testing.TB, options Options) *door {
	t.Helper()
	return openAt(t, options, newListener(t), newListener(t))
}

// openAt opens a door at a port for HTTP and, where it is set up, one for HTTPS.
func openAt(t testing.TB, options Options, plain, secure net.Listener) *door {
	t.Helper()
	doors := []Door{{Listener: plain, Scheme: "http"}}
	d := &door{log: &notes{}, address: plain.Addr().String(), ended: make(chan error, 1)}
	d.url = "http://" + d.address
	if options.HTTPS != nil && secure != nil {
		doors = append(doors, Door{Listener: secure, Scheme: "https"})
		d.secure = secure.Addr().String()
	}
	options.Log = d.log
	d.server = New(options)
	ctx, cancel := context.WithCancel(context.Background())
	d.close = cancel
	done := make(chan struct{})
	go func() {
		d.ended <- d.server.Serve(ctx, doors...)
		close(done)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return d
}

// get asks for a page and returns its status, header and body.
func (d *door) get(t testing.TB, path string, header ...string) (*http.Response, string) {
	t.Helper()
	return d.do(t, http.MethodGet, path, nil, header...)
}

func (d *door) do(t testing.TB, method, path string, body io.Reader, header ...string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequest(method, d.url+path, body)
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		request.Header.Add(header[i], header[i+1])
	}
	response, err := client(t).Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response, string(text)
}

func client(t testing.TB) *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 2 * soon}
}

// raw sends bytes and returns the connection.
func (d *door) raw(t testing.TB, text string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", d.address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(soon)))
	_, err = io.WriteString(conn, text)
	require.NoError(t, err)
	return conn, bufio.NewReader(conn)
}

func (d *door) waiting() int { return len(d.server.upstream.waiting) }

func newListener(t testing.TB) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

func refused(address string) bool {
	conn, err := net.Dial("tcp", address)
	if err == nil {
		_ = conn.Close()
	}
	return err != nil
}
