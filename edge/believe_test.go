package edge

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// A student's page that looks like the proxy's own is shown as it is, at once and once; nobody hears of an outage.
func TestAPageThatLooksLikeTheProxysIsNoOutage(t *testing.T) {
	for name, page := range map[string]func(http.ResponseWriter, int){"words": chp, "page": chpPage} {
		for _, path := range []string{"/user/eve/outage", "/%75ser/eve/outage", "/hub/../user/eve/outage", "//x/user/eve/outage", "/services/eve/outage"} {
			t.Run(name+path, func(t *testing.T) {
				var asked atomic.Int64
				door := open(t, Options{Upstream: newBehind(t, func(w http.ResponseWriter, r *http.Request) {
					if strings.HasSuffix(r.URL.Path, "/outage") {
						asked.Add(1)
						page(w, http.StatusNotFound)
						return
					}
					w.Header().Set("Server", "TornadoServer/6")
					_, _ = w.Write([]byte("the hub"))
				}).start().address})
				door.get(t, "/hub/home") // the proxy is known to have its routes
				response, body := door.get(t, path, "Accept", "text/html")
				require.Equal(t, http.StatusNotFound, response.StatusCode)
				require.NotContains(t, body, "restarting")
				require.NotEmpty(t, body)
				require.EqualValues(t, 1, asked.Load())
				response, _ = door.do(t, http.MethodPost, path, strings.NewReader("x"))
				require.Equal(t, http.StatusNotFound, response.StatusCode)
				require.EqualValues(t, 2, asked.Load(), "what may change something is sent once")
				require.Empty(t, door.log.lines())
			})
		}
	}
}

// While the edge cannot know whether the proxy has its routes, such a page is asked for once more.
func TestAPageThatLooksLikeTheProxysSoonAfterARestart(t *testing.T) {
	var asked atomic.Int64
	door := open(t, Options{Upstream: newBehind(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hub/health" {
			w.Header().Set("Server", "TornadoServer/6")
			return
		}
		asked.Add(1)
		chpPage(w, http.StatusNotFound)
	}).start().address})
	response, body := door.get(t, "/user/eve/outage")
	require.Equal(t, http.StatusNotFound, response.StatusCode)
	require.Contains(t, body, string(proxysMark))
	require.EqualValues(t, 2, asked.Load())
	require.Empty(t, door.log.lines())
}

// The proxy is restarted just before a request comes, and has no routes yet: that the connections to the one before have ended is noticed after the request was sent.
func TestAProxyThatWasRestartedJustBefore(t *testing.T) {
	var server *Server
	var asked atomic.Int64
	door := open(t, Options{Upstream: newBehind(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "TornadoServer/6")
		if r.URL.Path == "/user/bob/api" && asked.Add(1) == 1 {
			links := &server.upstream.links
			links.lock.Lock()
			links.changes++
			links.lock.Unlock()
			w.Header().Del("Server")
			chpPage(w, http.StatusNotFound)
			return
		}
		_, _ = w.Write([]byte("bob's server"))
	}).start().address})
	server = door.server
	door.get(t, "/hub/home") // the proxy is known to have its routes
	response, body := door.get(t, "/user/bob/api")
	require.Equal(t, http.StatusOK, response.StatusCode, body)
	require.EqualValues(t, 2, asked.Load())
}
