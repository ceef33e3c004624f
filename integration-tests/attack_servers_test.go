package integration

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"tljh/integration-tests/client"
	"tljh/integration-tests/want"
)

//go:embed testdata/attack_home.py
var attackHome string

//go:embed testdata/attack_server.py
var attackServer string

//go:embed testdata/ordinary_work.py
var ordinaryWork string

const (
	userPython = "/opt/tljh/user/bin/python"
	asBob      = "runuser -u jupyter-bob -- env -C /home/jupyter-bob HOME=/home/jupyter-bob "
)

// TestAttackOnesOwnServer is what a student tries to get into the student's own server, to which an admin may come: from the home while it
// starts, and from a kernel while it runs.
func TestAttackOnesOwnServer(t *testing.T) {
	t.Parallel()
	inTurn(t)
	installed(t).attackOnesOwnServer(t)
}

func (h *hub) attackOnesOwnServer(t *testing.T) {
	teacher := h.admin(t)
	bob := h.student(t, teacher, "bob")
	want.OK(t, h.Write(t.Context(), "/opt/attack_home.py", 0o644, strings.NewReader(attackHome)))
	want.OK(t, h.Write(t.Context(), "/opt/attack_server.py", 0o644, strings.NewReader(attackServer)))
	want.OK(t, h.Write(t.Context(), "/opt/ordinary_work.py", 0o644, strings.NewReader(ordinaryWork)))
	h.MustSh(t, asBob+userPython+" /opt/attack_home.py")
	want.OK(t, bob.StopServer(t.Context(), "bob"))
	// A process that the student left behind, by cron or ssh, lies in wait for the server's first moment.
	h.MustSh(t, "systemd-run --quiet --unit=lingering -p User=jupyter-bob -p StandardOutput=file:/root/watched "+userPython+" /opt/attack_server.py watch jupyter-bob.service /opt/stop")
	start(t, bob)
	server := h.property(t, "jupyter-bob.service", "MainPID")
	h.MustSh(t, "touch /opt/stop; while systemctl is-active --quiet lingering; do sleep 0.1; done")

	t.Run("nothing of the home is run", func(t *testing.T) {
		loads(t, bob, false)
		want.Equal(t, "", h.MustSh(t, "ls -A /home/jupyter-bob/ran"), "what was run")
	})
	t.Run("what is the user's own works in kernels, and settings of JupyterLab are kept", func(t *testing.T) { h.ownThingsWork(t, bob) })
	t.Run("nobody opens it while it starts", func(t *testing.T) {
		var got struct {
			Tried  int
			Seen   []string
			Opened map[string]string
		}
		text := h.MustSh(t, "cat /root/watched")
		want.OK(t, json.Unmarshal([]byte(text), &got), text)
		want.True(t, got.Tried > 100, fmt.Sprintf("only %d tries were made", got.Tried))
		want.Contains(t, strings.Join(got.Seen, " "), server)
		want.Equal(t, "", got.Opened[server], "the server was opened")
	})
	t.Run("nobody opens it while it runs", func(t *testing.T) {
		text := compute(t, kernel(t, bob), "import os, subprocess; print(subprocess.run(['python', '/opt/attack_server.py', str(os.getppid())], capture_output=True, text=True).stdout)")
		var got struct{ Server, Child map[string]string }
		want.OK(t, json.Unmarshal([]byte(text), &got), text)
		want.Equal(t, 12, len(got.Server), "tries")
		for what, outcome := range got.Server {
			// Where it is out of sight, it is not even there.
			want.True(t, outcome == "denied" || strings.Contains(outcome, "FileNotFoundError"), what+": "+outcome)
		}
		want.Contains(t, got.Child["read"], "succeeded")
		want.Contains(t, got.Child["attach"], "succeeded")
		want.Equal(t, server, h.property(t, "jupyter-bob.service", "MainPID"))
	})
	t.Run("ordinary work goes on", func(t *testing.T) {
		var got map[string]string
		text := compute(t, kernel(t, bob), "import subprocess; print(subprocess.run(['python', '/opt/ordinary_work.py'], capture_output=True, text=True).stdout)")
		want.OK(t, json.Unmarshal([]byte(text), &got), text)
		want.True(t, len(got) > 10, text)
		for what, outcome := range got {
			want.Equal(t, "fine", outcome, what)
		}
	})
	t.Run("namespaces", func(t *testing.T) {
		const unshare = "import subprocess; print(subprocess.run(['unshare', '--user', '--map-root-user', 'id', '-u'], capture_output=True, text=True))"
		want.Contains(t, compute(t, kernel(t, bob), unshare), "Operation not permitted")
		h.set(t, "set users.namespaces true")
		k := h.again(t, bob)
		want.Contains(t, compute(t, k, unshare), `stdout='0\n'`)
	})
	t.Run("devices and bits for groups", func(t *testing.T) { h.devicesAndBits(t, bob) })
	t.Run("where an admin lets servers load it, all of it works", func(t *testing.T) {
		h.set(t, "set user_environment.own_extensions true")
		want.OK(t, bob.StopServer(t.Context(), "bob"))
		h.MustSh(t, "rm -r /home/jupyter-bob/tornado")
		start(t, bob)
		loads(t, bob, true)
		ran := h.MustSh(t, "ls -A /home/jupyter-bob/ran")
		want.Contains(t, ran, ".jupyter-jupyter_server", ".jupyter-jupyter_lab", "template-")
	})
}

// devicesAndBits has a GPU and a serial port that are the null device under other names.
func (h *hub) devicesAndBits(t *testing.T, bob *client.Browser) {
	const tries = `
import os
def tried(do):
    try:
        do()
    except OSError as error:
        return error.strerror
    return "done"
def read_and_write(path):
    os.close(os.open(path, os.O_RDWR))
os.makedirs("course", exist_ok=True)
for name in ("nvidia0", "ttyUSB0", "other", "null", "ptmx"):
    print(name, tried(lambda: read_and_write("/dev/" + name)), sep=": ")
print("bit", tried(lambda: os.chmod("course", 0o2770)), sep=": ")
`
	want.Equal(t, "yes", h.property(t, "jupyter-bob.service", "PrivateDevices"))
	h.MustSh(t, "for name in nvidia0 ttyUSB0 other; do mknod /dev/$name c 1 3; done; chmod 0666 /dev/nvidia0 /dev/other; chgrp dialout /dev/ttyUSB0; chmod 0660 /dev/ttyUSB0")
	defer h.MustSh(t, "rm /dev/nvidia0 /dev/ttyUSB0 /dev/other")
	k := h.again(t, bob)
	want.Contains(t, compute(t, k, tries), "nvidia0: done", "ttyUSB0: Permission denied", "null: done", "ptmx: done", "bit: Operation not permitted")
	want.Equal(t, "closed", h.property(t, "jupyter-bob.service", "DevicePolicy"))

	h.set(t, "set users.setgid true")
	h.set(t, "set users.extra_user_groups.dialout [bob]")
	k = h.again(t, bob)
	want.Contains(t, compute(t, k, tries), "ttyUSB0: done", "bit: done")

	h.set(t, "set users.devices none")
	k = h.again(t, bob)
	want.Contains(t, compute(t, k, tries), "nvidia0: No such file or directory", "other: No such file or directory", "null: done")
}

// loads reports what a server gives to browsers: what is planted in the home, or not.
func loads(t *testing.T, b *client.Browser, own bool) {
	t.Helper()
	user := "/user/" + b.User
	for path, planted := range map[string]string{
		"/nbconvert/html/some.ipynb":                "planted",
		"/nbextensions/planted.js":                  "planted",
		"/lab/extensions/planted/static/planted.js": "planted",
		"/custom/custom.css":                        "planted",
		"/lab":                                      "planted",
		"/tree":                                     "planted",
	} {
		page, err := b.Open(t.Context(), user+path)
		want.OK(t, err)
		if own && strings.HasPrefix(path, "/nbextensions") {
			continue // only the notebook of before has them
		}
		want.Equal(t, own, strings.Contains(page.Body, planted), path)
	}
	for _, path := range []string{"/files/page.html", "/kernelspecs/own/page.html", "/nbconvert/html/some.ipynb"} {
		page, err := b.Open(t.Context(), user+path)
		want.OK(t, err)
		want.Equal(t, http.StatusOK, page.Status, path)
		if !own {
			want.Contains(t, page.Header.Get("Content-Security-Policy"), "sandbox")
		}
	}
}

func (h *hub) ownThingsWork(t *testing.T, b *client.Browser) {
	k := kernel(t, b)
	want.Equal(t, "1", compute(t, k, "print(own_start)"), "IPython's own start")
	want.Equal(t, "1", compute(t, k, "import own_package; print(own_package.x)"))
	want.Equal(t, "", compute(t, k, "import os; print(*[name for name in os.environ if name in ('JUPYTER_CONFIG_DIR', 'JUPYTER_CONFIG_PATH', 'JUPYTER_DATA_DIR', 'IPYTHONDIR')])"))
	want.Contains(t, compute(t, k, "import subprocess; print(subprocess.run(['jupyter', '--paths'], capture_output=True, text=True).stdout)"), "/home/jupyter-bob/.jupyter", "/home/jupyter-bob/.local/share/jupyter")
	var specs struct {
		KernelSpecs map[string]any `json:"kernelspecs"`
	}
	_, err := b.ServerAPI(t.Context(), b.User, http.MethodGet, "kernelspecs", nil, &specs)
	want.OK(t, err)
	want.True(t, specs.KernelSpecs["own"] != nil, "the user's own kernel is not there")
	_, err = b.ServerAPI(t.Context(), b.User, http.MethodPost, "kernels", map[string]string{"name": "own"}, nil)
	want.OK(t, err)

	theme := "/user/" + b.User + "/lab/api/settings/@jupyterlab/apputils-extension:themes"
	page, err := b.Open(t.Context(), theme)
	want.OK(t, err)
	want.Contains(t, page.Body, `JupyterLab Dark\"`)
	_, err = b.OnServer(t.Context(), b.User, http.MethodPut, "lab/api/settings/@jupyterlab/apputils-extension:themes", map[string]string{"raw": `{"theme": "JupyterLab Light"}`}, nil)
	want.OK(t, err, "saving a setting")
	want.Contains(t, h.MustSh(t, "cat '/home/jupyter-bob/.jupyter/lab/user-settings/@jupyterlab/apputils-extension/themes.jupyterlab-settings'"), "JupyterLab Light")
	_, err = b.ServerAPI(t.Context(), b.User, http.MethodPut, "config/notebook", map[string]string{"kept": "yes"}, nil)
	want.OK(t, err, "saving what pages keep")
}
