// Package guest makes throwaway machines with a real systemd: systemd-nspawn containers on an overlay over a cached Debian root,
// each with a network namespace and a cgroup of its own, so that several run at once and their limits are really enforced.
//
// It knows nothing of what is installed in a guest. Machines with a kernel of their own are the package qemu.
package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Bookworm and Trixie are the suites the project promises to run on.
const (
	Bookworm = "bookworm" // Debian 12
	Trixie   = "trixie"   // Debian 13
)

// runDir holds what every process that uses guests must agree on: who owns which number, and the machine's own forwarding setting.
const runDir = "/run/tljh-guests"

// maxGuests is bounded by the third byte of the guests' addresses.
const maxGuests = 250

// tools are the programs a lab calls, with the Debian package each comes from.
var tools = map[string]string{
	"mmdebstrap":     "mmdebstrap",
	"systemd-nspawn": "systemd-container",
	"nsenter":        "util-linux",
	"ip":             "iproute2",
	"nft":            "nftables",
	"mkfs.ext4":      "e2fsprogs",
}

// Lab owns the guests of one process. Close ends all of them.
type Lab struct {
	cache     string
	artefacts string

	mu     sync.Mutex
	guests map[*Guest]struct{}
	snaps  map[string]*os.File // folder → the lock that says its owner lives
	closed bool
}

// OpenLab looks whether this machine can run guests and removes what earlier, killed runs left behind.
func OpenLab(ctx context.Context) (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("cannot run guests: this needs root")
	}
	if err := Need(tools); err != nil {
		return nil, err
	}
	l := &Lab{cache: CacheDir(), artefacts: ArtefactsDir(), guests: map[*Guest]struct{}{}, snaps: map[string]*os.File{}}
	for _, dir := range []string{runDir, filepath.Join(l.cache, "roots"), filepath.Join(l.cache, "guests"), filepath.Join(l.cache, "snapshots")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("cannot make the folder of the guests: %w", err)
		}
	}
	if err := sweep(ctx, l.cache); err != nil {
		return nil, fmt.Errorf("cannot remove what an earlier run left: %w", err)
	}
	return l, nil
}

// Need says which of the programs (each with its Debian package) are missing.
func Need(programs map[string]string) error {
	var missing []string
	for program, pkg := range programs {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program+" (package "+pkg+")")
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("missing programs: %s\nhint: run integration-tests/install-tools", strings.Join(missing, ", "))
	}
	return nil
}

// CacheDir is where roots, guests and machines are kept: TLJH_TEST_CACHE, or tljh-tests in the user's or the machine's cache folder.
func CacheDir() string {
	if dir := os.Getenv("TLJH_TEST_CACHE"); dir != "" {
		return dir
	}
	base := os.Getenv("XDG_CACHE_HOME")
	if base == "" {
		base = "/var/cache"
	}
	return filepath.Join(base, "tljh-tests")
}

// ArtefactsDir is where the logs of failed tests and screenshots go: TLJH_TEST_ARTEFACTS, or integration-tests/artefacts.
func ArtefactsDir() string {
	if dir := os.Getenv("TLJH_TEST_ARTEFACTS"); dir != "" {
		return dir
	}
	return filepath.Join(RepositoryRoot(), "integration-tests", "artefacts")
}

// RepositoryRoot is the nearest folder upwards that holds go.mod, or the working folder where there is none.
func RepositoryRoot() string {
	start, err := os.Getwd()
	if err != nil {
		return "."
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			return start
		}
	}
}

// Close ends every guest of the lab and gives back the disk its snapshots took.
func (l *Lab) Close() error {
	l.mu.Lock()
	l.closed = true
	var guests []*Guest
	for g := range l.guests {
		guests = append(guests, g)
	}
	snaps := l.snaps
	l.snaps = map[string]*os.File{}
	l.mu.Unlock()
	var errs []error
	for _, g := range guests {
		errs = append(errs, g.Close())
	}
	for dir, lock := range snaps {
		errs = append(errs, disk(dir).remove(), os.Remove(dir+".lock"), lock.Close())
	}
	return errors.Join(errs...)
}

// CloseOnSignal closes the lab and ends the process when it is interrupted or terminated. The returned function ends the watch.
func (l *Lab) CloseOnSignal() (stop func()) {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		select {
		case <-ch:
			fmt.Fprintln(os.Stderr, "interrupted: ending the guests")
			if err := l.Close(); err != nil {
				fmt.Fprintln(os.Stderr, "error:", err)
			}
			os.Exit(130)
		case <-done:
		}
	}()
	return func() { signal.Stop(ch); close(done) }
}

func (l *Lab) add(g *Guest) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errors.New("the lab is closed")
	}
	l.guests[g] = struct{}{}
	return nil
}

func (l *Lab) remove(g *Guest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.guests, g)
}

func (l *Lab) keep(dir string, lock *os.File) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.snaps[dir] = lock
}

// record is what must be known to take a guest down when the process that made it is gone.
type record struct {
	Folder  string   `json:"folder"`
	Cgroups []string `json:"cgroups"`
}

func lockPath(n int) string   { return filepath.Join(runDir, fmt.Sprintf("%d.lock", n)) }
func recordPath(n int) string { return filepath.Join(runDir, fmt.Sprintf("%d.json", n)) }

// tryLock takes the lock on a number. Closing the file gives it back, and so does the end of the process, however it ends.
func tryLock(path string) (*os.File, bool, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, false, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, false, f.Close()
	}
	if err != nil {
		return nil, false, errors.Join(err, f.Close())
	}
	return f, true, nil
}

// lockWait takes a lock, waiting for another owner as long as the context lasts.
func lockWait(ctx context.Context, path string) (*os.File, error) {
	for {
		f, ok, err := tryLock(path)
		if err != nil {
			return nil, fmt.Errorf("cannot lock %s: %w", path, err)
		}
		if ok {
			return f, nil
		}
		if err := pause(ctx); err != nil {
			return nil, fmt.Errorf("cannot lock %s: %w", path, err)
		}
	}
}

// sweep takes down guests whose owners are gone: their locks are free but their records are still there.
func sweep(ctx context.Context, cache string) error {
	records, err := filepath.Glob(filepath.Join(runDir, "*.json"))
	if err != nil {
		return err
	}
	for _, path := range records {
		var n int
		if _, err := fmt.Sscanf(filepath.Base(path), "%d.json", &n); err != nil {
			continue // the forwarding record
		}
		lock, ok, err := tryLock(lockPath(n))
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		err = errors.Join(teardown(ctx, n), lock.Close())
		if err != nil {
			return err
		}
	}
	return sweepSnapshots(filepath.Join(cache, "snapshots"))
}

// sweepSnapshots removes snapshots whose owner no longer runs; a snapshot is locked by the process that took it.
func sweepSnapshots(dir string) error {
	locks, err := filepath.Glob(filepath.Join(dir, "*.lock"))
	if err != nil {
		return err
	}
	for _, path := range locks {
		lock, ok, err := tryLock(path)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		err = errors.Join(disk(strings.TrimSuffix(path, ".lock")).remove(), os.Remove(path), lock.Close())
		if err != nil {
			return err
		}
	}
	return nil
}

func writeRecord(n int, r record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(recordPath(n), data, 0o600)
}

func readRecord(n int) (record, bool, error) {
	var r record
	data, err := os.ReadFile(recordPath(n))
	if errors.Is(err, os.ErrNotExist) {
		return r, false, nil
	}
	if err != nil {
		return r, false, err
	}
	return r, true, json.Unmarshal(data, &r)
}

// teardown removes everything that belongs to a number. The caller holds its lock. It goes on after an error, to leave as little as it can.
func teardown(ctx context.Context, n int) error {
	r, found, err := readRecord(n)
	if err != nil {
		return err
	}
	if !found {
		return nil
	}
	var errs []error
	errs = append(errs, killCgroups(ctx, r.Cgroups))
	if r.Folder != "" {
		errs = append(errs, unmount(filepath.Join(r.Folder, "root")), disk(r.Folder).remove())
	}
	errs = append(errs, removeCgroups(ctx, r.Cgroups), networkDown(ctx, n))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cannot remove guest %d: %w", n, err)
	}
	return os.Remove(recordPath(n))
}

// Lock takes the lock that a file stands for, waiting for another owner as long as the context lasts.
func Lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := lockWait(ctx, path)
	if err != nil {
		return nil, err
	}
	return func() { _ = f.Close() }, nil // an open file that was only locked has nothing to lose
}
