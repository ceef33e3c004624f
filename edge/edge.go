// Package edge is the reverse proxy that browsers connect to: it takes every request from outside to the proxy on loopback.
//
// It exists so that nobody is refused while the proxy or the hub restarts (systemd keeps the ports, requests wait), so that what clients
// claim about themselves is replaced by what is known about them, and so that plain words stand where a bare 502 would. Routing is no
// business of it: that is configurable-http-proxy's. Nor are the hub's pages, accounts or any file of the installation.
package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options say how the door behaves. The zero value of each is a sane choice, but for Upstream.
type Options struct {
	Upstream string // the proxy's host:port
	Hub      string // the hub's own host:port, for questions that are not visitors'
	BaseURL  string // the hub's base_url; /
	Token    string // by which the hub knows the edge
	HTTPS    *HTTPS // nil serves the hub over HTTP; else HTTP only leads to HTTPS
	Origins  Origins
	Proxies  Proxies

	Wait       time.Duration // how long a request waits for the proxy or the hub to come back; 15 s
	MaxWaiting int           // how many may wait at once; 1000. More are told to come back
	Drain      time.Duration // how long requests may take to end when the door closes; 3 s
	Header     time.Duration // how long a client may take to send a request's header; 20 s
	Idle       time.Duration // how long a connection without a request stays open; 2 min
	Stall      time.Duration // how long one that sends or takes a body may stand still; 5 min
	Limits     Limits        // of what strangers can make the edge hold

	Log       io.Writer // one line each time something ends or begins to work; os.Stderr
	AccessLog io.Writer // one line a request; nil for none
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		value *time.Duration
		usual time.Duration
	}{{&o.Wait, 15 * time.Second}, {&o.Drain, 3 * time.Second}, {&o.Header, 20 * time.Second}, {&o.Idle, 2 * time.Minute}, {&o.Stall, 5 * time.Minute}} {
		if *d.value <= 0 {
			*d.value = d.usual
		}
	}
	o.BaseURL = baseURL(o.BaseURL)
	if o.MaxWaiting <= 0 {
		o.MaxWaiting = 1000
	}
	if o.Log == nil {
		o.Log = os.Stderr
	}
	return o
}

// Door is a listener and the scheme that clients use on it.
type Door struct {
	net.Listener
	Scheme string // "http" or "https"
	Users  bool   // single-user servers are served here, and nothing else
}

const (
	schemeHTTP  = "http"
	schemeHTTPS = "https"
)

// Server is the edge.
type Server struct {
	options  Options
	upstream *upstream
	handler  http.Handler
	keeper   keeper // nil without HTTPS
	log      *log.Logger
	doors    []Door

	connections *connections
	hsts        *hsts // nil without HTTPS

	access sync.Mutex // held while a line of the access log is written
}

// New returns a door that leads to options.Upstream.
func New(options Options) *Server {
	options = options.withDefaults()
	s := &Server{options: options, log: log.New(options.Log, "", 0)}
	s.connections = newConnections(options.Limits, s.log)
	s.upstream = newUpstream(options, s.log)
	s.keeper = s.newKeeper()
	if options.HTTPS != nil {
		s.hsts = newHSTS(options.HTTPS.HSTS, s.log)
	}
	s.handler = s.front(s.separate(&httputil.ReverseProxy{
		Rewrite:        s.rewrite,
		ModifyResponse: s.scrub,
		Transport:      s.upstream,
		FlushInterval:  -1, // what the hub sends piece by piece must arrive piece by piece
		BufferPool:     newBuffers(),
		ErrorHandler:   s.fail,
		ErrorLog:       log.New(io.Discard, "", 0), // a line for every visitor that goes away helps nobody; fail tells what matters
	}))
	return s
}

// Serve takes requests until ctx ends or a listener fails; then it lets the running ones end, for no longer than Options.Drain.
// Connections that were upgraded (websockets) are closed, and hold nothing up.
func (s *Server) Serve(ctx context.Context, doors ...Door) error {
	if len(doors) == 0 {
		return errors.New("there is no port to serve")
	}
	if _, _, err := net.SplitHostPort(s.options.Upstream); err != nil {
		return fmt.Errorf("the proxy's address is not of the form host:port: %w", err)
	}
	if s.keeper == nil && securePort(doors) != 0 {
		return errors.New("a port for HTTPS was passed, and no certificate to serve it with")
	}
	s.doors = doors
	requests, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	if s.keeper != nil {
		keeping, end := context.WithCancel(ctx)
		wait := s.keeper.keep(keeping, doors)
		defer func() { end(); wait() }()
	}
	go s.connections.watchMemory(requests)
	failed := make(chan error, len(doors))
	servers := []*http.Server{}
	for _, door := range doors {
		door.Listener = &listener{Listener: door.Listener, among: s.connections, trusts: s.options.Proxies.trusts}
		server := s.server(requests, door, doors)
		servers = append(servers, server)
		go func() { failed <- serve(server, door) }()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("cannot take connections: %w", err)
	}
	s.drain(servers, abort)
	return err
}

func serve(server *http.Server, door Door) error {
	if server.TLSConfig != nil {
		return server.ServeTLS(door.Listener, "", "")
	}
	return server.Serve(door.Listener)
}

// server returns what serves one of the doors.
func (s *Server) server(requests context.Context, door Door, doors []Door) *http.Server {
	server := s.bareServer(requests, door)
	switch {
	case door.Scheme == schemeHTTPS:
		// HTTP/2 for pages; a browser opens websockets over HTTP/1.1, since this server offers none within HTTP/2.
		server.TLSConfig = s.tlsConfig()
		server.Protocols.SetHTTP2(true)
		server.HTTP2 = &http.HTTP2Config{
			WriteByteTimeout: s.options.Stall, MaxConcurrentStreams: maxStreams, MaxReadFrameSize: 16 << 10,
			MaxReceiveBufferPerConnection: 512 << 10, MaxReceiveBufferPerStream: 256 << 10,
		}
	case s.keeper != nil:
		server.Handler = s.front(s.toHTTPS(securePort(doors)))
	}
	return server
}

func (s *Server) bareServer(requests context.Context, door Door) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: s.options.Header,
		IdleTimeout:       s.options.Idle,
		MaxHeaderBytes:    256 << 10, // beyond maxHeader there is a page that says so, beyond this nothing but the status
		Protocols:         protocols,
		ErrorLog:          log.New(&panicsOnly{s.options.Log}, "", 0),
		BaseContext:       func(net.Listener) context.Context { return requests },
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			counted := connOf(conn)
			ctx = context.WithValue(ctx, connKey{}, counted)
			if counted != nil {
				if fronted, ok := counted.Conn.(*fronted); ok {
					ctx = context.WithValue(ctx, frontedKey{}, fronted)
				}
			}
			return context.WithValue(ctx, visitKey{}, visitOf(conn.RemoteAddr(), conn.LocalAddr(), door))
		},
	}
}

func (s *Server) drain(servers []*http.Server, abort func()) {
	ctx, cancel := context.WithTimeout(context.Background(), s.options.Drain)
	defer cancel()
	s.upstream.stop(s.options.Drain / 2)
	var all sync.WaitGroup
	for _, server := range servers {
		all.Go(func() {
			if server.Shutdown(ctx) != nil {
				_ = server.Close()
			}
		})
	}
	all.Wait()
	abort() // upgraded connections end with the context of their request
	s.upstream.base.CloseIdleConnections()
}

// front is what every request meets first.
func (s *Server) front(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect || r.Method == http.MethodTrace {
			http.Error(w, "This server does not know the method "+r.Method+".", http.StatusMethodNotAllowed)
			return
		}
		if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			r.Header.Del("Upgrade") // another protocol behind the door could carry requests that nobody looked at
		}
		start := time.Now()
		r = s.learn(r)
		answer := &answer{ResponseWriter: w, control: http.NewResponseController(w), stall: s.options.Stall, stream: r.ProtoMajor > 1, hsts: s.hsts.words(r)}
		if s.isForHub(r.URL) && r.Body != nil && r.Body != http.NoBody {
			r.Body = http.MaxBytesReader(w, r.Body, hubBody)
		}
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = &incoming{ReadCloser: r.Body, control: answer.control, stall: s.options.Stall, stream: answer.stream}
		}
		defer func() {
			_ = answer.control.SetWriteDeadline(time.Now().Add(s.options.Stall)) // for what the server itself still has to send
			s.note(r, answer, start)
		}()
		if s.isForHub(r.URL) && r.ContentLength > hubBody {
			s.tell(answer, r, bodyTooBig)
			return
		}
		s.limit(next).ServeHTTP(answer, r)
	})
}

// hubBody is what a request to the hub may bring, as in tljh/bodies.py: the hub holds it in memory, and ends the connection of one that brings more.
const hubBody = 256 << 10

// note writes a line of the access log. The query stays out: it may hold a token.
func (s *Server) note(r *http.Request, answer *answer, start time.Time) {
	if s.options.AccessLog == nil {
		return
	}
	status := answer.status
	if status == 0 {
		status = http.StatusSwitchingProtocols
	}
	s.access.Lock()
	defer s.access.Unlock()
	fmt.Fprintf(s.options.AccessLog, "%s %s %q %d %d %dms\n", visitFrom(r).client, r.Method, r.URL.EscapedPath(), status, answer.bytes, time.Since(start).Milliseconds())
}

// answer is the way back to a client. One that takes nothing any more is given up after a while.
type answer struct {
	http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
	stream  bool // within HTTP/2, where a deadline that passes ends a stream even if nothing waits to be sent
	set     time.Time
	status  int
	bytes   int64
	hsts    string // the value of Strict-Transport-Security; nobody else sets it
}

func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) WriteHeader(status int) {
	if status >= 200 {
		a.begin(status)
	}
	a.extend()
	defer a.relax()
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(data []byte) (int, error) {
	if a.status == 0 {
		a.begin(http.StatusOK)
	}
	a.extend()
	defer a.relax()
	n, err := a.ResponseWriter.Write(data)
	a.bytes += int64(n)
	return n, err
}

// FlushError is what http.ResponseController calls.
func (a *answer) FlushError() error {
	a.extend()
	defer a.relax()
	return a.control.Flush()
}

// begin keeps the server from guessing the type of an answer that has none: a guess could make a page of what is none.
func (a *answer) begin(status int) {
	a.status = status
	a.Header().Del(hstsHeader)
	if a.hsts != "" {
		a.Header().Set(hstsHeader, a.hsts)
	}
	if header := a.Header(); header.Get("Content-Type") == "" {
		header["Content-Type"] = nil
	}
}

func (a *answer) extend() {
	if now := time.Now(); a.stream || now.Sub(a.set) > a.stall/20 {
		a.set = now
		_ = a.control.SetWriteDeadline(now.Add(a.stall))
	}
}

func (a *answer) relax() {
	if a.stream {
		_ = a.control.SetWriteDeadline(time.Time{})
	}
}

// incoming is a request's body on its way in. A client that stands still in the middle of it is given up after a while.
type incoming struct {
	io.ReadCloser
	control *http.ResponseController
	stall   time.Duration
	stream  bool // as in answer
	set     time.Time
	failed  atomic.Bool // the client's doing: it went away or stood still
}

func (b *incoming) Read(data []byte) (int, error) {
	if now := time.Now(); b.stream || now.Sub(b.set) > b.stall/20 {
		b.set = now
		_ = b.control.SetReadDeadline(now.Add(b.stall))
	}
	n, err := b.ReadCloser.Read(data)
	if err != nil || b.stream {
		// The server goes on reading, to notice when the client leaves: that must not time out.
		_ = b.control.SetReadDeadline(time.Time{})
	}
	if err != nil {
		if err != io.EOF && !errors.Is(err, http.ErrBodyReadAfterClose) {
			b.failed.Store(true)
		}
	}
	return n, err
}

// buffers are lent to the copying of answers.
type buffers struct{ pool sync.Pool }

func newBuffers() *buffers {
	return &buffers{pool: sync.Pool{New: func() any { buffer := make([]byte, 32<<10); return &buffer }}}
}

// Get implements httputil.BufferPool.
func (b *buffers) Get() []byte { return *b.pool.Get().(*[]byte) }

// Put implements httputil.BufferPool.
func (b *buffers) Put(buffer []byte) { b.pool.Put(&buffer) }

// panicsOnly lets through what the HTTP server says of faults of this program and of the machine, and nothing of clients' broken requests.
type panicsOnly struct{ to io.Writer }

func (p *panicsOnly) Write(line []byte) (int, error) {
	for _, begin := range []string{"http: panic serving", "http: Accept error"} {
		if strings.HasPrefix(string(line), begin) {
			return p.to.Write(line)
		}
	}
	return len(line), nil
}
