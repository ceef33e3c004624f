package integration

import (
	"context"
	"crypto/x509"
	_ "embed"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"tljh/integration-tests/browser"
	"tljh/integration-tests/client"
	"tljh/integration-tests/want"
)

var (
	//go:embed testdata/attack_page.py
	attackPage string
	//go:embed testdata/attack_origin.js
	attackOrigin string
)

// TestPagesOfStudentsAgainstTheHub has an admin open a page of a student's own server, whose script tries to act on the hub in the admin's name. Where origins
// are not separate it can; with a port and with a domain for single-user servers it cannot, and all that people do works.
func TestPagesOfStudentsAgainstTheHub(t *testing.T) {
	t.Parallel()
	h := attacked(t)
	_ = h.run(t, "tljh-install config set user_environment.own_extensions true && tljh-install config reload")
	h.awaitHub(t, 30*time.Second)
	alice := h.admin(t)
	enrol(t, alice, "mallory")
	h.student(t, alice, "eve") // makes accounts and homes known
	h.giveMalloryAPage(t, alice)

	shared := h.url()
	want.Contains(t, target().output, "Hub pages and pages of single-user servers: not separate", "tljh-install config set hub.user_port 8443")
	want.Contains(t, h.must(t, "tljh-install status"), "not separate", "hub.user_port 8443")
	told := h.attackedBy(t, shared, shared, false)
	want.Equal(t, "token", told["fetch hub"], "where origins are not separate, the page reads the hub's token: without this, the rest shows nothing")
	want.Equal(t, "refused", told["worker"], "a service worker for all of the hub")

	h.set(t, "set hub.user_port 8443")
	h.awaitHub(t, 30*time.Second)
	h.mustNotReach(t, h.url(), "http://"+h.Address()+":8443")
	want.Lacks(t, h.must(t, "tljh-install status"), "not separate")
	h.workOnAnOriginOfItsOwn(t, h.url(), "http://"+h.Address()+":8443")

	h.set(t, "unset hub.user_port", "set hub.user_domain users.test", "set hub.domain hub.test")
	h.awaitHub(t, 30*time.Second)
	h.mustNotReach(t, "http://hub.test", "http://mallory.users.test")
	h.workOnAnOriginOfItsOwn(t, "http://hub.test", "http://alice.users.test")
	want.Contains(t, h.must(t, "tljh-install status --json"), `"separate":true`)

	roots := h.wildcard(t)
	h.mustGetNothing(t, "https://hub.test", "https://mallory.users.test")
	secure, err := client.NewSecure("hub.test", h.Address(), admin, roots)
	want.OK(t, err)
	want.OK(t, secure.Login(t.Context(), adminPassword))
	isNoAdmin(t, secure, "mallory")
	h.workOnAnOriginOfItsOwn(t, "https://hub.test", "https://alice.users.test")
}

// wildcard serves the hub over HTTPS with a certificate of its own for its name and those of all users, and returns what to know it by.
func (h *hub) wildcard(t *testing.T) *x509.CertPool {
	t.Helper()
	h.MustSh(t, "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=hub.test -addext subjectAltName=DNS:hub.test,DNS:*.users.test"+
		" -keyout /etc/hub.key -out /etc/hub.crt 2>&1")
	for _, change := range []string{"set https.tls.key /etc/hub.key", "set https.tls.cert /etc/hub.crt", "set https.enabled true --reload"} {
		h.must(t, "tljh-install config "+change)
	}
	roots := x509.NewCertPool()
	want.True(t, roots.AppendCertsFromPEM([]byte(h.MustSh(t, "cat /etc/hub.crt"))), "no certificate was made")
	return roots
}

// giveMalloryAPage lets a student put a page of their own onto their server.
func (h *hub) giveMalloryAPage(t *testing.T, alice *client.Browser) {
	t.Helper()
	b := h.login(t, "mallory", passwordOf("mallory"))
	start(t, b)
	want.OK(t, b.StopServer(t.Context(), "mallory"))
	h.MustSh(t, "install -d -o jupyter-mallory -g jupyter-mallory /home/jupyter-mallory/.jupyter")
	want.OK(t, h.Write(t.Context(), "/home/jupyter-mallory/.jupyter/jupyter_server_config.py", 0o644, strings.NewReader(attackPage)))
	want.OK(t, b.Spawn(t.Context()))
	_ = alice
}

// chromium opens a browser that finds names of .test at the guest, and takes its addresses for trustworthy, as it would with HTTPS.
func (h *hub) chromium(ctx context.Context, t *testing.T, origins ...string) *browser.Browser {
	t.Helper()
	b, err := browser.Start(ctx, "--host-resolver-rules=MAP *.test "+h.Address(), "--disable-popup-blocking", "--ignore-certificate-errors",
		"--unsafely-treat-insecure-origin-as-secure="+strings.Join(origins, ","))
	want.OK(t, err)
	t.Cleanup(func() { want.OK(t, b.Close()) })
	return b
}

// attackedBy logs the admin in, opens the student's page and returns what its script could read and, with act, do.
func (h *hub) attackedBy(t *testing.T, hubOrigin, usersOrigin string, act bool) map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	b := h.chromium(ctx, t, hubOrigin, usersOrigin)
	want.OK(t, b.LogIn(ctx, hubOrigin, admin, adminPassword))
	want.OK(t, b.Open(ctx, hubOrigin+"/user/mallory/attack/page"))
	want.OK(t, b.WaitFor(ctx, "the student's page", "document.title == 'homework' && location.origin == "+quoteJS(usersOrigin)))
	var told map[string]string
	want.OK(t, b.Eval(ctx, strings.NewReplacer("HUB", quoteJS(hubOrigin), "ACT", strconv.FormatBool(act)).Replace(attackOrigin), &told))
	t.Logf("the page at %s: %v", usersOrigin, told)
	want.True(t, len(told) > 7, fmt.Sprintf("only %d attempts were made", len(told)))
	var kept string
	want.OK(t, b.Eval(ctx, "document.cookie", &kept))
	want.Lacks(t, kept, "planted")
	return told
}

func quoteJS(text string) string {
	quoted, _ := json.Marshal(text)
	return string(quoted)
}

// mustNotReach attacks, and wants nothing to have come of it.
func (h *hub) mustNotReach(t *testing.T, hubOrigin, usersOrigin string) {
	t.Helper()
	h.mustGetNothing(t, hubOrigin, usersOrigin)
	isNoAdmin(t, h.admin(t), "mallory") // the password is what it was
}

func (h *hub) mustGetNothing(t *testing.T, hubOrigin, usersOrigin string) {
	t.Helper()
	for what, outcome := range h.attackedBy(t, hubOrigin, usersOrigin, true) {
		want.True(t, outcome != "token" && outcome != "read" && !strings.HasPrefix(outcome, "registered") && !strings.HasPrefix(outcome, "2"),
			usersOrigin+": "+what+": "+outcome)
	}
}

func isNoAdmin(t *testing.T, admin *client.Browser, name string) {
	t.Helper()
	user, err := admin.Lookup(t.Context(), name)
	want.OK(t, err)
	want.True(t, !user.Admin, name+" is an admin")
}

// workOnAnOriginOfItsOwn does what a person does: log in, start a server, run a cell, follow links that lead to one's own server.
func (h *hub) workOnAnOriginOfItsOwn(t *testing.T, hubOrigin, usersOrigin string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	b := h.chromium(ctx, t, hubOrigin, usersOrigin)
	want.OK(t, b.LogIn(ctx, hubOrigin, admin, adminPassword))
	want.OK(t, b.Open(ctx, hubOrigin+"/hub/spawn"))
	want.OK(t, b.WaitFor(ctx, "JupyterLab on the origin of servers", "location.origin == "+quoteJS(usersOrigin)+" && document.querySelector('#jp-main-dock-panel')"))
	for link, path := range map[string]string{
		"/hub/user-redirect/tree": "/user/alice/tree",
		"/hub/user-redirect/git-pull?repo=https://git.test/x&urlpath=lab/tree": "/user/alice/git-pull",
		"/user/alice/tree":    "/user/alice/tree",
		"/user-redirect/tree": "/user/alice/tree",
	} {
		want.OK(t, b.Open(ctx, hubOrigin+link))
		want.OK(t, b.WaitFor(ctx, link, "location.origin == "+quoteJS(usersOrigin)+" && location.pathname.startsWith("+quoteJS(path)+")"))
	}
	want.OK(t, b.Open(ctx, usersOrigin+"/hub/home"))
	want.OK(t, b.WaitFor(ctx, "the hub's page", "location.origin == "+quoteJS(hubOrigin)+" && document.querySelector('#start, #stop')"))
	// The notebook comes last: a browser asks before it leaves a page with unsaved changes. What was open on an earlier visit is closed.
	want.OK(t, b.Open(ctx, hubOrigin+"/user/alice/lab?reset"))
	want.OK(t, b.WaitFor(ctx, "JupyterLab on the origin of servers", "location.origin == "+quoteJS(usersOrigin)+" && document.querySelector('.jp-LauncherCard')"))
	want.OK(t, b.NewNotebook(ctx))
	text, err := b.RunCell(ctx, "print(6*7)", "42")
	want.OK(t, err)
	want.Contains(t, text, "42")
}
