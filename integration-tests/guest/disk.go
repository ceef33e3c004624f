package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// diskSize is what a guest sees; its file takes what was written.
const diskSize = 32 << 30

// A disk is a file system in a file, for all that a guest writes. It goes with that one file, whatever the guest did, and the guest is as fast after a
// hundred others as before: an ext4 without a journal, as machines in a cloud may have, looks at all that was deleted in the last minutes
// for every file that is made.
type disk string

// PowerCuts tells whether guests have disks of their own, which only a machine with loop devices can give them: else they write into a folder.
var PowerCuts = sync.OnceValue(func() bool {
	_, err := os.Stat("/dev/loop-control")
	return err == nil && os.Getenv("TLJH_TEST_DISKS") != "folders"
})

func (d disk) image() string  { return filepath.Join(string(d), "disk.img") }
func (d disk) frozen() string { return d.image() + ".frozen" }
func (d disk) dir() string    { return filepath.Join(string(d), "disk") }
func (d disk) upper() string  { return filepath.Join(d.dir(), "upper") }
func (d disk) work() string   { return filepath.Join(d.dir(), "work") }

// create makes the disk in its folder and mounts it.
func (d disk) create(ctx context.Context) error {
	if err := os.MkdirAll(string(d), 0o755); err != nil {
		return err
	}
	if !PowerCuts() {
		return errors.Join(os.MkdirAll(d.upper(), 0o755), os.MkdirAll(d.work(), 0o755))
	}
	file, err := os.OpenFile(d.image(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Truncate(diskSize), file.Close()); err != nil {
		return err
	}
	err = run(ctx, nil, "mkfs.ext4", "-q", "-F", "-m", "0", "-N", "2000000", "-E", "lazy_itable_init=1,lazy_journal_init=1", d.image())
	if err != nil {
		return fmt.Errorf("cannot make the guest's disk: %w", err)
	}
	return errors.Join(d.mount(ctx), os.MkdirAll(d.upper(), 0o755), os.MkdirAll(d.work(), 0o755))
}

func (d disk) mount(ctx context.Context) error {
	if err := os.MkdirAll(d.dir(), 0o755); err != nil {
		return err
	}
	// A power cut takes what nobody asked to be on disk: none of it gets there soon by itself.
	if err := run(ctx, nil, "mount", "-o", "loop,noatime,noinit_itable,commit=300", d.image(), d.dir()); err != nil {
		return fmt.Errorf("cannot mount the guest's disk: %w", err)
	}
	return nil
}

// freeze keeps what is on the disk at this moment, which is less than what was written.
func (d disk) freeze(ctx context.Context) error {
	if err := run(ctx, nil, "cp", "--sparse=always", "--reflink=auto", d.image(), d.frozen()); err != nil {
		return fmt.Errorf("cannot keep what is on the guest's disk: %w", err)
	}
	return nil
}

// thaw makes the disk what it was when it was frozen.
func (d disk) thaw(ctx context.Context) error {
	if err := errors.Join(unmount(d.dir()), os.Rename(d.frozen(), d.image())); err != nil {
		return err
	}
	return d.mount(ctx)
}

// moveTo gives the disk another folder; nothing may use it.
func (d disk) moveTo(ctx context.Context, folder string) (disk, error) {
	moved := disk(folder)
	if !PowerCuts() {
		return moved, os.Rename(d.dir(), moved.dir())
	}
	if err := errors.Join(unmount(d.dir()), os.MkdirAll(folder, 0o755), os.Rename(d.image(), moved.image())); err != nil {
		return moved, err
	}
	return moved, moved.mount(ctx)
}

// remove unmounts and deletes the disk with its folder.
func (d disk) remove() error {
	return errors.Join(unmount(d.dir()), os.RemoveAll(string(d)))
}

// unmount unmounts whatever is mounted at a place of ours.
func unmount(dir string) error {
	for {
		err := unix.Unmount(dir, 0)
		switch {
		case err == nil:
			continue // there may be one over another
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
			return nil
		case errors.Is(err, unix.EBUSY):
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				return fmt.Errorf("cannot unmount %s: %w", dir, err)
			}
		default:
			return fmt.Errorf("cannot unmount %s: %w", dir, err)
		}
	}
}
