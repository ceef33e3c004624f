package installer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"tljh/internal/host"
	"tljh/internal/layout"
)

// Phases of a change of the release. Until switching nothing that works has been touched.
const (
	phasePreparing = "preparing"
	phaseSwitching = "switching" // the new release is taking over, and would be completed
	phaseBack      = "back"      // the old release is taking over again, and would be completed
	phaseRestored  = "restored"  // its database and environments are back; its units may not be
)

// Change is the journal of an upgrade or a rollback under way. It is on disk before each phase begins, and goes when all has ended. Fields are only
// ever added, as either release may have to read it.
type Change struct {
	Rollback bool    `json:"rollback,omitempty"` // asked for; else an upgrade
	Phase    string  `json:"phase"`
	Old      Release `json:"old"`
	New      string  `json:"new"`           // version
	From     string  `json:"from"`          // where the new release came from
	Why      string  `json:"why,omitempty"` // it goes back
}

// loadChange returns nil when none is under way.
func loadChange(files host.Files) (*Change, error) {
	data, err := files.Read(layout.Upgrade)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read whether an upgrade is under way: %w", err)
	}
	change := &Change{}
	if err := json.Unmarshal(data, change); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", layout.Upgrade, err)
	}
	return change, nil
}

func (c *Change) enter(files host.Files, phase string) error {
	c.Phase = phase
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return files.Write(layout.Upgrade, append(data, '\n'), secret)
}

func (c *Change) end(files host.Files) error { return files.Remove(layout.Upgrade) }

// interrupted says in words that a change of the release which was begun has not ended, and what completes it; nil when there is none.
func interrupted(files host.Files) error {
	change, err := loadChange(files)
	if err != nil || change == nil || change.Phase == phasePreparing {
		return err
	}
	return host.Hint(errors.New(change.words()), "complete it first: %s", change.state().Command())
}

// words say what was interrupted.
func (c *Change) words() string {
	switch c.state() {
	case StateRollingBack:
		return "a rollback to " + c.Old.Version + " was interrupted"
	case StateGoingBack:
		return "an upgrade from " + c.Old.Version + " to " + c.New + " was interrupted while going back"
	}
	return "an upgrade from " + c.Old.Version + " to " + c.New + " was interrupted"
}
