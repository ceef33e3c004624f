package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mostLinks is how many links a path may lead through.
const mostLinks = 40

// OpenNamed opens a file or folder that a person named, to read it as root. Links on the way that root made are followed. Those that another account
// could have made are refused: it would decide what root reads.
func (f Files) OpenNamed(p string) (*os.File, error) {
	p, err := filepath.Abs(p)
	if err != nil {
		return nil, err
	}
	top := "/"
	if f.Root != "" {
		top = f.Root
	}
	at, err := openNoFollow(unix.AT_FDCWD, top)
	if err != nil {
		return nil, err
	}
	left := strings.Split(strings.Trim(p, "/"), "/")
	for links := 0; len(left) > 0; {
		name := left[0]
		left = left[1:]
		if name == "" || name == "." {
			continue
		}
		next, err := openNoFollow(int(at.Fd()), name)
		if err != nil {
			_ = at.Close()
			return nil, err
		}
		info, err := next.Stat()
		if err == nil && info.Mode().Type() != fs.ModeSymlink {
			_ = at.Close()
			at = next
			continue
		}
		if links++; err == nil && links > mostLinks {
			err = errors.New("too many links")
		}
		if err == nil {
			left, at, err = follow(at, next, info, name, top, left)
		}
		_ = next.Close()
		if err != nil {
			_ = at.Close()
			return nil, fmt.Errorf("cannot open %s: %w", p, err)
		}
	}
	defer at.Close()
	return os.OpenFile(procPath(at), os.O_RDONLY|unix.O_NONBLOCK, 0)
}

// follow returns what is left of a path after a link, and the folder where it begins.
func follow(at, link *os.File, info fs.FileInfo, name, top string, left []string) ([]string, *os.File, error) {
	folder, err := at.Stat()
	if err != nil {
		return left, at, err
	}
	me := os.Geteuid()
	if owner := AttrOf(info).UID; owner != 0 && owner != me || AttrOf(folder).UID != 0 && AttrOf(folder).UID != me {
		return left, at, fmt.Errorf("%s is a link that another account can change: name what it leads to", name)
	}
	leads := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(link.Fd()), "", leads)
	if err != nil {
		return left, at, err
	}
	target := string(leads[:n])
	if filepath.IsAbs(target) {
		_ = at.Close()
		if at, err = openNoFollow(unix.AT_FDCWD, top); err != nil {
			return left, at, err
		}
	}
	return append(strings.Split(strings.Trim(target, "/"), "/"), left...), at, nil
}

// WithinNamed is Within for a folder that OpenNamed opened.
func WithinNamed(dir *os.File) (*Within, error) {
	root, err := os.OpenRoot(procPath(dir))
	if err != nil {
		return nil, err
	}
	return &Within{root}, nil
}

// Give makes a tree an account's own, without following a link. The folder itself comes last: until then nobody gets into one that only root enters.
func (f Files) Give(p string, uid, gid int) (err error) {
	defer wrap(&err, "hand over", p)
	return f.open(p, tree{chown: true, bare: true, uid: uid, gid: gid})
}
