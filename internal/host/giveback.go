package host

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Returned is what GiveBack gave back, or would.
type Returned struct {
	Count int      `json:"count"` // files and folders
	Names []string `json:"names"` // in the home, that hold them
	Left  int      `json:"left"`  // what stays root's: it has other names outside of these folders, is no plain file, or has more rights than its owner
}

// GiveBack gives what belongs to root in some files and folders of a home to the home's owner. With look, it only counts. Others may write to the home
// meanwhile: everything is reached by descriptors, no link is followed and no other file system entered. A file with a second name is given only where all
// of its names are in these folders: another could be one of the system's.
func (f Files) GiveBack(home string, owner Attr, names []string, look bool) (given Returned, err error) {
	defer wrap(&err, "give back", home)
	dir, err := openDir(unix.AT_FDCWD, f.Path(home))
	if errors.Is(err, fs.ErrNotExist) {
		return given, nil
	}
	if err != nil {
		return given, err
	}
	defer dir.Close()
	info, err := dir.Stat()
	if err != nil || AttrOf(info).UID != owner.UID {
		return given, err // it is somebody else's
	}
	var place unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &place); err != nil {
		return given, err
	}
	r := returning{owner: owner, dev: uint64(place.Dev), links: map[uint64]uint64{}, counted: map[uint64]bool{}}
	for _, walk := range []func(*returning){func(r *returning) { r.counting = true }, func(r *returning) { r.counting, r.look = false, look }} {
		walk(&r)
		for _, name := range names {
			before := r.count
			if err := r.apply(dir, name, 0); err != nil {
				return given, err
			}
			if !r.counting && r.count > before {
				given.Names = append(given.Names, name)
			}
		}
	}
	given.Count, given.Left = r.count, r.left
	return given, nil
}

// returning is one walk of two: the first counts the names that files have.
type returning struct {
	owner          Attr
	dev            uint64
	links          map[uint64]uint64 // by the number of a file with several names: how many are in these folders
	counted        map[uint64]bool   // those that were given
	counting, look bool
	count, left    int
}

func (r *returning) apply(parent *os.File, name string, depth int) error {
	fd, err := unix.Openat(int(parent.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "open", Path: name, Err: err}
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || uint64(st.Dev) != r.dev {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR && depth < deepest {
		if err := r.within(file, depth); err != nil {
			return err
		}
	}
	if st.Uid != 0 {
		return nil
	}
	return r.give(file, &st)
}

func (r *returning) within(folder *os.File, depth int) error {
	dir, err := openDir(int(folder.Fd()), ".")
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := r.apply(dir, name, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (r *returning) give(file *os.File, st *unix.Stat_t) error {
	kind := st.Mode & unix.S_IFMT
	several := kind != unix.S_IFDIR && st.Nlink > 1
	if r.counting {
		if several {
			r.links[st.Ino]++
		}
		return nil
	}
	plain := kind == unix.S_IFDIR || kind == unix.S_IFLNK || kind == unix.S_IFREG && st.Mode&(unix.S_ISUID|unix.S_ISGID) == 0
	if !plain || several && r.links[st.Ino] != uint64(st.Nlink) {
		r.left++
		return nil
	}
	if r.counted[st.Ino] { // under another of its names
		return nil
	}
	r.counted[st.Ino] = several
	r.count++
	if r.look {
		return nil
	}
	return unix.Fchownat(int(file.Fd()), "", r.owner.UID, r.owner.GID, unix.AT_EMPTY_PATH)
}
