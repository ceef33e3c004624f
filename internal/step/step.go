// Package step holds the kinds of step that a plan is made of: the smallest changes to a machine that can be checked,
// made and taken back one by one. Taking back rests on what a receipt tells of a step, not on the step. What a plan consists of, and in which order, is decided in package installer.
package step

import (
	"context"
	"encoding/json"

	"tljh/internal/host"
)

// State is what a step's Check found.
type State int

// Absent: nothing is there yet. Different: something is there, but not what is wanted. Same: nothing is to be done.
const (
	Absent State = iota
	Different
	Same
)

func (s State) String() string { return [...]string{"absent", "different", "same"}[s] }

// Context is what a step works with.
type Context struct {
	Host *host.Host

	// Progress tells how far a long Apply has come; bytes and total are 0 when they mean nothing. Never nil while a plan runs.
	Progress func(message string, bytes, total int64)

	// Tell tells people something that they should know, and that is no error. Never nil while a plan runs.
	Tell func(format string, args ...any)

	// Recorded returns the Fingerprint that was journalled when the step with this ID last ended well; "" if it never did.
	Recorded func(id string) string

	// Save keeps a copy of what stood at path before us, and returns where.
	Save func(path string, data []byte) (string, error)

	// Left returns what the step with this ID put in its place, as far as that is journalled.
	Left func(id string) []Left

	// The rest is for undoing. Aside returns where a file with these contents is kept that somebody changed; Deleted tells whether a path will be
	// gone, or is, by what was undone before; TakeAll tells that what people put into shared folders goes, too.
	Aside   func(path string, data []byte) string
	Deleted func(path string) bool
	TakeAll bool
}

// Step is one change to the machine.
type Step interface {
	// ID names the step in the receipt; it stays the same from release to release. Example: "file /etc/sudoers.d/tljh".
	ID() string
	// Title is one line for people, as an order: "write the sudo rules".
	Title() string
	// Check tells whether there is anything to do. It changes nothing.
	Check(ctx context.Context, c *Context) (State, error)
	// Before describes what Apply is about to replace. It is journalled first.
	Before(ctx context.Context, c *Context) (Before, error)
	// Apply makes the change. Run again after an interruption, it finishes the work.
	Apply(ctx context.Context, c *Context) error
}

// Fingerprinter is a step whose Check compares with what was journalled at its last good end.
type Fingerprinter interface {
	Fingerprint(c *Context) string
}

// Before is what stood where a step is about to make its change. It is kept in the receipt as JSON; fields are only ever added.
type Before struct {
	Existed bool            `json:"existed"`
	Mode    uint32          `json:"mode,omitempty"`
	UID     int             `json:"uid,omitempty"`
	GID     int             `json:"gid,omitempty"`
	SHA256  string          `json:"sha256,omitempty"` // of a file's contents
	Copy    string          `json:"copy,omitempty"`   // where a file's old contents were saved
	Target  string          `json:"target,omitempty"` // where a link led
	Active  bool            `json:"active,omitempty"` // a unit was running
	Enabled bool            `json:"enabled,omitempty"`
	More    json.RawMessage `json:"more,omitempty"`
}
