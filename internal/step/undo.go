package step

import (
	"bytes"
	"context"
	"slices"
	"strings"

	"tljh/internal/host"
)

// Trace is what a receipt tells of a step. It is all that undoing rests on: neither the plan that the step was part of nor the config is
// needed, and any release's receipt will do.
type Trace struct {
	ID    string
	By    string  // the release that applied it first
	First *Before // what stood there before we came; nil when the receipt does not tell
	Left  []Left  // what we put there since; none when the receipt does not tell
}

// Left is what a step puts in its place. It is journalled before the step begins: whatever is found there later is ours if it is one of these.
type Left struct {
	SHA256 string `json:"sha256,omitempty"` // of a file's contents
	Target string `json:"target,omitempty"` // where a link leads
}

// Leaver is a step that knows beforehand what it is going to leave.
type Leaver interface {
	Leaves() Left
}

// Verb is what undoing does with a thing.
type Verb string

// Nothing is for what has gone already, and for what never was ours.
const (
	Nothing  Verb = ""
	Stop     Verb = "stop"
	Delete   Verb = "delete"
	Restore  Verb = "restore"   // what stood there before us comes back
	SetAside Verb = "set-aside" // somebody changed it: it goes to another place, where it does nothing
	Close    Verb = "close"     // it stays, and only root gets in
	Keep     Verb = "keep"
)

// Fate is what undoing does with a thing, and why.
type Fate struct {
	Verb Verb   `json:"do"`
	Kind string `json:"kind"` // unit, file, link, folder, group, account …
	What string `json:"what"`
	To   string `json:"to,omitempty"` // where it goes
	Why  string `json:"why,omitempty"`
}

// Undoer takes a step back. It uses nothing of the step but its name.
type Undoer interface {
	// Fate tells what Undo is going to do. It changes nothing.
	Fate(ctx context.Context, c *Context, t Trace) (Fate, error)
	// Undo does it. Interrupted, it can be done again.
	Undo(ctx context.Context, c *Context, t Trace) error
}

// kinds are the steps of this package by how their IDs begin. Receipts hold these words: they are never changed.
var kinds = []struct {
	prefix string
	path   bool // a path follows, which tells it from other steps that begin with the same words
	make   func(name string) Undoer
}{
	{"file ", true, func(name string) Undoer { return File{Path: name} }},
	{"no file ", true, func(name string) Undoer { return Gone{Path: name} }},
	{"secret ", true, func(name string) Undoer { return Secret{Path: name} }},
	{"link ", true, func(name string) Undoer { return Link{Path: name} }},
	{"folder ", true, func(name string) Undoer { return Dir{Path: name} }},
	{"shared folder ", true, func(name string) Undoer { return Shared{Path: name} }},
	{"group ", false, func(name string) Undoer { return Group{Name: name} }},
	{"account ", false, func(name string) Undoer { return Account{Name: name} }},
	{"unit ", false, func(name string) Undoer { return Unit{Name: name} }},
}

// ByID returns what takes the step with an ID back, and the name or path in it. It is false for IDs that are no step's of this package: a Task is
// known by whoever made it.
func ByID(id string) (u Undoer, name string, ok bool) {
	for _, kind := range kinds {
		name, found := strings.CutPrefix(id, kind.prefix)
		if found && name != "" && (!kind.path || strings.HasPrefix(name, "/")) {
			return kind.make(name), name, true
		}
	}
	return nil, "", false
}

// Mark stands in the first line of files that we write among those of others.
const Mark = "Made by tljh-install"

// Marked tells whether a file says that it is ours.
func Marked(data []byte) bool {
	line, _, _ := bytes.Cut(data, []byte("\n"))
	return bytes.Contains(line, []byte(Mark))
}

func (t Trace) left(what Left) bool { return slices.Contains(t.Left, what) }

// stood tells whether something of others was there before us that can be put back. What is ours, of an installation whose receipt was lost,
// is not put back.
func (t Trace) stood(c *Context) bool {
	switch {
	case t.First == nil || !t.First.Existed:
		return false
	case t.First.Target != "":
		return !t.left(Left{Target: t.First.Target})
	case t.First.Copy == "":
		return false
	}
	data, regular, err := c.Host.Files.ReadFile(t.First.Copy)
	return err == nil && regular && !Marked(data)
}

const (
	wasChanged  = "it was changed since"
	isUntold    = "the receipt does not say whether it was changed"
	isOther     = "something else is there now"
	thereBefore = "it was there before"
)

// Fate implements Undoer.
func (f File) Fate(_ context.Context, c *Context, t Trace) (Fate, error) {
	fate := Fate{Kind: "file", What: f.Path}
	data, regular, err := c.Host.Files.ReadFile(f.Path)
	if err != nil {
		return fate, err
	}
	sum := host.SHA256(data)
	switch {
	case !regular && !c.Host.Files.Exists(f.Path):
	case !regular && t.First != nil && t.First.Target != "":
		// It is a link again.
	case !regular:
		fate.Verb, fate.Why = Keep, isOther
	case t.First == nil && len(t.Left) == 0 && !Marked(data):
		// Nothing says that it is ours.
	case t.First != nil && t.First.SHA256 == sum && t.stood(c):
		// What stood there before is there again.
	case t.left(Left{SHA256: sum}) && t.stood(c):
		fate.Verb = Restore
	case t.left(Left{SHA256: sum}):
		fate.Verb = Delete
	default:
		fate.Verb, fate.To, fate.Why = SetAside, c.Aside(f.Path, data), wasChanged
		if len(t.Left) == 0 {
			fate.Why = isUntold
		}
	}
	return fate, nil
}

// Undo implements Undoer.
func (f File) Undo(ctx context.Context, c *Context, t Trace) error {
	fate, err := f.Fate(ctx, c, t)
	if err != nil {
		return err
	}
	switch fate.Verb {
	case SetAside:
		if err := setAside(c, f.Path, fate.To); err != nil {
			return err
		}
	case Restore, Delete:
	default:
		return nil
	}
	if t.stood(c) {
		return restore(c, f.Path, *t.First)
	}
	return c.Host.Files.Remove(f.Path)
}

// setAside keeps a copy; the caller removes the file.
func setAside(c *Context, path, to string) error {
	info, err := c.Host.Files.Lstat(path)
	if err != nil {
		return err
	}
	data, err := c.Host.Files.Read(path)
	if err != nil {
		return err
	}
	if err := c.Host.Files.MkdirAll(parent(to), host.Attr{Mode: 0o700}); err != nil {
		return err
	}
	return c.Host.Files.Write(to, data, host.AttrOf(info))
}

func parent(path string) string { return path[:strings.LastIndexByte(path, '/')] }

// Fate implements Undoer.
func (s Secret) Fate(_ context.Context, c *Context, t Trace) (Fate, error) {
	fate := Fate{Kind: "file", What: s.Path}
	switch {
	case !c.Host.Files.Exists(s.Path):
	case t.First == nil || t.First.Existed:
		fate.Verb, fate.Why = Keep, thereBefore
	default:
		fate.Verb = Delete
	}
	return fate, nil
}

// Undo implements Undoer.
func (s Secret) Undo(ctx context.Context, c *Context, t Trace) error {
	return remove(ctx, c, s, t, s.Path)
}

// remove deletes a path whose fate is that.
func remove(ctx context.Context, c *Context, u Undoer, t Trace, path string) error {
	fate, err := u.Fate(ctx, c, t)
	if err != nil || fate.Verb != Delete {
		return err
	}
	return c.Host.Files.Remove(path)
}

// Fate implements Undoer: what we took away comes back if it was not ours, and nobody put something else there.
func (g Gone) Fate(_ context.Context, c *Context, t Trace) (Fate, error) {
	fate := Fate{Kind: "file", What: g.Path}
	if t.stood(c) && !c.Host.Files.Exists(g.Path) {
		fate.Verb = Restore
	}
	return fate, nil
}

// Undo implements Undoer.
func (g Gone) Undo(ctx context.Context, c *Context, t Trace) error {
	fate, err := g.Fate(ctx, c, t)
	if err != nil || fate.Verb != Restore {
		return err
	}
	return restore(c, g.Path, *t.First)
}

// Fate implements Undoer. A folder that is not empty stays: what is in it is not ours.
func (d Dir) Fate(_ context.Context, c *Context, t Trace) (Fate, error) {
	fate := Fate{Kind: "folder", What: d.Path}
	info, err := c.Host.Files.Lstat(d.Path)
	if err != nil || !info.IsDir() {
		return fate, ignoreAbsent(err)
	}
	if t.First == nil || t.First.Existed {
		if t.First != nil && host.AttrOf(info) != t.First.attr() {
			fate.Verb, fate.Why = Restore, "with the owner and mode that it had"
		}
		return fate, nil
	}
	names, err := c.Host.Files.List(d.Path)
	unfinished := c.Host.Files.Unfinished(d.Path)
	names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(unfinished, name) || c.Deleted(d.Path+"/"+name) })
	if err == nil && len(names) == 0 {
		fate.Verb = Delete
		return fate, nil
	}
	fate.Verb, fate.Why = Keep, "it is not empty"
	return fate, err
}

// Undo implements Undoer.
func (d Dir) Undo(ctx context.Context, c *Context, t Trace) error {
	fate, err := d.Fate(ctx, c, t)
	if err != nil {
		return err
	}
	switch fate.Verb {
	case Restore:
		return c.Host.Files.Mkdir(d.Path, t.First.attr())
	case Delete:
		for _, name := range c.Host.Files.Unfinished(d.Path) {
			if err := c.Host.Files.Remove(d.Path + "/" + name); err != nil {
				return err
			}
		}
		return c.Host.Files.Remove(d.Path)
	}
	return nil
}

// Fate implements Undoer.
func (l Link) Fate(_ context.Context, c *Context, t Trace) (Fate, error) {
	fate := Fate{Kind: "link", What: l.Path}
	target, err := c.Host.Files.Readlink(l.Path)
	switch {
	case !c.Host.Files.Exists(l.Path) || t.First == nil && len(t.Left) == 0:
	case err != nil:
		fate.Verb, fate.Why = Keep, isOther
	case t.left(Left{Target: target}) && t.stood(c):
		fate.Verb = Restore
	case t.left(Left{Target: target}):
		fate.Verb = Delete
	case t.First != nil && t.First.Target == target:
		// It leads where it led before.
	case t.First != nil:
		fate.Verb, fate.Why = Keep, "it leads elsewhere now, to "+target
	}
	return fate, nil
}

// Undo implements Undoer.
func (l Link) Undo(ctx context.Context, c *Context, t Trace) error {
	fate, err := l.Fate(ctx, c, t)
	if err != nil {
		return err
	}
	switch fate.Verb {
	case Restore:
		return restore(c, l.Path, *t.First)
	case Delete:
		return c.Host.Files.Remove(l.Path)
	}
	return nil
}

// Fate implements Undoer.
func (g Group) Fate(ctx context.Context, c *Context, t Trace) (Fate, error) {
	fate := Fate{Kind: "group", What: g.Name}
	state, err := g.Check(ctx, c)
	return madeByUs(fate, state, t), err
}

// madeByUs is the fate of what is either there or not, and ours if it was not there before.
func madeByUs(fate Fate, state State, t Trace) Fate {
	switch {
	case state != Same:
	case t.First == nil || t.First.Existed:
		fate.Verb, fate.Why = Keep, thereBefore
	default:
		fate.Verb = Delete
	}
	return fate
}

// Undo implements Undoer.
func (g Group) Undo(ctx context.Context, c *Context, t Trace) error {
	fate, err := g.Fate(ctx, c, t)
	if err != nil || fate.Verb != Delete {
		return err
	}
	return run(ctx, c, "groupdel", g.Name)
}

// Fate implements Undoer. A power cut may have left the account's group without the account.
func (a Account) Fate(ctx context.Context, c *Context, t Trace) (Fate, error) {
	fate := Fate{Kind: "account", What: a.Name}
	state, err := a.Check(ctx, c)
	if err == nil && state == Absent {
		return Group(a).Fate(ctx, c, t)
	}
	return madeByUs(fate, state, t), err
}

// Undo implements Undoer.
func (a Account) Undo(ctx context.Context, c *Context, t Trace) error {
	fate, err := a.Fate(ctx, c, t)
	if err != nil || fate.Verb != Delete {
		return err
	}
	if fate.Kind == "group" {
		return run(ctx, c, "groupdel", a.Name)
	}
	return DeleteAccount(ctx, c, a.Name)
}

// DeleteAccount ends what an account runs, and deletes it with its own group. Its home stays.
func DeleteAccount(ctx context.Context, c *Context, name string) error {
	uid, gid, err := c.Host.Files.AccountIDs(name)
	if err != nil {
		return err
	}
	if err := c.Host.Files.End(ctx, func(p host.Process) bool { return p.UID == uid }); err != nil {
		return err
	}
	if err := run(ctx, c, "userdel", name); err != nil {
		return err
	}
	// Whether userdel deletes the group, too, is up to the machine's settings.
	if group, err := c.Host.Files.GroupID(name); err != nil || group != gid {
		return nil
	}
	return run(ctx, c, "groupdel", name)
}

// Fate implements Undoer.
func (u Unit) Fate(ctx context.Context, c *Context, _ Trace) (Fate, error) {
	fate := Fate{Kind: "unit", What: u.Name}
	if !c.Host.Files.IsRunning() {
		return fate, nil
	}
	unit, err := c.Host.Systemd.Unit(ctx, u.Name)
	if unit.Active != "inactive" || unit.Enabled == "enabled" {
		fate.Verb = Stop
	}
	return fate, err
}

// Undo implements Undoer. One that was to start at boot before us stays so: its own file comes back.
func (u Unit) Undo(ctx context.Context, c *Context, t Trace) error {
	fate, err := u.Fate(ctx, c, t)
	if err != nil || fate.Verb != Stop {
		return err
	}
	unit, err := c.Host.Systemd.Unit(ctx, u.Name)
	if err == nil && unit.Enabled == "enabled" && (t.First == nil || !t.First.Enabled) {
		err = c.Host.Systemd.Disable(ctx, u.Name)
	}
	if err != nil {
		return err
	}
	return StopUnit(ctx, c, u.Name)
}

// StopUnit stops a unit, and lets systemd forget how it ended.
func StopUnit(ctx context.Context, c *Context, name string) error {
	if err := c.Host.Systemd.Do(ctx, "stop", name); err != nil {
		return err
	}
	return c.Host.Systemd.Do(ctx, "reset-failed", name)
}

// Fate implements Undoer. What people put into a shared folder is theirs.
func (s Shared) Fate(_ context.Context, c *Context, t Trace) (Fate, error) {
	fate := Fate{Kind: "shared folder", What: s.Path}
	info, err := c.Host.Files.Lstat(s.Path)
	if err != nil || !info.IsDir() {
		return fate, ignoreAbsent(err)
	}
	names, err := c.Host.Files.List(s.Path)
	ours := t.First != nil && !t.First.Existed
	closed := host.AttrOf(info).Mode == 0o700
	switch {
	case err != nil:
	case ours && (c.TakeAll || len(names) == 0):
		fate.Verb = Delete
	case t.First != nil && t.First.Existed && host.AttrOf(info) != t.First.attr():
		fate.Verb, fate.Why = Restore, "with the owner and mode that it had"
	case ours && !closed:
		fate.Verb = Close
	default:
		fate.Verb = Keep
	}
	return fate, err
}

// Undo implements Undoer.
func (s Shared) Undo(ctx context.Context, c *Context, t Trace) error {
	fate, err := s.Fate(ctx, c, t)
	if err != nil {
		return err
	}
	switch fate.Verb {
	case Delete:
		return c.Host.Files.RemoveWhole(s.Path)
	case Close:
		return c.Host.Files.CloseTree(s.Path)
	case Restore:
		if err := c.Host.Files.CloseTree(s.Path); err != nil {
			return err
		}
		return c.Host.Files.Mkdir(s.Path, t.First.attr())
	}
	return nil
}
