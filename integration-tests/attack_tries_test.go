package integration

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tljh/integration-tests/attacks"
	"tljh/integration-tests/client"
	"tljh/integration-tests/guest"
	"tljh/integration-tests/want"
)

// tries counts what was tried, and what got through.
type tries struct {
	made    int
	through []string
}

// note takes what came of a try: nothing, or what it got.
func (c *tries) note(t *testing.T, what, got string) {
	t.Helper()
	c.made++
	if got != "" {
		c.through = append(c.through, what)
		t.Errorf("%s: %s", what, got)
	}
}

// scene is a class at work, and what those who attack it know of each other.
type scene struct {
	*hub
	tries
	alice, bob, carol *client.Browser
	carols            *client.Kernel
	diary             string // what only carol may read
}

// TestTriesOfAttackers makes the tries of the package attacks at a hub as it is after the installation: one student and one stranger against all others.
func TestTriesOfAttackers(t *testing.T) {
	t.Parallel()
	h := attacked(t)
	s := &scene{hub: h, alice: h.admin(t), diary: "only-carol-may-read-this"}
	s.carol, s.bob = h.student(t, s.alice, "carol"), h.student(t, s.alice, "bob")
	start(t, s.alice)
	s.carols = kernel(t, s.carol)
	compute(t, s.carols, "open('diary', 'w').write("+strconv.Quote(s.diary)+")")

	t.Run("programs of a student", s.programs)
	t.Run("files of another student", s.othersFiles)
	t.Run("the hub's cookies", s.misread)
	t.Run("pages", s.pages)
	t.Run("redirects", s.redirects)
	t.Run("strangers", s.strangers)
	t.Run("the hub's API", s.api)
	t.Run("requests within requests", s.smuggled)
	t.Run("names", s.names)
	t.Run("shared folders", s.sharedTraps)
	t.Run("what starts with a server", s.starts)
	t.Run("hostile sources", s.sources)
	t.Run("the users' port", s.usersPort)
	t.Logf("attacks: %d tried, %d got through", s.made, len(s.through))
	want.Equal(t, "", strings.Join(s.through, "; "), "what got through")
	want.True(t, s.made >= 60, fmt.Sprintf("only %d tries were made", s.made))
}

// ownToken is the token of a student's own server, as any program there finds it.
const ownToken = "import os; print(os.environ['JUPYTERHUB_API_TOKEN'])"

// programs makes the tries of a student's program, and looks whether any lie of it was believed.
func (s *scene) programs(t *testing.T) {
	s.packages(t, "polkitd") // most machines have it, and by its rules everybody may have a systemd of their own
	bob := kernel(t, s.bob)
	want.OK(t, s.Write(t.Context(), "/opt/attacks/student.py", 0o644, strings.NewReader(attacks.Student)))
	// What the controls need: a place open to all with a secret in it, and a program that is set-uid root.
	s.MustSh(t, "mkdir -p /srv/open && echo a-canary >/srv/open/file && chmod 666 /srv/open/file && install -m 4755 /bin/bash /usr/local/bin/rootly; "+
		"printf '[Service]\\nType=oneshot\\nRemainAfterExit=yes\\nEnvironment=X=a-canary\\nExecStart=/bin/true\\n' >/etc/systemd/system/canary.service; systemctl daemon-reload; systemctl start canary")
	want.Equal(t, "0", s.MustSh(t, "runuser -u jupyter-bob -- /usr/local/bin/rootly -p -c 'id -u'"), "the program for the control")
	var planted struct {
		Shm      int
		Terminal string
	}
	text := compute(t, s.carols, `import ctypes, json, os, pty
libc = ctypes.CDLL(None)
shm = libc.shmget(4242, 4096, 0o1666)
outer, inner = pty.openpty()
print(json.dumps({"shm": shm, "terminal": os.ttyname(inner)}))`)
	want.OK(t, json.Unmarshal([]byte(text), &planted), text)
	pid := func(unit string) int {
		n, err := strconv.Atoi(s.property(t, unit, "MainPID"))
		want.OK(t, err)
		return n
	}
	facts, err := json.Marshal(map[string]any{
		"carol": pid("jupyter-carol.service"), "hub": pid("jupyterhub.service"), "edge": pid("tljh-edge.service"),
		"shm": planted.Shm, "terminal": planted.Terminal, "address": s.Address(),
		"socket": "/run/tljh/sockets/jupyter-bob/server.sock", "open": "/srv/open", "more": []string{}, "setuid": "/usr/local/bin/rootly",
		"secrets": []string{
			compute(t, s.carols, ownToken), s.diary, adminPassword,
			s.MustSh(t, "sed 's/.*=//' /opt/tljh/state/proxy.env"), s.MustSh(t, "cat /opt/tljh/state/installer.token"), s.MustSh(t, "cat /opt/tljh/state/jupyterhub_cookie_secret"),
		},
	})
	want.OK(t, err)
	before := s.MustSh(t, "cat /proc/sys/kernel/core_pattern; ls /var/lib/systemd/linger 2>/dev/null; true")
	text = compute(t, bob, "import subprocess, sys\nr = subprocess.run([sys.executable, '/opt/attacks/student.py'], input="+strconv.Quote(string(facts))+", capture_output=True, text=True); print(r.stdout or r.stderr)")
	var results map[string]struct{ Control, Outcome string }
	want.OK(t, json.Unmarshal([]byte(text), &results), text)
	for what, r := range results {
		want.Equal(t, "works", r.Control, "control of: "+what)
		got := r.Outcome
		if got == "refused" {
			got = ""
		}
		s.note(t, what, got)
	}

	s.note(t, "systemd believes what a student says of a unit", s.MustSh(t, `systemctl show '*.service' -p StatusText | grep "a student" || true`))
	spoofed := s.MustSh(t, "journalctl -b -o cat | grep -c 203.0.113.77 || true")
	want.Differ(t, "0", spoofed, "the student's line is nowhere in the journal")
	s.note(t, "a line of the journal in the hub's name", s.MustSh(t, "journalctl -b -u jupyterhub -o cat | grep 203.0.113.77; journalctl -b -o cat _SYSTEMD_UNIT=jupyterhub.service | grep 203.0.113.77; true"))
	for _, port := range []string{"971", "972"} {
		line := s.MustSh(t, "journalctl -b -u jupyterhub -o cat | grep 'login refused' | grep from"+port+" || true")
		want.Differ(t, "", line, "the hub says nothing of a login at port "+port)
		s.note(t, "a login that claims another address, at port "+port, lookFor(line, "203.0.113.66"))
	}
	want.Equal(t, before, s.MustSh(t, "cat /proc/sys/kernel/core_pattern; ls /var/lib/systemd/linger 2>/dev/null; true"))
	s.note(t, "a file of root's after all this", s.MustSh(t, "ls /root/started-by-a-student 2>/dev/null; true"))
	s.MustSh(t, "rm -rf /srv/open /usr/local/bin/rootly /etc/systemd/system/canary.service; systemctl daemon-reload")
}

func lookFor(text, part string) string {
	if strings.Contains(text, part) {
		return text
	}
	return ""
}

// raw sends one request as it is written here, and returns the answer. A browser or Go would tidy it.
func (s *scene) raw(t *testing.T, method, target, body string, header ...string) (*http.Response, string) {
	t.Helper()
	text := method + " " + target + " HTTP/1.1\r\nConnection: close\r\nUser-Agent: Go-http-client/1.1\r\n" // the hub ties forms to it
	if !slices.ContainsFunc(header, func(line string) bool { return strings.HasPrefix(line, "Host:") }) {
		header = append(header, "Host: "+s.Address())
	}
	for _, line := range header {
		text += line + "\r\n"
	}
	if body != "" {
		text += "Content-Length: " + strconv.Itoa(len(body)) + "\r\n"
	}
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(s.Address(), "80"), 10*time.Second)
	want.OK(t, err)
	defer conn.Close()
	want.OK(t, conn.SetDeadline(time.Now().Add(40*time.Second)))
	_, err = io.WriteString(conn, text+"\r\n"+body)
	want.OK(t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	want.OK(t, err, method+" "+target)
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	want.OK(t, err, method+" "+target)
	return response, string(data)
}

// get is raw with the cookies of a browser, all of them whatever their path.
func (s *scene) get(t *testing.T, b *client.Browser, target string, header ...string) (*http.Response, string) {
	t.Helper()
	if b != nil {
		header = append(header, "Cookie: "+s.cookies(b))
	}
	return s.raw(t, http.MethodGet, target, "", append(header, "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Accept: text/html, application/json")...)
}

func (s *scene) cookies(b *client.Browser) string {
	return b.Cookies("/user/"+b.User+"/") + "; " + b.Cookies("/hub/")
}

// othersFiles tries to read carol's diary with what bob has.
func (s *scene) othersFiles(t *testing.T) {
	_, body := s.get(t, s.carol, attacks.OthersFiles[0])
	want.Contains(t, body, s.diary)
	for _, target := range attacks.OthersFiles {
		_, body := s.get(t, s.bob, target)
		s.note(t, "another's file at "+target, lookFor(body, s.diary))
	}
	for _, browser := range []*client.Browser{s.bob, s.carol} { // a cookie of one's own server for that of another
		cookies := strings.ReplaceAll(s.cookies(browser), "jupyterhub-user-bob", "jupyterhub-user-carol")
		_, body := s.raw(t, "GET", attacks.OthersFiles[0], "", "Cookie: "+cookies, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Dest: document")
		if browser == s.carol {
			want.Contains(t, body, s.diary)
			continue
		}
		s.note(t, "another's file by one's own cookie under its name", lookFor(body, s.diary))
	}
	tokens := map[string]string{}
	for _, b := range []*client.Browser{s.bob, s.carol} {
		var made struct{ Token string }
		_, err := b.API(t.Context(), http.MethodPost, "users/"+b.User+"/tokens", map[string]any{}, &made)
		want.OK(t, err)
		tokens[b.User] = made.Token
	}
	for what, headers := range map[string][]string{"in a header": {"Authorization: token %s"}, "in an address": {"X: x"}} {
		for user, token := range tokens {
			target := "/user/carol/api/contents/diary"
			if what == "in an address" {
				target += "?token=" + token
			}
			_, body := s.raw(t, "GET", target, "", strings.ReplaceAll(headers[0], "%s", token))
			// In an address, nobody's token opens anything: addresses are in logs and histories.
			if user == "carol" && what == "in a header" {
				want.Contains(t, body, s.diary)
				continue
			}
			s.note(t, "a file by a token of "+user+" "+what, lookFor(body, s.diary))
		}
	}
	s.websockets(t)
	s.links(t)
}

// links lets somebody open a link that fills a folder of theirs with what its author likes.
func (s *scene) links(t *testing.T) {
	pull := func(folder string) int {
		response, _ := s.get(t, s.bob, "/user/bob/git-pull/api?repo=http://127.0.0.1:1/x&branch=x&targetpath="+url.QueryEscape(folder))
		return response.StatusCode
	}
	want.Equal(t, http.StatusOK, pull("course"))
	if s.run(t, "command -v git").Code != 0 {
		_, body := s.get(t, s.bob, "/user/bob/git-pull/api?repo=http://127.0.0.1:1/x&branch=x&targetpath=course")
		want.Contains(t, body, "There is no git on this server")
	}
	for _, folder := range []string{".local/lib/python3.14/site-packages", "course/../.ipython/profile_default/startup", "/home/jupyter-bob/.config", "../../srv", "bin", "R/x86_64-pc-linux-gnu-library/4.5"} {
		s.note(t, "a link that fills the folder "+folder, opened(pull(folder)))
	}
	response, _ := s.get(t, s.bob, "/user/bob/git-pull/api?repo=http://127.0.0.1:1/.ipython&branch=x")
	s.note(t, "a link to a repository with a hidden name", opened(response.StatusCode))
	s.git(t)
	s.MustSh(t, `mkdir /srv/evil && cd /srv/evil && git init -q -b main && touch __init__.py lesson.txt .Rprofile && git add . &&
		git -c user.name=x -c user.email=x@x.test commit -qm x && chmod -R a+rX . && git config --system --add safe.directory '*'`)
	response, body := s.get(t, s.bob, "/user/bob/git-pull/api?repo=file:///srv/evil&branch=main&targetpath=IPython")
	want.Equal(t, http.StatusOK, response.StatusCode)
	want.Contains(t, body, "__init__.py was left out")
	want.Contains(t, body, ".Rprofile was left out")
	s.note(t, "a link that brings what R runs when it starts", s.MustSh(t, "ls /home/jupyter-bob/IPython/.Rprofile 2>/dev/null || true"))
	s.MustSh(t, "test -e /home/jupyter-bob/IPython/lesson.txt")
	s.note(t, "a link that brings a package of Python's own name", s.MustSh(t, "find /home/jupyter-bob/IPython -name '__init__*' -not -path '*/.git/*'"))
	s.buried(t)
	s.signed(t)
}

// buried lets somebody open links to a repository in which another one is buried, whose settings name a program, and in which there is a link out of it.
func (s *scene) buried(t *testing.T) {
	s.MustSh(t, `mkdir /srv/buried && cd /srv/buried && git init -q -b main && git init -q --bare one && printf '[core]\n\tworktree = ..\n\tfsmonitor = "touch /tmp/buried;"\n' >> one/config &&
		touch one/refs/x one/objects/x && ln -s ../.ipython i && touch lesson.txt && git add -A -f . && git -c user.name=x -c user.email=x@x.test commit -qm x && chmod -R a+rX .`)
	pull := func(folder string) string {
		_, body := s.get(t, s.bob, "/user/bob/git-pull/api?repo=file:///srv/buried&branch=main&targetpath="+url.QueryEscape(folder))
		return body
	}
	pull("lesson")
	s.MustSh(t, "test -e /home/jupyter-bob/lesson/one/config && ! test -L /home/jupyter-bob/lesson/i && ln -s .ipython /home/jupyter-bob/own && chown -h jupyter-bob: /home/jupyter-bob/own")
	s.note(t, "a link to a repository within another", lacks(pull("lesson/one"), "no repository of its own"))
	s.note(t, "a link through a link in the home", lacks(pull("own/profile_default"), "leads to another place"))
	s.note(t, "what a link brought has been run", s.MustSh(t, "ls /tmp/buried /tmp/systemd-private-*/tmp/buried /home/jupyter-bob/.ipython/profile_default/lesson.txt 2>/dev/null || true"))
	want.Lacks(t, pull("lesson"), "error")

	// What opens by a link starts a kernel in its folder, and Jupyter writes files beside it.
	s.MustSh(t, `mkdir -p /srv/launch && cd /srv/launch && git init -q -b main && printf 'open("/tmp/launched", "w")\n' > ipykernel_launcher.py && cp ipykernel_launcher.py runpy.py &&
		ln -s ../.ipython/profile_default/startup .ipynb_checkpoints && echo 'open("/tmp/launched", "w")' > notes.py && git add -A -f . && git -c user.name=x -c user.email=x@x.test commit -qm x && chmod -R a+rX .`)
	_, body := s.get(t, s.bob, "/user/bob/git-pull/api?repo=file:///srv/launch&branch=main&targetpath=launch")
	want.Contains(t, body, "leads out of the folder")
	for path, ask := range map[string]any{"api/kernels": map[string]any{"name": "python3", "path": "launch/x.ipynb"}, "api/contents/launch/notes.py/checkpoints": nil} {
		_, err := s.bob.OnServer(t.Context(), "bob", http.MethodPost, path, ask, nil)
		want.OK(t, err, path)
	}
	compute(t, kernel(t, s.bob), "import time; time.sleep(3)")
	s.note(t, "what a link brought is run when a kernel starts", s.MustSh(t, "find /home/.tljh-tmp /tmp -name launched 2>/dev/null; ls /home/jupyter-bob/.ipython/profile_default/startup/*.py 2>/dev/null || true"))
	response, _ := s.get(t, s.bob, "/user/bob/git-pull/api?repo=fd::17&branch=main&targetpath=e3")
	s.note(t, "a repository that is a program of git's", opened(response.StatusCode))
}

// lacks is what got through where an answer does not have the words of a refusal.
func lacks(body, words string) string {
	if strings.Contains(body, words) {
		return ""
	}
	return endOf(body)
}

// signed has somebody look at a notebook on a student's server that the student trusts.
func (s *scene) signed(t *testing.T) {
	compute(t, kernel(t, s.bob), `import nbformat
from nbformat.sign import NotebookNotary
from nbformat.v4 import new_code_cell, new_notebook, new_output
nb = new_notebook(cells=[new_code_cell("1", execution_count=1, outputs=[new_output("display_data", {"text/html": "<script>1</script>"})])])
NotebookNotary().sign(nb)
nbformat.write(nb, "hw.ipynb")
print("signed")`)
	_, own := s.get(t, s.bob, "/user/bob/api/contents/hw.ipynb")
	want.Contains(t, own, `"trusted": true`)
	var made struct{ Token string }
	_, err := s.login(t, admin, adminPassword).API(t.Context(), http.MethodPost, "users/"+admin+"/tokens", map[string]any{}, &made)
	want.OK(t, err)
	_, visited := s.raw(t, "GET", "/user/bob/api/contents/hw.ipynb", "", "Authorization: token "+made.Token)
	want.Contains(t, visited, "<script>")
	s.note(t, "a visitor's browser runs what a student trusts", lacks(visited, `"trusted": false`))
}

// websockets tries to talk to kernels: to another's, and to one's own from a page of another site.
func (s *scene) websockets(t *testing.T) {
	own := kernel(t, s.bob)
	shake := func(user, id, origin string) int {
		response, _ := s.handshake(t, 40*time.Second, "/user/"+user+"/api/kernels/"+id+"/channels", "Cookie: "+s.cookies(s.bob), "Origin: "+origin)
		return response
	}
	want.Equal(t, http.StatusSwitchingProtocols, shake("bob", own.ID, s.url()))
	s.note(t, "another's kernel by a websocket", opened(shake("carol", s.carols.ID, s.url())))
	s.note(t, "a page of another site opens a websocket to a kernel", opened(shake("bob", own.ID, "http://evil.test")))
	s.note(t, "a page without an origin opens a websocket to a kernel", opened(shake("bob", own.ID, "null")))
}

func opened(status int) string {
	if status < 300 {
		return "status " + strconv.Itoa(status)
	}
	return ""
}

// handshake asks for a websocket and returns the status.
func (s *scene) handshake(t *testing.T, limit time.Duration, target string, header ...string) (int, error) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(s.Address(), "80"), 10*time.Second)
	want.OK(t, err)
	defer conn.Close()
	want.OK(t, conn.SetDeadline(time.Now().Add(limit)))
	text := "GET " + target + " HTTP/1.1\r\nHost: " + s.Address() + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	_, err = io.WriteString(conn, text+strings.Join(header, "\r\n")+"\r\n\r\n")
	want.OK(t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	_ = response.Body.Close()
	return response.StatusCode, nil
}

// misread has something in the place of a student's server that shows what it is sent.
func (s *scene) misread(t *testing.T) {
	want.OK(t, s.Write(t.Context(), "/root/spy.py", 0o644, strings.NewReader(attacks.Spy)))
	api := `curl -sf --retry 20 --retry-all-errors --retry-delay 1 -H "Authorization: token $CONFIGPROXY_AUTH_TOKEN" `
	s.MustSh(t, `systemd-run --quiet --unit=spy /opt/tljh/hub/bin/python -u /root/spy.py
. /opt/tljh/state/proxy.env
`+api+`-d '{"target": "http://127.0.0.1:18080"}' http://127.0.0.1:973/api/routes/user/bob/spy; `+api+`-d '{"target": "http://127.0.0.1:18080"}' http://127.0.0.1:973/api/routes/spied
curl -sf --retry 20 --retry-all-errors --retry-delay 1 -o /dev/null http://127.0.0.1:18080/`)
	defer s.MustSh(t, `. /opt/tljh/state/proxy.env; for r in user/bob/spy spied; do `+api+`-X DELETE http://127.0.0.1:973/api/routes/$r; done; systemctl stop spy`)
	_, body := s.get(t, s.alice, "/spied") // not a student's: the spy works
	want.Contains(t, body, "jupyterhub-hub-login=")
	reached := 0
	for _, target := range attacks.Misread {
		response, body := s.get(t, s.alice, target)
		got := lookFor(body, "jupyterhub-hub-login=")
		if strings.Contains(body, "spied:") {
			reached++
			got += lookFor(strings.Join(response.Header["Set-Cookie"], "\n"), "planted")
		}
		s.note(t, "the hub's cookies at "+target, got)
	}
	want.True(t, reached >= 5, fmt.Sprintf("only %d addresses led to the spy", reached))
}

// pages looks for what comes back as a part of a page.
func (s *scene) pages(t *testing.T) {
	encoded := url.QueryEscape(attacks.Mark)
	isPage := func(response *http.Response, body string) string {
		kind := response.Header.Get("Content-Type")
		if strings.Contains(response.Header.Get("Content-Security-Policy"), "sandbox") || !strings.Contains(kind, "html") && kind != "" {
			return ""
		}
		return lookFor(body, attacks.Mark)
	}
	compute(t, kernel(t, s.bob), "open('marked.html', 'w').write("+strconv.Quote(attacks.Mark)+")")
	response, body := s.get(t, s.bob, "/user/bob/files/marked.html")
	want.Contains(t, body, attacks.Mark)
	want.Contains(t, response.Header.Get("Content-Security-Policy"), "sandbox")
	for _, target := range attacks.Reflecting {
		got := ""
		for _, who := range []*client.Browser{nil, s.bob, s.alice} {
			response, body := s.get(t, who, strings.ReplaceAll(target, "MARK", encoded))
			got += isPage(response, body)
		}
		s.note(t, "a piece of a page by "+target, got)
	}
	response, body = s.get(t, nil, "/hub/login", "Host: evil.test")
	s.note(t, "a page with links to another host", lookFor(body+response.Header.Get("Location"), "evil.test"))
	response, body = s.get(t, nil, "/hub/home", "X-Forwarded-Host: evil.test", "X-Forwarded-Prefix: /evil.test", "Forwarded: host=evil.test")
	s.note(t, "a redirect to a host of a header", lookFor(body+response.Header.Get("Location"), "evil.test"))
}

// leads returns where a browser would go, if that is another host.
func (s *scene) leads(t *testing.T, response *http.Response) string {
	t.Helper()
	location := response.Header.Get("Location")
	if location == "" {
		return ""
	}
	tidy := strings.NewReplacer(`\`, "/", "\t", "", "\n", "", "\r", "").Replace(location)
	base, err := url.Parse(s.url() + "/hub/login")
	want.OK(t, err)
	target, err := base.Parse(tidy)
	if err != nil || target.Hostname() != s.Address() || target.Scheme != "http" {
		return "it leads to " + location
	}
	return ""
}

// redirects looks for ways to have the hub send people elsewhere.
func (s *scene) redirects(t *testing.T) {
	want.Differ(t, "", s.leads(t, &http.Response{Header: http.Header{"Location": {"//evil.test/"}}}), "the control")
	login := func(next string, wanted int) *http.Response {
		b := s.browser(t, "bob")
		_, err := b.Open(t.Context(), "/hub/login")
		want.OK(t, err)
		cookies := b.Cookies("/hub/login")
		token, _, _ := strings.Cut(cookies[strings.Index(cookies, "_xsrf=")+6:], ";")
		form := url.Values{"username": {"bob"}, "password": {passwordOf("bob")}, "_xsrf": {token}}
		response, _ := s.raw(t, "POST", "/hub/login?next="+url.QueryEscape(next), form.Encode(), "Cookie: "+cookies, "Content-Type: application/x-www-form-urlencoded",
			"Origin: "+s.url(), "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
		want.Equal(t, wanted, response.StatusCode, "the login with next="+next)
		return response
	}
	want.Contains(t, login("/hub/token", http.StatusFound).Header.Get("Location"), "/hub/token")
	for _, next := range attacks.Elsewhere {
		s.note(t, "a login that leads to "+next, s.leads(t, login(strings.ReplaceAll(next, "HOST", s.Address()), http.StatusFound)))
	}
	for _, target := range attacks.Leading {
		got := ""
		for _, who := range []*client.Browser{nil, s.bob} {
			response, _ := s.get(t, who, target)
			got += s.leads(t, response)
		}
		s.note(t, "a redirect by "+target, got)
	}
	response := login("/hub/home\r\nX-Planted: 1\r\nSet-Cookie: planted=1", http.StatusFound)
	s.note(t, "a header in a redirect", response.Header.Get("X-Planted")+lookFor(strings.Join(response.Header["Set-Cookie"], " "), "planted"))
}

// strangers are those without an account.
func (s *scene) strangers(t *testing.T) {
	_, body := s.get(t, s.alice, "/hub/api/user", "X-XSRFToken: "+s.xsrf(s.alice))
	want.Contains(t, body, `"alice"`)
	for _, header := range attacks.Impostors {
		response, body := s.get(t, nil, "/hub/api/user", header)
		s.note(t, "somebody by the header "+header, lookFor(body, `"alice"`)+opened(response.StatusCode))
	}
	for _, path := range []string{"/hub/metrics", "/metrics", "/hub/api/users", "/hub/api/info", "/hub/api/proxy", "/hub/admin", "/hub/signup", "/hub/break-glass", "/hub/authorize/bob",
		"/hub/static/../../../../../../etc/passwd", "/hub/static/..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd", "/hub/static/components/%2e%2e/%2e%2e/%2e%2e/templates/login.html",
		"/api/routes", "/hub/user-label/carol", "/services/tljh-installer/", "/services/cull-idle/"} {
		response, body := s.get(t, nil, path)
		s.note(t, "something for a stranger at "+path, opened(response.StatusCode)+lookFor(body, "root:x:"))
	}
	pid := s.property(t, "configurable-http-proxy.service", "MainPID")
	for _, target := range attacks.Indigestible {
		begun := time.Now()
		_, _ = s.handshake(t, 2*time.Second, target)
		s.hopeless(t, target)
		t.Logf("%s took %s", target, time.Since(begun).Round(100*time.Millisecond))
		got := ""
		if now := s.property(t, "configurable-http-proxy.service", "MainPID"); now != pid {
			got, pid = "it was started anew as "+now, now
		}
		s.note(t, "the end of the proxy by "+target, got)
	}
	s.awaitHub(t, 30*time.Second)
	s.firstLogins(t)
	s.large(t)
}

// large fills the hub's memory with requests that never end: through the edge, as a stranger does, and at the ports that programs of the machine reach.
func (s *scene) large(t *testing.T) {
	want.OK(t, s.Guest.Write(t.Context(), "/root/large.py", 0o600, strings.NewReader(attacks.Large)))
	memory := func() int {
		kilobytes, err := strconv.Atoi(strings.TrimSpace(s.MustSh(t, "awk '/VmRSS/ {print $2}' /proc/"+s.property(t, "jupyterhub.service", "MainPID")+"/status")))
		want.OK(t, err)
		return kilobytes >> 10
	}
	for _, port := range []string{"80", "971", "972"} {
		before := memory()
		attack, err := s.Guest.Start(t.Context(), "/opt/tljh/hub/bin/python", "/root/large.py", "127.0.0.1", port, "20", "20")
		want.OK(t, err)
		want.True(t, guestAwait(t, time.Minute, func() bool { return strings.Contains(attack.Output(), "sent") }), "the attack does not get going: "+attack.Output())
		got := ""
		if now := memory(); now > before+100 {
			got = fmt.Sprintf("the hub took %d MB more", now-before)
		}
		status, _ := s.ask(t, "/hub/login", "")
		want.Equal(t, http.StatusOK, status)
		_ = attack.Stdin().Close()
		_, _ = attack.Wait()
		s.note(t, "the hub's memory by large requests at port "+port, got)
	}
}

// hopeless sends a request that may get no answer at all.
func (s *scene) hopeless(t *testing.T, target string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(s.Address(), "80"), 10*time.Second)
	want.OK(t, err)
	defer conn.Close()
	want.OK(t, conn.SetDeadline(time.Now().Add(2*time.Second)))
	_, _ = io.WriteString(conn, "GET "+target+" HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n")
	_, _ = io.Copy(io.Discard, conn)
}

// firstLogins tries to come in as somebody else by choosing a password.
func (s *scene) firstLogins(t *testing.T) {
	for _, name := range []string{"Alice", "ALICE ", " alice", "alice\x00", "ａｌｉｃｅ", "al\u0131ce", "alice\u200b", "Carol", "tljh-probe", "tljh-env", "root", "jupyter-carol"} {
		b := s.browser(t, name)
		got := ""
		if err := b.Login(t.Context(), "chosen-by-a-stranger"); err == nil {
			got = "came in as " + name
		}
		s.note(t, fmt.Sprintf("a first login as %q", name), got)
	}
	// Each of many who come at the same moment believes that the password is theirs.
	enrol(t, s.alice, "dave")
	var wg sync.WaitGroup
	came := make([]bool, 6)
	for n := range came {
		wg.Go(func() {
			b, err := client.New(s.url(), "dave")
			came[n] = err == nil && b.Login(t.Context(), "chosen-by-number-"+strconv.Itoa(n)) == nil
		})
	}
	wg.Wait()
	winners := 0
	for _, in := range came {
		if in {
			winners++
		}
	}
	want.True(t, winners > 0, "nobody came in as dave")
	s.note(t, "two passwords for one name", map[bool]string{true: fmt.Sprintf("%d came in", winners)}[winners > 1])
	// A limit of attempts that goes by what a client says of itself would be none.
	refused := ""
	for n := range 9 {
		header := []string{fmt.Sprintf("X-Forwarded-For: 198.51.100.%d", n), fmt.Sprintf("X-Real-IP: 198.51.100.%d", n), "Connection: close, X-Forwarded-For, X-Forwarded-Proto"}
		page, _ := s.get(t, nil, "/hub/login", header...)
		cookies, token := "", ""
		for _, cookie := range page.Cookies() {
			cookies += cookie.Name + "=" + cookie.Value + "; "
			if cookie.Name == "_xsrf" {
				token = cookie.Value
			}
		}
		form := url.Values{"username": {"alice"}, "password": {"guess-number-" + strconv.Itoa(n)}, "_xsrf": {token}}
		response, _ := s.raw(t, "POST", "/hub/login", form.Encode(), append(header, "Cookie: "+cookies, "Content-Type: application/x-www-form-urlencoded")...)
		refused += strconv.Itoa(response.StatusCode) + " "
	}
	want.Contains(t, refused, "403")
	s.note(t, "more guesses by claiming other addresses", map[bool]string{true: refused}[!strings.Contains(refused, "429")])
	journal := s.MustSh(t, "journalctl -b -u jupyterhub -o cat | grep 'login refused'")
	s.note(t, "an address of one's choice in the journal", lookFor(journal, "198.51.100."))
}

// xsrf is the token that the hub's pages give a browser.
func (s *scene) xsrf(b *client.Browser) string {
	_, after, _ := strings.Cut(b.Cookies("/hub/"), "_xsrf=")
	token, _, _ := strings.Cut(after, ";")
	return token
}

// api tries what pages of other sites, and students with their own cookies, may send to the hub's API.
func (s *scene) api(t *testing.T) {
	add := func(name, cookies, token string, header ...string) int {
		header = append(header, "Cookie: "+cookies)
		if token != "" {
			header = append(header, "X-XSRFToken: "+token)
		}
		response, _ := s.raw(t, "POST", "/hub/api/users", `{"usernames": ["`+name+`"]}`, header...)
		return response.StatusCode
	}
	const kind = "Content-Type: application/json"
	own := "Origin: " + s.url()
	want.Equal(t, http.StatusCreated, add("control", s.alice.Cookies("/hub/"), s.xsrf(s.alice), kind, own))
	alices := s.alice.Cookies("/hub/")
	withBobs := strings.Replace(alices, "_xsrf="+s.xsrf(s.alice), "_xsrf="+s.xsrf(s.bob), 1)
	for what, status := range map[string]int{
		"a page of another site adds a user, with a text for JSON": add("planted1", alices, "", "Content-Type: text/plain", "Origin: http://evil.test", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"),
		"a page of another site adds a user without an origin":     add("planted2", alices, "", kind),
		"a token of bob's pages with alice's session":              add("planted3", alices, s.xsrf(s.bob), kind, own),
		"a cookie and a token of bob's with alice's session":       add("planted4", withBobs, s.xsrf(s.bob), kind, own),
		"a student adds a user":                                    add("planted5", s.bob.Cookies("/hub/"), s.xsrf(s.bob), kind, own),
		"another method by a header":                               s.override(t),
	} {
		s.note(t, what, opened(status))
	}
	_, body := s.get(t, s.alice, "/hub/api/users", "X-XSRFToken: "+s.xsrf(s.alice))
	want.Contains(t, body, `"control"`)
	s.note(t, "a user that nobody but an attacker added", lookFor(body, "planted"))
	response, _ := s.raw(t, "POST", "/hub/login", "username=bob&password="+passwordOf("bob"), "Content-Type: application/x-www-form-urlencoded", "Origin: http://evil.test", "Sec-Fetch-Site: cross-site")
	s.note(t, "a page of another site logs its visitor in as somebody", map[bool]string{true: "status 302"}[response.StatusCode == http.StatusFound])
	for _, call := range []struct {
		method, path string
		body         any
	}{
		{"POST", "users/bob/servers/second", nil}, {"POST", "users/bob/tokens", map[string]any{"scopes": []string{"admin:users"}}}, {"POST", "users/bob/tokens", map[string]any{"roles": []string{"admin"}}},
		{"POST", "users/bob/tokens", map[string]any{"scopes": []string{"access:servers"}}}, {"PATCH", "users/bob", map[string]any{"admin": true, "name": "alice"}}, {"POST", "users/bob", map[string]any{}},
		{"POST", "shares/carol/", map[string]string{"user": "bob"}}, {"POST", "share-codes/carol/", map[string]any{}}, {"GET", "users/carol/server/progress", nil}, {"GET", "users/carol/tokens", nil},
		{"POST", "users/carol/server", nil}, {"PUT", "groups/x", map[string]any{}}, {"POST", "proxy", map[string]any{"port": 1}}, {"POST", "oauth2/token", map[string]any{"grant_type": "password", "username": "alice"}},
	} {
		status, err := s.bob.API(t.Context(), call.method, call.path, call.body, nil)
		want.True(t, status != http.StatusInternalServerError, fmt.Sprintf("%s %s: %v", call.method, call.path, err))
		s.note(t, fmt.Sprintf("a student's %s %s %v", call.method, call.path, call.body), opened(status))
	}
	s.oauth(t)
	s.stolen(t)
}

// stolen is a session that somebody else got hold of.
func (s *scene) stolen(t *testing.T) {
	enrol(t, s.alice, "erin")
	thief, erin := s.login(t, "erin", passwordOf("erin")), s.login(t, "erin", passwordOf("erin"))
	_, err := thief.Me(t.Context())
	want.OK(t, err)
	_, err = erin.Open(t.Context(), "/hub/auth/change-password")
	want.OK(t, err)
	page, err := erin.Submit(t.Context(), "/hub/auth/change-password", url.Values{"old_password": {passwordOf("erin")}, "password": {"erins-new-password"}, "repeat": {"erins-new-password"}})
	want.OK(t, err)
	want.Equal(t, http.StatusOK, page.Status)
	_, err = erin.Me(t.Context())
	want.OK(t, err, "the session that changed the password")
	status, _ := thief.API(t.Context(), http.MethodGet, "users/erin", nil, nil)
	s.note(t, "a stolen session, after the password was changed", opened(status))
}

func (s *scene) override(t *testing.T) int {
	t.Helper()
	response, _ := s.raw(t, "GET", "/hub/api/users/control?_method=DELETE", "", "Cookie: "+s.alice.Cookies("/hub/"), "X-HTTP-Method-Override: DELETE", "X-HTTP-Method: DELETE", "X-Method-Override: DELETE",
		"X-XSRFToken: "+s.xsrf(s.alice))
	want.Equal(t, http.StatusOK, response.StatusCode)
	again, _ := s.raw(t, "GET", "/hub/api/users/control", "", "Cookie: "+s.alice.Cookies("/hub/"), "X-XSRFToken: "+s.xsrf(s.alice))
	if again.StatusCode != http.StatusOK {
		return http.StatusNoContent
	}
	return http.StatusForbidden
}

// oauth tries to get a code for a server that somebody else is meant to open.
func (s *scene) oauth(t *testing.T) {
	authorize := func(who *client.Browser, server, back string) string {
		query := url.Values{"client_id": {"jupyterhub-user-" + server}, "redirect_uri": {back}, "response_type": {"code"}, "state": {"x"}}
		response, body := s.get(t, who, "/hub/api/oauth2/authorize?"+query.Encode())
		return response.Header.Get("Location") + " " + body
	}
	want.Contains(t, authorize(s.bob, "bob", "/user/bob/oauth_callback"), "code=")
	for what, got := range map[string]string{
		"a code for another's server":                               authorize(s.bob, "carol", "/user/carol/oauth_callback"),
		"a code of carol's for bob's server":                        authorize(s.carol, "bob", "/user/bob/oauth_callback"),
		"a code of carol's, sent to bob's server":                   authorize(s.carol, "carol", "/user/bob/oauth_callback"),
		"a code of carol's, sent to another site":                   authorize(s.carol, "carol", "http://evil.test/user/carol/oauth_callback"),
		"a code of carol's, sent to a path above":                   authorize(s.carol, "carol", "/user/carol/../bob/oauth_callback"),
		"a code of alice's for bob's server, without being asked":   authorize(s.alice, "bob", "/user/bob/oauth_callback"),
		"a code of alice's for the installer, sent to bob's server": authorize(s.alice, "../service-tljh-installer", "/user/bob/oauth_callback"),
	} {
		s.note(t, what, lookFor(got, "code="))
	}
	response, _ := s.raw(t, "POST", "/hub/api/oauth2/authorize?client_id=jupyterhub-user-bob&redirect_uri=%2Fuser%2Fbob%2Foauth_callback&response_type=code", "scopes=identify", "Cookie: "+s.alice.Cookies("/hub/"),
		"Content-Type: application/x-www-form-urlencoded", "Origin: http://evil.test", "Sec-Fetch-Site: cross-site")
	s.note(t, "a page of another site agrees in alice's name", lookFor(response.Header.Get("Location"), "code="))
}

// smuggled hides requests in others.
func (s *scene) smuggled(t *testing.T) {
	s.raw(t, "GET", "/hub/smuggled-control", "")
	for n, request := range attacks.Smuggled {
		inner := strings.ReplaceAll(request.Body, "PATH", "/hub/smuggled-"+strconv.Itoa(n))
		hidden := len("GET /hub/smuggled-0 HTTP/1.1\r\nHost: hub\r\n\r\n")
		body := strings.NewReplacer("CHUNK", strconv.FormatInt(int64(hidden), 16), "LONG", strconv.FormatInt(int64(hidden+7), 16)).Replace(inner)
		head := strings.ReplaceAll(request.Head, "SIZE", strconv.Itoa(len(body)))
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(s.Address(), "80"), 10*time.Second)
		want.OK(t, err)
		want.OK(t, conn.SetDeadline(time.Now().Add(3*time.Second)))
		_, _ = io.WriteString(conn, head+"\r\nHost: hub\r\n\r\n"+body)
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}
	for range 3 { // whoever comes next would get the answer
		page, body := s.get(t, nil, "/hub/login")
		want.Equal(t, http.StatusOK, page.StatusCode)
		want.Lacks(t, body, "smuggled")
	}
	journal := s.MustSh(t, "journalctl -b -u jupyterhub -o cat | grep smuggled")
	want.Contains(t, journal, "smuggled-control")
	for n, request := range attacks.Smuggled {
		s.note(t, "a request behind "+request.Name, lookFor(journal, "smuggled-"+strconv.Itoa(n)))
	}
}

// collision returns two names whose accounts would have the same name.
func collision() (string, string) {
	seen := map[string]string{}
	for n := 0; ; n++ {
		name := "collision-of-names-" + strconv.Itoa(n)
		sum := fmt.Sprintf("%x", sha256.Sum256([]byte("jupyter-"+name)))[:5]
		if other, ok := seen[sum]; ok {
			return other, name
		}
		seen[sum] = name
	}
}

// names has the teacher add students whose names are traps.
func (s *scene) names(t *testing.T) {
	first, second := collision()
	one := s.student(t, s.alice, first)
	compute(t, kernel(t, one), "open('diary', 'w').write('mine')")
	want.OK(t, one.StopServer(t.Context(), first))
	enrol(t, s.alice, second)
	other := s.browser(t, second)
	got := ""
	if err := other.Login(t.Context(), passwordOf(second)); err == nil {
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		if other.Spawn(ctx) == nil {
			got = "a server in the account of " + first
		}
	}
	s.note(t, "the account of somebody whose name is shortened to the same", got)
	for _, name := range []string{"tljh-env", "-rf", "{USERNAME}", "../jupyter-carol", "a;touch /root/pwned-name", "bob/../carol"} {
		got := ""
		status, err := s.alice.API(t.Context(), http.MethodPost, "users", map[string]any{"usernames": []string{name}}, nil)
		b := s.browser(t, name)
		if err == nil && b.Login(t.Context(), "has-an-odd-name-1") == nil {
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			if b.Spawn(ctx) == nil && b.OpenLab(ctx) == nil {
				who := compute(t, kernel(t, b), "import os, pwd; e = pwd.getpwuid(os.getuid()); print(e.pw_name, e.pw_dir, os.getcwd(), os.path.exists('diary'))")
				fields := strings.Fields(who)
				if len(fields) != 4 || !strings.HasPrefix(fields[0], "jupyter-") || fields[1] != "/home/"+fields[0] || fields[2] != fields[1] || fields[3] != "False" {
					got = "works as " + who
				}
				_ = b.StopServer(ctx, name)
			}
			cancel()
		}
		t.Logf("the name %q: status %d", name, status)
		s.note(t, fmt.Sprintf("the name %q", name), got+s.MustSh(t, "ls /root/pwned-* 2>/dev/null; true"))
	}
}

// access is who may do what with folders of root's.
const access = `/opt/tljh/hub/bin/python -c "
import os
for path in ('/root', '/root/decoy', '/root/decoy/file', '/etc', '/etc/shadow', '/opt/tljh/state', '/opt/tljh/state/proxy.env', '/home/jupyter-carol', '/home/jupyter-carol/diary'):
    s = os.stat(path)
    print(path, oct(s.st_mode), s.st_uid, s.st_gid, [(n, os.getxattr(path, n)) for n in os.listxattr(path) if 'acl' in n])
"`

// sharedTraps has a student prepare a shared folder for the moment in which root opens it for others.
func (s *scene) sharedTraps(t *testing.T) {
	s.MustSh(t, "mkdir -p /root/decoy && echo x >/root/decoy/file")
	before := s.MustSh(t, access)
	s.set(t, "set shared_folders.data.read '[all]'", "set shared_folders.data.write '[bob]'")
	bob := s.again(t, s.bob)
	compute(t, bob, `import os
os.chdir("shared/data")
open("plain", "w").write("x")
for name, target in {"root": "/root", "shadow": "/etc/shadow", "state": "/opt/tljh/state", "carol": "/home/jupyter-carol"}.items():
    os.symlink(target, name)
os.mkfifo("fifo")
os.makedirs("a/b/c")
os.symlink("/root/decoy", "a/trap")`)
	// A folder and a link change places all the time.
	s.MustSh(t, `cat >/opt/attacks/exchange.py <<'X'
import ctypes, os
libc = ctypes.CDLL(None)
os.chdir("/srv/tljh/data/a")
while not os.path.exists("/opt/attacks/enough"):
    libc.renameat2(-100, b"trap", -100, b"b", 2)
X
systemd-run --quiet --unit=exchange -p User=jupyter-bob /opt/tljh/hub/bin/python /opt/attacks/exchange.py`)
	for _, writers := range []string{"[carol]", "[bob, carol]"} {
		s.set(t, "set shared_folders.data.write '"+writers+"'")
	}
	s.MustSh(t, "touch /opt/attacks/enough; while systemctl is-active --quiet exchange; do sleep 0.1; done")
	want.Equal(t, "fine", compute(t, s.again(t, s.carol), "open('shared/data/plain', 'a').write('more'); print('fine')"), "the change took place")
	got := ""
	if after := s.MustSh(t, access); after != before {
		got = "before:\n" + before + "\nafter:\n" + after
	}
	s.note(t, "links in a shared folder while root opens it", got)
	s.carols = kernel(t, s.carol)
	text := compute(t, s.carols, "import os\nfor name in ('root', 'shadow', 'state'):\n  try: print(os.listdir('shared/data/' + name))\n  except OSError as e: print(type(e).__name__)")
	s.note(t, "what lies behind links in a shared folder", lookFor(text, "["))
	s.sharedHolds(t)
}

// sharedHolds has a student try to keep a shared folder as it is: by a file that has no room for other rights, and by another name for somebody's file.
func (s *scene) sharedHolds(t *testing.T) {
	compute(t, s.carols, "open('shared/data/work', 'w').write('carol')")
	compute(t, kernel(t, s.bob), `import os, itertools
os.link("/srv/tljh/data/work", "kept")
open("/srv/tljh/data/full", "w").close()
os.removexattr("/srv/tljh/data/full", "system.posix_acl_access")
for size in (2000, 500, 100, 20, 4, 1):
    for number in range(200):
        try:
            os.setxattr("/srv/tljh/data/full", f"user.{size}.{number}", b"x" * size)
        except OSError:
            break`)
	s.set(t, "set shared_folders.data.write '[admins, bob, carol]'")
	got := ""
	if told := s.must(t, "tljh-install config get shared_folders.data.write"); !strings.Contains(told, "admins") {
		got = "the config went back: " + told
	}
	s.note(t, "a file in a shared folder without room for other rights", got)
	s.set(t, "unset shared_folders.data")
	text := compute(t, kernel(t, s.bob), "try: open('kept', 'a').write('mine'); print('written')\nexcept OSError as e: print(type(e).__name__)")
	s.note(t, "another name for somebody's file, when the folder is closed", lookFor(text, "written"))
	s.carols = kernel(t, s.carol)
}

// starts tries what begins with a server: things a login shell would read, processes left behind, and what can be seen while another's server starts.
func (s *scene) starts(t *testing.T) {
	bob := kernel(t, s.bob)
	compute(t, bob, `import os, subprocess
home = os.path.expanduser("~")
def put(path, text):
    path = os.path.join(home, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, "a").write(text)
for path in (".profile", ".bash_profile", ".bash_login", ".bashrc", ".zshenv", ".zprofile", ".bash_env", ".xsessionrc"):
    put(path, "export PLANTED=canary LD_PRELOAD=" + home + "/planted.so PYTHONPATH=" + home + " BASH_ENV=" + home + "/.bash_env\n")
for path in (".pam_environment", ".config/environment.d/planted.conf", ".config/environment"):
    put(path, "PLANTED=canary\nLD_PRELOAD=" + home + "/planted.so\n")
put(".config/systemd/user/planted.service", "[Service]\nExecStart=/usr/bin/touch " + home + "/planted-unit\n[Install]\nWantedBy=default.target\n")
put(".config/systemd/user/jupyter-bob.service.d/planted.conf", "[Service]\nEnvironment=PLANTED=canary\n")
put(".config/autostart/planted.desktop", "[Desktop Entry]\nExec=touch " + home + "/planted-desktop\n")
subprocess.run(["bash", "-c", "trap '' TERM HUP INT; (setsid bash -c 'trap \"\" TERM HUP INT; exec -a left-behind sleep 3000' &) & sleep 1"], start_new_session=True)`)
	const left = "grep -al ^left-behind /proc/[0-9]*/cmdline 2>/dev/null || true"
	want.Differ(t, "", s.MustSh(t, left), "the process that is to be left behind")
	want.Contains(t, s.MustSh(t, "runuser -u jupyter-bob -- bash -lc 'echo $PLANTED'"), "canary")
	want.OK(t, s.bob.StopServer(t.Context(), "bob"))
	s.note(t, "a process that outlives its server", s.MustSh(t, left))
	start(t, s.bob)
	server := s.property(t, "jupyter-bob.service", "MainPID")
	s.note(t, "a variable of the home in the server", lookFor(s.MustSh(t, "tr '\\0' '\\n' </proc/"+server+"/environ"), "canary"))
	s.note(t, "a library of the home in the server", lookFor(s.MustSh(t, "cat /proc/"+server+"/maps"), "/home/"))
	s.note(t, "a unit of the home", s.MustSh(t, "ls -A /home/jupyter-bob | grep ^planted- || true"))

	want.OK(t, s.carol.StopServer(t.Context(), "carol"))
	want.OK(t, s.Write(t.Context(), "/opt/attacks/lurk.py", 0o644, strings.NewReader(attacks.Lurk)))
	hub := map[string]string{
		"proxy": s.MustSh(t, "sed 's/.*=//' /opt/tljh/state/proxy.env"), "installer": s.MustSh(t, "cat /opt/tljh/state/installer.token"),
		"token": "JUPYTERHUB_API_TOKEN=", "password": "password-on-a-line", "canary": "a-late-canary",
	}
	secrets, err := json.Marshal(hub)
	want.OK(t, err)
	want.OK(t, s.Write(t.Context(), "/root/chosen", 0o600, strings.NewReader("password-on-a-line\n")))
	want.OK(t, s.Write(t.Context(), "/opt/attacks/secrets.json", 0o644, bytes.NewReader(secrets)))
	s.MustSh(t, "mkdir -p /srv/late; rm -f /opt/attacks/enough; systemd-run --quiet --unit=lurking -p User=jupyter-bob -p StandardOutput=file:/root/lurked /opt/tljh/hub/bin/python /opt/attacks/lurk.py "+
		"/opt/attacks/secrets.json /opt/attacks/enough /run/tljh /run/systemd/transient /srv/late /opt/tljh/config")
	start(t, s.carol)
	s.MustSh(t, "tljh-install password carol </root/chosen; echo a-late-canary >/srv/late/file; sleep 1; touch /opt/attacks/enough; while systemctl is-active --quiet lurking; do sleep 0.1; done")
	var lurked struct {
		Rounds int
		Seen   [][2]string
	}
	text := s.MustSh(t, "cat /root/lurked")
	want.OK(t, json.Unmarshal([]byte(text), &lurked), text)
	want.True(t, lurked.Rounds > 5, text)
	want.Contains(t, text, "canary")
	for name := range hub {
		got := ""
		for _, seen := range lurked.Seen {
			// What runs as bob may know the token of bob's own server.
			if seen[0] == name && (name != "token" || !strings.HasPrefix(seen[1], "/proc/")) {
				got += seen[1] + " "
			}
		}
		if name != "canary" {
			s.note(t, "a secret ("+name+") that shows for a moment", got)
		}
	}
}

// packages installs packages of Debian, if they are not there.
func (s *scene) packages(t *testing.T, names string) {
	s.MustSh(t, "dpkg -s "+names+" >/dev/null 2>&1 || { export DEBIAN_FRONTEND=noninteractive; apt-get update -qq && apt-get install -y -qq --no-install-recommends "+names+" >/dev/null; }")
}

// git installs it, if it is not there.
func (s *scene) git(t *testing.T) {
	s.packages(t, "git")
}

// sources has root apply descriptions of environments that somebody made against the machine.
func (s *scene) sources(t *testing.T) {
	s.git(t)
	s.MustSh(t, "echo a-secret-of-root >/root/canary; chmod 600 /root/canary; rm -f /root/pwned*")
	shadow := s.MustSh(t, "grep ^root: /etc/shadow | sha256sum; stat -c %a /etc/shadow")
	live := s.MustSh(t, "readlink /opt/tljh/user")
	for n, source := range attacks.Sources {
		folder := "/srv/source-" + strconv.Itoa(n)
		made := s.run(t, "mkdir -p "+folder+" && cd "+folder+" && "+source.Make)
		want.Equal(t, 0, made.Code, source.Name+": "+made.Output())
		r := s.run(t, "cd "+folder+" && timeout 120 tljh-install env apply "+source.Apply+" </dev/null")
		t.Logf("%s: exit %d: %s", source.Name, r.Code, endOf(r.Output()))
		got := s.MustSh(t, "ls -d /root/pwned* 2>/dev/null; true") + lookFor(r.Output(), "a-secret-of-root")
		if r.Code == 0 {
			got += "it was applied"
		}
		if now := s.MustSh(t, "grep ^root: /etc/shadow | sha256sum; stat -c %a /etc/shadow"); now != shadow {
			got += "/etc/shadow was changed"
		}
		s.note(t, "a source with "+source.Name, got)
		s.MustSh(t, "rm -rf /root/pwned*")
	}
	want.Equal(t, live, s.MustSh(t, "readlink /opt/tljh/user"))
}

func endOf(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], " | ")
}

// usersPort has a student take the port that single-user servers are to be served on.
func (s *scene) usersPort(t *testing.T) {
	want.OK(t, s.Write(t.Context(), "/opt/attacks/take.py", 0o644, strings.NewReader(attacks.Take)))
	attempt := func() string {
		t.Helper()
		s.MustSh(t, "rm -f /home/jupyter-bob/said; systemd-run --quiet --collect --unit=taking -p User=jupyter-bob "+userPython+" /opt/attacks/take.py "+s.Address()+" 8443 /home/jupyter-bob/said")
		guest.Until(t, 30*time.Second, s.says("test -s /home/jupyter-bob/said"))
		return s.MustSh(t, "cat /home/jupyter-bob/said")
	}
	want.Equal(t, "taken", attempt())
	r := s.run(t, "tljh-install config set hub.user_port 8443 --reload")
	t.Logf("with a port that is taken: exit %d: %s", r.Code, endOf(r.Output()))
	s.note(t, "the port that single-user servers are to get", map[bool]string{true: "it is a student's, and the config is in effect"}[r.Code == 0])
	s.MustSh(t, "systemctl stop taking")
	s.awaitHub(t, 60*time.Second)
	s.set(t, "set hub.user_port 8443")
	said := attempt()
	s.note(t, "the port of single-user servers beside the edge", lookFor(said, "taken"))
	want.Contains(t, said, "in use")
}
