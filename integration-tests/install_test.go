package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"tljh/integration-tests/browser"
	"tljh/integration-tests/client"
	"tljh/integration-tests/guest"
	"tljh/integration-tests/release"
	"tljh/integration-tests/want"
)

// services are the units an installation is made of.
var services = []string{"jupyterhub.service", "configurable-http-proxy.service", "tljh-edge.socket"}

func TestPasteTheLineOnDebian12AsRoot(t *testing.T) {
	t.Parallel()
	h := installed(t)
	t.Logf("installed in %.1f s", installation.took.Seconds())
	want.Contains(t, installation.output, "http://10.99.", admin, "\nNext\n", "/hub/admin", "man tljh-install")
	want.Lacks(t, installation.output, adminPassword) // it was typed by its owner, and screens are seen by others
	h.looksInstalled(t)
	used, err := h.DiskUsed(t.Context(), "/opt/tljh")
	want.OK(t, err)
	want.True(t, used <= 860e6, fmt.Sprintf("/opt/tljh takes %d bytes", used)) // docs/contributing/benchmarks.md has the aim, which is less
	want.Equal(t, "", h.MustSh(t, "find /var/lib/dpkg/status -newer /opt/tljh/state/installer.token"), "packages of the distribution were changed")
	h.usable(t, adminPassword)
	t.Run("the probe user is gone", h.noProbeUser)
	t.Run("people at a shell find what they look for", h.knownToShells)
	t.Run("systemd is as the unit tests have it", h.systemdKeepsTheContract)
	t.Run("JupyterLab asks nobody about news", h.quiet)
	t.Run("no secret is left where others read it", h.noSecretsAbout)
}

func TestPasteTheLineOnDebian13WithSudo(t *testing.T) {
	t.Parallel()
	h := bare(t, guest.Options{Suite: guest.Trixie})
	h.MustSh(t, "useradd --create-home teacher && echo 'teacher ALL=(ALL:ALL) NOPASSWD: ALL' > /etc/sudoers.d/teacher && chmod 0440 /etc/sudoers.d/teacher")
	want.OK(t, h.Write(t.Context(), "/home/teacher/line", 0o755, strings.NewReader(release.Line(h.release.URL(), "sudo", "--admin alice")+"\n")))
	r := h.run(t, strings.Join(guest.As("teacher", "bash", "/home/teacher/line"), " "))
	if r.Code != 0 {
		t.Fatalf("the pasted line ended with %d:\n%s", r.Code, r.Output())
	}
	password := generatedPassword(t, r.Output())
	h.looksInstalled(t)
	h.usable(t, password)
	t.Run("the generated password is in no log", func(t *testing.T) {
		got := h.MustSh(t, "journalctl --no-pager -b | grep -cF "+password+"; grep -cF "+password+" /opt/tljh/installer.log || true")
		want.Equal(t, "0\n0", got)
	})
	t.Run("a notebook cell runs in a real browser", func(t *testing.T) { h.inChromium(t, admin, password) })
}

// knownToShells checks completion and manual pages; a shell that is not there has its file all the same.
func (h *hub) knownToShells(t *testing.T) {
	for _, name := range []string{"tljh-install", "tljh-config"} {
		want.Contains(t, h.MustSh(t, "bash -c 'source /usr/local/share/bash-completion/completions/"+name+" && complete -p "+name+"'"), name)
	}
	want.Equal(t, "limits.memory", h.MustSh(t, "runuser -u nobody -- tljh-install __complete config get limits.mem 2>/dev/null | head -n 1"))
	files := "/usr/local/share/man/man1/tljh-install.1 /usr/local/share/man/man1/tljh-install-config.1 /usr/local/share/man/man1/tljh-config.1 " +
		"/usr/local/share/zsh/site-functions/_tljh-install /etc/fish/completions/tljh-install.fish"
	want.Equal(t, "644 root", h.MustSh(t, "stat -c '%a %U' "+files+" | sort -u"))
}

// systemdKeepsTheContract runs what the stand-in for systemd is held to against the real one.
func (h *hub) systemdKeepsTheContract(t *testing.T) {
	program := filepath.Join(t.TempDir(), "contract")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", program, "tljh/internal/host")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	want.OK(t, err, string(out))
	file, err := os.Open(program)
	want.OK(t, err)
	defer file.Close()
	want.OK(t, h.Write(t.Context(), "/root/contract", 0o755, file))
	want.Contains(t, h.MustSh(t, "cd /root && TLJH_TEST_SYSTEMD=1 ./contract -test.v -test.run 'TestRealSystemd' && rm contract"), "--- PASS: TestRealSystemdKeepsTheContract")
}

// quiet checks the real JupyterLab, with trusted code only and with users' own extensions.
func (h *hub) quiet(t *testing.T) {
	for _, own := range []string{"false", "true"} {
		h.MustSh(t, "tljh-install config set user_environment.own_extensions "+own+" --reload")
		b := h.login(t, admin, adminPassword)
		_ = b.StopServer(t.Context(), admin) // it may not run
		start(t, b)
		page, err := b.Open(t.Context(), "/user/"+admin+"/lab")
		want.OK(t, err)
		want.Contains(t, page.Body, `"news": {"disabled": true}`)
		var settings struct {
			Schema struct {
				Properties map[string]struct {
					Default any `json:"default"`
				} `json:"properties"`
			} `json:"schema"`
		}
		_, err = b.OnServer(t.Context(), admin, "GET", "lab/api/settings/@jupyterlab/apputils-extension:notification", nil, &settings)
		want.OK(t, err)
		want.Equal(t, "false", fmt.Sprint(settings.Schema.Properties["fetchNews"].Default), "fetchNews, own extensions: "+own)
		want.Equal(t, "false", fmt.Sprint(settings.Schema.Properties["checkForUpdates"].Default), "checkForUpdates")
	}
}

// generatedPassword finds the one password that was printed, once.
func generatedPassword(t *testing.T, output string) string {
	t.Helper()
	found := regexp.MustCompile(`(?i)password\W+([a-z2-9]{4}(?:-[a-z2-9]{4}){3})\b`).FindAllStringSubmatch(output, -1)
	if len(found) != 1 {
		t.Fatalf("wanted a generated password once, found %d times:\n%s", len(found), output)
	}
	return found[0][1]
}

// looksInstalled checks what an admin who looks around would see.
func (h *hub) looksInstalled(t *testing.T) {
	t.Helper()
	for _, unit := range services {
		want.Equal(t, "active", h.property(t, unit, "ActiveState"), unit)
		want.Equal(t, "enabled", h.property(t, unit, "UnitFileState"), unit)
	}
	want.Equal(t, "running", h.MustSh(t, "systemctl is-system-running || systemctl --failed --no-legend --plain"), "the machine's state")
	modes := h.MustSh(t, "stat -c '%a %U %n' /opt/tljh/state /opt/tljh/config /opt/tljh/config/config.yaml /opt/tljh/installer.log /opt/tljh/state/proxy.env /opt/tljh/state/installer.token /opt/tljh/state/jupyterhub.sqlite /opt/tljh/state/jupyterhub_cookie_secret /opt/tljh/state/passwords.sqlite")
	for line := range strings.Lines(modes) {
		if !strings.HasPrefix(line, "600 root ") && !strings.HasPrefix(line, "700 root ") {
			t.Errorf("others may read it, or it is not root's: %s", line)
		}
	}
	h.MustSh(t, "visudo -c")
	want.Equal(t, "", h.MustSh(t, "find /opt/tljh -xdev \\( -path '/opt/tljh/generations/user-*' -o -path '/opt/tljh/snapshots/*' \\) -prune -o \\( -perm -o+w -o ! -uid 0 \\) ! -type l -print | head"), "not root's, or writable by anyone")
	want.Equal(t, "", h.MustSh(t, "find /opt/tljh/generations/user-* -xdev \\( -perm -o+w -o ! -user tljh-env -o ! -group jupyterhub-admins \\) ! -type l | head"), "not the user environment's owner's")
	want.Equal(t, "700 root", h.MustSh(t, "stat -c '%a %U' /opt/tljh/snapshots"))
	if got := h.MustSh(t, "grep -c . /opt/tljh/installer.log"); got == "0" {
		t.Error("the installer's log is empty")
	}
}

// usable has the admin log in, start a server and run code.
func (h *hub) usable(t *testing.T, password string) {
	t.Helper()
	b := h.login(t, admin, password)
	me, err := b.Me(t.Context())
	want.OK(t, err)
	want.True(t, me.Admin, "alice is no admin")
	start(t, b)
	k := kernel(t, b)
	want.Equal(t, "42", compute(t, k, "print(6*7)"))
	want.Equal(t, "jupyter-alice /home/jupyter-alice", compute(t, k, "import getpass, os; print(getpass.getuser(), os.getcwd())"))
	want.Equal(t, "700", h.MustSh(t, "stat -c %a /home/jupyter-alice"), "mode of the home")
}

func (h *hub) noProbeUser(t *testing.T) {
	var users []client.User
	_, err := h.admin(t).API(t.Context(), "GET", "users", nil, &users)
	want.OK(t, err)
	for _, user := range users {
		want.Differ(t, "tljh-probe", user.Name)
	}
	want.Equal(t, "", h.MustSh(t, "getent passwd jupyter-tljh-probe; ls -d /home/*tljh-probe* 2>/dev/null; true"), "what is left of the probe user")
	enrol(t, h.admin(t), "tljh-probe")
	refusal(t, h.browser(t, "tljh-probe").Login(t.Context(), "some-password-9"), "logging in as the probe user")
}

func (h *hub) noSecretsAbout(t *testing.T) {
	for _, file := range []string{"/opt/tljh/state/proxy.env", "/opt/tljh/state/installer.token"} {
		secret := h.MustSh(t, "sed 's/.*=//' "+file)
		found := h.MustSh(t, "journalctl --no-pager | grep -cF '"+secret+"'; grep -rlF '"+secret+"' /etc /var/log /opt/tljh/installer.log 2>/dev/null || true")
		want.Equal(t, "0", found, "what is in "+file+" is also in")
		listed := h.MustSh(t, "for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $f; echo; done 2>/dev/null | grep -F '"+secret+"' | grep -vcF 'grep -F' || true")
		want.Equal(t, "0", listed, "processes that show what is in "+file)
	}
	want.Equal(t, "0", h.MustSh(t, "grep -rcF '"+adminPassword+"' /opt/tljh/installer.log || true"), "the admin's password in the log")
}

// inChromium logs in through the real page, opens JupyterLab and runs a cell. The picture stays among the artefacts.
func (h *hub) inChromium(t *testing.T, user, password string) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	b, err := browser.Start(ctx)
	want.OK(t, err)
	picture := filepath.Join(guest.ArtefactsDir(), "notebook.png")
	defer func() {
		shot, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := b.Screenshot(shot, picture); err != nil {
			t.Errorf("cannot keep a picture: %v", err)
		}
		t.Logf("the picture is %s", picture)
		want.OK(t, b.Close())
	}()
	want.OK(t, b.LogIn(ctx, h.url(), user, password))
	want.OK(t, b.WaitFor(ctx, "JupyterLab", fmt.Sprintf("location.pathname.startsWith('/user/%s/lab')", user)))
	want.OK(t, b.NewNotebook(ctx))
	out, err := b.RunCell(ctx, "print('six times seven is', 6*7)", "six times seven is 42")
	want.OK(t, err)
	want.Equal(t, "six times seven is 42", out)
}

func TestRunTheLineAgain(t *testing.T) {
	t.Parallel()
	h := installed(t)
	b := h.admin(t)
	start(t, b)
	k := kernel(t, b)
	compute(t, k, "x = 42")
	before := h.fingerprint(t)
	r := h.paste(t, "--admin "+admin+":"+adminPassword)
	want.SameLines(t, before, h.fingerprint(t), "the second run changed something")
	want.True(t, strings.Contains(strings.ToLower(r.Output()), "nothing"), "the second run does not say that nothing was to do:\n"+r.Output())
	want.True(t, r.Took < 5*time.Second, fmt.Sprintf("the second run took %s", r.Took))
	t.Logf("second run: %.2f s", r.Took.Seconds())
	want.Equal(t, "42", compute(t, k, "print(x)"))

	t.Run("with another password, the old one stays", func(t *testing.T) {
		r := h.paste(t, "--admin "+admin+":another-password-1")
		want.Lacks(t, r.Output(), "another-password-1")
		h.login(t, admin, adminPassword)
		refusal(t, h.browser(t, admin).Login(t.Context(), "another-password-1"), "logging in with the password of the second run")
	})
	t.Run("what was broken meanwhile is mended", func(t *testing.T) {
		h.MustSh(t, "systemctl stop configurable-http-proxy; chmod 644 /opt/tljh/config/config.yaml; rm /etc/sudoers.d/tljh")
		h.paste(t, "--admin "+admin)
		h.looksInstalled(t)
		h.login(t, admin, adminPassword)
		h.MustSh(t, "test -f /etc/sudoers.d/tljh")
	})
}

// fingerprint is all that a run which changes nothing must leave alone: every process and start of the services, every file.
func (h *hub) fingerprint(t *testing.T) string {
	t.Helper()
	units := strings.Join(append([]string{"jupyter-" + admin + ".service", "tljh-edge.service", "tljh-users.slice"}, services...), " ")
	return h.MustSh(t, "systemctl show -p Id,MainPID,InvocationID,ActiveEnterTimestampMonotonic,NRestarts "+units+"; "+
		// The hub's database, the log and the receipt are written in normal use.
		"find /opt/tljh /etc /usr/local -xdev ! -path '/opt/tljh/state*' ! -path '/opt/tljh/installer.log' ! -path /opt/tljh -printf '%p %y %m %u %g %s %T@ %l\\n' | sort; "+
		"getent passwd; getent group")
}
