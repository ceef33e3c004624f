package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Options say what kind of guest is wanted. The zero value is a Debian 12 with a network.
type Options struct {
	Name      string            // for its logs among the artefacts
	Suite     string            // Bookworm when empty; ignored with From
	From      *Snapshot         // start from what another guest left
	Memory    int64             // cap for the whole guest, in bytes; 0 is none
	Tmpfs     map[string]string // small file systems: folder → size, as "200M"
	Offline   bool              // a wire to this machine only, no route further
	NoSystemd bool              // the first process is no init system
	Env       []string          // further variables of every command, as "A=b"
}

// Snapshot is the disk of a guest at rest, from which others can be started.
type Snapshot struct {
	lowers []string // folders of the overlay, topmost first
	suite  string
}

// Guest is one throwaway machine.
type Guest struct {
	lab    *Lab
	opts   Options
	number int
	lock   *os.File
	folder string
	lowers []string
	place  placement

	mu      sync.Mutex
	leader  int           // its first process, as this machine numbers it; 0 when it is off
	gone    chan struct{} // closed when systemd-nspawn has ended
	console *os.File

	closing  sync.Once
	closeErr error
}

// New makes a guest with its disk, network and cgroup, and leaves it switched off.
func (l *Lab) New(ctx context.Context, opts Options) (*Guest, error) {
	lowers, suite, err := l.lowers(ctx, opts)
	if err != nil {
		return nil, err
	}
	opts.Suite = suite
	g, err := l.claim(ctx, opts)
	if err != nil {
		return nil, err
	}
	g.lowers = lowers
	if err := g.prepare(ctx); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

func (l *Lab) lowers(ctx context.Context, opts Options) ([]string, string, error) {
	if opts.From != nil {
		return opts.From.lowers, opts.From.suite, nil
	}
	suite := opts.Suite
	if suite == "" {
		suite = Bookworm
	}
	root, err := l.Root(ctx, suite)
	if err != nil {
		return nil, "", err
	}
	return []string{root}, suite, nil
}

// claim finds a free number, and takes down what a dead owner may have left under it.
func (l *Lab) claim(ctx context.Context, opts Options) (*Guest, error) {
	for n := 1; n <= maxGuests; n++ {
		lock, ok, err := tryLock(lockPath(n))
		if err != nil {
			return nil, fmt.Errorf("cannot claim a guest: %w", err)
		}
		if !ok {
			continue
		}
		if err := teardown(ctx, n); err != nil {
			return nil, errors.Join(err, lock.Close())
		}
		taken, err := addressTaken(n)
		if err != nil || taken {
			if err = errors.Join(err, lock.Close()); err != nil {
				return nil, err
			}
			continue
		}
		g := &Guest{lab: l, opts: opts, number: n, lock: lock, folder: filepath.Join(l.cache, "guests", strconv.Itoa(n))}
		if err := l.add(g); err != nil {
			return nil, errors.Join(err, lock.Close())
		}
		return g, nil
	}
	return nil, errors.New("cannot claim a guest: every number is in use")
}

func (g *Guest) prepare(ctx context.Context) error {
	// First the record: whatever comes after it can be taken down by anyone.
	if err := writeRecord(g.number, record{Folder: g.folder}); err != nil {
		return err
	}
	place, err := place(g.number, g.opts.Memory)
	g.place = place
	if err := errors.Join(err, writeRecord(g.number, record{Folder: g.folder, Cgroups: place.dirs})); err != nil {
		return err
	}
	if err := errors.Join(disk(g.folder).create(ctx), os.MkdirAll(filepath.Join(g.folder, "root"), 0o755)); err != nil {
		return err
	}
	if err := g.mount(); err != nil {
		return err
	}
	if err := networkUp(ctx, g.number, g.opts.Offline); err != nil {
		return err
	}
	return g.nameServers()
}

// nameServers tells the guest where names are asked for.
func (g *Guest) nameServers() error {
	resolv, err := hostResolvConf()
	if err != nil {
		return err
	}
	path := filepath.Join(g.folder, "root", "etc", "resolv.conf")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, resolv, 0o644)
}

func (g *Guest) mount() error {
	// The layers are file systems of their own; to programs in the guest they are to be one.
	options := fmt.Sprintf("xino=on,lowerdir=%s,upperdir=%s,workdir=%s", strings.Join(g.lowers, ":"), disk(g.folder).upper(), disk(g.folder).work())
	if err := unix.Mount("overlay", filepath.Join(g.folder, "root"), "overlay", 0, options); err != nil {
		return fmt.Errorf("cannot mount the guest's root: %w", err)
	}
	return nil
}

// firstProcess makes the controllers of cgroup version 1 writable, which nspawn mounts read-only: the guest has its own cgroup in each,
// and limits inside it would silently do nothing. Newer systemd wants to be told that version 1 is meant.
const firstProcess = `for c in /sys/fs/cgroup/*; do
  if [ -d "$c" ] && [ ! -L "$c" ]; then mount -n -o remount,bind,rw,nosuid,nodev,noexec "$c" 2>/dev/null; fi
done
if [ ! -e /sys/fs/cgroup/cgroup.controllers ]; then set -- SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1; fi
exec /lib/systemd/systemd "$@"`

// enterCgroups puts the shell that becomes nspawn into the guest's cgroups. Arguments: how many, which, then the command.
const enterCgroups = `n=$1; shift
while [ "$n" -gt 0 ]; do echo $$ > "$1/cgroup.procs" || exit 1; shift; n=$((n-1)); done
exec "$@"`

func (g *Guest) command() []string {
	argv := append([]string{}, g.place.prefix...)
	argv = append(argv, "/bin/sh", "-c", enterCgroups, "sh", strconv.Itoa(len(g.place.enter)))
	argv = append(argv, g.place.enter...)
	argv = append(argv, "systemd-nspawn", "--quiet", "--directory="+filepath.Join(g.folder, "root"), "--register=no", "--keep-unit",
		"--machine="+namespaceName(g.number), "--hostname=hub", "--kill-signal=SIGRTMIN+3", "--resolv-conf=off", "--timezone=off",
		"--network-namespace-path=/run/netns/"+namespaceName(g.number), "--capability=CAP_NET_ADMIN", "--console=pipe", "--link-journal=no")
	folders := make([]string, 0, len(g.opts.Tmpfs))
	for folder := range g.opts.Tmpfs {
		folders = append(folders, folder)
	}
	slices.Sort(folders)
	for _, folder := range folders {
		argv = append(argv, "--tmpfs="+folder+":mode=0755,size="+g.opts.Tmpfs[folder])
	}
	if g.opts.NoSystemd {
		return append(argv, "/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait; done")
	}
	return append(argv, "/bin/sh", "-c", firstProcess, "sh")
}

// Boot switches the guest on and waits until its systemd has started everything.
func (g *Guest) Boot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	if err := g.switchOn(); err != nil {
		return fmt.Errorf("cannot boot the guest: %w", err)
	}
	if err := g.findLeader(ctx); err != nil {
		return fmt.Errorf("cannot boot the guest: %w: %s", err, g.consoleTail())
	}
	if g.opts.NoSystemd {
		return g.awaitShell(ctx)
	}
	for {
		r, err := g.Exec(ctx, "systemctl", "is-system-running", "--wait")
		state := strings.TrimSpace(r.Stdout)
		if err == nil && (state == "running" || state == "degraded") {
			return nil
		}
		if perr := pause(ctx); perr != nil {
			return fmt.Errorf("cannot boot the guest: it is %q: %w: %s", state, errors.Join(err, perr), g.consoleTail())
		}
	}
}

// awaitShell waits until nspawn has become the guest's first process.
func (g *Guest) awaitShell(ctx context.Context) error {
	for {
		r, err := g.Exec(ctx, "cat", "/proc/1/comm")
		if err == nil && r.Code == 0 && !strings.HasPrefix(r.Stdout, "systemd-nspawn") && !strings.HasPrefix(r.Stdout, "(sd-") {
			return nil
		}
		if perr := pause(ctx); perr != nil {
			return fmt.Errorf("cannot boot the guest: %w: %s", errors.Join(err, perr), g.consoleTail())
		}
	}
}

func (g *Guest) switchOn() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone != nil {
		return errors.New("it is on already")
	}
	console, err := os.OpenFile(filepath.Join(g.folder, "console.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	argv := g.command()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C is for us, not for it
	if err := cmd.Start(); err != nil {
		return errors.Join(err, console.Close())
	}
	gone := make(chan struct{})
	g.gone, g.console = gone, console
	go func() {
		_ = cmd.Wait() // its code says only how the guest ended
		_ = console.Close()
		close(gone)
	}()
	g.leader = -cmd.Process.Pid // not yet found
	return nil
}

// findLeader waits for the process that is number 1 in the guest.
func (g *Guest) findLeader(ctx context.Context) error {
	g.mu.Lock()
	supervisor, gone := -g.leader, g.gone
	g.mu.Unlock()
	for {
		if pid := firstOf(supervisor); pid != 0 {
			g.mu.Lock()
			g.leader = pid
			g.mu.Unlock()
			return nil
		}
		select {
		case <-gone:
			g.forget()
			return errors.New("systemd-nspawn ended at once")
		default:
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// firstOf finds the descendant of a process that is number 1 in a namespace of its own.
func firstOf(pid int) int {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0
	}
	for _, word := range strings.Fields(string(data)) {
		child, err := strconv.Atoi(word)
		if err != nil {
			continue
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", child))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(status)) {
			numbers := strings.Fields(line)
			if len(numbers) > 2 && numbers[0] == "NSpid:" && numbers[len(numbers)-1] == "1" {
				return child
			}
		}
		if found := firstOf(child); found != 0 {
			return found
		}
	}
	return 0
}

// Stop shuts the guest down in order. What is on its disk stays; Boot starts it again.
func (g *Guest) Stop(ctx context.Context) error {
	g.mu.Lock()
	leader, gone := g.leader, g.gone
	g.mu.Unlock()
	if gone == nil {
		return nil
	}
	sig := unix.Signal(unix.SIGTERM)
	if !g.opts.NoSystemd {
		sig = unix.Signal(34 + 3) // SIGRTMIN+3: systemd powers off
	}
	if err := unix.Kill(leader, sig); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("cannot stop the guest: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	return g.awaitEnd(ctx)
}

// Cut is a power cut: what was not synced is lost. Boot starts the guest again. What a disk itself would lose is not, nor the kernel: for that there
// is the package qemu.
func (g *Guest) Cut(ctx context.Context) error {
	if !PowerCuts() {
		return errors.New("a power cut needs a machine with loop devices")
	}
	if err := g.Kill(ctx); err != nil {
		return err
	}
	d := disk(g.folder)
	if err := d.freeze(ctx); err != nil { // before anything is unmounted, which writes all
		return err
	}
	if err := errors.Join(unmount(filepath.Join(g.folder, "root")), d.thaw(ctx)); err != nil {
		return err
	}
	return errors.Join(g.mount(), g.nameServers())
}

// Kill ends everything in the guest at once. Unlike a power cut it loses nothing that was written.
func (g *Guest) Kill(ctx context.Context) error {
	g.mu.Lock()
	leader, gone := g.leader, g.gone
	g.mu.Unlock()
	if gone == nil {
		return nil
	}
	if leader > 1 {
		if err := unix.Kill(leader, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("cannot kill the guest: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := killCgroups(ctx, g.place.dirs); err != nil {
		return err
	}
	return g.awaitEnd(ctx)
}

// Reboot restarts the guest as `systemctl reboot` in it does.
func (g *Guest) Reboot(ctx context.Context) error {
	if _, err := g.Exec(ctx, "systemctl", "reboot"); err != nil {
		return fmt.Errorf("cannot reboot the guest: %w", err)
	}
	end, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	if err := g.awaitEnd(end); err != nil {
		return fmt.Errorf("cannot reboot the guest: %w", err)
	}
	return g.Boot(ctx)
}

func (g *Guest) awaitEnd(ctx context.Context) error {
	g.mu.Lock()
	gone := g.gone
	g.mu.Unlock()
	if gone == nil {
		return nil
	}
	select {
	case <-gone:
		g.forget()
		// nspawn leaves the cgroups its guest made; systemd in the next boot must find its own empty.
		return g.emptyCgroups(ctx)
	case <-ctx.Done():
		return fmt.Errorf("the guest does not end: %w", ctx.Err())
	}
}

func (g *Guest) emptyCgroups(ctx context.Context) error {
	if err := killCgroups(ctx, g.place.dirs); err != nil {
		return err
	}
	for _, dir := range g.place.dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // a scope that ended with the guest
		}
		var below []string
		for _, entry := range entries {
			if entry.IsDir() {
				below = append(below, filepath.Join(dir, entry.Name()))
			}
		}
		if err := removeCgroups(ctx, below); err != nil {
			return err
		}
	}
	return nil
}

func (g *Guest) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gone, g.leader = nil, 0
}

// Snapshot shuts the guest down, keeps its disk for others to start from, and ends it. The lab removes the snapshot when it closes.
func (g *Guest) Snapshot(ctx context.Context) (*Snapshot, error) {
	if err := g.Stop(ctx); err != nil {
		return nil, err
	}
	if err := unmount(filepath.Join(g.folder, "root")); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(filepath.Join(g.lab.cache, "snapshots"), "snapshot-")
	if err != nil {
		return nil, fmt.Errorf("cannot keep a snapshot: %w", err)
	}
	lock, _, err := tryLock(dir + ".lock") // held until this process ends: its snapshots go with it
	if err != nil {
		return nil, err
	}
	kept, err := disk(g.folder).moveTo(ctx, dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot keep a snapshot: %w", err), lock.Close())
	}
	g.lab.keep(dir, lock)
	snap := &Snapshot{lowers: append([]string{kept.upper()}, g.lowers...), suite: g.opts.Suite}
	return snap, g.Close()
}

// Close ends the guest and removes all that was made for it.
func (g *Guest) Close() error {
	// Whoever comes second waits for the first: a process that ends must not leave a guest half taken down.
	g.closing.Do(func() { g.closeErr = g.close() })
	return g.closeErr
}

func (g *Guest) close() error {
	// Several generations of environments are hundreds of thousands of files to remove.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	err := g.Kill(ctx)
	err = errors.Join(err, teardown(ctx, g.number), g.lock.Close())
	g.lab.remove(g)
	return err
}

// Suite is the Debian release the guest runs.
func (g *Guest) Suite() string { return g.opts.Suite }

func (g *Guest) consoleTail() string {
	data, err := os.ReadFile(filepath.Join(g.folder, "console.log"))
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-20):], []byte("\n")))
}

// pause waits a moment between two looks at something, or until the context ends.
func pause(ctx context.Context) error {
	timer := time.NewTimer(10 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Leader is the guest's first process, as this machine numbers it; 0 when the guest is off.
func (g *Guest) Leader() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(g.leader, 0)
}
