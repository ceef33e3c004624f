package integration

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tljh/integration-tests/client"
	"tljh/integration-tests/want"
)

// TestATeacherAddsStudents is the first lesson: names go into the admin panel, students choose a password and work.
func TestATeacherAddsStudents(t *testing.T) {
	t.Parallel()
	h := installed(t)
	teacher := h.admin(t)

	t.Run("a student logs in by first use and runs code", func(t *testing.T) {
		b := h.student(t, teacher, "bob")
		want.Equal(t, "jupyter-bob", compute(t, kernel(t, b), "import getpass; print(getpass.getuser())"))
		me, err := b.Me(t.Context())
		want.OK(t, err)
		want.True(t, !me.Admin, "a student is admin")
		no := refusal(t, h.browser(t, "bob").Login(t.Context(), "not-the-password"), "logging in with a wrong password")
		want.True(t, no.Status < 500 && no.Message != "", "a wrong password is told as: "+no.Error())
		h.login(t, "bob", passwordOf("bob"))
	})
	t.Run("the user environment has what a course needs", func(t *testing.T) {
		b := h.login(t, "bob", passwordOf("bob"))
		want.OK(t, b.OpenLab(t.Context()))
		want.Equal(t, "ok", compute(t, kernel(t, b), "import ipywidgets, nbgitpuller, notebook, jupyterlab; print('ok')"))
	})
	t.Run("a stranger is refused, and cannot claim the name for later", func(t *testing.T) {
		refusal(t, h.browser(t, "mallory").Login(t.Context(), "chosen-by-an-attacker"), "logging in without being added")
		enrol(t, teacher, "mallory")
		refusalOrFirstUse := h.browser(t, "mallory").Login(t.Context(), "chosen-by-the-student")
		want.OK(t, refusalOrFirstUse, "the first login of the real student")
		refusal(t, h.browser(t, "mallory").Login(t.Context(), "chosen-by-an-attacker"), "logging in with what was tried before")
	})
	t.Run("a password of 80 characters is told in the form", func(t *testing.T) {
		enrol(t, teacher, "erin")
		no := refusal(t, h.browser(t, "erin").Login(t.Context(), strings.Repeat("p", 80)), "logging in with 80 characters")
		want.True(t, no.Status < 500, "the answer is a server error: "+no.Error())
		want.Contains(t, no.Message, "72")
		h.login(t, "erin", passwordOf("erin"))
	})
	t.Run("a name of 60 characters works", func(t *testing.T) {
		name := strings.Repeat("wilhelmina", 6)
		b := h.student(t, teacher, name)
		// The same account as with the older TLJH, so that homes can be carried over.
		system := "jupyter-" + name
		sum := fmt.Sprintf("%x", sha256.Sum256([]byte(system)))
		want.Equal(t, system[:26]+"-"+sum[:5], compute(t, kernel(t, b), "import getpass; print(getpass.getuser())"))
	})
	t.Run("students named in the config may log in", func(t *testing.T) {
		h.config(t, "users:\n  admin: [alice]\n  allowed: [grace]\n")
		h.login(t, "grace", passwordOf("grace"))
		refusal(t, h.browser(t, "heidi").Login(t.Context(), passwordOf("heidi")), "logging in without being named")
		h.login(t, "bob", passwordOf("bob")) // added in the panel before
	})
}

func TestNobodyTakesAnothersName(t *testing.T) {
	t.Parallel()
	h := installed(t)
	teacher := h.admin(t)

	t.Run("an admin's name is not to be had by first use", func(t *testing.T) {
		_, err := teacher.API(t.Context(), http.MethodPost, "users", map[string]any{"usernames": []string{"dora"}, "admin": true}, nil)
		want.OK(t, err)
		refusal(t, h.browser(t, "dora").Login(t.Context(), "claimed-by-anyone"), "claiming an admin's name")
		p, err := h.Start(t.Context(), "tljh-install", "password", "dora")
		want.OK(t, err)
		_, err = p.Stdin().Write([]byte("given-by-root-1\n"))
		want.OK(t, err)
		want.OK(t, p.Stdin().Close())
		r, err := p.Wait()
		want.OK(t, err)
		want.Equal(t, 0, r.Code, "tljh-install password: "+r.Output())
		h.login(t, "dora", "given-by-root-1")
	})
	t.Run("a password for a name that the hub does not know", func(t *testing.T) {
		r := h.run(t, "tljh-install password --generate nobody9")
		want.Equal(t, exitBadInput, r.Code, r.Output())
		want.Equal(t, "", r.Stdout, "a password that nobody can log in with")
		want.Contains(t, r.Output(), "there is no user nobody9 on this hub", "Admin page")
	})
	t.Run("nor one that the config makes an admin", func(t *testing.T) {
		h.config(t, "users:\n  admin: [alice, dave]\n")
		refusal(t, h.browser(t, "dave").Login(t.Context(), "claimed-by-anyone"), "claiming an admin's name")
	})
	h.firstLogins(t)
	t.Run("nor the account of a student who was removed", func(t *testing.T) {
		b := h.student(t, teacher, "bob")
		compute(t, kernel(t, b), "open('diary', 'w').write('mine')")
		want.OK(t, b.StopServer(t.Context(), "bob"))
		_, err := teacher.API(t.Context(), http.MethodDelete, "users/bob", nil, nil)
		want.OK(t, err)
		refusal(t, h.browser(t, "bob").Login(t.Context(), "claimed-by-the-next"), "claiming a removed account")
		enrol(t, teacher, "bob")
		refusal(t, h.browser(t, "bob").Login(t.Context(), "claimed-by-the-next"), "claiming a removed account that was added again")
		want.Equal(t, "mine", h.MustSh(t, "cat /home/jupyter-bob/diary"))
	})
}

func TestLimitsHold(t *testing.T) {
	t.Parallel()
	installed(t).limitsHold(t)
}

func (h *hub) limitsHold(t *testing.T) {
	h.config(t, "users:\n  admin: [alice]\nlimits:\n  memory: 512M\n  cpu: 0.5\n")
	teacher := h.admin(t)
	b := h.student(t, teacher, "bob")
	server := h.property(t, "jupyter-bob.service", "MainPID")

	t.Run("CPU", func(t *testing.T) {
		text := compute(t, kernel(t, b), `
import time
time.sleep(1)  # the server itself comes to rest
t, p = time.monotonic(), time.process_time()
while time.monotonic() - t < 5: pass
print((time.process_time() - p) / (time.monotonic() - t))`)
		share, err := strconv.ParseFloat(text, 64)
		want.OK(t, err)
		t.Logf("at half a CPU the kernel got %.3f", share)
		want.Equal(t, "500ms", h.property(t, "jupyter-bob.service", "CPUQuotaPerSecUSec"))
		if share < 0.4 {
			t.Skip("this machine is too busy to let it come near its limit")
		}
		want.True(t, share < 0.6, fmt.Sprintf("at half a CPU the kernel got %.3f", share))
		held := h.MustSh(t, "c=$(systemctl show --value -p ControlGroup jupyter-bob.service); cat /sys/fs/cgroup/cpu$c/cpu.stat /sys/fs/cgroup$c/cpu.stat 2>/dev/null | awk '/^nr_throttled/ { print $2 }'")
		want.Differ(t, "0", held, "periods in which the server was held back")
		want.Differ(t, "", held, "periods in which the server was held back")
	})
	t.Run("memory", func(t *testing.T) {
		k := kernel(t, b)
		compute(t, k, "x = bytearray(50 << 20)")
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		out, err := k.Run(ctx, "y = b'x' * (900 << 20)\nprint(len(y))")
		want.OK(t, err)
		want.True(t, out.Died, fmt.Sprintf("900 MB were had at a limit of 512 MB: %+v", out))
		want.Contains(t, out.Text, "your server ran out of memory (its limit is 0.5 GiB)")
		want.Contains(t, h.MustSh(t, "journalctl --no-pager -u jupyter-bob"), "ran out of memory")
		want.Equal(t, server, h.property(t, "jupyter-bob.service", "MainPID"), "the student's server did not live on")
		want.Equal(t, "1", compute(t, kernel(t, b), "print(1)"))
		h.admin(t)
	})
}

// tcpOnly stands for a kernel of the JVM or of Node: over unix sockets it never answers.
const tcpOnly = `
import json, sys, time
if json.load(open(sys.argv[1]))["transport"] == "ipc":
    time.sleep(600)
sys.argv[1:] = ["-f", sys.argv[1]]
from ipykernel.kernelapp import launch_new_instance
launch_new_instance()
`

// TestOddKernels has kernels of a user's own that do not start as others do.
func TestOddKernels(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := installed(t)
	bob := h.student(t, h.admin(t), "bob")
	const own = asBob + "sh -euc 'mkdir -p .local/share/jupyter/kernels/$0; cat > .local/share/jupyter/kernels/$0/kernel.json' "
	t.Run("one without a program", func(t *testing.T) {
		h.MustSh(t, own+`gone <<< '{"argv": ["/gone/python"], "display_name": "gone"}'`)
		_, err := bob.ServerAPI(t.Context(), bob.User, http.MethodPost, "kernels", map[string]string{"name": "gone"}, nil)
		want.True(t, err != nil, "a kernel without a program was started")
		want.Contains(t, err.Error(), "/gone/python")
		want.Lacks(t, err.Error(), "Unhandled")
	})
	t.Run("one whose program ends at once", func(t *testing.T) {
		h.MustSh(t, own+`ends <<< '{"argv": ["/bin/sh", "-c", "echo lacks a module >&2; exit 1", "{connection_file}"], "display_name": "ends"}'`)
		want.Contains(t, refusal(t, startKernel(t, bob, "ends"), "starting the kernel").Message, "The kernel ends ended when it was started (/bin/sh)", "journal of this server")
		want.Contains(t, h.MustSh(t, "journalctl --no-pager -u jupyter-bob"), "lacks a module")
	})
	t.Run("one that knows no unix sockets", func(t *testing.T) {
		want.OK(t, h.Write(t.Context(), "/opt/tcponly.py", 0o644, strings.NewReader(tcpOnly)))
		h.MustSh(t, own+`tcponly <<< '{"argv": ["`+userPython+`", "/opt/tcponly.py", "{connection_file}"], "display_name": "tcponly"}'`)
		for range 2 {
			k, err := bob.StartKernelOf(t.Context(), "tcponly")
			want.OK(t, err)
			want.Equal(t, "42", compute(t, k, "print(6 * 7)"))
			want.Equal(t, "tcp 127.0.0.1", compute(t, k, "import json, sys; c = json.load(open(sys.argv[2])); print(c['transport'], c['ip'])"))
		}
		want.Equal(t, "1", h.MustSh(t, "journalctl --no-pager -u jupyter-bob | grep -c 'Kernel tcponly does not answer over unix sockets'"), "starts over unix sockets")
	})
}

func TestSudo(t *testing.T) {
	t.Parallel()
	installed(t).sudoIsForAdmins(t)
}

func (h *hub) sudoIsForAdmins(t *testing.T) {
	teacher := h.admin(t)
	start(t, teacher)
	student := h.student(t, teacher, "bob")
	const sudo = "import subprocess as s; r = s.run(['sudo', '-n', 'id', '-u'], capture_output=True, text=True); print(r.returncode, r.stdout.strip(), r.stderr)"
	want.Equal(t, "0 0", compute(t, kernel(t, teacher), sudo))
	got := compute(t, kernel(t, student), sudo)
	want.True(t, strings.HasPrefix(got, "1 "), "sudo as a student: "+got)
	want.Contains(t, compute(t, kernel(t, teacher), "import subprocess as s; print(s.run(['id', '-Gn'], capture_output=True, text=True).stdout)"), "jupyterhub-admins", "jupyterhub-users")
	want.Lacks(t, compute(t, kernel(t, student), "import subprocess as s; print(s.run(['id', '-Gn'], capture_output=True, text=True).stdout)"), "jupyterhub-admins", "sudo")
}

// TestAClassOfForty is the first minutes of a lesson: the admin and 40 students log in, start JupyterLab and run code, and all of them stay at work.
func TestAClassOfForty(t *testing.T) {
	t.Parallel()
	const class, atOnce = 40, 10 // browsers that wait for a server; more would only test the patience of a small machine
	h := installed(t)
	teacher := h.admin(t)
	var names []string
	for i := range class {
		names = append(names, fmt.Sprintf("student%02d", i))
	}
	enrol(t, teacher, names...)
	begin := time.Now()
	var wg sync.WaitGroup
	errs := make([]error, class)
	turn := make(chan struct{}, atOnce)
	for i, name := range names {
		wg.Go(func() {
			turn <- struct{}{}
			errs[i] = h.begin(t.Context(), name)
			<-turn
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("%s: %v", names[i], err)
		}
	}
	t.Logf("%d students were at work after %.1f s", class, time.Since(begin).Seconds())
	want.Equal(t, strconv.Itoa(class), h.MustSh(t, "systemctl list-units --no-legend --plain --state=active 'jupyter-student*.service' | wc -l"), "servers that run")
	start(t, teacher)
	want.Equal(t, "42", compute(t, kernel(t, teacher), "print(6*7)"))
}

// begin is what one student does: log in, start the server, run something.
func (h *hub) begin(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 8*time.Minute)
	defer cancel()
	b, err := client.New(h.url(), name)
	if err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return b.Login(ctx, passwordOf(name)) }, b.Spawn, b.OpenLab,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	k, err := b.StartKernel(ctx)
	if err != nil {
		return err
	}
	out, err := k.Run(ctx, "print(6*7)")
	if err == nil && strings.TrimSpace(out.Text) != "42" {
		err = fmt.Errorf("the kernel said %+v", out)
	}
	return errors.Join(err, k.Close())
}

func TestASpawnThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	h := installed(t)
	teacher := h.admin(t)
	enrol(t, teacher, "bob", "carol")

	t.Run("the home is full", func(t *testing.T) {
		b := h.login(t, "bob", passwordOf("bob"))
		start(t, b)
		want.OK(t, b.StopServer(t.Context(), "bob"))
		h.MustSh(t, "mount -t tmpfs -o size=64k,mode=700,uid=$(id -u jupyter-bob),gid=$(id -g jupyter-bob) none /home/jupyter-bob && runuser -u jupyter-bob -- sh -c 'cat /dev/zero > /home/jupyter-bob/lots 2>/dev/null' || true")
		message := strings.ToLower(spawnFailure(t, b))
		want.True(t, strings.Contains(message, "full") || strings.Contains(message, "space"), "a full home is told as: "+message)
		h.MustSh(t, "umount /home/jupyter-bob")
		start(t, b)
		want.OK(t, b.StopServer(t.Context(), "bob"))
	})
	t.Run("there is no memory left", func(t *testing.T) {
		b := h.login(t, "carol", passwordOf("carol"))
		h.MustSh(t, "systemctl set-property --runtime tljh-users.slice MemoryMax=80M")
		message := strings.ToLower(spawnFailure(t, b))
		want.Contains(t, message, "memory")
		h.MustSh(t, "systemctl set-property --runtime tljh-users.slice MemoryMax=infinity")
		start(t, b)
		want.OK(t, b.StopServer(t.Context(), "carol"))
	})
	t.Run("the user environment is broken, and so is the rescue environment", func(t *testing.T) {
		b := h.login(t, "carol", passwordOf("carol"))
		h.MustSh(t, "mv /opt/tljh/user/bin/jupyterhub-singleuser /opt/tljh/hub/rescue /root/")
		want.Contains(t, strings.ToLower(spawnFailure(t, b)), "environment", "env repair")
		h.MustSh(t, "mv /root/jupyterhub-singleuser /opt/tljh/user/bin/ && mv /root/rescue /opt/tljh/hub/")
		start(t, b)
	})
}

func spawnFailure(t *testing.T, b *client.Browser) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	err := b.Spawn(ctx)
	var failed *client.SpawnFailed
	if !errors.As(err, &failed) {
		t.Fatalf("wanted the start to fail with a reason, got %v", err)
	}
	t.Logf("told: %s", failed.Message)
	return failed.Message
}

// firstLogins are those with a class code and with one-time passwords.
func (h *hub) firstLogins(t *testing.T) {
	t.Helper()
	t.Run("with a class code", func(t *testing.T) {
		h.set(t, "set users.class_code maple-42-river", "add users.allowed erin frank", "set users.first_login code")
		want.Lacks(t, h.MustSh(t, "tljh-install config show; tljh-install config history; journalctl -b; cat /opt/tljh/installer.log"), "maple-42-river")
		refusal(t, h.browser(t, "erin").Login(t.Context(), passwordOf("erin")), "choosing a password without the class code")
		refusal(t, h.browser(t, "erin").FirstLogin(t.Context(), passwordOf("erin"), "maple-42"), "a wrong class code")
		want.OK(t, h.browser(t, "erin").FirstLogin(t.Context(), passwordOf("erin"), "Maple-42-River"))
		h.login(t, "erin", passwordOf("erin"))
	})
	t.Run("with one-time passwords", func(t *testing.T) {
		h.set(t, "set users.first_login password")
		refusal(t, h.browser(t, "frank").Login(t.Context(), passwordOf("frank")), "choosing a password without a one-time password")
		name, oneTime, found := strings.Cut(strings.TrimSpace(h.MustSh(t, "tljh-install password --one-time --all 2>/dev/null")), "  ")
		want.True(t, found && name == "frank", "erin and the admin have passwords: "+name)
		again := h.run(t, "tljh-install password --one-time --all")
		want.Equal(t, exitBadInput, again.Code)
		want.Contains(t, again.Output(), "not used yet: 1", "--unused")
		name, newer, found := strings.Cut(strings.TrimSpace(h.MustSh(t, "tljh-install password --one-time --unused 2>/dev/null")), "  ")
		want.True(t, found && name == "frank" && newer != oneTime, name+" "+newer)
		refusal(t, h.browser(t, "frank").Login(t.Context(), oneTime), "a one-time password that was replaced")
		oneTime = strings.ToUpper(newer)
		b := h.browser(t, "frank")
		b.Chooses = passwordOf("frank")
		want.OK(t, b.Login(t.Context(), oneTime))
		refusal(t, h.browser(t, "frank").Login(t.Context(), oneTime), "a one-time password, again")
		h.login(t, "frank", passwordOf("frank"))
		want.Contains(t, h.run(t, "tljh-install password --one-time --all").Output(), "Every user already has a password")
	})
	h.set(t, "unset users.first_login")
}
