package host

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Files is the machine's file system. Paths given to its methods are absolute paths of the machine; Root, when set,
// is a folder that stands for "/" (tests).
//
// Every write is durable: the data, then the name that leads to it, are on disk when the method returns.
type Files struct {
	Root string
}

// Attr is the owner and mode that a file or folder is to have. The umask never matters.
type Attr struct {
	Mode fs.FileMode
	UID  int
	GID  int
}

// Path returns the path that the operating system knows p by.
func (f Files) Path(p string) string {
	if f.Root == "" {
		return p
	}
	return filepath.Join(f.Root, p)
}

// Read returns the contents of the file p.
func (f Files) Read(p string) ([]byte, error) { return os.ReadFile(f.Path(p)) }

// Lstat describes p without following a final symbolic link.
func (f Files) Lstat(p string) (fs.FileInfo, error) { return os.Lstat(f.Path(p)) }

// Exists tells whether anything is at p, be it a dangling link.
func (f Files) Exists(p string) bool {
	_, err := f.Lstat(p)
	return err == nil
}

// Readlink returns where the symbolic link p leads.
func (f Files) Readlink(p string) (string, error) { return os.Readlink(f.Path(p)) }

// List returns the names in the folder p, sorted; none when there is no such folder.
func (f Files) List(p string) ([]string, error) {
	entries, err := os.ReadDir(f.Path(p))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return namesOf(entries), err
}

func namesOf(entries []fs.DirEntry) []string {
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// AttrOf returns the owner and mode in info.
func AttrOf(info fs.FileInfo) Attr {
	attr := Attr{Mode: info.Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		attr.UID, attr.GID = int(st.Uid), int(st.Gid)
	}
	return attr
}

// Write replaces the file p by data: a reader sees the old or the new contents, never a part.
func (f Files) Write(p string, data []byte, attr Attr) (err error) {
	defer wrap(&err, "write", p)
	dir := filepath.Dir(f.Path(p))
	tmp, err := os.CreateTemp(dir, unfinished+"*")
	if err != nil {
		return err
	}
	defer func() {
		_ = tmp.Close()
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	if _, err = tmp.Write(data); err != nil {
		return err
	}
	if err = setAttr(tmp, attr); err != nil {
		return err
	}
	if err = tmp.Sync(); err != nil {
		return err
	}
	if err = os.Rename(tmp.Name(), f.Path(p)); err != nil {
		return err
	}
	return syncDir(dir)
}

// unfinished begins the names of files that are being written.
const unfinished = ".tljh-new-"

// Sweep removes from the folder dir what killed programs of ours have not finished. Nobody may be writing there, but for the script that fetches this
// program, which takes no lock: what it left stays.
func (f Files) Sweep(dir string) (err error) {
	defer wrap(&err, "clear", dir)
	for _, name := range f.Unfinished(dir) {
		if !strings.HasPrefix(name, fetching) && err == nil {
			err = f.RemoveTree(filepath.Join(dir, name))
		}
	}
	return err
}

// Append adds data to the end of the file p, which is made when absent, and waits until it is on disk. Where not all of it finds room, none of it stays: what is
// appended next would be joined to a part of it.
func (f Files) Append(p string, data []byte, attr Attr) (err error) {
	defer wrap(&err, "append to", p)
	made := !f.Exists(p)
	file, err := f.openAppend(p, attr, made)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if _, err = file.Write(data); err == nil {
		err = file.Sync()
	}
	if err != nil {
		return errors.Join(err, file.Truncate(info.Size()))
	}
	if !made {
		return nil
	}
	return syncDir(filepath.Dir(f.Path(p)))
}

// OpenAppend opens the file p to write at its end, for what is written bit by bit and need not be on disk at once. It is made when
// absent and has this owner and mode in any case; anything but a regular file is refused.
func (f Files) OpenAppend(p string, attr Attr) (file *os.File, err error) {
	defer wrap(&err, "open", p)
	return f.openAppend(p, attr, true)
}

func (f Files) openAppend(p string, attr Attr, set bool) (*os.File, error) {
	// O_NONBLOCK: a pipe put there must not make us wait for a reader.
	flags := os.O_WRONLY | os.O_APPEND | os.O_CREATE | syscall.O_NOFOLLOW | syscall.O_NONBLOCK
	file, err := os.OpenFile(f.Path(p), flags, attr.Mode.Perm())
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err == nil && set {
		err = setAttr(file, attr)
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// Mkdir makes the folder p, whose parent must exist, or gives an existing one this owner and mode.
func (f Files) Mkdir(p string, attr Attr) (err error) {
	defer wrap(&err, "make folder", p)
	if err = os.Mkdir(f.Path(p), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := os.OpenFile(f.Path(p), os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err = setAttr(dir, attr); err != nil {
		return err
	}
	return syncDir(filepath.Dir(f.Path(p)))
}

// MkdirAll makes the folder p, and those on the way there that are missing, with this owner and mode. A folder that is there stays as it is.
func (f Files) MkdirAll(p string, attr Attr) error {
	if f.Exists(p) {
		return nil
	}
	if err := f.MkdirAll(filepath.Dir(p), attr); err != nil {
		return err
	}
	return f.Mkdir(p, attr)
}

// Link makes p a symbolic link to target, replacing a link or file that is there in one step.
func (f Files) Link(target, p string) (err error) {
	defer wrap(&err, "link", p)
	dir := filepath.Dir(f.Path(p))
	tmp := filepath.Join(dir, ".tljh-link-"+rand.Text())
	if err = os.Symlink(target, tmp); err != nil {
		return err
	}
	if err = os.Rename(tmp, f.Path(p)); err != nil {
		_ = os.Remove(tmp)
		return err
	}
	return syncDir(dir)
}

// HardLink makes p another name of the file from, in the place of a link or file that is there, in one step. It takes no disk.
func (f Files) HardLink(from, p string) (err error) {
	defer wrap(&err, "link", p)
	dir := filepath.Dir(f.Path(p))
	tmp := filepath.Join(dir, unfinished+rand.Text())
	if err = os.Link(f.Path(from), tmp); err != nil {
		return err
	}
	err = os.Rename(tmp, f.Path(p))
	_ = os.Remove(tmp) // which is still there if p was that file already
	if err != nil {
		return err
	}
	return syncDir(dir)
}

// Rename gives the file or folder at p, whose contents are on disk already, the name to; nothing may be there but a file or empty folder.
func (f Files) Rename(p, to string) (err error) {
	defer wrap(&err, "rename", p)
	if err = os.Rename(f.Path(p), f.Path(to)); err != nil {
		return err
	}
	return syncDir(filepath.Dir(f.Path(to)))
}

// Exchange lets two files or folders swap their names in one step.
func (f Files) Exchange(p, q string) (err error) {
	defer wrap(&err, "exchange", p)
	if err = unix.Renameat2(unix.AT_FDCWD, f.Path(p), unix.AT_FDCWD, f.Path(q), unix.RENAME_EXCHANGE); err != nil {
		return err
	}
	return errors.Join(syncDir(filepath.Dir(f.Path(p))), syncDir(filepath.Dir(f.Path(q))))
}

// Remove deletes the file, link or empty folder p. Nothing there is no error.
func (f Files) Remove(p string) (err error) {
	defer wrap(&err, "remove", p)
	err = os.Remove(f.Path(p))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(f.Path(p)))
}

// dying is how long a process that was killed may go on making files.
const dying = 5 * time.Second

// RemoveTree deletes p with all that is in it. Links in it are removed, not followed. What a killed command had started may still be at work in it
// for a moment.
func (f Files) RemoveTree(p string) (err error) {
	defer wrap(&err, "remove", p)
	last := time.Now().Add(dying)
	for err = os.RemoveAll(f.Path(p)); errors.Is(err, unix.ENOTEMPTY) && time.Now().Before(last); {
		err = os.RemoveAll(f.Path(p))
	}
	if errors.Is(err, unix.EMFILE) {
		err = removeDeep(f.Path(p))
	}
	if err != nil {
		return err
	}
	if err = syncDir(filepath.Dir(f.Path(p))); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// removeDeep deletes a tree in which a user made so many levels that a descriptor for each is more than a process may have: rm needs few, however deep it is.
func removeDeep(p string) error {
	out, err := exec.Command(program("rm"), "-rf", "--", p).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, lastLines(string(out), 1))
	}
	return nil
}

// Sync waits until everything written to the file system that holds p is on disk. It is for trees that other programs wrote.
func (f Files) Sync(p string) (err error) {
	defer wrap(&err, "sync", p)
	dir, err := os.Open(f.Path(p))
	if err != nil {
		return err
	}
	defer dir.Close()
	return unix.Syncfs(int(dir.Fd()))
}

// Boot names the machine's present boot; "" when the kernel does not say. What was written in an earlier one and never synced may be
// gone or short.
func (f Files) Boot() string {
	id, err := f.Read("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// SHA256 returns the hexadecimal SHA-256 of bytes.
func SHA256(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// SHA256 returns the hexadecimal SHA-256 of the file p.
func (f Files) SHA256(p string) (string, error) {
	file, err := os.Open(f.Path(p))
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// FreeSpace returns the bytes and inodes that are free on the file system which holds p or, if p is not there yet, its nearest parent.
func (f Files) FreeSpace(p string) (bytes, inodes uint64, err error) {
	st, at, err := f.fileSystem(p)
	if err != nil {
		return 0, 0, fmt.Errorf("cannot tell the free space of %s: %w", at, err)
	}
	if st.Files == 0 {
		return st.Bavail * uint64(st.Bsize), math.MaxUint64, nil // btrfs and others make inodes as they go
	}
	return st.Bavail * uint64(st.Bsize), st.Ffree, nil
}

// NoExec tells whether the file system which holds p, or its nearest parent, lets no programs run. False where that cannot be told.
func (f Files) NoExec(p string) bool {
	st, _, err := f.fileSystem(p)
	return err == nil && st.Flags&unix.ST_NOEXEC != 0
}

// Unwritable returns why nobody, not even root, can write to p or, if p is not there yet, to its nearest parent, at: unix.EROFS for a file system that is
// mounted read-only, unix.EPERM for a folder that is marked immutable. Nil otherwise, also where that cannot be told.
func (f Files) Unwritable(p string) (at string, why error) {
	for {
		err := unix.Access(f.Path(p), unix.W_OK)
		if errors.Is(err, unix.EROFS) || errors.Is(err, unix.EPERM) {
			return p, err
		}
		if !errors.Is(err, fs.ErrNotExist) || p == "/" {
			return p, nil
		}
		p = filepath.Dir(p)
	}
}

// fileSystem describes the file system which holds p or, if p is not there yet, its nearest parent, at.
func (f Files) fileSystem(p string) (st unix.Statfs_t, at string, err error) {
	for {
		err = unix.Statfs(f.Path(p), &st)
		if !errors.Is(err, fs.ErrNotExist) || p == "/" {
			return st, p, err
		}
		p = filepath.Dir(p)
	}
}

// Lock takes an exclusive lock on the file p, made when absent, without waiting. The lock ends with unlock or with this process;
// holder is what the present holder wrote into the file, when ok is false.
func (f Files) Lock(p, note string) (unlock func(), holder string, ok bool, err error) {
	defer wrap(&err, "lock", p)
	for {
		file, holder, err := f.tryLock(p)
		if err != nil || file == nil {
			return nil, holder, false, err
		}
		// Whoever had it before may have removed the file, as uninstalling does: then this lock keeps nobody out.
		if !f.leadsTo(p, file) {
			_ = file.Close()
			continue
		}
		if err := file.Truncate(0); err == nil {
			_, _ = file.WriteAt([]byte(note), 0)
		}
		return func() { _ = file.Close() }, "", true, nil
	}
}

// tryLock returns no file when another has the lock.
func (f Files) tryLock(p string) (file *os.File, holder string, err error) {
	if err := os.MkdirAll(filepath.Dir(f.Path(p)), 0o755); err != nil {
		return nil, "", err
	}
	file, err = os.OpenFile(f.Path(p), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, "", err
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		text, _ := io.ReadAll(io.LimitReader(file, 1024))
		return nil, string(text), file.Close()
	}
	if err != nil {
		_ = file.Close()
		return nil, "", err
	}
	return file, "", nil
}

// leadsTo tells whether the name p is still that of an open file.
func (f Files) leadsTo(p string, file *os.File) bool {
	named, err := f.Lstat(p)
	if err != nil {
		return false
	}
	open, err := file.Stat()
	return err == nil && os.SameFile(named, open)
}

func setAttr(file *os.File, attr Attr) error {
	if err := chown(file, attr); err != nil {
		return err
	}
	// After chown: it clears the set-user and set-group bits.
	return file.Chmod(attr.Mode)
}

// chown is left out where it would change nothing, so that tests need no root for files of their own.
func chown(file *os.File, attr Attr) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if has := AttrOf(info); has.UID == attr.UID && has.GID == attr.GID {
		return nil
	}
	return file.Chown(attr.UID, attr.GID)
}

func syncDir(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer file.Close()
	return file.Sync()
}

// wrap turns *err into "cannot DO PATH: cause"; the cause loses its own copy of the path.
func wrap(err *error, do, p string) {
	if *err == nil {
		return
	}
	cause := *err
	var pathErr *fs.PathError
	var linkErr *os.LinkError
	switch {
	case errors.As(cause, &pathErr):
		cause = pathErr.Err
	case errors.As(cause, &linkErr):
		cause = linkErr.Err
	}
	*err = fmt.Errorf("cannot %s %s: %w", do, p, cause)
}

// BitsOf returns a mode as the number that chmod(1) takes: 0o2710, say.
func BitsOf(mode fs.FileMode) uint32 {
	bits := uint32(mode.Perm())
	for flag, bit := range specialBits {
		if mode&flag != 0 {
			bits |= bit
		}
	}
	return bits
}

// ModeOf is the inverse of BitsOf.
func ModeOf(bits uint32) fs.FileMode {
	mode := fs.FileMode(bits & 0o777)
	for flag, bit := range specialBits {
		if bits&bit != 0 {
			mode |= flag
		}
	}
	return mode
}

var specialBits = map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000}
