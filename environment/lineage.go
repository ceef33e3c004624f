package environment

import (
	"maps"
	"slices"
	"time"
)

// Lineage is the list of snapshots, oldest first, as a line that one goes back and forth on, as with undo and redo.
type Lineage []Snapshot

// find returns the snapshot of a number; nil where it is gone.
func (l Lineage) find(number int) *Snapshot {
	n := slices.IndexFunc(l, func(s Snapshot) bool { return s.Number == number })
	if n < 0 {
		return nil
	}
	return &l[n]
}

// changes returns the snapshots of changes: all but those that only say that somebody went back.
func (l Lineage) changes() Lineage {
	return slices.DeleteFunc(slices.Clone(l), func(s Snapshot) bool { return s.Of != 0 })
}

// base returns the change whose state the newest snapshot has; 0 for none.
func (l Lineage) base() int {
	if len(l) == 0 {
		return 0
	}
	newest := l[len(l)-1]
	if newest.Of != 0 {
		return newest.Of
	}
	return newest.Number
}

// parent returns the change that another was made after: the one that is noted, or, where that is gone or of a release that noted none, the newest one
// before.
func (l Lineage) parent(number int) *Snapshot {
	child := l.find(number)
	before := number - 1
	if child != nil && child.Parent != 0 {
		before = child.Parent
	}
	var found *Snapshot
	for _, each := range l.changes() {
		if each.Number <= before {
			found = &each
		}
	}
	return found
}

// Back returns the snapshot that a rollback leads to from packages that are installed now: the last healthy change before, with other packages; nil for
// none.
func (l Lineage) Back(now map[string]string) *Snapshot {
	number := l.base()
	at := l.find(number)
	if at != nil && !maps.Equal(at.Packages, now) && at.Broken == "" {
		return at // something was changed since, and not kept
	}
	for at = l.parent(number); at != nil; at = l.parent(at.Number) {
		if at.Broken == "" && !maps.Equal(at.Packages, now) {
			return at
		}
	}
	return nil
}

// Forward returns the snapshot that a redo leads to: the next healthy change on the line that was gone back on; nil for none.
func (l Lineage) Forward() *Snapshot {
	if len(l) == 0 || l[len(l)-1].Of == 0 {
		return nil
	}
	newest := l[len(l)-1]
	var next *Snapshot
	for at := l.find(newest.Tip); at != nil && at.Number != newest.Of; at = l.parent(at.Number) {
		if at.Number < newest.Of {
			return nil // the line does not lead here
		}
		if at.Broken == "" {
			next = at
		}
	}
	return next
}

// tip returns the last change of the line that is gone back on.
func (l Lineage) tip() int {
	if len(l) == 0 {
		return 0
	}
	newest := l[len(l)-1]
	if newest.Of != 0 && newest.Tip != 0 {
		return newest.Tip
	}
	return l.base()
}

// How long snapshots are kept: all of the last day and the last ten, then the last of each day for a month, then the last of each month for a year. The
// first one and those that have a name stay.
const (
	keptAll    = 24 * time.Hour
	keptDaily  = 31 * 24 * time.Hour
	keptYearly = 366 * 24 * time.Hour
	keptNewest = 10
	keptMost   = 60 // in all, but for those that always stay: an admin may script hundreds of changes a day
)

// Superfluous returns the snapshots that need not be kept at a time.
func (l Lineage) Superfluous(now time.Time) []Snapshot {
	stay := map[int]bool{}
	for n, each := range l {
		if n == 0 || each.Name != "" {
			stay[each.Number] = true
		}
	}
	periods, kept := map[string]bool{}, 0
	for n, each := range slices.Backward(l) {
		age := now.Sub(each.Time)
		period := ""
		switch {
		case len(l)-n <= keptNewest:
		case each.Of != 0 || age > keptYearly || kept >= keptMost:
			continue
		case age <= keptAll:
		case each.Broken != "":
			continue
		case age <= keptDaily:
			period = each.Time.Format(time.DateOnly)
		default:
			period = each.Time.Format("2006-01")
		}
		if period != "" && periods[period] {
			continue
		}
		periods[period] = period != ""
		if !stay[each.Number] {
			kept++
		}
		stay[each.Number] = true
	}
	return slices.DeleteFunc(slices.Clone(l), func(s Snapshot) bool { return stay[s.Number] })
}
