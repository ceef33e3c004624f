package integration

import (
	"context"
	"fmt"
	"net"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"tljh/integration-tests/client"
	"tljh/integration-tests/guest"
	"tljh/integration-tests/mirror"
	"tljh/integration-tests/want"
)

// theMirror is made once for all tests that need it.
var theMirror = sync.OnceValues(func() (*mirror.Mirror, error) {
	return mirror.Build(context.Background(), guest.RepositoryRoot(), guest.CacheDir())
})

// channel serves the mirror within a guest's reach, and returns lines for a config that names it.
func (h *hub) channel(t *testing.T) (*mirror.Server, string) {
	t.Helper()
	m, err := theMirror()
	want.OK(t, err)
	ln, err := net.Listen("tcp", net.JoinHostPort(h.Gateway(), "0"))
	want.OK(t, err)
	server := mirror.Serve(ln, m)
	t.Cleanup(func() { server.Close() })
	return server, "sources:\n  alias: " + server.URL() + "\n  mirror: " + server.URL() + "/" + path.Dir(m.Miniforge.Path) + "\n  miniforge_sha256: " + m.Miniforge.SHA256 + "\n"
}

// withConda installs a hub whose user environment is conda's.
func withConda(t *testing.T) (*hub, *mirror.Server) {
	t.Helper()
	h := bare(t, guest.Options{})
	server, sources := h.channel(t)
	want.OK(t, h.Write(t.Context(), "/root/config.yaml", 0o600, strings.NewReader(sources)))
	h.paste(t, "--config /root/config.yaml --admin "+admin+":"+adminPassword)
	h.awaitHub(t, 30*time.Second)
	return h, server
}

// shell runs a command in a user's server, as in a terminal, and returns what it printed.
func shell(t *testing.T, k *client.Kernel, command string) string {
	t.Helper()
	return compute(t, k, "import subprocess; r = subprocess.run("+quoted(command)+", shell=True, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT); print(r.stdout[-3000:], 'exit', r.returncode)")
}

func quoted(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`).Replace(text) + "'"
}

// TestConda is the instructor's way: plain conda, mamba and pip from within the hub.
func TestConda(t *testing.T) {
	t.Parallel()
	h, _ := withConda(t)
	want.Equal(t, "conda", h.MustSh(t, "cat /opt/tljh/state/package-manager"))
	want.Contains(t, h.MustSh(t, "ls -ld /opt/tljh/conda/ /opt/tljh/conda/bin/conda"), "root root")
	want.Contains(t, h.must(t, "tljh-install env check"), "is whole")

	teacher := h.admin(t)
	bob := h.student(t, teacher, "bob")
	work := kernel(t, bob)
	start(t, teacher)
	k := kernel(t, teacher)
	said := shell(t, k, "conda install "+mirror.Cowsay+"=4.0")
	want.Contains(t, said, "exit 0")
	want.Contains(t, compute(t, work, "import importlib.metadata as m; print(m.version('cowsay'))"), "4.0")
	h.awaitSnapshot(t, "+cowsay 4.0")
	said = shell(t, k, "mamba install --yes "+mirror.Cowsay+"=6.1")
	want.Contains(t, said, "exit 0")
	h.awaitSnapshot(t, "cowsay 4.0 → 6.1")
	want.Contains(t, h.must(t, "tljh-install env history"), "conda install", admin)
	want.Contains(t, shell(t, k, "pip install --quiet toolz"), "exit 0")
	h.awaitSnapshot(t, "+toolz")

	// A second admin in turn.
	enrol(t, teacher, "carol")
	h.set(t, "add users.admin carol")
	carol := h.login(t, "carol", passwordOf("carol"))
	start(t, carol)
	other := kernel(t, carol)
	want.Contains(t, shell(t, other, "conda install --yes "+mirror.Cowsay+"=6.0"), "exit 0")
	h.awaitSnapshot(t, "cowsay 6.1 → 6.0")
	want.Contains(t, shell(t, k, "conda remove --yes "+mirror.Cowsay), "exit 0")
	h.awaitSnapshot(t, "-cowsay 6.0")
	want.Contains(t, shell(t, k, "sudo -E conda install --yes -c conda-forge "+mirror.Cowsay), "exit 0")
	h.awaitSnapshot(t, "+cowsay 6.1")
	want.Contains(t, shell(t, other, "conda remove --yes "+mirror.Cowsay), "exit 0")
	want.Contains(t, h.must(t, "tljh-install env check"), "is whole")

	// Students read, and no more.
	want.Contains(t, shell(t, work, "conda install "+mirror.Cowsay), "ask one of them", "exit 1")
	want.Contains(t, shell(t, work, "conda list jupyterlab"), "jupyterlab", "exit 0")
	want.Contains(t, shell(t, work, "touch /opt/tljh/user/x; rm -rf /opt/tljh/user/bin /opt/tljh/conda/bin 2>&1 | tail -1; ls /opt/tljh/user/bin/python /opt/tljh/conda/bin/conda"), "exit 0")
	want.Contains(t, shell(t, work, "conda create --yes --prefix ~/mine "+mirror.Cowsay+" && ~/mine/bin/python -c 'import cowsay'"), "exit 0")
}

// awaitSnapshot waits until the newest snapshot is of a change.
func (h *hub) awaitSnapshot(t *testing.T, change string) {
	t.Helper()
	guest.Until(t, 60*time.Second, func(ctx context.Context) error {
		r, err := h.Sh(ctx, "tljh-install env history | sed -n 2p")
		if err == nil && !strings.Contains(r.Stdout, change) {
			err = fmt.Errorf("the newest snapshot is not of %s: %s", change, r.Output())
		}
		return err
	})
}
