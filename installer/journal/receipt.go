package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sync"
	"time"

	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/step"
)

// receiptFormat is written at the start of every run. Readers know all formats up to theirs.
//
//	1  begin, end, fail, done
//	2  begin tells what the step is going to leave; same, uninstall; sum, in the place of many lines
const receiptFormat = 2

// migrations bring a record from a format, by its number, to the one after. They stay for ever, and so do the receipts in testdata.
var migrations = map[int]func(*Record){1: migrateFormat1}

// migrateFormat1: the only links there were led to the program. What files were left with, nothing tells.
func migrateFormat1(r *Record) {
	if r.Event == EventBegin && (r.Step == "link "+layout.BinaryLink || r.Step == "link "+layout.ConfigLink) {
		r.Leaves = &step.Left{Target: layout.Binary}
	}
}

// Events of the receipt.
const (
	EventRun       = "run"       // a command began to change the machine
	EventBegin     = "begin"     // a step is about to be applied
	EventEnd       = "end"       // the step was applied
	EventFail      = "fail"      // the step failed; it may have been applied in part
	EventSame      = "same"      // an older receipt did not tell what a step left: it was found to be what is wanted
	EventDone      = "done"      // the whole plan was applied and proved
	EventUninstall = "uninstall" // everything is about to be undone: every fingerprint is void
	EventSum       = "sum"       // what earlier lines told of a step
)

// Record is one line of the receipt.
type Record struct {
	Event       string       `json:"event"`
	Time        time.Time    `json:"time"`
	Format      int          `json:"format,omitempty"`
	Version     string       `json:"version,omitempty"` // the release; of a sum: the one that applied the step first
	Step        string       `json:"step,omitempty"`
	Before      *step.Before `json:"before,omitempty"` // of a sum: before the first time
	Leaves      *step.Left   `json:"leaves,omitempty"`
	Left        []step.Left  `json:"left,omitempty"` // of a sum
	Fingerprint string       `json:"fingerprint,omitempty"`
	Error       string       `json:"error,omitempty"`
}

// known is what a receipt's lines come to for one step.
type known struct {
	trace       step.Trace
	fingerprint string // of the last good end, "" when a later attempt was begun and did not end well
}

// mostLeft is how many different things a step may have left that are remembered; older ones would be taken for somebody's change.
const mostLeft = 64

// Receipt is the journal of every change to the machine, kept in layout.Receipt as one JSON object a line. A line is on disk
// before the change it announces begins, so that whatever interrupts us, the next run knows what may be half-done.
//
// Until the state folder is there, records are held in memory; the steps before it are the folders on the way there.
type Receipt struct {
	files host.Files
	now   func() time.Time

	mu      sync.Mutex
	open    bool
	began   bool
	pending []Record
	steps   map[string]*known
	order   []string // the steps' IDs, in the order in which each was begun first
	by      string   // the release whose lines are being read or written
	last    string   // the last record's event
	size    int      // of the file
	torn    []byte   // the part of the file that is whole, when its last line is not
}

// LoadReceipt reads the receipt of earlier runs; a machine without one has an empty one.
func LoadReceipt(files host.Files, now func() time.Time) (*Receipt, error) {
	return LoadDamagedReceipt(files, now, func(number int, err error) error {
		return host.Hint(fmt.Errorf("cannot read the receipt %s: line %d is damaged: %w", layout.Receipt, number, err),
			"move it aside: sudo mv %s %s.damaged; then sudo tljh-install install, which checks every step anew", layout.Receipt, layout.Receipt)
	})
}

// LoadDamagedReceipt reads it, and asks damaged about each line that can't be read. Every line stands for itself, and can be left out.
func LoadDamagedReceipt(files host.Files, now func() time.Time, damaged func(number int, err error) error) (*Receipt, error) {
	r := NewReceipt(files, now)
	data, err := files.Read(layout.Receipt)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the receipt: %w", err)
	}
	records, whole, err := parseReceipt(data, damaged)
	if err != nil {
		return nil, err
	}
	for _, record := range records {
		r.take(record)
	}
	r.size = whole
	if whole < len(data) {
		r.torn = data[:whole]
	}
	return r, nil
}

// NewReceipt returns the receipt of a machine that has none.
func NewReceipt(files host.Files, now func() time.Time) *Receipt {
	return &Receipt{files: files, now: now, steps: map[string]*known{}}
}

var receiptAttr = host.Attr{Mode: 0o600}

// parseReceipt returns the records, in the present format, and the length of the part of data that holds them. The last line may be torn.
func parseReceipt(data []byte, damaged func(number int, err error) error) (records []Record, whole int, err error) {
	format := 1
	for number := 1; whole < len(data); number++ {
		end := bytes.IndexByte(data[whole:], '\n')
		if end < 0 {
			return records, whole, nil
		}
		var record Record
		err := json.Unmarshal(data[whole:whole+end], &record)
		if err == nil && record.Format > receiptFormat {
			return records, whole, host.Hint(fmt.Errorf("cannot read the receipt %s: line %d was written by a newer release (%s)", layout.Receipt, number, record.Version),
				"use that release's tljh-install")
		}
		whole += end + 1
		if err != nil {
			if err = damaged(number, err); err != nil {
				return records, whole, err
			}
			continue
		}
		format = max(format, record.Format)
		for old := format; old < receiptFormat; old++ {
			migrations[old](&record)
		}
		records = append(records, record)
	}
	return records, whole, nil
}

// take adds a record to what is known.
func (r *Receipt) take(record Record) {
	r.last = record.Event
	switch record.Event {
	case EventRun:
		r.by = record.Version
	case EventBegin:
		k := r.step(record.Step)
		if k.trace.First == nil {
			k.trace.First, k.trace.By = record.Before, r.by
		}
		k.fingerprint = ""
		if record.Leaves != nil {
			k.add(*record.Leaves)
		}
	case EventEnd:
		r.step(record.Step).fingerprint = record.Fingerprint
	case EventFail:
		r.step(record.Step).fingerprint = ""
	case EventSame:
		if record.Leaves != nil {
			r.step(record.Step).add(*record.Leaves)
		}
	case EventSum:
		k := r.step(record.Step)
		k.trace.By, k.trace.First, k.trace.Left, k.fingerprint = record.Version, record.Before, record.Left, record.Fingerprint
	case EventUninstall:
		for _, k := range r.steps {
			k.fingerprint = ""
		}
	}
}

func (r *Receipt) step(id string) *known {
	k := r.steps[id]
	if k == nil {
		k = &known{trace: step.Trace{ID: id}}
		r.steps[id], r.order = k, append(r.order, id)
	}
	return k
}

// add remembers what was left, the newest last.
func (k *known) add(left step.Left) {
	k.trace.Left = slices.DeleteFunc(k.trace.Left, func(old step.Left) bool { return old == left })
	k.trace.Left = append(k.trace.Left, left)
	k.trace.Left = k.trace.Left[max(0, len(k.trace.Left)-mostLeft):]
}

// Recorded returns the fingerprint of the step's last good end, unless a later attempt was begun and never ended.
func (r *Receipt) Recorded(id string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.steps[id]; k != nil {
		return k.fingerprint
	}
	return ""
}

// Left returns what a step put in its place so far.
func (r *Receipt) Left(id string) []step.Left {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.steps[id]; k != nil {
		return slices.Clone(k.trace.Left)
	}
	return nil
}

// Knows reports whether a step was ever applied.
func (r *Receipt) Knows(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.steps[id] != nil
}

// Traces returns what is known of all steps, in the order in which each was begun first.
func (r *Receipt) Traces() []step.Trace {
	r.mu.Lock()
	defer r.mu.Unlock()
	traces := []step.Trace{}
	for _, id := range r.order {
		traces = append(traces, r.steps[id].trace)
	}
	return traces
}

// Finished tells whether the last run on record reached its end.
func (r *Receipt) Finished() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last == EventDone
}

// Empty reports whether no run is on record.
func (r *Receipt) Empty() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last == ""
}

// Undoing reports whether the last run on record was an uninstallation that did not end.
func (r *Receipt) Undoing() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last == EventUninstall
}

// Write journals a record. The first of a run is preceded by the run's own.
func (r *Receipt) Write(record Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	record.Time = r.now().UTC()
	if !r.began {
		r.began = true
		r.pending = append(r.pending, Record{Event: EventRun, Time: record.Time, Format: receiptFormat, Version: programVersion()})
	}
	r.pending = append(r.pending, record)
	return r.flush()
}

// flush appends what is pending as soon as the state folder is there.
func (r *Receipt) flush() error {
	if !r.open {
		if !r.files.Exists(layout.State) {
			return nil
		}
		if err := r.tidy(); err != nil {
			return err
		}
		r.open = true
	}
	lines, err := linesOf(r.pending)
	if err != nil || len(lines) == 0 {
		return err
	}
	if err := r.files.Append(layout.Receipt, lines, receiptAttr); err != nil {
		return fmt.Errorf("cannot write the receipt: %w", err)
	}
	for _, record := range r.pending {
		r.take(record)
	}
	r.pending = nil
	r.size += len(lines)
	return nil
}

// mostBytes is how long a receipt may be before a run that changes something sums it up: some hundred runs.
const mostBytes = 256 << 10

// tidy sees to it that the first line of a run starts clean, and that the file does not grow for ever.
func (r *Receipt) tidy() error {
	switch {
	case r.size > mostBytes:
		return r.sumUp()
	case r.torn != nil:
		// A power cut tore the last line, whose change never began.
		if err := r.files.Write(layout.Receipt, r.torn, receiptAttr); err != nil {
			return fmt.Errorf("cannot write the receipt: %w", err)
		}
		r.torn = nil
	}
	return nil
}

// sumUp replaces the file by one line for each step. Nothing is lost that anybody asks for.
func (r *Receipt) sumUp() error {
	lines, err := linesOf(r.sum())
	if err != nil {
		return err
	}
	if err := r.files.Write(layout.Receipt, lines, receiptAttr); err != nil {
		return fmt.Errorf("cannot write the receipt: %w", err)
	}
	r.size, r.torn = len(lines), nil
	return nil
}

func (r *Receipt) sum() []Record {
	now := r.now().UTC()
	records := []Record{{Event: EventRun, Time: now, Format: receiptFormat, Version: programVersion()}}
	for _, id := range r.order {
		k := r.steps[id]
		records = append(records, Record{Event: EventSum, Time: now, Version: k.trace.By, Step: id, Before: k.trace.First, Left: k.trace.Left, Fingerprint: k.fingerprint})
	}
	return records
}

// Forget drops all steps but those named, and sums up: the others were undone.
func (r *Receipt) Forget(but func(id string) bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.order = slices.DeleteFunc(r.order, func(id string) bool {
		if !but(id) {
			delete(r.steps, id)
			return true
		}
		return false
	})
	return r.sumUp()
}

func linesOf(records []Record) ([]byte, error) {
	var lines bytes.Buffer
	for _, record := range records {
		line, err := json.Marshal(record)
		if err != nil {
			return nil, fmt.Errorf("cannot journal step %s: %w", record.Step, err)
		}
		lines.Write(append(line, '\n'))
	}
	return lines.Bytes(), nil
}

// Save keeps a copy of a file that a step is about to replace.
func (r *Receipt) Save(p string, data []byte) (string, error) {
	dir := path.Join(layout.State, "before")
	if err := r.files.Mkdir(dir, host.Attr{Mode: 0o700}); err != nil {
		return "", err
	}
	name := fmt.Sprintf("%s/%s-%d", dir, path.Base(p), r.now().UnixNano())
	return name, r.files.Write(name, data, host.Attr{Mode: 0o600})
}
