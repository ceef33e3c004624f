// Package browser drives a headless Chromium by its DevTools protocol: enough to fill in a page, press keys, wait for what appears and
// keep a picture of it. What is on a JupyterHub's pages is the tests' business.
package browser

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coder/websocket"
)

// programs are the names Chromium goes by.
var programs = []string{"chromium", "chromium-browser", "google-chrome"}

// flags keep it from asking the network for anything but the pages it is told to open. As root it has no sandbox, so it may
// only be shown pages of our own guests.
var flags = []string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-default-browser-check",
	"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-dev-shm-usage",
	"--no-proxy-server", "--window-size=1280,900", "--remote-debugging-port=0"}

// Browser is a running Chromium with one page.
type Browser struct {
	cmd     *exec.Cmd
	exited  chan struct{}
	profile string
	conn    *websocket.Conn
	session string

	mu      sync.Mutex
	next    int
	waiting map[int]chan answer
	broken  error
}

type answer struct {
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// Start starts Chromium, with flags beside the usual ones, and opens an empty page.
func Start(ctx context.Context, more ...string) (*Browser, error) {
	program, err := find()
	if err != nil {
		return nil, err
	}
	profile, err := os.MkdirTemp("", "tljh-browser-")
	if err != nil {
		return nil, err
	}
	b := &Browser{profile: profile, exited: make(chan struct{}), waiting: map[int]chan answer{}}
	if err := b.start(ctx, program, more); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot start %s: %w", program, err), b.Close())
	}
	return b, nil
}

func find() (string, error) {
	for _, program := range programs {
		if path, err := exec.LookPath(program); err == nil {
			return path, nil
		}
	}
	return "", errors.New("cannot find Chromium\nhint: run integration-tests/install-tools (package chromium)")
}

var endpoint = regexp.MustCompile(`DevTools listening on (ws://\S+)`)

func (b *Browser) start(ctx context.Context, program string, more []string) error {
	b.cmd = exec.Command(program, slices.Concat(flags, more, []string{"--user-data-dir=" + b.profile, "about:blank"})...)
	b.cmd.Env = append(os.Environ(), "HOME="+b.profile)
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that all of its processes can be ended
	stderr, err := b.cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := b.cmd.Start(); err != nil {
		return err
	}
	found := make(chan string, 1)
	go func() {
		b.listen(stderr, found)
		_ = b.cmd.Wait() // it is killed in the end
		close(b.exited)
	}()
	var address string
	select {
	case address = <-found:
	case <-b.exited:
		return errors.New("it ended at once")
	case <-ctx.Done():
		return ctx.Err()
	}
	if b.conn, _, err = websocket.Dial(ctx, address, nil); err != nil {
		return err
	}
	b.conn.SetReadLimit(64 << 20) // pictures
	go b.read()
	return b.attach(ctx)
}

func (b *Browser) listen(stderr io.Reader, found chan<- string) {
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if m := endpoint.FindStringSubmatch(lines.Text()); m != nil {
			found <- m[1]
			break
		}
	}
	_, _ = io.Copy(io.Discard, stderr)
}

func (b *Browser) attach(ctx context.Context) error {
	var target struct {
		ID string `json:"targetId"`
	}
	if err := b.call(ctx, "Target.createTarget", map[string]any{"url": "about:blank"}, &target); err != nil {
		return err
	}
	var attached struct {
		Session string `json:"sessionId"`
	}
	if err := b.call(ctx, "Target.attachToTarget", map[string]any{"targetId": target.ID, "flatten": true}, &attached); err != nil {
		return err
	}
	b.session = attached.Session
	return b.call(ctx, "Page.enable", nil, nil)
}

// Close ends Chromium and removes its profile.
func (b *Browser) Close() error {
	if b.conn != nil {
		_ = b.conn.CloseNow() // it is about to be killed anyway
	}
	if b.cmd != nil && b.cmd.Process != nil {
		if err := syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
		<-b.exited
	}
	return os.RemoveAll(b.profile)
}

// read hands answers to those who wait for them. Events are not needed: we look at the page instead.
func (b *Browser) read() {
	for {
		_, data, err := b.conn.Read(context.Background())
		b.mu.Lock()
		if err != nil {
			b.broken = fmt.Errorf("lost the browser: %w", err)
			for id, ch := range b.waiting {
				close(ch)
				delete(b.waiting, id)
			}
			b.mu.Unlock()
			return
		}
		var m struct {
			ID int `json:"id"`
			answer
		}
		if json.Unmarshal(data, &m) == nil && m.ID != 0 {
			if ch := b.waiting[m.ID]; ch != nil {
				ch <- m.answer
				delete(b.waiting, m.ID)
			}
		}
		b.mu.Unlock()
	}
}

func (b *Browser) call(ctx context.Context, method string, params map[string]any, out any) error {
	ch := make(chan answer, 1)
	b.mu.Lock()
	if b.broken != nil {
		b.mu.Unlock()
		return b.broken
	}
	b.next++
	id := b.next
	b.waiting[id] = ch
	b.mu.Unlock()
	request := map[string]any{"id": id, "method": method}
	if params != nil {
		request["params"] = params
	}
	if b.session != "" {
		request["sessionId"] = b.session
	}
	data, err := json.Marshal(request)
	if err != nil {
		return err
	}
	if err := b.conn.Write(ctx, websocket.MessageText, data); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case a, ok := <-ch:
		switch {
		case !ok:
			return fmt.Errorf("%s: lost the browser", method)
		case a.Error != nil:
			return fmt.Errorf("%s: %s", method, a.Error.Message)
		case out == nil:
			return nil
		}
		return json.Unmarshal(a.Result, out)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, ctx.Err())
	}
}

// Open goes to an address. It does not wait for the page to be complete: wait for what is needed of it.
func (b *Browser) Open(ctx context.Context, url string) error {
	var r struct {
		Error string `json:"errorText"`
	}
	if err := b.call(ctx, "Page.navigate", map[string]any{"url": url}, &r); err != nil {
		return err
	}
	if r.Error != "" {
		return fmt.Errorf("cannot open %s: %s", url, r.Error)
	}
	return nil
}

// Eval runs an expression of JavaScript in the page and reads its value.
func (b *Browser) Eval(ctx context.Context, expression string, out any) error {
	var r struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception *struct {
			Text string `json:"text"`
			Of   struct {
				Description string `json:"description"`
			} `json:"exception"`
		} `json:"exceptionDetails"`
	}
	err := b.call(ctx, "Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &r)
	if err != nil {
		return err
	}
	if r.Exception != nil {
		return fmt.Errorf("%s in the page: %s", r.Exception.Text, r.Exception.Of.Description)
	}
	if out == nil || len(r.Result.Value) == 0 {
		return nil
	}
	return json.Unmarshal(r.Result.Value, out)
}

// WaitFor waits until an expression of JavaScript is true in the page. Navigation in between does no harm.
func (b *Browser) WaitFor(ctx context.Context, what, expression string) error {
	var last error
	for {
		var holds bool
		err := b.Eval(ctx, "Boolean("+expression+")", &holds)
		if err == nil && holds {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		timer := time.NewTimer(50 * time.Millisecond)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("waited in vain for %s: %w", what, errors.Join(ctx.Err(), last))
		case <-timer.C:
		}
	}
}

// selector quotes a CSS selector as JavaScript that finds its first visible element.
func selector(css string) string {
	quoted, err := json.Marshal(css)
	if err != nil {
		return "null"
	}
	return "[...document.querySelectorAll(" + string(quoted) + ")].find(e => e.getClientRects().length)"
}

// WaitVisible waits for an element that can be seen.
func (b *Browser) WaitVisible(ctx context.Context, css string) error {
	return b.WaitFor(ctx, css, selector(css))
}

// Click waits for an element and presses the mouse button over its middle.
func (b *Browser) Click(ctx context.Context, css string) error {
	if err := b.WaitVisible(ctx, css); err != nil {
		return err
	}
	var at struct{ X, Y float64 }
	err := b.Eval(ctx, "(e => { e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect(); return {X: r.x + r.width/2, Y: r.y + r.height/2} })("+selector(css)+")", &at)
	if err != nil {
		return err
	}
	for _, kind := range []string{"mouseMoved", "mousePressed", "mouseReleased"} {
		params := map[string]any{"type": kind, "x": at.X, "y": at.Y}
		if kind != "mouseMoved" {
			params["button"], params["clickCount"] = "left", 1
		}
		if err := b.call(ctx, "Input.dispatchMouseEvent", params, nil); err != nil {
			return fmt.Errorf("cannot click on %s: %w", css, err)
		}
	}
	return nil
}

// Type clicks on an element and types text into it.
func (b *Browser) Type(ctx context.Context, css, text string) error {
	if err := b.Click(ctx, css); err != nil {
		return err
	}
	return b.call(ctx, "Input.insertText", map[string]any{"text": text}, nil)
}

// modifierShift is the protocol's bit for the shift key.
const modifierShift = 8

// ShiftEnter presses the keys that run a cell.
func (b *Browser) ShiftEnter(ctx context.Context) error {
	for _, kind := range []string{"keyDown", "keyUp"} {
		params := map[string]any{"type": kind, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "modifiers": modifierShift}
		if kind == "keyDown" {
			params["text"] = "\r"
		}
		if err := b.call(ctx, "Input.dispatchKeyEvent", params, nil); err != nil {
			return err
		}
	}
	return nil
}

// Text is what the elements that a selector finds show, joined by line ends.
func (b *Browser) Text(ctx context.Context, css string) (string, error) {
	quoted, err := json.Marshal(css)
	if err != nil {
		return "", err
	}
	var texts []string
	err = b.Eval(ctx, "[...document.querySelectorAll("+string(quoted)+")].map(e => e.innerText)", &texts)
	return strings.Join(texts, "\n"), err
}

// Screenshot keeps a picture of the page as a PNG file.
func (b *Browser) Screenshot(ctx context.Context, path string) error {
	var r struct {
		Data string `json:"data"`
	}
	if err := b.call(ctx, "Page.captureScreenshot", map[string]any{"format": "png"}, &r); err != nil {
		return err
	}
	data, err := base64.StdEncoding.DecodeString(r.Data)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}
