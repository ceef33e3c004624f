package journal

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"tljh/internal/host"
	"tljh/internal/report"
	"tljh/internal/step"
	"tljh/internal/version"
)

// Node is a step in a plan.
type Node struct {
	Step  step.Step
	Phase string

	// After names the steps that must have ended first.
	After []string

	// Optional steps may fail without stopping the rest, not even what comes after them: the failure is told, and ends up in
	// Outcome.Failed.
	Optional bool
}

// Plan is the steps that bring a machine to what the config asks for. It is made without changing anything.
type Plan struct {
	Nodes []Node
}

// Outcome is what a plan did.
type Outcome struct {
	Changed   []string // IDs of the steps that were applied, in order of their end
	Unchanged int
	Failed    []error // of optional steps
}

// Executor runs plans.
type Executor struct {
	Host    *host.Host
	Receipt *Receipt
	Report  *report.Reporter
}

func programVersion() string { return version.Version }

// errEarlier marks a step that was left out because one before it failed.
var errEarlier = errors.New("a step before it failed")

// Run applies the plan: every step as soon as those it comes after have ended, at most one attempt each. The first failure of
// a step that is not optional stops all others; steps that were applied stay applied, and the next run takes up from there.
func (x *Executor) Run(ctx context.Context, plan Plan) (Outcome, error) {
	return x.walk(ctx, plan, x.settle)
}

// DryRun tells what Run would do, by the same checks, and changes nothing.
func (x *Executor) DryRun(ctx context.Context, plan Plan) (Outcome, error) {
	return x.walk(ctx, plan, x.look)
}

func (x *Executor) walk(ctx context.Context, plan Plan, do func(context.Context, Node) (bool, error)) (Outcome, error) {
	if err := plan.Valid(); err != nil {
		return Outcome{}, err
	}
	outer := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &walk{done: map[string]chan struct{}{}, failed: map[string]bool{}}
	for _, node := range plan.Nodes {
		w.done[node.Step.ID()] = make(chan struct{})
	}
	var running sync.WaitGroup
	for _, node := range plan.Nodes {
		running.Go(func() {
			defer close(w.done[node.Step.ID()])
			if !w.wait(ctx, node) {
				w.note(node, false, errEarlier)
				return
			}
			changed, err := do(ctx, node)
			if w.note(node, changed, err) {
				cancel(err)
			}
		})
	}
	running.Wait()
	if w.first == nil {
		w.first = context.Cause(outer)
	}
	return w.outcome, w.first
}

// walk is the state of one walk through a plan.
type walk struct {
	done map[string]chan struct{}

	mu      sync.Mutex
	failed  map[string]bool
	outcome Outcome
	first   error // what Run returns
}

// wait returns false when the node is not to be run.
func (w *walk) wait(ctx context.Context, node Node) bool {
	for _, id := range node.After {
		select {
		case <-w.done[id]:
		case <-ctx.Done():
			return false
		}
		w.mu.Lock()
		failed := w.failed[id]
		w.mu.Unlock()
		if failed {
			return false
		}
	}
	return ctx.Err() == nil
}

// note keeps a node's result and tells whether everything is to stop.
func (w *walk) note(node Node, changed bool, err error) (stop bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err != nil:
		if node.Optional && !errors.Is(err, errEarlier) {
			w.outcome.Failed = append(w.outcome.Failed, err)
			return false // what comes after it goes on
		}
		w.failed[node.Step.ID()] = true
		if errors.Is(err, errEarlier) {
			return false
		}
		// A full disk explains the failures beside it, whichever came first: not every program says what stopped it.
		if w.first == nil || host.DiskFull(err) && !host.DiskFull(w.first) {
			w.first = err
		}
		return true
	case changed:
		w.outcome.Changed = append(w.outcome.Changed, node.Step.ID())
	default:
		w.outcome.Unchanged++
	}
	return false
}

func (x *Executor) context(run *report.Running) *step.Context {
	return &step.Context{
		Host: x.Host, Recorded: x.Receipt.Recorded, Save: x.Receipt.Save, Left: x.Receipt.Left,
		Progress: run.Progress, Tell: x.Report.Note,
	}
}

// settle brings one step about: check, journal, apply, journal.
func (x *Executor) settle(ctx context.Context, node Node) (changed bool, err error) {
	s := node.Step
	run := x.Report.Step(s.ID(), s.Title(), node.Phase)
	c := x.context(run)
	state, err := s.Check(ctx, c)
	if err == nil && state == step.Same {
		run.Unchanged()
		return false, x.recognise(s)
	}
	if err == nil {
		err = x.apply(ctx, s, c)
	}
	if err != nil {
		err = fmt.Errorf("cannot %s: %w", s.Title(), err)
		run.Failed(err)
		return false, err
	}
	run.Done()
	return true, nil
}

// recognise journals that what a step left is what it would leave now, where an older receipt does not tell.
func (x *Executor) recognise(s step.Step) error {
	leaver, ok := s.(step.Leaver)
	if !ok || !x.Receipt.Knows(s.ID()) || len(x.Receipt.Left(s.ID())) > 0 {
		return nil
	}
	leaves := leaver.Leaves()
	return x.Receipt.Write(Record{Event: EventSame, Step: s.ID(), Leaves: &leaves})
}

func (x *Executor) apply(ctx context.Context, s step.Step, c *step.Context) error {
	before, err := s.Before(ctx, c)
	if err != nil {
		return err
	}
	begin := Record{Event: EventBegin, Step: s.ID(), Before: &before}
	if leaver, ok := s.(step.Leaver); ok {
		leaves := leaver.Leaves()
		begin.Leaves = &leaves
	}
	if err := x.Receipt.Write(begin); err != nil {
		return err
	}
	if err := s.Apply(ctx, c); err != nil {
		// The error is told by the caller; that the receipt can't be written to either is no news then.
		_ = x.Receipt.Write(Record{Event: EventFail, Step: s.ID(), Error: err.Error()})
		return err
	}
	end := Record{Event: EventEnd, Step: s.ID()}
	if stamped, ok := s.(step.Fingerprinter); ok {
		end.Fingerprint = stamped.Fingerprint(c)
	}
	return x.Receipt.Write(end)
}

func (x *Executor) look(ctx context.Context, node Node) (changed bool, err error) {
	state, err := node.Step.Check(ctx, x.context(nil))
	status := map[step.State]report.Status{step.Same: report.Unchanged, step.Different: report.WouldChange, step.Absent: report.WouldChange}[state]
	event := report.Event{Kind: report.KindStep, Step: node.Step.ID(), Title: node.Step.Title(), Phase: node.Phase, Status: status}
	if err != nil {
		event.Message = err.Error()
	}
	x.Report.Emit(event)
	return state != step.Same, nil
}

// Finish journals that the plan's result was proved.
func (x *Executor) Finish(changed bool) error {
	if !changed && x.Receipt.Finished() {
		return nil
	}
	return x.Receipt.Write(Record{Event: EventDone})
}

// Valid tells whether every step is there once and comes after steps that are before it in the list, which rules out circles.
func (p Plan) Valid() error {
	seen := map[string]bool{}
	for _, node := range p.Nodes {
		id := node.Step.ID()
		if seen[id] {
			return fmt.Errorf("the plan has the step %q twice", id)
		}
		for _, before := range node.After {
			if !seen[before] {
				return fmt.Errorf("the plan's step %q comes after %q, which is not before it", id, before)
			}
		}
		seen[id] = true
	}
	return nil
}
