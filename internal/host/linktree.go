package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// LinkTree makes to a copy of the folder from that takes hardly any disk: folders are made anew, files are hard links. It is for trees whose files are
// replaced, never written into. Others may write to from while we work: links in it are taken over as they are and never followed, and only
// files and links are.
func (f Files) LinkTree(from, to string) (err error) {
	defer wrap(&err, "copy", from)
	source, err := openDir(unix.AT_FDCWD, f.Path(from))
	if err != nil {
		return err
	}
	defer source.Close()
	if err := os.Mkdir(f.Path(to), 0o755); err != nil {
		return err
	}
	target, err := openDir(unix.AT_FDCWD, f.Path(to))
	if err != nil {
		return err
	}
	defer target.Close()
	if err := linkWithin(source, target, 0); err != nil {
		return err
	}
	return f.Sync(to)
}

func openDir(at int, name string) (*os.File, error) {
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: filepath.Base(name), Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func linkWithin(source, target *os.File, depth int) error {
	entries, err := source.ReadDir(-1)
	if err != nil || depth > deepest {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		switch {
		case entry.IsDir():
			err = linkFolder(source, target, name, depth)
		case entry.Type().IsRegular() || entry.Type() == fs.ModeSymlink:
			err = unix.Linkat(int(source.Fd()), name, int(target.Fd()), name, 0)
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue // somebody removed it just now
		}
		if err != nil {
			return &fs.PathError{Op: "link", Path: name, Err: err}
		}
	}
	return nil
}

func linkFolder(source, target *os.File, name string, depth int) error {
	inner, err := openDir(int(source.Fd()), name)
	if err != nil {
		return err
	}
	defer inner.Close()
	if err := unix.Mkdirat(int(target.Fd()), name, 0o755); err != nil {
		return err
	}
	copied, err := openDir(int(target.Fd()), name)
	if err != nil {
		return err
	}
	defer copied.Close()
	return linkWithin(inner, copied, depth+1)
}
