// Package switchover puts one hub in another's place: a release in that of the one before, or this hub in that of a legacy hub.
//
// How far it has come is on disk before each phase begins. Whatever ends it, and at whatever instant, the same command
// completes it, forwards or backwards. Until the phase switching, nothing that works has been touched.
package switchover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/report"
)

// The phases, as they are on disk. Releases before this one read them, too.
const (
	Preparing = "preparing" // what is new is built while the old hub works
	Switching = "switching" // the new hub takes over, and would be completed
	Back      = "back"      // the old hub takes over again, and would be completed
	Restored  = "restored"  // the old release's database and environments are back; its units may not be
	Proved    = "proved"    // the new hub works: what is left of the legacy hub will be removed
)

// BackLimit is how long going back may take: nobody interrupts it.
const BackLimit = 20 * time.Minute

// Switchover is what differs between an upgrade and an adoption. Every part can be done again after it was ended half-way.
type Switchover interface {
	// Phase is how far it has come. Enter writes to the journal that it goes further, and why, where it goes back.
	Phase() string
	Enter(phase string, why error) error

	// Prepare builds what is new; it is also asked when switching is resumed. NotBegun sees to what is left of it, and says so.
	Prepare(ctx context.Context) error
	NotBegun(ctx context.Context, cause error) error

	// Room is how many bytes of the disk going back may need. They are reserved before the switch and free after it.
	Room() int64

	// Switch ends with a new hub that has proved itself; Settle does what is left to do then.
	Switch(ctx context.Context) error
	Settle(ctx context.Context) error

	// Restore brings the old hub back. GoneBack says what has happened: cause is why, nil if a person asked for it; err is what Restore failed with.
	Restore(ctx context.Context) error
	GoneBack(cause, err error) error
}

// Run carries out a switchover from the phase that it is in, or leaves everything as it was.
func Run(ctx context.Context, files host.Files, r *report.Reporter, s Switchover) error {
	if err := s.Prepare(ctx); err != nil {
		return s.NotBegun(ctx, err)
	}
	if s.Phase() == Preparing {
		if err := begin(files, s); err != nil {
			return s.NotBegun(ctx, err)
		}
	}
	if s.Phase() == Switching {
		if err := s.Switch(ctx); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return GoBack(ctx, files, r, s, err)
		}
	}
	if err := files.Remove(layout.Room); err != nil {
		return err
	}
	return s.Settle(ctx)
}

// begin is the last moment at which nothing has been touched.
func begin(files host.Files, s Switchover) error {
	if err := Reserve(files, s.Room()); err != nil {
		return err
	}
	if err := s.Enter(Switching, nil); err != nil {
		return errors.Join(err, files.Remove(layout.Room)) // which would be kept for nothing
	}
	return nil
}

// Reserve takes room on the disk that going back may need.
func Reserve(files host.Files, size int64) error {
	return host.Hint(host.Reserve(files, layout.Room, size), "nothing was changed; make room on the disk of %s, then run the same command again", layout.Root)
}

// GoBack brings the old hub back, or completes that. It is not interrupted: half of it would be worse than either whole. A disk that is full
// keeps nobody from it: the room that was reserved makes it likely that it is journalled, and without that, too, the old hub comes back.
func GoBack(ctx context.Context, files host.Files, r *report.Reporter, s Switchover, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), BackLimit)
	defer cancel()
	err := files.Remove(layout.Room)
	var unwritten error
	if s.Phase() != Back && s.Phase() != Restored {
		if unwritten = s.Enter(Back, cause); unwritten != nil {
			r.Warn("", "%v; going back all the same", unwritten)
		}
	}
	err = errors.Join(err, s.Restore(ctx))
	if err != nil && unwritten != nil && s.Phase() == Back {
		err = errors.Join(err, s.Enter(Back, cause))
	}
	return s.GoneBack(cause, err)
}

// Load reads a journal; nil when nothing is under way. What says in words what it is about.
func Load[Journal any](files host.Files, file, what string) (*Journal, error) {
	data, err := files.Read(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read whether %s is under way: %w", what, err)
	}
	read := new(Journal)
	if err := json.Unmarshal(data, read); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", file, err)
	}
	return read, nil
}

// Write puts a journal on the disk, durably.
func Write(files host.Files, file string, journal any) error {
	data, err := json.Marshal(journal)
	if err != nil {
		return err
	}
	return files.Write(file, append(data, '\n'), host.Attr{Mode: 0o600})
}
