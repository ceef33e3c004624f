package installer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"sync"
	"time"

	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/step"
)

// receiptFormat is written at the start of every run. Readers know all formats up to theirs.
const receiptFormat = 1

// Events of the receipt.
const (
	eventRun   = "run"   // a command began to change the machine
	eventBegin = "begin" // a step is about to be applied
	eventEnd   = "end"   // the step was applied
	eventFail  = "fail"  // the step failed; it may have been applied in part
	eventDone  = "done"  // the whole plan was applied and proved
)

// Record is one line of the receipt.
type Record struct {
	Event       string       `json:"event"`
	Time        time.Time    `json:"time"`
	Format      int          `json:"format,omitempty"`
	Version     string       `json:"version,omitempty"`
	Step        string       `json:"step,omitempty"`
	Before      *step.Before `json:"before,omitempty"`
	Fingerprint string       `json:"fingerprint,omitempty"`
	Error       string       `json:"error,omitempty"`
}

// Receipt is the journal of every change to the machine, kept in layout.Receipt as one JSON object a line. A line is on disk
// before the change it announces begins, so that whatever interrupts us, the next run knows what may be half-done.
//
// Until Open, which needs the state folder, records are held in memory; the steps before it are the folders on the way there.
type Receipt struct {
	files host.Files
	now   func() time.Time

	mu      sync.Mutex
	open    bool
	began   bool
	pending []Record
	records []Record
}

// LoadReceipt reads the receipt of earlier runs; a machine without one has an empty one.
func LoadReceipt(files host.Files, now func() time.Time) (*Receipt, error) {
	r := &Receipt{files: files, now: now}
	if !files.Exists(layout.Receipt) {
		return r, nil
	}
	data, err := files.Read(layout.Receipt)
	if err != nil {
		return nil, fmt.Errorf("cannot read the receipt: %w", err)
	}
	records, whole, err := parseReceipt(data)
	if err != nil {
		return nil, host.Hint(fmt.Errorf("cannot read the receipt %s: %w", layout.Receipt, err),
			"move the file aside and run the same command again: every step is checked anew")
	}
	r.records = records
	if whole < len(data) {
		// A power cut tore the last line, whose change never began: take it off, so that the next line starts clean.
		err = files.Write(layout.Receipt, data[:whole], receiptAttr)
	}
	return r, err
}

var receiptAttr = host.Attr{Mode: 0o600}

// parseReceipt returns the records and the length of the part of data that holds them. Only the last line may be torn.
func parseReceipt(data []byte) (records []Record, whole int, err error) {
	for number := 1; whole < len(data); number++ {
		end := bytes.IndexByte(data[whole:], '\n')
		if end < 0 {
			return records, whole, nil
		}
		var record Record
		if err := json.Unmarshal(data[whole:whole+end], &record); err != nil {
			return records, whole, fmt.Errorf("line %d is damaged: %w", number, err)
		}
		if record.Format > receiptFormat {
			return records, whole, fmt.Errorf("line %d was written by a newer release (%s)", number, record.Version)
		}
		records = append(records, record)
		whole += end + 1
	}
	return records, whole, nil
}

// Recorded returns the fingerprint of the step's last good end, unless a later attempt was begun and never ended.
func (r *Receipt) Recorded(id string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := ""
	for _, record := range r.records {
		if record.Step != id {
			continue
		}
		found = ""
		if record.Event == eventEnd {
			found = record.Fingerprint
		}
	}
	return found
}

// firstBefore returns what stood there before a release's program first applied a step; nil if it never did.
func (r *Receipt) firstBefore(version, id string) *step.Before {
	r.mu.Lock()
	defer r.mu.Unlock()
	by := ""
	for _, record := range r.records {
		switch {
		case record.Event == eventRun:
			by = record.Version
		case record.Event == eventBegin && record.Step == id && by == version:
			return record.Before
		}
	}
	return nil
}

// Finished tells whether the last run on record reached its end.
func (r *Receipt) Finished() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.records) > 0 && r.records[len(r.records)-1].Event == eventDone
}

// write journals a record. The first of a run is preceded by the run's own.
func (r *Receipt) write(record Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	record.Time = r.now().UTC()
	if !r.began {
		r.began = true
		r.pending = append(r.pending, Record{Event: eventRun, Time: record.Time, Format: receiptFormat, Version: programVersion()})
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
		r.open = true
	}
	var lines bytes.Buffer
	for _, record := range r.pending {
		line, err := json.Marshal(record)
		if err != nil {
			return fmt.Errorf("cannot journal step %s: %w", record.Step, err)
		}
		lines.Write(append(line, '\n'))
	}
	if lines.Len() == 0 {
		return nil
	}
	if err := r.files.Append(layout.Receipt, lines.Bytes(), receiptAttr); err != nil {
		return fmt.Errorf("cannot write the receipt: %w", err)
	}
	r.records = append(r.records, r.pending...)
	r.pending = nil
	return nil
}

// save keeps a copy of a file that a step is about to replace.
func (r *Receipt) save(p string, data []byte) (string, error) {
	dir := path.Join(layout.State, "before")
	if err := r.files.Mkdir(dir, host.Attr{Mode: 0o700}); err != nil {
		return "", err
	}
	name := fmt.Sprintf("%s/%s-%d", dir, path.Base(p), r.now().UnixNano())
	return name, r.files.Write(name, data, host.Attr{Mode: 0o600})
}
