package integration

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"tljh/integration-tests/client"
	"tljh/integration-tests/want"
	"tljh/internal/layout"
)

const (
	userSite = "/opt/tljh/user/lib/python3.14/site-packages"
	noteFile = "SAFE-START.md"
	prefix   = "import sys; print(sys.prefix)"
)

// TestABrokenEnvironmentKeepsNobodyFromTheirFiles breaks what all users share, in every way that an admin at work may.
func TestABrokenEnvironmentKeepsNobodyFromTheirFiles(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := installed(t)
	teacher := h.admin(t)
	bob := h.student(t, teacher, "bob")
	compute(t, kernel(t, bob), "open('diary', 'w').write('mine')")
	want.OK(t, bob.StopServer(t.Context(), "bob"))

	for n, broken := range []struct{ name, breaking, repair, cause string }{
		{"JupyterHub is gone", "rm -rf " + userSite + "/jupyterhub", "tljh-install env repair", "the server program does not run"},
		{"JupyterHub is another", "PIP_CERT=/etc/ssl/certs/ca-certificates.crt /opt/tljh/user/bin/python -m pip install -q --no-deps --root-user-action=ignore jupyterhub==1.0.0", "tljh-install env repair", "has JupyterHub 1.0.0"},
		{"a module fails that no check imports", "echo 'raise ImportError(1)' > " + userSite + "/jupyter_server/services/contents/handlers.py", "tljh-install env repair", "servers end while they start"},
		{"Python is gone", "mv /opt/tljh/user/bin/python /root/kept", "mv /root/kept /opt/tljh/user/bin/python", "/opt/tljh/user/bin/python is missing"},
		{"the program is gone", "rm /opt/tljh/user/bin/jupyterhub-singleuser", "tljh-install env rollback --yes 1", "jupyterhub-singleuser is missing"},
		{"the link leads nowhere", "ln -sfn generations/nowhere /opt/tljh/user", "tljh-install env repair", "is missing or cannot be run"},
	} {
		t.Run(broken.name, func(t *testing.T) {
			h.must(t, broken.breaking)
			h.worksFromRescue(t, bob)
			h.tellsAdmins(t, teacher, broken.cause)
			if n == 0 {
				h.worksFromRescue(t, teacher)
				want.OK(t, teacher.StopServer(t.Context(), admin))
				want.Equal(t, "1", h.MustSh(t, "journalctl -u jupyterhub | grep -c 'CRITICAL.*Servers start from the rescue environment'"), "times that it was said")
			}
			want.OK(t, bob.StopServer(t.Context(), "bob"))
			live := h.MustSh(t, "readlink "+layout.User)
			h.must(t, broken.repair)
			if strings.HasSuffix(broken.repair, "repair") && !strings.Contains(live, "nowhere") {
				want.Equal(t, live, h.MustSh(t, "readlink "+layout.User), "the environment that was repaired in its place")
			}
			h.worksAsUsual(t, bob)
			want.OK(t, bob.StopServer(t.Context(), "bob"))
			page, err := teacher.Open(t.Context(), "/hub/home")
			want.OK(t, err)
			want.Lacks(t, page.Body, "tljh-rescue")
			want.Equal(t, 0, h.run(t, "tljh-install status").Code)
		})
	}
	t.Run("an installation does not take it for working", func(t *testing.T) {
		h.must(t, "rm -rf "+userSite+"/jupyter_server && tljh-install config set limits.memory 2G")
		r := h.run(t, "tljh-install install")
		want.Equal(t, exitIncomplete, r.Code, r.Output())
		want.Contains(t, r.Output(), "the rescue environment", "tljh-install env repair")
		h.must(t, "tljh-install env repair && tljh-install install")
	})
}

func home(b *client.Browser) string { return "/home/jupyter-" + b.User }

var script = regexp.MustCompile(`src="([^"]*/static/lab/[^"]+\.js[^"]*)"`)

// worksFromRescue starts a server and works in it; its user is told why it is not as usual.
func (h *hub) worksFromRescue(t *testing.T, b *client.Browser) {
	t.Helper()
	begin := time.Now()
	start(t, b)
	t.Logf("%s: the start from the rescue environment took %.1f s", b.User, time.Since(begin).Seconds())
	k := kernel(t, b)
	want.Contains(t, compute(t, k, prefix), "/opt/tljh/generations/hub-", "/rescue")
	if b.User != admin {
		want.Equal(t, "mine", compute(t, k, "print(open('diary').read())"))
	}
	want.Equal(t, "42", compute(t, k, "import subprocess, sys; print(subprocess.run([sys.executable, '-c', 'print(6*7)'], capture_output=True, text=True).stdout)"))
	_, err := b.ServerAPI(t.Context(), b.User, http.MethodPost, "terminals", nil, nil)
	want.OK(t, err, "opening a terminal")
	want.Contains(t, h.shown(t, b), "rescue environment", "sudo tljh-install env repair")
}

// shown is the note that the user's server opens with.
func (h *hub) shown(t *testing.T, b *client.Browser) string {
	t.Helper()
	page, err := b.Open(t.Context(), "/user/"+b.User+"/")
	want.OK(t, err)
	want.Equal(t, "/user/"+b.User+"/lab/tree/"+noteFile, page.URL.Path)
	source := script.FindStringSubmatch(page.Body)
	want.True(t, source != nil, "JupyterLab's page loads nothing")
	lab, err := b.Open(t.Context(), source[1])
	want.OK(t, err)
	want.Equal(t, http.StatusOK, lab.Status, source[1])
	var note struct{ Content string }
	_, err = b.ServerAPI(t.Context(), b.User, http.MethodGet, "contents/"+noteFile, nil, &note)
	want.OK(t, err)
	want.Equal(t, "jupyter-"+b.User, h.MustSh(t, "stat -c %U "+home(b)+"/"+noteFile))
	return note.Content
}

func (h *hub) worksAsUsual(t *testing.T, b *client.Browser) {
	t.Helper()
	start(t, b)
	want.Contains(t, compute(t, kernel(t, b), prefix), "/opt/tljh/generations/user-")
	want.Equal(t, 1, h.run(t, "ls "+home(b)+"/"+noteFile+" 2>/dev/null | wc -l | grep -v 0").Code, "the note is there still")
}

func (h *hub) tellsAdmins(t *testing.T, teacher *client.Browser, cause string) {
	t.Helper()
	page, err := teacher.Open(t.Context(), "/hub/home")
	want.OK(t, err)
	want.Contains(t, page.Body, "tljh-rescue", cause, "sudo tljh-install env repair")
	r := h.run(t, "tljh-install status")
	want.Differ(t, 0, r.Code, "status of a hub whose users' environment is broken")
	want.Contains(t, r.Output(), "rescue environment", cause, "tljh-install env repair")
	want.Contains(t, h.MustSh(t, "journalctl -u jupyterhub"), "USER ENVIRONMENT BROKEN", cause)
}

// TestOnesOwnFilesKeepNobodyOut is about what students set and install for themselves.
func TestOnesOwnFilesKeepNobodyOut(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := installed(t)
	teacher := h.admin(t)
	carol := h.student(t, teacher, "carol")
	want.OK(t, carol.StopServer(t.Context(), "carol"))
	own := func(name, text string) string {
		path := home(carol) + "/" + name
		data := base64.StdEncoding.EncodeToString([]byte(text + "\n"))
		return fmt.Sprintf("runuser -u jupyter-carol -- sh -c 'mkdir -p $(dirname %s) && echo %s | base64 -d > %s'", path, data, path)
	}

	for _, harmless := range []struct{ name, file, text string }{
		{"a broken package of the server", ".local/lib/python3.14/site-packages/jupyter_server/__init__.py", "raise SystemExit(3)"},
		{"settings with a wrong syntax", ".jupyter/jupyter_server_config.py", "c = = 1"},
		{"settings that are no JSON", ".jupyter/jupyter_server_config.json", "{"},
		{"settings that end the server, which it does not read", ".jupyter/jupyter_server_config.py", "import sys; sys.exit(3)"},
		{"a file that is called as a module", "tornado.py", "raise SystemExit(3)"},
	} {
		t.Run(harmless.name, func(t *testing.T) {
			h.must(t, own(harmless.file, harmless.text))
			h.worksAsUsual(t, carol)
			h.must(t, "rm -r "+home(carol)+"/"+harmless.file)
			want.OK(t, carol.StopServer(t.Context(), "carol"))
		})
	}
	// Only where an admin lets servers read them, settings can keep one from starting.
	h.set(t, "set user_environment.own_extensions true")
	safely := func(t *testing.T, settings string) {
		h.must(t, own(".jupyter/jupyter_server_config.py", settings)+" && "+own(".ipython/profile_default/startup/00.py", "x = 1"))
		start(t, carol)
		k := kernel(t, carol)
		want.Contains(t, compute(t, k, prefix), "/opt/tljh/generations/user-")
		want.Equal(t, "False", compute(t, k, "print('x' in globals())"), "IPython read what is left out")
		want.Contains(t, h.shown(t, carol), "without your own settings")
		want.Equal(t, 0, h.run(t, "tljh-install status").Code, "it is no business of the admins")
		want.OK(t, carol.StopServer(t.Context(), "carol"))
		want.Equal(t, "0", h.MustSh(t, "ls -d /run/tljh-safe-* 2>/dev/null | wc -l"))
		h.must(t, "rm -r "+home(carol)+"/.jupyter")
		h.worksAsUsual(t, carol)
		want.Equal(t, "1", compute(t, kernel(t, carol), "print(x)"))
		want.OK(t, carol.StopServer(t.Context(), "carol"))
	}
	t.Run("settings of a wrong kind", func(t *testing.T) { safely(t, "c.ServerApp.max_body_size = 'much'") })
	t.Run("settings that end the server", func(t *testing.T) { safely(t, "import sys; sys.exit(3)") })
	t.Run("where no note can be left", func(t *testing.T) {
		h.must(t, own(".jupyter/jupyter_server_config.py", "import sys; sys.exit(3)")+" && "+own(noteFile+"/x", "in the way"))
		start(t, carol)
		want.Equal(t, "in the way", h.MustSh(t, "cat "+home(carol)+"/"+noteFile+"/x"))
		want.OK(t, carol.StopServer(t.Context(), "carol"))
		h.must(t, "rm -r "+home(carol)+"/"+noteFile+" "+home(carol)+"/.jupyter")
	})
	t.Run("both are broken", func(t *testing.T) {
		h.must(t, own(".jupyter/jupyter_server_config.py", "import sys; sys.exit(3)")+" && mv /opt/tljh/user/bin/python /root/kept")
		start(t, carol)
		want.Contains(t, compute(t, kernel(t, carol), prefix), "/rescue")
		want.Contains(t, h.shown(t, carol), "rescue environment", "without your own settings")
		want.OK(t, carol.StopServer(t.Context(), "carol"))
		h.must(t, "mv /root/kept /opt/tljh/user/bin/python; rm -r "+home(carol)+"/.jupyter")
		h.worksAsUsual(t, carol)
		want.OK(t, carol.StopServer(t.Context(), "carol"))
	})
	hubConfig := func(t *testing.T, line string) {
		h.must(t, "echo '"+line+"' > /opt/tljh/config/jupyterhub_config.d/test.py && systemctl restart jupyterhub")
		h.awaitHub(t, 30*time.Second)
	}
	t.Run("arguments that nothing helps against", func(t *testing.T) {
		hubConfig(t, `c.Spawner.args = ["--ServerApp.ssl_options=nonsense"]`)
		want.Contains(t, spawnFailure(t, carol), "ended while it was starting", "ssl_options")
		want.Lacks(t, h.MustSh(t, "ls /opt/tljh/state"), "rescue.json")
	})
	t.Run("settings that never end", func(t *testing.T) {
		hubConfig(t, "c.Spawner.start_timeout = 120")
		safely(t, "while True: pass")
	})
}
