package environment

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"tljh/internal/host"
	"tljh/internal/layout"
)

// Repairer mends a user environment: in its place, or by another that is made from a snapshot.
type Repairer struct{ *Builder }

// Way is how a candidate for a repair is made.
type Way int

// The ways, the one that needs no network first.
const (
	FromFiles  Way = iota // a snapshot's own files; what is broken in them is fetched
	FromSource            // all of its packages are fetched
)

// Candidate is a state that the user environment can be brought to. Making it changes nothing that anybody uses.
type Candidate struct {
	Snapshot Snapshot // of number 0: what is installed now
	Way      Way
	Loss     []string // what is different from what is installed now, as Difference has it
}

func (c Candidate) String() string {
	what := fmt.Sprintf("snapshot %d", c.Snapshot.Number)
	if c.Snapshot.Number == 0 {
		what = "the packages that are installed now"
	}
	if c.Way == FromSource {
		return what + ", fetched again"
	}
	return what
}

// Candidates returns what a repair may try, that which loses least first. Of several with the same packages the newest comes first.
func (b Repairer) Candidates() ([]Candidate, error) {
	all, err := Snapshots(b.Host.Files)
	if err != nil {
		return nil, err
	}
	now, there, err := b.now()
	if err != nil {
		return nil, err
	}
	found := []Candidate{}
	if there {
		found = append(found, Candidate{Snapshot: now, Way: FromSource})
	}
	for _, each := range slices.Backward(Lineage(all).changes()) {
		same := func(c Candidate) bool { return c.Way == FromFiles && sameState(c.Snapshot, each) }
		if each.Broken != "" || slices.ContainsFunc(found, same) {
			continue
		}
		loss := []string{}
		if there {
			loss = Difference(now.Packages, each.Packages)
		}
		found = append(found, Candidate{each, FromFiles, loss}, Candidate{each, FromSource, loss})
	}
	slices.SortStableFunc(found, func(a, b Candidate) int {
		if d := lost(a.Loss) - lost(b.Loss); d != 0 {
			return d
		}
		if d := len(a.Loss) - len(b.Loss); d != 0 {
			return d
		}
		return int(a.Way - b.Way)
	})
	return found, nil
}

func sameState(a, b Snapshot) bool {
	return strings.Join(Pins(a.Packages), " ") == strings.Join(Pins(b.Packages), " ")
}

// lost counts the packages that are gone: worse than any that has another version.
func lost(changes []string) int {
	n := 0
	for _, change := range changes {
		if strings.HasPrefix(change, "-") {
			n++
		}
	}
	return n
}

// now describes the live user environment as a snapshot would. Nothing is kept.
func (b Repairer) now() (Snapshot, bool, error) {
	live, ok := Current(b.Host.Files, User)
	if !ok {
		return Snapshot{}, false, nil
	}
	packages, _, err := Packages(b.Host.Files, live.Path())
	if err != nil {
		return Snapshot{}, false, err
	}
	now := Snapshot{From: live.Path(), Manager: live.Manager, Packages: packages}
	return now, true, now.describe(b.Host.Files)
}

// Make builds a candidate as a generation that is not live, and that passes the check. own hands its folder over: what is installed there runs as its owner.
func (b Repairer) Make(ctx context.Context, c Candidate, own func(dir string) error) (Generation, error) {
	snapshot := c.Snapshot
	if c.Way == FromSource {
		return b.build(ctx, snapshot.generation(), func(ctx context.Context, dir string) error {
			if err := b.Manager(snapshot.Manager).Rebuild(ctx, dir, snapshot); err != nil {
				return err
			}
			return own(dir)
		}, b.mustPass(snapshot.Manager))
	}
	if !b.Host.Files.Exists(snapshot.meta()) {
		return Generation{}, fmt.Errorf("snapshot %d is not there any more", snapshot.Number)
	}
	fill := func(_ context.Context, dir string) error {
		if err := b.copyOf(snapshot.tree(), snapshot.From, snapshot.Manager, dir); err != nil {
			return err
		}
		return own(dir)
	}
	return b.build(ctx, snapshot.generation(), fill, b.mustPass(snapshot.Manager))
}

// mustPass checks an environment that is being made, and repairs what is broken there.
func (b Repairer) mustPass(manager string) func(ctx context.Context, dir string) error {
	return func(ctx context.Context, dir string) error {
		health, err := b.examine(ctx, dir, manager)
		if err != nil || health.Healthy() {
			return err
		}
		if err := b.reinstall(ctx, dir, manager, health.Troubles); err != nil {
			return errors.Join(health.err(), err)
		}
		if health, err = b.examine(ctx, dir, manager); err != nil {
			return err
		}
		return health.err()
	}
}

// reinstall installs what is broken again, and removes what a killed pip left.
func (b Repairer) reinstall(ctx context.Context, dir, manager string, troubles []Trouble) error {
	return errors.Join(removeLeftovers(b.Host.Files, dir), b.Manager(manager).Reinstall(ctx, dir, troubles))
}

func (h Health) err() error {
	if h.Healthy() {
		return nil
	}
	return errors.New(h.Words())
}

// Words are the first of what is wrong, in a line; "" for nothing.
func (h Health) Words() string {
	if h.Healthy() {
		return ""
	}
	words := h.Troubles[0].Words
	if name := h.Troubles[0].Package; name != "" {
		words = name + ": " + words
	}
	if more := len(h.Troubles) - 1; more > 0 {
		words += fmt.Sprintf(" (and %d more)", more)
	}
	return words
}

// keepAside copies the live user environment while it is repaired in its place. The files are hard links: what a repair replaces is still there.
func (b Repairer) keepAside(live Generation) (aside string, err error) {
	aside = live.Path() + asideSuffix
	if err := b.Host.Files.RemoveTree(aside); err != nil {
		return aside, err
	}
	return aside, b.Host.Files.LinkTree(live.Path(), aside)
}

// asideSuffix ends the name of the copy of a generation that is being repaired in its place.
const asideSuffix = ".aside"

// RemoveAsides deletes what interrupted repairs left.
func RemoveAsides(files host.Files) error {
	names, err := files.List(layout.Generations)
	for _, name := range names {
		if strings.HasPrefix(name, string(User)+"-") && strings.HasSuffix(name, asideSuffix) {
			err = errors.Join(err, files.RemoveTree(path.Join(layout.Generations, name)))
		}
	}
	return err
}

// RepairInPlace installs what is broken again, in the live user environment, so that what runs there has it at once. Where that does not lead to a healthy
// environment, it is as it was before.
func (b Repairer) RepairInPlace(ctx context.Context, troubles []Trouble, own func() error) (Health, error) {
	live, ok := Current(b.Host.Files, User)
	if !ok {
		return Health{}, errNoUserEnvironment
	}
	if live.Manager == "conda" && b.BaseDamaged() != "" {
		if err := b.EnsureMiniforge(ctx); err != nil {
			return Health{}, err
		}
	}
	aside, err := b.keepAside(live)
	if err != nil {
		return Health{}, errors.Join(err, b.Host.Files.RemoveTree(aside))
	}
	repairErr := b.reinstall(ctx, live.Path(), live.Manager, troubles)
	health, err := b.Examine(ctx)
	if err == nil && health.Healthy() {
		return health, errors.Join(own(), b.Host.Files.RemoveTree(aside))
	}
	err = errors.Join(repairErr, err)
	if swapErr := b.Host.Files.Exchange(aside, live.Path()); swapErr != nil {
		return health, errors.Join(err, swapErr)
	}
	return health, errors.Join(err, own(), b.Host.Files.RemoveTree(aside))
}

// Passes reports whether a generation passes the check.
func (b Repairer) Passes(ctx context.Context, one Generation) bool {
	health, err := b.examine(ctx, one.Path(), one.Manager)
	return err == nil && health.Healthy()
}

// Restore makes a generation of the newest snapshot that passes the check, where no user environment is there any more. It is false where there is none.
func (b Repairer) Restore(ctx context.Context, own func(dir string) error, tell func(format string, args ...any)) (Generation, bool, error) {
	all, err := Snapshots(b.Host.Files)
	if err != nil {
		return Generation{}, false, err
	}
	for _, each := range slices.Backward(Lineage(all).changes()) {
		if each.Broken != "" {
			continue
		}
		candidate := Candidate{Snapshot: each}
		generation, err := b.Make(ctx, candidate, own)
		if err == nil || ctx.Err() != nil {
			return generation, true, err
		}
		tell("%s cannot be restored: %v", candidate, err)
	}
	return Generation{}, false, nil
}
