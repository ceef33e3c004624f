package guest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const cgroupMount = "/sys/fs/cgroup"

// placement says how a guest gets a cgroup of its own on this machine.
type placement struct {
	dirs   []string // one a hierarchy
	enter  []string // those the guest's first process must write itself into
	memory string   // the one that holds the memory limit; empty where the unit does
	prefix []string // a command that starts the guest in a unit of its own, where the machine runs systemd
}

// place makes the cgroups of guest n. A machine run by systemd delegates a scope; elsewhere we make them by hand, in every
// hierarchy of version 1 or in the one of version 2.
func place(n int, memory int64) (placement, error) {
	name := fmt.Sprintf("tljh-guest-%d", n)
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		return placeInScope(name, memory), nil
	}
	p, err := placeByHand(name)
	if err != nil {
		return p, err
	}
	return p, p.limitMemory(memory)
}

func placeInScope(name string, memory int64) placement {
	p := placement{prefix: []string{"systemd-run", "--quiet", "--scope", "--collect", "--slice=system.slice", "--property=Delegate=yes", "--unit=" + name}}
	if memory > 0 {
		p.prefix = append(p.prefix, "--property=MemoryMax="+strconv.FormatInt(memory, 10))
	}
	for _, hierarchy := range []string{"", "systemd"} {
		p.dirs = append(p.dirs, filepath.Join(cgroupMount, hierarchy, "system.slice", name+".scope"))
	}
	return p
}

func placeByHand(name string) (placement, error) {
	if _, err := os.Stat(filepath.Join(cgroupMount, "cgroup.controllers")); err == nil {
		return placeUnified(name)
	}
	return placeLegacy(name)
}

func placeUnified(name string) (placement, error) {
	dir := filepath.Join(cgroupMount, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return placement{}, fmt.Errorf("cannot make a cgroup: %w", err)
	}
	control := filepath.Join(cgroupMount, "cgroup.subtree_control")
	if err := os.WriteFile(control, []byte("+cpu +memory +pids"), 0o644); err != nil {
		return placement{}, fmt.Errorf("cannot pass on the CPU, memory and pids controllers to guests: %w", err)
	}
	return placement{dirs: []string{dir}, enter: []string{dir}, memory: dir}, nil
}

// placeLegacy makes a child of our own cgroup in every hierarchy.
func placeLegacy(name string) (placement, error) {
	f, err := os.Open("/proc/self/cgroup")
	if err != nil {
		return placement{}, err
	}
	defer f.Close()
	var p placement
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		parts := strings.SplitN(scanner.Text(), ":", 3)
		if len(parts) != 3 {
			continue
		}
		controllers, parent := parts[1], parts[2]
		mount := filepath.Join(cgroupMount, hierarchyFolder(controllers))
		if _, err := os.Stat(mount); err != nil {
			continue
		}
		dir := filepath.Join(mount, parent, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return p, fmt.Errorf("cannot make a cgroup: %w", err)
		}
		if strings.Contains(controllers, "cpuset") { // a fresh one takes no process before it has these
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
				if err := copyFile(filepath.Join(mount, parent, file), filepath.Join(dir, file)); err != nil {
					return p, fmt.Errorf("cannot set up a cpuset: %w", err)
				}
			}
		}
		if slices.Contains(strings.Split(controllers, ","), "memory") {
			p.memory = dir
		}
		p.dirs = append(p.dirs, dir)
		p.enter = append(p.enter, dir)
	}
	return p, scanner.Err()
}

func hierarchyFolder(controllers string) string {
	if controllers == "" {
		return "unified"
	}
	return strings.TrimPrefix(controllers, "name=")
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}

// limitMemory caps the whole guest.
func (p placement) limitMemory(bytes int64) error {
	if bytes == 0 || p.memory == "" {
		return nil
	}
	file := "memory.max"
	if _, err := os.Stat(filepath.Join(p.memory, file)); err != nil {
		file = "memory.limit_in_bytes"
	}
	return os.WriteFile(filepath.Join(p.memory, file), []byte(strconv.FormatInt(bytes, 10)), 0o644)
}

// killCgroups kills whatever still runs in these cgroups and those below them.
func killCgroups(ctx context.Context, dirs []string) error {
	for {
		pids := processesBelow(dirs)
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("cannot kill process %d: %w", pid, err)
			}
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("processes do not end: %v: %w", pids, err)
		}
	}
}

func processesBelow(dirs []string) []int {
	seen := map[int]bool{}
	for _, dir := range dirs {
		// Cgroups vanish while we look; what is gone holds no process.
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return nil
			}
			data, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
			if err != nil {
				return nil
			}
			for _, word := range strings.Fields(string(data)) {
				if pid, err := strconv.Atoi(word); err == nil && pid > 1 {
					seen[pid] = true
				}
			}
			return nil
		})
	}
	pids := make([]int, 0, len(seen))
	for pid := range seen {
		pids = append(pids, pid)
	}
	return pids
}

// removeCgroups removes cgroups from the leaves up. A kernel may hold one for a moment after its last process ended.
func removeCgroups(ctx context.Context, dirs []string) error {
	for _, dir := range dirs {
		for {
			err := removeTree(dir)
			if err == nil {
				break
			}
			if perr := pause(ctx); perr != nil {
				return fmt.Errorf("cannot remove cgroup %s: %w", dir, errors.Join(err, perr))
			}
		}
	}
	return nil
}

func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeTree(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}
