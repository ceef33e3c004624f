package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tljh/integration-tests/guest"
	"tljh/integration-tests/release"
	"tljh/integration-tests/want"
)

// state is what must be as before when an installation was refused. The download may stay: it is what refused.
func (h *hub) state(t *testing.T) string {
	t.Helper()
	return h.MustSh(t, "find /opt /etc /home /usr/local /var/lib /run/systemd/system -xdev ! -path '/opt/tljh' ! -path '/opt/tljh/bin*' ! -path '/var/lib/systemd/*' "+
		"\\( -type d -printf '%p %y %m %u\\n' -o -printf '%p %y %m %u %s\\n' \\) | sort; cat /etc/passwd /etc/group; systemctl list-units --no-legend --plain 'jupyter*' 'tljh*' 'configurable*'")
}

// refused pastes something that must be refused: with this exit code, these words, and nothing changed.
func (h *hub) refused(t *testing.T, script string, code int, words ...string) guest.Result {
	t.Helper()
	before := h.state(t)
	r := h.run(t, script)
	want.Equal(t, code, r.Code, "exit code, with the output\n"+r.Output())
	said := strings.ToLower(r.Output())
	for _, word := range words {
		want.Contains(t, said, strings.ToLower(word))
	}
	want.Lacks(t, r.Output(), "panic", "goroutine", "Traceback", "*errors.", "%!")
	want.SameLines(t, before, h.state(t), "it changed something")
	return r
}

// nothingAt checks that not even a download was left.
func (h *hub) nothingAt(t *testing.T, path string) {
	t.Helper()
	want.Equal(t, "", h.MustSh(t, "ls -Ad "+path+" 2>/dev/null || true"), "left behind")
}

func TestAMachineThatIsNotReady(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := bare(t, guest.Options{})
	h.MustSh(t, "useradd --create-home teacher")

	t.Run("not root", func(t *testing.T) {
		want.OK(t, h.Write(t.Context(), "/home/teacher/line", 0o755, strings.NewReader(h.line("--admin alice")+"\n")))
		h.refused(t, strings.Join(guest.As("teacher", "bash", "/home/teacher/line"), " "), exitRefused, "root", "sudo")
		h.nothingAt(t, "/opt/tljh")
	})
	t.Run("no address of the release", func(t *testing.T) {
		h.refused(t, "curl -fsSL "+h.release.URL()+"/bootstrap.sh | bash -s -- --admin alice", 2, "TLJH_RELEASE_URL")
		h.nothingAt(t, "/opt/tljh")
	})
	t.Run("a wrong address", func(t *testing.T) {
		h.refused(t, fmt.Sprintf("curl -fsSL %[1]s/bootstrap.sh | TLJH_RELEASE_URL=%[1]s/elsewhere bash -s -- --admin alice", h.release.URL()), exitFailed, "404", "address")
		h.nothingAt(t, "/opt/tljh")
	})
	t.Run("a wrong checksum", func(t *testing.T) {
		h.release.Break(release.Download, release.Fault{Corrupt: true})
		h.refused(t, h.line("--admin alice"), exitFailed, "sha256", "not run")
		h.nothingAt(t, "/opt/tljh")
	})
	t.Run("a download that is always cut", func(t *testing.T) {
		h.release.Break(release.Download, release.Fault{CutAfter: 5 << 20})
		h.refused(t, h.line("--admin alice"), exitFailed, "trying again", "download")
		h.nothingAt(t, "/opt/tljh")
	})
	t.Run("a bootstrap.sh that is cut", func(t *testing.T) {
		h.release.Break(release.Download, release.Fault{})
		info, err := os.Stat(filepath.Join(dist, release.Bootstrap))
		want.OK(t, err)
		asked := h.release.Requests(release.Sums)
		for _, size := range []int64{100, info.Size() / 3, info.Size() / 2, info.Size() - 200, info.Size() - 4} {
			r := h.run(t, fmt.Sprintf("curl -fsSL %[1]s/bootstrap.sh | head -c %[2]d | TLJH_RELEASE_URL=%[1]s bash -s -- --admin alice", h.release.URL(), size))
			want.Equal(t, asked, h.release.Requests(release.Sums), fmt.Sprintf("after %d bytes of the script, asked for the release (%s)", size, r.Output()))
		}
		h.nothingAt(t, "/opt/tljh")
	})
	t.Run("interrupted while it downloads", func(t *testing.T) {
		h.release.Break(release.Download, release.Fault{PerSecond: 1 << 20})
		before := h.state(t)
		p, err := h.Start(t.Context(), "bash", "-c", h.line("--admin alice"))
		want.OK(t, err)
		guest.Until(t, 20*time.Second, func(context.Context) error {
			found, err := filepath.Glob(h.Path("/opt/tljh/bin/.tljh-install.*"))
			if err == nil && len(found) == 0 {
				err = fmt.Errorf("it does not begin to download:\n%s", p.Output())
			}
			return err
		})
		want.OK(t, p.Signal(syscall.SIGINT))
		r, err := p.Wait()
		want.OK(t, err)
		want.Equal(t, exitInterrupted, r.Code, r.Output())
		want.SameLines(t, before, h.state(t), "it changed something")
		h.nothingAt(t, "/opt/tljh")
		h.release.Break(release.Download, release.Fault{})
	})
	t.Run("an /opt/tljh of something else", func(t *testing.T) {
		h.MustSh(t, "mkdir /opt/tljh; echo precious > /opt/tljh/thesis.txt")
		h.refused(t, h.line("--admin alice"), exitRefused, "/opt/tljh")
		want.Equal(t, "precious", h.MustSh(t, "cat /opt/tljh/thesis.txt"))
		// The program itself refuses it, too.
		h.copyProgram(t)
		h.refused(t, "/root/tljh-install install --admin alice", exitRefused, "/opt/tljh")
		want.Equal(t, "thesis.txt", h.MustSh(t, "ls -A /opt/tljh"))
		h.MustSh(t, "rm -r /opt/tljh")
	})
	t.Run("port 80 is taken", func(t *testing.T) {
		h.MustSh(t, "systemd-run --quiet --unit=website systemd-socket-activate --accept --listen=80 cat")
		guest.Until(t, 10*time.Second, func(ctx context.Context) error {
			conn, err := h.DialContext(ctx, "tcp", "127.0.0.1:80")
			if err == nil {
				err = conn.Close()
			}
			return err
		})
		h.refused(t, h.line("--admin alice"), exitRefused, "port 80", "systemd-socket")
		h.MustSh(t, "systemctl stop website")
	})
	t.Run("a download that is cut once", func(t *testing.T) {
		h.MustSh(t, "rm -rf /opt/tljh")
		h.release.Break(release.Download, release.Fault{CutAfter: 5 << 20, Times: 1})
		before := h.state(t)
		r := h.run(t, h.line("--admin alice --plan"))
		want.Equal(t, 0, r.Code, r.Output())
		want.Contains(t, r.Output(), "trying again", "jupyterhub.service")
		want.SameLines(t, before, h.state(t), "--plan changed something")
	})
}

// copyProgram puts the program itself into the guest, as somebody does who downloads by hand.
func (h *hub) copyProgram(t *testing.T) {
	t.Helper()
	f, err := os.Open(filepath.Join(dist, release.AMD64))
	want.OK(t, err)
	defer f.Close()
	want.OK(t, h.Write(t.Context(), "/root/tljh-install", 0o755, f))
}

func TestWordsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	h := bare(t, guest.Options{})
	h.copyProgram(t)
	want.OK(t, h.Write(t.Context(), "/root/typo.yaml", 0o600, strings.NewReader("limts:\n  memory: 1G\n")))
	want.OK(t, h.Write(t.Context(), "/root/broken.yaml", 0o600, strings.NewReader("users: [alice\nlimits: 3\n")))
	want.OK(t, h.Write(t.Context(), "/root/lots.yaml", 0o600, strings.NewReader("limits:\n  memory: lots\n")))
	for _, bad := range []struct {
		args  string
		code  int
		words []string
	}{
		{"--admin 'bad name'", exitBadInput, []string{"bad name"}},
		{"--admin ''", exitBadInput, []string{"admin"}},
		{"--admin '../etc'", exitBadInput, []string{"../etc"}},
		{"--admin alice:", exitBadInput, []string{"password"}},
		{"--admin alice:" + strings.Repeat("x", 73), exitBadInput, []string{"72"}},
		{"--config /root/absent.yaml", exitBadInput, []string{"absent.yaml"}},
		{"--config /root/typo.yaml", exitBadInput, []string{"limts", "limits", "typo.yaml:1"}},
		{"--config /root/broken.yaml", exitBadInput, []string{"broken.yaml"}},
		{"--config /root/lots.yaml", exitBadInput, []string{"lots", "lots.yaml:2"}},
		{"--user-requirements /root/absent.txt", exitBadInput, []string{"absent.txt"}},
		{"--ignore-preflight nonsense", exitBadInput, []string{"nonsense"}},
		{"--package-manager apt", 2, []string{"apt"}},
		{"--frobnicate", 2, []string{"frobnicate"}},
		{"alice", 2, []string{"alice"}},
	} {
		t.Run(bad.args[:min(len(bad.args), 40)], func(t *testing.T) {
			r := h.refused(t, "/root/tljh-install install "+bad.args, bad.code, bad.words...)
			if i := strings.Index(bad.args, "alice:"); i >= 0 && len(bad.args) > i+6 {
				want.Lacks(t, r.Output(), bad.args[i:]) // the password
			}
		})
	}
	h.nothingAt(t, "/opt/tljh")
}

func TestNoSystemd(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := bare(t, guest.Options{NoSystemd: true})
	r := h.run(t, h.line("--admin alice"))
	want.Equal(t, exitRefused, r.Code, r.Output())
	want.Contains(t, r.Output(), "systemd is not running")
	h.nothingAt(t, "/opt/tljh")
	h.copyProgram(t)
	r = h.run(t, "/root/tljh-install install --admin alice")
	want.Equal(t, exitRefused, r.Code, r.Output())
	want.Contains(t, r.Output(), "systemd")
	h.nothingAt(t, "/opt/tljh")
}

func TestNoNetwork(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := bare(t, guest.Options{Offline: true})
	r := h.refused(t, h.line("--admin alice"), exitRefused)
	said := strings.ToLower(r.Output())
	want.True(t, strings.Contains(said, "resol") || strings.Contains(said, "reach"), "it does not speak of the network:\n"+r.Output())
	want.True(t, r.Took < time.Minute, fmt.Sprintf("it took %s to notice", r.Took))
}

func TestTheDiskIsFull(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := bare(t, guest.Options{Tmpfs: map[string]string{"/opt": "300M"}})
	r := h.refused(t, h.line("--admin alice"), exitRefused, "disk", "/opt", "--ignore-preflight disk")
	r = h.run(t, h.line("--admin alice --ignore-preflight disk"))
	want.Equal(t, exitFailed, r.Code, r.Output())
	want.Contains(t, r.Output(), "the disk is full: make room")
	want.Equal(t, "", h.halfGenerations(t), "half a generation is left")

	h.MustSh(t, "mount -o remount,size=3G /opt") // the disk was made larger
	h.paste(t, "--admin "+admin+":"+adminPassword)
	h.looksInstalled(t)
	h.usable(t, adminPassword)
}

// halfGenerations lists environments that are not complete, and what runs from them.
func (h *hub) halfGenerations(t *testing.T) string {
	t.Helper()
	return h.MustSh(t, "for g in /opt/tljh/generations/*; do [ -e \"$g\" ] || continue; [ -e $g/generation.json ] || echo $g; done")
}

// TestRequirementsThatCannotBeResolved also gives a password with colons, and sees that both were taken as they are.
func TestRequirementsThatCannotBeResolved(t *testing.T) {
	t.Parallel()
	inTurn(t)
	const password = "creme:brulee:2"
	h := bare(t, guest.Options{})
	want.OK(t, h.Write(t.Context(), "/root/course.txt", 0o644, strings.NewReader("numpy==1.0\nno-such-package-at-all-4711\n")))
	r := h.run(t, h.line("--admin alice:"+password+" --user-requirements /root/course.txt"))
	want.Equal(t, exitIncomplete, r.Code, r.Output())
	want.Contains(t, r.Output(), "course.txt")
	said := strings.Contains(r.Output(), "no-such-package-at-all-4711") || strings.Contains(r.Output(), "numpy==1.0")
	want.True(t, said, "it does not say which requirement cannot be had:\n"+r.Output())
	want.Lacks(t, r.Output(), password)
	h.awaitHub(t, 20*time.Second)
	h.looksInstalled(t)
	h.usable(t, password)
	refusal(t, h.browser(t, admin).Login(t.Context(), "creme"), "logging in with the password up to its colon")

	t.Run("a file with the hash of another", func(t *testing.T) {
		h.MustSh(t, "echo 'cowsay==6.1 --hash=sha256:"+strings.Repeat("0", 64)+"' > /root/course.txt")
		r := h.run(t, h.line("--admin alice:"+password+" --user-requirements /root/course.txt"))
		want.Equal(t, exitIncomplete, r.Code, r.Output())
		want.Contains(t, strings.ToLower(r.Output()), "hash mismatch")
		want.Equal(t, "", h.MustSh(t, "ls -d /opt/tljh/user/site-packages/cowsay* 2>/dev/null || true"))
	})
	t.Run("corrected, the same command ends well", func(t *testing.T) {
		h.MustSh(t, "echo cowsay > /root/course.txt")
		h.paste(t, "--admin alice:"+password+" --user-requirements /root/course.txt")
		b := h.login(t, admin, password)
		start(t, b)
		want.Equal(t, "ok", compute(t, kernel(t, b), "import cowsay; print('ok')"))
	})
}

func TestTwoInstallsAtOnce(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := bare(t, guest.Options{})
	first, err := h.Start(t.Context(), "bash", "-c", h.line("--admin "+admin+":"+adminPassword))
	want.OK(t, err)
	h.awaitPath(t, first, "/opt/tljh/state/receipt.jsonl", time.Minute)
	second := h.run(t, h.line("--admin "+admin))
	want.Equal(t, exitBusy, second.Code, second.Output())
	pids, err := h.Running("tljh-install")
	want.OK(t, err)
	want.Equal(t, 1, len(pids), "installers at work")
	want.True(t, second.Took < 20*time.Second, "the second one waited for "+second.Took.String())
	want.Contains(t, second.Output(), "process ")
	r, err := first.Wait()
	want.OK(t, err)
	want.Equal(t, 0, r.Code, r.Output())
	h.looksInstalled(t)
	h.usable(t, adminPassword)
}

// awaitPath waits until a running installation has made something.
func (h *hub) awaitPath(t *testing.T, p *guest.Process, path string, limit time.Duration) {
	t.Helper()
	guest.Until(t, limit, func(context.Context) error {
		if found, err := filepath.Glob(h.Path(path)); err != nil || len(found) > 0 {
			return err
		}
		select {
		case <-p.Done():
			r, _ := p.Wait()
			t.Fatalf("it ended with %d before it made %s:\n%s", r.Code, path, r.Output())
		default:
		}
		return fmt.Errorf("it has not made %s", path)
	})
}

// atWork lists what still runs of an installation that was ended.
func (h *hub) atWork(t *testing.T) string {
	t.Helper()
	return h.MustSh(t, "for p in /proc/[0-9]*; do case $(readlink $p/exe) in /opt/tljh/bin/*|/opt/tljh/python/*|/opt/tljh/generations/*|*/uv) "+
		"grep -q system.slice $p/cgroup || tr '\\0' ' ' < $p/cmdline;; esac; done 2>/dev/null")
}

// TestCtrlC interrupts an installation at a terminal, at several moments, and then lets the same command finish.
func TestCtrlC(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := bare(t, guest.Options{Suite: guest.Trixie})
	line := h.line("--admin " + admin + ":" + adminPassword)
	want.OK(t, h.Write(t.Context(), "/root/line", 0o755, strings.NewReader(line+"\n")))
	for n, moment := range []string{"/opt/tljh/python/*", "/opt/tljh/generations/user-*/lib/python3.*/site-packages/*"} {
		p, err := h.Start(t.Context(), "env", "TERM=xterm", "script", "-qefc", "bash /root/line", "/root/typescript"+strconv.Itoa(n))
		want.OK(t, err)
		h.awaitPath(t, p, moment, 5*time.Minute)
		_, err = p.Stdin().Write([]byte{3})
		want.OK(t, err)
		r, err := p.Wait()
		want.OK(t, err)
		want.Equal(t, exitInterrupted, r.Code, moment+": "+r.Output())
		want.Contains(t, strings.ToLower(r.Output()), "same command")
		want.Equal(t, "", h.atWork(t), "left running")
		want.Equal(t, "", h.halfGenerations(t), "half a generation is left")
	}
	h.paste(t, "--admin "+admin+":"+adminPassword)
	h.looksInstalled(t)
	h.usable(t, adminPassword)
}
