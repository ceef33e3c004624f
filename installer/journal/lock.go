package journal

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"tljh/internal/host"
	"tljh/internal/layout"
)

// BusyError tells that another command is at work.
type BusyError struct {
	Holder string
}

func (e *BusyError) Error() string {
	return "another command is changing this installation: " + e.Holder
}

// snapshotLimit is how long a snapshot may take on a slow machine.
const snapshotLimit = 2 * time.Minute

// Lock keeps other commands from changing the installation.
func Lock(ctx context.Context, files host.Files, now time.Time) (func(), error) {
	return lock(ctx, files, now, "", func(holder string) bool { return strings.HasPrefix(holder, layout.SnapshotNote) })
}

// LockForSnapshot does so for a snapshot, which waits for whatever is going on.
func LockForSnapshot(ctx context.Context, files host.Files, now time.Time) (func(), error) {
	return lock(ctx, files, now, layout.SnapshotNote+", ", func(string) bool { return true })
}

func lock(ctx context.Context, files host.Files, now time.Time, what string, wait func(holder string) bool) (unlock func(), err error) {
	note := fmt.Sprintf("%sprocess %d since %s", what, os.Getpid(), now.Format(time.RFC3339))
	end := time.Now().Add(snapshotLimit)
	err = host.Poll(ctx, 100*time.Millisecond, func(context.Context) (bool, error) {
		got, holder, ok, err := files.Lock(layout.Lock, note)
		if err == nil && !ok && (!wait(holder) || what == "" && time.Now().After(end)) {
			err = host.Hint(&BusyError{Holder: holder}, "wait until it has ended, then run the same command again")
		}
		unlock = got
		return ok, err
	})
	return unlock, err
}
