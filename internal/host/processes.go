package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is a process of this machine.
type Process struct {
	PID, Parent, UID int
	Group            string // its control groups, as /proc/PID/cgroup has them
	Program          string // the file that it runs, with all links followed; "" when it can't be told
}

// In tells whether a process belongs to a slice of systemd, or to a unit in it.
func (p Process) In(slice string) bool {
	return strings.Contains(p.Group, "/"+slice+"/") || strings.Contains(p.Group, "/"+slice+"\n")
}

// Processes returns the processes of this machine. What ends meanwhile is passed over.
func (f Files) Processes() []Process {
	names, _ := f.List("/proc")
	found := []Process{}
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			if process, ok := f.process(pid); ok {
				found = append(found, process)
			}
		}
	}
	return found
}

func (f Files) process(pid int) (Process, bool) {
	folder := path.Join("/proc", strconv.Itoa(pid))
	status, err := f.Read(path.Join(folder, "status"))
	if err != nil {
		return Process{}, false
	}
	p := Process{PID: pid, UID: -1}
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) < 2:
		case fields[0] == "State:" && fields[1] == "Z":
			return p, false // it has ended; whoever started it has not noticed yet
		case fields[0] == "PPid:":
			p.Parent, _ = strconv.Atoi(fields[1])
		case fields[0] == "Uid:":
			p.UID, _ = strconv.Atoi(fields[1])
		}
	}
	groups, _ := f.Read(path.Join(folder, "cgroup"))
	p.Group = string(groups)
	p.Program, _ = f.Readlink(path.Join(folder, "exe"))
	return p, true
}

// Ancestry returns this process, and those that started it, the nearest first.
func (f Files) Ancestry() []Process {
	found := []Process{}
	for pid := os.Getpid(); pid > 0 && len(found) < 64; {
		process, ok := f.process(pid)
		if !ok {
			break
		}
		found = append(found, process)
		pid = process.Parent
	}
	return found
}

// How long processes may take to end when they are asked to, and when they are killed.
const (
	endTime  = 5 * time.Second
	killTime = 10 * time.Second
)

// End ends all processes that belong: asks them first, then kills them.
func (f Files) End(ctx context.Context, belongs func(Process) bool) error {
	for _, how := range []struct {
		signal syscall.Signal
		limit  time.Duration
	}{{syscall.SIGTERM, endTime}, {syscall.SIGKILL, killTime}} {
		left, err := f.signal(ctx, how.signal, how.limit, belongs)
		if err != nil || left == 0 {
			return err
		}
	}
	return errors.New("some processes do not end although they were killed")
}

// signal sends a signal until all are gone or the time is over, and returns how many are left.
func (f Files) signal(ctx context.Context, signal syscall.Signal, limit time.Duration, belongs func(Process) bool) (left int, err error) {
	end, told := time.Now().Add(limit), map[int]bool{}
	err = Poll(ctx, 50*time.Millisecond, func(context.Context) (bool, error) {
		left = 0
		for _, process := range f.Processes() {
			if process.PID == os.Getpid() || process.PID == 1 || !belongs(process) {
				continue
			}
			left++
			if told[process.PID] {
				continue
			}
			told[process.PID] = true
			if err := syscall.Kill(process.PID, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
				return false, fmt.Errorf("cannot end process %d: %w", process.PID, err)
			}
		}
		return left == 0 || time.Now().After(end), nil
	})
	return left, err
}
