// Package host is the one seam between this program and the machine it runs on: files, commands, systemd, accounts and
// what can be learnt about the machine. Whoever changes anything on the machine does it through this package, so that
// tests can put a temporary folder, a scripted runner and a systemd in memory in its place.
//
// It knows nothing of JupyterHub: what to write and what to run is decided elsewhere.
package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"
)

// Host is a machine. The zero value is of no use: take Local, or build one from parts in a test.
type Host struct {
	Files   Files
	Runner  Runner
	Systemd Systemd
}

// Local is the machine this program runs on. Every command it runs, with its output, goes to log.
func Local(log CommandLog) *Host {
	return &Host{Files: Files{}, Runner: &Exec{Log: log}, Systemd: &SystemdBus{}}
}

// HintedError is an error with a hint that tells a person what to run or change next.
type HintedError struct {
	Err  error
	Hint string
}

func (e *HintedError) Error() string { return e.Err.Error() }
func (e *HintedError) Unwrap() error { return e.Err }

// Hint wraps err with what to do next. A nil err stays nil.
func Hint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &HintedError{Err: err, Hint: fmt.Sprintf(format, args...)}
}

// Nobody is the number of the account that owns nothing.
const Nobody = 65534

// DiskFull tells whether an error, one of a command that we ran included, comes from a file system that has no room left.
func DiskFull(err error) bool {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return true
	}
	var exit *ExitError
	return errors.As(err, &exit) && strings.Contains(strings.ToLower(exit.Tail), "no space left on device")
}

// HintOf returns the hint of the innermost hinted error in err's chain, or "". That a disk is full comes first, wherever it was noticed.
func HintOf(err error) string {
	if DiskFull(err) {
		return "the disk is full: make room (df -h and df -i show where), then run the same command again"
	}
	hint := ""
	var hinted *HintedError
	for errors.As(err, &hinted) {
		hint, err = hinted.Hint, hinted.Err
	}
	return hint
}

// Poll calls try every interval until it reports true or an error, or ctx ends. It returns ctx's cause in the latter case.
func Poll(ctx context.Context, interval time.Duration, try func(context.Context) (bool, error)) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
		}
		if done, err := try(ctx); done || err != nil {
			return err
		}
		timer.Reset(interval)
	}
}
