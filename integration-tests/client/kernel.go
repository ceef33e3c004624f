package client

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"

	"github.com/coder/websocket"
)

// Kernel is a connection to a kernel. The kernel itself lives on when the connection is closed.
type Kernel struct {
	ID string

	user    string
	session string
	conn    *websocket.Conn
}

// Output is what running a piece of code showed.
type Output struct {
	Text  string // printed text and values
	Error string // "NameError: name 'x' is not defined", or empty
	Died  bool   // the kernel ended while it ran
}

// StartKernel starts a Python kernel in the browser's own server and connects to it.
func (b *Browser) StartKernel(ctx context.Context) (*Kernel, error) {
	return b.StartKernelOf(ctx, "python3")
}

// StartKernelOf starts one of a description's name.
func (b *Browser) StartKernelOf(ctx context.Context, name string) (*Kernel, error) {
	var kernel struct {
		ID string `json:"id"`
	}
	if _, err := b.ServerAPI(ctx, b.User, http.MethodPost, "kernels", map[string]string{"name": name}, &kernel); err != nil {
		return nil, fmt.Errorf("cannot start a kernel: %w", err)
	}
	return b.Connect(ctx, kernel.ID)
}

// Connect connects to a kernel that runs.
func (b *Browser) Connect(ctx context.Context, id string) (*Kernel, error) {
	session := rand.Text()
	u := *b.base
	u.Scheme = strings.Replace(u.Scheme, "http", "ws", 1)
	u.Path = "/user/" + b.User + "/api/kernels/" + id + "/channels"
	u.RawQuery = url.Values{"session_id": {session}}.Encode()
	conn, resp, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{
		HTTPClient: b.http, // it brings the cookies
		HTTPHeader: http.Header{"Origin": {b.origin()}},
	})
	if err != nil {
		status := 0
		if resp != nil {
			status = resp.StatusCode
		}
		return nil, fmt.Errorf("cannot connect to the kernel (status %d): %w", status, err)
	}
	conn.SetReadLimit(maxPage)
	return &Kernel{ID: id, user: b.User, session: session, conn: conn}, nil
}

// Close ends the connection.
func (k *Kernel) Close() error { return k.conn.CloseNow() }

type message struct {
	Header       header          `json:"header"`
	ParentHeader header          `json:"parent_header"`
	Metadata     map[string]any  `json:"metadata"`
	Content      json.RawMessage `json:"content"`
	Channel      string          `json:"channel"`
	Buffers      []string        `json:"buffers"`
	Type         string          `json:"msg_type,omitempty"`
}

type header struct {
	ID       string `json:"msg_id,omitempty"`
	Username string `json:"username,omitempty"`
	Session  string `json:"session,omitempty"`
	Type     string `json:"msg_type,omitempty"`
	Version  string `json:"version,omitempty"`
	Date     string `json:"date,omitempty"`
}

// Run runs code and returns when the kernel is idle again, or has died of it.
func (k *Kernel) Run(ctx context.Context, code string) (Output, error) {
	id := rand.Text()
	content, err := json.Marshal(map[string]any{"code": code, "silent": false, "store_history": false,
		"user_expressions": map[string]any{}, "allow_stdin": false, "stop_on_error": true})
	if err != nil {
		return Output{}, err
	}
	request, err := json.Marshal(message{
		Header:   header{ID: id, Username: k.user, Session: k.session, Type: "execute_request", Version: "5.3"},
		Metadata: map[string]any{}, Content: content, Channel: "shell", Buffers: []string{},
	})
	if err != nil {
		return Output{}, err
	}
	if err := k.conn.Write(ctx, websocket.MessageText, request); err != nil {
		return Output{}, fmt.Errorf("cannot send code to the kernel: %w", err)
	}
	var out Output
	for {
		_, data, err := k.conn.Read(ctx)
		if err != nil {
			return out, fmt.Errorf("cannot hear from the kernel: %w (so far: %q)", err, out.Text)
		}
		var m message
		if err := json.Unmarshal(data, &m); err != nil {
			return out, fmt.Errorf("the kernel says what is no message: %w", err)
		}
		done, err := out.take(m, id)
		if done || err != nil {
			return out, err
		}
	}
}

// take adds a message to the output, and says whether it was the last.
func (o *Output) take(m message, id string) (done bool, err error) {
	kind := m.Header.Type
	if kind == "" {
		kind = m.Type
	}
	var content struct {
		State string         `json:"execution_state"`
		Text  string         `json:"text"`
		Data  map[string]any `json:"data"`
		Name  string         `json:"ename"`
		Value string         `json:"evalue"`
	}
	if err := json.Unmarshal(m.Content, &content); err != nil {
		return false, fmt.Errorf("the kernel says what is no message of type %s: %w", kind, err)
	}
	if kind == "status" && (content.State == "restarting" || content.State == "dead" || content.State == "autorestarting") {
		o.Died = true
		return true, nil
	}
	if m.ParentHeader.ID != id {
		return false, nil // of another connection's code
	}
	switch kind {
	case "stream":
		o.Text += content.Text
	case "execute_result", "display_data":
		text, _ := content.Data["text/plain"].(string)
		o.Text += text
	case "error":
		o.Error = content.Name + ": " + content.Value
	case "status":
		return content.State == "idle", nil
	}
	return false, nil
}

// events reads a stream of server-sent events as the progress bar does.
func events(r io.Reader) iter.Seq2[progressEvent, error] {
	return func(yield func(progressEvent, error) bool) {
		scanner := bufio.NewScanner(r)
		scanner.Buffer(nil, maxPage)
		for scanner.Scan() {
			data, found := strings.CutPrefix(scanner.Text(), "data:")
			if !found {
				continue
			}
			var event progressEvent
			err := json.Unmarshal([]byte(data), &event)
			if !yield(event, err) || err != nil {
				return
			}
		}
		if err := scanner.Err(); err != nil && !errors.Is(err, io.EOF) {
			yield(progressEvent{}, err)
		}
	}
}
