package edge

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/config"
)

func proxies(t *testing.T, public string, trusted ...string) Proxies {
	t.Helper()
	p, err := ParseProxies(public, trusted)
	require.NoError(t, err)
	return p
}

// arrives sends a request's text and returns what arrives behind the edge.
func arrives(t *testing.T, options Options, text string) *http.Request {
	t.Helper()
	got := make(chan *http.Request, 1)
	options.Upstream = newBehind(t, seen(got)).start().address
	door := open(t, options)
	conn, answer := door.raw(t, text)
	defer conn.Close()
	response, err := http.ReadResponse(answer, nil)
	require.NoError(t, err)
	require.Equal(t, 200, response.StatusCode)
	return <-got
}

func asking(lines ...string) string {
	return "GET /hub/login HTTP/1.1\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// Who is trusted is believed, in every form; of lists, the end that trusted proxies wrote.
func TestTrustedProxiesAreBelieved(t *testing.T) {
	for name, c := range map[string]struct {
		trusted []string
		lines   []string
		want    string // client, scheme, host, port
	}{
		"nobody is trusted": {nil, []string{"Host: inner:8000", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: hub.example.org"}, "127.0.0.1 http inner:8000 PORT"},
		"another is":        {[]string{"192.0.2.0/24"}, []string{"Host: inner", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https"}, "127.0.0.1 http inner PORT"},
		"nginx's usual":     {[]string{"127.0.0.1"}, []string{"Host: hub.example.org", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https"}, "192.0.2.7 https hub.example.org 443"},
		"Apache's":          {[]string{"127.0.0.0/8"}, []string{"Host: 127.0.0.1:8000", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Host: hub.example.org", "X-Forwarded-Proto: https"}, "192.0.2.7 https hub.example.org 443"},
		"what the client forged before": {
			[]string{"127.0.0.1"}, []string{"Host: hub.example.org", "X-Forwarded-For: 6.6.6.6, 192.0.2.7", "X-Forwarded-Proto: http"}, "192.0.2.7 http hub.example.org PORT",
		},
		"two proxies": {
			[]string{"127.0.0.1", "10.0.0.0/8"}, []string{"Host: hub.example.org", "X-Forwarded-For: 6.6.6.6, 192.0.2.7, 10.0.0.9", "X-Forwarded-Proto: https, http"}, "192.0.2.7 https hub.example.org 443",
		},
		"Forwarded": {
			[]string{"127.0.0.1"}, []string{"Host: inner", `Forwarded: for="[2001:db8::7]:1234";proto=https;host=hub.example.org:8443`}, "2001:db8::7 https hub.example.org:8443 8443",
		},
		"nonsense": {
			[]string{"127.0.0.1"}, []string{"Host: hub.example.org", "X-Forwarded-For: unknown", "X-Forwarded-Proto: gopher", "X-Forwarded-Host: a b/c", "X-Forwarded-Port: 99999"}, "127.0.0.1 http hub.example.org PORT",
		},
		"another port": {
			[]string{"127.0.0.1"}, []string{"Host: hub.example.org:8443", "X-Forwarded-Proto: https", "X-Forwarded-Port: 8443"}, "127.0.0.1 https hub.example.org:8443 8443",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := arrives(t, Options{Proxies: proxies(t, "", c.trusted...)}, asking(c.lines...))
			header := r.Header
			port := header.Get("X-Forwarded-Port")
			if strings.HasSuffix(c.want, "PORT") {
				port = "PORT" // the edge's own
			}
			assert.Equal(t, c.want, fmt.Sprintf("%s %s %s %s", header.Get("X-Forwarded-For"), header.Get("X-Forwarded-Proto"), r.Host, port))
			assert.Empty(t, header.Get("Forwarded"))
		})
	}
}

// With a public origin, requests for it count as its own, whatever stands in front.
func TestThePublicOriginIsKnown(t *testing.T) {
	r := arrives(t, Options{Proxies: proxies(t, "https://hub.example.org:8443")}, asking("Host: hub.example.org:8443"))
	assert.Equal(t, "https", r.Header.Get("X-Forwarded-Proto"))
	assert.Equal(t, "8443", r.Header.Get("X-Forwarded-Port"))
	r = arrives(t, Options{Proxies: proxies(t, "https://hub.example.org")}, asking("Host: 127.0.0.1"))
	assert.Equal(t, "http", r.Header.Get("X-Forwarded-Proto"), "a visitor of the machine's own address")
}

// A proxy that passes on no Host leaves its own name for us there: what a page of the public origin asks for is for that origin all the same.
func TestAPublicPageBehindAProxyWithoutHost(t *testing.T) {
	for origin, host := range map[string]string{
		"https://hub.example.org": "hub.example.org", "https://HUB.example.org:443": "hub.example.org", "http://hub.example.org": "inner:8000",
		"https://hub.example.org:8443": "inner:8000", "https://evil.example.org": "inner:8000", "null": "inner:8000", "": "inner:8000",
	} {
		trusting := Options{Proxies: proxies(t, "https://hub.example.org", "127.0.0.1")}
		r := arrives(t, trusting, asking("Host: inner:8000", "Origin: "+origin))
		assert.Equal(t, host, r.Host, origin)
	}
	r := arrives(t, Options{Proxies: proxies(t, "https://hub.example.org", "192.0.2.1")}, asking("Host: inner:8000", "Origin: https://hub.example.org"))
	assert.Equal(t, "inner:8000", r.Host, "from somebody who is not trusted")
	r = arrives(t, Options{Proxies: proxies(t, "https://hub.example.org", "127.0.0.1")},
		asking("Host: inner", "Origin: https://hub.example.org", "X-Forwarded-Host: other.example.org"))
	assert.Equal(t, "other.example.org", r.Host, "what the proxy says counts")
}

func TestPROXYProtocol(t *testing.T) {
	v2 := func(command, family byte, data string) string {
		return string(proxyTwo) + string([]byte{command, family, 0, byte(len(data))}) + data
	}
	four := "\xc0\x00\x02\x07" + "\x7f\x00\x00\x01" + "\x12\x34\x00\x50"
	six := string(netip.MustParseAddr("2001:db8::7").AsSlice()) + string(netip.MustParseAddr("::1").AsSlice()) + "\x12\x34\x00\x50"
	for name, c := range map[string]struct{ begin, client string }{
		"none":               {"", "127.0.0.1"},
		"1, IPv4":            {"PROXY TCP4 192.0.2.7 127.0.0.1 4660 80\r\n", "192.0.2.7"},
		"1, IPv6":            {"PROXY TCP6 2001:db8::7 ::1 4660 80\r\n", "2001:db8::7"},
		"1, unknown":         {"PROXY UNKNOWN\r\n", "127.0.0.1"},
		"2, IPv4":            {v2(0x21, 0x11, four), "192.0.2.7"},
		"2, IPv6 and more":   {v2(0x21, 0x21, six+"\x04\x00\x01x"), "2001:db8::7"},
		"2, the proxy's own": {v2(0x20, 0x00, ""), "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			options := Options{Proxies: proxies(t, "", "127.0.0.1")}
			r := arrives(t, options, c.begin+asking("Host: hub.example.org", "X-Forwarded-For: 6.6.6.6"))
			want := c.client
			if want == "127.0.0.1" {
				want = "6.6.6.6" // said by the peer, which is trusted
			}
			assert.Equal(t, want, r.Header.Get("X-Forwarded-For"), "a visitor's own headers are not believed")
		})
	}
	for name, begin := range map[string]string{
		"a line without end": "PROXY " + strings.Repeat("x", 200), "no addresses": "PROXY TCP4 192.0.2.7\r\n", "too short": v2(0x21, 0x11, "\x01"), "another version": v2(0x31, 0x11, four),
	} {
		t.Run(name, func(t *testing.T) {
			door := open(t, Options{Upstream: newBehind(t, func(http.ResponseWriter, *http.Request) { t.Error("it came through") }).start().address, Proxies: proxies(t, "", "127.0.0.1")})
			conn, answer := door.raw(t, begin+asking("Host: hub.example.org"))
			defer conn.Close()
			text, _ := io.ReadAll(answer)
			assert.True(t, len(text) == 0 || strings.HasPrefix(string(text), "HTTP/1.1 400"), string(text))
		})
	}
	t.Run("from somebody else it is no request", func(t *testing.T) {
		door := open(t, Options{Upstream: newBehind(t, func(http.ResponseWriter, *http.Request) { t.Error("it came through") }).start().address})
		conn, answer := door.raw(t, "PROXY TCP4 192.0.2.7 127.0.0.1 4660 80\r\n"+asking("Host: hub.example.org"))
		defer conn.Close()
		text, _ := io.ReadAll(bufio.NewReader(answer))
		assert.Contains(t, string(text), "400")
	})
}

// The beginning may come byte by byte; a request that only begins like one is served.
func TestPROXYProtocolInPieces(t *testing.T) {
	got := make(chan *http.Request, 16) // the edge asks for something harmless before what can't be sent twice
	door := open(t, Options{Upstream: newBehind(t, seen(got)).start().address, Proxies: proxies(t, "", "127.0.0.1")})
	for begin, want := range map[string]string{"PROXY TCP4 192.0.2.7 127.0.0.1 1 80\r\n": "192.0.2.7", "": "127.0.0.1"} {
		text := begin + "PROPFIND / HTTP/1.1\r\nHost: hub.example.org\r\n\r\n"
		conn, answer := door.raw(t, text[:1])
		for n := range text[1:] {
			_, err := io.WriteString(conn, text[1+n:2+n])
			require.NoError(t, err)
		}
		_, err := http.ReadResponse(answer, nil)
		require.NoError(t, err)
		for r := <-got; r.Method != "PROPFIND"; r = <-got {
			assert.Equal(t, want, r.Header.Get("X-Forwarded-For"), r.Method)
		}
		_ = conn.Close()
	}
}

func TestParseProxies(t *testing.T) {
	for _, wrong := range []string{"hub.example.org", "ftp://hub.example.org", "https://"} {
		_, err := ParseProxies(wrong, nil)
		assert.Error(t, err, wrong)
	}
	_, err := ParseProxies("", []string{"nobody"})
	assert.Error(t, err)
	p := proxies(t, "", "2001:db8::/32", "192.0.2.1")
	assert.True(t, p.trusts(netip.MustParseAddr("::ffff:192.0.2.1")))
	assert.True(t, p.trusts(netip.MustParseAddr("2001:db8::5")))
	assert.False(t, p.trusts(netip.MustParseAddr("192.0.2.2")))
}

// A router leads its ports to others of this machine: visitors are sent to those that they know.
func TestRedirectsLeadToThePublicOrigin(t *testing.T) {
	p := proxies(t, "https://hub.example.org:4443")
	r, _ := http.NewRequest(http.MethodGet, "http://hub.example.org/hub/login", nil)
	assert.True(t, p.isPublic(r))
	assert.Equal(t, 4443, p.publicPort())
	inner := func(string) int { return 8443 }
	assert.Equal(t, "http://hub.example.org:4443", Origins{UserPort: 9443}.hubAddress(withVisit(r, visit{scheme: schemeHTTP}), "hub.example.org", p, inner))
	assert.Equal(t, "http://hub.example.org:8443", Origins{UserPort: 9443}.hubAddress(withVisit(r, visit{scheme: schemeHTTP}), "hub.example.org", Proxies{}, inner))
	r.Host = "192.0.2.1"
	assert.False(t, p.isPublic(r), "who comes by another name stays there")
}

// With HTTPS of the edge's own, plain HTTP leads to the public port, and carries nothing to the hub, unless a trusted proxy had it over HTTPS.
func TestPlainHTTPLeadsToThePublicOrigin(t *testing.T) {
	got := make(chan *http.Request, 4)
	c := certify(t, -time.Hour, year)
	door := open(t, Options{
		Upstream: newBehind(t, seen(got)).start().address, HTTPS: c.https(t), Proxies: proxies(t, "https://hub.example.org:4443", "127.0.0.1"),
	})
	get := func(lines ...string) *http.Response {
		conn, answer := door.raw(t, asking(append(lines, "Connection: close")...))
		defer conn.Close()
		response, err := http.ReadResponse(answer, nil)
		require.NoError(t, err)
		return response
	}
	_, port, _ := strings.Cut(door.secure, ":")
	assert.Equal(t, "https://hub.example.org:4443/hub/login", get("Host: hub.example.org").Header.Get("Location"))
	assert.Equal(t, "https://192.0.2.7:"+port+"/hub/login", get("Host: 192.0.2.7").Header.Get("Location"))
	assert.Empty(t, got, "something went to the hub in the clear")
	assert.Equal(t, 200, get("Host: hub.example.org", "X-Forwarded-Proto: https", "X-Forwarded-For: 192.0.2.7").StatusCode)
	assert.Equal(t, "https", (<-got).Header.Get("X-Forwarded-Proto"))
}

func withVisit(r *http.Request, v visit) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), visitKey{}, v))
}

// Who connects to a unix socket is a proxy in front: it is believed. Nobody's address is that of a socket, and the claims of others are taken away as before.
func TestAUnixSocketIsATrustedProxys(t *testing.T) {
	const claims = "X-Forwarded-For: 192.0.2.7"
	got := make(chan *http.Request, 1)
	options := Options{Upstream: newBehind(t, seen(got)).start().address, Proxies: proxies(t, "", "unix:/run/hub.sock")}
	socket := filepath.Join(t.TempDir(), "hub.sock")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	plain := newListener(t)
	server := New(options)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- server.Serve(ctx, Door{Listener: listener, Scheme: schemeHTTP}, Door{Listener: plain, Scheme: schemeHTTP})
	}()
	defer func() { cancel(); assert.NoError(t, <-ended) }()
	for name, c := range map[string]struct {
		network, address, text string
		want                   string // client, scheme, host, port
	}{
		"the socket":                 {"unix", socket, asking("Host: hub.example.org", claims, "X-Forwarded-Proto: https"), "192.0.2.7 https hub.example.org 443"},
		"the socket without headers": {"unix", socket, asking("Host: hub.example.org"), "127.0.0.1 http hub.example.org 80"},
		"a client's own claim":       {"unix", socket, asking("Host: hub.example.org", "X-Forwarded-For: 6.6.6.6, 192.0.2.7"), "192.0.2.7 http hub.example.org 80"},
		"the PROXY protocol":         {"unix", socket, "PROXY TCP4 192.0.2.9 192.0.2.1 40000 80\r\n" + asking("Host: hub.example.org", claims), "192.0.2.9 http hub.example.org 80"},
		"a port":                     {"tcp", plain.Addr().String(), asking("Host: hub.example.org", claims, "X-Forwarded-Proto: https"), "127.0.0.1 http hub.example.org PORT"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial(c.network, c.address)
			require.NoError(t, err)
			defer conn.Close()
			_, err = conn.Write([]byte(c.text))
			require.NoError(t, err)
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			require.Equal(t, 200, response.StatusCode)
			r := <-got
			_, port, _ := net.SplitHostPort(plain.Addr().String())
			assert.Equal(t, strings.ReplaceAll(c.want, "PORT", port), fmt.Sprintf("%s %s %s %s",
				r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Proto"), r.Host, r.Header.Get("X-Forwarded-Port")))
		})
	}
}

// The config and the edge each read addresses and networks: what the first gives out, the second takes.
func TestTheEdgeTakesTheProxiesOfTheConfig(t *testing.T) {
	c, report := config.Parse("", []byte("http:\n  public_url: https://Hub.example.org:4443/\n"+
		"  trusted_proxies: [192.0.2.10, 10.1.2.3/8, '2001:DB8::1', '2001:db8:1::/48', '::ffff:192.0.2.11', 'unix:/run/hub/http.sock']\n"))
	require.NoError(t, report.Err())
	p, err := ParseProxies(c.HTTP.PublicURL, c.HTTP.TrustedProxies)
	require.NoError(t, err)
	assert.True(t, p.Sockets)
	assert.Len(t, p.Trusted, 5)
	for _, peer := range []string{"192.0.2.10", "10.200.0.1", "2001:db8::1", "2001:db8:1::7", "192.0.2.11"} {
		assert.True(t, p.trusts(netip.MustParseAddr(peer)), peer)
	}
	assert.False(t, p.trusts(netip.MustParseAddr("192.0.2.12")))
}
