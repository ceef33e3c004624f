package edge

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// visitSecure opens a page of the door by name and returns what it says of Strict-Transport-Security.
func visitSecure(t *testing.T, door *door, name string, trusted ...certificate) string {
	t.Helper()
	client := trusting(t, trusted...)
	client.Transport.(*http.Transport).TLSClientConfig.ServerName = name
	client.Transport.(*http.Transport).TLSClientConfig.InsecureSkipVerify = true
	request, err := http.NewRequest(http.MethodGet, "https://"+door.secure+"/", nil)
	require.NoError(t, err)
	request.Host = name
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	require.LessOrEqual(t, len(response.Header.Values(hstsHeader)), 1)
	return response.Header.Get(hstsHeader)
}

func TestHTTPSOnlyAfterADayOfATrustedCertificate(t *testing.T) {
	good, stranger := certify(t, -time.Hour, year, "hub.example.org", "*.users.example.org"), certify(t, -time.Hour, year, "hub.example.org")
	roots := x509.NewCertPool()
	roots.AddCert(good.leaf)
	var ahead atomic.Int64
	state := t.TempDir()
	upstream := newBehind(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(hstsHeader, "max-age=99999999; includeSubDomains; preload") // as a student's server may say
		hello(w, r)
	}).start()
	start := func(c certificate, off bool) *door {
		https := c.https(t)
		https.HSTS = HSTS{Off: off, State: state, roots: roots, now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }}
		return open(t, Options{Upstream: upstream.address, HTTPS: https})
	}
	door := start(good, false)
	require.Empty(t, visitSecure(t, door, "hub.example.org", good), "the first day")
	require.Empty(t, visitSecure(t, door, "bob.users.example.org", good))
	ahead.Store(int64(25 * time.Hour))
	require.Equal(t, "max-age=2592000", visitSecure(t, door, "hub.example.org", good))
	require.Equal(t, "max-age=2592000", visitSecure(t, door, "bob.users.example.org", good))
	require.Empty(t, visitSecure(t, door, "other.example.org", good), "a name that the certificate does not have")
	response, err := trusting(t).Get(door.url)
	require.NoError(t, err)
	require.Empty(t, response.Header.Get(hstsHeader), "HTTP")
	door.close()

	door = start(good, false) // it remembers
	require.Equal(t, "max-age=2592000", visitSecure(t, door, "hub.example.org", good))
	door.close()

	door = start(stranger, false) // browsers trust this one no more
	require.Empty(t, visitSecure(t, door, "hub.example.org", good))
	door.close()
	door = start(good, false)
	require.Empty(t, visitSecure(t, door, "hub.example.org", good), "the day begins anew")
	door.close()

	require.Equal(t, "max-age=0", visitSecure(t, start(good, true), "hub.example.org", good))
	require.NoError(t, os.WriteFile(filepath.Join(state, hstsFile), []byte("{broken"), 0o600))
	door = start(good, false)
	require.Empty(t, visitSecure(t, door, "hub.example.org", good))
	require.Contains(t, door.log.lines()[0], "another day")
}

// An authority asks with a certificate of its own making: that says nothing of the one in use.
func TestAQuestionOfAnAuthoritysResetsNothing(t *testing.T) {
	good, challenge := certify(t, -time.Hour, year, "hub.example.org"), certify(t, -time.Hour, year, "hub.example.org")
	roots := x509.NewCertPool()
	roots.AddCert(good.leaf)
	h := newHSTS(HSTS{State: t.TempDir(), roots: roots}, nil)
	show := func(c certificate, protocols ...string) {
		h.saw(&tls.ClientHelloInfo{ServerName: "hub.example.org", SupportedProtos: protocols}, &tls.Certificate{Certificate: [][]byte{c.leaf.Raw}})
	}
	show(good, "h2")
	require.Len(t, h.since, 1)
	show(challenge, "acme-tls/1")
	require.Len(t, h.since, 1)
	show(challenge, "h2")
	require.Empty(t, h.since)
}
