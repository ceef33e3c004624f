package host

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// CopyTree makes to a copy of the folder from that shares nothing with it but, where the file system can, blocks that are copied when they are written
// to. Modes and times are kept, owners are not: all of it is the caller's. What is named in without, at the top, is left out. Others may write to from
// while we work: links in it are taken over as they are and never followed, and only files, folders and links are. It is no durable write.
func (f Files) CopyTree(from, to string, without ...string) (err error) {
	defer wrap(&err, "copy", from)
	return f.copyTree(from, to, copying{op: "copy", file: copyFileAt, link: copyLinkAt, without: without})
}

// copying is how a tree is copied that others may write to meanwhile.
type copying struct {
	op         string // for errors
	file, link func(source, target *os.File, name string) error
	without    []string // names at the top that are left out
}

func (f Files) copyTree(from, to string, c copying) error {
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
	return c.within(source, target, 0)
}

func (c copying) within(source, target *os.File, depth int) error {
	entries, err := source.ReadDir(-1)
	if err != nil || depth > deepest {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		switch {
		case depth == 0 && slices.Contains(c.without, name):
		case entry.IsDir():
			err = c.folder(source, target, name, depth)
		case entry.Type().IsRegular():
			err = c.file(source, target, name)
		case entry.Type() == fs.ModeSymlink:
			err = c.link(source, target, name)
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue // somebody removed it just now
		}
		if err != nil {
			return &fs.PathError{Op: c.op, Path: name, Err: err}
		}
	}
	return nil
}

func (c copying) folder(source, target *os.File, name string, depth int) error {
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
	return c.within(inner, copied, depth+1)
}

func copyLinkAt(source, target *os.File, name string) error {
	leads := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(source.Fd()), name, leads)
	if err != nil {
		return err
	}
	return unix.Symlinkat(string(leads[:n]), int(target.Fd()), name)
}

// copyFileAt keeps the time of a file, too: Python goes by it to tell whether its byte code is of this source.
func copyFileAt(source, target *os.File, name string) (err error) {
	fd, err := unix.Openat(int(source.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	in := os.NewFile(uintptr(fd), name)
	defer in.Close()
	info, err := in.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	fd, err = unix.Openat(int(target.Fd()), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	out := os.NewFile(uintptr(fd), name)
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	if err := out.Chmod(info.Mode().Perm()); err != nil {
		return err
	}
	at := unix.NsecToTimeval(info.ModTime().UnixNano())
	return unix.Futimes(int(out.Fd()), []unix.Timeval{at, at})
}
