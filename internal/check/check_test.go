package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"tljh/hub"
	"tljh/internal/host"
	"tljh/internal/host/hosttest"
	"tljh/internal/layout"
)

// machine is a machine that is ready: tests take something away from it.
type machine struct {
	*Env
	t      *testing.T
	runner *hosttest.Runner
}

var noon = time.Date(2027, time.March, 1, 12, 0, 0, 0, time.UTC)

func newMachine(t *testing.T) *machine {
	t.Helper()
	runner := &hosttest.Runner{}
	m := &machine{t: t, runner: runner, Env: &Env{
		Host:  &host.Host{Files: host.Files{Root: t.TempDir()}, Runner: runner},
		Facts: host.Facts{Arch: "arm64", Systemd: true, SystemdVersion: 252, GlibcMajor: 2, GlibcMinor: 36, MemoryBytes: 4 << 30, CPUs: 2},
		Port:  80, Online: true, Now: noon, Built: noon.AddDate(0, -1, 0),
		Reach: func(context.Context) []SourceResult {
			return []SourceResult{{Source: Source{"https://index.test/simple", "the Python package index"}, Host: "index.test", Status: 200, Date: noon, Took: time.Second}}
		},
	}}
	for _, tool := range tools {
		m.program(tool.name)
	}
	m.put("/proc/net/tcp", tcpHeader)
	for name, content := range map[string]string{
		"/etc/sudoers":                      "Defaults env_reset\n\n@includedir /etc/sudoers.d\n",
		"/sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory hugetlb pids rdma misc\n", loaders["arm64"]: "",
		"/proc/sys/fs/inotify/max_user_instances": "128\n", "/proc/sys/fs/inotify/max_user_watches": "65536\n", "/proc/sys/net/ipv4/ip_unprivileged_port_start": "1024\n",
	} {
		m.put(name, content)
	}
	for _, program := range []string{"git", "nano"} {
		m.program(program)
	}
	runner.On(hosttest.Answer{Stdout: "ld.so (Debian GLIBC 2.36-9) stable release version 2.36.\nCopyright\n"}, loaders["arm64"], "--version")
	runner.On(hosttest.Answer{}, "systemd-run")
	m.put("/proc/locks", "")
	return m
}

func (m *machine) path(p string) string { return m.Host.Files.Path(p) }

func (m *machine) put(p, content string) {
	m.t.Helper()
	m.mkdir(filepath.Dir(p))
	require.NoError(m.t, os.WriteFile(m.path(p), []byte(content), 0o644))
}

func (m *machine) program(name string) {
	m.t.Helper()
	m.put("/usr/bin/"+name, "#!")
	require.NoError(m.t, os.Chmod(m.path("/usr/bin/"+name), 0o755))
}

func (m *machine) remove(p string) {
	m.t.Helper()
	require.NoError(m.t, os.RemoveAll(m.path(p)))
}

func (m *machine) mkdir(p string) {
	m.t.Helper()
	require.NoError(m.t, os.MkdirAll(m.path(p), 0o755))
}

func (m *machine) link(target, p string) {
	m.t.Helper()
	m.mkdir(filepath.Dir(p))
	require.NoError(m.t, os.Symlink(target, m.path(p)))
}

func (m *machine) all() map[string]Finding {
	m.t.Helper()
	findings, err := All(m.t.Context(), m.Env, Machine)
	require.NoError(m.t, err)
	byName := map[string]Finding{}
	for n, finding := range findings {
		assert.Equal(m.t, Machine[n].Name, finding.Name)
		byName[finding.Name] = finding
	}
	return byName
}

// finds asserts what one check says; every failure must tell what to do.
func (m *machine) finds(name string, severity Severity, words ...string) Finding {
	m.t.Helper()
	finding := m.all()[name]
	assert.Equal(m.t, severity, finding.Severity, "%s: %s", name, finding.Message)
	for _, word := range words {
		assert.Contains(m.t, finding.Message+"\n"+finding.Hint, word)
	}
	if severity == Failed {
		assert.NotEmpty(m.t, finding.Hint, "what to do about %q", finding.Message)
	}
	return finding
}

func TestReadyMachinePassesEveryCheck(t *testing.T) {
	for name, finding := range newMachine(t).all() {
		assert.Equal(t, OK, finding.Severity, "%s: %s", name, finding.Message)
		assert.NotEmpty(t, finding.Message, name)
		assert.NotEmpty(t, finding.Title, name)
		assert.Empty(t, finding.Hint, name)
	}
}

func TestNothingIsChanged(t *testing.T) {
	m := newMachine(t)
	m.put(layout.Receipt, "{}\n")
	m.put(layout.Lock, "")
	list := func() (all []string) {
		require.NoError(t, filepath.Walk(m.Host.Files.Root, func(p string, info fs.FileInfo, err error) error {
			all = append(all, fmt.Sprint(p, info.Mode(), info.ModTime(), info.Size()))
			return err
		}))
		return all
	}
	before := list()
	m.all()
	assert.Equal(t, before, list())
}

func TestCheckThatHangsIsAWarning(t *testing.T) {
	hangs := make(chan struct{})
	defer close(hangs)
	checks := []Check[*Env]{
		{"hangs", "a file system that is gone", func(context.Context, *Env) Finding { <-hangs; return Fine("") }},
		{"works", "another", func(context.Context, *Env) Finding { return Fine("fine") }},
	}
	findings := all(t.Context(), &Env{}, checks, 20*time.Millisecond)
	assert.Equal(t, Warning, findings[0].Severity)
	assert.Equal(t, "hangs", findings[0].Name)
	assert.Equal(t, OK, findings[1].Severity)
}

func TestChecksEndWithTheirContext(t *testing.T) {
	cause := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	_, err := All(ctx, newMachine(t).Env, Machine)
	require.ErrorIs(t, err, cause)
}

func TestNamesAreOnesToType(t *testing.T) {
	seen := map[string]bool{}
	for _, each := range Machine {
		name := each.Name
		assert.Regexp(t, `^[a-z]+(-[a-z]+)*$`, name)
		assert.False(t, seen[name], name)
		seen[name] = true
	}
}

func TestFactsOfTheMachine(t *testing.T) {
	for _, test := range []struct {
		name     string
		change   func(f *host.Facts)
		severity Severity
		words    string
	}{
		{"root", func(f *host.Facts) { f.UID = 1000 }, Failed, "sudo"},
		{"systemd", func(f *host.Facts) { f.Systemd = false }, Failed, "does not run"},
		{"systemd", func(f *host.Facts) { f.SystemdVersion = 244 }, Failed, "245"},
		{"systemd", func(f *host.Facts) { f.SystemdVersion = 245 }, OK, "245"},
		{"systemd", func(f *host.Facts) { f.SystemdVersion = 0 }, Warning, "systemctl --version"},
		{"architecture", func(f *host.Facts) { f.Arch = "riscv64" }, Failed, "riscv64"},
		{"glibc", func(f *host.Facts) { f.GlibcMinor = 31 }, Failed, "glibc is version 2.31; 2.34 or newer"},
		{"glibc", func(f *host.Facts) { f.GlibcMinor = 34 }, OK, "2.34"},
		{"glibc", func(f *host.Facts) { f.GlibcMajor, f.GlibcMinor = 3, 0 }, OK, "3.0"},
		{"memory", func(f *host.Facts) { f.MemoryBytes = MinMemory - 1 }, Failed, "more memory"},
		{"memory", func(f *host.Facts) { f.MemoryBytes = MinMemory }, Warning, "a few users"},
		{"memory", func(f *host.Facts) { f.MemoryBytes = 0 }, Warning, "is unknown"},
	} {
		t.Run(test.name+" "+test.words, func(t *testing.T) {
			m := newMachine(t)
			test.change(&m.Facts)
			m.finds(test.name, test.severity, test.words)
		})
	}
}

func TestLibraryThatIsNotGlibc(t *testing.T) {
	m := newMachine(t)
	m.Facts.GlibcMajor, m.Facts.GlibcMinor = 0, 0
	m.remove(loaders["arm64"])
	m.finds("glibc", Failed, "there is no glibc")
	m.put("/lib64/ld-linux-x86-64.so.2", "")
	m.finds("glibc", Warning, "is unknown")
	m.put("/lib/ld-musl-x86_64.so.1", "")
	m.finds("glibc", Failed, "musl")
}

func TestDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	m := newMachine(t)
	disk := func(options string) {
		m.mkdir("/opt")
		if err := unix.Mount("tmpfs", m.path("/opt"), "tmpfs", 0, options); err != nil {
			t.Skipf("cannot mount here: %v", err)
		}
		t.Cleanup(func() { _ = unix.Unmount(m.path("/opt"), unix.MNT_DETACH) })
	}
	disk("size=1400m")
	m.finds("disk", Failed, "1.4 GB is free where /opt/tljh will be", "1.5 GB")
	m.put(layout.Receipt, "{}\n")
	m.finds("disk", Warning, "begun")
	m.Installed = true
	m.finds("disk", Warning, "upgrade")
	disk("size=100m")
	m.finds("disk", Failed, "at least 200 MB")
	disk("size=4g,nr_inodes=2000")
	m.finds("disk", Failed, "files")
}

// mount puts a small file system in the place of a folder.
func (m *machine) mount(p string, flags uintptr, options string) {
	m.t.Helper()
	if os.Geteuid() != 0 {
		m.t.Skip("only root can mount")
	}
	m.mkdir(p)
	if err := unix.Mount("tmpfs", m.path(p), "tmpfs", flags, options); err != nil {
		m.t.Skipf("cannot mount here: %v", err)
	}
	m.t.Cleanup(func() { _ = unix.Unmount(m.path(p), unix.MNT_DETACH) })
}

func TestDiskBesideOpt(t *testing.T) {
	for place, words := range map[string]string{"/var": "in /var; at least 100 MB", "/tmp": "in /tmp", "/etc": "in /etc", "/srv/homes": "in /srv/homes"} {
		m := newMachine(t)
		m.HomeRoots = []string{"/home", "/srv/homes"}
		m.mount(place, 0, "size=4m")
		m.finds("disk", Failed, "4 MB is free "+words, "df -h "+place)
		m.put(layout.Receipt, "{}\n")
		m.finds("disk", Warning, "df -h "+place)
	}
	m := newMachine(t)
	m.mount("/home", 0, "size=1g,nr_inodes=1")
	m.finds("disk", Failed, "no room for more files", "df -i /home")
}

func TestNoExec(t *testing.T) {
	m := newMachine(t)
	m.mount("/home", unix.MS_NOEXEC, "size=1g")
	m.finds("noexec", Warning, "mounted with noexec: /home.", "findmnt -T /home")
	m.mount("/opt", unix.MS_NOEXEC, "size=4g")
	m.finds("noexec", Failed, "/opt/tljh is mounted with noexec", "remount,exec", "/etc/fstab")
}

func TestReadOnly(t *testing.T) {
	m := newMachine(t)
	m.finds("read-only", OK, "none of them")
	m.mkdir("/etc/sudoers.d")
	m.mount("/etc", unix.MS_RDONLY, "size=1m")
	m.HomeRoots = []string{"/home", "/srv/homes"}
	m.mount("/srv/homes", unix.MS_RDONLY, "size=1m")
	m.finds("read-only", Failed, "nobody can write to /etc, /srv/homes,", "findmnt -T /etc", "remount,rw")
}

func TestImmutableFolder(t *testing.T) {
	m := newMachine(t)
	m.mkdir("/opt")
	if out, err := exec.Command("chattr", "+i", m.path("/opt")).CombinedOutput(); err != nil {
		t.Skipf("no folder can be marked immutable here: %s", out)
	}
	t.Cleanup(func() { _ = exec.Command("chattr", "-i", m.path("/opt")).Run() })
	m.finds("read-only", Failed, "nobody can write to /opt,", "sudo chattr -i /opt")
}

func TestMissingPrograms(t *testing.T) {
	m := newMachine(t)
	require.NoError(t, os.Remove(m.path("/usr/bin/visudo")))
	require.NoError(t, os.Chmod(m.path("/usr/bin/useradd"), 0o644))
	m.finds("accounts-tools", Failed, "not found: useradd, visudo", "install the programs for accounts", "and sudo with")
	m.link("/opt/sudo/visudo", "/usr/sbin/visudo")
	m.finds("accounts-tools", Failed, "not found: useradd")
}

func TestSudoersThatIncludeNoRules(t *testing.T) {
	m := newMachine(t)
	m.finds("sudoers", OK, "/etc/sudoers includes /etc/sudoers.d")
	for _, text := range []string{"", "# @includedir /etc/sudoers.d\n", "## see #includedir /etc/sudoers.d\n", "@includedir /etc/sudoers.site\n", "@include sudoers\n", "@include none\n"} {
		m.put("/etc/sudoers", text)
		m.finds("sudoers", Warning, "/etc/sudoers does not include /etc/sudoers.d", "visudo", "@includedir /etc/sudoers.d")
	}
	m.put("/etc/sudoers.site", "#includedir /etc/sudoers.d/\n")
	for _, text := range []string{"#includedir /etc/sudoers.d", "  @includedir\t\"/etc/sudoers.d\" \n", "@include sudoers.site\n", "@include /etc/sudoers.site\n"} {
		m.put("/etc/sudoers", text)
		m.finds("sudoers", OK, "includes")
	}
	m.remove("/etc/sudoers")
	m.finds("sudoers", Warning, "no /etc/sudoers", "reinstall sudo")
	m.put("/usr/etc/sudoers", "@includedir /etc/sudoers.d\n")
	m.finds("sudoers", OK, "/usr/etc/sudoers includes")
}

func TestRootFolder(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the folder must belong to root")
	}
	binary := func(m *machine) { m.put(layout.Binary, "") }
	for _, test := range []struct {
		name     string
		make     func(m *machine)
		severity Severity
		words    string
	}{
		{"empty", func(m *machine) { m.mkdir(layout.Root) }, OK, "empty"},
		{"only the program", binary, OK, "only this program"},
		{"a file system of its own", func(m *machine) { m.mkdir("/opt/tljh/lost+found") }, OK, "only this program"},
		{"killed download", func(m *machine) { m.put("/opt/tljh/bin/.tljh-install.123", "") }, OK, "only this program"},
		{"killed before the receipt", func(m *machine) { binary(m); m.mkdir(layout.State) }, OK, "only this program"},
		{"killed at the end of an uninstallation", func(m *machine) { binary(m); m.put(layout.Log, "") }, OK, "only this program"},
		{"ours", func(m *machine) { binary(m); m.put(layout.Receipt, "{}"); m.link("x", layout.Hub) }, OK, "ours"},
		{"ours, without its receipt", func(m *machine) { binary(m); m.mkdir(layout.Generations); m.link("generations/hub-1", layout.Hub) }, OK, "ours"},
		{"interrupted, without its receipt", func(m *machine) { binary(m); m.mkdir(layout.Generations); m.mkdir(layout.Tools) }, OK, "ours"},
		{"uninstalled, without its receipt", func(m *machine) { m.put(layout.Applied, ""); m.put(layout.Config, "") }, OK, "ours"},
		{"someone else's", func(m *machine) { m.put("/opt/tljh/data/notes.txt", "") }, Failed, "contains: data"},
		{"someone else's generations", func(m *machine) { m.put(layout.Generations, "") }, Failed, "contains: generations"},
		{"someone else's program", func(m *machine) { binary(m); m.put("/opt/tljh/bin/python", "") }, Failed, "was not made by this program"},
		{"someone else's state", func(m *machine) { binary(m); m.put("/opt/tljh/state/x", "") }, Failed, "was not made by this program"},
		{"many", func(m *machine) {
			for n := range 9 {
				m.put(fmt.Sprintf("/opt/tljh/f%d", n), "")
			}
		}, Failed, "and 3 more"},
		{"older", func(m *machine) { m.put("/opt/tljh/hub/bin/python3", ""); m.put("/opt/tljh/user/bin/conda", "") }, Failed, "The Littlest JupyterHub 1.x/2.x"},
		{"older, half", func(m *machine) { m.put("/opt/tljh/state/traefik.toml", "") }, Failed, "The Littlest JupyterHub 1.x/2.x"},
		{"link", func(m *machine) { m.mkdir("/data"); m.link(m.path("/data"), layout.Root) }, Failed, "mount --bind"},
		{"file", func(m *machine) { m.put(layout.Root, "") }, Failed, "not a folder"},
		{"not root's", func(m *machine) { m.mkdir(layout.Root); require.NoError(m.t, os.Chown(m.path(layout.Root), 1000, 0)) }, Failed, "chown root"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			test.make(m)
			m.finds("opt-tljh", test.severity, test.words)
		})
	}
}

func TestClock(t *testing.T) {
	m := newMachine(t)
	m.Now = m.Built.Add(-time.Hour)
	m.finds("clock", Failed, "timedatectl")

	for off, words := range map[time.Duration]string{
		10 * time.Minute: "10 minutes ahead", -3 * time.Hour: "3 hours behind", 72 * time.Hour: "3 days ahead",
	} {
		m = newMachine(t)
		m.Now = noon.Add(off)
		m.finds("clock", Warning, words, "index.test")
	}
	m = newMachine(t)
	m.Online = false
	m.finds("clock", OK)
}

func TestLockOfAnotherInstallation(t *testing.T) {
	m := newMachine(t)
	require.NoError(t, os.RemoveAll(m.path("/proc")))
	m.link("/proc", "/proc") // the real one: the kernel is to say who holds it
	m.finds("lock", OK)

	note := fmt.Sprintf("process %d since 2027-03-01T11:58:00Z", os.Getpid())
	unlock, _, locked, err := m.Host.Files.Lock(layout.Lock, note)
	require.NoError(t, err)
	require.True(t, locked)
	m.finds("lock", Failed, fmt.Sprintf("process %d (", os.Getpid()), "since 2027-03-01T11:58:00Z")
	_, _, locked, err = m.Host.Files.Lock(layout.Lock, note)
	require.NoError(t, err)
	assert.False(t, locked, "looking let go of the lock")

	unlock()
	m.finds("lock", OK)
	unlock, _, _, err = m.Host.Files.Lock(layout.Lock, layout.SnapshotNote+", "+note)
	require.NoError(t, err)
	m.finds("lock", OK, "will be waited for")
	unlock()
	unlock, _, locked, err = m.Host.Files.Lock(layout.Lock, note)
	require.NoError(t, err)
	assert.True(t, locked, "looking took the lock")
	unlock()
}

func TestLockThatCannotBeLookedAt(t *testing.T) {
	m := newMachine(t)
	m.put(layout.Lock, "")
	require.NoError(t, os.Remove(m.path("/proc/locks")))
	m.finds("lock", Warning, "cannot find out")
}

// A machine of which nothing can be found out is warned about, not refused.
func TestWhatCannotBeFoundOutIsNoFailure(t *testing.T) {
	m := newMachine(t)
	require.NoError(t, os.RemoveAll(m.path("/proc")))
	m.Facts = host.Facts{Arch: "amd64", Systemd: true}
	m.put("/lib64/ld-linux-x86-64.so.2", "")
	m.Reach = func(context.Context) []SourceResult { return []SourceResult{{Untried: "cannot unpack pip"}} }
	for name, finding := range m.all() {
		assert.NotEqual(t, Failed, finding.Severity, "%s: %s", name, finding.Message)
	}
	m.finds("package-sources", Warning, "cannot unpack pip")
}

// A listener of this very process, as the real kernel shows it.
func TestRealListenerIsFound(t *testing.T) {
	m := newMachine(t)
	require.NoError(t, os.RemoveAll(m.path("/proc")))
	m.link("/proc", "/proc")
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer socket.Close()
	m.Port = socket.Addr().(*net.TCPAddr).Port
	me, err := os.ReadFile("/proc/self/comm")
	require.NoError(t, err)
	m.finds("ports", Failed, fmt.Sprintf("port %d is taken by %s (process %d", m.Port, strings.TrimSpace(string(me)), os.Getpid()), "another port")
	require.NoError(t, socket.Close())
	finding := m.all()["ports"]
	assert.NotContains(t, finding.Message, fmt.Sprintf("port %d is taken", m.Port))
}

// The locks were made for a glibc; the check lets no older one pass, and turns no other away.
func TestGlibcIsThatOfTheLocks(t *testing.T) {
	for _, name := range []string{"uv", "hub", "node", "user"} {
		made, _, _ := strings.Cut(string(hub.Lock(name)), "\n")
		assert.Contains(t, made, fmt.Sprintf("glibc %d.%d or later", MinGlibcMajor, MinGlibcMinor), name)
	}
	script, err := os.ReadFile("../../hub/locks/remake.sh")
	require.NoError(t, err)
	assert.Contains(t, string(script), fmt.Sprintf("manylinux_%d_%d", MinGlibcMajor, MinGlibcMinor))
}
