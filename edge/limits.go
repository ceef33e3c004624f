package edge

import (
	"crypto/tls"
	"log"
	"math"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Limits bound what strangers can make the edge hold. The zero value of each follows from the memory that the edge may use.
type Limits struct {
	Connections int   // open at once
	PerAddress  int   // of these, from one address; IPv6 addresses count by /64
	Headers     int64 // bytes of request headers that are being received, of all connections together
	Running     int64 // bytes of request headers of requests that are being served
}

const (
	defaultMemory = 192 << 20 // what the limits follow from where GOMEMLIMIT does not say it

	// A connection that sent nothing costs 20 KB, one that uses TLS 60 KB. Half of the memory holds them, the rest holds headers and bodies.
	memoryPerConnection = 32 << 10

	// maxHeader is how many bytes a request's header may have. Tornado, behind the proxy, takes 64 KB, and the edge adds headers of its own.
	maxHeader = 60 << 10
	// bigHeader is the size from which a request is refused while the headers of others use up Limits.Running.
	bigHeader = 16 << 10

	mostHeaders = 16 << 20 // a whole campus has less under way

	maxStreams = 100 // of an HTTP/2 connection; browsers expect at least as many
	// maxAborted is how many requests of a connection a client may take back within abortedWithin.
	maxAborted    = 200
	abortedWithin = 10 * time.Second
)

func (l Limits) withDefaults() Limits {
	memory := debug.SetMemoryLimit(-1)
	if memory == math.MaxInt64 {
		memory = defaultMemory
	}
	if l.Connections <= 0 {
		l.Connections = int(min(max(memory/memoryPerConnection, 2000), 24000)) // two descriptors each
	}
	if l.PerAddress <= 0 {
		l.PerAddress = max(l.Connections/3, 1000)
	}
	if l.Headers <= 0 {
		l.Headers = min(memory/12, mostHeaders) // parsing a header takes up to four times its size
	}
	if l.Running <= 0 {
		l.Running = min(memory/8, 3*mostHeaders)
	}
	return l
}

// connections are all that are open. When there are too many, those are closed that nobody is known to use.
type connections struct {
	limits  Limits
	log     *log.Logger
	now     func() time.Time
	running atomic.Int64 // bytes of headers of running requests

	lock sync.Mutex
	all  map[*conn]bool
	from map[netip.Prefix]int
	held int64                // bytes of headers under way
	told map[string]time.Time // when a line was written last
}

func newConnections(limits Limits, log *log.Logger) *connections {
	return &connections{
		limits: limits.withDefaults(), log: log, now: time.Now,
		all: map[*conn]bool{}, from: map[netip.Prefix]int{}, told: map[string]time.Time{},
	}
}

// conn is a visitor's connection.
type conn struct {
	net.Conn
	among   *connections
	source  netip.Prefix
	running atomic.Int32 // requests that are being served

	// These belong to among.lock.
	held    int64     // bytes that came while no request was being served
	since   time.Time // when it was opened, or when its last request ended
	used    bool      // it has carried a complete request
	aborted int       // requests that the client took back
	counted time.Time // since when aborted counts
}

// source returns what connections are counted by: an address, or the network of a household or server where IPv6 gives everybody 2^64 addresses.
func source(address net.Addr) netip.Prefix {
	parsed, err := netip.ParseAddrPort(address.String())
	if err != nil {
		return netip.Prefix{}
	}
	ip := parsed.Addr().Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	prefix, _ := ip.Prefix(bits)
	return prefix
}

// listener admits connections to one of the ports.
type listener struct {
	net.Listener
	among  *connections
	trusts func(netip.Addr) bool // proxies, which bring many visitors from one address
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		accepted, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		peer, err := netip.ParseAddrPort(accepted.RemoteAddr().String())
		trusted := isUnix(l.Addr()) || err == nil && l.trusts != nil && l.trusts(peer.Addr())
		if trusted {
			accepted = &fronted{Conn: accepted}
		}
		if admitted := l.among.admit(accepted, trusted); admitted != nil {
			return admitted, nil
		}
		_ = accepted.Close()
	}
}

// admit returns the connection to serve, or nil when there is no room. A trusted proxy may have as many as there are.
func (c *connections) admit(accepted net.Conn, trusted bool) net.Conn {
	from := source(accepted.RemoteAddr())
	c.lock.Lock()
	var victims []*conn
	room := true
	if !trusted && c.from[from] >= c.limits.PerAddress {
		c.tellLocked("address", "%s has %d connections open, which is the limit for one address: unused ones are closed, or new ones refused", from.Addr(), c.from[from])
		victims, room = c.makeRoomLocked(func(other *conn) bool { return other.source == from })
	}
	if room && len(c.all) >= c.limits.Connections {
		c.tellLocked("all", "%d connections are open, which is the limit: unused ones are closed, or new ones refused", len(c.all))
		var more []*conn
		more, room = c.makeRoomLocked(func(*conn) bool { return true })
		victims = append(victims, more...)
	}
	var admitted *conn
	if room {
		admitted = &conn{Conn: accepted, among: c, source: from, since: c.now()}
		c.all[admitted] = true
		c.from[from]++
	}
	c.lock.Unlock()
	drop(victims)
	if admitted == nil {
		return nil
	}
	return admitted
}

// Read counts what may be a part of a header.
func (c *conn) Read(data []byte) (int, error) {
	n, err := c.Conn.Read(data)
	if n > 0 && c.running.Load() == 0 {
		c.among.receive(c, int64(n))
	}
	return n, err
}

func (c *conn) Close() error {
	c.among.lock.Lock()
	c.among.forgetLocked(c)
	c.among.lock.Unlock()
	return c.Conn.Close()
}

// CloseWrite ends one direction, as one side of a websocket may do.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (c *connections) receive(of *conn, bytes int64) {
	c.lock.Lock()
	var victims []*conn
	if c.all[of] {
		of.held += bytes
		c.held += bytes
		if c.held > c.limits.Headers {
			c.tellLocked("headers", "headers of unfinished requests take %d KB, which is the limit: the biggest and oldest are dropped", c.held>>10)
			victims = c.shedHeadersLocked()
		}
	}
	c.lock.Unlock()
	drop(victims)
}

// begin notes that a request of a connection is complete and is served now.
func (c *connections) begin(of *conn) {
	c.lock.Lock()
	defer c.lock.Unlock()
	of.running.Add(1)
	of.used = true
	c.held -= of.held
	of.held = 0
}

// end notes that a request is done. It reports whether the connection should be closed, since its client does nothing but take requests back.
func (c *connections) end(of *conn, aborted bool) bool {
	c.lock.Lock()
	defer c.lock.Unlock()
	of.running.Add(-1)
	of.since = c.now()
	if !aborted {
		return false
	}
	if of.since.Sub(of.counted) > abortedWithin {
		of.counted, of.aborted = of.since, 0
	}
	of.aborted++
	if of.aborted <= maxAborted {
		return false
	}
	c.tellLocked("aborted", "%s takes back its requests as fast as it sends them: its connection is closed", of.source.Addr())
	return true
}

func (c *connections) forgetLocked(gone *conn) {
	if !c.all[gone] {
		return
	}
	delete(c.all, gone)
	c.held -= gone.held
	if c.from[gone.source]--; c.from[gone.source] <= 0 {
		delete(c.from, gone.source)
	}
}

// tellLocked writes a line, no more than one a minute of each kind.
func (c *connections) tellLocked(kind, format string, values ...any) {
	now := c.now()
	if last, ok := c.told[kind]; ok && now.Sub(last) < time.Minute {
		return
	}
	c.told[kind] = now
	c.log.Printf(format, values...)
}

type connKey struct{}

// connOf returns the counted connection below what the HTTP server knows.
func connOf(outer net.Conn) *conn {
	if secure, ok := outer.(*tls.Conn); ok {
		outer = secure.NetConn()
	}
	counted, _ := outer.(*conn)
	return counted
}

// limit counts requests, and refuses those whose headers are too big.
func (s *Server) limit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		counted, _ := r.Context().Value(connKey{}).(*conn)
		if counted == nil {
			next.ServeHTTP(w, r)
			return
		}
		c := s.connections
		size := headerSize(r)
		c.begin(counted)
		running := c.running.Add(size)
		defer func() {
			c.running.Add(-size)
			if c.end(counted, r.Context().Err() != nil) {
				_ = counted.Close()
			}
		}()
		switch {
		case size > maxHeader:
			s.tell(w, r, headerTooBig)
		case size > bigHeader && running > c.limits.Running:
			w.Header().Set("Connection", "close")
			s.tell(w, r, crowded)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// headerSize returns about how many bytes a request's header has.
func headerSize(r *http.Request) int64 {
	size := len(r.RequestURI) + len(r.Host) + 32
	for name, values := range r.Header {
		for _, value := range values {
			size += len(name) + len(value) + 4
		}
	}
	return int64(size)
}
