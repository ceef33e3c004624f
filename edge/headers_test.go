package edge

import (
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestClientIP(t *testing.T) {
	for from, want := range map[string]string{
		"192.0.2.7:1234": "192.0.2.7", "[::1]:80": "127.0.0.1", "127.0.0.1:80": "127.0.0.1", "[::ffff:192.0.2.7]:80": "192.0.2.7",
		"[::ffff:127.0.0.1]:80": "127.0.0.1", "[fe80::1%eth0]:80": "fe80::1", "[2001:db8::7]:80": "2001:db8::7", "@": "", "": "", "nonsense:1": "",
	} {
		require.Equal(t, want, clientIP(from), from)
	}
}

// seen answers with the header that it got.
func seen(got chan<- *http.Request) http.HandlerFunc {
	return func(_ http.ResponseWriter, r *http.Request) { got <- r }
}

func TestWhatClientsClaimIsReplaced(t *testing.T) {
	got := make(chan *http.Request, 1)
	door := open(t, Options{Upstream: newBehind(t, seen(got)).start().address})
	_, port, _ := strings.Cut(door.address, ":")
	conn, answer := door.raw(t, strings.ReplaceAll(`GET /hub/login?next=a;b=%2Fc&x=%zz HTTP/1.1
Host: hub.example.org:8080
X-Forwarded-For: 6.6.6.6, 127.0.0.1
X-FORWARDED-FOR: 7.7.7.7
X_Forwarded_For: 8.8.8.8
X-Forwarded-Proto: https
X-Forwarded-Host: evil.example
X-Forwarded-Port: 1
X-Forwarded-Prefix: /evil
X-Forwarded-Anything: evil
Forwarded: for=6.6.6.6
X-Real-IP: 6.6.6.6
X_REAL_IP: 6.6.6.6
X-Scheme: https
X-Original-URL: /evil
True-Client-IP: 6.6.6.6
Proxy: http://evil.example
Connection: X-Forwarded-For, X-Real-Ip, Cookie2
Cookie2: hop by hop
Authorization: token abc
Cookie: a=1
Cookie: b=2
X-XSRFToken: keep
Accept-Encoding: br

`, "\n", "\r\n"))
	response, err := http.ReadResponse(answer, nil)
	require.NoError(t, err)
	require.Equal(t, 200, response.StatusCode)
	_ = conn.Close()
	r := <-got
	require.Equal(t, http.Header{
		"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"hub.example.org:8080"}, "X-Forwarded-Port": {port},
		"Authorization": {"token abc"}, "Cookie": {"a=1", "b=2"}, "X-Xsrftoken": {"keep"}, "Accept-Encoding": {"br"},
	}, r.Header)
	require.Equal(t, "hub.example.org:8080", r.Host)
	require.Equal(t, "/hub/login?next=a;b=%2Fc&x=%zz", r.RequestURI)
}

func TestPathsPassAsTheyAre(t *testing.T) {
	got := make(chan *http.Request, 1)
	door := open(t, Options{Upstream: newBehind(t, seen(got)).start().address})
	for _, path := range []string{"/", "//x//y/", "/a%2Fb/%20c", "/user/j%C3%BCrgen@uni.example/lab", "/a/../b/./c", "/x?", "/x?a=b&a=c+d%26", "/%2e%2e/x", "/a;b=c"} {
		_, answer := door.raw(t, "GET "+path+" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		_, err := http.ReadResponse(answer, nil)
		require.NoError(t, err)
		require.Equal(t, path, (<-got).RequestURI)
	}
}

func TestWhatTheProxyCannotReadIsRefused(t *testing.T) {
	door := open(t, Options{Upstream: newBehind(t, seen(nil)).start().address})
	for _, path := range []string{"/user/%ff", "/%c3%28/x", "/user/bob/files/%e9t%e9.txt"} {
		_, answer := door.raw(t, "GET "+path+" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		response, err := http.ReadResponse(answer, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusBadRequest, response.StatusCode, path)
	}
}

// The hub, and nobody else, is shown that a request came through the edge.
func TestTheHubKnowsTheEdge(t *testing.T) {
	got := make(chan *http.Request, 1)
	door := open(t, Options{Upstream: newBehind(t, seen(got)).start().address, Token: "secret"})
	for path, wanted := range map[string]string{
		"/hub/login": "secret", "/": "secret", "/user/alice/lab": "", "/user/alice/..%2f..%2fhub": "", "//x/user/alice/": "", "/%75ser/alice/": "",
		"/services/x/": "", "/services%2fx/": "", "//x/services/x/": "",
	} {
		_, answer := door.raw(t, "GET "+path+" HTTP/1.1\r\nHost: h\r\nX-Tljh-Edge: guess\r\nX_Tljh_Edge: guess\r\nConnection: close, X-Tljh-Edge\r\n\r\n")
		_, err := http.ReadResponse(answer, nil)
		require.NoError(t, err)
		require.Equal(t, wanted, (<-got).Header.Get("X-Tljh-Edge"), path)
	}
}

func TestMethodsForProxiesAreRefused(t *testing.T) {
	door := open(t, Options{Upstream: newBehind(t, seen(nil)).start().address})
	for _, request := range []string{"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n", "TRACE / HTTP/1.1\r\nHost: h\r\n\r\n"} {
		_, answer := door.raw(t, request)
		response, err := http.ReadResponse(answer, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusMethodNotAllowed, response.StatusCode)
	}
}

// Another protocol than websocket would take requests past the cleaning.
func TestOtherUpgradesAreNotPassedOn(t *testing.T) {
	got := make(chan *http.Request, 1)
	door := open(t, Options{Upstream: newBehind(t, seen(got)).start().address})
	_, answer := door.raw(t, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n")
	response, err := http.ReadResponse(answer, nil)
	require.NoError(t, err)
	require.Equal(t, 200, response.StatusCode)
	r := <-got
	require.Empty(t, r.Header.Get("Upgrade"))
	require.Empty(t, r.Header.Get("Connection"))
}

// Requests whose end is a matter of opinion must not reach the proxy: another opinion there would let one request hide in another.
func TestAmbiguousRequestsAreRefused(t *testing.T) {
	got := make(chan *http.Request, 9)
	door := open(t, Options{Upstream: newBehind(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		got <- r
	}).start().address})
	for _, header := range []string{
		"Content-Length: 5\r\nContent-Length: 6\r\n", "Content-Length: +5\r\n", "Transfer-Encoding: xchunked\r\n", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
		"Host: other\r\n", "X-A : b\r\n", "Content-Length: 5, 5\r\n",
	} {
		_, answer := door.raw(t, "POST / HTTP/1.1\r\nHost: h\r\n"+header+"\r\nhello")
		response, err := http.ReadResponse(answer, nil)
		require.NoError(t, err, header)
		require.GreaterOrEqual(t, response.StatusCode, 400, header)
	}
	require.Empty(t, got)
}

func FuzzClean(f *testing.F) {
	f.Add("X-Forwarded-For", "6.6.6.6", "[::ffff:1.2.3.4]:5", "hub.example.org")
	f.Add("x_forwarded-FOR", "a", "[fe80::1%a]:5", "")
	f.Add("Cookie", "a=b", "@", "h")
	f.Fuzz(func(t *testing.T, name, value, remote, host string) {
		header := http.Header{name: {value, value}, "Cookie": {"kept"}}
		kept := name == "Cookie" || !isUntrusted(name)
		v := visit{client: clientIP(remote), scheme: "http", port: "80"}
		clean(header, v, host)
		for key, values := range header {
			if !isUntrusted(key) {
				continue
			}
			known := map[string]string{"X-Forwarded-For": v.client, "X-Forwarded-Proto": "http", "X-Forwarded-Host": host, "X-Forwarded-Port": "80"}
			want, ours := known[key]
			if !ours || len(values) != 1 || values[0] != want || want == "" {
				t.Fatalf("%q got through as %q", key, values)
			}
		}
		if _, there := header[name]; kept && !there {
			t.Fatalf("%q was dropped", name)
		}
		if v.client == "" {
			return
		}
		ip, err := netip.ParseAddr(v.client)
		if err != nil || ip.Is4In6() || ip.Zone() != "" || ip == netip.IPv6Loopback() {
			t.Fatalf("%q became %q", remote, v.client)
		}
	})
}
