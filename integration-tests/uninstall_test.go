package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tljh/integration-tests/guest"
	"tljh/integration-tests/want"
)

// inventory lists all of a machine that an uninstallation is to leave as it was: files outside of homes with type, mode, owner and contents,
// accounts and groups, what systemd knows, and who listens.
const inventory = `
leave="-path /proc -o -path /sys -o -path /dev -o -path /home -o -path /var/log -o -path /var/lib/systemd -o -name systemd-private-*"
find / -xdev \( $leave \) -prune -o -printf '%p %y %m %U:%G %l\n'
find / -xdev \( $leave -o -path /usr/lib -o -path /usr/share \) -prune -o -type f -print0 | xargs -0 sha256sum | sed 's/^\(.\{16\}\)[^ ]*  \(.*\)/\2 contents \1/'
find /run -xdev \( -path '/run/tljh*' -o -path '/run/private*' -o -name '*jupyter*' -o -name '*tljh*' \) -printf '%p %y\n'
find /tmp -mindepth 1 -maxdepth 1 ! -name 'systemd-private-*' -printf '%p %y\n'
ls -d /home/* 2>/dev/null | sed 's/$/ home/'
getent passwd | sed 's/^/account /'; getent group | sed 's/^/group /'
systemctl list-unit-files --no-legend --plain | grep -v ' transient ' | sed 's/  */ /g; s/^/unit-file /'
systemctl list-units --all --no-legend --plain | awk '{print "unit", $1, $2}' | grep -e tljh -e jupyter -e configurable
awk '$4 == "0A" {print "port", $2}' /proc/net/tcp /proc/net/tcp6
true`

// ofTheSystem are traces that the machine's own programs keep of what happened, as docs/uninstall.md says.
var ofTheSystem = regexp.MustCompile(`^/etc/(passwd|group|shadow|gshadow|subuid|subgid)- |^/etc/\.pwd\.lock |^/etc/resolv\.conf |^/var/backups `)

// differences returns the lines that differ between two inventories, with a sign.
func differences(before, after string) []string {
	count := map[string]int{}
	for line := range strings.Lines(before) {
		count[line]--
	}
	for line := range strings.Lines(after) {
		count[line]++
	}
	found := []string{}
	for line, n := range count {
		if n != 0 && !ofTheSystem.MatchString(line) {
			found = append(found, map[bool]string{true: "+ ", false: "- "}[n > 0]+strings.TrimSpace(line))
		}
	}
	slices.SortFunc(found, func(a, b string) int { return strings.Compare(a[2:]+a[:2], b[2:]+b[:2]) })
	return found
}

// unexpected drops the differences that a pattern of the kept list explains.
func unexpected(differences []string, kept ...string) []string {
	pattern := regexp.MustCompile("^(" + strings.Join(kept, "|") + ")$")
	return slices.DeleteFunc(slices.Clone(differences), func(line string) bool { return len(kept) > 0 && pattern.MatchString(line) })
}

// keptState are the differences that stay when neither users nor state are removed.
var keptState = []string{
	`\+ /opt/tljh d .*`, `\+ /opt/tljh/(config|state)( .*|/.*)`, `\+ /opt/tljh/installer\.log (f 600 0:0|contents .*)`,
}

// keptUsers are those that the accounts of people make.
var keptUsers = []string{
	`\+ account jupyter-[a-z]+:.*`, `\+ group jupyter-[a-z]+:x:\d+:`, `\+ /home/jupyter-[a-z]+ home`, `[-+] /etc/(passwd|group|shadow|gshadow|subuid|subgid) contents .*`,
}

func (h *hub) inventory(t *testing.T) string {
	t.Helper()
	return h.MustSh(t, inventory)
}

// uninstall runs it and wants this exit code.
func (h *hub) uninstall(t *testing.T, code int, args string) guest.Result {
	t.Helper()
	r := h.run(t, "tljh-install uninstall "+args)
	if r.Code != code {
		t.Fatalf("uninstall %s ended with %d:\n%s", args, r.Code, r.Output())
	}
	return r
}

// nothingOfOurs wants that what must never stay behind has gone, whatever is kept.
func (h *hub) nothingOfOurs(t *testing.T) {
	t.Helper()
	left := h.MustSh(t, `ls -d /etc/systemd/system/*tljh* /etc/systemd/system/*/*tljh* /etc/systemd/system/jupyterhub.service /etc/systemd/system/*/jupyterhub.service \
  /etc/systemd/system/configurable-http-proxy.service /etc/systemd/system/.tljh-* /etc/sudoers.d/*tljh* /etc/sudoers.d/.tljh* /etc/profile.d/*tljh* /usr/local/bin/*tljh* /usr/local/bin/.tljh* \
  /run/tljh* /run/private/tljh* /var/lib/tljh* /var/lib/private/tljh* /run/systemd/transient/jupyter-* /opt/tljh/hub /opt/tljh/user /opt/tljh/generations /opt/tljh/python /opt/tljh/tools \
  /opt/tljh/snapshots /opt/tljh/bin /opt/tljh/cache /opt/tljh/.tljh-* 2>/dev/null | grep -v '\.service\.d$' # drop-ins are admins'
systemctl list-units --all --no-legend --plain | grep -e tljh -e jupyter -e configurable
systemctl list-unit-files --no-legend --plain | grep -e tljh -e jupyterhub -e configurable
getent group jupyterhub-admins jupyterhub-users tljh-proxy tljh-env; getent passwd tljh-env
for p in /proc/[0-9]*; do case "$(readlink $p/exe)" in /opt/tljh/*) tr '\0' ' ' < $p/cmdline; echo;; esac; grep -q tljh.slice $p/cgroup && echo "$p in tljh.slice"; done 2>/dev/null
grep -i -e ':0050 .* 0A ' /proc/net/tcp /proc/net/tcp6
true`)
	want.Equal(t, "", left, "left behind")
	want.Equal(t, "running", h.MustSh(t, "systemctl is-system-running || systemctl --failed --no-legend --plain"), "the machine's state")
	h.MustSh(t, "visudo -c")
}

// atWorkWith lets a student write a notebook and leave a kernel running.
func (h *hub) atWorkWith(t *testing.T, name string) {
	t.Helper()
	b := h.student(t, h.admin(t), name)
	compute(t, kernel(t, b), "open('thesis.ipynb', 'w').write('years of work')\nimport subprocess; subprocess.Popen(['setsid', 'sleep', '1000'])")
}

func TestUninstallAndInstallAgain(t *testing.T) {
	t.Parallel()
	h := bare(t, guest.Options{})
	before := h.inventory(t)
	t.Run("nothing to uninstall", func(t *testing.T) {
		h.copyProgram(t)
		r := h.run(t, "/root/tljh-install uninstall --yes; echo code $?; rm /root/tljh-install")
		want.Contains(t, r.Output(), "there is no hub", "code 0")
		want.Equal(t, "", strings.Join(differences(before, h.inventory(t)), "\n"), "it changed something")
	})
	h.paste(t, "--admin "+admin+":"+adminPassword)
	h.awaitHub(t, 30*time.Second)
	h.set(t, "set users.extra_user_groups '{course-a: [bob], course-b: [bob]}'", "set shared_folders.data.read '[all]'", "set shared_folders.data.write '[bob, \"group:course-a\"]'",
		"set users.home_root /srv/homes/2026")
	h.atWorkWith(t, "bob")
	h.MustSh(t, "echo shared > /srv/tljh/data/paper; mkdir /srv/tljh/data/empty; su jupyter-bob -c 'echo mine > /srv/tljh/data/bobs'")
	installed := h.inventory(t)

	t.Run("the plan changes nothing", func(t *testing.T) {
		r := h.uninstall(t, 0, "--plan")
		t.Log(r.Output())
		want.Contains(t, r.Output(), "jupyter-bob.service", "/etc/sudoers.d/tljh", "course-a", "course-b", "Keep", "/opt/tljh/state")
		h.uninstall(t, 0, "--plan --json --remove-users --purge")
		h.uninstall(t, exitUsage, "< /dev/null")
		want.Equal(t, "", strings.Join(unexpected(differences(installed, h.inventory(t)), `[-+] /opt/tljh/state/jupyterhub\.sqlite.*`), "\n"), "it changed something")
		h.awaitHub(t, 20*time.Second)
	})
	t.Run("uninstalled", func(t *testing.T) {
		r := h.uninstall(t, 0, "--yes")
		t.Logf("%.1f s\n%s", r.Took.Seconds(), r.Output())
		h.nothingOfOurs(t)
		kept := append(slices.Concat(keptState, keptUsers), `\+ /srv/(tljh|homes)( .*|/.*)`)
		want.Equal(t, "", strings.Join(unexpected(differences(before, h.inventory(t)), kept...), "\n"), "not as before the installation")
		want.Equal(t, "years of work", h.MustSh(t, "cat /srv/homes/2026/jupyter-bob/thesis.ipynb"))
		want.Equal(t, "700 root", h.MustSh(t, "stat -c '%a %U' /srv/tljh/data"), "the shared folder")
		want.True(t, h.run(t, "su jupyter-bob -c 'cat /srv/tljh/data/paper'").Code != 0, "the shared folder is open still")
		want.Contains(t, h.MustSh(t, "cat /opt/tljh/state/user-environment.txt"), "jupyterlab==")
	})
	t.Run("installed again", func(t *testing.T) {
		h.paste(t, "")
		h.awaitHub(t, 30*time.Second)
		h.looksInstalled(t)
		h.admin(t)
		b := h.login(t, "bob", passwordOf("bob"))
		start(t, b)
		want.Equal(t, "years of work shared", compute(t, kernel(t, b), "print(open('thesis.ipynb').read(), open('shared/data/paper').read())"))
	})
	t.Run("without a trace", func(t *testing.T) {
		r := h.uninstall(t, 0, "--remove-users --purge --yes")
		t.Logf("%.1f s\n%s", r.Took.Seconds(), r.Output())
		h.nothingOfOurs(t)
		want.Equal(t, "", strings.Join(differences(before, h.inventory(t)), "\n"), "not as before the installation")
	})
}

// plain is the inventory of a machine on which nothing was ever installed.
var plain struct {
	once sync.Once
	text string
}

// asNew wants that a machine is as one on which nothing was ever installed, but for what fits these patterns.
func (h *hub) asNew(t *testing.T, kept ...string) {
	t.Helper()
	plain.once.Do(func() { plain.text = bare(t, guest.Options{}).inventory(t) })
	want.Equal(t, "", strings.Join(unexpected(differences(plain.text, h.inventory(t)), append(kept, `[-+] /etc/machine-id contents .*`)...), "\n"), "not as a new machine")
}

// TestUninstallWithEverythingAgainstIt has a class at work, a hub that is broken, a config that is no YAML, a unit that systemd refuses to stop, and files
// that an admin changed.
func TestUninstallWithEverythingAgainstIt(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := installed(t)
	h.atWorkWith(t, "bob")
	h.atWorkWith(t, "carol")
	h.MustSh(t, `
echo 'teacher ALL=(ALL) NOPASSWD: ALL' >> /etc/sudoers.d/tljh
mkdir /etc/systemd/system/jupyterhub.service.d /etc/systemd/system/tljh-edge.service.d
printf '[Unit]\nRefuseManualStop=yes\n' > /etc/systemd/system/jupyterhub.service.d/override.conf
printf '[Service]\nNice=5\n' > /etc/systemd/system/tljh-edge.service.d/nice.conf
echo '# changed' >> /etc/systemd/system/configurable-http-proxy.service
systemctl daemon-reload
echo remember > /opt/tljh/notes.txt
mkdir -m 0700 /var/lib/private/tljh-edge; ln -s private/tljh-edge /var/lib/tljh-edge # as with certificates from an authority
echo 'limits: [' > /opt/tljh/config/config.yaml
rm -rf /opt/tljh/hub/lib/python3.14/site-packages/jupyterhub`)
	r := h.uninstall(t, 0, "--remove-users --purge --yes")
	t.Logf("%.1f s\n%s", r.Took.Seconds(), r.Output())
	want.Contains(t, r.Output(), "/var/backups/tljh/etc/sudoers.d/tljh", "/var/backups/tljh/etc/systemd/system/configurable-http-proxy.service",
		"/etc/systemd/system/jupyterhub.service.d", "/etc/systemd/system/tljh-edge.service.d", "/opt/tljh/notes.txt")
	h.nothingOfOurs(t)
	h.asNew(t, `\+ /var/backups/tljh.*`, `\+ /etc/systemd/system/(jupyterhub|tljh-edge)\.service\.d.*`, `\+ /opt/tljh(/notes\.txt)? .*`)
	want.Equal(t, "teacher ALL=(ALL) NOPASSWD: ALL", h.MustSh(t, "tail -n 1 /var/backups/tljh/etc/sudoers.d/tljh"))
	want.Equal(t, "700 root", h.MustSh(t, "stat -c '%a %U' /var/backups/tljh"))
}

// TestUninstallThatCannotBegin changes nothing, and says why.
func TestUninstallThatCannotBegin(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := installed(t)
	b := h.admin(t)
	start(t, b)
	k := kernel(t, b)
	t.Run("from a terminal of the hub", func(t *testing.T) {
		said := compute(t, k, "import subprocess; r = subprocess.run('sudo tljh-install uninstall --yes', shell=True, capture_output=True, text=True); print(r.returncode, r.stderr, r.stdout)")
		want.Contains(t, said, fmt.Sprint(exitRefused), "this terminal belongs to the hub", "ssh")
	})
	t.Run("as somebody who is to be deleted", func(t *testing.T) {
		r := h.run(t, strings.Join(guest.As("jupyter-alice", "sudo", "tljh-install", "uninstall", "--remove-users", "--yes"), " "))
		want.Equal(t, exitRefused, r.Code, r.Output())
		want.Contains(t, r.Output(), "jupyter-alice", "Nothing has been changed")
	})
	t.Run("while another command is at work", func(t *testing.T) {
		h.MustSh(t, "systemd-run --quiet --unit=holder flock /run/tljh/install.lock sleep 1000")
		guest.Until(t, 10*time.Second, func(ctx context.Context) error {
			r, err := h.Sh(ctx, "! flock --nonblock /run/tljh/install.lock true")
			if err == nil && r.Code != 0 {
				err = errors.New("the lock is free")
			}
			return err
		})
		want.Equal(t, exitBusy, h.run(t, "tljh-install uninstall --yes").Code)
		h.MustSh(t, "systemctl stop holder")
	})
	t.Run("with a read-only /etc", func(t *testing.T) {
		h.MustSh(t, etcReadOnly)
		r := h.run(t, "tljh-install uninstall --yes")
		h.MustSh(t, "umount /etc")
		want.Equal(t, exitRefused, r.Code, r.Output())
		want.Contains(t, r.Output(), "/etc", "read-only", "Nothing has been changed", "remount,rw")
	})
	t.Run("with something mounted in it", func(t *testing.T) {
		want.Equal(t, "6", compute(t, k, "print(2*3)"), "the kernel after all of this")
		h.looksInstalled(t)
		h.MustSh(t, "mkdir -p /opt/tljh/cache/disk && mount -t tmpfs tmpfs /opt/tljh/cache/disk && echo precious > /opt/tljh/cache/disk/file")
		r := h.uninstall(t, exitFailed, "--yes")
		want.Contains(t, r.Output(), "Some things could not be removed", "something is mounted at /opt/tljh/cache/disk", "umount /opt/tljh/cache/disk")
		want.Equal(t, "precious", h.MustSh(t, "cat /opt/tljh/cache/disk/file && umount /opt/tljh/cache/disk"))
		h.uninstall(t, 0, "--remove-users --purge --yes")
		h.nothingOfOurs(t)
		h.asNew(t)
	})
}

// TestUninstallOnAFullDisk makes room although it can write nothing down.
func TestUninstallOnAFullDisk(t *testing.T) {
	inTurn(t)
	t.Parallel()
	h := bare(t, guest.Options{Tmpfs: map[string]string{"/opt": "3G"}})
	h.paste(t, "--admin "+admin+":"+adminPassword)
	h.MustSh(t, "echo '# mine' >> /etc/sudoers.d/tljh; head -c 9G /dev/zero > /opt/fill 2>/dev/null; ! echo 1234567890 > /opt/more")
	r := h.uninstall(t, 0, "--yes")
	want.Contains(t, r.Output(), "/var/backups/tljh/etc/sudoers.d/tljh")
	h.nothingOfOurs(t)
	h.MustSh(t, "rm /opt/fill /opt/more; test -s /opt/tljh/state/passwords.sqlite -a -s /opt/tljh/config/config.yaml")
	want.Equal(t, "0", h.MustSh(t, "grep -c '\"fingerprint\"' /opt/tljh/state/receipt.jsonl || true"), "what was in order is taken to be so still")
	h.paste(t, "")
	h.looksInstalled(t)
	h.admin(t)
}

// progress is how many lines of a kind a process has written.
func progress(p *guest.Process, word string) int { return strings.Count(p.Output(), "\n"+word) }

// begun lets a command begin, and returns it once it has come so far, or has ended before.
func (h *hub) begun(t *testing.T, far func(p *guest.Process) bool, argv ...string) *guest.Process {
	t.Helper()
	p, err := h.Start(t.Context(), argv...)
	want.OK(t, err)
	want.OK(t, p.Stdin().Close())
	guest.Until(t, installLimit, func(context.Context) error {
		select {
		case <-p.Done():
			return nil
		default:
		}
		if far(p) {
			return nil
		}
		return fmt.Errorf("it has not come so far:\n%s", lastLines(p.Output(), 5))
	})
	return p
}

// later is a moment after another.
func later(far func(p *guest.Process) bool, pause time.Duration) func(p *guest.Process) bool {
	var since time.Time
	return func(p *guest.Process) bool {
		if !far(p) {
			return false
		}
		if since.IsZero() {
			since = time.Now()
		}
		return time.Since(since) >= pause
	}
}

// killedAt kills a command once it has come so far. It is false when the command ended before.
func (h *hub) killedAt(t *testing.T, far func(p *guest.Process) bool, argv ...string) bool {
	t.Helper()
	p := h.begun(t, far, argv...)
	want.OK(t, p.Signal(syscall.SIGKILL))
	r, err := p.Wait()
	want.OK(t, err)
	return r.Code != 0
}

// TestUninstallKilledAgainAndAgain kills it at ten moments on its way, some of them within one long deletion; the same command does the rest.
func TestUninstallKilledAgainAndAgain(t *testing.T) {
	inTurn(t)
	t.Parallel()
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	for killed, machines := 0, 0; killed < 10 && machines < 5; machines++ {
		h := installed(t)
		if machines == 0 {
			h.atWorkWith(t, "bob")
		}
		n := h.killedUntilItEnds(t, random)
		// Killed after the program itself has gone, its folder may be left, and nothing in it; and its lock, until the next boot.
		h.MustSh(t, `if [ -e /opt/tljh/bin/tljh-install ]; then /opt/tljh/bin/tljh-install uninstall --remove-users --purge --yes
else rmdir /opt/tljh/bin /opt/tljh 2>/dev/null; rm -f /run/tljh/install.lock; rmdir /run/tljh/sockets /run/tljh/users /run/tljh 2>/dev/null; true; fi`)
		h.nothingOfOurs(t)
		h.asNew(t)
		killed += n
		want.OK(t, h.Close())
	}
}

// killedUntilItEnds kills an uninstallation again and again, and counts how often it did.
func (h *hub) killedUntilItEnds(t *testing.T, random *rand.Rand) int {
	t.Helper()
	for n := range 20 {
		most, pause := random.IntN(6), time.Duration(random.IntN(100))*time.Millisecond
		far := func(p *guest.Process) bool { return progress(p, "done") >= most }
		killed := h.killedAt(t, later(far, pause), "/opt/tljh/bin/tljh-install", "uninstall", "--remove-users", "--purge", "--yes")
		if !killed {
			return n
		}
		t.Logf("killed %s after %d things were done", pause, most)
	}
	return 20
}

// TestInstallAfterAKilledUninstall goes the other way again.
func TestInstallAfterAKilledUninstall(t *testing.T) {
	inTurn(t)
	t.Parallel()
	h := installed(t)
	h.atWorkWith(t, "bob")
	for _, most := range []int{4, 18, 32} {
		want.True(t, h.killedAt(t, func(p *guest.Process) bool { return progress(p, "done") >= most }, "/opt/tljh/bin/tljh-install", "uninstall", "--yes"), "it ended")
		h.paste(t, "")
		h.awaitHub(t, 30*time.Second)
		h.looksInstalled(t)
		b := h.login(t, "bob", passwordOf("bob"))
		start(t, b)
		want.Equal(t, "years of work", compute(t, kernel(t, b), "print(open('thesis.ipynb').read())"), fmt.Sprintf("killed after %d things", most))
	}
	h.theSliceChangesAround(t, "bob")
	h.uninstall(t, 0, "--remove-users --purge --yes")
	h.asNew(t)
}

// theSliceChangesAround gives the slice of all servers another limit while one is at work in it: the limit holds at once, and the server runs on.
func (h *hub) theSliceChangesAround(t *testing.T, user string) {
	t.Helper()
	const file = "/etc/systemd/system/tljh-users.slice"
	limit := func() string {
		return h.MustSh(t, "cd /sys/fs/cgroup && cat {.,memory}$(systemctl show --value -p ControlGroup tljh-users.slice)/memory.{max,limit_in_bytes} 2>/dev/null || true")
	}
	server := "jupyter-" + user + ".service"
	before, pid := limit(), h.property(t, server, "MainPID")
	want.True(t, before != "", "no limit of the slice is to be seen")
	h.MustSh(t, "sed -i 's/^MemoryMax=.*/MemoryMax=1G/' "+file+" && systemctl daemon-reload")
	want.Equal(t, "1073741824", limit())
	h.must(t, "tljh-install install")
	want.Equal(t, before, limit(), "the limit of the slice")
	want.Equal(t, pid, h.property(t, server, "MainPID"), "the server was ended")
}

// TestUninstallHalfAnInstallation kills installations at random moments; what they had done is undone.
func TestUninstallHalfAnInstallation(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := bare(t, guest.Options{})
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	// The receipt of a whole installation has some ninety lines.
	for _, lines := range []int{1, 5 + random.IntN(25), 30 + random.IntN(40), 70 + random.IntN(10), 80 + random.IntN(12)} {
		killed := h.killedAt(t, func(*guest.Process) bool {
			data, err := os.ReadFile(h.Path("/opt/tljh/state/receipt.jsonl"))
			return err == nil && bytes.Count(data, []byte("\n")) >= lines
		}, "bash", "-c", h.line("--admin "+admin+":"+adminPassword))
		t.Logf("killed: %t, at line %d of the receipt", killed, lines)
		r := h.run(t, "/opt/tljh/bin/tljh-install uninstall --remove-users --purge --yes")
		want.Equal(t, 0, r.Code, r.Output())
		h.nothingOfOurs(t)
		h.asNew(t, `\+ /tmp/.*`) // of the programs that were killed
	}
}
