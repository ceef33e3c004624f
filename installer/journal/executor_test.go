package journal

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/report"
	"tljh/internal/step"
)

// newExecutor works on a temporary folder that has the state folder already.
func newExecutor(t *testing.T) *Executor {
	t.Helper()
	files := host.Files{Root: t.TempDir()}
	require.NoError(t, os.MkdirAll(files.Path(layout.State), 0o700))
	return reopened(t, &host.Host{Files: files})
}

// reopened is the next run on the same machine.
func reopened(t *testing.T, h *host.Host) *Executor {
	t.Helper()
	receipt, err := LoadReceipt(h.Files, time.Now)
	require.NoError(t, err)
	return &Executor{Host: h, Receipt: receipt, Report: report.New()}
}

// tally counts what fake steps were asked to do.
type tally struct {
	mu   sync.Mutex
	done []string
}

func (c *tally) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done = append(c.done, what)
}

func (c *tally) node(id string, fails error, after ...string) Node {
	state := step.Absent
	return Node{After: after, Step: step.Task{
		Name: id, What: "do " + id, Stamp: "stamp of " + id,
		Look: func(context.Context, *step.Context) (step.State, error) { return state, nil },
		Do: func(context.Context, *step.Context) error {
			c.add(id)
			if fails == nil {
				state = step.Same
			}
			return fails
		},
	}}
}

func TestStepsRunAfterThoseTheyWaitFor(t *testing.T) {
	x, c := newExecutor(t), &tally{}
	plan := Plan{Nodes: []Node{c.node("a", nil), c.node("b", nil, "a"), c.node("c", nil, "a"), c.node("d", nil, "b", "c")}}

	outcome, err := x.Run(context.Background(), plan)

	require.NoError(t, err)
	assert.Len(t, c.done, 4)
	assert.Equal(t, "a", c.done[0])
	assert.Equal(t, "d", c.done[3])
	assert.Len(t, outcome.Changed, 4)
}

func TestSecondRunAppliesNothingAndWritesNothing(t *testing.T) {
	x, c := newExecutor(t), &tally{}
	plan := Plan{Nodes: []Node{c.node("a", nil), c.node("b", nil, "a")}}
	_, err := x.Run(context.Background(), plan)
	require.NoError(t, err)
	require.NoError(t, x.Finish(true))
	before, err := x.Host.Files.Read(layout.Receipt)
	require.NoError(t, err)

	again := reopened(t, x.Host)
	assert.True(t, again.Receipt.Finished())
	outcome, err := again.Run(context.Background(), plan)
	require.NoError(t, err)
	require.NoError(t, again.Finish(len(outcome.Changed) > 0))

	assert.Empty(t, outcome.Changed)
	assert.Equal(t, 2, outcome.Unchanged)
	after, err := x.Host.Files.Read(layout.Receipt)
	require.NoError(t, err)
	assert.Equal(t, string(before), string(after))
}

func TestFailureStopsTheRestAndTheNextRunGoesOn(t *testing.T) {
	x, c := newExecutor(t), &tally{}
	first := c.node("a", nil)
	_, err := x.Run(context.Background(), Plan{Nodes: []Node{first, c.node("b", errors.New("no room"), "a"), c.node("c", nil, "b")}})
	require.ErrorContains(t, err, "cannot do b: no room")
	assert.Equal(t, []string{"a", "b"}, c.done)

	again := reopened(t, x.Host)
	_, err = again.Run(context.Background(), Plan{Nodes: []Node{first, c.node("b", nil, "a"), c.node("c", nil, "b")}})
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "b", "b", "c"}, c.done)
}

func TestOptionalFailureIsToldAndStopsNothing(t *testing.T) {
	x, c := newExecutor(t), &tally{}
	optional := c.node("extra", errors.New("no such package"), "a")
	optional.Optional = true
	outcome, err := x.Run(context.Background(), Plan{Nodes: []Node{c.node("a", nil), optional, c.node("z", nil, "a"), c.node("later", nil, "extra")}})
	require.NoError(t, err)
	assert.Contains(t, c.done, "z")
	assert.Contains(t, c.done, "later")
	require.Len(t, outcome.Failed, 1)
	assert.ErrorContains(t, outcome.Failed[0], "no such package")
}

func TestInterruptedWalkIsNoSuccess(t *testing.T) {
	x, c := newExecutor(t), &tally{}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("told to end"))
	_, err := x.Run(ctx, Plan{Nodes: []Node{c.node("a", nil)}})
	require.ErrorContains(t, err, "told to end")
	assert.Empty(t, c.done)
}

func TestDryRunChangesNothing(t *testing.T) {
	x, c := newExecutor(t), &tally{}
	outcome, err := x.DryRun(context.Background(), Plan{Nodes: []Node{c.node("a", nil), c.node("b", nil, "a")}})
	require.NoError(t, err)
	assert.Empty(t, c.done)
	assert.Len(t, outcome.Changed, 2)
	assert.False(t, x.Host.Files.Exists(layout.Receipt))
}

func TestPlanWithACircleOrATwinIsRefused(t *testing.T) {
	c := &tally{}
	assert.ErrorContains(t, Plan{Nodes: []Node{c.node("a", nil, "b"), c.node("b", nil, "a")}}.Valid(), "not before it")
	assert.ErrorContains(t, Plan{Nodes: []Node{c.node("a", nil), c.node("a", nil)}}.Valid(), "twice")
}

// Two steps fail at the same time on a full disk; one of them does not say why.
func TestAFullDiskExplainsTheFailuresBesideIt(t *testing.T) {
	x := newExecutor(t)
	vague := make(chan struct{})
	task := func(id string, do func() error) Node {
		return Node{Step: step.Task{Name: id, What: "do " + id, Stamp: id,
			Look: func(context.Context, *step.Context) (step.State, error) { return step.Absent, nil },
			Do:   func(context.Context, *step.Context) error { return do() },
		}}
	}
	begun := make(chan struct{})
	_, err := x.Run(t.Context(), Plan{Nodes: []Node{
		task("npm", func() error {
			<-begun
			defer close(vague)
			return &host.ExitError{Argv: []string{"npm"}, Code: 1, Tail: "npm error A complete log"}
		}),
		task("copy", func() error { close(begun); <-vague; return &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC} }),
	}})
	require.ErrorIs(t, err, syscall.ENOSPC)
	assert.Contains(t, host.HintOf(err), "the disk is full")
	assert.True(t, host.DiskFull(&host.ExitError{Tail: "npm error ENOSPC: no space left on device, write"}))
}
