package edge

import (
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"
	"github.com/stretchr/testify/require"

	"tljh/integration-tests/authority"
	"tljh/internal/host/hosttest"
)

// acmeServer is an authority that gives certificates for names which lead to a door.
type acmeServer struct {
	*authority.Server
	caFile string // by which to know it
}

// newACMEServer starts one that looks at these ports, at the addresses that names have. A port 0 is one that it gets no answer at.
func newACMEServer(t testing.TB, plain, secure int, validity uint64, names map[string]string) *acmeServer {
	t.Helper()
	for _, port := range []*int{&plain, &secure} {
		if *port == 0 {
			*port = hosttest.ClosedPort(t)
		}
	}
	a := &acmeServer{Server: authority.Start(t, authority.Options{HTTP: plain, HTTPS: secure, Names: names, Validity: validity})}
	a.caFile = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(a.caFile, a.Own, 0o600))
	return a
}

// https is a door's setting that gets certificates from there.
func (a *acmeServer) https(state string, domains ...string) *HTTPS {
	return &HTTPS{ACME: &ACME{
		Email: "teacher@example.org", Domains: domains, Directory: a.Directory, CA: a.caFile, State: state, renewCheck: 50 * time.Millisecond,
	}}
}

// shown returns the certificate that a visitor of a domain sees, or nil when there is none that the authority has given.
func (a *acmeServer) shown(door *door, domain string) *x509.Certificate {
	conn, err := tls.Dial("tcp", door.secure, &tls.Config{RootCAs: a.Roots, ServerName: domain})
	if err != nil {
		return nil
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0]
}

func (d *door) location(t testing.TB, host string) string {
	t.Helper()
	request, err := http.NewRequest("GET", d.url+"/x", nil)
	require.NoError(t, err)
	request.Host = host
	response, err := trusting(t).Do(request)
	require.NoError(t, err)
	_ = response.Body.Close()
	return response.Header.Get("Location")
}

// The authority may ask at either port; the door's own are the only ones there are.
func TestCertificatesOfAnAuthority(t *testing.T) {
	for name, ways := range map[string]struct{ plain, secure bool }{"by HTTP": {true, false}, "by TLS": {false, true}, "by both": {true, true}} {
		t.Run(name, func(t *testing.T) {
			plain, secure, ports := newListener(t), newListener(t), [2]int{}
			if ways.plain {
				ports[0] = portOf(plain.Addr())
			}
			if ways.secure {
				ports[1] = portOf(secure.Addr())
			}
			issuer := newACMEServer(t, ports[0], ports[1], 0, map[string]string{"hub.example.org": "127.0.0.1", "jupyter.example.org": "127.0.0.1"})
			state := t.TempDir()
			options := Options{Upstream: newBehind(t, hello).start().address, HTTPS: issuer.https(state, "Hub.example.org.", "jupyter.example.org")}

			release := issuer.Hold()
			door := openAt(t, options, plain, secure)
			response, body := door.get(t, "/hub/login", "Accept", "text/html")
			require.Equal(t, 503, response.StatusCode)
			require.Contains(t, body, "<h1>This server waits for its certificate</h1>")
			require.Contains(t, body, "usually takes less than a minute")
			require.Nil(t, issuer.shown(door, "hub.example.org"))
			release()

			for _, domain := range []string{"hub.example.org", "jupyter.example.org"} {
				require.Eventually(t, func() bool { return issuer.shown(door, domain) != nil }, 3*soon, 10*time.Millisecond, "%q", door.log.lines())
				require.Equal(t, []string{domain}, issuer.shown(door, domain).DNSNames)
				_, port, _ := net.SplitHostPort(door.secure)
				require.Equal(t, "https://"+domain+":"+port+"/x", door.location(t, strings.ToUpper(domain)))
				require.True(t, strings.HasPrefix(door.location(t, "127.0.0.1"), "https://hub.example.org:"), "an address has no certificate")
			}
			require.NoError(t, filepath.WalkDir(state, func(file string, entry fs.DirEntry, err error) error {
				info, _ := entry.Info()
				if file != state {
					require.Zero(t, info.Mode().Perm()&0o077, file)
				}
				return err
			}))
			door.close()
			require.NoError(t, <-door.ended)
			words := strings.Join(door.log.lines(), "\n")
			require.Contains(t, words, "HTTPS has a certificate for hub.example.org, valid until ")
			require.NotContains(t, words, "no certificate for")

			issuer.Close() // the next door finds what it needs in its folder
			again := open(t, options)
			require.Eventually(t, func() bool {
				return issuer.shown(again, "hub.example.org") != nil && issuer.shown(again, "jupyter.example.org") != nil
			}, soon, time.Millisecond)
		})
	}
}

func TestCertificatesOfAnAuthorityAreRenewed(t *testing.T) {
	plain, secure := newListener(t), newListener(t)
	issuer := newACMEServer(t, portOf(plain.Addr()), portOf(secure.Addr()), 9, map[string]string{"hub.example.org": "127.0.0.1"})
	door := openAt(t, Options{Upstream: newBehind(t, echo).start().address, HTTPS: issuer.https(t.TempDir(), "hub.example.org")}, plain, secure)
	var first, shown *x509.Certificate
	require.Eventually(t, func() bool { first = issuer.shown(door, "hub.example.org"); return first != nil }, 2*soon, 10*time.Millisecond, "%q", door.log.lines())
	socket, ctx := secureSocketAt(t, door, &tls.Config{RootCAs: issuer.Roots, ServerName: "hub.example.org"})
	say(t, ctx, socket)
	require.Eventually(t, func() bool {
		shown = issuer.shown(door, "hub.example.org")
		return shown != nil && shown.NotAfter.After(first.NotAfter)
	}, 2*soon, 10*time.Millisecond, "%q", door.log.lines())
	say(t, ctx, socket)
	require.Contains(t, strings.Join(door.log.lines(), "\n"), "the certificate for hub.example.org is renewed")
}

func TestWhatAnAuthoritySaysIsWorded(t *testing.T) {
	plain, secure := newListener(t), newListener(t)
	elsewhere, err := net.Listen("tcp", net.JoinHostPort("127.0.0.3", portText(plain)))
	require.NoError(t, err)
	other := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: soon}
	go func() { _ = other.Serve(elsewhere) }()
	t.Cleanup(func() { _ = other.Close() })
	names := map[string]string{"hub.example.org": "127.0.0.1", "elsewhere.example.org": "127.0.0.3", "deaf.example.org": "127.0.0.4"}
	limited := `{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many certificates already issued","status":429}`
	for name, test := range map[string]struct {
		domain string
		change func(*acmeServer, *ACME)
		says   []string
	}{
		"points elsewhere": {"elsewhere.example.org", nil, []string{"another server answers at elsewhere.example.org", "its port 80"}},
		"no way in":        {"deaf.example.org", nil, []string{"gets no connection to this server by the name deaf.example.org", "ports 80 and 443"}},
		"no such name":     {"nowhere.example.org", nil, []string{"nowhere.example.org", "ould not resolve"}}, // Let's Encrypt's kind of problem for this is "dns": see below
		"not allowed": {"hub.example.org", func(a *acmeServer, _ *ACME) { _ = a.Block("hub.example.org") },
			[]string{"gives no certificates for hub.example.org"}},
		"rate limit": {"hub.example.org", func(a *acmeServer, _ *ACME) { a.Refuse(limited) },
			[]string{"asked too often", "too many certificates already issued", "https.letsencrypt.staging"}},
		"not trusted": {"hub.example.org", func(_ *acmeServer, o *ACME) { o.CA = "" }, []string{"does not trust", "https.letsencrypt.ca"}},
		"no CA file":  {"hub.example.org", func(_ *acmeServer, o *ACME) { o.CA = "/nowhere" }, []string{"https.letsencrypt.ca", "/nowhere: no such file"}},
		"nobody there": {"hub.example.org", func(_ *acmeServer, o *ACME) { o.Directory = "https://" + hosttest.ClosedAddress(t) + "/dir" },
			[]string{"cannot be reached from here", "connection refused"}},
		"unknown authority": {"hub.example.org", func(_ *acmeServer, o *ACME) { o.Directory = "https://ca.invalid/dir" }, []string{"ca.invalid, cannot be looked up"}},
		"no folder":         {"hub.example.org", func(_ *acmeServer, o *ACME) { o.State = "/nowhere" }, []string{"cannot keep certificates in /nowhere"}},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int64
			issuer := newACMEServer(t, portOf(plain.Addr()), portOf(secure.Addr()), 0, names)
			https := issuer.https(t.TempDir(), test.domain)
			if test.change != nil {
				test.change(issuer, https.ACME)
			}
			upstream := newBehind(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) }).start()
			door := openAt(t, Options{Upstream: upstream.address, HTTPS: https}, duplicate(t, plain), duplicate(t, secure))
			body := ""
			require.Eventually(t, func() bool {
				var response *http.Response
				response, body = door.get(t, "/hub/login")
				require.Equal(t, 503, response.StatusCode)
				return !strings.Contains(body, "usually takes less than")
			}, 2*soon, 10*time.Millisecond, "%q", door.log.lines())
			lines := door.log.lines()
			said := lines[len(lines)-1]
			for _, words := range test.says {
				require.Contains(t, body, words)
				require.Contains(t, said, words)
			}
			require.NotContains(t, said, "urn:ietf")
			door.close()
			require.NoError(t, <-door.ended)
			require.LessOrEqual(t, len(door.log.lines()), 2, "%q", door.log.lines())
			require.Zero(t, asked.Load())
		})
	}
}

func TestEveryKindOfProblemIsWorded(t *testing.T) {
	for kind := range advice {
		words := wordsOf(problem{kind, "DNS problem: NXDOMAIN\nlooking up A for hub.example.org."}, "hub.example.org", "ca.example")
		require.NotContains(t, words, "%!", kind)
		require.NotContains(t, words, "\n", kind)
		require.Contains(t, words, "ca.example", kind)
		require.True(t, strings.HasSuffix(words, " (it says: DNS problem: NXDOMAIN looking up A for hub.example.org)"), words)
	}
	require.Contains(t, wordsOf(problem{acme.ProblemTypeDNS, ""}, "hub.example.org", "ca.example"), "a record A or AAAA")
	require.Equal(t, "ca.example refuses it (it says: no)", wordsOf(problem{"urn:new", "no"}, "hub.example.org", "ca.example"))
	require.LessOrEqual(t, len(wordsOf(problem{"x", strings.Repeat("x", 10000)}, "a", "b")), 500)
}

func TestAStrangersHandshakeCausesNoWords(t *testing.T) {
	plain, secure := newListener(t), newListener(t)
	issuer := newACMEServer(t, portOf(plain.Addr()), portOf(secure.Addr()), 0, map[string]string{"hub.example.org": "127.0.0.1"})
	door := openAt(t, Options{Upstream: newBehind(t, hello).start().address, HTTPS: issuer.https(t.TempDir(), "hub.example.org")}, plain, secure)
	require.Eventually(t, func() bool { return issuer.shown(door, "hub.example.org") != nil }, 2*soon, 10*time.Millisecond, "%q", door.log.lines())
	before := len(door.log.lines())
	_, err := tls.Dial("tcp", door.secure, &tls.Config{InsecureSkipVerify: true, ServerName: "other.example", NextProtos: []string{"acme-tls/1"}})
	require.Error(t, err)
	for _, token := range []string{strings.Repeat("x", 43), "..%2f..%2fx", ""} {
		_, answer := door.raw(t, "GET /.well-known/acme-challenge/"+token+" HTTP/1.1\r\nHost: ..\r\nConnection: close\r\n\r\n")
		response, err := http.ReadResponse(answer, nil)
		require.NoError(t, err)
		require.Equal(t, 302, response.StatusCode)
	}
	// Whoever comes by another name sees the name that this server has.
	conn, err := tls.Dial("tcp", door.secure, &tls.Config{InsecureSkipVerify: true, ServerName: "other.example"})
	require.NoError(t, err)
	require.Equal(t, []string{"hub.example.org"}, conn.ConnectionState().PeerCertificates[0].DNSNames)
	_ = conn.Close()
	require.Len(t, door.log.lines(), before, "%q", door.log.lines())
}

func TestDirectories(t *testing.T) {
	require.Equal(t, "https://acme-v02.api.letsencrypt.org/directory", ACME{}.directory())
	require.Equal(t, "https://acme-staging-v02.api.letsencrypt.org/directory", ACME{Staging: true}.directory())
	require.Equal(t, "https://ca.example.org/acme", ACME{Staging: true, Directory: "https://ca.example.org/acme"}.directory())
}

func portText(listener net.Listener) string {
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

// duplicate returns a listener on the same socket, which stays open when this one is closed: as systemd keeps it.
func duplicate(t testing.TB, listener net.Listener) net.Listener {
	t.Helper()
	file, err := listener.(*net.TCPListener).File()
	require.NoError(t, err)
	defer file.Close()
	again, err := net.FileListener(file)
	require.NoError(t, err)
	t.Cleanup(func() { _ = again.Close() })
	return again
}
