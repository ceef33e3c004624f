package proof

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/websocket"
)

// cellTime is how long a kernel may take to start and to do a sum.
const cellTime = 3 * time.Minute

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
	defer connection.Close()
	stop := context.AfterFunc(ctx, func() { _ = connection.Close() })
	defer stop()
	if err := runCell(connection); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("the kernel of the probe user's server does not work: %w", err)
	}
	return nil
}

func (p *Proof) dial(ctx context.Context, name string) (*websocket.Conn, error) {
	address := p.server(name)
	config, err := websocket.NewConfig(strings.Replace(address, "http", "ws", 1), p.door)
	if err != nil {
		return nil, err
	}
	config.Header.Set("Authorization", "token "+p.token)
	if transport, ok := p.client.Transport.(*http.Transport); ok {
		config.TlsConfig = transport.TLSClientConfig
	}
	return config.DialContext(ctx)
}

type kernelMessage struct {
	Header   map[string]string `json:"header"`
	Parent   map[string]any    `json:"parent_header"`
	Metadata map[string]any    `json:"metadata"`
	Content  map[string]any    `json:"content"`
	Channel  string            `json:"channel"`
}

// runCell asks for a sum and waits for the result.
func runCell(connection *websocket.Conn) error {
	id := rand.Text()
	ask := kernelMessage{
		Header: map[string]string{"msg_id": id, "username": "", "session": rand.Text(), "msg_type": "execute_request", "version": "5.3"},
		Parent: map[string]any{}, Metadata: map[string]any{}, Channel: "shell",
		Content: map[string]any{"code": "6 * 7", "silent": false, "store_history": false, "user_expressions": map[string]any{}, "allow_stdin": false},
	}
	if err := websocket.JSON.Send(connection, ask); err != nil {
		return err
	}
	for {
		var said struct {
			Header, Parent struct {
				ID   string `json:"msg_id"`
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
		if err := websocket.JSON.Receive(connection, &said); err != nil {
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
