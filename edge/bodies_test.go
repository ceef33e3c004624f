package edge

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// The hub holds bodies in memory, and takes small ones only. It never sees one that is larger.
func TestWhatIsTooLargeForTheHub(t *testing.T) {
	var asked atomic.Int64
	door := open(t, Options{Upstream: newBehind(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "TornadoServer/6")
		if r.Method == http.MethodPost {
			if n, err := io.Copy(io.Discard, r.Body); err == nil {
				asked.Add(n)
			}
		}
	}).start().address})
	large := strings.Repeat("x", hubBody+1)
	for _, path := range []string{"/hub/login", "/hub/api/users", "/%68ub/login", "/login"} {
		for name, body := range map[string]io.Reader{"length": strings.NewReader(large), "no length": io.MultiReader(strings.NewReader(large))} {
			response, text := door.do(t, http.MethodPost, path, body, "Accept", "text/html")
			require.Equal(t, http.StatusRequestEntityTooLarge, response.StatusCode, path+", "+name)
			require.Contains(t, text, "too large")
		}
	}
	require.Zero(t, asked.Load())
	response, _ := door.do(t, http.MethodPost, "/hub/login", strings.NewReader(large[1:]))
	require.Equal(t, http.StatusOK, response.StatusCode)
	for _, path := range []string{"/user/bob/api/contents/x", "/services/uploads/"} {
		response, _ = door.do(t, http.MethodPost, path, strings.NewReader(large))
		require.Equal(t, http.StatusOK, response.StatusCode, path)
	}
	require.EqualValues(t, 3*hubBody+2, asked.Load())
	require.Empty(t, door.log.lines())
}

// The proxy says that the hub is away, too, where the hub ended one connection.
func TestOneRequestThatTheHubEndsIsNoOutage(t *testing.T) {
	door := open(t, Options{Upstream: newBehind(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			chpPage(w, http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Server", "TornadoServer/6")
	}).start().address})
	response, _ := door.do(t, http.MethodPost, "/hub/login", strings.NewReader("x"))
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	require.Empty(t, door.log.lines())
}
