package hubnotes

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"tljh/internal/host"
	"tljh/internal/layout"
)

// RepairHint is what to run when servers start from the rescue environment.
const RepairHint = "sudo tljh-install env repair repairs it"

// Rescue is what the hub writes down while users' servers start from the rescue environment.
type Rescue struct {
	Cause  string `json:"cause"`
	Detail string `json:"detail"`
	Since  int64  `json:"since"`
}

// ReadRescue returns nil when servers start as usual.
func ReadRescue(files host.Files) (*Rescue, error) { return read[Rescue](files, layout.RescueTold) }

// read returns what a file of the hub's says; nil where there is none.
func read[T any](files host.Files, p string) (*T, error) {
	data, err := files.Read(p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	found := new(T)
	if err := json.Unmarshal(data, found); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", p, err)
	}
	return found, nil
}

// ForgetRescue is for when the user environment works again. Were it not so, the next server to start would have the hub say it again.
func ForgetRescue(files host.Files) error { return files.Remove(layout.RescueTold) }

// Words say since when, and why.
func (r *Rescue) Words() string {
	words := "servers start from the rescue environment since " + time.Unix(r.Since, 0).Format(time.DateTime) + ": " + r.Cause
	if r.Detail != "" {
		words += " (" + r.Detail + ")"
	}
	return words
}
