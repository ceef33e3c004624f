package integration

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tljh/integration-tests/client"
	"tljh/integration-tests/guest"
	"tljh/integration-tests/want"
)

// TestLoginsOfARealHub tries what docs/logins.md and docs/security.md promise of logins, at a hub as it is installed.
func TestLoginsOfARealHub(t *testing.T) {
	t.Parallel()
	h := installed(t)
	alice := h.admin(t)
	enrol(t, alice, "bob", "carol", "dan", "erin", "unclaimed")
	_, err := alice.API(t.Context(), http.MethodPost, "users", map[string]any{"usernames": []string{"dora"}, "admin": true}, nil)
	want.OK(t, err)
	for _, name := range []string{"bob", "carol", "dan", "erin"} {
		h.login(t, name, passwordOf(name))
	}
	t.Run("headers of the hub's pages", func(t *testing.T) { h.headersOfPages(t, alice) })
	t.Run("one answer for all logins that fail", h.oneAnswer)
	t.Run("the password again", func(t *testing.T) { h.passwordAgain(t, alice) })
	t.Run("the password again, on the admin page", h.passwordAgainInABrowser)
	t.Run("the current password before a new one", h.currentPassword)
	t.Run("somebody else's server", h.opensAnothersServer)
	t.Run("guessing", h.guesses)
	t.Run("lines for fail2ban", h.linesForFail2ban)
	t.Run("a flood", h.floodOfLogins)
	t.Run("over HTTPS", h.cookiesOverHTTPS)
}

// restartHub makes the hub forget which sessions gave their password lately, and all failures. Sessions go on.
func (h *hub) restartHub(t *testing.T) {
	t.Helper()
	h.MustSh(t, "systemctl restart jupyterhub")
	h.awaitHub(t, 60*time.Second)
}

// within opens a browser on the machine itself, which has another address than this one.
func (h *hub) within(t *testing.T, user string) *client.Browser {
	t.Helper()
	b, err := client.NewThrough(h.url(), user, h.DialContext)
	want.OK(t, err)
	return b
}

func (h *hub) headersOfPages(t *testing.T, alice *client.Browser) {
	for _, path := range []string{"/hub/login", "/hub/home", "/hub/admin", "/hub/token", "/hub/confirm", "/hub/auth/change-password", "/hub/there-is-none", "/hub/api/users"} {
		page, err := alice.Open(t.Context(), path)
		want.OK(t, err)
		want.Equal(t, "nosniff", page.Header.Get("X-Content-Type-Options"), path)
		want.Equal(t, "same-origin", page.Header.Get("Referrer-Policy"), path)
		want.Contains(t, page.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'", "base-uri 'self'", "object-src 'none'")
	}
}

// shownValues are what differs between two pages that say the same: what was typed, and tokens.
var shownValues = regexp.MustCompile(`value="[^"]*"|xsrf_token: "[^"]*"|next=[^"&]*`)

func (h *hub) oneAnswer(t *testing.T) {
	answer := func(name, password string) string {
		b := h.browser(t, name)
		_, err := b.Open(t.Context(), "/hub/login")
		want.OK(t, err)
		page, err := b.Submit(t.Context(), "/hub/login", url.Values{"username": {name}, "password": {password}})
		want.OK(t, err)
		return fmt.Sprint(page.Status, page.Header["Set-Cookie"] == nil, shownValues.ReplaceAllString(page.Body, ""))
	}
	// Not a password that somebody could choose: "unclaimed" would take it.
	for _, password := range []string{"x", strings.Repeat("x", 80), ""} {
		seen := answer("bob", password)
		want.Contains(t, seen, "403")
		for _, name := range []string{admin, "unclaimed", "dora", "nobody", "a/b", "root", "tljh-probe"} {
			want.Equal(t, seen, answer(name, password), name)
		}
	}
	took := map[bool][]time.Duration{}
	for range 4 {
		for _, name := range []string{"carol", "stranger-1", "dan", "stranger-2", "erin", "stranger-3"} {
			begun := time.Now()
			no := refusal(t, h.browser(t, name).Login(t.Context(), "wrong-password"), name)
			known := !strings.HasPrefix(name, "stranger")
			took[known] = append(took[known], time.Since(begun))
			want.Equal(t, "403 Invalid username or password. Have you forgotten your password? Your teacher can give you a new one.", fmt.Sprint(no.Status, " ", no.Message), name)
		}
	}
	median := func(of []time.Duration) time.Duration { slices.Sort(of); return of[len(of)/2] }
	known, unknown := median(took[true]), median(took[false])
	t.Logf("a failed login takes %s for known and %s for unknown names (medians of %d)", known, unknown, len(took[true]))
	want.True(t, (known-unknown).Abs() < 50*time.Millisecond+max(known, unknown)/4, fmt.Sprintf("known names take %s, unknown ones %s", known, unknown))
}

func (h *hub) passwordAgain(t *testing.T, alice *client.Browser) {
	powers := []struct {
		method, path string
		body         any
	}{
		{http.MethodPatch, "users/bob", map[string]any{"admin": true}},
		{http.MethodPost, "users/another", map[string]any{"admin": true}},
		{http.MethodPost, "users", map[string]any{"usernames": []string{"onemore"}, "admin": true}},
		{http.MethodPost, "users/alice/tokens", map[string]any{"note": "x"}},
		{http.MethodDelete, "users/carol", nil},
	}
	var minted struct{ Token string }
	_, err := alice.API(t.Context(), http.MethodPost, "users/alice/tokens", map[string]any{"note": "kept"}, &minted)
	want.OK(t, err)
	h.restartHub(t)
	alice.NeverConfirm = true
	defer func() { alice.NeverConfirm = false }()
	refused := func() {
		t.Helper()
		for _, call := range powers {
			_, err := alice.API(t.Context(), call.method, call.path, call.body, nil)
			no := refusal(t, err, call.method+" "+call.path)
			want.Equal(t, http.StatusForbidden, no.Status)
			want.Contains(t, no.Message, "enter your password again at /hub/confirm")
		}
	}
	refused()
	_, err = alice.API(t.Context(), http.MethodPost, "users/plain", map[string]any{}, nil)
	want.OK(t, err, "what gives no power away")
	page, err := alice.Open(t.Context(), "/hub/confirm?next=/hub/admin")
	want.OK(t, err)
	want.Contains(t, page.Body, "Please enter your password again")
	page, err = alice.Submit(t.Context(), "/hub/confirm?next=/hub/admin", url.Values{"password": {"wrong-password"}})
	want.OK(t, err)
	want.Equal(t, http.StatusForbidden, page.Status)
	refused()
	bob, err := alice.Lookup(t.Context(), "bob")
	want.OK(t, err)
	want.True(t, !bob.Admin, "bob is an admin")
	for _, makes := range []string{"true", "false"} {
		want.Equal(t, "200", h.MustSh(t, "curl -sS -o /dev/null -w '%{http_code}' -X PATCH -H 'Authorization: token "+minted.Token+"' -d '{\"admin\": "+makes+"}' "+h.url()+"/hub/api/users/bob"), "a program with a token")
	}
	page, err = alice.Submit(t.Context(), "/hub/confirm?next=/hub/admin", url.Values{"password": {adminPassword}})
	want.OK(t, err)
	want.Equal(t, "200 /hub/admin", fmt.Sprint(page.Status, " ", page.URL.Path))
	for _, call := range powers {
		_, err := alice.API(t.Context(), call.method, call.path, call.body, nil)
		want.OK(t, err, call.method, call.path)
	}
	_, err = alice.API(t.Context(), http.MethodPatch, "users/bob", map[string]any{"admin": false}, nil)
	want.OK(t, err)
}

// passwordAgainInABrowser makes an admin on the Admin page with a session whose password is too old.
func (h *hub) passwordAgainInABrowser(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	b := h.chromium(ctx, t, h.url())
	want.OK(t, b.LogIn(ctx, h.url(), admin, adminPassword))
	h.restartHub(t)
	makeAdmin := func() {
		t.Helper()
		// The page draws its rows anew when it has asked the hub again.
		want.OK(t, b.WaitFor(ctx, "dan's form", `document.querySelector('#admin-check') !== null ||
			([...document.querySelectorAll('[data-testid="user-row-dan"] button')].find(e => e.innerText == 'Edit User')?.click(), false)`))
		want.OK(t, b.Click(ctx, "#admin-check"))
		want.OK(t, b.Click(ctx, "#submit"))
	}
	asked := func() {
		t.Helper()
		want.OK(t, b.WaitFor(ctx, "the page that asks for the password", "location.pathname == '/hub/confirm' && document.querySelector('#confirm')"))
	}
	want.OK(t, b.Open(ctx, h.url()+"/hub/token"))
	// The page's scripts take their time, and its button does nothing before.
	want.OK(t, b.WaitFor(ctx, "the page that asks for the password", `location.pathname == '/hub/confirm' || (document.querySelector('#request-token-form [type=submit]')?.click(), false)`))
	asked()
	want.OK(t, b.Open(ctx, h.url()+"/hub/admin"))
	makeAdmin()
	asked()
	dan := func() bool {
		user, err := h.admin(t).Lookup(t.Context(), "dan")
		want.OK(t, err)
		return user.Admin
	}
	want.True(t, !dan(), "dan is an admin without a password")
	want.OK(t, b.Type(ctx, "#password_input", "wrong-password"))
	want.OK(t, b.Click(ctx, "#confirm"))
	want.OK(t, b.WaitFor(ctx, "a refusal", "document.body.innerText.includes('That is not your password.')"))
	want.OK(t, b.Type(ctx, "#password_input", adminPassword))
	want.OK(t, b.Click(ctx, "#confirm"))
	want.OK(t, b.WaitFor(ctx, "the admin page", "location.pathname == '/hub/admin'"))
	makeAdmin()
	guest.Until(t, 30*time.Second, func(context.Context) error {
		if !dan() {
			return errors.New("dan is no admin")
		}
		return nil
	})
}

func (h *hub) currentPassword(t *testing.T) {
	const page = "/hub/auth/change-password"
	bob := h.login(t, "bob", passwordOf("bob"))
	for _, form := range []url.Values{
		{"password": {"another-horse"}, "repeat": {"another-horse"}},
		{"old_password": {"wrong-password"}, "password": {"another-horse"}, "repeat": {"another-horse"}},
	} {
		got, err := bob.Submit(t.Context(), page, form)
		want.OK(t, err)
		want.Equal(t, http.StatusForbidden, got.Status)
		want.Contains(t, got.Body, "That is not your current password. Nothing was changed.")
	}
	h.login(t, "bob", passwordOf("bob"))
	got, err := bob.Submit(t.Context(), page, url.Values{"old_password": {passwordOf("bob")}, "password": {"another-horse"}, "repeat": {"another-horse"}})
	want.OK(t, err)
	want.Equal(t, http.StatusOK, got.Status)
	refusal(t, h.browser(t, "bob").Login(t.Context(), passwordOf("bob")), "the password of before")
	h.login(t, "bob", "another-horse")
}

var scopeField = regexp.MustCompile(`name="scopes" value="([^"]*)"`)

func (h *hub) opensAnothersServer(t *testing.T) {
	bob := h.login(t, "bob", "another-horse")
	start(t, bob) // one's own server opens without a question
	const lab = "/user/bob/lab"
	for range 2 { // what was answered in one session is asked again in the next
		alice := h.admin(t)
		page, err := alice.Open(t.Context(), lab)
		want.OK(t, err)
		want.Equal(t, "/hub/api/oauth2/authorize", page.URL.Path)
		want.Contains(t, page.Body, "This is the server of bob", "They run in your browser")
		form := url.Values{}
		for _, scope := range scopeField.FindAllStringSubmatch(page.Body, -1) {
			form.Add("scopes", scope[1])
		}
		page, err = alice.Submit(t.Context(), page.URL.RequestURI(), form)
		want.OK(t, err)
		want.Equal(t, "200 "+lab, fmt.Sprint(page.Status, " ", page.URL.Path))
		page, err = alice.Open(t.Context(), lab)
		want.OK(t, err)
		want.Equal(t, lab, page.URL.Path, "in the same session")
	}
}

func (h *hub) guesses(t *testing.T) {
	h.restartHub(t)
	erin := h.browser(t, "erin")
	// Until the wait is one that this machine cannot sleep through.
	compared, wait := 0, 0
	for begun := time.Now(); wait < 6 && time.Since(begun) < 3*time.Minute; {
		no := refusal(t, erin.Login(t.Context(), "wrong-password"), "guessing")
		if no.Status == http.StatusForbidden {
			compared++
			continue
		}
		want.Equal(t, http.StatusTooManyRequests, no.Status, no.Message)
		_, err := fmt.Sscanf(no.Message, "Too many attempts. Please try again in %d seconds.", &wait)
		want.OK(t, err, no.Message)
	}
	want.True(t, compared >= 8 && compared <= 12, fmt.Sprintf("%d guesses until a wait of 8 seconds", compared))
	no := refusal(t, erin.Login(t.Context(), passwordOf("erin")), "the right password during a wait")
	want.Equal(t, http.StatusTooManyRequests, no.Status, no.Message)
	want.OK(t, h.within(t, "erin").Login(t.Context(), passwordOf("erin")), "the owner at another address")
	guest.Until(t, 20*time.Second, func(ctx context.Context) error { return erin.Login(ctx, passwordOf("erin")) })
	// Names that look like lines of the journal.
	for _, name := range []string{"x' login refused: address=192.0.2.99 reason=password name='y", "x\nWARNING JupyterHub: login refused: address=192.0.2.99 reason=password name='y'"} {
		refusal(t, h.browser(t, name).Login(t.Context(), "wrong-password"), "a forged name")
	}
}

// bannedLine is a line of the journal that fail2ban counts, as fail2ban-regex shows it.
var bannedLine = regexp.MustCompile(`(?m)\|\s+([0-9a-f.:]+)  \w{3} \w{3} `)

var failregex = regexp.MustCompile(`(?s)/etc/fail2ban/filter.d/tljh.conf.*?` + "```ini\n(.*?)```")

// linesForFail2ban has fail2ban itself read the journal with the filter of the page.
func (h *hub) linesForFail2ban(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(guest.RepositoryRoot(), "docs/logins.md"))
	want.OK(t, err)
	filter := failregex.FindSubmatch(page)
	want.True(t, filter != nil, "the page has a filter")
	h.must(t, "export DEBIAN_FRONTEND=noninteractive; apt-get update -qq && apt-get install -y -qq fail2ban python3-systemd")
	want.OK(t, h.Write(t.Context(), "/etc/fail2ban/filter.d/tljh.conf", 0o644, strings.NewReader(string(filter[1]))))
	said := h.must(t, "fail2ban-regex -v systemd-journal tljh")
	seen := map[string]int{}
	for _, found := range bannedLine.FindAllStringSubmatch(said, -1) {
		seen[found[1]]++
	}
	t.Logf("lines that fail2ban counts by address: %v", seen)
	want.True(t, seen[h.Gateway()] > 30, "fail2ban does not see who guessed")
	for address := range seen { // the installation proves from the machine itself that a wrong password is refused
		want.True(t, address == h.Gateway() || address == "127.0.0.1", "fail2ban would ban "+address)
	}
}

// floodOfLogins has one address send 200 logins at once, and wants a login from another address not to wait for them.
func (h *hub) floodOfLogins(t *testing.T) {
	const many = 200
	quickest, begun := time.Minute, time.Now()
	count := h.flood(t, many, func() {
		for range 3 { // other tests keep this machine busy, too
			begin := time.Now()
			want.OK(t, h.within(t, "erin").Login(t.Context(), passwordOf("erin")), "a login in a flood from another address")
			quickest = min(quickest, time.Since(begin))
		}
	})
	t.Logf("%d logins in %s: %v; a login from another address took %s", many, time.Since(begun), count, quickest)
	want.Equal(t, many, count[http.StatusForbidden]+count[http.StatusTooManyRequests], "refusals")
	want.True(t, count[http.StatusTooManyRequests] > 0, "all were let through to the comparison of passwords")
	want.True(t, quickest < 10*time.Second, "a login from another address took "+quickest.String())
	h.flood(t, 60, func() {}) // more names than one address may try
	want.OK(t, h.within(t, "dan").Login(t.Context(), passwordOf("dan")), "the limit of one address holds up another")
	no := refusal(t, h.browser(t, "carla").Login(t.Context(), "wrong-password"), "more names from the address")
	want.Equal(t, http.StatusTooManyRequests, no.Status, no.Message)
	want.OK(t, h.browser(t, "erin").Login(t.Context(), passwordOf("erin")), "who has logged in from this address before")
	h.restartHub(t)
	no = refusal(t, h.browser(t, "carla").Login(t.Context(), "wrong-password"), "after a restart")
	want.Equal(t, http.StatusForbidden, no.Status, no.Message)
}

// flood sends logins of as many names at once, does something meanwhile, and counts the answers by their status.
func (h *hub) flood(t *testing.T, many int, meanwhile func()) map[int]int {
	t.Helper()
	var wg sync.WaitGroup
	statuses := make([]int, many)
	for n := range many {
		wg.Go(func() {
			b, err := client.New(h.url(), fmt.Sprintf("flood-%d-%d", many, n))
			if err == nil {
				err = b.Login(t.Context(), "wrong-password")
			}
			var no *client.Refused
			if errors.As(err, &no) {
				statuses[n] = no.Status
			}
		})
	}
	meanwhile()
	wg.Wait()
	count := map[int]int{}
	for _, status := range statuses {
		count[status]++
	}
	return count
}

// cookiesOverHTTPS logs in over HTTPS, and wants no cookie to go over plain HTTP afterwards.
func (h *hub) cookiesOverHTTPS(t *testing.T) {
	const name = "hub.example.org"
	cert, key := certificate(t, name, time.Now().AddDate(0, 6, 0))
	want.OK(t, h.Write(t.Context(), "/etc/hub.pem", 0o600, strings.NewReader(cert)))
	want.OK(t, h.Write(t.Context(), "/etc/hub.key", 0o600, strings.NewReader(key)))
	h.must(t, "tljh-install config set https.tls.key /etc/hub.key && tljh-install config set https.tls.cert /etc/hub.pem && tljh-install config set https.enabled true --reload")
	roots := x509.NewCertPool()
	want.True(t, roots.AppendCertsFromPEM([]byte(cert)), "the certificate")
	b, err := client.NewSecure(name, h.Address(), admin, roots)
	want.OK(t, err)
	guest.Until(t, 60*time.Second, func(ctx context.Context) error { return b.Login(ctx, adminPassword) })

	const handed = "/run/private/tljh-edge"
	want.Equal(t, "400", h.MustSh(t, "find "+handed+" -type f -printf '%m\\n' | sort -u"), "modes of the key that the edge has")
	want.Differ(t, 0, h.run(t, "setpriv --reuid=nobody --regid=nogroup --clear-groups find "+handed+"/ /run/tljh-edge/ -type f").Code, "others look at it")

	jar, err := cookiejar.New(nil)
	want.OK(t, err)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: name}}
	defer transport.CloseIdleConnections()
	visitor := &http.Client{Jar: jar, Transport: transport, Timeout: time.Minute}
	reply, err := visitor.Get("https://" + h.Address() + "/hub/login")
	want.OK(t, err)
	_ = reply.Body.Close()
	secure := &url.URL{Scheme: "https", Host: h.Address(), Path: "/hub/"}
	form := url.Values{"username": {admin}, "password": {adminPassword}}
	for _, cookie := range jar.Cookies(secure) {
		if cookie.Name == "_xsrf" {
			form.Set("_xsrf", cookie.Value)
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+h.Address()+"/hub/login?next=%2Fhub%2Fhome", strings.NewReader(form.Encode()))
	want.OK(t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Origin", "https://"+h.Address())
	reply, err = visitor.Do(request)
	want.OK(t, err)
	_ = reply.Body.Close()
	want.Equal(t, "/hub/home", reply.Request.URL.Path)
	var names []string
	for _, cookie := range jar.Cookies(secure) {
		names = append(names, cookie.Name)
	}
	want.Contains(t, strings.Join(names, " "), "_xsrf", "jupyterhub-hub-login", "jupyterhub-session-id")
	plain := &url.URL{Scheme: "http", Host: h.Address(), Path: "/hub/"}
	want.Equal(t, 0, len(jar.Cookies(plain)), fmt.Sprintf("cookies that would go over HTTP: %v", jar.Cookies(plain)))
}
