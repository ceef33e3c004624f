package check

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/hub"
	"tljh/internal/host"
	"tljh/internal/host/hosttest"
)

// refuses has systemd-run refuse what names one of these properties; no name at all is everything.
func (m *machine) refuses(code int, words string, properties ...string) {
	m.runner.On(hosttest.Answer{Do: func(_ context.Context, call hosttest.Call) error {
		fits := func(word string) bool {
			return slices.ContainsFunc(properties, func(p string) bool { return strings.HasPrefix(word, "--property="+p+"=") })
		}
		if len(properties) > 0 && !slices.ContainsFunc(call.Argv, fits) {
			return nil
		}
		return &host.ExitError{Argv: call.Argv, Code: code, Tail: words}
	}}, "systemd-run")
}

func TestEverySandboxIsTried(t *testing.T) {
	m := newMachine(t)
	m.finds("sandbox", OK, "9 sandboxes")
	lines := m.runner.Lines()
	for _, property := range append(hub.ServerSandbox(), host.Sandbox()...) {
		assert.True(t, slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, " --property="+property+" ") }), property)
	}
	assert.True(t, slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, "--property=DynamicUser=yes") }), "the units'")
	for _, line := range lines {
		if strings.HasPrefix(line, "systemd-run") {
			assert.True(t, strings.Contains(line, "--wait --pipe --collect") && strings.HasSuffix(line, " -- /bin/true"), line)
		}
	}
}

func TestSandboxThatIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		container  string
		code       int
		words      string
		properties []string
		severity   Severity
		want       []string
	}{
		"LXC without nesting": {"lxc", 226, "", []string{"PrivateTmp", "ProtectSystem"}, Failed, []string{"single-user servers", "PrivateTmp", "ProtectSystem", "226/NAMESPACE", "nesting=1"}},
		"another container":   {"docker", 226, "", []string{"PrivateTmp"}, Failed, []string{"PrivateTmp", "virtual machine"}},
		"no seccomp":          {"", 228, "", []string{"SystemCallFilter"}, Failed, []string{"systemd refuses SystemCallFilter: status 228/SECCOMP", "CONFIG_SECCOMP_FILTER"}},
		"old systemd":         {"lxc", 1, "Unknown assignment: ProtectClock=yes", []string{"ProtectClock"}, Failed, []string{"ProtectClock: Unknown assignment", "upgrade the operating system"}},
		"nothing starts":      {"", 1, "Failed to start transient service unit", nil, Failed, []string{"systemd starts no program", "is-system-running"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			if test.container != "" {
				m.put(container, test.container+"\n")
			}
			m.refuses(test.code, test.words, test.properties...)
			m.finds("sandbox", test.severity, test.want...)
		})
	}
}

// What only together is refused has no name.
func TestSandboxWhosePropertiesAreRefusedTogether(t *testing.T) {
	m := newMachine(t)
	m.runner.On(hosttest.Answer{Do: func(_ context.Context, call hosttest.Call) error {
		if len(call.Argv) > 15 {
			return &host.ExitError{Argv: call.Argv, Code: 226}
		}
		return nil
	}}, "systemd-run")
	m.finds("sandbox", Failed, "their options together")
}

func TestSandboxThatCannotBeTried(t *testing.T) {
	m := newMachine(t)
	m.runner.On(hosttest.Answer{Err: errors.New("no such program")}, "systemd-run")
	m.finds("sandbox", Warning, "no such program")
	m.Facts.Systemd = false
	m.finds("sandbox", Skipped, "see systemd")
	m.Facts.UID = 1000
	m.finds("sandbox", Skipped, "see root")
}

func TestProgramsOf64Bits(t *testing.T) {
	m := newMachine(t)
	m.finds("programs", OK, "2.36")
	m.put("/opt/tljh/python/p", "")
	m.Python = "/opt/tljh/python/p"
	m.finds("programs", Warning, "could not be tried")
	m.runner.On(hosttest.Answer{Stdout: "Python 3.14.6\n"}, m.Python, "--version")
	m.finds("programs", OK, "Python 3.14.6")
	m.runner.On(hosttest.Answer{Code: 1, Stderr: "version `GLIBC_2.34' not found"}, m.Python, "--version")
	m.finds("programs", Failed, "GLIBC_2.34")

	m = newMachine(t)
	m.remove(loaders["arm64"])
	m.finds("programs", Failed, loaders["arm64"]+" is missing")
	m.put("/bin/sh", "\x7fELF\x01\x01\x01")
	m.finds("programs", Failed, "the system for 32", "64-bit edition", "getconf LONG_BIT")
	m.put("/bin/sh", "\x7fELF\x02\x01\x01")
	m.finds("programs", Failed, "is missing")
	m.put(muslLoaders[1], "")
	m.finds("programs", Skipped, "see glibc")
	m.Facts.Arch = "mips"
	m.finds("programs", Skipped, "see architecture")
}

func TestLimitsOfTheKernel(t *testing.T) {
	m := newMachine(t)
	controllers := cgroups + "/cgroup.controllers"
	m.put(controllers, "cpuset cpu io pids\n")
	m.finds("limits", Warning, "memory limits have no effect", "add cgroup_enable=memory to the kernel's command line")
	m.put(grub, "")
	m.finds("limits", Warning, "add cgroup_enable=memory to GRUB_CMDLINE_LINUX", "update-grub")
	m.put("/proc/cmdline", "quiet cgroup_disable=cpu,memory\n")
	m.finds("limits", Warning, "take cgroup_disable=memory out of GRUB_CMDLINE_LINUX")
	m.put("/boot/cmdline.txt", "")
	m.finds("limits", Warning, "cgroup_memory=1 cgroup_enable=memory/' /boot/cmdline.txt && sudo reboot")
	m.put("/boot/firmware/cmdline.txt", "")
	m.finds("limits", Warning, "/boot/firmware/cmdline.txt && sudo reboot")
	m.put(container, "lxc\n")
	m.finds("limits", Warning, "the container's host")
	m.remove(container)
	m.put(controllers, "memory\n")
	m.finds("limits", Warning, "CPU limits and limits of processes have no effect", "cgroup_disable=cpu,pids")

	m.remove(cgroups)
	m.finds("limits", Skipped)
	for _, name := range []string{"memory", "cpu", "pids"} {
		m.mkdir(cgroups + "/" + name)
	}
	m.finds("limits", OK)
	m.remove(cgroups + "/memory")
	m.finds("limits", Warning, "memory limits have no effect")
}

// The line for a Raspberry Pi leaves one line, with what stood there.
func TestLineForTheFirmware(t *testing.T) {
	m := newMachine(t)
	m.put(cgroups+"/cgroup.controllers", "cpu pids\n")
	m.put(firmware[0], "console=tty1 root=/dev/mmcblk0p2 rootwait\n")
	hint := m.finds("limits", Warning).Hint
	line, _, _ := strings.Cut(strings.TrimPrefix(hint, "sudo "), " && ")
	_, err := (&host.Exec{}).Run(t.Context(), host.Command{Argv: []string{"sh", "-c", strings.ReplaceAll(line, firmware[0], m.path(firmware[0]))}})
	require.NoError(t, err)
	text, err := os.ReadFile(m.path(firmware[0]))
	require.NoError(t, err)
	assert.Equal(t, "console=tty1 root=/dev/mmcblk0p2 rootwait cgroup_memory=1 cgroup_enable=memory\n", string(text))
}

func TestGitForLinks(t *testing.T) {
	m := newMachine(t)
	m.remove("/usr/bin/git")
	m.finds("git", Warning, "git is not installed", "install git with the system's package manager")
	m.program("dnf")
	m.finds("git", Warning, "sudo dnf install git")
	m.program("apt-get")
	m.finds("git", Warning, "sudo apt install git")
	m.put("/opt/tljh/user/bin/python", "")
	m.finds("git", OK, "nothing needs it")
	m.mkdir("/opt/tljh/user/site-packages/nbgitpuller")
	m.finds("git", Warning)
	m.put("/opt/tljh/user/bin/git", "")
	m.finds("git", OK)
}

func TestEditorForTheConfig(t *testing.T) {
	m := newMachine(t)
	m.remove("/usr/bin/nano")
	m.program("apt-get")
	m.program(EditorChooser)
	m.finds("editor", Warning, "no editor", "sudo apt install nano")
	m.Environ = []string{"EDITOR=hx"}
	m.finds("editor", OK, "hx")
	m.Environ = nil
	m.program("vi")
	m.finds("editor", OK, "vi")
}

func TestSettingsOfTheKernel(t *testing.T) {
	m := newMachine(t)
	m.put("/proc/sys/fs/inotify/max_user_instances", "64\n")
	m.finds("inotify", Warning, "fs.inotify.max_user_instances is 64", "fs.inotify.max_user_instances=1024 | sudo tee -a /etc/sysctl.d/60-tljh.conf && sudo sysctl --system")
	m.put("/proc/sys/fs/inotify/max_user_watches", "100\n")
	m.finds("inotify", Warning, "max_user_watches=65536")
	m.remove("/proc/sys/fs")
	m.finds("inotify", OK)

	m.put("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0\n")
	m.finds("unprivileged-ports", Warning, "127.0.0.1:971", "net.ipv4.ip_unprivileged_port_start=1024")
	m.put("/proc/sys/net/ipv4/ip_unprivileged_port_start", "973\n")
	m.finds("unprivileged-ports", Warning, "(127.0.0.1:973)")
	m.put("/proc/sys/net/ipv4/ip_unprivileged_port_start", "974\n")
	m.finds("unprivileged-ports", OK)

	m.put("/sys/fs/selinux/enforce", "0")
	m.finds("selinux", OK)
	m.put("/sys/fs/selinux/enforce", "1")
	m.finds("selinux", Warning, "SELinux is enforcing", "ausearch")
}
