package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Reserve makes the file p, which only root can read, with blocks of the disk for size bytes. Removing it makes room for what has to be written then.
func Reserve(f Files, p string, size int64) (err error) {
	defer wrap(&err, "reserve room with", p)
	file, err := os.OpenFile(f.Path(p), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if err = unix.Fallocate(int(file.Fd()), 0, 0, size); err != nil {
		_ = os.Remove(f.Path(p))
		if errors.Is(err, unix.EOPNOTSUPP) {
			return nil // a file system that promises nobody any room
		}
		return fmt.Errorf("%d MB more are needed: %w", size>>20, err)
	}
	if err = file.Sync(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(f.Path(p)))
}

// littleSpace is free on a disk that counts as full.
const littleSpace = 16 << 20

// OutOfSpace reports whether a failure came from the disk at a path that is full, or left it so.
func OutOfSpace(files Files, at string, err error) bool {
	free, inodes, statErr := files.FreeSpace(at)
	return DiskFull(err) || statErr == nil && (free < littleSpace || inodes == 0)
}

// IsFolder reports whether a path is a folder, and no link to one.
func IsFolder(files Files, p string) bool {
	info, err := files.Lstat(p)
	return err == nil && info.IsDir()
}
