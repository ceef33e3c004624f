package check

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tljh/internal/host"
	"tljh/internal/layout"
)

// The least of inotify that a machine with users should have: the kernel's own defaults.
const (
	MinInotifyInstances = 128
	MinInotifyWatches   = 8192
)

var inotify = []struct {
	key   string
	least int
	good  int // what to set
}{
	{"fs.inotify.max_user_instances", MinInotifyInstances, 1024}, {"fs.inotify.max_user_watches", MinInotifyWatches, 65536},
}

// sysctl reads a setting of the kernel.
func sysctl(files host.Files, key string) (int, bool) {
	text, err := files.Read("/proc/sys/" + strings.ReplaceAll(key, ".", "/"))
	if err != nil {
		return 0, false
	}
	value, err := strconv.Atoi(strings.TrimSpace(string(text)))
	return value, err == nil
}

// sysctlHint sets a setting of the kernel, for now and for the next start.
func sysctlHint(lines ...string) string {
	return fmt.Sprintf(`printf '%%s\n' %s | sudo tee -a /etc/sysctl.d/60-tljh.conf && sudo sysctl --system`, strings.Join(lines, " "))
}

func checkInotify(_ context.Context, env *Env) Finding {
	low, lines := []string{}, []string{}
	for _, setting := range inotify {
		if value, known := sysctl(env.Host.Files, setting.key); known && value < setting.least {
			low = append(low, fmt.Sprintf("%s is %d", setting.key, value))
			lines = append(lines, fmt.Sprintf("%s=%d", setting.key, setting.good))
		}
	}
	if len(low) > 0 {
		return Warn(sysctlHint(lines...), "%s: programs that watch files may fail, the watch on the user environment among them", strings.Join(low, " and "))
	}
	return Fine("enough")
}

const privilegedBelow = "net.ipv4.ip_unprivileged_port_start"

func checkUnprivilegedPorts(_ context.Context, env *Env) Finding {
	start, known := sysctl(env.Host.Files, privilegedBelow)
	if !known {
		return Skip("the kernel does not say which ports are root's")
	}
	taken := slices.DeleteFunc(slices.Clone(layout.InternalAddresses), func(address string) bool {
		parsed, err := netip.ParseAddrPort(address)
		return err != nil || int(parsed.Port()) < start
	})
	if len(taken) > 0 {
		return Warn(sysctlHint(privilegedBelow+"=1024"), "%s is %d: a user's program may take a port of the hub or its proxy (%s) while it starts anew, and read what is meant for it",
			privilegedBelow, start, strings.Join(taken, ", "))
	}
	return Fine("ports below %d are root's", start)
}

func checkSELinux(_ context.Context, env *Env) Finding {
	mode, err := env.Host.Files.Read("/sys/fs/selinux/enforce")
	if err != nil || strings.TrimSpace(string(mode)) != "1" {
		return Fine("not enforcing")
	}
	return Warn("if a service or a server does not start, see what was denied: sudo ausearch -m avc -ts recent",
		"SELinux is enforcing; this program brings no policy of its own and is tested without SELinux")
}

// checkNoExec looks at the file systems that programs are started from. Users' homes are theirs: what can't run there is said.
func checkNoExec(_ context.Context, env *Env) Finding {
	files := env.Host.Files
	if files.NoExec(layout.Root) {
		return Fail("sudo mount -o remount,exec on the file system that findmnt -T /opt shows, and take noexec out of its line in /etc/fstab",
			"the file system of %s is mounted with noexec: no program of the hub could be started", layout.Root)
	}
	cannot := slices.DeleteFunc(append(slices.Clone(env.homes()), "/tmp", "/var/tmp"), func(place string) bool { return !files.NoExec(place) })
	if len(cannot) > 0 {
		return Warn("to allow it: sudo mount -o remount,exec on the file system that findmnt -T "+cannot[0]+" shows, and take noexec out of its line in /etc/fstab",
			"mounted with noexec: %s. Users can't run programs there, nor import packages with compiled code", strings.Join(cannot, ", "))
	}
	return Fine("programs may run where they are installed")
}

// written are the folders that an installation and its services write to, in addition to those of homes.
var written = []string{
	layout.Root, "/etc", path.Dir(layout.Sudoers), path.Dir(layout.Profile), layout.Units, "/usr/local/bin", "/usr/local/share", "/var/log", "/tmp", "/var/tmp", "/run",
}

// checkReadOnly looks for what would end an installation in its middle. The mode of a folder is no matter: it is root who writes, or a user to the own home.
func checkReadOnly(_ context.Context, env *Env) Finding {
	cannot, hint := []string{}, ""
	for _, place := range append(slices.Clone(written), env.homes()...) {
		at, why := env.Host.Files.Unwritable(place)
		if why == nil || slices.Contains(cannot, at) {
			continue
		}
		cannot = append(cannot, at)
		switch {
		case hint != "":
		case errors.Is(why, unix.EROFS):
			hint = "see which file system that is (findmnt -T " + at + ") and why it is read-only (its options; journalctl -k, after an error of the disk), and make it writable: " +
				"sudo mount -o remount,rw and its folder"
		default:
			hint = "take the mark off: sudo chattr -i " + at
		}
	}
	if len(cannot) > 0 {
		return Fail(hint, "nobody can write to %s, also not root: read-only or immutable", strings.Join(cannot, ", "))
	}
	return Fine("none of them is read-only")
}

// homes are the folders that hold homes.
func (e *Env) homes() []string {
	if len(e.HomeRoots) == 0 {
		return []string{"/home"}
	}
	return e.HomeRoots
}
