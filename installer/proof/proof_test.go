package proof

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/config"
	"tljh/internal/host"
	"tljh/internal/host/hosttest"
	"tljh/internal/layout"
	"tljh/internal/report"
)

// hubOfTests answers as hub, proxy and door do. What is broken about it is set before it is asked.
type hubOfTests struct {
	mu     sync.Mutex
	asked  []string
	user   bool
	server string // "", starting, running

	noScope, noRoutes, wrongPage, failsToStart, noDoorToServer bool
}

func (h *hubOfTests) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	const user = "/hub/api/users/" + layout.ProbeUser
	what := r.Method + " " + r.URL.Path
	if token := r.Header.Get("Authorization"); strings.HasPrefix(r.URL.Path, "/hub/api") && token != "token of-the-installer" || r.URL.Path == "/api/routes" && token != "token of-the-proxy" {
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	h.asked = append(h.asked, what)
	switch what {
	case "GET /hub/api/info":
		if h.noScope {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = w.Write([]byte("{}"))
	case "GET /api/routes":
		if h.noRoutes {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte(`{"/": {}}`))
	case "GET /hub/login":
		if h.wrongPage {
			_, _ = w.Write([]byte("It works!"))
			return
		}
		_, _ = w.Write([]byte("<title>JupyterHub</title>"))
	case "POST " + user:
		h.user = true
		w.WriteHeader(http.StatusCreated)
	case "POST " + user + "/server":
		h.server = "running"
		if h.failsToStart {
			h.server = ""
		}
		w.WriteHeader(http.StatusAccepted)
	case "GET " + user:
		servers := map[string]any{}
		if h.server == "running" {
			servers[""] = map[string]bool{"ready": true}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"pending": nil, "servers": servers})
	case "GET /user/" + layout.ProbeUser + "/api/status":
		if h.noDoorToServer {
			w.WriteHeader(http.StatusBadGateway)
		}
	case "DELETE " + user + "/server":
		h.server = ""
		w.WriteHeader(http.StatusNoContent)
	case "DELETE " + user:
		if !h.user {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		h.user = false
		w.WriteHeader(http.StatusNoContent)
	default:
		http.NotFound(w, r)
	}
}

func putFile(t *testing.T, h *host.Host, name, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(h.Files.Path(name)), 0o700))
	require.NoError(t, os.WriteFile(h.Files.Path(name), []byte(text), 0o755))
}

func newProof(t *testing.T, hub *hubOfTests) (*Proof, *hosttest.Runner) {
	t.Helper()
	server := httptest.NewServer(hub)
	t.Cleanup(server.Close)
	files, runner := host.Files{Root: t.TempDir()}, &hosttest.Runner{}
	h := &host.Host{Files: files, Runner: runner}
	putFile(t, h, layout.Token, "of-the-installer\n")
	putFile(t, h, layout.ProxyEnv, "CONFIGPROXY_AUTH_TOKEN=of-the-proxy\n")
	putFile(t, h, "/etc/passwd", "root:x:0:0::/root:/bin/sh\n")
	runner.On(hosttest.Answer{Stdout: "INFO all is well\nthe hub's last words\n"}, "journalctl")
	cfg, problems := config.Parse("test", []byte("{}"))
	require.NoError(t, problems.Err())
	p := New(h, report.New(), cfg)
	p.Public, p.hubDoor, p.proxyDoor, p.proxyAPI = server.URL, server.URL, server.URL, server.URL
	return p, runner
}

func TestAHubThatWorksIsProvedAndLeftAsItWas(t *testing.T) {
	hub := &hubOfTests{}
	p, runner := newProof(t, hub)
	// The account that the probe user's server ran in.
	putFile(t, p.Host, "/etc/passwd", "root:x:0:0::/root:/bin/sh\njupyter-"+layout.ProbeUser+":x:1001:1001::/home/x:/bin/sh\n")
	runner.On(hosttest.Answer{Do: func(context.Context, hosttest.Call) error {
		putFile(t, p.Host, "/etc/passwd", "root:x:0:0::/root:/bin/sh\n")
		return nil
	}}, "userdel", "--remove")
	require.NoError(t, p.Whole(t.Context()))
	assert.False(t, hub.user, "the probe user is there still")
	assert.Contains(t, runner.Lines(), "userdel --remove jupyter-"+layout.ProbeUser)
	asked := strings.Join(hub.asked, "\n")
	for _, wanted := range []string{"GET /hub/api/info", "GET /api/routes", "GET /hub/login", "POST /hub/api/users/tljh-probe/server", "GET /user/tljh-probe/api/status"} {
		assert.Contains(t, asked, wanted)
	}
	hub.asked = nil
	require.NoError(t, p.Quick(t.Context()))
	assert.NotContains(t, strings.Join(hub.asked, "\n"), layout.ProbeUser)
}

func TestAHubThatDoesNotWorkIsToldInItsOwnWords(t *testing.T) {
	for name, c := range map[string]struct {
		broken *hubOfTests
		words  string
	}{
		"the installer may do nothing": {&hubOfTests{noScope: true}, "the hub's API does not answer"},
		"no routes":                    {&hubOfTests{noRoutes: true}, "the proxy has no route to the hub"},
		"something else at the door":   {&hubOfTests{wrongPage: true}, "what answers is not a JupyterHub"},
		"no server starts":             {&hubOfTests{failsToStart: true}, "the probe user's server failed to start"},
		"the server is out of reach":   {&hubOfTests{noDoorToServer: true}, "does not answer through the edge"},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := newProof(t, c.broken)
			p.patience = 300 * time.Millisecond
			err := p.Whole(t.Context())
			require.ErrorContains(t, err, c.words)
			assert.ErrorContains(t, err, "the hub's last words")
			assert.NotContains(t, err.Error(), "all is well")
			assert.Contains(t, host.HintOf(err), "journalctl -u")
			assert.False(t, c.broken.user, "the probe user is there still")
		})
	}
}

// On a full disk neither the hub nor the journal writes why it does not work.
func TestAProofOnAFullDiskNamesTheDisk(t *testing.T) {
	p, _ := newProof(t, &hubOfTests{})
	err := p.explain(t.Context(), layout.HubUnit, time.Now(), fmt.Errorf("the answer is 500: %w", syscall.ENOSPC))
	require.ErrorContains(t, err, "the disk of "+layout.Root+" is full")
	assert.Contains(t, host.HintOf(err), "make room")
}

func TestAProofWithoutItsTokens(t *testing.T) {
	p, _ := newProof(t, &hubOfTests{})
	require.NoError(t, p.Host.Files.Remove(layout.ProxyEnv))
	require.ErrorContains(t, p.Whole(t.Context()), "the proxy's token")
	require.NoError(t, p.Host.Files.Remove(layout.Token))
	require.ErrorContains(t, p.Whole(t.Context()), "the installer's token")
}
