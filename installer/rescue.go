package installer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"tljh/internal/host"
	"tljh/internal/layout"
)

const repairHint = "sudo tljh-install env repair repairs it"

// rescued is what the hub writes down while users' servers start from the rescue environment.
type rescued struct {
	Cause  string `json:"cause"`
	Detail string `json:"detail"`
	Since  int64  `json:"since"`
}

// readRescued returns nil when servers start as usual.
func readRescued(files host.Files) (*rescued, error) {
	data, err := files.Read(layout.RescueTold)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	found := &rescued{}
	if err := json.Unmarshal(data, found); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", layout.RescueTold, err)
	}
	return found, nil
}

// forgetRescued is for when the user environment works again. Were it not so, the next server to start would have the hub say it again.
func forgetRescued(files host.Files) error { return files.Remove(layout.RescueTold) }

func (r *rescued) words() string {
	words := "servers start from the rescue environment since " + time.Unix(r.Since, 0).Format(time.DateTime) + ": " + r.Cause
	if r.Detail != "" {
		words += " (" + r.Detail + ")"
	}
	return words
}
