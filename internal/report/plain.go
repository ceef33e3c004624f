package report

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// announceAfter is how long a step may run before a pipe is told that it has begun: most have ended by then.
const announceAfter = 2 * time.Second

// Plain writes a line for each thing that happened: for pipes and logs.
type Plain struct {
	w     io.Writer
	after time.Duration

	mu    sync.Mutex
	begun map[string]*time.Timer // steps that run and were not announced yet
	told  told
}

// NewPlain returns a sink that writes a line for each thing that happened.
func NewPlain(w io.Writer) Sink { return newPlain(w, announceAfter) }

func newPlain(w io.Writer, after time.Duration) *Plain {
	return &Plain{w: w, after: after, begun: map[string]*time.Timer{}}
}

// Event implements Sink.
func (p *Plain) Event(e Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Kind == KindStep && e.Status == Start {
		p.begun[e.Step] = time.AfterFunc(p.after, func() { p.announce(e) })
		return
	}
	if timer := p.begun[e.Step]; timer != nil && e.Kind == KindStep {
		timer.Stop()
		delete(p.begun, e.Step)
	}
	if plainText(e) == "" {
		return
	}
	if e, shown := p.told.see(e); shown {
		_, _ = io.WriteString(p.w, plainText(e)+"\n")
	}
}

func (p *Plain) announce(e Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.begun[e.Step] == nil {
		return // ended just now
	}
	delete(p.begun, e.Step)
	_, _ = io.WriteString(p.w, row("start", oneLine(e.Title))+"\n")
}

// Flush drops what was not announced.
func (p *Plain) Flush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, timer := range p.begun {
		timer.Stop()
	}
	clear(p.begun)
}

// told remembers the last failure, so that the error of a whole run does not repeat what stands right above it.
type told struct {
	failure string
	since   bool // something else was shown after the failure
}

// see returns the event as it is to be shown, and false when it is not to be.
func (t *told) see(e Event) (Event, bool) {
	if e.Kind == KindError && e.Message != "" && e.Message == t.failure {
		first, _, _ := strings.Cut(e.Message, "\n")
		e.Message = strings.TrimSuffix(first, ":") + " (see above)"
		return e, t.since
	}
	if e.Kind == KindStep && e.Status == Failed {
		t.failure, t.since = e.Message, false
	} else {
		t.since = true
	}
	return e, true
}

// plainText returns what an event says, in one or more lines; "" for one that is not worth a line.
func plainText(e Event) string {
	switch e.Kind {
	case KindStep:
		return withHint(stepText(e), e.Hint)
	case KindCheck:
		return withHint(row(oneLine(string(e.Status)), oneLine(e.Step)+": "+clean(e.Message)), e.Hint)
	case KindNote:
		return withHint(row("note", clean(e.Message)), e.Hint)
	case KindWarning:
		return withHint(row("warning", clean(e.Message)), e.Hint)
	case KindError:
		return withHint(row("error", clean(e.Message)), e.Hint)
	}
	return ""
}

func stepText(e Event) string {
	text := oneLine(e.Title)
	switch e.Status {
	case Start:
		return ""
	case Done, Failed:
		text += " (" + took(e.Seconds) + ")"
	}
	if e.Message != "" {
		text += "\n" + clean(e.Message)
	}
	return row(oneLine(string(e.Status)), text)
}

// row puts a word before a text; further lines of the text stand below its first.
func row(word, text string) string {
	return fmt.Sprintf("%-12s %s", word, indentLines(text, strings.Repeat(" ", 13)))
}

func withHint(text, hint string) string {
	if hint == "" || text == "" {
		return text
	}
	return text + "\n" + row("  hint", clean(hint))
}
