package proof

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// cellTime is how long a kernel may take to start and to do a sum.
const cellTime = 3 * time.Minute

// kernelMessageLimit is far more than a kernel says about a sum. The default of the package would be too little for the description of a kernel.
const kernelMessageLimit = 4 << 20

// cell runs a notebook's cell in the probe user's server, as JupyterLab does.
func (p *Proof) cell(ctx context.Context) error {
	got, err := p.call(ctx, http.MethodPost, p.server("api/kernels"), p.token, map[string]string{})
	if err := expect(got, err, http.StatusCreated); err != nil {
		return fmt.Errorf("cannot start a kernel: %w", err)
	}
	var kernel struct{ ID string }
	if err := json.Unmarshal(got.body, &kernel); err != nil || kernel.ID == "" {
		return errors.New("the probe user's server does not say which kernel it started")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, cellTime, errors.New("the kernel of the probe user's server gives no answer"))
	defer cancel()
	connection, err := p.dial(ctx, "api/kernels/"+url.PathEscape(kernel.ID)+"/channels")
	if err != nil {
		return fmt.Errorf("cannot connect to the kernel: %w", err)
	}
	defer func() { _ = connection.CloseNow() }()
	if err := runCell(ctx, connection); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("the kernel of the probe user's server does not work: %w", err)
	}
	return nil
}

func (p *Proof) dial(ctx context.Context, name string) (*websocket.Conn, error) {
	connection, _, err := websocket.Dial(ctx, p.server(name), &websocket.DialOptions{
		HTTPClient: p.client,
		HTTPHeader: http.Header{"Authorization": {"token " + p.token}, "Origin": {p.door}},
	})
	if err != nil {
		return nil, err
	}
	connection.SetReadLimit(kernelMessageLimit)
	return connection, nil
}

type kernelMessage struct {
	Header   map[string]string `json:"header"`
	Parent   map[string]any    `json:"parent_header"`
	Metadata map[string]any    `json:"metadata"`
	Content  map[string]any    `json:"content"`
	Channel  string            `json:"channel"`
}

// runCell asks for a sum and waits for the result.
func runCell(ctx context.Context, connection *websocket.Conn) error {
	id := rand.Text()
	ask := kernelMessage{
		Header: map[string]string{"msg_id": id, "username": "", "session": rand.Text(), "msg_type": "execute_request", "version": "5.3"},
		Parent: map[string]any{}, Metadata: map[string]any{}, Channel: "shell",
		Content: map[string]any{"code": "6 * 7", "silent": false, "store_history": false, "user_expressions": map[string]any{}, "allow_stdin": false},
	}
	if err := wsjson.Write(ctx, connection, ask); err != nil {
		return err
	}
	for {
		var said struct {
			Header struct {
				Type string `json:"msg_type"`
			}
			ParentHeader struct {
				ID string `json:"msg_id"`
			} `json:"parent_header"`
			Content struct {
				Data  map[string]any
				Name  string `json:"ename"`
				Value string `json:"evalue"`
			}
		}
		if err := wsjson.Read(ctx, connection, &said); err != nil {
			return err
		}
		switch {
		case said.ParentHeader.ID != id:
		case said.Header.Type == "error":
			return fmt.Errorf("%s: %s", said.Content.Name, said.Content.Value)
		case said.Header.Type == "execute_result":
			if text, _ := said.Content.Data["text/plain"].(string); text != "42" {
				return fmt.Errorf("6 * 7 is %q", text)
			}
			return nil
		}
	}
}
