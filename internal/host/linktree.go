package host

import (
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
	if err := f.copyTree(from, to, copying{op: "link", file: linkAt, link: linkAt}); err != nil {
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

func linkAt(source, target *os.File, name string) error {
	return unix.Linkat(int(source.Fd()), name, int(target.Fd()), name, 0)
}
