package installer

import (
	"errors"

	"tljh/installer/switchover"
	"tljh/internal/host"
	"tljh/internal/layout"
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
	return switchover.Load[Change](files, layout.Upgrade, "an upgrade")
}

func (c *Change) enter(files host.Files, phase string) error {
	c.Phase = phase
	return switchover.Write(files, layout.Upgrade, c)
}

func (c *Change) end(files host.Files) error { return files.Remove(layout.Upgrade) }

// interrupted says in words that a change of the release which was begun has not ended, and what completes it; nil when there is none.
func interrupted(files host.Files) error {
	change, err := loadChange(files)
	if err != nil || change == nil || change.Phase == switchover.Preparing {
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
