package edge

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// from opens a connection from one of the addresses of loopback.
func (d *door) from(t testing.TB, ip, text string) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}, Timeout: soon}
	conn, err := dialer.Dial("tcp", d.address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(soon)))
	_, _ = io.WriteString(conn, text)
	return conn
}

// ended reports whether the edge closes a connection within a moment.
func ended(conn net.Conn, within time.Duration) bool {
	_ = conn.SetReadDeadline(time.Now().Add(within))
	_, err := conn.Read(make([]byte, 1))
	return err != nil && !isTimeout(err)
}

const ask = "GET /hub/home HTTP/1.1\r\nHost: h\r\n\r\n"

func TestNoMoreConnectionsThanTheLimit(t *testing.T) {
	release := make(chan struct{})
	var once sync.Once
	t.Cleanup(func() { once.Do(func() { close(release) }) })
	door := open(t, Options{Limits: Limits{Connections: 20, PerAddress: 8}, Upstream: newBehind(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/long" {
			<-release
		}
		hello(w, r)
	}).start().address})
	atWork := []net.Conn{}
	for range 8 {
		atWork = append(atWork, door.from(t, "127.0.0.2", "GET /long HTTP/1.1\r\nHost: h\r\n\r\n"))
	}
	require.Eventually(t, func() bool { return door.server.connections.busy() == 8 }, soon, time.Millisecond)
	t.Run("an address whose connections are all in use gets no more", func(t *testing.T) {
		require.True(t, ended(door.from(t, "127.0.0.2", ""), soon))
		require.Contains(t, strings.Join(door.log.lines(), "\n"), "127.0.0.2 has 8 connections open")
	})
	t.Run("others do, and the unused ones of an address make room for its new ones", func(t *testing.T) {
		for range 30 {
			door.from(t, "127.0.0.3", "GET / HTT")
		}
		conn := door.from(t, "127.0.0.3", ask)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		require.Equal(t, 200, response.StatusCode)
		require.LessOrEqual(t, door.server.connections.count(), 16)
	})
	t.Run("in all", func(t *testing.T) {
		for n := range 200 {
			door.from(t, fmt.Sprintf("127.0.1.%d", n), "GET / HTT")
		}
		require.LessOrEqual(t, door.server.connections.count(), 20)
		response, body := door.get(t, "/hub/home")
		require.Equal(t, 200, response.StatusCode)
		require.Equal(t, "hello", body)
	})
	t.Run("nobody at work notices", func(t *testing.T) {
		once.Do(func() { close(release) })
		for _, conn := range atWork {
			require.NoError(t, conn.SetDeadline(time.Now().Add(soon)))
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			require.Equal(t, 200, response.StatusCode)
		}
	})
}

// busy returns how many connections carry a request.
func (c *connections) busy() int {
	c.lock.Lock()
	defer c.lock.Unlock()
	busy := 0
	for conn := range c.all {
		if conn.running.Load() > 0 {
			busy++
		}
	}
	return busy
}

// heldNow returns how many bytes of headers are under way, as counted and as they add up.
func (c *connections) heldNow() (counted, sum int64) {
	c.lock.Lock()
	defer c.lock.Unlock()
	for conn := range c.all {
		sum += conn.held
	}
	return c.held, sum
}

// Thousands of slow headers of 60 KB take no more memory than is meant for them, and a page loads meanwhile.
func TestSlowHeadersTakeBoundedMemory(t *testing.T) {
	const visitors, limit = 1500, 4 << 20
	door := open(t, Options{Limits: Limits{Connections: 4000, PerAddress: 2000, Headers: limit}, Upstream: newBehind(t, hello).start().address})
	before := heap()
	big := "GET / HTTP/1.1\r\nHost: h\r\nCookie: " + strings.Repeat("x", 58<<10)
	var all sync.WaitGroup
	for n := range 50 {
		all.Go(func() {
			for range visitors / 50 {
				door.from(t, fmt.Sprintf("127.0.2.%d", n), big)
			}
		})
	}
	all.Wait()
	start := time.Now()
	response, _ := door.get(t, "/hub/home")
	require.Equal(t, 200, response.StatusCode)
	require.Less(t, time.Since(start), time.Second)
	counted, sum := door.server.connections.heldNow()
	require.Equal(t, sum, counted)
	require.LessOrEqual(t, counted, int64(limit))
	// Those that were just closed still have their headers until their goroutines have ended.
	require.Eventually(t, func() bool { return heap()-before < int64(visitors*58<<10/2) }, soon, 10*time.Millisecond, "all these headers are in memory")
	require.Contains(t, strings.Join(door.log.lines(), "\n"), "headers of unfinished requests take")
}

func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

func TestBigHeaders(t *testing.T) {
	door := open(t, Options{Upstream: newBehind(t, hello).start().address})
	response, _ := door.get(t, "/hub/home", "Cookie", strings.Repeat("x", 50<<10))
	require.Equal(t, 200, response.StatusCode)
	response, body := door.get(t, "/hub/home", "Cookie", strings.Repeat("x", maxHeader), "Accept", "text/html")
	require.Equal(t, 431, response.StatusCode)
	require.Contains(t, body, "Remove the cookies of this site")
	response, body = door.get(t, "/hub/home", "Cookie", strings.Repeat("x", 200<<10), "Accept", "text/html")
	require.Equal(t, 431, response.StatusCode)
	require.Contains(t, body, "Remove the cookies of this site", "what fifty big cookies come to")
	require.Zero(t, door.server.connections.running.Load())
}

// While big requests use up their memory, small ones are served.
func TestManyBigRequests(t *testing.T) {
	release := make(chan struct{})
	door := open(t, Options{Limits: Limits{Running: 260 << 10}, Upstream: newBehind(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/long" {
			<-release
		}
		hello(w, r)
	}).start().address})
	defer close(release)
	cookie := strings.Repeat("x", 50<<10)
	for range 5 {
		door.raw(t, "GET /long HTTP/1.1\r\nHost: h\r\nCookie: "+cookie+"\r\n\r\n")
	}
	require.Eventually(t, func() bool { return door.server.connections.running.Load() >= 250<<10 }, soon, time.Millisecond)
	response, _ := door.get(t, "/hub/home", "Cookie", cookie)
	require.Equal(t, 503, response.StatusCode)
	require.Equal(t, "5", response.Header.Get("Retry-After"))
	response, _ = door.get(t, "/hub/home", "Cookie", "small")
	require.Equal(t, 200, response.StatusCode)
}

func TestAddressesAreCountedByNetwork(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7:5": "192.0.2.7/32", "[::ffff:192.0.2.7]:5": "192.0.2.7/32", "[2001:db8:1:2:3::4]:5": "2001:db8:1:2::/64", "[fe80::1%eth0]:5": "fe80::/64",
	} {
		require.Equal(t, want, source(plainAddress(address)).String(), address)
	}
}

type plainAddress string

func (a plainAddress) Network() string { return "tcp" }
func (a plainAddress) String() string  { return string(a) }

func TestLimitsFollowFromMemory(t *testing.T) {
	limits := Limits{}.withDefaults()
	require.GreaterOrEqual(t, limits.PerAddress, 2048, "fifty students behind one address have up to twenty connections each")
	require.Greater(t, limits.Connections, 2*limits.PerAddress)
	require.Equal(t, 7, Limits{PerAddress: 7}.withDefaults().PerAddress)
}

func TestTimesAreThoseOfTheManual(t *testing.T) {
	require.Equal(t, 20*time.Second, Options{}.withDefaults().Header)
}

func TestALimitIsSaidOnceAMinute(t *testing.T) {
	now, written := time.Now(), &notes{}
	c := newConnections(Limits{}, log.New(written, "", 0))
	c.now = func() time.Time { return now }
	said := func() int { return len(written.lines()) }
	for range 1000 {
		c.tell("memory", "memory is used up")
	}
	require.Equal(t, 1, said())
	c.tell("aborted", "another limit")
	require.Equal(t, 2, said())
	now = now.Add(61 * time.Second)
	c.tell("memory", "memory is used up")
	require.Equal(t, 3, said())
}

func TestUnusedConnectionsAreClosedNearTheCeiling(t *testing.T) {
	release := make(chan struct{})
	answer := sync.OnceFunc(func() { close(release) })
	door := open(t, Options{Upstream: newBehind(t, func(w http.ResponseWriter, r *http.Request) {
		<-release
		hello(w, r)
	}).start().address})
	t.Cleanup(answer) // before the servers are closed, which wait for the request
	atWork := door.from(t, "127.0.0.2", ask)
	require.Eventually(t, func() bool { return door.server.connections.busy() == 1 }, soon, time.Millisecond)
	unused := []net.Conn{}
	for range 6 {
		unused = append(unused, door.from(t, "127.0.0.3", "GET / HTT"))
	}
	require.Eventually(t, func() bool { return door.server.connections.count() == 7 }, soon, time.Millisecond)
	limit := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(limit)
	debug.SetMemoryLimit(1 << 20) // as if everything were used up, whatever the collector gives back
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go door.server.connections.watchMemory(ctx)
	for _, conn := range unused {
		require.True(t, ended(conn, soon), "an unused connection stays open")
	}
	require.Equal(t, 1, door.server.connections.count())
	require.Contains(t, strings.Join(door.log.lines(), "\n"), "unused connections were closed")
	answer()
	response, err := http.ReadResponse(bufio.NewReader(atWork), nil)
	require.NoError(t, err)
	require.Equal(t, 200, response.StatusCode, "one that carries a request is never closed")
}

// count returns how many connections are open.
func (c *connections) count() int {
	c.lock.Lock()
	defer c.lock.Unlock()
	return len(c.all)
}
