package installer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
	"tljh/internal/layout"
)

// The older TLJH's documentation sets https.enabled first, and then the rest. Put into effect, half of it would send passwords unencrypted.
func TestHTTPSThatIsNotCompleteIsNotPutIntoEffect(t *testing.T) {
	for _, text := range []string{
		"https: {enabled: true}\n",
		"https: {enabled: true, letsencrypt: {email: a@example.org}}\n",
		"https: {enabled: true, tls: {key: /root/key.pem}}\n",
	} {
		cfg := parse(t, text)
		assert.False(t, cfg.HTTPS.Enabled, text)
		var bad *BadInput
		require.ErrorAs(t, completeHTTPS(cfg), &bad, text)
	}
	cfg := parse(t, "https: {enabled: true, letsencrypt: {email: a@example.org, domains: [hub.example.org]}}\n")
	assert.True(t, cfg.HTTPS.Enabled)
	require.NoError(t, completeHTTPS(cfg))
}

// With a class code that is asked for and not there, nobody new could log in.
func TestFirstLoginsByAClassCodeThatIsMissingAreNotPutIntoEffect(t *testing.T) {
	err := Complete(parse(t, "users: {first_login: code}\n"))
	var bad *BadInput
	require.ErrorAs(t, err, &bad)
	assert.Contains(t, host.HintOf(err), "sudo tljh-install config set users.class_code CODE")
	for _, text := range []string{"users: {first_login: code, class_code: maple-42}\n", "users: {first_login: password}\n", "", "users: {first_login: code}\nauth: {type: pam}\n"} {
		assert.NoError(t, Complete(parse(t, text)), text)
	}
}

// A certificate is judged by the names of the hub before it takes effect, and in status afterwards.
func TestStatusFindsACertificateThatLacksANameOfTheHub(t *testing.T) {
	s := newSite(t)
	cert, key := certificateFor(t, "hub.example.org")
	require.NoError(t, os.WriteFile(s.files.Path("/srv/hub.pem"), cert, 0o644))
	require.NoError(t, os.WriteFile(s.files.Path("/srv/hub.key"), key, 0o600))
	const https = "https: {enabled: true, tls: {cert: /srv/hub.pem, key: /srv/hub.key}}\n"
	_, ok := lookAtCertificate(s.files, time.Now())
	assert.False(t, ok, "there is none")
	_, err := s.apply(https)
	require.NoError(t, err)
	part, ok := lookAtCertificate(s.files, time.Now())
	assert.True(t, ok)
	assert.False(t, part.Problem, part.State)

	text := https + "hub: {domain: hub.example.org, user_domain: users.example.org}\n"
	file := ConfigFile{Host: s.applier.Host, Path: layout.Config, Now: time.Now}
	cfg, report, err := file.Check(t.Context(), []byte(text))
	require.NoError(t, err)
	require.NotNil(t, cfg, "it can be saved")
	err = Ready(t.Context(), s.applier.Host, cfg, report, file.InEffect())
	var bad *BadInput
	require.ErrorAs(t, err, &bad)
	assert.Contains(t, err.Error(), "lacks *.users.example.org; it has hub.example.org")
	assert.Equal(t, "get one that has hub.example.org and *.users.example.org", host.HintOf(err))

	_, err = s.apply(text) // by a release that did not look
	require.NoError(t, err)
	part, _ = lookAtCertificate(s.files, time.Now())
	assert.True(t, part.Problem)
	assert.Contains(t, part.State, "lacks *.users.example.org; it has hub.example.org")
}

func certificateFor(t *testing.T, names ...string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 6, 0), DNSNames: names}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// A port of another program is found before anything is changed.
func TestAPortThatIsTakenIsRefusedBeforeAnythingIsChanged(t *testing.T) {
	s := newSite(t)
	_, err := s.apply("{}")
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(s.files.Path("/proc/net"), 0o755))
	require.NoError(t, os.MkdirAll(s.files.Path("/proc/812/fd"), 0o755))
	const row = "   0: 00000000:%s 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n"
	require.NoError(t, os.WriteFile(s.files.Path("/proc/net/tcp"), fmt.Appendf([]byte("  sl\n"), row, "0016"), 0o644))
	require.NoError(t, os.WriteFile(s.files.Path("/proc/812/comm"), []byte("sshd\n"), 0o644))
	require.NoError(t, os.Symlink("socket:[4711]", s.files.Path("/proc/812/fd/3")))
	for text, key := range map[string]string{
		"hub: {user_port: 22}": "hub.user_port", "http: {port: 22}": "http.port",
		"https: {enabled: true, port: 22, letsencrypt: {email: a@example.org, domains: [hub.example.org]}}": "https.port",
	} {
		applied := s.read(layout.Applied)
		_, err = s.apply(text)
		var bad *BadInput
		require.ErrorAs(t, err, &bad, text)
		assert.Equal(t, "port 22 of "+key+" is taken by sshd (process 812)", err.Error())
		assert.Equal(t, "choose another: sudo tljh-install config set "+key+" 8443 --reload", host.HintOf(err))
		assert.Equal(t, applied, s.read(layout.Applied), "nothing was changed")
	}
	_, err = s.apply("hub: {user_port: 8443}")
	require.NoError(t, err)
}
