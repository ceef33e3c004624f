package host

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Access is what someone may do with a shared tree.
type Access int

// Readers see and open everything, writers change it as well.
const (
	Reader Access = 4
	Writer Access = 6
)

// ErrNoACL tells that a file system keeps no access control lists.
var ErrNoACL = errors.New("this file system keeps no access control lists (ACLs)")

// ACL opens a tree for groups, by their numbers, and for Others. Whoever is not named is kept out; the owner of each file may do all.
type ACL map[int]Access

// Others are all who belong to none of an ACL's groups.
const Others = -1

// Entries of an access control list as Linux keeps it in an extended attribute.
const (
	aclVersion  = 2
	aclUserObj  = 0x01
	aclGroupObj = 0x04
	aclGroup    = 0x08
	aclMask     = 0x10
	aclOther    = 0x20
	aclNobody   = 0xffffffff

	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
)

type aclEntry struct {
	Tag, Perm uint16
	ID        uint32
}

// encode returns the attribute; enter is 1 for what may be entered or run.
func (a ACL) encode(enter Access) []byte {
	var mask, others Access
	groups := []aclEntry{}
	for _, gid := range slices.Sorted(maps.Keys(a)) {
		if gid == Others {
			others = a[gid] | enter
			continue
		}
		groups = append(groups, aclEntry{aclGroup, uint16(a[gid] | enter), uint32(gid)})
		mask |= a[gid] | enter
	}
	entries := append([]aclEntry{{aclUserObj, uint16(Writer | enter), aclNobody}, {aclGroupObj, 0, aclNobody}}, groups...)
	entries = append(entries, aclEntry{aclMask, uint16(mask), aclNobody}, aclEntry{aclOther, uint16(others), aclNobody})
	var data bytes.Buffer
	_ = binary.Write(&data, binary.LittleEndian, uint32(aclVersion))
	_ = binary.Write(&data, binary.LittleEndian, entries) // into a buffer: never fails
	return data.Bytes()
}

// HasACL tells whether the folder p is opened as this says, for itself and for what is made in it. The error is ErrNoACL where none can be.
func (f Files) HasACL(p string, acl ACL) (bool, error) {
	dir, err := openNoFollow(unix.AT_FDCWD, f.Path(p))
	if err != nil {
		return false, fmt.Errorf("cannot read the access control list of %s: %w", p, err)
	}
	defer dir.Close()
	for _, name := range []string{aclAccess, aclDefault} {
		got := make([]byte, 4096)
		n, err := unix.Getxattr(procPath(dir), name, got)
		if errors.Is(err, unix.EOPNOTSUPP) {
			return false, ErrNoACL
		}
		if errors.Is(err, unix.ENODATA) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("cannot read the access control list of %s: %w", p, err)
		}
		if !bytes.Equal(got[:n], acl.encode(1)) {
			return false, nil
		}
	}
	return true, nil
}

// SetACL opens the folder p and all that is in it, what will be made in it included. Users may write there while we work: no link is
// followed, and the folder itself, by which this is judged to be done, comes last. It returns some names of what takes no list, and is closed to all but its
// owner instead: who fills a file's attributes must not keep others from being let in or out.
func (f Files) SetACL(p string, acl ACL) (closed []string, err error) {
	defer wrap(&err, "set the access control list of", p)
	err = f.open(p, tree{acl: acl, closed: &closed})
	return closed, err
}

// HandOver makes a tree an account's own, and opens it as SetACL does. Where a file system keeps no lists, the group may write and whoever makes
// something in a folder shares it with the group, as far as their umask allows.
func (f Files) HandOver(p string, uid, gid int, acl ACL) (err error) {
	defer wrap(&err, "hand over", p)
	err = f.open(p, tree{acl: acl, chown: true, uid: uid, gid: gid})
	if errors.Is(err, ErrNoACL) {
		err = f.open(p, tree{chown: true, uid: uid, gid: gid, modes: true})
	}
	return err
}

// HandedOver is the mode of a folder that was handed over where no lists are kept.
const HandedOver = fs.ModeSetgid | 0o775

func (f Files) open(p string, t tree) error {
	dir, err := openNoFollow(unix.AT_FDCWD, f.Path(p))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := t.apply(dir, 0); err != nil {
		return err
	}
	return f.Sync(p)
}

// tree is what is done to all of a tree.
type tree struct {
	acl      ACL
	chown    bool
	uid, gid int
	modes    bool // in the place of the list
	bare     bool // only the owner is changed
	closed   *[]string
}

// mostClosed is how many names are told.
const mostClosed = 5

// deepest is how far down a shared tree is followed; a person's is never as deep.
const deepest = 128

func (t tree) apply(file *os.File, depth int) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() && depth < deepest {
		if err := t.applyWithin(file, depth); err != nil {
			return err
		}
	}
	// What is right already is not written again: a tree of tens of thousands of files is looked through in the half of the time.
	if attr := AttrOf(info); t.chown && (attr.UID != t.uid || attr.GID != t.gid) {
		if err := unix.Fchownat(int(file.Fd()), "", t.uid, t.gid, unix.AT_EMPTY_PATH); err != nil {
			return err
		}
	}
	switch {
	case t.bare:
	case t.modes:
		return chmod(file, info)
	case info.IsDir():
		return setACL(file, t.acl.encode(1), true)
	case info.Mode().IsRegular():
		var run Access
		if info.Mode().Perm()&0o100 != 0 {
			run = 1
		}
		return setACL(file, t.acl.encode(run), false)
	}
	return nil
}

// chmod opens a file or folder where no lists are kept. A mode that is right already is not set again: somebody may watch for changes.
func chmod(file *os.File, info fs.FileInfo) error {
	mode := info.Mode() & (fs.ModePerm | fs.ModeSetgid)
	wanted := mode
	switch {
	case info.IsDir():
		wanted = HandedOver
	case info.Mode().IsRegular():
		wanted = info.Mode().Perm() | 0o064 | info.Mode().Perm()&0o100>>3
	}
	if mode == wanted {
		return nil
	}
	return os.Chmod(procPath(file), wanted)
}

func (t tree) applyWithin(dir *os.File, depth int) error {
	entries, err := os.ReadDir(procPath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // somebody removed it just now
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		inner, err := openNoFollow(int(dir.Fd()), entry.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // as above
		}
		if err == nil {
			err = errors.Join(t.applyOrClose(inner, entry.Name(), depth+1), inner.Close())
		}
		if err != nil {
			return fmt.Errorf("%s: %w", entry.Name(), err)
		}
	}
	return nil
}

// applyOrClose closes what has no room for a list. Its owner can fill that with attributes; where the disk has none either, that is the error.
func (t tree) applyOrClose(file *os.File, name string, depth int) error {
	err := t.apply(file, depth)
	if t.closed == nil || !errors.Is(err, errNoRoom) || !hasRoom(file) {
		return err
	}
	if len(*t.closed) < mostClosed {
		*t.closed = append(*t.closed, name)
	}
	return closeToOthers(file)
}

// errNoRoom is of a list that does not fit beside the other attributes of a file.
var errNoRoom = errors.New("it has no room for an access control list")

// roomForLists is far more than one list takes.
const roomForLists = 1 << 20

func hasRoom(file *os.File) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(int(file.Fd()), &st) == nil && st.Bavail*uint64(st.Bsize) > roomForLists
}

// closeToOthers takes the lists from a file or folder, and lets its owner alone have it.
func closeToOthers(file *os.File) error {
	if err := withoutACL(file); err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	return os.Chmod(procPath(file), info.Mode().Perm()&0o700)
}

func withoutACL(file *os.File) error {
	for _, name := range []string{aclDefault, aclAccess} {
		if err := unix.Removexattr(procPath(file), name); err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
	}
	return nil
}

func setACL(file *os.File, data []byte, folder bool) error {
	for _, name := range []string{aclAccess, aclDefault} {
		if name == aclDefault && !folder {
			continue
		}
		got := make([]byte, len(data)+1)
		if n, err := unix.Getxattr(procPath(file), name, got); err == nil && bytes.Equal(got[:n], data) {
			continue
		}
		err := unix.Setxattr(procPath(file), name, data, 0)
		switch {
		case errors.Is(err, unix.EOPNOTSUPP):
			return ErrNoACL
		case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.E2BIG):
			return fmt.Errorf("%w: %w", errNoRoom, err)
		case err != nil:
			return err
		}
	}
	return nil
}

// openNoFollow opens a path for naming it only: nothing is read, no link is followed, no pipe waited for.
func openNoFollow(dir int, name string) (*os.File, error) {
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: filepath.Base(name), Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// procPath is the name of an open file by which calls that need one reach just that file.
func procPath(file *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(file.Fd())) }

// CloseTree takes the folder p, and what is in it, from all but the owners: only root gets in, and each file stays its owner's. The folder alone would not do,
// as who could write to a file may have given it another name elsewhere, or work in a folder below.
func (f Files) CloseTree(p string) (err error) {
	defer wrap(&err, "close", p)
	dir, err := openNoFollow(unix.AT_FDCWD, f.Path(p))
	if err != nil {
		return err
	}
	defer dir.Close()
	closed := []string{}
	if err := (tree{acl: ACL{}, closed: &closed}).applyWithin(dir, 0); err != nil && !errors.Is(err, ErrNoACL) {
		return err
	}
	if err := withoutACL(dir); err != nil {
		return err
	}
	return os.Chmod(procPath(dir), 0o700)
}
