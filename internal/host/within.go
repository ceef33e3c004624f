package host

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
)

// Within reads from a folder that others can put anything into. No link leads out of it, no pipe is waited for, and no file is read that is longer than
// expected.
type Within struct {
	root *os.Root
}

// Within opens the folder p. Whoever calls it closes it.
func (f Files) Within(p string) (*Within, error) {
	root, err := os.OpenRoot(f.Path(p))
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", p, err)
	}
	return &Within{root}, nil
}

// Close closes the folder.
func (w *Within) Close() error { return w.root.Close() }

// FS returns the folder as a tree to walk through.
func (w *Within) FS() fs.FS { return w.root.FS() }

// Lstat describes a file without following it.
func (w *Within) Lstat(name string) (fs.FileInfo, error) { return w.root.Lstat(name) }

// Open opens a regular file to read.
func (w *Within) Open(name string) (*os.File, error) {
	file, err := w.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, file.Close(), &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")})
	}
	return file, nil
}

// Read returns the contents of a regular file of no more than limit bytes.
func (w *Within) Read(name string, limit int64) ([]byte, error) {
	file, err := w.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("longer than %d bytes", limit)}
	}
	return data, err
}

// Rename gives a file another name.
func (w *Within) Rename(name, to string) error { return w.root.Rename(name, to) }

// Remove removes a file.
func (w *Within) Remove(name string) error { return w.root.Remove(name) }

// RemoveAll deletes a file or a folder with all that is in it. It is no error if there is none.
func (w *Within) RemoveAll(name string) error { return w.root.RemoveAll(name) }

// List returns the names in one of its folders, sorted; none when there is no such folder.
func (w *Within) List(name string) ([]string, error) {
	entries, err := fs.ReadDir(w.root.FS(), name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return namesOf(entries), err
}

// Within opens a folder in it. No link on the way leads out of the folder.
func (w *Within) Within(name string) (*Within, error) {
	root, err := w.root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	return &Within{root}, nil
}

// Write makes a regular file, or replaces what has its name, with this owner and mode. Nothing that was there is written into.
func (w *Within) Write(name string, data []byte, attr Attr) (err error) {
	tmp := path.Join(path.Dir(name), unfinished+rand.Text())
	file, err := w.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		_ = file.Close()
		if err != nil {
			_ = w.root.Remove(tmp)
		}
	}()
	if _, err = file.Write(data); err != nil {
		return err
	}
	if err = setAttr(file, attr); err != nil {
		return err
	}
	if err = file.Sync(); err != nil {
		return err
	}
	return w.root.Rename(tmp, name)
}

// Mkdir makes a folder; one that is there stays as it is. Anything else in its place, a link too, is an error.
func (w *Within) Mkdir(name string, mode fs.FileMode) error {
	err := w.root.Mkdir(name, mode)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := w.root.Lstat(name)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "mkdir", Path: name, Err: errors.New("not a folder")}
	}
	return err
}

// Link makes a symbolic link in the place of what has its name.
func (w *Within) Link(target, name string) error {
	tmp := path.Join(path.Dir(name), unfinished+rand.Text())
	if err := w.root.Symlink(target, tmp); err != nil {
		return err
	}
	if err := w.root.Rename(tmp, name); err != nil {
		_ = w.root.Remove(tmp)
		return err
	}
	return nil
}
