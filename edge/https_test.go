package edge

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
)

// certificate is one that signs itself, and its key.
type certificate struct {
	cert, key []byte
	leaf      *x509.Certificate
}

func certify(t testing.TB, from, until time.Duration, names ...string) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(until), DNSNames: names,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	bare, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return certificate{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: bare}), leaf: leaf,
	}
}

const year = 365 * 24 * time.Hour

// files writes certificate and key as an admin has them.
func (c certificate) files(t testing.TB) Sources {
	t.Helper()
	dir := t.TempDir()
	sources := Sources{Cert: filepath.Join(dir, "hub.crt"), Key: filepath.Join(dir, "hub.key")}
	require.NoError(t, os.WriteFile(sources.Cert, c.cert, 0o644))
	require.NoError(t, os.WriteFile(sources.Key, c.key, 0o600))
	return sources
}

// provide hands the certificate to a door as its unit does.
func (c certificate) provide(t testing.TB, folder string) {
	t.Helper()
	changed, err := Provide(folder, c.files(t))
	require.NoError(t, err)
	require.True(t, changed)
}

// https is a door's setting with the certificate in a folder of its own.
func (c certificate) https(t testing.TB) *HTTPS {
	t.Helper()
	folder := t.TempDir()
	c.provide(t, folder)
	return &HTTPS{Pair: filepath.Join(folder, pairFile), Look: time.Millisecond}
}

// trusting returns a client that trusts certificates and follows no redirect.
func trusting(t testing.TB, certificates ...certificate) *http.Client {
	pool := x509.NewCertPool()
	for _, c := range certificates {
		pool.AddCert(c.leaf)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport: transport, Timeout: 2 * soon, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func TestHTTPSServesTheHub(t *testing.T) {
	c := certify(t, -time.Hour, year, "hub.example.org")
	got := make(chan *http.Request, 1)
	upstream := newBehind(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/hub/health" {
			return
		}
		got <- r
		_, _ = w.Write(body)
	}).start()
	door := open(t, Options{Upstream: upstream.address, HTTPS: c.https(t)})
	for _, protocol := range []string{"HTTP/2.0", "HTTP/1.1"} {
		client := trusting(t, c)
		client.Transport.(*http.Transport).ForceAttemptHTTP2 = protocol == "HTTP/2.0"
		request, err := http.NewRequest("POST", "https://"+door.secure+"/hub/login?next=a;b", strings.NewReader(strings.Repeat("x", hubBody)))
		require.NoError(t, err)
		request.Host = "hub.example.org"
		request.Header.Set("X-Forwarded-Proto", "http")
		request.Header.Set("X-Forwarded-For", "6.6.6.6")
		response, err := client.Do(request)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		_ = response.Body.Close()
		require.Equal(t, protocol, response.Proto)
		require.Len(t, body, hubBody)
		require.Empty(t, response.Header.Get("Strict-Transport-Security"))
		r := <-got
		_, port, _ := net.SplitHostPort(door.secure)
		require.Equal(t, []string{"https"}, r.Header["X-Forwarded-Proto"])
		require.Equal(t, []string{port}, r.Header["X-Forwarded-Port"])
		require.Equal(t, []string{"127.0.0.1"}, r.Header["X-Forwarded-For"])
		require.Equal(t, "hub.example.org", r.Host)
		require.Equal(t, "/hub/login?next=a;b", r.RequestURI)
	}
}

func TestTLSVersions(t *testing.T) {
	c := certify(t, -time.Hour, year)
	door := open(t, Options{Upstream: newBehind(t, hello).start().address, HTTPS: c.https(t)})
	for version, works := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		conn, err := tls.Dial("tcp", door.secure, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: version})
		require.Equal(t, works, err == nil, "%s: %v", tls.VersionName(version), err)
		if err == nil {
			_ = conn.Close()
		}
	}
}

// Websockets come over HTTP/1.1, and a client that speaks HTTP/2 must not be told that they may come over that.
func TestWebsocketOverHTTPS(t *testing.T) {
	c := certify(t, -time.Hour, year)
	door := open(t, Options{Upstream: newBehind(t, echo).start().address, HTTPS: c.https(t)})
	conn, ctx := secureSocket(t, door, c)
	say(t, ctx, conn)

	pages, err := tls.Dial("tcp", door.secure, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	require.NoError(t, err)
	defer pages.Close()
	require.NoError(t, pages.SetDeadline(time.Now().Add(soon)))
	_, err = io.WriteString(pages, http2.ClientPreface)
	require.NoError(t, err)
	frames := http2.NewFramer(pages, pages)
	require.NoError(t, frames.WriteSettings())
	for {
		frame, err := frames.ReadFrame()
		require.NoError(t, err)
		if settings, ok := frame.(*http2.SettingsFrame); ok && !settings.IsAck() {
			value, _ := settings.Value(http2.SettingEnableConnectProtocol)
			require.Zero(t, value)
			return
		}
	}
}

func secureSocket(t *testing.T, door *door, c certificate) (*websocket.Conn, context.Context) {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(c.leaf)
	return secureSocketAt(t, door, &tls.Config{RootCAs: pool})
}

func secureSocketAt(t *testing.T, door *door, config *tls.Config) (*websocket.Conn, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*soon)
	t.Cleanup(cancel)
	transport := &http.Transport{TLSClientConfig: config}
	t.Cleanup(transport.CloseIdleConnections)
	conn, _, err := websocket.Dial(ctx, "wss://"+door.secure+"/user/a/api/kernels/x/channels", &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return conn, ctx
}

func say(t *testing.T, ctx context.Context, conn *websocket.Conn) {
	t.Helper()
	require.NoError(t, conn.Write(ctx, websocket.MessageText, []byte("hello")))
	_, got, err := conn.Read(ctx)
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))
}

func TestHTTPLeadsToHTTPS(t *testing.T) {
	var asked atomic.Int64
	c := certify(t, -time.Hour, year)
	upstream := newBehind(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) }).start()
	door := open(t, Options{Upstream: upstream.address, HTTPS: c.https(t)})
	_, port, _ := net.SplitHostPort(door.secure)
	for name, test := range map[string]struct {
		request, host string
		status        int
		location      string
	}{
		"page":           {"GET /hub/home?a=b;c&d=%2F", "hub.example.org", 302, "https://hub.example.org:PORT/hub/home?a=b;c&d=%2F"},
		"port":           {"GET /", "hub.example.org:8080", 302, "https://hub.example.org:PORT/"},
		"address":        {"GET /", "192.0.2.7", 302, "https://192.0.2.7:PORT/"},
		"IPv6":           {"GET /", "[2001:db8::7]:80", 302, "https://[2001:db8::7]:PORT/"},
		"no host":        {"GET /", "", 302, "https://127.0.0.1:PORT/"},
		"strange host":   {"GET /", "a$(b)", 302, "https://127.0.0.1:PORT/"},
		"double slash":   {"GET //evil.example/x", "h", 302, "https://h:PORT//evil.example/x"},
		"escaped":        {"GET /user/j%C3%BCrgen/%2F", "h", 302, "https://h:PORT/user/j%C3%BCrgen/%2F"},
		"absolute":       {"GET http://other.example/x?y", "h", 302, "https://other.example:PORT/x?y"},
		"HEAD":           {"HEAD /x", "h", 302, "https://h:PORT/x"},
		"form":           {"POST /hub/login", "h", 308, "https://h:PORT/hub/login"},
		"delete":         {"DELETE /x", "h", 308, "https://h:PORT/x"},
		"options":        {"OPTIONS /x", "h", 308, "https://h:PORT/x"},
		"someone else's": {"GET /.well-known/acme-challenge/abc", "h", 302, "https://h:PORT/.well-known/acme-challenge/abc"},
		"connect":        {"CONNECT h:443", "h:443", 405, ""},
	} {
		t.Run(name, func(t *testing.T) {
			method, _, _ := strings.Cut(test.request, " ")
			_, answer := door.raw(t, test.request+" HTTP/1.1\r\nHost: "+test.host+"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			response, err := http.ReadResponse(answer, &http.Request{Method: method})
			require.NoError(t, err)
			require.Equal(t, test.status, response.StatusCode)
			require.Equal(t, strings.ReplaceAll(test.location, "PORT", port), response.Header.Get("Location"))
			if test.location != "" {
				require.Equal(t, "no-store", response.Header.Get("Cache-Control"))
			}
		})
	}
	require.Zero(t, asked.Load(), "something went to the hub in the clear")
}

func TestTheUsualPortIsNotShown(t *testing.T) {
	for name, want := range map[string]string{"hub.example.org": "https://hub.example.org/x?y", "2001:db8::7": "https://[2001:db8::7]/x?y"} {
		w := httptest.NewRecorder()
		redirect(w, httptest.NewRequest("GET", "/x?y", nil), name, 443)
		require.Equal(t, want, w.Header().Get("Location"))
	}
}

func FuzzRedirect(f *testing.F) {
	for _, host := range []string{"hub.example.org:80", "[::1]:80", "a@b", "a\r\nb", "", "[fe80::1%25eth0]", "a/b", ".", "A.", "1.2.3.4:"} {
		f.Add(host, "/x?y#z")
	}
	f.Add("h", "//evil.example")
	f.Fuzz(func(t *testing.T, host, target string) {
		address, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		r := &http.Request{Method: "GET", Host: host, URL: address}
		name := hostOf(r)
		if name == "" {
			return
		}
		w := httptest.NewRecorder()
		redirect(w, r, name, 8443)
		location, err := url.Parse(w.Header().Get("Location"))
		if err != nil || location.Scheme != "https" || location.User != nil || location.Port() != "8443" || location.Hostname() != name {
			t.Fatalf("%q and %q lead to %q: %v", host, target, w.Header().Get("Location"), err)
		}
	})
}

// serial returns the number of the certificate that a new visitor sees.
func serial(t testing.TB, door *door) string {
	t.Helper()
	conn, err := tls.Dial("tcp", door.secure, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

func TestRenewedCertificateIsPickedUp(t *testing.T) {
	for name, look := range map[string]time.Duration{"by itself": time.Millisecond, "when told": time.Hour} {
		t.Run(name, func(t *testing.T) {
			old, renewed := certify(t, -time.Hour, year), certify(t, -time.Hour, 2*year)
			https := old.https(t)
			https.Look = look
			door := open(t, Options{Upstream: newBehind(t, echo).start().address, HTTPS: https})
			socket, ctx := secureSocket(t, door, old)
			say(t, ctx, socket)
			require.Equal(t, old.leaf.SerialNumber.String(), serial(t, door))

			folder := filepath.Dir(https.Pair)
			_, err := Provide(folder, Sources{Cert: renewed.files(t).Cert, Key: old.files(t).Key})
			require.ErrorContains(t, err, "does not belong to the certificate")
			renewed.provide(t, folder)
			if look == time.Hour {
				require.Equal(t, old.leaf.SerialNumber.String(), serial(t, door))
				door.server.keeper.again()
			}
			require.Eventually(t, func() bool { return serial(t, door) == renewed.leaf.SerialNumber.String() }, soon, time.Millisecond)
			say(t, ctx, socket) // the connections that were there go on
			require.NoError(t, os.WriteFile(https.Pair+".x", []byte("rubbish"), 0o600))
			require.NoError(t, os.Rename(https.Pair+".x", https.Pair))
			if look == time.Hour {
				door.server.keeper.again()
			}
			require.Eventually(t, func() bool { return len(door.log.lines()) == 3 }, soon, time.Millisecond)
			require.Equal(t, renewed.leaf.SerialNumber.String(), serial(t, door))
			lines := door.log.lines()
			require.Contains(t, lines[0], "HTTPS has a certificate for 127.0.0.1, valid until ")
			require.Contains(t, lines[2], "goes on with the one before: the certificate's file contains no certificate")
		})
	}
}

func TestWithoutACertificateTheDoorSaysSo(t *testing.T) {
	var asked atomic.Int64
	upstream := newBehind(t, func(w http.ResponseWriter, r *http.Request) { asked.Add(1); hello(w, r) }).start()
	folder := t.TempDir()
	door := open(t, Options{Upstream: upstream.address, HTTPS: &HTTPS{Pair: filepath.Join(folder, pairFile), Look: time.Millisecond}})
	response, body := door.get(t, "/hub/login", "Accept", "text/html")
	require.Equal(t, 503, response.StatusCode)
	require.Contains(t, body, "<h1>This server&#39;s certificate cannot be used</h1>")
	require.Contains(t, body, "https.tls.cert")
	require.Contains(t, body, "journalctl -u tljh-edge.service")
	response, body = door.do(t, "POST", "/hub/login", strings.NewReader("password=x"))
	require.Equal(t, 503, response.StatusCode)
	require.Contains(t, body, "no safe way")
	require.NotContains(t, serial(t, door), "refused", "the port is open")
	require.Zero(t, asked.Load())
	require.Len(t, door.log.lines(), 1)
	require.Contains(t, door.log.lines()[0], "there is no certificate, so no HTTPS")

	c := certify(t, -time.Hour, year)
	c.provide(t, folder)
	client := trusting(t, c)
	require.Eventually(t, func() bool {
		response, err := client.Get(door.url)
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == 302
	}, soon, time.Millisecond)
}

func TestHTTPSWithoutItsPort(t *testing.T) {
	door := openAt(t, Options{Upstream: "127.0.0.1:1", HTTPS: certify(t, -time.Hour, year).https(t)}, newListener(t), nil)
	response, body := door.get(t, "/")
	require.Equal(t, 503, response.StatusCode)
	require.Contains(t, body, "systemctl restart tljh-edge.socket")
}

func TestDatesOfACertificate(t *testing.T) {
	for name, test := range map[string]struct {
		from, until time.Duration
		says        []string
	}{
		"good":    {-time.Hour, year, nil},
		"soon":    {-time.Hour, 13 * 24 * time.Hour, []string{" only. Replace it before that"}},
		"over":    {-year, -time.Hour, []string{"browsers warn every visitor. Replace it"}},
		"too new": {time.Hour, year, []string{"Is this machine's clock right?"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := certify(t, test.from, test.until)
			door := open(t, Options{Upstream: newBehind(t, hello).start().address, HTTPS: c.https(t)})
			require.Equal(t, c.leaf.SerialNumber.String(), serial(t, door), "it is shown all the same: browsers say what is wrong with it, and let people decide")
			lines := door.log.lines()
			require.Len(t, lines, 1+len(test.says))
			for i, words := range test.says {
				require.Contains(t, lines[1+i], words)
			}
		})
	}
}

func TestWarningsComeOnceADay(t *testing.T) {
	words, now := &notes{}, time.Now()
	p := newPair(*certify(t, -time.Hour, 13*24*time.Hour).https(t), New(Options{Log: words}).log)
	p.now = func() time.Time { return now }
	p.again()
	require.Len(t, words.lines(), 2)
	p.check()
	require.Len(t, words.lines(), 2)
	now = now.Add(25 * time.Hour)
	p.check()
	require.Len(t, words.lines(), 3)
}

func TestProvide(t *testing.T) {
	c, folder := certify(t, -time.Hour, year), t.TempDir()
	if os.Getuid() == 0 {
		require.NoError(t, os.Chown(folder, 64001, 64002))
	}
	sources := c.files(t)
	changed, err := Provide(folder, sources)
	require.NoError(t, err)
	require.True(t, changed)
	info, err := os.Stat(filepath.Join(folder, pairFile))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o400), info.Mode())
	if os.Getuid() == 0 {
		require.Equal(t, uint32(64001), info.Sys().(*syscall.Stat_t).Uid)
		require.Equal(t, uint32(64002), info.Sys().(*syscall.Stat_t).Gid)
	}
	changed, err = Provide(folder, sources)
	require.NoError(t, err)
	require.False(t, changed)

	sources.CA = sources.Cert
	changed, err = Provide(folder, sources)
	require.NoError(t, err)
	require.True(t, changed)
	there, err := os.ReadFile(filepath.Join(folder, authoritiesFile))
	require.NoError(t, err)
	require.Equal(t, c.cert, there)

	sources.CA = sources.Key
	_, err = Provide(folder, sources)
	require.ErrorContains(t, err, "https.letsencrypt.ca")
	_, err = Provide(folder, Sources{Cert: "/nowhere/c", Key: sources.Key})
	require.ErrorContains(t, err, "cannot read the certificate (https.tls.cert): open /nowhere/c: no such file or directory")
	_, err = Provide(folder, Sources{Cert: sources.Cert, Key: "/dev/zero"})
	require.ErrorContains(t, err, "it is no ordinary file")
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Len(t, entries, 2, "nothing is left lying about")
}

// Whoever owns the folder may be someone bad: nothing there leads root elsewhere or holds it up.
func TestProvideIsNotLedAstray(t *testing.T) {
	c := certify(t, -time.Hour, year)
	victim := filepath.Join(t.TempDir(), "victim")
	require.NoError(t, os.WriteFile(victim, []byte("precious"), 0o600))
	for name, plant := range map[string]func(string) error{
		"link":          func(file string) error { return os.Symlink(victim, file) },
		"hard link":     func(file string) error { return os.Link(victim, file) },
		"pipe":          func(file string) error { return syscall.Mkfifo(file, 0o600) },
		"dangling link": func(file string) error { return os.Symlink("/proc/1/root/etc/x", file) },
	} {
		for _, where := range []string{pairFile, "." + pairFile + ".new"} {
			t.Run(name+" "+where, func(t *testing.T) {
				folder := t.TempDir()
				require.NoError(t, plant(filepath.Join(folder, where)))
				c.provide(t, folder)
				info, err := os.Lstat(filepath.Join(folder, pairFile))
				require.NoError(t, err)
				require.Equal(t, os.FileMode(0o400), info.Mode())
				data, err := os.ReadFile(victim)
				require.NoError(t, err)
				require.Equal(t, "precious", string(data))
				there, err := os.Stat(victim)
				require.NoError(t, err)
				require.Equal(t, os.FileMode(0o600), there.Mode())
			})
		}
	}
}

// Within HTTP/2 a deadline ends a stream whether anything waits to be sent or not: it must not be in force while an answer only takes its time.
func TestSlowPagesAndClientsOverHTTP2(t *testing.T) {
	const short = 500 * time.Millisecond
	c := certify(t, -time.Hour, year)
	gaveUp := make(chan struct{}, 1)
	upstream := newBehind(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			for _, part := range []string{"a", "b", "c"} {
				_, _ = io.WriteString(w, part)
				_ = http.NewResponseController(w).Flush()
				select {
				case <-time.After(2 * short):
				case <-r.Context().Done():
				}
			}
		case "/big":
			for {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					gaveUp <- struct{}{}
					return
				}
			}
		}
	}).start()
	door := open(t, Options{Header: short, Idle: short, Stall: short, Upstream: upstream.address, HTTPS: c.https(t)})
	client := trusting(t, c)
	response, err := client.Get("https://" + door.secure + "/slow")
	require.NoError(t, err)
	text, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	require.NoError(t, err)
	require.Equal(t, "abc", string(text))
	require.Equal(t, "HTTP/2.0", response.Proto)

	response, err = client.Get("https://" + door.secure + "/big")
	require.NoError(t, err)
	defer response.Body.Close()
	select { // nobody reads it
	case <-gaveUp:
	case <-time.After(soon):
		t.Fatal("a client that takes nothing holds the server for ever")
	}

	in, out := io.Pipe()
	defer out.Close()
	request, err := http.NewRequest("POST", "https://"+door.secure+"/upload", in)
	require.NoError(t, err)
	answered := make(chan error, 1)
	go func() {
		response, err := client.Do(request)
		if err == nil {
			_ = response.Body.Close()
		}
		answered <- err
	}()
	_, err = io.WriteString(out, "something, and then nothing")
	require.NoError(t, err)
	select {
	case <-answered:
	case <-time.After(soon):
		t.Fatal("a client that sends nothing more holds the server for ever")
	}
}
