package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/systemdunits"
)

// Machine is every check of the machine, in the order of the report.
var Machine = []Check[*Env]{
	{"root", "administrator rights", checkRoot},
	{"systemd", "the service manager", checkSystemd},
	{"sandbox", "sandboxes of services and single-user servers", checkSandbox},
	{"limits", "the kernel's limits", checkLimits},
	{"architecture", "the processor", checkArchitecture},
	{"glibc", "the C library", checkGlibc},
	{"programs", "64-bit programs", checkPrograms},
	{"memory", "memory", checkMemory},
	{"disk", "space on disk", checkDisk},
	{"noexec", "file systems that programs run from", checkNoExec},
	{"read-only", "file systems that are written to", checkReadOnly},
	{"accounts-tools", "programs for accounts, sudo and services", checkTools},
	{"sudoers", "rules of sudo", checkSudoers},
	{"opt-tljh", "the folder " + layout.Root, checkRootFolder},
	{"lock", "other installations at work", checkLock},
	{"addresses", "addresses of the network", checkAddresses},
	{"ports", "ports of the network", checkPorts},
	{"unprivileged-ports", "ports of the hub's own", checkUnprivilegedPorts},
	{"inotify", "watching of files", checkInotify},
	{"selinux", "SELinux", checkSELinux},
	{"clock", "the clock", checkClock},
	{"dns", "resolving of names", checkDNS},
	{"package-sources", "reach of the package sources", checkSources},
	{"git", "git, for links of nbgitpuller", checkGit},
	{"editor", "an editor for the config", checkEditor},
}

// What an installation needs. A new one took 0.7 GB when it was done; while it is built, the packages' cache (linked, not
// copied, where possible) and halves of downloads come on top, and homes of users need room as well.
const (
	MinGlibcMajor = 2         // the locked wheels of cryptography and debugpy are manylinux_2_34
	MinGlibcMinor = 34        //
	MinMemory     = 900 << 20 // below this the hub, its proxy and one server don't fit side by side
	GoodMemory    = 1500 << 20
	DiskNew       = 1500 << 20
	DiskAgain     = 200 << 20 // for another run over an installation that is there
	InodesNew     = 100_000   // both environments hold some 50,000 files, and the cache links to them
	InodesAgain   = 5_000
)

func checkRoot(_ context.Context, env *Env) Finding {
	if env.Facts.UID != 0 {
		return Fail("run the same command with sudo", "only root can install; this is account number %d", env.Facts.UID)
	}
	return Fine("running as root")
}

func checkSystemd(_ context.Context, env *Env) Finding {
	switch version := env.Facts.SystemdVersion; {
	case !env.Facts.Systemd:
		return Fail("take a server or virtual machine that boots with systemd; most containers and WSL without systemd don't",
			"systemd does not run on this machine: it starts, limits and watches the hub and the single-user servers")
	case version == 0:
		return Warn("see what this says: systemctl --version", "systemd runs, but its version is unknown; %d or newer is needed", systemdunits.MinimumSystemd)
	case version < systemdunits.MinimumSystemd:
		return Fail("upgrade the operating system", "systemd is version %d; %d or newer is needed", version, systemdunits.MinimumSystemd)
	default:
		return Fine("systemd %d is running", version)
	}
}

func checkArchitecture(_ context.Context, env *Env) Finding {
	if !slices.Contains([]string{"amd64", "arm64"}, env.Facts.Arch) {
		return Fail("take a machine with a 64-bit Intel, AMD or ARM processor", "the processor is of type %s; amd64 or arm64 is needed", env.Facts.Arch)
	}
	return Fine("%s", env.Facts.Arch)
}

const oldSystemHint = "upgrade the operating system; those of 2022 and later have it"

func checkGlibc(_ context.Context, env *Env) Finding {
	major, minor := env.Facts.GlibcMajor, env.Facts.GlibcMinor
	switch {
	case major == 0 && env.any(muslLoaders...):
		return Fail("take a machine whose system rests on glibc, as most do",
			"the C library is musl; the programs and packages to install are made for glibc %d.%d or newer", MinGlibcMajor, MinGlibcMinor)
	case major == 0 && !env.any(loaders["amd64"], loaders["arm64"]):
		return Fail("take a machine whose system rests on glibc, as most do", "there is no glibc on this machine; version %d.%d or newer is needed", MinGlibcMajor, MinGlibcMinor)
	case major == 0:
		return Warn("see what this says: ldd --version", "the version of glibc is unknown; %d.%d or newer is needed", MinGlibcMajor, MinGlibcMinor)
	case major < MinGlibcMajor || major == MinGlibcMajor && minor < MinGlibcMinor:
		return Fail(oldSystemHint, "glibc is version %d.%d; %d.%d or newer is needed", major, minor, MinGlibcMajor, MinGlibcMinor)
	}
	return Fine("glibc %d.%d", major, minor)
}

func (e *Env) any(paths ...string) bool { return slices.ContainsFunc(paths, e.Host.Files.Exists) }

func checkMemory(_ context.Context, env *Env) Finding {
	switch memory := env.Facts.MemoryBytes; {
	case memory == 0:
		return Warn("see what this says: free -m", "the size of the memory is unknown; %s or more is needed", size(MinMemory))
	case memory < MinMemory:
		return Fail("take a machine with more memory: 1 GB at the least, and about 100 MB more for every user who works at the same time",
			"this machine has %s of memory; at least %s is needed", size(memory), size(MinMemory))
	case memory < GoodMemory:
		return Warn("count on about 100 MB for every user who works at the same time, and more for real work",
			"this machine has %s of memory: enough for the hub and a few users", size(memory))
	default:
		return Fine("%s", size(memory))
	}
}

// besides are the places beside /opt that an installation and a first server write to, with what they need there.
var besides = []struct {
	place string
	bytes uint64
}{
	{"/etc", 10 << 20}, {"/usr/local", 10 << 20}, {"/var", 100 << 20}, {"/tmp", 50 << 20}, {"/run", 10 << 20},
}

const homeBytes = 100 << 20 // of a user's first session

// checkDisk demands less of a machine that has an installation: much of what is needed may be there already.
func checkDisk(_ context.Context, env *Env) Finding {
	finding := env.room()
	if finding.Severity == Failed {
		return finding
	}
	for _, home := range env.homes() {
		if found, full := env.fullAt(home, homeBytes); full {
			return found
		}
	}
	for _, each := range besides {
		if found, full := env.fullAt(each.place, each.bytes); full {
			return found
		}
	}
	return finding
}

// fullAt tells whether a place has too little room. An installation that is there is no reason to refuse: it may be what is to be mended.
func (e *Env) fullAt(place string, need uint64) (Finding, bool) {
	free, inodes, err := e.Host.Files.FreeSpace(place)
	if err != nil || free >= need && inodes > 0 {
		return Finding{}, false
	}
	tell := Fail
	if e.Installed || e.begun() {
		tell = Warn
	}
	if free >= need {
		return tell("see df -i "+place+" and remove many small files", "the file system of %s has no room for more files", place), true
	}
	return tell("see what takes the space (df -h "+place+") and make room", "%s is free in %s; at least %s is needed", size(free), place, size(need)), true
}

// room is what is free where the installation is to be.
func (e *Env) room() Finding {
	free, inodes, err := e.Host.Files.FreeSpace(layout.Root)
	if err != nil {
		return Warn("see what this says: df -h /opt", "%v", err)
	}
	needBytes, needInodes := DiskNew+e.Copied, uint64(InodesNew)
	if e.Installed {
		needBytes, needInodes = DiskAgain, InodesAgain
	}
	switch {
	case (free < needBytes || inodes < needInodes) && free >= DiskAgain && inodes >= InodesAgain && e.begun():
		return Warn("see what takes the space: df -h /opt", "%s is free; a new installation needs %s, of which the one that was begun has a part", size(free), size(DiskNew))
	case free < needBytes:
		return Fail("see what takes the space (df -h /opt) and make room, or give the machine a larger disk",
			"%s is free where %s will be; at least %s is needed", size(free), layout.Root, size(needBytes))
	case inodes < needInodes:
		return Fail("see df -i /opt and remove many small files, or make a file system with more inodes",
			"the file system has room for only %d more files where %s will be; at least %d is needed", inodes, layout.Root, needInodes)
	case free < DiskNew:
		return Warn("see what takes the space: df -h /opt", "%s is free; an upgrade may need %s", size(free), size(DiskNew))
	}
	return Fine("%s is free", size(free))
}

func size(bytes uint64) string {
	if bytes < 1<<30 {
		return fmt.Sprintf("%d MB", bytes>>20)
	}
	return fmt.Sprintf("%.1f GB", float64(bytes)/(1<<30))
}

// tools are the programs we run, with what they belong to: packages are called differently from system to system.
var tools = []struct{ name, of string }{
	{"useradd", "the programs for accounts (package passwd or shadow-utils)"},
	{"usermod", "the programs for accounts (package passwd or shadow-utils)"},
	{"userdel", "the programs for accounts (package passwd or shadow-utils)"},
	{"groupadd", "the programs for accounts (package passwd or shadow-utils)"},
	{"visudo", "sudo"},
	{"systemd-run", "systemd"},
	{"journalctl", "systemd"},
}

func checkTools(_ context.Context, env *Env) Finding {
	var missing, of []string
	for _, tool := range tools {
		if hasProgram(env.Host.Files, tool.name) {
			continue
		}
		missing = append(missing, tool.name)
		if !slices.Contains(of, tool.of) {
			of = append(of, tool.of)
		}
	}
	if len(missing) > 0 {
		return Fail("install "+strings.Join(of, " and ")+" with the system's package manager", "not found: %s", strings.Join(missing, ", "))
	}
	return Fine("all of them are there")
}

const notOurs = "look at what it is and who made it (ls -la " + layout.Root + "); this program needs " + layout.Root + " for itself"

func checkRootFolder(_ context.Context, env *Env) Finding {
	files := env.Host.Files
	info, err := files.Lstat(layout.Root)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Fine("not there yet")
	case err != nil:
		return Warn("", "cannot look at %s: %v", layout.Root, err)
	case info.Mode().Type() == fs.ModeSymlink:
		return Fail("to have it on another disk, mount a folder of that disk there: mount --bind (and a line in /etc/fstab)",
			"%s is a symbolic link; it must be a folder", layout.Root)
	case !info.IsDir():
		return Fail(notOurs, "%s is not a folder", layout.Root)
	case host.AttrOf(info).UID != 0:
		return Fail("see what it is for; if the hub should be there: chown root:root "+layout.Root,
			"%s belongs to account number %d instead of root", layout.Root, host.AttrOf(info).UID)
	}
	return env.contents()
}

func (e *Env) contents() Finding {
	names, err := e.Host.Files.List(layout.Root)
	switch {
	case err != nil:
		return Warn("", "cannot look into %s: %v", layout.Root, err)
	case len(names) == 0:
		return Fine("empty")
	case e.Older:
		return Fine("a legacy hub, which will be adopted")
	case e.older():
		return Fail("run its own installer, of its last release, once more: it completes what is missing; then run this command again",
			"a part of The Littlest JupyterHub 1.x/2.x (Python) is in %s", layout.Root)
	case Ours(e.Host.Files):
		return Fine("an installation of ours")
	case e.onlyBegun(names):
		return Fine("only this program is in it")
	}
	return Fail(notOurs, "%s was not made by this program; it contains: %s", layout.Root, strings.Join(firstFew(names, 6), ", "))
}

// older recognises what the installer written in Python leaves: its hub environment is a folder, where ours is a link, and its
// proxy is one binary in the state folder.
func (e *Env) older() bool {
	files := e.Host.Files
	if info, err := files.Lstat(layout.Hub); err == nil && info.IsDir() && files.Exists(layout.Hub+"/bin/python3") {
		return true
	}
	names, _ := files.List(layout.State)
	return slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, "traefik") })
}

// onlyBegun tells whether all that is there comes from bootstrap.sh or an installation that was killed before its first entry in
// the receipt.
func (e *Env) onlyBegun(names []string) bool {
	for _, name := range names {
		if name == "lost+found" || name == path.Base(layout.Log) {
			continue // of a file system that is mounted there; of an uninstallation that was killed at its very end
		}
		below, err := e.Host.Files.List(path.Join(layout.Root, name))
		switch {
		case err != nil:
			return false
		case name == path.Base(path.Dir(layout.Binary)):
			if slices.ContainsFunc(below, func(n string) bool { return !strings.HasPrefix(strings.TrimPrefix(n, "."), "tljh-") }) {
				return false
			}
		case name != path.Base(layout.State) || len(below) > 0:
			return false
		}
	}
	return true
}

func firstFew(names []string, n int) []string {
	if len(names) <= n {
		return names
	}
	return append(slices.Clone(names[:n]), fmt.Sprintf("and %d more", len(names)-n))
}

const farOff = 5 * time.Minute

func checkClock(ctx context.Context, env *Env) Finding {
	const hint = "set it, or let it be set: timedatectl set-ntp true"
	now := env.Now
	if now.Before(env.Built) {
		return Fail(hint, "the clock says %s, which can't be: this program is newer. Certificates would not be accepted", now.UTC().Format(time.DateOnly))
	}
	for _, source := range env.sources(ctx) {
		if source.Date.IsZero() {
			continue
		}
		if off := now.Sub(source.Date.Add(source.Took)); off.Abs() > farOff {
			return Warn(hint, "the clock is %s %s, by the clock of %s", inWords(off.Abs()), aheadOrBehind(off), source.Host)
		}
		return Fine("right, by the clock of %s", source.Host)
	}
	return Fine("%s", now.UTC().Format("2006-01-02 15:04 UTC"))
}

func inWords(d time.Duration) string {
	switch {
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f minutes", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f hours", d.Hours())
	}
	return fmt.Sprintf("%.0f days", d.Hours()/24)
}

func aheadOrBehind(off time.Duration) string {
	if off > 0 {
		return "ahead"
	}
	return "behind"
}

// inode returns the number of the file p, 0 when it is not there.
func (e *Env) inode(p string) (inode, device uint64) {
	info, err := e.Host.Files.Lstat(p)
	if err != nil {
		return 0, 0
	}
	st, isStat := info.Sys().(*syscall.Stat_t)
	if !isStat {
		return 0, 0
	}
	return st.Ino, uint64(st.Dev)
}
