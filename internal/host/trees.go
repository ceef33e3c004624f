package host

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// MountedError tells that a tree can't be removed because something else is mounted in it.
type MountedError struct {
	Places []string
}

func (e *MountedError) Error() string {
	return "something is mounted at " + strings.Join(e.Places, ", ")
}

// RemoveWhole deletes p with all that is in it, as RemoveTree does, unless a file system is mounted there: what is on it may be anybody's.
func (f Files) RemoveWhole(p string) error {
	if err := f.unmounted(p); err != nil {
		return err
	}
	return f.RemoveTree(p)
}

// RemoveAtOnce is RemoveWhole for a tree that must not be taken for whole when it is half gone: from the first moment it has another name, one of
// Unfinished. An overlay keeps folders of its lower layers where they are: there, what is in folders named bin goes first.
func (f Files) RemoveAtOnce(p string) error {
	if err := f.unmounted(p); err != nil {
		return err
	}
	going := filepath.Join(filepath.Dir(p), ".tljh-gone-"+filepath.Base(p))
	if err := f.RemoveTree(going); err != nil {
		return err
	}
	err := f.Rename(p, going)
	if errors.Is(err, unix.EXDEV) {
		names, _ := f.List(p)
		for _, name := range names {
			if programs := filepath.Join(p, name, "bin"); f.Exists(programs) {
				if err := f.RemoveTree(programs); err != nil {
					return err
				}
			}
		}
		return f.RemoveTree(p)
	}
	if err != nil {
		return err
	}
	return f.RemoveTree(going)
}

func (f Files) unmounted(p string) error {
	places := f.Mounts(p)
	if len(places) == 0 {
		return nil
	}
	return Hint(fmt.Errorf("cannot remove %s: %w", p, &MountedError{places}), "umount %s, then run the same command again", places[0])
}

// Mounts returns where file systems are mounted at p or below it.
func (f Files) Mounts(p string) []string {
	table, err := f.Read("/proc/self/mountinfo")
	if err != nil {
		return nil // no Linux, or a folder that stands for one
	}
	places := []string{}
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		if place := unescapeMount(fields[4]); place == p || strings.HasPrefix(place, p+"/") {
			places = append(places, place)
		}
	}
	return places
}

var octal = regexp.MustCompile(`\\[0-7]{3}`)

// unescapeMount undoes how the kernel writes blanks and backslashes into its table of mounts.
func unescapeMount(text string) string {
	return octal.ReplaceAllStringFunc(text, func(code string) string {
		value, _ := strconv.ParseUint(code[1:], 8, 8)
		return string([]byte{byte(value)})
	})
}

// ReadOnly tells whether the file system of the folder p takes no changes.
func (f Files) ReadOnly(p string) bool {
	return errors.Is(unix.Access(f.Path(p), unix.W_OK), unix.EROFS)
}

// fetching begins the names that the script which fetches this program gives to what it has not finished.
const fetching = ".tljh-install."

// unfinishedName is that of what Write, Link, RemoveAtOnce and the script have not finished: who is killed leaves it.
var unfinishedName = regexp.MustCompile(`^\.tljh-((new-)?[0-9]+|link-[A-Z2-7]+|gone-.+|install\.[0-9]+)$`)

// Unfinished returns what killed runs left in the folder p: what never got its name, and what was on its way out.
func (f Files) Unfinished(p string) []string {
	names, _ := f.List(p)
	return slices.DeleteFunc(names, func(name string) bool { return !unfinishedName.MatchString(name) })
}

// ReadFile returns the contents of the regular file p, and false when there is none: nothing, a link or a folder.
func (f Files) ReadFile(p string) (data []byte, regular bool, err error) {
	info, err := f.Lstat(p)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil, false, nil
	}
	if err == nil {
		data, err = f.Read(p)
	}
	return data, err == nil, err
}
