// Package report tells what is going on: to a person at a terminal, to a pipe, to a program that reads JSON lines, and to
// the log file. Everything that happens is an Event; a Reporter hands it to every Sink.
//
// It decides nothing about how a run goes on, and exit codes and questions to a person are none of its business.
package report

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"tljh/internal/host"
)

// Reporter hands events to sinks. It may be used by many goroutines at once; a nil Reporter is silent.
type Reporter struct {
	now func() time.Time

	mu     sync.Mutex
	sinks  []Sink
	closed bool
	failed []error // of steps, told already
}

// New returns a Reporter that tells all of sinks.
func New(sinks ...Sink) *Reporter {
	return &Reporter{now: time.Now, sinks: sinks}
}

// Emit hands over an event, whose Time is set to now when it is zero. After Close it does nothing.
func (r *Reporter) Emit(e Event) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	if e.Time.IsZero() {
		e.Time = r.now()
	}
	for _, sink := range r.sinks {
		sink.Event(e)
	}
}

// Close makes every sink show what it has held back. Nothing is told after it.
func (r *Reporter) Close() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.closed = true
	for _, sink := range r.sinks {
		if held, ok := sink.(flusher); ok {
			held.Flush()
		}
	}
}

// Note tells something worth knowing.
func (r *Reporter) Note(format string, args ...any) {
	r.Emit(Event{Kind: KindNote, Message: fmt.Sprintf(format, args...)})
}

// Warn tells something that does not stop the run, and what a person may do about it.
func (r *Reporter) Warn(hint, format string, args ...any) {
	r.Emit(Event{Kind: KindWarning, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// Fail tells why the run failed, with the hint that err carries.
func (r *Reporter) Fail(err error) {
	if err == nil {
		return
	}
	r.Emit(Event{Kind: KindError, Message: err.Error(), Hint: host.HintOf(err)})
}

// Step tells that a step begins.
func (r *Reporter) Step(id, title, phase string) *Running {
	if r == nil {
		return nil
	}
	run := &Running{reporter: r, about: Event{Kind: KindStep, Step: id, Title: title, Phase: phase}, since: r.now()}
	begin := run.about
	begin.Status, begin.Time = Start, run.since
	r.Emit(begin)
	return run
}

// consequence tells whether err only passes on the failure of a step that was told before, as the steps do which are stopped
// because another one failed. Otherwise it is remembered.
func (r *Reporter) consequence(err error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, told := range r.failed {
		if errors.Is(err, told) {
			return true
		}
	}
	r.failed = append(r.failed, err)
	return false
}

// Running is a step that has begun. Its end is told once, whatever is called how often; a nil Running is silent.
type Running struct {
	reporter *Reporter
	about    Event
	since    time.Time

	mu    sync.Mutex
	ended bool
}

// Done tells that the step made its change.
func (r *Running) Done() { r.end(Event{Status: Done}) }

// Unchanged tells that there was nothing to do.
func (r *Running) Unchanged() { r.end(Event{Status: Unchanged}) }

// Failed tells why the step failed. When err wraps the error of a step that failed earlier, this step was merely stopped by it and is
// told as skipped.
func (r *Running) Failed(err error) {
	if r == nil || err == nil {
		return
	}
	if r.reporter.consequence(err) {
		r.end(Event{Status: Skipped, Message: "stopped, because of the failure above"})
		return
	}
	r.end(Event{Status: Failed, Message: err.Error(), Hint: host.HintOf(err)})
}

// Progress tells how far the step has come; total is 0 when nobody knows.
func (r *Running) Progress(message string, bytes, total int64) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return
	}
	e := r.about
	e.Kind, e.Message, e.Bytes, e.TotalBytes = KindProgress, message, bytes, total
	e.Time = r.reporter.now()
	e.Seconds = e.Time.Sub(r.since).Seconds()
	r.reporter.Emit(e)
}

func (r *Running) end(how Event) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return
	}
	r.ended = true
	e := r.about
	e.Status, e.Message, e.Hint = how.Status, how.Message, how.Hint
	e.Time = r.reporter.now()
	e.Seconds = e.Time.Sub(r.since).Seconds()
	r.reporter.Emit(e)
}
