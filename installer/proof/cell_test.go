package proof

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// kernelOfTests is a single-user server with one kernel, which answers a cell in the way that a test asks for.
type kernelOfTests struct {
	answer  func(ctx context.Context, c *websocket.Conn, id string) error
	refuses bool
	headers http.Header
	code    string
}

func (k *kernelOfTests) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(`{"id": "of tests"}`))
		return
	}
	if k.refuses || r.URL.Path != "/user/tljh-probe/api/kernels/of tests/channels" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	k.headers = r.Header.Clone()
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = c.CloseNow() }()
	var asked struct {
		Header  map[string]string
		Content struct{ Code string }
	}
	if wsjson.Read(r.Context(), c, &asked) != nil {
		return
	}
	k.code = asked.Content.Code
	_ = k.answer(r.Context(), c, asked.Header["msg_id"])
}

// kernelSays is what a kernel sends about the cell of an ID.
func kernelSays(kind string, content map[string]any) func(context.Context, *websocket.Conn, string) error {
	return func(ctx context.Context, c *websocket.Conn, id string) error {
		for _, parent := range []string{"another cell's", id} {
			message := map[string]any{"header": map[string]any{"msg_type": kind}, "parent_header": map[string]any{"msg_id": parent}, "content": content}
			if parent != id {
				message["content"] = map[string]any{"data": map[string]any{"text/plain": strings.Repeat("x", 100_000)}}
			}
			if err := wsjson.Write(ctx, c, message); err != nil {
				return err
			}
		}
		return nil
	}
}

func result(text string) map[string]any {
	return map[string]any{"data": map[string]any{"text/plain": text}}
}

func proofOfKernel(t *testing.T, kernel *kernelOfTests) *Proof {
	t.Helper()
	p, _ := newProof(t, &hubOfTests{})
	server := httptest.NewServer(kernel)
	t.Cleanup(server.Close)
	require.NoError(t, p.prepare())
	p.Public, p.door, p.token = server.URL, server.URL, "of-the-installer"
	return p
}

func TestACellIsRun(t *testing.T) {
	kernel := &kernelOfTests{answer: kernelSays("execute_result", result("42"))}
	p := proofOfKernel(t, kernel)
	require.NoError(t, p.cell(t.Context()))
	assert.Equal(t, "6 * 7", kernel.code)
	assert.Equal(t, "token of-the-installer", kernel.headers.Get("Authorization"))
	assert.Equal(t, p.door, kernel.headers.Get("Origin"))
}

func TestACellThatDoesNotWorkIsExplained(t *testing.T) {
	for name, test := range map[string]struct {
		kernel *kernelOfTests
		words  string
	}{
		"no connection": {&kernelOfTests{refuses: true}, "cannot connect to the kernel"},
		"another sum":   {&kernelOfTests{answer: kernelSays("execute_result", result("41"))}, `6 * 7 is "41"`},
		"an exception":  {&kernelOfTests{answer: kernelSays("error", map[string]any{"ename": "ImportError", "evalue": "no zmq"})}, "ImportError: no zmq"},
		"the end":       {&kernelOfTests{answer: func(context.Context, *websocket.Conn, string) error { return nil }}, "the kernel of the probe user's server does not work"},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, proofOfKernel(t, test.kernel).cell(t.Context()), test.words)
		})
	}
}

func TestACellIsGivenUpWithItsCaller(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	kernel := &kernelOfTests{answer: func(ctx context.Context, c *websocket.Conn, _ string) error {
		cancel(assert.AnError)
		_, _, err := c.Read(ctx)
		return err
	}}
	require.ErrorIs(t, proofOfKernel(t, kernel).cell(ctx), assert.AnError)
}
