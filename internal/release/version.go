// Package release knows what a published release is: its version, its files, the signature that they are known by, and from which version
// one may go to which.
//
// What is done with a release on a machine is package installer's.
package release

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"tljh/internal/host"
)

// Reach is how many minors an upgrade may go at once. Each release knows how to take over from the minor before it, and only that is tested: whoever
// is further behind goes step by step.
const Reach = 1

// Version is MAJOR.MINOR.PATCH; Pre is what follows a hyphen in a build that is no release.
type Version struct {
	Major, Minor, Patch int
	Pre                 string
}

var versionForm = regexp.MustCompile(`^(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})(?:-([a-z0-9.]+))?$`)

// Parse reads a version.
func Parse(text string) (Version, error) {
	match := versionForm.FindStringSubmatch(text)
	if match == nil {
		return Version{}, fmt.Errorf("%q is no version: one is MAJOR.MINOR.PATCH, such as 0.7.2", text)
	}
	v := Version{Pre: match[4]}
	for n, part := range []*int{&v.Major, &v.Minor, &v.Patch} {
		*part, _ = strconv.Atoi(match[n+1]) // digits, and few of them
	}
	return v, nil
}

func (v Version) String() string {
	text := fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch)
	if v.Pre != "" {
		text += "-" + v.Pre
	}
	return text
}

// Compare is below 0 when v is older than other, and above when it is newer. What is no release comes before the release.
func (v Version) Compare(other Version) int {
	for _, pair := range [][2]int{{v.Major, other.Major}, {v.Minor, other.Minor}, {v.Patch, other.Patch}} {
		if pair[0] != pair[1] {
			return pair[0] - pair[1]
		}
	}
	switch {
	case v.Pre == other.Pre:
		return 0
	case v.Pre == "":
		return 1
	case other.Pre == "":
		return -1
	}
	return strings.Compare(v.Pre, other.Pre)
}

// Matches tells whether v is what a person asked for: a whole version, or MAJOR.MINOR for any patch of that.
func (v Version) Matches(wanted string) bool {
	return wanted == "" || wanted == v.String() || v.Pre == "" && wanted == fmt.Sprintf("%d.%d", v.Major, v.Minor)
}

// Move is what going from one version to another would be.
type Move int

// The moves. TooFar and Backward are none that an upgrade makes.
const (
	Forward Move = iota
	Nowhere
	Backward
	TooFar
)

// SkewError tells that an upgrade would be no step to the same or the next minor.
type SkewError struct {
	From, To Version
	Move     Move
}

func (e *SkewError) Error() string {
	if e.Move == Backward {
		return fmt.Sprintf("%s is older than %s, which is installed", e.To, e.From)
	}
	return fmt.Sprintf("%s is too far from %s, which is installed: an upgrade goes to the same or the next minor", e.To, e.From)
}

// MoveTo tells which move it is from v to another version. The first minor of a major comes after every minor of the one before: which was
// the last of those, no program can know.
func (v Version) MoveTo(to Version) Move {
	switch difference := v.Compare(to); {
	case difference == 0:
		return Nowhere
	case difference > 0:
		return Backward
	case v.Major == to.Major && to.Minor-v.Minor <= Reach, to.Major == v.Major+1 && to.Minor == 0:
		return Forward
	}
	return TooFar
}

// Next is the minor, as people type it, that an upgrade from v may go to on its way to another.
func (v Version) Next(to Version) string {
	if v.Major == to.Major {
		return fmt.Sprintf("%d.%d", v.Major, v.Minor+Reach)
	}
	return fmt.Sprintf("%d.0", v.Major+1)
}

// Judge refuses what is no step forward that an upgrade may take, and names the way to go instead. No step at all is no error.
func Judge(from, to Version) error {
	move := from.MoveTo(to)
	err := &SkewError{From: from, To: to, Move: move}
	switch move {
	case Backward:
		return host.Hint(err, "tljh-install rollback goes back to the release before, with the database of that time")
	case TooFar:
		next := from.Next(to)
		return host.Hint(err, "go to %s first: tljh-install upgrade --to %s; then run this command again", next, next)
	}
	return nil
}
