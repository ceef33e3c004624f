package edge

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tljh/internal/keypair"
)

// traefik returns what Traefik keeps of certificates: in its first version's form, or a later one's.
func traefik(t testing.TB, first bool, certificates ...certificate) []byte {
	t.Helper()
	kept := []map[string]any{}
	for _, c := range certificates {
		kept = append(kept, map[string]any{"domain": map[string]any{"main": "hub.example.org"}, "certificate": c.cert, "key": c.key, "Store": "default"})
	}
	store := map[string]any{"Account": map[string]any{"Email": "teacher@example.org", "PrivateKey": []byte("secret")}, "Certificates": kept}
	if !first {
		store = map[string]any{"letsencrypt": store}
	}
	data, err := json.Marshal(store)
	require.NoError(t, err)
	return data
}

func TestInherit(t *testing.T) {
	good, other := certify(t, -time.Hour, 30*24*time.Hour, "hub.example.org", "jupyter.example.org"), certify(t, -time.Hour, year, "else.example.org")
	past, future := certify(t, -year, -time.Hour, "hub.example.org"), certify(t, time.Hour, year, "hub.example.org")
	mixed := certificate{cert: good.cert, key: other.key}
	both := []string{"hub.example.org", "jupyter.example.org"}
	for name, c := range map[string]struct {
		store  []byte
		serves []string
	}{
		"two names":              {traefik(t, false, good), both},
		"Traefik 1":              {traefik(t, true, good), both},
		"beside useless ones":    {traefik(t, false, past, future, mixed, other, good), both},
		"useless ones":           {traefik(t, false, past, future, mixed, other), nil},
		"an account only":        {traefik(t, false), nil},
		"nothing":                {[]byte("{}"), nil},
		"nothing of Traefik 1":   {[]byte("null"), nil},
		"of several authorities": {append(append([]byte(`{"a":{"Certificates":null},"b":`), traefik(t, true, good)...), '}'), both},
	} {
		t.Run(name, func(t *testing.T) {
			files, err := Inherit(c.store, []string{"Hub.example.org.", "jupyter.example.org"}, time.Now())
			require.NoError(t, err)
			require.Len(t, files, len(c.serves))
			for _, domain := range c.serves {
				pair, err := keypair.Read(files[inheritedFile(domain)], files[inheritedFile(domain)])
				require.NoError(t, err)
				require.Equal(t, good.leaf.Raw, pair.Leaf.Raw)
			}
		})
	}
	for _, broken := range []string{"", "{", "[]", `{"Certificates": 3}`, `{"Certificates": [{"key": "%"}]}`} {
		_, err := Inherit([]byte(broken), both, time.Now())
		require.ErrorContains(t, err, "certificates of Traefik", broken)
	}
}

// What was inherited is shown at once, under all its names, until the authority has given another.
func TestAnInheritedCertificateServesUntilThereIsAnother(t *testing.T) {
	domains := []string{"hub.example.org", "jupyter.example.org"}
	plain, secure := newListener(t), newListener(t)
	issuer := newACMEServer(t, portOf(plain.Addr()), portOf(secure.Addr()), 0, map[string]string{domains[0]: "127.0.0.1", domains[1]: "127.0.0.1"})
	release := issuer.Hold()
	old := certify(t, -80*24*time.Hour, 10*24*time.Hour, domains...)
	https := issuer.https(t.TempDir(), domains...)
	files, err := Inherit(traefik(t, false, old), domains, time.Now())
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(https.ACME.State, inheritedFolder), 0o700))
	for name, data := range files {
		require.NoError(t, os.WriteFile(filepath.Join(https.ACME.State, name), data, 0o600))
	}
	door := openAt(t, Options{Upstream: newBehind(t, hello).start().address, HTTPS: https}, plain, secure)
	for name, led := range map[string]string{domains[0]: domains[0], domains[1]: domains[1], "127.0.0.1": domains[0]} {
		response, err := trusting(t, old).Get("https://" + door.secure + "/hub/login")
		require.NoError(t, err)
		require.Equal(t, 200, response.StatusCode)
		require.NoError(t, response.Body.Close())
		require.Contains(t, door.location(t, name), "https://"+led+":")
		require.Nil(t, issuer.shown(door, name))
	}
	release()
	for _, domain := range domains {
		require.Eventually(t, func() bool { return issuer.shown(door, domain) != nil }, 3*soon, 10*time.Millisecond, "%q", door.log.lines())
		require.Equal(t, []string{domain}, issuer.shown(door, domain).DNSNames)
		require.NoFileExists(t, filepath.Join(https.ACME.State, inheritedFile(domain)))
	}
	require.Contains(t, strings.Join(door.log.lines(), "\n"), "HTTPS has a certificate for hub.example.org from before, valid until ")
}
