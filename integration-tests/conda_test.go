package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path"
	"slices"
	"strconv"
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
	want.Contains(t, h.must(t, "tljh-install env check"), "is healthy")

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
	snapshots := h.snapshots(t)
	want.Contains(t, shell(t, k, "pip install --quiet toolz sortedcontainers pyfiglet"), "exit 0")
	h.awaitSnapshot(t, "(pip install --quiet toolz sortedcontainers pyfiglet)")
	want.Equal(t, snapshots+1, h.snapshots(t), "one command is one snapshot")
	// pip leaves byte code of its own, without changing a package.
	want.Contains(t, shell(t, k, "find /opt/tljh/user/lib/python3.14/site-packages/pip/ -name __pycache__ | xargs rm -rf; pip list"), "exit 0")
	want.Contains(t, h.MustSh(t, "stat -c %U /opt/tljh/user/lib/python3.14/site-packages/pip/__pycache__"), "jupyter-"+admin)
	want.Contains(t, h.must(t, "tljh-install env check"), "is healthy")
	// What pip and conda install over each other is said, and no damage.
	want.Contains(t, shell(t, k, "pip install --quiet --force-reinstall --no-deps six==1.16.0"), "exit 0")
	h.awaitSnapshot(t, "six 1.17.0 → 1.16.0")
	want.Contains(t, h.must(t, "tljh-install env check"), "pip installed six 1.16.0 over conda's", "is healthy")

	// A second admin in turn.
	carol := h.student(t, teacher, "carol")
	h.set(t, "add users.admin carol")
	other := h.again(t, carol)
	want.Contains(t, shell(t, other, "conda install --yes "+mirror.Cowsay+"=6.0"), "exit 0")
	h.awaitSnapshot(t, "cowsay 6.1 → 6.0")
	k = kernel(t, teacher) // an idle one may be disconnected by now
	want.Contains(t, shell(t, k, "conda remove --yes "+mirror.Cowsay), "exit 0")
	h.awaitSnapshot(t, "-cowsay 6.0")
	want.Contains(t, shell(t, k, "sudo -E conda install --yes -c conda-forge "+mirror.Cowsay), "exit 0")
	h.awaitSnapshot(t, "+cowsay 6.1")
	want.Contains(t, shell(t, kernel(t, carol), "conda remove --yes "+mirror.Cowsay), "exit 0")
	want.Contains(t, h.must(t, "tljh-install env check"), "is healthy")

	// Students read, and no more.
	work = kernel(t, bob)
	want.Contains(t, shell(t, work, "conda install "+mirror.Cowsay), "ask one of them", "exit 1")
	want.Contains(t, shell(t, work, "conda list jupyterlab"), "jupyterlab", "exit 0")
	want.Contains(t, shell(t, work, "touch /opt/tljh/user/x; rm -rf /opt/tljh/user/bin /opt/tljh/conda/bin 2>&1 | tail -1; ls /opt/tljh/user/bin/python /opt/tljh/conda/bin/conda"), "exit 0")
	want.Contains(t, shell(t, work, "conda create --yes --prefix ~/mine "+mirror.Cowsay+" && ~/mine/bin/python -c 'import cowsay'"), "exit 0")
}

// TestCondaInTerminals is about activation, conda init, and environments beside the one of all users.
func TestCondaInTerminals(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h, _ := withConda(t)
	teacher := h.admin(t)
	start(t, teacher)
	notebook := func(command string) string { return shell(t, kernel(t, teacher), command) }
	terminal := func(command string) string { return notebook("bash -lc '" + command + "'") }
	said := notebook("conda install --yes python=3.12")
	want.Contains(t, said, "has Python 3.14 and keeps it", "env apply", "exit 1")
	want.Contains(t, h.MustSh(t, "cat /opt/tljh/user/conda-meta/pinned"), "python 3.14.*")

	said = terminal("conda create --yes --prefix ~/geo " + mirror.Cowsay + "=4.0")
	want.Contains(t, said, "ipykernel install --user", "exit 0")
	which := `python -c "import cowsay, sys; print(sys.prefix)"`
	want.Contains(t, terminal("conda activate ~/geo && "+which+" && conda deactivate && echo now ${CONDA_PREFIX-none} && conda list pip"), "/home/jupyter-"+admin+"/geo", "now none", "environment at /opt/tljh/user", "exit 0")
	want.Contains(t, terminal("conda activate nowhere"), "nowhere", "exit 1")
	want.Contains(t, notebook("sudo -E conda create --yes --quiet -n shared "+mirror.Cowsay+"=4.0"), "exit 0")
	want.Contains(t, terminal("conda activate shared && "+which), "/opt/tljh/envs/shared", "exit 0")

	// After conda init, a terminal's conda and pip are still about the environment of all users.
	want.Contains(t, notebook("conda init bash"), "exit 0")
	want.Contains(t, notebook("bash -ic 'conda install --yes --quiet "+mirror.Cowsay+"=4.0 && command -v pip'"), "/opt/tljh/user/bin/pip", "exit 0")
	h.awaitSnapshot(t, "+cowsay 4.0")
	want.Contains(t, notebook("bash -ic 'conda remove --yes --quiet "+mirror.Cowsay+"'"), "exit 0")
	h.awaitSnapshot(t, "-cowsay 4.0")

	// Another Miniforge takes the place of this one, and this one is installed again: what admins made by name stays.
	h.MustSh(t, "mkdir -p /opt/tljh/tools/miniforge-0123456789ab/pkgs /opt/tljh/conda/envs && cp -a /opt/tljh/envs/shared /opt/tljh/tools/miniforge-0123456789ab/envs.part && "+
		"cd /opt/tljh/tools/miniforge-0123456789ab && mkdir envs && mv envs.part envs/old && cp -a /opt/tljh/envs/shared /opt/tljh/conda/envs/here && rm -rf /opt/tljh/conda/lib/python3.14/json")
	h.must(t, "tljh-install env repair")
	h.must(t, "tljh-install install")
	h.MustSh(t, "/opt/tljh/tools/miniforge-0123456789ab/envs/old/bin/python -c 'import cowsay' && /opt/tljh/conda/envs/here/bin/python -c 'import cowsay' && test -e /opt/tljh/envs/here/conda-meta")
	want.Differ(t, 0, h.run(t, "ls -d /opt/tljh/tools/miniforge-0123456789ab/pkgs").Code)
}

// awaitSnapshot waits until the newest snapshot is of a change, and the other admins have been let change what is new.
func (h *hub) awaitSnapshot(t *testing.T, change string) {
	t.Helper()
	guest.Until(t, 2*time.Minute, func(ctx context.Context) error {
		r, err := h.Sh(ctx, "tljh-install env history | sed -n 2p; systemctl show --property=ActiveState tljh-environment.service")
		if err == nil && (!strings.Contains(r.Stdout, change) || strings.Contains(r.Stdout, "=activating")) {
			err = fmt.Errorf("the newest snapshot is not of %s, or not all is done: %s", change, r.Output())
		}
		return err
	})
}

// snapshots returns how many there are.
func (h *hub) snapshots(t *testing.T) int {
	t.Helper()
	var all []any
	want.OK(t, json.Unmarshal([]byte(h.must(t, "tljh-install env history --json")), &all))
	return len(all)
}

// TestCondaIsRepaired breaks a conda environment in the ways that admins do, and lets env repair put it right. A kernel runs all along.
func TestCondaIsRepaired(t *testing.T) {
	inTurn(t)
	t.Parallel()
	h, server := withConda(t)
	h.set(t, "set services.cull.enabled false") // bob's kernel is to be there at the end
	teacher := h.admin(t)
	bob := h.student(t, teacher, "bob")
	work := kernel(t, bob)
	compute(t, work, "x = 42")
	packages := map[string]string{
		"a package's files are gone":       "rm -rf /opt/tljh/user/lib/python3.14/site-packages/jupyterlab",
		"a file was edited in its place":   "echo broken >> /opt/tljh/user/lib/python3.14/site-packages/jupyter_server/serverapp.py",
		"JupyterHub is another":            "sudo -u tljh-env /opt/tljh/user/bin/pip install --quiet --no-deps jupyterhub==" + mirror.OldJupyterHub,
		"files belong to somebody else":    "touch /opt/tljh/user/strange && chown -R jupyter-bob /opt/tljh/user/lib/python3.14/site-packages/notebook/* /opt/tljh/user/strange",
		"nobody can read what is there":    "chmod -R go-rwx /opt/tljh/user/lib/python3.14/site-packages/tornado",
		"a package from the index is gone": "rm -rf /opt/tljh/user/lib/python3.14/site-packages/" + mirror.LeftOut,
	}
	broken := map[string]string{
		"Python itself is gone":  "rm /opt/tljh/user/bin/python3.14",
		"conda itself is broken": "rm -rf /opt/tljh/conda/lib/python3.14/json",
	}
	if faultRounds() == 0 { // each repair takes a quarter of a minute
		broken["packages are broken in all ways"] = strings.Join(slices.Sorted(maps.Values(packages)), " && ")
	} else {
		maps.Copy(broken, packages)
	}
	for name, breaks := range broken {
		t.Run(name, func(t *testing.T) {
			h.must(t, breaks)
			live := h.MustSh(t, "readlink /opt/tljh/user")
			want.Differ(t, 0, h.run(t, "tljh-install env check").Code)
			r := h.run(t, "tljh-install env repair --yes")
			want.Equal(t, 0, r.Code, r.Output())
			t.Logf("repaired in %.1f s", r.Took.Seconds())
			want.Equal(t, live, h.MustSh(t, "readlink /opt/tljh/user"), "just what is broken is put back:\n"+r.Output())
			want.Contains(t, h.must(t, "tljh-install env check"), "is healthy")
		})
	}
	t.Run("without the channel, from a snapshot", func(t *testing.T) {
		server.Break("/", mirror.Fault{HangUp: true})
		defer server.Mend()
		h.must(t, "rm -rf /opt/tljh/user/lib/python3.14/site-packages/jupyterlab")
		h.must(t, "tljh-install env repair --yes")
		want.Contains(t, h.must(t, "tljh-install env check"), "is healthy")
	})
	t.Run("nothing helps", func(t *testing.T) {
		h.must(t, "echo broken >> /opt/tljh/user/lib/python3.14/site-packages/jupyter_server/serverapp.py") // in its place: in all snapshots, too
		server.Break("/", mirror.Fault{HangUp: true})
		before, live := h.snapshots(t), h.MustSh(t, "readlink /opt/tljh/user; ls /opt/tljh/generations /opt/tljh/user/conda-meta")
		r := h.run(t, "UV_DEFAULT_INDEX=http://127.0.0.1:9/simple tljh-install env repair --yes")
		server.Mend()
		want.Equal(t, exitFailed, r.Code)
		want.Contains(t, r.Output(), "everything is as it was", "package sources")
		want.Equal(t, before, h.snapshots(t), "tries are no history")
		want.Equal(t, live, h.MustSh(t, "readlink /opt/tljh/user; ls /opt/tljh/generations /opt/tljh/user/conda-meta"))
		h.must(t, "tljh-install env repair")
		want.Contains(t, h.must(t, "tljh-install env check"), "is healthy")
	})
	t.Run("a record's address is not reached any more", func(t *testing.T) {
		h.must(t, "sed -i 's#http://[^\"]*/\\([^/]*-[0-9][^/]*conda\\)\"#http://127.0.0.1:9/gone/noarch/\\1\"#' /opt/tljh/user/conda-meta/jupyterlab-4*.json && rm -rf /opt/tljh/user/lib/python3.14/site-packages/jupyterlab")
		live := h.MustSh(t, "readlink /opt/tljh/user")
		h.must(t, "tljh-install env repair")
		want.Equal(t, live, h.MustSh(t, "readlink /opt/tljh/user"), "it came from the channel of the config")
		want.Contains(t, h.must(t, "tljh-install env check"), "is healthy")
	})
	t.Run("back, and back again", func(t *testing.T) {
		version := "/opt/tljh/user/bin/python -c 'from importlib.metadata import version; print(version(\"cowsay\"))'"
		h.must(t, "tljh-install env snapshot --keep 'before the exam'")
		h.must(t, "tljh-install env install "+mirror.Cowsay+"=4.0")
		h.must(t, "tljh-install env install "+mirror.Cowsay+"=6.0")
		r := h.run(t, "tljh-install env rollback")
		want.Equal(t, 2, r.Code, "nobody is there to ask")
		want.Contains(t, r.Output(), "cowsay 6.0 → 4.0", "--yes")
		h.must(t, "tljh-install env rollback --yes")
		want.Equal(t, "4.0", h.MustSh(t, version))
		h.must(t, "tljh-install env rollback --yes")
		want.Differ(t, 0, h.run(t, version).Code)
		h.must(t, "tljh-install env redo --yes")
		want.Equal(t, "4.0", h.MustSh(t, version))
		h.must(t, "tljh-install env redo --yes")
		want.Equal(t, "6.0", h.MustSh(t, version))
		want.Contains(t, h.run(t, "tljh-install env redo --yes").Output(), "there is no rollback to undo")
		want.Contains(t, h.must(t, "tljh-install env history"), "[before the exam]", "env redo")
		want.Contains(t, h.must(t, "tljh-install env check"), "is healthy")
		h.must(t, "/opt/tljh/user/bin/jupyter --version")
	})
	h.again(t, teacherServer(t, teacher))
	want.Equal(t, "42", recall(t, bob, work), "bob's kernel after all of this")
}

func teacherServer(t *testing.T, teacher *client.Browser) *client.Browser {
	t.Helper()
	start(t, teacher)
	return teacher
}

// TestTheChannelGoesWrong is about downloads and requests that fail: nothing is half-done, and what was there works.
func TestTheChannelGoesWrong(t *testing.T) {
	inTurn(t)
	t.Parallel()
	h := bare(t, guest.Options{})
	server, sources := h.channel(t)
	want.OK(t, h.Write(t.Context(), "/root/config.yaml", 0o600, strings.NewReader(sources)))
	line := h.line("--package-manager conda --config /root/config.yaml --admin " + admin + ":" + adminPassword)
	m, err := theMirror()
	want.OK(t, err)

	server.Break(m.Miniforge.Path, mirror.Fault{Corrupt: true})
	r := h.run(t, line)
	want.Equal(t, exitFailed, r.Code)
	want.Contains(t, r.Output(), "is not the file that was expected")
	server.Mend()

	server.Break(m.Miniforge.Path, mirror.Fault{CutAfter: m.Miniforge.Size / 3})
	before := server.Bytes(m.Miniforge.Path)
	server.Break("conda-forge/", mirror.Fault{Status: 503})
	r = h.run(t, line)
	want.Equal(t, exitFailed, r.Code)
	want.True(t, server.Bytes(m.Miniforge.Path)-before <= m.Miniforge.Size+1<<20, "the installer was fetched from its beginning again")
	want.Contains(t, r.Output(), "conda channel")
	want.Equal(t, "", h.halfGenerations(t))
	server.Mend()

	server.Break("conda-forge/*/jupyterlab-[0-9]*", mirror.Fault{Corrupt: true})
	want.Equal(t, exitFailed, h.run(t, line).Code)
	server.Mend()
	h.must(t, line)
	h.awaitHub(t, 30*time.Second)
	want.Contains(t, h.must(t, "tljh-install env check"), "is healthy")

	t.Run("requests that cannot be met change nothing", func(t *testing.T) {
		before := h.must(t, "tljh-install env list")
		r := h.run(t, "tljh-install env install "+mirror.LostHerd)
		want.Equal(t, exitFailed, r.Code)
		want.Contains(t, r.Output(), "do not fit together")
		want.Equal(t, before, h.must(t, "tljh-install env list"))
		want.Contains(t, h.must(t, "tljh-install env check"), "is healthy")
	})
	t.Run("a channel that dies midway", func(t *testing.T) {
		server.Break(m.File(mirror.Cowsay, "6.1"), mirror.Fault{CutAfter: 1000})
		want.Differ(t, 0, h.run(t, "tljh-install env install "+mirror.Cowsay+"=6.1").Code)
		server.Mend()
		want.Contains(t, h.must(t, "tljh-install env check"), "is healthy")
		h.must(t, "tljh-install env install "+mirror.Cowsay+"=6.1")
	})
	t.Run("a full disk", func(t *testing.T) {
		before := h.must(t, "tljh-install env list")
		h.MustSh(t, "mkdir -p /root/course && printf 'dependencies: ["+mirror.OldHerd+"]\\n' >/root/course/environment.yml")
		h.MustSh(t, fillDisk)
		for _, command := range []string{"install " + mirror.Cowsay + "=4.0", "apply /root/course"} {
			r := h.run(t, "tljh-install env "+command)
			want.Equal(t, exitFailed, r.Code, r.Output())
			want.Contains(t, strings.ToLower(r.Output()), "disk", "full")
		}
		h.MustSh(t, "rm -f /var/fill? /var/more")
		want.Equal(t, "", h.halfGenerations(t))
		want.Equal(t, before, h.must(t, "tljh-install env list"))
		want.Contains(t, h.must(t, "tljh-install env check"), "is healthy")
		h.must(t, "tljh-install env apply /root/course")
	})
}

// TestNoChannelAnswers is auto where conda cannot be fetched: uv takes its place, says so, and stays.
func TestNoChannelAnswers(t *testing.T) {
	inTurn(t)
	t.Parallel()
	h := bare(t, guest.Options{})
	server, sources := h.channel(t)
	want.OK(t, h.Write(t.Context(), "/root/config.yaml", 0o600, strings.NewReader(sources)))
	server.Break("/", mirror.Fault{Status: 404})
	r := h.run(t, h.line("--config /root/config.yaml --admin "+admin+":"+adminPassword))
	want.Equal(t, 0, r.Code)
	want.Contains(t, r.Output(), "made by uv, as conda cannot be fetched")
	server.Mend()
	want.Contains(t, h.must(t, "tljh-install install"), "Nothing to do")
	want.Equal(t, "uv", h.MustSh(t, "cat /opt/tljh/state/package-manager"))
	want.Contains(t, h.must(t, "tljh-install install --package-manager conda"), "was made by uv and is left as it is")
	want.Contains(t, h.run(t, "/opt/tljh/shims/conda install x").Output(), "made without conda")
}

// TestEnvironmentsFromSources applies what repo2docker knows, with conda, and gives it back.
func TestEnvironmentsFromSources(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h, _ := withConda(t)
	teacher := h.admin(t)
	bob := h.student(t, teacher, "bob")
	h.MustSh(t, `mkdir -p /root/course/binder /root/odd && cd /root/course/binder &&
printf 'dependencies:\n  - `+mirror.OldHerd+`\n  - pip:\n      - toolz\n' >environment.yml &&
printf 'tree # small\n' >apt.txt &&
printf '#!/bin/sh\nid -un >"$NB_PYTHON_PREFIX/built-by"\npython -c "import toolz"\n' >postBuild && chmod +x postBuild &&
printf '#!/bin/sh\nexport COURSE=herds\nexec "$@"\n' >start &&
printf 'FROM x\n' >/root/odd/Dockerfile && printf 'rich\n' >/root/odd/requirements.txt`)

	r := h.run(t, "tljh-install env apply /root/odd")
	want.Equal(t, exitBadInput, r.Code)
	want.Contains(t, r.Output(), "there are no containers here", "nothing was")

	want.Contains(t, h.must(t, "tljh-install env apply /root/course"), "apt.txt, environment.yml, postBuild, start")
	want.Equal(t, "tljh-env", h.MustSh(t, "cat /opt/tljh/user/built-by"))
	h.MustSh(t, "tree --version")
	k := h.again(t, bob)
	want.Contains(t, compute(t, k, "import os, cowsay, toolz, importlib.metadata as m; print(m.version('cowsay'), os.environ['COURSE'])"), "4.0 herds")
	want.Contains(t, h.must(t, "tljh-install env check"), "is healthy")

	h.must(t, "tljh-install env export --lock /root/locked")
	want.Contains(t, h.MustSh(t, "cat /root/locked/conda-linux-*.lock"), "@EXPLICIT", "/"+strings.ReplaceAll(mirror.OldHerd, "=", "-")+"-", "#sha256:")
	want.Equal(t, "", h.MustSh(t, "grep -h ^http /root/locked/conda-linux-*.lock | grep -v '#' || true"), "a package without a checksum")
	h.must(t, "tljh-install env apply /root/locked")
	want.Contains(t, h.must(t, "tljh-install env check"), "is healthy")
	was := h.MustSh(t, "readlink /opt/tljh/user")
	h.MustSh(t, `sed -i '/\/cowsay-/s/#.*/#sha256:'"$(printf 'another file' | sha256sum | cut -c1-64)"'/' /root/locked/conda-linux-*.lock && rm -rf /opt/tljh/cache`)
	r = h.run(t, "tljh-install env apply /root/locked")
	want.Equal(t, exitFailed, r.Code, r.Output())
	want.Equal(t, was, h.MustSh(t, "readlink /opt/tljh/user"), "what was not verified is in use")

	h.must(t, "tljh-install env export /root/given")
	want.Contains(t, h.MustSh(t, "cat /root/given/environment.yml /root/given/start"), mirror.OldHerd, "toolz==", "COURSE=herds")
	h.must(t, "tljh-install env apply /root/given")
	want.Contains(t, h.must(t, "tljh-install env check"), "is healthy")

	h.must(t, "tljh-install env rollback --yes")
	want.Contains(t, h.must(t, "tljh-install env check"), "is healthy")

	t.Run("an extra kernel for a group", func(t *testing.T) {
		h.set(t, "set users.extra_user_groups '{herders: [bob]}'")
		h.MustSh(t, "mkdir -p /root/stats && printf '"+mirror.Cowsay+"\n' >/root/stats/requirements.txt && cd /root && tar czf stats.tar.gz stats")
		h.again(t, bob)
		h.must(t, "tljh-install env apply /root/stats.tar.gz --kernel herds --group herders")
		want.Contains(t, h.must(t, "tljh-install env kernels"), "herds", "group herders")
		k := h.again(t, bob)
		want.Contains(t, shell(t, k, "jupyter kernelspec list"), "herds")
		want.Contains(t, shell(t, k, "/opt/tljh/kernels/env/herds/bin/python -c 'import cowsay'"), "exit 0")
		carol := h.student(t, teacher, "carol")
		other := kernel(t, carol)
		want.Lacks(t, shell(t, other, "jupyter kernelspec list"), "herds")
		want.Contains(t, shell(t, other, "ls /opt/tljh/kernels/env/herds/"), "Permission denied")
		h.must(t, "tljh-install env kernels --remove herds")
		want.Contains(t, h.must(t, "tljh-install env kernels"), "no extra kernel")
	})
}

// killSeeds is how often TestCondaKilled kills: TLJH_KILL_SEEDS says otherwise.
func killSeeds() int {
	if n, err := strconv.Atoi(os.Getenv("TLJH_KILL_SEEDS")); err == nil {
		return n
	}
	return 8
}

// TestCondaKilled kills commands that make, change, switch and repair the environment at random moments. After each, a server can start from the old
// environment or the new one, and the commands that follow put everything right.
func TestCondaKilled(t *testing.T) {
	inTurn(t)
	t.Parallel()
	h, _ := withConda(t)
	h.MustSh(t, "mkdir -p /root/course && printf 'dependencies: ["+mirror.OldHerd+"]\\n' >/root/course/environment.yml")
	commands := []struct {
		prepare, killed string
		seconds         float64 // that it takes on a quiet machine
	}{
		{"tljh-install env install " + mirror.Cowsay + "=6.0", "tljh-install env install " + mirror.Cowsay + "=4.0", 2},
		{"true", "tljh-install env apply /root/course", 14},
		{"tljh-install env install " + mirror.Cowsay + "=4.0", "tljh-install env rollback --yes", 4},
		{"rm -rf /opt/tljh/user/lib/python3.14/site-packages/traitlets/config", "tljh-install env repair --yes", 5},
	}
	random := rand.New(rand.NewPCG(1, 2))
	interrupted := 0
	for seed := range killSeeds() {
		command := commands[seed%len(commands)]
		h.must(t, command.prepare)
		took := 0.05 + command.seconds*random.Float64()
		r := h.run(t, fmt.Sprintf("timeout --signal=KILL %.2f %s", took, command.killed))
		if r.Code == 137 {
			interrupted++
		}
		works := h.run(t, "cd / && sudo -u nobody /opt/tljh/user/bin/python -Ic 'import jupyterhub.singleuser, jupyterlab'")
		if works.Code != 0 && !strings.HasPrefix(command.killed, "tljh-install env repair --yes") {
			t.Fatalf("after %s was killed within %.2f s, no server starts: %s", command.killed, took, works.Output())
		}
		h.must(t, "tljh-install env repair --yes")
		want.Contains(t, h.must(t, "tljh-install env check"), "is healthy")
	}
	want.Equal(t, "", h.halfGenerations(t), "what killed commands left")
	t.Logf("%d of %d commands were killed before their end", interrupted, killSeeds())
}
