package proof

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"

	"tljh/internal/host"
	"tljh/internal/layout"
)

// loginTry is a browser that tries the authenticator's handler: a login that must be refused, or the link to where users log in.
type loginTry struct {
	client *http.Client
	start  *url.URL // of the hub's login page
	prefix string   // of the hub's own pages
}

const (
	loginTries    = 3 // of a hub that answers with an error: a proxy may have started just now
	loginPause    = time.Second
	mostRedirects = 5
)

// authenticator proves that the login handler works. Its one try uses the probe user's name, which no authenticator lets in, over loopback.
func (p *Proof) authenticator(ctx context.Context) error {
	var err error
	for n := range loginTries {
		if n > 0 {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(loginPause):
			}
		}
		if err = p.tryLogin(ctx); err == nil {
			return nil
		}
	}
	return host.Hint(err, "check auth in %s, then: tljh-install config reload", layout.Config)
}

func (p *Proof) tryLogin(ctx context.Context) error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	start, err := url.Parse(p.door + path.Join(p.BaseURL, "hub/login"))
	if err != nil {
		return err
	}
	client := *p.client
	client.Jar = jar
	try := &loginTry{client: &client, start: start, prefix: path.Join(p.BaseURL, "hub") + "/"}
	err = try.run(ctx)
	if name := try.came(ctx); name != "" { // an authenticator that lets everybody in, who is not to stay
		got, removeErr := p.hub(ctx, http.MethodDelete, "users/"+url.PathEscape(name))
		if removeErr = expect(got, removeErr, http.StatusNoContent, http.StatusNotFound); removeErr != nil && err == nil {
			err = fmt.Errorf("cannot remove the user %s, which the test of the login page created: %w", name, removeErr)
		}
	}
	return err
}

// page is an answer to a browser.
type page struct {
	at     *url.URL
	status int
	next   *url.URL // where it leads
	body   string
}

func (l *loginTry) run(ctx context.Context) error {
	got, err := l.follow(ctx, l.start)
	if err != nil {
		return err
	}
	if got.next != nil || got.status == http.StatusForbidden {
		return nil // away from the hub, or into it, or shut to everybody
	}
	if passwordField.MatchString(got.body) {
		return l.refused(ctx, got)
	}
	link := loginLink.FindStringSubmatch(got.body)
	if link == nil {
		return nil // a page that an admin made
	}
	to, err := got.at.Parse(html.UnescapeString(link[1]))
	if err != nil {
		return fmt.Errorf("cannot read where the login page leads: %w", err)
	}
	_, err = l.follow(ctx, to)
	return err
}

var (
	passwordField = regexp.MustCompile(`<input[^>]*type=["']password["']`)
	loginLink     = regexp.MustCompile(`(?s)id="login-main".*?<a\s[^>]*href=["']([^"']+)["']`)
	loginForm     = regexp.MustCompile(`<form[^>]*action=["']([^"']+)["']`)
	xsrfField     = regexp.MustCompile(`name="_xsrf" value="([^"]+)"`)
	errorWords    = regexp.MustCompile(`(?s)<(?:p|div) class="(?:login_error|error)[^"]*">(.*?)</(?:p|div)>`)
	tag           = regexp.MustCompile(`<[^>]*>`)
)

// follow opens a page and goes where it leads, as long as that is a login page of the hub.
func (l *loginTry) follow(ctx context.Context, to *url.URL) (page, error) {
	for range mostRedirects {
		got, err := l.ask(ctx, http.MethodGet, to, nil)
		if err != nil || got.next == nil {
			return got, err
		}
		if got.next.Host != l.start.Host || got.next.Scheme != l.start.Scheme {
			return got, leadsToProvider(got.next)
		}
		if got.next.Query().Has("redirect_uri") {
			return got, errors.New("the login page leads to no provider: authorize_url is not set")
		}
		if !strings.HasPrefix(got.next.Path, l.prefix) || !strings.Contains(got.next.Path, "login") {
			return got, nil
		}
		to = got.next
	}
	return page{}, fmt.Errorf("the login page %s leads in a circle", l.start.Path)
}

// leadsToProvider returns what is missing in the address that users are sent to.
func leadsToProvider(to *url.URL) error {
	if to.Host == "" || to.Scheme != "https" && to.Scheme != "http" {
		return errors.New("the login page leads to no provider: authorize_url is no web address")
	}
	if query := to.Query(); query.Has("redirect_uri") && query.Get("client_id") == "" {
		return fmt.Errorf("the login page leads to %s without a client_id, which it needs", to.Host)
	}
	return nil
}

// refused posts the form with a name and a password that no authenticator takes.
func (l *loginTry) refused(ctx context.Context, form page) error {
	action := l.start
	if found := loginForm.FindStringSubmatch(form.body); found != nil {
		var err error
		if action, err = form.at.Parse(html.UnescapeString(found[1])); err != nil || action.Host != l.start.Host {
			return errors.New("the login form leads away from the hub")
		}
	}
	fields := url.Values{"username": {layout.ProbeUser}, "password": {rand.Text()}}
	if found := xsrfField.FindStringSubmatch(form.body); found != nil {
		fields.Set("_xsrf", html.UnescapeString(found[1]))
	}
	_, err := l.ask(ctx, http.MethodPost, action, fields)
	return err
}

// ask sends one request. An answer that is an error of the server is an error.
func (l *loginTry) ask(ctx context.Context, method string, to *url.URL, fields url.Values) (page, error) {
	var body io.Reader
	if fields != nil {
		body = strings.NewReader(fields.Encode())
	}
	request, err := http.NewRequestWithContext(ctx, method, to.String(), body)
	if err != nil {
		return page{}, err
	}
	request.Header.Set("Sec-Fetch-Mode", "navigate") // as browsers do: the answer is for people
	if fields != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("Origin", to.Scheme+"://"+to.Host)
	}
	response, err := l.client.Do(request)
	if err != nil {
		return page{}, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	if err != nil {
		return page{}, err
	}
	got := page{at: to, status: response.StatusCode, body: string(data)}
	if location := response.Header.Get("Location"); location != "" && got.status/100 == 3 {
		if got.next, err = to.Parse(location); err != nil {
			return got, fmt.Errorf("cannot read where %s leads: %w", to.Path, err)
		}
	}
	if got.status >= 500 {
		what := "the login page"
		if method == http.MethodPost {
			what = "a login that must be refused"
		}
		return got, fmt.Errorf("%s is answered with an error of the server, %d%s", what, got.status, wordsOf(got.body))
	}
	return got, nil
}

// wordsOf is what a page of an error says to people.
func wordsOf(body string) string {
	found := errorWords.FindStringSubmatch(body)
	if found == nil {
		return ""
	}
	words := strings.Join(strings.Fields(html.UnescapeString(tag.ReplaceAllString(found[1], " "))), " ")
	const most = 300
	return cmp.Or(": "+words[:min(most, len(words))], "")
}

// came returns the name of who is logged in after a try; "" is nobody.
func (l *loginTry) came(ctx context.Context) string {
	loggedIn := false
	for _, cookie := range l.client.Jar.Cookies(l.start) {
		loggedIn = loggedIn || strings.HasPrefix(cookie.Name, "jupyterhub-hub-login")
	}
	if !loggedIn {
		return ""
	}
	me, err := l.start.Parse(l.prefix + "api/user")
	if err != nil {
		return ""
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, me.String(), nil)
	if err != nil {
		return ""
	}
	for _, cookie := range l.client.Jar.Cookies(me) {
		if cookie.Name == "_xsrf" {
			request.Header.Set("X-XSRFToken", cookie.Value)
		}
	}
	response, err := l.client.Do(request)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	var user struct{ Name string }
	_ = json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&user)
	return user.Name
}
