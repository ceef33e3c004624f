package proof

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
	"tljh/internal/layout"
)

// fakeProxy is a stand-in for configurable-http-proxy's API: it keeps routes in memory.
type fakeProxy struct {
	mu     sync.Mutex
	routes map[string]json.RawMessage
	away   int // how many more requests it does not answer, as one that is starting
}

func (f *fakeProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case r.Header.Get("Authorization") != "token secret":
		w.WriteHeader(http.StatusForbidden)
	case f.away > 0:
		f.away--
		w.WriteHeader(http.StatusServiceUnavailable)
	case r.Method == http.MethodGet:
		_ = json.NewEncoder(w).Encode(f.routes)
	default:
		body, _ := io.ReadAll(r.Body)
		f.routes[strings.TrimPrefix(r.URL.Path, "/api/routes")] = body
		w.WriteHeader(http.StatusCreated)
	}
}

func TestTheProxysRoutesAreCarriedOverItsRestart(t *testing.T) {
	routes := map[string]json.RawMessage{
		"/": json.RawMessage(`{"target":"http://127.0.0.1:971","jupyterhub":true}`), "/user/bob": json.RawMessage(`{"target":"unix+http://%2Frun%2Fbob","user":"bob"}`),
		"/user/a b@c": json.RawMessage(`{"target":"unix+http://%2Frun%2Fabc"}`),
	}
	proxy := &fakeProxy{routes: routes}
	server := httptest.NewServer(proxy)
	defer server.Close()
	api := proxyAPI{address: strings.TrimPrefix(server.URL, "http://"), token: "secret", client: server.Client()}

	giveBack := api.carry(context.Background())
	require.NotNil(t, giveBack)
	proxy.routes, proxy.away = map[string]json.RawMessage{}, 3 // it restarts
	require.NoError(t, giveBack(context.Background()))
	assert.Equal(t, routes, proxy.routes)

	proxy.routes = map[string]json.RawMessage{}
	assert.Nil(t, api.carry(context.Background()), "no routes, nothing to carry")
}

// The hub's tests have the same cases (test_configure.py).
func TestTheProxysTokenIsRead(t *testing.T) {
	for text, want := range map[string]string{
		"CONFIGPROXY_AUTH_TOKEN=abc\n":            "abc",
		"OTHER=x\n CONFIGPROXY_AUTH_TOKEN = abc ": "abc",
		"CONFIGPROXY_AUTH_TOKEN=\"abc\"\n":        "abc",
		"CONFIGPROXY_AUTH_TOKEN='a=c'\n":          "a=c",
		"CONFIGPROXY_AUTH_TOKEN=\n":               "",
		"OTHER=x\n":                               "",
	} {
		files := host.Files{Root: t.TempDir()}
		require.NoError(t, os.MkdirAll(files.Path(layout.State), 0o700))
		require.NoError(t, os.WriteFile(files.Path(layout.ProxyEnv), []byte(text), 0o600))
		token, err := proxyToken(files)
		require.NoError(t, err)
		assert.Equal(t, want, token, text)
	}
}
