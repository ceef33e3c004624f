// Package check holds named checks of the machine: those that run before an installation begins. A check
// only looks; it changes nothing, and it never fails because it could not find something out: that is a warning.
//
// What is checked is data (the table in machine.go); what to do about a finding is up to who asked for it.
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

// Check is one thing to look at. Run leaves Name and Title of its finding empty.
type Check struct {
	Name  string // kebab-case; people type it after --ignore-preflight
	Title string // what it looks at, as a noun
	Run   func(ctx context.Context, env *Env) Finding
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

func ok(format string, args ...any) Finding {
	return Finding{Severity: OK, Message: fmt.Sprintf(format, args...)}
}

func skipped(format string, args ...any) Finding {
	return Finding{Severity: Skipped, Message: fmt.Sprintf(format, args...)}
}

func warning(hint, format string, args ...any) Finding {
	return Finding{Severity: Warning, Message: fmt.Sprintf(format, args...), Hint: hint}
}

func failed(hint, format string, args ...any) Finding {
	return Finding{Severity: Failed, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// checkLimit is how long one check may take.
const checkLimit = 15 * time.Second

// Names returns the names of the preflight checks, in the order they are reported.
func Names() []string {
	names := make([]string, 0, len(preflight))
	for _, check := range preflight {
		names = append(names, check.Name)
	}
	return names
}

// Known returns the error of a name that is none of these checks.
func Known(names, checks []string) error {
	for _, name := range names {
		if !slices.Contains(checks, name) {
			return host.Hint(fmt.Errorf("there is no check named %q", name), "the checks are: %s", strings.Join(checks, ", "))
		}
	}
	return nil
}

// Preflight runs all checks side by side and returns what each found, in the order of Names. A failure of one whose name is in
// ignore becomes a warning. The error is about ignore, or ctx's cause when it ended.
func Preflight(ctx context.Context, env *Env, ignore []string) ([]Finding, error) {
	if err := Known(ignore, Names()); err != nil {
		return nil, err
	}
	findings := runAll(ctx, env, preflight, checkLimit)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	for n, finding := range findings {
		if finding.Severity == Failed && slices.Contains(ignore, finding.Name) {
			findings[n].Severity = Warning
			findings[n].Message += " (ignored, as asked)"
		}
	}
	return findings, nil
}

func runAll(ctx context.Context, env *Env, checks []Check, limit time.Duration) []Finding {
	findings := make([]Finding, len(checks))
	var running sync.WaitGroup
	for n, check := range checks {
		running.Go(func() { findings[n] = runOne(ctx, env, check, limit) })
	}
	running.Wait()
	return findings
}

// runOne does not wait for a check that ignores its time limit: a file system that hangs, say.
func runOne(ctx context.Context, env *Env, check Check, limit time.Duration) Finding {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	done := make(chan Finding, 1)
	go func() { done <- check.Run(ctx, env) }()
	var finding Finding
	select {
	case finding = <-done:
	case <-ctx.Done():
		finding = warning("", "could not be found out within %s", limit)
	}
	finding.Name, finding.Title = check.Name, check.Title
	return finding
}
