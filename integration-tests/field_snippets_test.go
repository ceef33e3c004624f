package integration

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tljh/integration-tests/client"
	"tljh/integration-tests/guest"
	"tljh/integration-tests/want"
)

const configD = "/opt/tljh/config/jupyterhub_config.d"

// snippet puts a file of field/snippets into the hub, alone, and restarts it.
func (h *hub) snippet(t *testing.T, name string) {
	t.Helper()
	file, err := os.Open(filepath.Join(guest.RepositoryRoot(), "integration-tests", "field", "snippets", name))
	want.OK(t, err)
	defer file.Close()
	h.MustSh(t, "rm -f "+configD+"/*")
	want.OK(t, h.Write(t.Context(), configD+"/"+name, 0o600, file))
	h.must(t, "systemctl restart jupyterhub")
	h.awaitHub(t, 60*time.Second)
}

// environ is what a user's server was started with.
func (h *hub) environ(t *testing.T, b *client.Browser) string {
	t.Helper()
	return h.MustSh(t, "tr '\\0' '\\n' < /proc/$(systemctl show --value -p MainPID jupyter-"+b.User+")/environ")
}

// notUsed looks for what everybody is told of a file that is not used.
func (h *hub) notUsed(t *testing.T, teacher, student *client.Browser, words ...string) {
	t.Helper()
	r := h.run(t, "tljh-install status")
	want.Equal(t, exitFailed, r.Code, r.Output())
	journal := h.MustSh(t, "journalctl -u jupyterhub --since -2min")
	page, err := teacher.Open(t.Context(), "/hub/home")
	want.OK(t, err)
	want.Contains(t, page.Body, "tljh-snippets")
	for _, each := range words {
		want.Contains(t, strings.Join(strings.Fields(r.Output()), " "), each)
		want.Contains(t, journal, each)
		want.Contains(t, page.Body, strings.ReplaceAll(each, "'", "&#39;"))
	}
	want.Contains(t, journal, "SNIPPET NOT USED")
	page, err = student.Open(t.Context(), "/hub/home")
	want.OK(t, err)
	want.Lacks(t, page.Body, "tljh-snippets", words[0])
}

// installerMay checks that the hub grants the installer's token what it needs.
func (h *hub) installerMay(t *testing.T) {
	t.Helper()
	for _, name := range []string{"info", "users", "proxy"} {
		status := h.MustSh(t, `curl -so /dev/null -w '%{http_code}' -H "Authorization: token $(cat /opt/tljh/state/installer.token)" http://127.0.0.1:971/hub/api/`+name)
		want.Equal(t, "200", status, name)
	}
}

// TestSnippetsOfRealSites puts files of jupyterhub_config.d into one hub, one after the other.
func TestSnippetsOfRealSites(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := installed(t)
	teacher := h.admin(t)
	enrol(t, teacher, "bob")
	bob := h.login(t, "bob", passwordOf("bob"))

	t.Run("the base classes have the last word", func(t *testing.T) {
		h.snippet(t, "servers.py")
		start(t, bob)
		environ := h.environ(t, bob)
		want.Contains(t, environ, "JUPYTERHUB_DEFAULT_URL=/tree\n", "COURSE=physics", "PATH=/opt/own/bin:/opt/tljh/shims:/opt/tljh/user/bin:")
		want.Equal(t, "no no", h.property(t, "jupyter-bob", "PrivateTmp")+" "+h.property(t, "jupyter-bob", "PrivateDevices"))
		compute(t, kernel(t, bob), "open('/tmp/seen-by-all', 'w').close()")
		h.must(t, "test -e /tmp/seen-by-all")
		want.Contains(t, h.must(t, "tljh-install status"), "in effect: servers.py")
		want.OK(t, bob.StopServer(t.Context(), "bob"))
	})
	t.Run("a command without a path", func(t *testing.T) {
		h.snippet(t, "command.py")
		start(t, bob)
		want.Contains(t, h.MustSh(t, "tr '\\0' ' ' < /proc/$(systemctl show --value -p MainPID jupyter-bob)/cmdline"), "/opt/tljh/user/bin/jupyter-labhub")
		want.Equal(t, "42", strings.TrimSpace(compute(t, kernel(t, bob), "print(6 * 7)")))
		want.OK(t, bob.StopServer(t.Context(), "bob"))
	})
	t.Run("lists that are replaced", func(t *testing.T) {
		h.MustSh(t, `mkdir -p /opt/own/templates && printf '{%% extends "templates/page.html" %%}\n{%% block main %%}{{ super() }}{%% endblock %%}\n{%% block footer %%}<p id="own-footer">own</p>{%% endblock %%}\n' > /opt/own/templates/page.html`)
		h.snippet(t, "replaced.py")
		want.Equal(t, 0, h.run(t, "tljh-install status").Code)
		h.installerMay(t)
		h.must(t, `curl -sf -H "Authorization: token own-service-token" http://127.0.0.1:971/hub/api/users`)
		want.Contains(t, h.MustSh(t, "systemctl is-active tljh-culler"), "active")
		for path, words := range map[string]string{"/hub/home": "Exam at nine", "/hub/auth/change-password": "New password", "/hub/own": "own page"} {
			page, err := bob.Open(t.Context(), path)
			want.OK(t, err)
			want.Equal(t, http.StatusOK, page.Status, path)
			want.Contains(t, page.Body, words)
			if path == "/hub/home" {
				want.Contains(t, page.Body, "own-footer", `href="/hub/auth/change-password"`)
				want.Equal(t, 1, strings.Count(page.Body, `href="/hub/auth/change-password"`))
			}
		}
		headers := h.MustSh(t, "curl -si http://127.0.0.1/hub/login")
		want.Contains(t, headers, "X-Own: 1", "X-Content-Type-Options: nosniff", "own-footer")
		h.must(t, "tljh-install config break-glass alice")
		want.Equal(t, "200", h.MustSh(t, "curl -so /dev/null -w '%{http_code}' http://127.0.0.1/hub/break-glass"))
		h.must(t, "tljh-install config break-glass --off && tljh-install config reload")
	})
	t.Run("with which the hub does not start", func(t *testing.T) {
		h.snippet(t, "broken_service.py")
		h.notUsed(t, teacher, bob, "broken_service.py: left out as a whole: the hub does not start with it")
		h.installerMay(t)
		h.must(t, "systemctl restart jupyterhub")
		h.awaitHub(t, 30*time.Second)
		want.Equal(t, "0", h.property(t, "jupyterhub", "NRestarts"))
		r := h.run(t, "tljh-install install")
		want.Equal(t, 0, r.Code, r.Output())
		want.Contains(t, r.Output(), "broken_service.py")
	})
	t.Run("that throws", func(t *testing.T) {
		h.snippet(t, "throws.py")
		h.notUsed(t, teacher, bob, "throws.py: left out as a whole: line 3: ModuleNotFoundError: No module named 'nosuch'")
		start(t, bob)
		want.OK(t, bob.StopServer(t.Context(), "bob"))
	})
	t.Run("with addresses of a hub installed by hand", func(t *testing.T) {
		h.snippet(t, "other_addresses.py")
		h.notUsed(t, teacher, bob, "other_addresses.py: c.JupyterHub.port is not used: the edge has the public address", "c.JupyterHub.ssl_cert", "c.JupyterHub.db_url",
			"c.JupyterHub.spawner_class is not used: servers need the hub's own spawner", "c.ConfigurableHTTPProxy.should_start")
		start(t, bob)
		want.OK(t, bob.StopServer(t.Context(), "bob"))
	})
	t.Run("which may have kept somebody out", func(t *testing.T) {
		h.snippet(t, "closes.py")
		h.notUsed(t, teacher, bob, "closes.py: left out as a whole: line 2: FileNotFoundError")
		refusal(t, h.browser(t, "bob").Login(t.Context(), passwordOf("bob")), "a student, while who may log in is not known")
		h.admin(t)
		h.MustSh(t, "rm "+configD+"/*")
		h.must(t, "systemctl restart jupyterhub")
		h.awaitHub(t, 30*time.Second)
		h.login(t, "bob", passwordOf("bob"))
		want.Equal(t, 0, h.run(t, "tljh-install status").Code)
	})
	h.usable(t, adminPassword)
}
