package report

import "time"

// Kind is what an event tells of.
type Kind string

// Kinds of event.
const (
	KindStep     Kind = "step"     // a step began or ended; Status says which
	KindCheck    Kind = "check"    // a check's finding; Status is its severity
	KindProgress Kind = "progress" // how far a running step has come
	KindNote     Kind = "note"
	KindWarning  Kind = "warning"
	KindError    Kind = "error"
	KindResult   Kind = "result" // what a whole run came to, in Data
)

// Status is how a step or a check stands.
type Status string

// Statuses of steps.
const (
	Start       Status = "start"
	Done        Status = "done"
	Unchanged   Status = "unchanged"
	Failed      Status = "failed"  // of checks, too
	Skipped     Status = "skipped" // of checks, too
	WouldChange Status = "would-change"
)

// Statuses of checks only.
const (
	OK      Status = "ok"
	Warning Status = "warning"
)

// Event is one thing that happened. Its texts may come from programs and files: every sink takes control sequences out of
// them before it shows them.
type Event struct {
	Time       time.Time `json:"time"`
	Kind       Kind      `json:"kind"`
	Step       string    `json:"step,omitempty"` // the ID of a step or the name of a check
	Title      string    `json:"title,omitempty"`
	Phase      string    `json:"phase,omitempty"`
	Status     Status    `json:"status,omitempty"`
	Message    string    `json:"message,omitempty"`
	Hint       string    `json:"hint,omitempty"`
	Seconds    float64   `json:"seconds,omitempty"`
	Bytes      int64     `json:"bytes,omitempty"`
	TotalBytes int64     `json:"total_bytes,omitempty"`
	Data       any       `json:"data,omitempty"`
}

// Sink takes events, one at a time. One that holds anything back also has a method Flush, which shows it.
type Sink interface {
	Event(Event)
}

type flusher interface {
	Flush()
}
