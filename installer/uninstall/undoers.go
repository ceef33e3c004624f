package uninstall

import (
	"context"
	"encoding/json"
	"path"
	"slices"
	"strings"

	"tljh/firewall"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/step"
)

// inRoot are the tasks, by how their IDs begin, that change nothing outside of our own folder, or nothing that outlives them. Receipts hold these
// IDs: none is ever taken out.
var inRoot = []string{
	"program ", "python", "uv", "fetch-", "hub-environment", "user-environment", "user-requirements", "user-packages", "cache", "old-hub-environments", "old-environments",
	"miniforge", "package manager", "follow", "older-",
	"shared folders closed",
}

// taskUndoer returns what takes a task back.
func taskUndoer(id string) step.Undoer {
	if root, ok := strings.CutPrefix(id, HomesTask); ok {
		return homesFolder{root}
	}
	if slices.ContainsFunc(inRoot, func(prefix string) bool { return strings.HasPrefix(id, prefix) }) {
		return nothing{}
	}
	return kept{"", "step", "this release does not know the step " + id + " of the receipt"}
}

// KnownTask reports whether it is known how a task, which the receipt names, is taken back.
func KnownTask(id string) bool {
	_, unknown := taskUndoer(id).(kept)
	return !unknown
}

// nothing is for what needs no undoing of its own.
type nothing struct{}

func (nothing) Fate(context.Context, *step.Context, step.Trace) (step.Fate, error) {
	return step.Fate{}, nil
}

func (nothing) Undo(context.Context, *step.Context, step.Trace) error { return nil }

// kept is what stays.
type kept struct{ path, kind, why string }

func (k kept) Fate(_ context.Context, c *step.Context, _ step.Trace) (step.Fate, error) {
	fate := step.Fate{Kind: k.kind, What: k.path, Why: k.why}
	if k.path == "" || c.Host.Files.Exists(k.path) {
		fate.Verb = step.Keep
	}
	return fate, nil
}

func (kept) Undo(context.Context, *step.Context, step.Trace) error { return nil }

// tree goes with all that is in it.
type tree struct {
	path, kind string
	atOnce     bool // half of it must not be taken for all of it
}

func (t tree) Fate(_ context.Context, c *step.Context, _ step.Trace) (step.Fate, error) {
	fate := step.Fate{Kind: t.kind, What: t.path}
	if c.Host.Files.Exists(t.path) {
		fate.Verb = step.Delete
	}
	return fate, nil
}

func (t tree) Undo(_ context.Context, c *step.Context, _ step.Trace) error {
	if t.atOnce {
		return c.Host.Files.RemoveAtOnce(t.path)
	}
	return c.Host.Files.RemoveWhole(t.path)
}

// stateFolder is the folder of state, whose receipt goes last: it tells that what is there is ours.
type stateFolder struct{ tree }

func (s stateFolder) Undo(_ context.Context, c *step.Context, _ step.Trace) error {
	names, err := c.Host.Files.List(s.path)
	for _, name := range names {
		if p := path.Join(s.path, name); p != layout.Receipt && err == nil {
			err = c.Host.Files.RemoveWhole(p)
		}
	}
	if err != nil {
		return err
	}
	return c.Host.Files.RemoveWhole(s.path)
}

// ownFolder is our folder, which may be a file system of its own.
type ownFolder struct{ step.Dir }

func (o ownFolder) Fate(ctx context.Context, c *step.Context, t step.Trace) (step.Fate, error) {
	if slices.Contains(c.Host.Files.Mounts(o.Path), o.Path) {
		return step.Fate{Verb: step.Keep, Kind: "folder", What: o.Path, Why: "it is a file system of its own"}, nil
	}
	return o.Dir.Fate(ctx, c, t)
}

func (o ownFolder) Undo(ctx context.Context, c *step.Context, t step.Trace) error {
	if fate, err := o.Fate(ctx, c, t); err != nil || fate.Verb != step.Delete {
		return err
	}
	return o.Dir.Undo(ctx, c, t)
}

// server is a user's server.
type server struct{ unit string }

func (s server) Fate(ctx context.Context, c *step.Context, _ step.Trace) (step.Fate, error) {
	fate := step.Fate{Kind: "server", What: s.unit}
	if !c.Host.Files.IsRunning() {
		return fate, nil
	}
	unit, err := c.Host.Systemd.Unit(ctx, s.unit)
	if unit.Load != "not-found" && unit.Active != "inactive" {
		fate.Verb = step.Stop
	}
	return fate, err
}

func (s server) Undo(ctx context.Context, c *step.Context, _ step.Trace) error {
	return step.StopUnit(ctx, c, s.unit)
}

// filter is the packet filter for users' ports, which is in the kernel alone.
type filter struct{}

func (filter) Fate(_ context.Context, c *step.Context, _ step.Trace) (step.Fate, error) {
	fate := step.Fate{Kind: "packet filter", What: "table inet " + firewall.Table}
	if c.Host.Files.Exists(layout.Firewall) {
		fate.Verb = step.Delete
	}
	return fate, nil
}

// Undo has the program remove the table. One that cannot be removed is gone with the next start of the machine.
func (filter) Undo(ctx context.Context, c *step.Context, _ step.Trace) error {
	if state, _ := firewall.Read(c.Host.Files); state.Closed && c.Host.Files.Exists(layout.Binary) {
		if _, err := c.Host.Runner.Run(ctx, host.Command{Argv: []string{layout.Binary, "firewall", "remove"}}); err != nil {
			return host.Hint(err, "nft delete table inet %s", firewall.Table)
		}
	}
	return c.Host.Files.Remove(layout.Firewall)
}

// wanted is a link by which a unit of ours is started at boot. While the unit is there, enabling and disabling is systemd's.
type wanted struct{ link, unit string }

func (w wanted) Fate(_ context.Context, c *step.Context, _ step.Trace) (step.Fate, error) {
	fate := step.Fate{Kind: "link", What: w.link}
	if c.Host.Files.Exists(w.link) && !c.Host.Files.Exists(w.unit) {
		fate.Verb = step.Delete
	}
	return fate, nil
}

func (w wanted) Undo(_ context.Context, c *step.Context, _ step.Trace) error {
	if err := c.Host.Files.Remove(w.link); err != nil {
		return err
	}
	names, err := c.Host.Files.List(path.Dir(w.link))
	if err != nil || len(names) > 0 {
		return err
	}
	return c.Host.Files.Remove(path.Dir(w.link))
}

// restart starts what ran before us, once its own file is back.
type restart struct{ unit string }

func (r restart) Fate(ctx context.Context, c *step.Context, _ step.Trace) (step.Fate, error) {
	fate := step.Fate{Kind: "unit", What: r.unit, Why: "it ran before"}
	data, regular, err := c.Host.Files.ReadFile(path.Join(layout.Units, r.unit))
	if err != nil || !regular || step.Marked(data) || !c.Host.Files.IsRunning() {
		return fate, err
	}
	unit, err := c.Host.Systemd.Unit(ctx, r.unit)
	if unit.Active != "active" {
		fate.Verb = step.Restore
	}
	return fate, err
}

func (r restart) Undo(ctx context.Context, c *step.Context, _ step.Trace) error {
	return c.Host.Systemd.Do(ctx, "start", r.unit)
}

// HomesTask begins the IDs of the steps that make a folder for homes; its path follows.
const HomesTask = "folder for homes "

// homesFolder is a folder for homes that we made, with those on the way there.
type homesFolder struct{ root string }

// made are the folders, the deepest first. Older receipts tell only that the last one was made.
func (h homesFolder) made(t step.Trace) []string {
	made := []string{}
	switch {
	case t.First == nil:
	case t.First.More != nil:
		_ = json.Unmarshal(t.First.More, &made) // what can't be read is not deleted
	case !t.First.Existed:
		made = append(made, h.root)
	}
	return made
}

func (h homesFolder) Fate(_ context.Context, c *step.Context, t step.Trace) (step.Fate, error) {
	fate := step.Fate{Kind: "folder", What: h.root}
	names, err := c.Host.Files.List(h.root)
	switch {
	case err != nil || len(h.made(t)) == 0 || !c.Host.Files.Exists(h.root):
	case slices.ContainsFunc(names, func(name string) bool { return !c.Deleted(path.Join(h.root, name)) }):
		fate.Verb, fate.Why = step.Keep, "it is not empty"
	default:
		fate.Verb = step.Delete
	}
	return fate, err
}

func (h homesFolder) Undo(_ context.Context, c *step.Context, t step.Trace) error {
	for _, dir := range h.made(t) {
		names, err := c.Host.Files.List(dir)
		if err != nil || len(names) > 0 {
			return err
		}
		if err := c.Host.Files.Remove(dir); err != nil {
			return err
		}
	}
	return nil
}
