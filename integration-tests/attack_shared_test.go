package integration

import (
	"context"
	_ "embed"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"tljh/integration-tests/guest"
	"tljh/integration-tests/want"
)

// says waits for a command in the guest to succeed.
func (h *hub) says(script string) func(context.Context) error {
	return func(ctx context.Context) error {
		r, err := h.Sh(ctx, script)
		if err == nil && r.Code != 0 {
			err = fmt.Errorf("exit code %d of %s: %s", r.Code, script, r.Output())
		}
		return err
	}
}

//go:embed testdata/attack_all.py
var attackAll string

// TestAttackWhatAllNeed fills what all users need: the folder of sockets, shared memory, the journal, and the disk of the hub's database.
func TestAttackWhatAllNeed(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := attacked(t)
	teacher := h.admin(t)
	carol := h.student(t, teacher, "carol")
	want.OK(t, carol.StopServer(t.Context(), "carol"))
	want.OK(t, h.Write(t.Context(), "/opt/attack_all.py", 0o644, strings.NewReader(attackAll)))
	works := func(t *testing.T) {
		t.Helper()
		k := h.again(t, carol)
		want.Equal(t, "42", compute(t, k, "print(6 * 7)"))
	}
	start(t, carol)

	t.Run("no default is without a limit", func(t *testing.T) {
		limit := h.property(t, "jupyter-carol.service", "MemoryMax")
		bytes, err := strconv.ParseUint(limit, 10, 64)
		want.OK(t, err, limit)
		why := h.must(t, "tljh-install config explain limits.memory")
		want.Contains(t, why, "a quarter of what all servers may take together", "limits.memory", "auto")
		want.Contains(t, why, strconv.FormatUint(bytes>>20, 10))
		want.Contains(t, target().output, "per server: a quarter of the")
		h.set(t, "set limits.memory null")
		works(t)
		want.Equal(t, "infinity", h.property(t, "jupyter-carol.service", "MemoryMax"))
		h.set(t, "set limits.memory 512M")
	})
	bob := h.student(t, teacher, "bob")
	t.Run("the folder of a socket while a server starts", func(t *testing.T) {
		h.set(t, "set user_environment.own_extensions true")
		want.OK(t, bob.StopServer(t.Context(), "bob"))
		// Start-up code of the user's own, which a hub that runs trusted code only would not run. It leaves room for the socket, or it would harm its user alone.
		h.MustSh(t, asBob+"mkdir -p .jupyter")
		want.OK(t, h.Write(t.Context(), "/home/jupyter-bob/.jupyter/jupyter_server_config.py", 0o644, strings.NewReader(`import glob, os, subprocess
folder = "/run/tljh/sockets/jupyter-bob"
took = subprocess.run(["python", "/opt/attack_all.py", folder, "1"], capture_output=True, text=True).stdout
if not os.path.exists("took"):
    open("took", "w").write(took)
for path in glob.glob(folder + "/filler*"):
    os.unlink(path)
os.makedirs(folder + "/kept/inside", exist_ok=True)
`)))
		start(t, bob)
		took, err := strconv.Atoi(h.MustSh(t, "cat /home/jupyter-bob/took"))
		want.OK(t, err)
		want.True(t, took > 0 && took <= 256<<10, fmt.Sprintf("the student's start put %d bytes into /run", took))
		want.Equal(t, "server.sock", h.MustSh(t, "ls -A /run/tljh/sockets/jupyter-bob"), "what is left in the folder")
		works(t)
		want.OK(t, bob.StopServer(t.Context(), "bob"))
		want.Equal(t, "0", h.MustSh(t, "grep -c /run/tljh/sockets/jupyter-bob /proc/mounts || true"), "mounts that are left")
		h.MustSh(t, "rm /home/jupyter-bob/.jupyter/jupyter_server_config.py")
		h.set(t, "unset user_environment.own_extensions")
		start(t, bob)
	})
	t.Run("shared memory", func(t *testing.T) {
		k := kernel(t, bob)
		before := h.MustSh(t, "df --output=used /dev/shm | tail -1")
		compute(t, k, "import subprocess; subprocess.Popen(['head', '-c', '100M', '/dev/zero'], stdout=open('/dev/shm/filler', 'wb')).wait()")
		want.Equal(t, before, h.MustSh(t, "df --output=used /dev/shm | tail -1"), "the machine's own shared memory")
		const systemV = "import ctypes, os; libc = ctypes.CDLL(None); print(os.path.exists('/dev/shm/filler'), os.path.exists('/tmp/filler'), libc.shmget(4711, 4096, 0o666) != -1, libc.msgget(4711, 0o666) != -1)"
		compute(t, k, "open('/tmp/filler', 'w').close(); import ctypes; libc = ctypes.CDLL(None); libc.shmget(4711, 4096, 0o1666); libc.msgget(4711, 0o1666)")
		want.Equal(t, "True True True True", compute(t, k, systemV))
		want.Equal(t, "False False False False", compute(t, h.again(t, carol), systemV), "another's server has it")
		size := compute(t, k, "import os; s = os.statvfs('/dev/shm'); print(s.f_blocks * s.f_frsize)")
		want.Equal(t, "268435456", size, "size of the shared memory")
		server := h.property(t, "jupyter-bob.service", "MainPID")
		full := compute(t, k, "import subprocess; print(subprocess.run('head -c 400M /dev/zero > /dev/shm/more', shell=True, capture_output=True, text=True).stderr)")
		want.Contains(t, full, "No space left on device")
		want.Equal(t, server, h.property(t, "jupyter-bob.service", "MainPID"), "the server did not outlive a full shared memory")
		want.Equal(t, "False False False False", compute(t, h.again(t, bob), systemV), "it outlived the server")
	})
	t.Run("temporary files", func(t *testing.T) {
		want.Equal(t, "tmpfs", h.MustSh(t, "findmnt --noheadings --output FSTYPE /tmp"), "this guest's /tmp")
		k := h.again(t, bob)
		before := h.MustSh(t, "df --output=used /tmp | tail -1")
		compute(t, k, "open('/tmp/filler', 'wb').write(bytes(100 << 20)); import tempfile; tempfile.NamedTemporaryFile().write(b'x')")
		want.Equal(t, before, h.MustSh(t, "df --output=used /tmp | tail -1"), "the machine's own /tmp")
		want.Equal(t, "1777", compute(t, k, "import os; print(oct(os.stat('/tmp').st_mode)[-4:])"))
		want.Equal(t, "False", compute(t, h.again(t, carol), "import os; print(os.path.exists('/tmp/filler'))"), "another's server has it")
		want.OK(t, bob.StopServer(t.Context(), "bob"))
		want.Equal(t, "", h.MustSh(t, "find /home/.tljh-tmp -name filler 2>/dev/null || true"), "what is left when the server has ended")
		start(t, bob)
	})
	t.Run("the journal", func(t *testing.T) {
		compute(t, kernel(t, bob), "import subprocess; subprocess.run(['python', '/opt/attack_all.py', 'shout', '5'])")
		lines, err := strconv.Atoi(h.MustSh(t, "journalctl -u jupyter-bob --since -30s -o cat | grep -c '^flood'"))
		want.OK(t, err)
		// journald raises the figure where the disk has much room.
		want.True(t, lines > 0 && lines <= 600*8, fmt.Sprintf("%d lines of a flood are in the journal", lines))
		t.Logf("%d lines of a flood are in the journal", lines)
	})
	t.Run("the disk of the hub's database", func(t *testing.T) {
		h.MustSh(t, `systemctl stop jupyterhub
			mkdir -p /mnt/small && mount -t tmpfs -o size=160m,mode=755 tmpfs /mnt/small && mkdir -m 1777 /mnt/small/scratch && cp -a /opt/tljh/state /mnt/small/state
			mount --bind /mnt/small/state /opt/tljh/state && systemctl start jupyterhub`)
		h.awaitHub(t, 60*time.Second)
		want.Equal(t, "4194304", h.MustSh(t, "stat -c %s /opt/tljh/state/reserve"))
		want.Equal(t, 0, h.run(t, "tljh-install status").Code)
		h.MustSh(t, "systemd-run --quiet --unit=filler -p User=jupyter-bob "+userPython+" /opt/attack_all.py /mnt/small/scratch 100000")
		guest.Until(t, 30*time.Second, h.says("test -e /opt/tljh/state/room.json"))
		guest.Until(t, 30*time.Second, h.says(`[ "$(df --output=avail /mnt/small | tail -1)" -lt 64 ]`))
		enrol(t, h.login(t, admin, adminPassword), "erin")
		_, err := h.login(t, admin, adminPassword).API(t.Context(), http.MethodPatch, "users/erin", map[string]any{"admin": true}, nil)
		want.OK(t, err, "writing to the database")
		works(t)
		h.MustSh(t, "systemctl restart jupyterhub")
		h.awaitHub(t, 60*time.Second)
		works(t)
		r := h.run(t, "tljh-install status")
		want.Differ(t, 0, r.Code)
		want.Contains(t, r.Output(), "disk", "the room kept for the hub is in use")
		h.MustSh(t, "systemctl stop filler; rm -r /mnt/small/scratch")
		guest.Until(t, 30*time.Second, h.says("test -e /opt/tljh/state/reserve && ! test -e /opt/tljh/state/room.json"))
		want.Equal(t, 0, h.run(t, "tljh-install status").Code)
	})
}
