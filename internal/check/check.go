// Package check holds named checks of the machine, and runs other checks as well. A check only looks; it
// changes nothing, and it never fails because it could not find something out: that is a warning.
//
// What is checked is data (the table in machine.go, and that of the installer's preflight); what to do about a finding
// is up to who asked for it.
package check

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"tljh/internal/host"
	"tljh/internal/layout"
)

// Severity is how bad a finding is.
type Severity string

// Severities.
const (
	OK      Severity = "ok"
	Warning Severity = "warning" // worth knowing; go on
	Failed  Severity = "failed"  // don't begin
	Skipped Severity = "skipped" // not looked at, for the reason in Message
)

// Finding is what a check found, in words for people.
type Finding struct {
	Name     string   `json:"name"`
	Title    string   `json:"title"`
	Severity Severity `json:"severity"`
	Message  string   `json:"message"`
	Hint     string   `json:"hint,omitempty"` // what to run or change
}

// Check is one thing to look at in what On describes. Run leaves Name and Title of its finding empty.
type Check[On any] struct {
	Name  string // kebab-case; people type it after --ignore-preflight
	Title string // what it looks at, as a noun
	Run   func(ctx context.Context, on On) Finding
}

// Env is what the checks look at.
type Env struct {
	Host  *host.Host
	Facts host.Facts

	// Address and Port are where the edge is to open; an empty Address is all addresses.
	Address string
	Port    int

	// SecureAddress and SecurePort are where it is to open for HTTPS; a port of 0 is nowhere.
	SecureAddress string
	SecurePort    int

	// UserAddress and UserPort are where it is to open for single-user servers; a port of 0 is nowhere.
	UserAddress string
	UserPort    int

	// Environ is this process's environment: settings for package sources, proxies and certificates.
	Environ []string

	// Online tells whether anything is to be fetched; Index returns the package index that pip uses; Package is the first package
	// that is to be fetched from it, "uv" when empty.
	Online  bool
	Index   func() (string, error)
	Package string

	// Now is the machine's clock; Built is a moment that was certainly before.
	Now   time.Time
	Built time.Time

	// Installed tells that a whole installation of ours is there: another run then needs little disk.
	Installed bool

	// Older tells that an older TLJH is there, which is to be taken over; Copied is how much of it is copied.
	Older  bool
	Copied uint64

	// Python is the program of the carried Python, once it is unpacked; "" before.
	Python string

	// HomeRoots are the folders that hold homes; none is /home.
	HomeRoots []string

	// Reach tries the package sources; nil takes those that Environ and Index name.
	Reach func(ctx context.Context) []SourceResult

	reachOnce sync.Once
	reached   []SourceResult
}

// sources tries the package sources once for all checks that want to know.
func (e *Env) sources(ctx context.Context) []SourceResult {
	e.reachOnce.Do(func() {
		if !e.Online {
			return
		}
		reach := e.Reach
		if reach == nil {
			reach = Sources{Files: e.Host.Files, Environ: e.Environ, Index: e.Index, Package: e.Package}.Reach
		}
		e.reached = reach(ctx)
	})
	return e.reached
}

// begun tells whether an installation of ours is there, be it in part.
func (e *Env) begun() bool { return Ours(e.Host.Files) }

// Ours reports whether an installation of ours is there, at least in part. If its receipt is lost, what only this program makes shows it, or the config that
// a hub of ours worked with.
func Ours(files host.Files) bool {
	if files.Exists(layout.Receipt) || files.Exists(layout.Applied) {
		return true
	}
	info, err := files.Lstat(layout.Generations)
	return err == nil && info.IsDir() && host.AttrOf(info).UID == 0
}

// Fine is the finding of a check that has nothing to say.
func Fine(format string, args ...any) Finding {
	return Finding{Severity: OK, Message: fmt.Sprintf(format, args...)}
}

// Skip is the finding of a check that did not look, with the reason.
func Skip(format string, args ...any) Finding {
	return Finding{Severity: Skipped, Message: fmt.Sprintf(format, args...)}
}

// Warn is the finding of what is worth knowing.
func Warn(hint, format string, args ...any) Finding {
	return Finding{Severity: Warning, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// Fail is the finding of a reason not to begin.
func Fail(hint, format string, args ...any) Finding {
	return Finding{Severity: Failed, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// limit is how long one check may take. The slowest is that of a hub that works and has much to do.
const limit = 20 * time.Second

// Known returns the error of a name that is none of these checks.
func Known(names, checks []string) error {
	for _, name := range names {
		if !slices.Contains(checks, name) {
			return host.Hint(fmt.Errorf("there is no check named %q", name), "the checks are: %s", strings.Join(checks, ", "))
		}
	}
	return nil
}

// All runs checks side by side and returns what each found, in their order. The error is ctx's cause when it ended.
func All[On any](ctx context.Context, on On, checks []Check[On]) ([]Finding, error) {
	findings := all(ctx, on, checks, limit)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return findings, nil
}

func all[On any](ctx context.Context, on On, checks []Check[On], limit time.Duration) []Finding {
	findings := make([]Finding, len(checks))
	var running sync.WaitGroup
	for n, check := range checks {
		running.Go(func() { findings[n] = one(ctx, on, check, limit) })
	}
	running.Wait()
	return findings
}

// one does not wait for a check that ignores its time limit: a file system that hangs, say.
func one[On any](ctx context.Context, on On, check Check[On], limit time.Duration) Finding {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	done := make(chan Finding, 1)
	go func() { done <- check.Run(ctx, on) }()
	var finding Finding
	select {
	case finding = <-done:
	case <-ctx.Done():
		finding = Warn("", "could not be found out within %s", limit)
	}
	finding.Name, finding.Title = check.Name, check.Title
	return finding
}
