// Package door tests the edge as systemd runs it: its units in a throwaway guest, with nothing but a page behind it. What needs a hub is
// tested elsewhere.
package door

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tljh/integration-tests/authority"
	"tljh/integration-tests/guest"
	"tljh/internal/layout"
	"tljh/systemdunits"
)

const soon = time.Minute

// suites have systemd 252 and 257, which differ in how they give a folder to a service.
var suites = []string{guest.Bookworm, guest.Trixie}

// house is a guest with a door.
type house struct {
	*guest.Guest
}

// newHouse boots a guest with the program and a page behind the door to be.
func newHouse(t *testing.T, suite string) *house {
	t.Helper()
	guest.Require(t)
	lab, err := guest.OpenLab(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, lab.Close()) })
	g := lab.Up(t, guest.Options{Name: strings.ReplaceAll(t.Name(), "/", "-"), Suite: suite})
	program := filepath.Join(t.TempDir(), "tljh-install")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "./cmd/tljh-install")
	cmd.Dir, cmd.Env = guest.RepositoryRoot(), append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	file, err := os.Open(program)
	require.NoError(t, err)
	defer file.Close()
	g.MustSh(t, "mkdir -p "+path.Dir(layout.Binary)+" "+layout.State+" "+layout.ConfigDir)
	require.NoError(t, g.Write(t.Context(), layout.Binary, 0o755, file))

	behind, err := g.Listen(t.Context(), "tcp", layout.ProxyAddress)
	require.NoError(t, err)
	page := &http.Server{ReadHeaderTimeout: soon, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-Proto")+" "+r.Header.Get("X-Forwarded-Port"))
	})}
	go func() { _ = page.Serve(behind) }()
	t.Cleanup(func() { _ = page.Close() })
	return &house{Guest: g}
}

// open writes the units and starts the door.
func (h *house) open(t *testing.T, https *systemdunits.HTTPS) {
	t.Helper()
	https.Listen = []systemdunits.Address{{Port: 443}}
	version := 0
	_, err := fmt.Sscanf(h.MustSh(t, "systemctl --version"), "systemd %d", &version)
	require.NoError(t, err)
	units, err := systemdunits.Render(systemdunits.Params{HTTP: []systemdunits.Address{{Port: 80}}, HTTPS: https, SystemdVersion: version})
	require.NoError(t, err)
	for _, unit := range units {
		require.NoError(t, h.Write(t.Context(), path.Join(layout.Units, unit.Name), 0o644, strings.NewReader(string(unit.Content))))
	}
	h.MustSh(t, "systemctl daemon-reload && systemctl stop tljh-edge.service && systemctl restart tljh-edge.socket && systemctl start tljh-edge.service")
}

// get asks for a page by a name that leads to the guest, and returns the answer and its text.
func (h *house) get(ctx context.Context, address string, roots *x509.CertPool) (*http.Response, string, error) {
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, net.JoinHostPort(h.Address(), port))
		},
	}
	client := &http.Client{Transport: transport, Timeout: soon, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	request, err := http.NewRequestWithContext(ctx, "GET", address, nil)
	if err != nil {
		return nil, "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response, string(text), err
}

// serves waits until the hub is to be had over HTTPS, with a certificate that these roots vouch for.
func (h *house) serves(t *testing.T, name string, roots *x509.CertPool) *x509.Certificate {
	t.Helper()
	var shown *x509.Certificate
	guest.Until(t, soon, func(ctx context.Context) error {
		response, text, err := h.get(ctx, "https://"+name+"/", roots)
		if err != nil {
			return err
		}
		if text != "https 443" {
			return fmt.Errorf("%s: %s", response.Status, text)
		}
		shown = response.TLS.PeerCertificates[0]
		return nil
	})
	response, _, err := h.get(t.Context(), "http://"+name+"/x", nil)
	require.NoError(t, err)
	require.Equal(t, "https://"+name+"/x", response.Header.Get("Location"))
	return shown
}

func (h *house) pid(t *testing.T) string {
	return h.MustSh(t, "systemctl show --property MainPID --value tljh-edge.service")
}

// certificate makes one that signs itself, as PEM texts, and the pool that trusts it.
func certificate(t *testing.T, name string) (cert, key string, roots *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(60 * 24 * time.Hour), DNSNames: []string{name},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	bare, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots = x509.NewCertPool()
	roots.AddCert(leaf)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: bare})), roots
}

func (h *house) put(t *testing.T, cert, key string) {
	t.Helper()
	require.NoError(t, h.Write(t.Context(), "/root/our certificates/hub.pem", 0o600, strings.NewReader(cert)))
	require.NoError(t, h.Write(t.Context(), "/root/our certificates/hub.key", 0o600, strings.NewReader(key)))
}

func TestOwnCertificate(t *testing.T) {
	for _, suite := range suites {
		t.Run(suite, func(t *testing.T) { ownCertificate(t, newHouse(t, suite)) })
	}
}

func ownCertificate(t *testing.T, h *house) {
	const name = "hub.example.org"
	h.MustSh(t, "mkdir -m 0700 '/root/our certificates'")
	h.open(t, &systemdunits.HTTPS{Cert: "/root/our certificates/hub.pem", Key: "/root/our certificates/hub.key"})
	response, text, err := h.get(t.Context(), "http://"+name+"/hub/login", nil)
	require.NoError(t, err)
	require.Equal(t, 503, response.StatusCode, "no certificate is there, and the door is open all the same")
	require.Contains(t, text, "https.tls.cert")
	require.Contains(t, h.Journal(t.Context(), "-u", layout.EdgeUnit), "cannot read the certificate (https.tls.cert): open /root/our certificates/hub.pem: no such file or directory")

	// A reload brings it in.
	cert, key, roots := certificate(t, name)
	h.put(t, cert, key)
	pid := h.pid(t)
	h.MustSh(t, "systemctl reload tljh-edge.service")
	h.serves(t, name, roots)

	// What is bad is refused in words, and changes nothing.
	other, otherKey, otherRoots := certificate(t, name)
	h.put(t, other, key)
	result, err := h.Sh(t.Context(), "systemctl reload tljh-edge.service")
	require.NoError(t, err)
	require.NotZero(t, result.Code)
	require.Contains(t, h.Journal(t.Context(), "-u", layout.EdgeUnit), "does not belong to the certificate")
	h.serves(t, name, roots)

	// A renewed one comes in by itself: the timer runs, and what it starts does it.
	h.put(t, other, otherKey)
	require.Equal(t, "active", strings.TrimSpace(h.MustSh(t, "systemctl is-active tljh-edge-certificate.timer")))
	h.MustSh(t, "systemctl start tljh-edge-certificate.service")
	h.serves(t, name, otherRoots)
	require.Equal(t, pid, h.pid(t), "it is the same process all along")
	h.MustSh(t, "systemctl start tljh-edge-certificate.service") // nothing to do

	// Over a restart the last good one stays, even if what is there now is bad.
	h.put(t, "rubbish", "rubbish")
	h.MustSh(t, "systemctl restart tljh-edge.service")
	h.serves(t, name, otherRoots)
	require.NotEqual(t, pid, h.pid(t))

	// Nobody but the edge's account and root reads the key.
	// (Newer systemd keeps the folder for nobody, and shows it to the edge as its own.)
	stat := strings.Fields(h.MustSh(t, "cd /run/private && stat -c '%a %u' . tljh-edge tljh-edge/pair.pem"))
	require.Equal(t, []string{"700", "0", "700", stat[3], "400", stat[3]}, stat)
	require.NotEqual(t, "0", stat[3])
	require.NotContains(t, h.Journal(t.Context()), strings.Split(otherKey, "\n")[1])

	h.MustSh(t, "systemctl stop tljh-edge.socket tljh-edge.service")
	result, err = h.Sh(t.Context(), "ls -d /run/private/tljh-edge; systemctl is-active tljh-edge-certificate.timer")
	require.NoError(t, err)
	require.NotContains(t, strings.Fields(result.Stdout), "active", "the timer goes with the edge")
	require.Contains(t, result.Stderr, "No such file")
	h.MustSh(t, "systemctl start tljh-edge-certificate.service") // no door, nothing to do
}

func TestCertificateOfAnAuthority(t *testing.T) {
	for _, suite := range suites {
		t.Run(suite, func(t *testing.T) { certificateOfAnAuthority(t, newHouse(t, suite)) })
	}
}

func certificateOfAnAuthority(t *testing.T, h *house) {
	const name = "hub.example.org"
	listener, err := net.Listen("tcp", net.JoinHostPort(h.Gateway(), "0"))
	require.NoError(t, err)
	ca := authority.Start(t, authority.Options{HTTP: 80, HTTPS: 443, Names: map[string]string{name: h.Address()}, Listener: listener})
	require.NoError(t, h.Write(t.Context(), "/root/ca.pem", 0o600, strings.NewReader(string(ca.Own))))
	// The authority's own certificate is for a name that leads to it in the guest.
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	h.MustSh(t, "echo "+h.Gateway()+" example.com >>/etc/hosts")
	h.open(t, &systemdunits.HTTPS{
		Domains: []string{name}, Email: "o'hara@example.org", CA: "/root/ca.pem", Directory: "https://example.com:" + port + "/dir",
	})
	before := h.serves(t, name, ca.Roots)
	require.Equal(t, []string{name}, before.DNSNames)
	require.Contains(t, h.Journal(t.Context(), "-u", layout.EdgeUnit), "HTTPS has a certificate for hub.example.org, valid until")
	require.Equal(t, "700", strings.TrimSpace(h.MustSh(t, "stat -L -c %a /var/lib/private/tljh-edge")))

	ca.Close()
	h.MustSh(t, "systemctl restart tljh-edge.service")
	require.Equal(t, before.SerialNumber, h.serves(t, name, ca.Roots).SerialNumber, "a restart keeps it")
}
