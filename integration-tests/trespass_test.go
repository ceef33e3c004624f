package integration

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"tljh/integration-tests/client"
	"tljh/integration-tests/guest"
	"tljh/integration-tests/want"
)

//go:embed testdata/attempts.py
var attempts string

// Paths that students must not read; each must exist, or its test would show nothing.
var unreadable = []string{
	"/opt/tljh/state", "/opt/tljh/state/jupyterhub.sqlite", "/opt/tljh/state/passwords.sqlite", "/opt/tljh/state/proxy.env", "/opt/tljh/state/edge.env",
	"/opt/tljh/state/installer.token", "/opt/tljh/state/jupyterhub_cookie_secret", "/opt/tljh/state/receipt.jsonl", "/opt/tljh/state/config-history", "/opt/tljh/snapshots",
	"/opt/tljh/config", "/opt/tljh/config/config.yaml", "/opt/tljh/installer.log", "/etc/shadow", "/etc/sudoers.d/tljh", "/root",
	"/home/jupyter-carol", "/home/jupyter-carol/diary", "/home/jupyter-alice",
}

// Folders that students must not write to.
var unwritable = []string{
	"/opt/tljh", "/opt/tljh/bin", "/opt/tljh/hub", "/opt/tljh/hub/lib/python3.14/site-packages", "/opt/tljh/user", "/opt/tljh/user/bin",
	"/opt/tljh/user/lib/python3.14/site-packages", "/opt/tljh/generations", "/opt/tljh/python", "/opt/tljh/state", "/opt/tljh/config", "/opt/tljh/snapshots",
	"/etc", "/etc/systemd/system", "/etc/sudoers.d", "/usr/local/bin", "/home", "/home/jupyter-carol", "/run/tljh", "/run/tljh/sockets",
}

// Commands that must fail for students.
var forbidden = [][]string{
	{"systemctl", "--no-ask-password", "stop", "jupyterhub.service"},
	{"systemctl", "--no-ask-password", "stop", "jupyter-carol.service"},
	{"systemctl", "--no-ask-password", "set-property", "--runtime", "jupyter-bob.service", "MemoryMax=infinity"},
	{"systemd-run", "--no-ask-password", "--quiet", "--wait", "id"},
	{"sudo", "-n", "id"},
	{"tljh-install", "install", "--admin", "bob:let-me-in-please"},
	{"tljh-install", "password", "bob"},
	{"su", "-c", "id"},
}

// TestAStudentTriesEverything lets a student try to read, write and reach what belongs to others, from a notebook.
func TestAStudentTriesEverything(t *testing.T) {
	t.Parallel()
	installed(t).studentTriesEverything(t)
}

func (h *hub) studentTriesEverything(t *testing.T) {
	teacher := h.admin(t)
	start(t, teacher)
	carol := h.student(t, teacher, "carol")
	compute(t, kernel(t, carol), "open('diary', 'w').write('private')")
	bob := h.student(t, teacher, "bob")
	k := kernel(t, bob)

	victims := map[string]string{}
	for _, unit := range []string{"jupyterhub.service", "configurable-http-proxy.service", "tljh-edge.service", "jupyter-carol.service", "jupyter-alice.service"} {
		victims[unit] = h.property(t, unit, "MainPID")
	}
	sockets := strings.Fields(h.MustSh(t, "find /run/tljh/sockets -type s -path '*carol*'"))
	want.True(t, len(sockets) > 0, "carol's server has no socket under /run/tljh/sockets")
	for _, path := range append(append([]string{}, unreadable...), unwritable...) {
		h.MustSh(t, "test -e "+path)
	}
	task, err := json.Marshal(map[string]any{"read": unreadable, "write": unwritable, "run": forbidden, "processes": victims, "sockets": sockets,
		"ports": []int{971, 972, 973, 443, 974}})
	want.OK(t, err)
	text := compute(t, k, attempts+"\nprint(json.dumps(attempt_all(json.loads("+strconv.Quote(string(task))+"))))")
	var results map[string]string
	want.OK(t, json.Unmarshal([]byte(text), &results), text)
	wanted := len(unreadable) + len(unwritable) + len(forbidden)
	want.True(t, len(results) > wanted, fmt.Sprintf("only %d attempts of more than %d were made", len(results), wanted))
	for what, outcome := range results {
		want.Equal(t, "denied", outcome, what)
	}
	for unit, pid := range victims {
		want.Equal(t, pid, h.property(t, unit, "MainPID"), unit)
	}
	want.Equal(t, "private", h.MustSh(t, "cat /home/jupyter-carol/diary"))

	t.Run("nobody hears what another's kernel says", func(t *testing.T) {
		talker := kernel(t, carol)
		said := make(chan error, 1)
		go func() {
			_, err := talker.Run(t.Context(), "import time\nfor i in range(60): print('private', flush=True); time.sleep(0.1)")
			said <- err
		}()
		want.Equal(t, "0", compute(t, k, attempts+"\nprint(listen_to_kernels(4))"), "messages that bob heard")
		want.OK(t, <-said)
	})
	t.Run("over the network", func(t *testing.T) { h.knockOnDoors(t, bob) })
	t.Run("while hub and proxy are away, their ports are not to be had", func(t *testing.T) {
		// It tries until it is told to stop, as nobody reaches the kernel meanwhile.
		compute(t, k, attempts+"\nkeep_trying_ports([971, 972, 973], '/home/jupyter-bob/done')")
		h.MustSh(t, "systemctl stop jupyterhub configurable-http-proxy")
		h.MustSh(t, "for i in $(seq 100); do [ -s /home/jupyter-bob/away ] && break; sleep 0.05; done; touch /home/jupyter-bob/done; systemctl start jupyterhub configurable-http-proxy")
		guest.Until(t, 20*time.Second, reaches(bob))
		again := kernel(t, bob)
		var got map[string]int
		want.OK(t, json.Unmarshal([]byte(compute(t, again, "print(open('/home/jupyter-bob/tried').read())")), &got))
		want.Equal(t, 0, got["taken"], "ports of the hub and the proxy that a student took")
		want.True(t, got["denied"] > 0, "no attempt was made")
	})
}

// knockOnDoors tries others' servers and the hub's API with the student's own cookies.
func (h *hub) knockOnDoors(t *testing.T, b *client.Browser) {
	for _, user := range []string{"carol", "alice"} {
		for _, path := range []string{"contents", "contents/diary", "kernels", "terminals", "sessions"} {
			_, err := b.ServerAPI(t.Context(), user, http.MethodGet, path, nil, nil)
			no := refusal(t, err, path+" of "+user)
			want.True(t, no.Status == http.StatusForbidden || no.Status == http.StatusNotFound, no.Error())
		}
		_, err := b.ServerAPI(t.Context(), user, http.MethodPost, "kernels", map[string]string{"name": "python3"}, nil)
		refusal(t, err, "starting a kernel as "+user)
		page, err := b.Open(t.Context(), "/user/"+user+"/lab")
		want.OK(t, err)
		want.True(t, page.Status == http.StatusForbidden || page.Status == http.StatusNotFound, fmt.Sprintf("JupyterLab of %s: status %d", user, page.Status))
	}
	for _, call := range []struct {
		method, path string
		body         any
	}{
		{http.MethodGet, "users", nil}, {http.MethodGet, "users/carol", nil}, {http.MethodGet, "proxy", nil}, {http.MethodGet, "groups", nil},
		{http.MethodDelete, "users/carol/server", nil}, {http.MethodDelete, "users/carol", nil}, {http.MethodPost, "users/carol/tokens", map[string]any{}},
		{http.MethodPatch, "users/" + b.User, map[string]any{"admin": true}}, {http.MethodPost, "users", map[string]any{"usernames": []string{"eve"}}},
		{http.MethodPost, "shutdown", map[string]any{}}, {http.MethodGet, "services", nil},
	} {
		_, err := b.API(t.Context(), call.method, call.path, call.body, nil)
		no := refusal(t, err, call.method+" "+call.path)
		want.True(t, no.Status == http.StatusForbidden || no.Status == http.StatusNotFound, no.Error())
	}
}

// TestNobodyReceivesAnothersTraffic is about the moment after a server has gone, when something may still lead to where it was.
func TestNobodyReceivesAnothersTraffic(t *testing.T) {
	t.Parallel()
	h := installed(t)
	teacher := h.admin(t)
	bob, carol := h.student(t, teacher, "bob"), h.student(t, teacher, "carol")
	k := kernel(t, carol)

	routes := map[string]struct {
		Target string `json:"target"`
	}{}
	token := h.MustSh(t, "sed 's/.*=//' /opt/tljh/state/proxy.env")
	text := h.MustSh(t, "curl -fsS -H 'Authorization: token "+token+"' http://127.0.0.1:973/api/routes")
	want.OK(t, json.Unmarshal([]byte(text), &routes), text)
	var socket string
	for path, route := range routes {
		if !strings.HasPrefix(path, "/user/bob") {
			continue
		}
		target, err := url.PathUnescape(route.Target)
		want.OK(t, err)
		found := false
		for _, scheme := range []string{"http+unix://", "unix+http://"} { // the two ways to write it
			if rest, ok := strings.CutPrefix(target, scheme); ok {
				socket, found = rest, true
			}
		}
		want.True(t, found, "bob's server is reached over "+route.Target+", a port that another may take")
	}
	if socket == "" {
		t.Fatalf("there is no route to bob's server by a socket: %s", text)
	}
	folder := socket[:strings.LastIndex(socket, "/")]
	want.Equal(t, "2710 tljh-proxy", h.MustSh(t, "stat -c '%a %G' "+folder))

	want.OK(t, bob.StopServer(t.Context(), "bob"))
	steal := fmt.Sprintf(`
import os, socket, threading
path = %q
try:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.exists(path): os.unlink(path)
    s = socket.socket(socket.AF_UNIX); s.bind(path); s.listen()
    print('listening where another server was')
except OSError as e:
    print('denied' if e.errno in (1, 13) else repr(e))`, socket)
	want.Equal(t, "denied", compute(t, k, steal))
	page, err := bob.Open(t.Context(), "/user/bob/lab")
	want.OK(t, err)
	want.True(t, strings.HasPrefix(page.URL.Path, "/hub/"), "after the server stopped its address leads to "+page.URL.Path)
	start(t, bob)
	want.Equal(t, "jupyter-bob", compute(t, kernel(t, bob), "import getpass; print(getpass.getuser())"))
}
