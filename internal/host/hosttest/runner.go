// Package hosttest holds stand-ins for a machine's parts: a Runner that answers from a script and a Systemd in memory. Files need none:
// tests use real ones below a temporary folder.
//
// The contract tests of package host hold the stand-ins and the real parts to the same behaviour. What a test wants to see of a stand-in is
// added here; knowledge of any one command or unit belongs in the test that needs it.
package hosttest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"tljh/internal/host"
)

// Runner answers commands from a script and remembers them. It may be used by many goroutines at once.
type Runner struct {
	mu      sync.Mutex
	answers []*answer
	calls   []Call
}

var _ host.Runner = (*Runner)(nil)

// Call is a command that was run, with what came in on its standard input.
type Call struct {
	host.Command
	Input string
}

// Line returns the command's words with spaces between them.
func (c Call) Line() string { return strings.Join(c.Argv, " ") }

// Answer is what a command does.
type Answer struct {
	Stdout string
	Stderr string // comes after Stdout in the output
	Code   int
	Signal string // the name of the signal that ended it; Code is -1 then
	Took   time.Duration

	// Err, when set, is why it could not be run at all.
	Err error
	// Do, when set, is called while the command "runs", with its input; an error takes the place of Err.
	Do func(ctx context.Context, call Call) error
	// Times is how often this answer is given; 0 is for ever.
	Times int
}

type answer struct {
	Answer
	prefix []string
	given  int
}

// On gives commands whose first words are prefix this answer. Of several that fit, the one with most words counts, and of those the
// latest that is not used up.
func (r *Runner) On(a Answer, prefix ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers = append(r.answers, &answer{Answer: a, prefix: prefix})
}

// Calls returns the commands that were run, in order.
func (r *Runner) Calls() []Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls)
}

// Lines returns the commands that were run, as Line writes them.
func (r *Runner) Lines() []string {
	lines := []string{}
	for _, call := range r.Calls() {
		lines = append(lines, call.Line())
	}
	return lines
}

// Run implements host.Runner. A command that no answer fits fails as one that is not installed.
func (r *Runner) Run(ctx context.Context, cmd host.Command) (host.Result, error) {
	if ctx.Err() != nil {
		return host.Result{}, context.Cause(ctx)
	}
	call := Call{Command: cmd}
	if cmd.Stdin != nil {
		var input bytes.Buffer
		if _, err := io.Copy(&input, cmd.Stdin); err != nil {
			return host.Result{}, fmt.Errorf("cannot run %s: %w", cmd.Argv[0], err)
		}
		call.Input = input.String()
	}
	a, found := r.take(call)
	if !found {
		return host.Result{}, fmt.Errorf("cannot run %s: no such program", cmd.Argv[0])
	}
	if a.Do != nil {
		a.Err = a.Do(ctx, call)
	}
	return a.result(ctx, cmd)
}

func (r *Runner) take(call Call) (Answer, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, call)
	var best *answer
	for _, a := range r.answers {
		fits := len(a.prefix) <= len(call.Argv) && slices.Equal(a.prefix, call.Argv[:len(a.prefix)])
		if !fits || a.Times > 0 && a.given >= a.Times || best != nil && len(a.prefix) < len(best.prefix) {
			continue
		}
		best = a
	}
	if best == nil {
		return Answer{}, false
	}
	best.given++
	return best.Answer, true
}

func (a Answer) result(ctx context.Context, cmd host.Command) (host.Result, error) {
	if a.Signal != "" {
		a.Code = -1
	}
	if cmd.Stdout != nil && a.Err == nil {
		if _, err := io.WriteString(cmd.Stdout, a.Stdout); err != nil {
			return host.Result{}, err
		}
		a.Stdout = ""
	}
	result := host.Result{ExitCode: a.Code, Stdout: []byte(a.Stdout), Output: []byte(a.Stdout + a.Stderr), Took: a.Took}
	switch {
	case ctx.Err() != nil:
		return result, context.Cause(ctx)
	case a.Err != nil:
		return host.Result{}, a.Err
	case a.Code != 0:
		failed := &host.ExitError{Argv: cmd.Argv, Code: a.Code, Signal: a.Signal}
		if !cmd.Quiet {
			failed.Tail = strings.TrimSpace(string(result.Output))
		}
		return result, failed
	}
	return result, nil
}
