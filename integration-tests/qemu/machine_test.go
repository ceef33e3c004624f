package qemu_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"tljh/integration-tests/client"
	"tljh/integration-tests/guest"
	"tljh/integration-tests/mirror"
	"tljh/integration-tests/qemu"
	"tljh/integration-tests/release"
	"tljh/integration-tests/want"
)

// Without KVM everything takes ten times as long as on a server.
const (
	installLimit = 45 * time.Minute
	spawnLimit   = 5 * time.Minute
)

const password = "correct-horse-battery"

// TestHubOnAKernelOfItsOwn does, on a machine like a server, what the guests of package guest cannot show: limits of cgroup version 2,
// a real reboot, and a power cut.
func TestHubOnAKernelOfItsOwn(t *testing.T) {
	require(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Minute)
	defer cancel()
	m, line := machine(ctx, t)
	want.Equal(t, "cgroup2fs", sh(t, m, "stat -fc %T /sys/fs/cgroup"))

	// A power cut at the very moment at which the line says that all is well.
	r := paste(t, m, line)
	t.Logf("installed in %s (cut off then)", r.Took.Round(time.Second))
	want.OK(t, m.Cut())
	want.OK(t, m.Boot(ctx))
	awaitHub(t, m)
	want.Equal(t, "running", sh(t, m, "systemctl is-system-running --wait || systemctl --failed >&2"))
	b := work(t, m, "alice", password)
	again := paste(t, m, line)
	want.Contains(t, again.Output(), "Nothing to do")

	t.Run("the memory limit is the kernel's", func(t *testing.T) {
		want.OK(t, m.Put(ctx, "/root/config.yaml", strings.NewReader("users:\n  admin: [alice]\n  allowed: [bob]\nlimits:\n  memory: 512M\n")))
		sh(t, m, "tljh-install install --config /root/config.yaml")
		awaitHub(t, m)
		want.OK(t, b.StopServer(ctx, "alice"))
		b := work(t, m, "alice", password)
		want.Equal(t, strconv.Itoa(512<<20), sh(t, m, "systemctl show --value -p MemoryMax jupyter-alice.service"))
		k := kernel(t, b)
		out, err := k.Run(ctx, "y = b'x' * (900 << 20)\nprint(len(y))")
		want.OK(t, err)
		want.True(t, out.Died, fmt.Sprintf("900 MB were had at a limit of 512 MB: %+v", out))
		want.Contains(t, out.Text, "your server ran out of memory (its limit is 0.5 GiB)")
		want.Contains(t, sh(t, m, "journalctl --no-pager -b -k | grep -i 'memory cgroup out of memory' || true"), "ut of memory")
		want.Equal(t, "active", sh(t, m, "systemctl is-active jupyter-alice.service"), "the server did not live on")
		compute(t, kernel(t, b), "print(1)", "1")
	})
	t.Run("the kernel opens the devices of users.devices alone", func(t *testing.T) { devicesAreClosed(t, m) })
	t.Run("ports of users are closed to other machines", func(t *testing.T) { portsAreClosed(t, m, kernel(t, work(t, m, "alice", password))) })
	t.Run("it comes back after a reboot", func(t *testing.T) {
		want.OK(t, m.Reboot(ctx))
		awaitHub(t, m)
		portsAreClosed(t, m, kernel(t, work(t, m, "alice", password)))
	})
	t.Run("it comes back after a power cut in the middle of work", func(t *testing.T) {
		b, err := client.New(m.URL(), "alice")
		want.OK(t, err)
		want.OK(t, b.Login(ctx, password))
		compute(t, kernel(t, work(t, m, "alice", password)), "import os; f = open('notes', 'w'); f.write('kept'); f.flush(); os.fsync(f.fileno()); print('saved')", "saved")
		want.OK(t, m.Cut())
		want.OK(t, m.Boot(ctx))
		awaitHub(t, m)
		compute(t, kernel(t, work(t, m, "alice", password)), "print(open('notes').read())", "kept")
	})
}

// devicesAreClosed has a GPU and a camera without drivers, which anybody may open by their modes. The kernel says of one that it has no driver; of the
// other, that it may not be opened.
func devicesAreClosed(t *testing.T, m *qemu.Machine) {
	t.Helper()
	sh(t, m, "mknod -m 0666 /dev/nvidia0 c 195 0 && mknod -m 0666 /dev/video0 c 81 0")
	const tries = `
import errno, os
for name in ("nvidia0", "video0", "null"):
    try:
        os.close(os.open("/dev/" + name, os.O_RDWR))
        print(name, "opened")
    except OSError as error:
        print(name, errno.errorcode[error.errno])
`
	compute(t, kernel(t, work(t, m, "bob", "a-student's-password")), tries, "nvidia0 ENXIO\nvideo0 EPERM\nnull opened")
	want.Equal(t, "closed", sh(t, m, "systemctl show --value -p DevicePolicy jupyter-bob.service"))
}

// portsAreClosed has a user's process listen, and something that comes by a cable, so to speak, try to reach it.
func portsAreClosed(t *testing.T, m *qemu.Machine, k *client.Kernel) {
	t.Helper()
	want.Contains(t, sh(t, m, "cat /run/tljh/firewall.json"), `"slice":true`)
	sh(t, m, `ip netns add visitor && ip link add here type veth peer name there netns visitor
ip addr add 10.9.0.1/24 dev here && ip link set here up && ip -n visitor addr add 10.9.0.2/24 dev there && ip -n visitor link set there up`)
	compute(t, k, "import subprocess, sys; serving = subprocess.Popen([sys.executable, '-m', 'http.server', '--bind', '0.0.0.0', '18999']); print('begun')", "begun")
	sh(t, m, "curl -sf -o /dev/null --retry 60 --retry-delay 1 --retry-all-errors http://127.0.0.1:18999/")
	visitor := "ip netns exec visitor curl -s -o /dev/null --max-time 5 http://10.9.0.1"
	want.Equal(t, "closed", sh(t, m, visitor+":18999/ && echo open || echo closed"))
	want.Equal(t, "open", sh(t, m, visitor+":80/hub/login --max-time 60 && echo open || echo closed"))
	compute(t, k, "serving.terminate(); print('ended')", "ended")
}

// TestPowerCutsWhileItInstalls cuts the power while wheels come in, while an environment is being filled, and after the hub's is whole. What a server has
// written and not synced is gone then, names of files that have no contents yet stay, and the same command must finish all the same.
func TestPowerCutsWhileItInstalls(t *testing.T) {
	require(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Minute)
	defer cancel()
	m, line := machine(ctx, t)
	for _, moment := range []string{
		"/opt/tljh/cache/fetched-*",
		"/opt/tljh/generations/user-*/lib/python3*/site-packages/jupyterlab",
		"/opt/tljh/generations/hub-*/generation.json",
	} {
		cutAt(ctx, t, m, line, "ls -d "+moment)
	}
	paste(t, m, line)
	awaitHub(t, m)
	work(t, m, "alice", password)
	want.Equal(t, "", sh(t, m, "tljh-install env check >/dev/null || tljh-install env check"), "what is wrong with the user environment")
}

// cutAt runs a command, cuts the power as soon as a condition holds in the machine, and boots it.
func cutAt(ctx context.Context, t *testing.T, m *qemu.Machine, line, moment string) {
	t.Helper()
	working, stop := context.WithTimeout(ctx, installLimit)
	defer stop()
	ended := make(chan string, 1)
	go func() {
		r, err := m.Sh(working, line)
		ended <- fmt.Sprintf("exit code %d, %v\n%s", r.Code, err, r.Output())
		stop() // nothing more is to be waited for
	}()
	if _, err := m.Sh(working, "until "+moment+"; do sleep 0.1; done"); err != nil {
		stop()
		t.Fatalf("%s was not reached (%v): %s", moment, err, <-ended)
	}
	want.OK(t, m.Cut())
	t.Logf("cut off at %s: %s", moment, <-ended)
	want.OK(t, m.Boot(ctx))
}

// TestPowerCutsWhileItChanges has an environment of conda's, and cuts the power while a package is installed, while an upgrade builds, while it switches,
// and while everything is taken away. The hub works after each of them, and the same command finishes.
func TestPowerCutsWhileItChanges(t *testing.T) {
	require(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Minute)
	defer cancel()
	w, err := release.OpenWorkshop(guest.RepositoryRoot(), guest.CacheDir())
	want.OK(t, err)
	before, err := w.Build(ctx, release.Previous("0.0.9"))
	want.OK(t, err)
	next, err := w.Build(ctx, release.Next("0.1.0"))
	want.OK(t, err)
	channel, err := mirror.Build(ctx, guest.RepositoryRoot(), guest.CacheDir())
	want.OK(t, err)
	ln, channelURL := listen(t)
	server := mirror.Serve(ln, channel)
	t.Cleanup(func() { server.Close() })

	m := thawed(ctx, t)
	want.OK(t, m.Put(ctx, "/root/config.yaml", strings.NewReader("sources:\n  alias: "+channelURL+"\n  mirror: "+channelURL+"/"+path.Dir(channel.Miniforge.Path)+
		"\n  miniforge_sha256: "+channel.Miniforge.SHA256+"\n")))
	paste(t, m, release.Line(serve(t, before), "", "--package-manager conda --config /root/config.yaml --admin alice:"+password))
	awaitHub(t, m)
	b := work(t, m, "alice", password)
	compute(t, kernel(t, b), "import os; f = open('notes', 'w'); f.write('kept'); f.flush(); os.fsync(f.fileno()); print('saved')", "saved")
	sh(t, m, "sync")
	unharmed := func() {
		awaitHub(t, m)
		compute(t, kernel(t, work(t, m, "alice", password)), "print(open('notes').read())", "kept")
	}

	install := "tljh-install env install " + mirror.Cowsay + "=4.0"
	cutAt(ctx, t, m, install, "ls -d /opt/tljh/user/lib/python3*/site-packages/cowsay")
	unharmed()
	sh(t, m, "tljh-install env repair && "+install+" && tljh-install env check")

	upgrade := "tljh-install upgrade --yes --from " + serve(t, next)
	phase := func(name string) string { return "grep -q '\"phase\":\"" + name + "' /opt/tljh/state/upgrade.json" }
	cutAt(ctx, t, m, upgrade, phase("preparing")+" && ls -d /opt/tljh/generations/hub-2/lib")
	unharmed()
	cutAt(ctx, t, m, upgrade, phase("switching"))
	if r, err := m.Sh(ctx, upgrade); err != nil || r.Code != 0 {
		t.Fatalf("the upgrade was not completed: %d, %v\n%s", r.Code, err, r.Output())
	}
	want.Contains(t, sh(t, m, "tljh-install version"), "0.1.0")
	unharmed()
	sh(t, m, "tljh-install env check && sync")

	uninstall := "/root/tljh-install uninstall --yes"
	sh(t, m, "cp /opt/tljh/bin/tljh-install /root/ && sync")
	cutAt(ctx, t, m, uninstall, "! ls -d /opt/tljh/generations/user-1")
	sh(t, m, uninstall)
	want.Equal(t, "kept", sh(t, m, "cat /home/jupyter-alice/notes"))
	want.Equal(t, "", sh(t, m, "ls -d /opt/tljh/bin /opt/tljh/hub /opt/tljh/generations /etc/systemd/system/jupyterhub.service /etc/sudoers.d/tljh 2>/dev/null || true"))
}

// require leaves a test out where no machines are wanted.
func require(t *testing.T) {
	t.Helper()
	if os.Getenv("TLJH_VM") != "1" {
		t.Skip("this test boots machines under QEMU, which takes an hour and a half without KVM; run it with `make test-vm` (TLJH_VM=1)")
	}
}

// machine thaws a machine that can reach a release, and returns the line that root pastes there.
func machine(ctx context.Context, t *testing.T) (m *qemu.Machine, line string) {
	t.Helper()
	dist, err := release.Build(ctx, guest.RepositoryRoot(), filepath.Join(t.TempDir(), "dist"))
	want.OK(t, err)
	return thawed(ctx, t), release.Line(serve(t, dist), "", "--admin alice:"+password)
}

func thawed(ctx context.Context, t *testing.T) *qemu.Machine {
	t.Helper()
	base, err := qemu.Open(ctx, guest.Trixie)
	want.OK(t, err)
	t.Cleanup(base.CloseOnSignal())
	m, err := base.Thaw(ctx)
	want.OK(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			keepLogs(t, m)
		}
		want.OK(t, m.Close())
	})
	return m
}

// serve serves a release until the test ends, and returns its address for a machine.
func serve(t *testing.T, folder string) string {
	t.Helper()
	ln, url := listen(t)
	server := release.Serve(ln, folder)
	t.Cleanup(func() { server.Close() })
	return url
}

func listen(t *testing.T) (net.Listener, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	want.OK(t, err)
	return ln, "http://" + net.JoinHostPort(qemu.Host, strconv.Itoa(ln.Addr().(*net.TCPAddr).Port))
}

func keepLogs(t *testing.T, m *qemu.Machine) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	r, err := m.Sh(ctx, "journalctl --no-pager -n 2000; cat /opt/tljh/installer.log")
	text := r.Output() + "\n" + m.Console()
	dir := guest.ArtefactsDir()
	path := filepath.Join(dir, t.Name()+".log")
	if err = errors.Join(err, os.MkdirAll(dir, 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Logf("the machine's logs are not complete: %v", err)
	}
	t.Logf("the machine's logs are in %s", path)
}

func sh(t *testing.T, m *qemu.Machine, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	r, err := m.Sh(ctx, script)
	want.OK(t, err)
	if r.Code != 0 {
		t.Fatalf("%s: exit %d: %s", script, r.Code, r.Output())
	}
	return strings.TrimSpace(r.Stdout)
}

func paste(t *testing.T, m *qemu.Machine, line string) guest.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), installLimit)
	defer cancel()
	r, err := m.Sh(ctx, line)
	want.OK(t, err)
	if r.Code != 0 {
		t.Fatalf("the pasted line ended with %d:\n%s", r.Code, r.Output())
	}
	return r
}

func awaitHub(t *testing.T, m *qemu.Machine) {
	t.Helper()
	guest.Until(t, 5*time.Minute, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		b, err := client.New(m.URL(), "")
		if err != nil {
			return err
		}
		page, err := b.Open(ctx, "/hub/login")
		if err == nil && page.Status != 200 {
			err = fmt.Errorf("the login page says %d", page.Status)
		}
		return err
	})
}

// work logs in, starts the server and runs something.
func work(t *testing.T, m *qemu.Machine, user, password string) *client.Browser {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), spawnLimit)
	defer cancel()
	b, err := client.New(m.URL(), user)
	want.OK(t, err)
	want.OK(t, b.Login(ctx, password))
	want.OK(t, b.Spawn(ctx))
	want.OK(t, b.OpenLab(ctx))
	compute(t, kernel(t, b), "print(6*7)", "42")
	return b
}

func kernel(t *testing.T, b *client.Browser) *client.Kernel {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), spawnLimit)
	defer cancel()
	k, err := b.StartKernel(ctx)
	want.OK(t, err)
	t.Cleanup(func() { _ = k.Close() })
	return k
}

func compute(t *testing.T, k *client.Kernel, code, wanted string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), spawnLimit)
	defer cancel()
	out, err := k.Run(ctx, code)
	want.OK(t, err)
	want.Equal(t, "", out.Error)
	want.Equal(t, wanted, strings.TrimSpace(out.Text))
}
