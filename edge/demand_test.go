package edge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Certificates are fetched for names of the hub's users only, when somebody comes by them; made-up names cause no order.
func TestCertificatesForNamesOfUsers(t *testing.T) {
	plain, secure := newListener(t), newListener(t)
	issuer := newACMEServer(t, portOf(plain.Addr()), portOf(secure.Addr()), 0, map[string]string{
		"hub.example.org": "127.0.0.1", "alice.users.example.org": "127.0.0.1", "mallory.users.example.org": "127.0.0.1", "x.alice.users.example.org": "127.0.0.1",
	})
	var asked atomic.Int32
	hub := newBehind(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Path == "/hub/user-label/alice" && r.Header.Get("X-Forwarded-For") == "" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.WriteHeader(http.StatusNotFound)
	}).start()
	state := t.TempDir()
	options := Options{
		Upstream: newBehind(t, hello).start().address, Hub: hub.address, HTTPS: issuer.https(state, "hub.example.org"),
		Origins: Origins{UserDomain: "users.example.org", HubDomain: "hub.example.org"},
	}
	door := openAt(t, options, plain, secure)
	require.Eventually(t, func() bool { return issuer.shown(door, "hub.example.org") != nil }, 3*soon, 10*time.Millisecond, "%q", door.log.lines())
	require.True(t, strings.HasPrefix(door.location(t, "alice.users.example.org"), "https://alice.users.example.org:"))
	for range 3 {
		require.Nil(t, issuer.shown(door, "mallory.users.example.org"))
		require.Nil(t, issuer.shown(door, "x.alice.users.example.org"))
	}
	require.Equal(t, int32(3), asked.Load(), "only what can be a user's name is asked for")
	require.Eventually(t, func() bool { return issuer.shown(door, "alice.users.example.org") != nil }, 3*soon, 10*time.Millisecond, "%q", door.log.lines())
	require.Equal(t, []string{"alice.users.example.org"}, issuer.shown(door, "alice.users.example.org").DNSNames)
	require.NotContains(t, strings.Join(door.log.lines(), "\n"), "for mallory")
}

func TestDemandIsLimited(t *testing.T) {
	now := time.Now()
	asked := 0
	d := newDemand(Origins{UserDomain: "users.test"}, "", "/")
	d.now = func() time.Time { return now }
	d.exists = func(_ context.Context, label string) (bool, error) { asked++; return label == "alice", nil }
	require.ErrorIs(t, d.allow(t.Context(), "hub.test"), errNoUser)
	require.ErrorIs(t, d.allow(t.Context(), "a.b.users.test"), errNoUser)
	require.Zero(t, asked)
	require.NoError(t, d.allow(t.Context(), "Alice.users.test"))
	require.ErrorIs(t, d.allow(t.Context(), "alice.users.test"), errTried)
	for n := 1; n < mostAsked; n++ {
		require.ErrorIs(t, d.allow(t.Context(), fmt.Sprintf("n%d.users.test", n)), errNoUser)
	}
	require.ErrorIs(t, d.allow(t.Context(), "bob.users.test"), errTooMany)
	require.Equal(t, mostAsked, asked)
	now = now.Add(askedWithin)
	require.NoError(t, d.allow(t.Context(), "alice.users.test"))
	d.exists = func(context.Context, string) (bool, error) { return false, errors.New("away") }
	require.ErrorContains(t, d.allow(t.Context(), "carol.users.test"), "cannot ask the hub")
}
