package edge

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

func echo(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true, Subprotocols: []string{"v1.kernel.websocket.jupyter.org"}})
	if err != nil {
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(-1)
	for {
		kind, data, err := conn.Read(r.Context())
		if err != nil || string(data) == "close" {
			_ = conn.Close(4001, "as you wish")
			return
		}
		if conn.Write(r.Context(), kind, data) != nil {
			return
		}
	}
}

func dialSocket(t *testing.T, door *door) (*websocket.Conn, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	t.Cleanup(cancel)
	conn, _, err := websocket.Dial(ctx, door.url+"/user/a/api/kernels/x/channels", &websocket.DialOptions{Subprotocols: []string{"v1.kernel.websocket.jupyter.org"}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.CloseNow() })
	conn.SetReadLimit(-1)
	return conn, ctx
}

func TestWebsocket(t *testing.T) {
	short := 100 * time.Millisecond // no time-out of the door may touch a websocket
	door := open(t, Options{Upstream: newBehind(t, echo).start().address, Header: short, Idle: short, Stall: short})
	conn, ctx := dialSocket(t, door)
	require.Equal(t, "v1.kernel.websocket.jupyter.org", conn.Subprotocol())
	say := func(kind websocket.MessageType, data []byte) {
		t.Helper()
		require.NoError(t, conn.Write(ctx, kind, data))
		gotKind, got, err := conn.Read(ctx)
		require.NoError(t, err)
		require.Equal(t, kind, gotKind)
		require.Equal(t, data, got)
	}
	say(websocket.MessageText, []byte("hello"))
	say(websocket.MessageBinary, make([]byte, 3<<20))
	began := time.Now()
	require.Eventually(t, func() bool { return time.Since(began) > 5*short }, soon, short)
	say(websocket.MessageText, []byte("still there"))
	require.NoError(t, conn.Write(ctx, websocket.MessageText, []byte("close")))
	_, _, err := conn.Read(ctx)
	require.Equal(t, websocket.StatusCode(4001), websocket.CloseStatus(err), "the other side's reason arrives")
}

func TestRequestsWaitForTheProxy(t *testing.T) {
	var lock sync.Mutex
	arrived := map[string]int{}
	behind := newBehind(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path != "/hub/health" {
			lock.Lock()
			arrived[r.Method+r.URL.Path+string(body)]++
			lock.Unlock()
		}
		_, _ = w.Write(body)
	})
	door := open(t, Options{Upstream: behind.address})
	const each = 25
	var all sync.WaitGroup
	for i := range each {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			all.Go(func() {
				sent := ""
				if method == "POST" {
					sent = strings.Repeat(fmt.Sprint(i), 5000)
				}
				request, _ := http.NewRequest(method, fmt.Sprintf("%s/%d", door.url, i), strings.NewReader(sent))
				response, err := client(t).Do(request)
				if err != nil {
					t.Errorf("%s: %v", method, err)
					return
				}
				defer response.Body.Close()
				body, err := io.ReadAll(response.Body)
				if err != nil || response.StatusCode != 200 || string(body) != sent {
					t.Errorf("%s: %d, %v, %.50q", method, response.StatusCode, err, body)
				}
			})
		}
	}
	require.Eventually(t, func() bool { return door.waiting() == 3*each }, soon, time.Millisecond)
	behind.start()
	all.Wait()
	require.Len(t, arrived, 3*each)
	for what, times := range arrived {
		require.Equal(t, 1, times, "%.50s", what)
	}
	require.Equal(t, 0, door.waiting())
	lines := door.log.lines()
	require.Len(t, lines, 2, "one line when it goes, one when it comes: %q", lines)
	require.Contains(t, lines[0], "does not answer")
	require.Contains(t, lines[1], "answers again")
}

func TestWebsocketWaitsForTheProxy(t *testing.T) {
	behind := newBehind(t, echo)
	door := open(t, Options{Upstream: behind.address})
	go func() {
		for door.waiting() == 0 {
			runtime.Gosched()
		}
		behind.start()
	}()
	conn, ctx := dialSocket(t, door)
	require.NoError(t, conn.Write(ctx, websocket.MessageText, []byte("x")))
	_, got, err := conn.Read(ctx)
	require.NoError(t, err)
	require.Equal(t, "x", string(got))
}

func TestNoPageIsLostWhileTheProxyRestarts(t *testing.T) {
	var served atomic.Int64
	behind := newBehind(t, func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		hello(w, r)
	}).start()
	door := open(t, Options{Upstream: behind.address})
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			client := client(t)
			for ctx.Err() == nil {
				response, err := client.Get(door.url)
				if err != nil {
					t.Errorf("a request failed: %v", err)
					return
				}
				body, err := io.ReadAll(response.Body)
				_ = response.Body.Close()
				if err == nil && string(body) != "hello" || response.StatusCode != 200 {
					t.Errorf("%d %q", response.StatusCode, body)
					return
				}
			}
		})
	}
	for range 5 {
		before := served.Load()
		require.Eventually(t, func() bool { return served.Load() > before+50 }, soon, time.Millisecond)
		behind.stop()
		require.Eventually(t, func() bool { return door.waiting() > 0 }, soon, time.Millisecond)
		behind.start()
	}
	stop()
	all.Wait()
}

func TestPageWhenTheProxyStaysAway(t *testing.T) {
	door := open(t, Options{Upstream: newBehind(t, hello).address, Wait: 100 * time.Millisecond})
	browser := "text/html,application/xhtml+xml,*/*;q=0.8"
	cases := map[string]struct {
		method, path string
		header       []string
		kind         string
		says, not    []string
	}{
		"page":      {"GET", "/hub/home", []string{"Accept", browser}, "text/html", []string{"<h1>The hub is starting</h1>", "journalctl -u configurable-http-proxy.service", `http-equiv="refresh" content="5"`, `lang="en"`}, []string{"may not have arrived"}},
		"form":      {"POST", "/hub/login", []string{"Accept", browser}, "text/html", []string{"may not have arrived"}, []string{"refresh"}},
		"api":       {"GET", "/user/a/api/contents", []string{"Accept", "*/*"}, "application/json", []string{`"message":"The hub is starting.`, `"status":503`}, []string{"<"}},
		"json":      {"GET", "/x", []string{"Accept", "application/json"}, "application/json", []string{`"status":503`}, nil},
		"curl":      {"GET", "/x", []string{"Accept", "*/*"}, "text/plain", []string{"The hub is starting.\n"}, []string{"<"}},
		"websocket": {"GET", "/user/a/api/kernels/x/channels", []string{"Connection", "Upgrade", "Upgrade", "websocket"}, "text/plain", []string{"The hub is starting.\n"}, []string{"<"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			response, body := door.do(t, c.method, c.path, nil, c.header...)
			require.Equal(t, 503, response.StatusCode)
			require.Equal(t, "5", response.Header.Get("Retry-After"))
			require.Equal(t, "no-store", response.Header.Get("Cache-Control"))
			require.True(t, strings.HasPrefix(response.Header.Get("Content-Type"), c.kind), response.Header.Get("Content-Type"))
			for _, words := range c.says {
				require.Contains(t, body, words)
			}
			for _, words := range c.not {
				require.NotContains(t, body, words)
			}
			for _, asset := range []string{"<script", "src=", "url(", "//"} {
				require.NotContains(t, strings.ReplaceAll(body, "<!DOCTYPE html>", ""), asset, "the page needs something from elsewhere")
			}
		})
	}
	require.Len(t, door.log.lines(), 1, "not a line for each request: %q", door.log.lines())
}

// chp answers as configurable-http-proxy does without its pages, and chpPage with them.
func chp(w http.ResponseWriter, status int) {
	w.Header()["Content-Type"] = nil
	w.WriteHeader(status)
	_, _ = io.WriteString(w, http.StatusText(status))
}

func chpPage(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<!doctype html>\n<html>\n<body>\n<h1>%d</h1>\n<hr />\n<p>configurable-http-proxy</p>\n</body>\n</html>\n", status)
}

// hub is a proxy with a hub behind it: while away is 404 the proxy has no routes, while it is 503 the hub does not answer.
type hub struct {
	away atomic.Int64
	lock sync.Mutex
	got  []string // what arrived at the hub or a user's server
	asks atomic.Int64

	pages atomic.Bool // the proxy has its own pages for errors
}

func (h *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.asks.Add(1)
	body, _ := io.ReadAll(r.Body)
	if away := h.away.Load(); away != 0 {
		if h.pages.Load() {
			chpPage(w, int(away))
		} else {
			chp(w, int(away))
		}
		return
	}
	h.lock.Lock()
	h.got = append(h.got, r.Method+" "+r.URL.EscapedPath())
	h.lock.Unlock()
	w.Header().Set("Server", "TornadoServer/6")
	_, _ = fmt.Fprintf(w, "got %s", body)
}

func (h *hub) arrived() []string {
	h.lock.Lock()
	defer h.lock.Unlock()
	got := h.got
	h.got = nil
	return got
}

func TestRequestsWaitForTheHub(t *testing.T) {
	for i, status := range []int64{404, 503, 404, 503} {
		for _, c := range []struct {
			method, path string
			arrive       []string
		}{
			{"GET", "/hub/home", []string{"GET /hub/home"}},
			{"GET", "/", []string{"GET /"}},
			{"HEAD", "/hub/home", []string{"HEAD /hub/home"}},
			{"POST", "/hub/login", []string{"GET /hub/health", "POST /hub/login"}},
			{"DELETE", "/hub/api/users/a/server", []string{"GET /hub/health", "DELETE /hub/api/users/a/server"}},
		} {
			if c.method == "HEAD" && status == 404 {
				continue // can't be told from a page that is not there
			}
			t.Run(fmt.Sprintf("%d %d %s %s", i, status, c.method, c.path), func(t *testing.T) {
				hub := &hub{}
				hub.away.Store(status)
				hub.pages.Store(i >= 2)
				door := open(t, Options{Upstream: newBehind(t, hub.ServeHTTP).start().address})
				done := make(chan *http.Response, 1)
				go func() {
					response, _ := door.do(t, c.method, c.path, nil)
					done <- response
				}()
				require.Eventually(t, func() bool { return hub.asks.Load() >= 3 }, soon, time.Millisecond)
				hub.away.Store(0)
				require.Equal(t, 200, (<-done).StatusCode)
				require.Equal(t, c.arrive, hub.arrived())
				require.Equal(t, 0, door.waiting())
				lines := door.log.lines()
				require.Len(t, lines, 2, "%q", lines)
			})
		}
	}
}

func TestWhatMayHaveChangedSomethingIsNeverSentTwice(t *testing.T) {
	var posts atomic.Int64
	door := open(t, Options{Upstream: newBehind(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" { // the hub went just after it had been found well
			posts.Add(1)
			chp(w, 503)
			return
		}
		hello(w, r)
	}).start().address})
	response, body := door.do(t, "POST", "/hub/login", strings.NewReader("password=x"), "Accept", "text/html")
	require.Equal(t, 503, response.StatusCode)
	require.Contains(t, body, "The hub is restarting")
	require.Contains(t, body, "journalctl -u jupyterhub.service")
	require.Contains(t, body, "may not have arrived")
	require.EqualValues(t, 1, posts.Load())
}

// A notebook is saved while the proxy is restarted: it comes back without routes, and gets them from the hub a little later.
func TestSavingWaitsForTheRoutes(t *testing.T) {
	hub := &hub{}
	behind := newBehind(t, hub.ServeHTTP).start()
	door := open(t, Options{Upstream: behind.address})
	save := func() {
		t.Helper()
		response, body := door.do(t, "PUT", "/user/j%C3%BCrgen/api/contents/a.ipynb", strings.NewReader("notebook"))
		require.Equal(t, 200, response.StatusCode)
		require.Equal(t, "got notebook", body)
	}
	asked, saved := "GET /user/j%C3%BCrgen/api", "PUT /user/j%C3%BCrgen/api/contents/a.ipynb"
	save()
	require.Equal(t, []string{asked, saved}, hub.arrived())
	save()
	require.Equal(t, []string{saved}, hub.arrived(), "when all is well nothing more is asked")
	behind.stop()
	hub.away.Store(404)
	behind.start()
	before := hub.asks.Load()
	go func() {
		for hub.asks.Load() < before+3 {
			runtime.Gosched()
		}
		hub.away.Store(0)
	}()
	require.Eventually(t, func() bool { return !door.server.upstream.links.settled() }, soon, time.Millisecond)
	save()
	require.Equal(t, []string{asked, saved}, slices.DeleteFunc(hub.arrived(), func(what string) bool { return what == "GET /hub/health" }))
}

func TestSavingWaitsForTheUsersRoute(t *testing.T) {
	var own atomic.Int64
	var saves atomic.Int64
	door := open(t, Options{Upstream: newBehind(t, func(w http.ResponseWriter, r *http.Request) {
		if own.Add(1) <= 2 {
			w.Header().Set("X-JupyterHub-Version", "6")
			http.Redirect(w, r, "/hub/user/a/api", http.StatusFound)
			return
		}
		if r.Method == "PUT" {
			saves.Add(1)
		}
		hello(w, r)
	}).start().address})
	response, _ := door.do(t, "PUT", "/user/a/api/contents/a.ipynb", strings.NewReader("notebook"))
	require.Equal(t, 200, response.StatusCode)
	require.EqualValues(t, 1, saves.Load())
	require.EqualValues(t, 4, own.Load())
}

// A server that is not running is for the hub to explain, sooner or later.
func TestSavingToAStoppedServerReachesTheHub(t *testing.T) {
	door := open(t, Options{Upstream: newBehind(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" {
			http.Redirect(w, r, "/hub/user/a/api", http.StatusFound)
			return
		}
		http.Error(w, "not running", http.StatusFailedDependency)
	}).start().address})
	response, body := door.do(t, "PUT", "/user/a/api/contents/a.ipynb", strings.NewReader("notebook"))
	require.Equal(t, http.StatusFailedDependency, response.StatusCode)
	require.Equal(t, "not running\n", body)
}

func TestUserServerThatDoesNotAnswer(t *testing.T) {
	hub := &hub{}
	hub.away.Store(503)
	door := open(t, Options{Upstream: newBehind(t, hub.ServeHTTP).start().address, BaseURL: "kurs"})
	response, body := door.get(t, "/kurs/user/a/lab", "Accept", "text/html")
	require.Equal(t, 503, response.StatusCode)
	require.Contains(t, body, "This server does not answer")
	require.Contains(t, body, `<a href="/kurs/">`)
	require.EqualValues(t, 1, hub.asks.Load(), "it may be away for good: nobody is kept waiting")
	response, body = door.do(t, "PUT", "/kurs/user/a/api/contents/x", strings.NewReader("x"))
	require.Equal(t, 503, response.StatusCode)
	require.Contains(t, body, `"status":503`)
	require.Empty(t, door.log.lines())
}

func TestOutsideTheBaseURL(t *testing.T) {
	hub := &hub{}
	hub.away.Store(404)
	door := open(t, Options{Upstream: newBehind(t, hub.ServeHTTP).start().address, BaseURL: "/kurs/"})
	response, body := door.get(t, "/favicon.ico", "Accept", "text/html")
	require.Equal(t, 404, response.StatusCode)
	require.Contains(t, body, `<a href="/kurs/">`)
	request, err := http.NewRequest("GET", door.url+"/", nil)
	require.NoError(t, err)
	response, err = client(t).Transport.RoundTrip(request)
	require.NoError(t, err)
	_ = response.Body.Close()
	require.Equal(t, 302, response.StatusCode)
	require.Equal(t, "/kurs/", response.Header.Get("Location"))
	response, _ = door.do(t, "POST", "/x", strings.NewReader("x"))
	require.Equal(t, 404, response.StatusCode)
}

// To a websocket the proxy says less than a status line should hold.
func TestWebsocketWithoutRoute(t *testing.T) {
	var away atomic.Int64
	var asks atomic.Int64
	door := open(t, Options{Upstream: newBehind(t, func(w http.ResponseWriter, r *http.Request) {
		asks.Add(1)
		if away := away.Load(); away != 0 && r.Header.Get("Upgrade") == "" {
			chp(w, int(away))
			return
		} else if away != 0 {
			conn, _, _ := http.NewResponseController(w).Hijack()
			fmt.Fprintf(conn, "HTTP/1.1 %d\r\nContent-Length: 0\r\n\r\n", away)
			_ = conn.Close()
			return
		}
		echo(w, r)
	}).start().address})
	away.Store(503)
	response, body := door.get(t, "/user/a/api/kernels/x/channels", "Connection", "Upgrade", "Upgrade", "websocket")
	require.Equal(t, 503, response.StatusCode)
	require.Contains(t, body, "This server does not answer")
	away.Store(404)
	go func() {
		for asks.Load() < 4 {
			runtime.Gosched()
		}
		away.Store(0)
	}()
	conn, ctx := dialSocket(t, door)
	require.NoError(t, conn.Write(ctx, websocket.MessageText, []byte("x")))
	_, got, err := conn.Read(ctx)
	require.NoError(t, err)
	require.Equal(t, "x", string(got))
}

func TestHubStaysAway(t *testing.T) {
	door := open(t, Options{Wait: 300 * time.Millisecond, Upstream: newBehind(t, func(w http.ResponseWriter, _ *http.Request) { chp(w, 503) }).start().address})
	response, body := door.get(t, "/hub/home", "Accept", "text/html")
	require.Equal(t, 503, response.StatusCode)
	require.Contains(t, body, "The hub is restarting")
	response, body = door.do(t, "POST", "/hub/login", strings.NewReader("x"), "Accept", "text/html")
	require.Equal(t, 503, response.StatusCode)
	require.Contains(t, body, "may not have arrived")
	response, _ = door.do(t, "HEAD", "/hub/home", nil)
	require.Equal(t, 503, response.StatusCode)
	require.Equal(t, "5", response.Header.Get("Retry-After"))
}

// Errors of the hub's, of users' servers and of services are theirs to tell.
func TestErrorsOfOthersPass(t *testing.T) {
	cases := map[string]http.HandlerFunc{
		"page": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(503)
			_, _ = io.WriteString(w, "Service Unavailable")
		},
		"marked": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Server", "TornadoServer/6")
			chpPage(w, 503)
		},
		"far marked": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(404)
			_, _ = io.WriteString(w, strings.Repeat("x", 5000)+string(proxysMark))
		},
		"tornado": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Server", "TornadoServer/6")
			chp(w, 404)
		},
		"other words": func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			w.WriteHeader(503)
			_, _ = io.WriteString(w, "Service Unavailable: "+strings.Repeat("later ", 100000))
		},
		"empty":  func(w http.ResponseWriter, _ *http.Request) { w.Header()["Content-Type"] = nil; w.WriteHeader(404) },
		"bad":    func(w http.ResponseWriter, _ *http.Request) { chp(w, 502) },
		"a good": func(w http.ResponseWriter, _ *http.Request) { chp(w, 200) },
	}
	for name, handler := range cases {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int64
			behind := newBehind(t, func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				handler(w, r)
			}).start()
			direct := &door{url: "http://" + behind.address}
			want, wantBody := direct.get(t, "/")
			got, gotBody := open(t, Options{Upstream: behind.address}).get(t, "/")
			require.EqualValues(t, 2, asked.Load())
			require.Equal(t, want.StatusCode, got.StatusCode)
			require.Equal(t, wantBody, gotBody)
			want.Header.Del("Date")
			got.Header.Del("Date")
			require.Equal(t, want.Header, got.Header)
		})
	}
}

func TestProxyDiesInTheMiddleOfAnAnswer(t *testing.T) {
	behind := newBehind(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "the first half")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}).start()
	door := open(t, Options{Upstream: behind.address})
	response, err := client(t).Get(door.url)
	require.NoError(t, err)
	defer response.Body.Close()
	half := make([]byte, len("the first half"))
	_, err = io.ReadFull(response.Body, half)
	require.NoError(t, err)
	behind.server.CloseClientConnections()
	_, err = io.ReadAll(response.Body)
	require.Error(t, err, "half an answer must not look like a whole one")
}

func TestPostOnABrokenConnectionIsNotSentAgain(t *testing.T) {
	var posts, gets atomic.Int64
	door := open(t, Options{Upstream: newBehind(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Method == "POST" {
			posts.Add(1)
			panic(http.ErrAbortHandler)
		}
		if gets.Add(1) < 3 && r.URL.Path == "/" {
			panic(http.ErrAbortHandler)
		}
		hello(w, r)
	}).start().address})
	response, body := door.do(t, "POST", "/hub/spawn", strings.NewReader("x"), "Accept", "text/html")
	require.Equal(t, 502, response.StatusCode)
	require.Contains(t, body, "The connection to the hub was lost")
	require.EqualValues(t, 1, posts.Load())
	gets.Store(0)
	response, body = door.get(t, "/")
	require.Equal(t, 200, response.StatusCode)
	require.Equal(t, "hello", body)
	require.EqualValues(t, 3, gets.Load())
}

func TestAnswersArrivePieceByPiece(t *testing.T) {
	next := make(chan struct{})
	door := open(t, Options{Upstream: newBehind(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n", i)
			_ = http.NewResponseController(w).Flush()
			<-next
		}
	}).start().address})
	response, err := client(t).Get(door.url)
	require.NoError(t, err)
	defer response.Body.Close()
	lines := bufio.NewReader(response.Body)
	for i := range 3 {
		line, err := lines.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("data: %d\n", i), line)
		next <- struct{}{}
	}
}

// zeros is a body of n bytes that tells when its middle has been reached.
type zeros struct {
	left, half int64
	middle     func()
}

func (z *zeros) Read(data []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(data)), z.left)
	clear(data[:n])
	if z.left > z.half && z.left-n <= z.half && z.middle != nil {
		z.middle()
	}
	z.left -= n
	return int(n), nil
}

func TestBigBodiesAreStreamed(t *testing.T) {
	const size = 256 << 20
	var received atomic.Int64
	door := open(t, Options{Upstream: newBehind(t, func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		buffer := make([]byte, 64<<10)
		for {
			n, err := r.Body.Read(buffer)
			_, _ = sum.Write(buffer[:n])
			received.Add(int64(n))
			if err != nil {
				break
			}
		}
		w.Header().Set("X-Sum", fmt.Sprintf("%x", sum.Sum(nil)))
		_, _ = io.Copy(w, &zeros{left: size})
	}).start().address})
	var before, middle runtime.MemStats
	runtime.ReadMemStats(&before)
	body := &zeros{left: size, half: size / 2, middle: func() {
		require.Greater(t, received.Load(), int64(size/4), "it is being collected somewhere")
		runtime.ReadMemStats(&middle)
	}}
	response, err := client(t).Post(door.url+"/user/bob/upload", "application/octet-stream", body)
	require.NoError(t, err)
	defer response.Body.Close()
	want := sha256.New()
	_, _ = io.Copy(want, &zeros{left: size})
	require.Equal(t, fmt.Sprintf("%x", want.Sum(nil)), response.Header.Get("X-Sum"))
	n, err := io.Copy(io.Discard, response.Body)
	require.NoError(t, err)
	require.EqualValues(t, size, n)
	require.Less(t, int64(middle.HeapAlloc)-int64(before.HeapAlloc), int64(32<<20))
}

func TestSlowClients(t *testing.T) {
	short := 500 * time.Millisecond
	big := make([]byte, 1<<20)
	gaveUp := make(chan struct{}, 9)
	door := open(t, Options{Header: short, Idle: short, Stall: short, Upstream: newBehind(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch r.URL.Path {
		case "/big":
			for i := 0; i < 64; i++ {
				if _, err := w.Write(big); err != nil {
					gaveUp <- struct{}{}
					return
				}
			}
		case "/long":
			select {
			case <-time.After(5 * short):
			case <-r.Context().Done():
			}
			hello(w, r)
		}
	}).start().address})
	t.Run("a header that never ends", func(t *testing.T) {
		conn, answer := door.raw(t, "GET / HTTP/1.1\r\nHost: h\r\nX-A: ")
		go func() {
			for { // dribbling does not help
				if _, err := io.WriteString(conn, "a"); err != nil {
					return
				}
				runtime.Gosched()
			}
		}()
		_, err := answer.ReadByte()
		for err == nil {
			_, err = answer.ReadByte()
		}
		require.False(t, isTimeout(err), "the connection is still open")
	})
	t.Run("a connection without a request", func(t *testing.T) {
		_, answer := door.raw(t, "")
		_, err := answer.ReadByte()
		require.ErrorIs(t, err, io.EOF)
	})
	t.Run("a body that stops", func(t *testing.T) {
		_, answer := door.raw(t, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nx")
		response, err := http.ReadResponse(answer, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusRequestTimeout, response.StatusCode)
	})
	t.Run("an answer that is not taken", func(t *testing.T) {
		_, answer := door.raw(t, "GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
		select {
		case <-gaveUp:
		case <-time.After(soon):
			t.Fatal("the door still holds the answer")
		}
		response, err := http.ReadResponse(answer, nil)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, response.Body)
		require.Error(t, err, "half an answer must not look like a whole one")
	})
	t.Run("a long poll lives on", func(t *testing.T) {
		response, body := door.do(t, "POST", "/long", strings.NewReader("some body"))
		require.Equal(t, 200, response.StatusCode)
		require.Equal(t, "hello", body)
		response, body = door.get(t, "/long")
		require.Equal(t, 200, response.StatusCode)
		require.Equal(t, "hello", body)
	})
	t.Run("a body that comes slowly arrives", func(t *testing.T) {
		pipe, writer := io.Pipe()
		go func() {
			defer writer.Close()
			for tick, n := time.NewTicker(short/8), 0; n < 24; n++ {
				<-tick.C
				_, _ = writer.Write([]byte("x"))
			}
		}()
		response, _ := door.do(t, "POST", "/", pipe)
		require.Equal(t, 200, response.StatusCode)
	})
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

func TestDrain(t *testing.T) {
	began, finish := make(chan struct{}, 9), make(chan struct{})
	behind := newBehind(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/user/a/api/kernels/x/channels":
			echo(w, r)
			return
		case "/wait":
			began <- struct{}{}
			<-finish
		case "/forever":
			began <- struct{}{}
			<-r.Context().Done()
		}
		hello(w, r)
	}).start()
	t.Run("lets requests end and websockets go", func(t *testing.T) {
		door := open(t, Options{Upstream: behind.address, Drain: soon})
		socket, ctx := dialSocket(t, door)
		answer := make(chan string, 1)
		go func() {
			_, body := door.get(t, "/wait")
			answer <- body
		}()
		<-began
		door.close()
		require.Eventually(t, func() bool { return refused(door.address) }, soon, time.Millisecond)
		finish <- struct{}{}
		require.Equal(t, "hello", <-answer)
		require.NoError(t, <-door.ended)
		_, _, err := socket.Read(ctx)
		require.Error(t, err)
		require.NoError(t, ctx.Err(), "the websocket was left hanging")
	})
	t.Run("does not wait for ever", func(t *testing.T) {
		door := open(t, Options{Upstream: behind.address, Drain: 200 * time.Millisecond})
		failed := make(chan error, 1)
		go func() {
			response, err := client(t).Get(door.url + "/forever")
			if err == nil {
				_, err = io.ReadAll(response.Body)
				_ = response.Body.Close()
			}
			failed <- err
		}()
		<-began
		start := time.Now()
		door.close()
		require.NoError(t, <-door.ended)
		require.Less(t, time.Since(start), 5*time.Second)
		require.Error(t, <-failed)
	})
	t.Run("tells those that wait", func(t *testing.T) {
		door := open(t, Options{Upstream: newBehind(t, hello).address, Wait: time.Hour, Drain: time.Second})
		status := make(chan int, 1)
		go func() {
			response, _ := door.get(t, "/")
			status <- response.StatusCode
		}()
		require.Eventually(t, func() bool { return door.waiting() == 1 }, soon, time.Millisecond)
		door.close()
		require.Equal(t, 503, <-status)
		require.NoError(t, <-door.ended)
	})
}

func TestOnlySoManyWait(t *testing.T) {
	behind := newBehind(t, hello)
	const room, come = 4, 20
	door := open(t, Options{Upstream: behind.address, MaxWaiting: room})
	statuses := make(chan int, come)
	for range come {
		go func() {
			response, _ := door.get(t, "/", "Accept", "text/html")
			statuses <- response.StatusCode
		}()
	}
	for range come - room {
		require.Equal(t, 503, <-statuses)
	}
	require.Equal(t, room, door.waiting())
	behind.start()
	for range room {
		require.Equal(t, 200, <-statuses)
	}
}

func TestVisitorsThatLeaveFreeTheirPlace(t *testing.T) {
	door := open(t, Options{Upstream: newBehind(t, hello).address, MaxWaiting: 1, Wait: time.Hour})
	conn, _ := door.raw(t, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	require.Eventually(t, func() bool { return door.waiting() == 1 }, soon, time.Millisecond)
	require.NoError(t, conn.Close())
	require.Eventually(t, func() bool { return door.waiting() == 0 }, soon, time.Millisecond)
}

func TestExpectContinueWaitsWithTheBody(t *testing.T) {
	behind := newBehind(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	})
	door := open(t, Options{Upstream: behind.address})
	conn, answer := door.raw(t, "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
	require.Eventually(t, func() bool { return door.waiting() == 1 }, soon, time.Millisecond)
	behind.start()
	response, err := http.ReadResponse(answer, nil)
	require.NoError(t, err)
	require.Equal(t, 100, response.StatusCode)
	_, err = io.WriteString(conn, "body")
	require.NoError(t, err)
	for response.StatusCode == 100 {
		response, err = http.ReadResponse(answer, nil)
		require.NoError(t, err)
	}
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, "body", string(body))
}

func TestAccessLog(t *testing.T) {
	access := &notes{}
	door := open(t, Options{Upstream: newBehind(t, hello).start().address, AccessLog: access})
	door.get(t, "/a%20b?token=secret")
	require.Eventually(t, func() bool { return len(access.lines()) == 1 }, soon, time.Millisecond)
	require.Regexp(t, `^127\.0\.0\.1 GET "/a%20b" 200 5 \d+ms$`, access.lines()[0])
}

func TestServeRefusesWhatCannotWork(t *testing.T) {
	require.ErrorContains(t, New(Options{Upstream: "127.0.0.1:1"}).Serve(context.Background()), "no port")
	listener := newListener(t)
	require.ErrorContains(t, New(Options{Upstream: "nonsense"}).Serve(context.Background(), Door{Listener: listener, Scheme: "http"}), "host:port")
	require.NoError(t, listener.Close())
	require.ErrorContains(t, New(Options{Upstream: "127.0.0.1:1"}).Serve(context.Background(), Door{Listener: listener, Scheme: "http"}), "cannot take connections")
}
