// Package client uses a JupyterHub the way a person at a browser does: it logs in through the page, starts a server, opens JupyterLab and
// runs code in a kernel. It knows nothing of how the hub was installed, and takes no shortcut that a browser could not take.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// maxPage bounds what is read of an answer.
const maxPage = 8 << 20

// Browser is one person's browser: their name and their cookies.
type Browser struct {
	password     string // of the last login
	User         string
	NeverConfirm bool   // an API call that needs the password again is refused, instead of giving it
	Chooses      string // the password at a first login; "" for that of the login

	base *url.URL
	http *http.Client
}

// Refused is an answer that says no.
type Refused struct {
	Doing   string // what was tried
	Status  int
	Message string // what the page or the API says, as a person reads it
}

func (e *Refused) Error() string {
	return fmt.Sprintf("cannot %s: status %d: %s", e.Doing, e.Status, e.Message)
}

// New makes a browser of one person for the hub at an address such as http://10.0.0.2.
func New(base, user string) (*Browser, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // guests are always reached directly
	return &Browser{User: user, base: u, http: &http.Client{Jar: jar, Transport: transport}}, nil
}

// NewSecure makes one for the hub of a name that no name server knows: it is at an address, and has a certificate of these authorities.
func NewSecure(name, address, user string, roots *x509.CertPool) (*Browser, error) {
	b, err := New("https://"+name, user)
	if err != nil {
		return nil, err
	}
	transport := b.http.Transport.(*http.Transport)
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	transport.DialContext = func(ctx context.Context, network, to string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(to)
		if err == nil && host == name {
			to = net.JoinHostPort(address, port)
		}
		return new(net.Dialer).DialContext(ctx, network, to)
	}
	return b, nil
}

// NewThrough makes one whose connections are made by another function than this machine's.
func NewThrough(base, user string, dial func(ctx context.Context, network, address string) (net.Conn, error)) (*Browser, error) {
	b, err := New(base, user)
	if err != nil {
		return nil, err
	}
	b.http.Transport.(*http.Transport).DialContext = dial
	return b, nil
}

// Page is what a browser shows in the end.
type Page struct {
	Status int
	URL    *url.URL // after redirects
	Header http.Header
	Body   string
}

// Open gets a page, following redirects.
func (b *Browser) Open(ctx context.Context, path string) (Page, error) {
	return b.page(ctx, http.MethodGet, path, nil)
}

func (b *Browser) page(ctx context.Context, method, path string, form url.Values) (Page, error) {
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, method, b.address(path), body)
	if err != nil {
		return Page{}, err
	}
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	req.Header.Set("Sec-Fetch-Dest", "document")
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", b.origin())
	}
	resp, err := b.http.Do(req)
	if err != nil {
		return Page{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxPage))
	if err != nil {
		return Page{}, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return Page{Status: resp.StatusCode, URL: resp.Request.URL, Header: resp.Header, Body: string(text)}, nil
}

func (b *Browser) origin() string { return b.base.Scheme + "://" + b.base.Host }

func (b *Browser) address(path string) string {
	if strings.HasPrefix(path, "http:") || strings.HasPrefix(path, "https:") {
		return path
	}
	return b.origin() + path
}

// xsrf is the token to send along with a request for a path. The hub and a user's server set different ones; the jar lists the
// cookie of the longest path first.
func (b *Browser) xsrf(path string) string {
	u, err := url.Parse(b.address(path))
	if err != nil {
		return ""
	}
	for _, cookie := range b.http.Jar.Cookies(u) {
		if cookie.Name == "_xsrf" {
			return cookie.Value
		}
	}
	return ""
}

// What the page has on which a user chooses a password at the first login.
const firstLogin = `id="tljh-first-login"`

var firstTicket = regexp.MustCompile(`name="ticket" value="([^"]+)"`)

// Cookies are what the browser sends along to a path, as one header.
func (b *Browser) Cookies(path string) string {
	u, err := url.Parse(b.address(path))
	if err != nil {
		return ""
	}
	var parts []string
	for _, cookie := range b.http.Jar.Cookies(u) {
		parts = append(parts, cookie.Name+"="+cookie.Value)
	}
	return strings.Join(parts, "; ")
}

var loginProblem = regexp.MustCompile(`(?s)<p class="login_error">(.*?)</p>`)

// Login fills in the hub's login page and, at the first login, that on which a password is chosen. A Refused error carries the sentence the page shows.
func (b *Browser) Login(ctx context.Context, password string) error {
	return b.LoginAt(ctx, "/hub/login", password)
}

// FirstLogin fills in the page for a first login with the code that a class was given.
func (b *Browser) FirstLogin(ctx context.Context, password, code string) error {
	b.password = password
	if _, err := b.Open(ctx, "/hub/login?first=1"); err != nil {
		return fmt.Errorf("cannot open the page for a first login: %w", err)
	}
	form := url.Values{"username": {b.User}, "password": {password}, "repeat": {password}, "code": {code}, "_xsrf": {b.xsrf("/hub/login")}}
	page, err := b.submit(ctx, "/hub/login?next=%2Fhub%2Fhome", form)
	if err != nil {
		return fmt.Errorf("cannot choose a password: %w", err)
	}
	if found := loginProblem.FindStringSubmatch(page.Body); found != nil {
		return &Refused{"choose a password", page.Status, words(found[1])}
	}
	return nil
}

// LoginAt fills in a page that is like the login page.
func (b *Browser) LoginAt(ctx context.Context, path, password string) error {
	b.password = password
	page, err := b.Open(ctx, path)
	if err != nil {
		return fmt.Errorf("cannot open the login page: %w", err)
	}
	if page.Status != http.StatusOK {
		return &Refused{"open the login page", page.Status, words(page.Body)}
	}
	form := url.Values{"username": {b.User}, "password": {password}, "_xsrf": {b.xsrf(path)}}
	page, err = b.submit(ctx, path+"?next=%2Fhub%2Fhome", form)
	if err != nil {
		return fmt.Errorf("cannot log in: %w", err)
	}
	if strings.Contains(page.Body, firstLogin) && page.Status == http.StatusOK {
		if b.Chooses != "" {
			form.Set("password", b.Chooses)
			b.password = b.Chooses
		}
		form.Set("repeat", b.password)
		form.Set("_xsrf", b.xsrf(path))
		if found := firstTicket.FindStringSubmatch(page.Body); found != nil {
			form.Set("ticket", found[1])
		}
		if page, err = b.submit(ctx, path+"?next=%2Fhub%2Fhome", form); err != nil {
			return fmt.Errorf("cannot choose a password: %w", err)
		}
	}
	if found := loginProblem.FindStringSubmatch(page.Body); found != nil {
		return &Refused{"log in", page.Status, words(found[1])}
	}
	if page.Status != http.StatusOK || !strings.HasSuffix(page.URL.Path, "/hub/home") {
		return &Refused{"log in", page.Status, words(page.Body)}
	}
	return nil
}

// Submit fills in another form of the hub.
func (b *Browser) Submit(ctx context.Context, path string, form url.Values) (Page, error) {
	form.Set("_xsrf", b.xsrf(path))
	return b.submit(ctx, path, form)
}

func (b *Browser) submit(ctx context.Context, path string, form url.Values) (Page, error) {
	return b.page(ctx, http.MethodPost, path, form)
}

// API calls the hub's REST API with the browser's cookies. in and out are JSON, each may be nil. An answer of 400 or more is a Refused error.
func (b *Browser) API(ctx context.Context, method, path string, in, out any) (status int, err error) {
	path = "/hub/api/" + strings.TrimPrefix(path, "/")
	status, err = b.call(ctx, method, path, in, out)
	if refused := (*Refused)(nil); b.NeverConfirm || status != http.StatusForbidden || !errors.As(err, &refused) || !strings.Contains(refused.Message, "enter your password again") {
		return status, err
	}
	if err := b.confirm(ctx); err != nil {
		return status, err
	}
	return b.call(ctx, method, path, in, out)
}

// confirm enters the password once more, where the hub asks for it before what needs a fresh one.
func (b *Browser) confirm(ctx context.Context) error {
	const path = "/hub/confirm"
	if _, err := b.Open(ctx, path); err != nil {
		return err
	}
	page, err := b.submit(ctx, path+"?next=%2Fhub%2Fhome", url.Values{"password": {b.password}, "_xsrf": {b.xsrf(path)}})
	if err == nil && page.Status != http.StatusOK {
		err = &Refused{"enter the password again", page.Status, words(page.Body)}
	}
	return err
}

// ServerAPI calls the API of a user's server, normally one's own.
func (b *Browser) ServerAPI(ctx context.Context, user, method, path string, in, out any) (status int, err error) {
	return b.call(ctx, method, "/user/"+url.PathEscape(user)+"/api/"+strings.TrimPrefix(path, "/"), in, out)
}

// OnServer calls what a user's server has outside of its API, such as JupyterLab's.
func (b *Browser) OnServer(ctx context.Context, user, method, path string, in, out any) (status int, err error) {
	return b.call(ctx, method, "/user/"+url.PathEscape(user)+"/"+path, in, out)
}

func (b *Browser) call(ctx context.Context, method, path string, in, out any) (int, error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return 0, err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, b.address(path), body)
	if err != nil {
		return 0, err
	}
	req.Header.Set("X-XSRFToken", b.xsrf(path))
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Origin", b.origin())
	req.Header.Set("Referer", b.origin()+"/hub/home")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := b.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxPage))
	if err != nil {
		return resp.StatusCode, fmt.Errorf("cannot read the answer to %s %s: %w", method, path, err)
	}
	if resp.StatusCode >= 400 {
		return resp.StatusCode, &Refused{strings.ToLower(method) + " " + path, resp.StatusCode, apiWords(data)}
	}
	if out == nil || len(data) == 0 {
		return resp.StatusCode, nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return resp.StatusCode, fmt.Errorf("the answer to %s %s is not what it should be: %w: %.200s", method, path, err, data)
	}
	return resp.StatusCode, nil
}

// User is what the hub tells of one.
type User struct {
	Name    string            `json:"name"`
	Admin   bool              `json:"admin"`
	Groups  []string          `json:"groups"`
	Pending *string           `json:"pending"`
	Servers map[string]Server `json:"servers"`
}

// Server is what the hub tells of a user's server.
type Server struct {
	Ready bool   `json:"ready"`
	URL   string `json:"url"`
}

// Running says whether the user's server is up.
func (u User) Running() bool { return u.Servers[""].Ready }

// Me asks the hub about the browser's own user.
func (b *Browser) Me(ctx context.Context) (User, error) { return b.Lookup(ctx, b.User) }

// Lookup asks the hub about a user.
func (b *Browser) Lookup(ctx context.Context, name string) (User, error) {
	var user User
	_, err := b.API(ctx, http.MethodGet, "users/"+url.PathEscape(name), nil, &user)
	return user, err
}

// SpawnFailed is what a person reads on the page when their server does not start.
type SpawnFailed struct{ Message string }

func (e *SpawnFailed) Error() string { return "cannot start the server: " + e.Message }

// progressEvent is one line of the stream that fills the progress bar.
type progressEvent struct {
	Progress int    `json:"progress"`
	Ready    bool   `json:"ready"`
	Failed   bool   `json:"failed"`
	Message  string `json:"message"`
	HTML     string `json:"html_message"`
}

// Spawn presses "Start My Server" and watches the progress page until the server is up. What the page shows in the end when it is
// not is a SpawnFailed error.
func (b *Browser) Spawn(ctx context.Context) error {
	page, err := b.Open(ctx, "/hub/spawn")
	if err != nil {
		return fmt.Errorf("cannot start the server: %w", err)
	}
	if strings.HasPrefix(page.URL.Path, "/user/") && page.Status == http.StatusOK {
		return nil
	}
	if page.Status != http.StatusOK {
		return &SpawnFailed{words(page.Body)}
	}
	return b.watchProgress(ctx)
}

func (b *Browser) watchProgress(ctx context.Context) error {
	path := "/hub/api/users/" + url.PathEscape(b.User) + "/server/progress?_xsrf=" + url.QueryEscape(b.xsrf("/hub/"))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.address(path), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := b.http.Do(req)
	if err != nil {
		return fmt.Errorf("cannot watch the server start: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		data, err := io.ReadAll(io.LimitReader(resp.Body, maxPage))
		return errors.Join(&Refused{"watch the server start", resp.StatusCode, apiWords(data)}, err)
	}
	last := ""
	for event, err := range events(resp.Body) {
		if err != nil {
			return fmt.Errorf("cannot watch the server start: %w (last: %s)", err, last)
		}
		last = event.Message
		if event.Failed {
			if event.HTML != "" {
				return &SpawnFailed{words(event.HTML)}
			}
			return &SpawnFailed{event.Message}
		}
		if event.Ready {
			return nil
		}
	}
	return &SpawnFailed{"the progress ended without a word (last: " + last + ")"}
}

// StopServer stops a user's server and waits until it is gone.
func (b *Browser) StopServer(ctx context.Context, user string) error {
	if _, err := b.API(ctx, http.MethodDelete, "users/"+url.PathEscape(user)+"/server", nil, nil); err != nil {
		return err
	}
	return b.awaitServer(ctx, user, false)
}

func (b *Browser) awaitServer(ctx context.Context, name string, up bool) error {
	for {
		user, err := b.Lookup(ctx, name)
		if err != nil {
			return err
		}
		_, there := user.Servers[""]
		if up && user.Running() || !up && !there {
			return nil
		}
		if up && user.Pending == nil && !there {
			return &SpawnFailed{"the hub gave up on it"}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the server of %s is not as wanted: %w", name, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// OpenLab opens JupyterLab; on the way the browser gets the cookie of the user's server.
func (b *Browser) OpenLab(ctx context.Context) error {
	path := "/user/" + url.PathEscape(b.User) + "/lab"
	page, err := b.Open(ctx, path)
	if err != nil {
		return fmt.Errorf("cannot open JupyterLab: %w", err)
	}
	if page.Status != http.StatusOK || page.URL.Path != path || !strings.Contains(page.Body, "JupyterLab") {
		return &Refused{"open JupyterLab (it led to " + page.URL.Path + ")", page.Status, words(page.Body)}
	}
	return nil
}

var (
	invisible = regexp.MustCompile(`(?s)<(script|style|head|noscript)\b.*?</(script|style|head|noscript)>|<!--.*?-->`)
	tags      = regexp.MustCompile(`<[^>]*>`)
	spaces    = regexp.MustCompile(`\s+`)
)

// words is the text of a page.
func words(page string) string {
	text := tags.ReplaceAllString(invisible.ReplaceAllString(page, " "), " ")
	return strings.TrimSpace(spaces.ReplaceAllString(html.UnescapeString(text), " "))
}

func apiWords(data []byte) string {
	var answer struct {
		Message string `json:"message"`
	}
	if err := json.Unmarshal(data, &answer); err == nil && answer.Message != "" {
		return answer.Message
	}
	return words(string(data))
}
