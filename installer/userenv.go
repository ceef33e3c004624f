package installer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"tljh/environment"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/report"
)

// Keeper looks after the user environment: snapshots, checks, repairs. Whoever changes anything holds the installation's lock.
type Keeper struct {
	Host    *host.Host
	Report  *report.Reporter
	Builder *environment.Builder
	Now     func() time.Time
}

// NewKeeper returns a keeper that fetches from where the config says.
func NewKeeper(h *host.Host, r *report.Reporter, b *environment.Builder, now func() time.Time) *Keeper {
	UseConfiguredSources(h.Files, b)
	return &Keeper{Host: h, Report: r, Builder: b, Now: now}
}

// Snapshot keeps what an admin changed, and lets the other admins change it, too.
func (k *Keeper) Snapshot() error {
	_, taken, err := environment.TakeSnapshot(k.Host.Files, k.Now())
	if err != nil || !taken {
		return err
	}
	return k.open()
}

// How long nothing must change before a change is taken for over, and how long that is waited for.
const (
	restTime  = 2 * time.Second
	restLimit = 5 * time.Minute
)

// Rest waits until nobody installs any more. It needs no lock, and keeps nobody from working.
func (k *Keeper) Rest(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, restLimit, errors.New("the user environment does not come to rest"))
	defer cancel()
	var last time.Time
	since := k.Now()
	return host.Poll(ctx, 200*time.Millisecond, func(context.Context) (bool, error) {
		changed, err := environment.Changed(k.Host.Files)
		if err != nil {
			return false, err
		}
		if !changed.Equal(last) {
			last, since = changed, k.Now()
		}
		return k.Now().Sub(since) >= restTime, nil
	})
}

// open gives the live user environment to its account, and opens it for the admins.
func (k *Keeper) open() error {
	return handOver(k.Host.Files)
}

// Install adds packages for all users.
func (k *Keeper) Install(ctx context.Context, packages []string) error {
	return k.step("install for all users", func() error {
		live, ok := environment.Current(k.Host.Files, environment.User)
		if !ok {
			return errors.New("there is no user environment")
		}
		if err := k.tidy(k.Builder.Manager(live.Manager).Add(ctx, live.Path(), packages)); err != nil {
			return host.Hint(err, "check the packages' names, and that this machine reaches its package sources (network, proxy, certificates; sources.* of the config)")
		}
		_, _, err := environment.TakeSnapshot(k.Host.Files, k.Now())
		return err
	})
}

// tidy removes what was downloaded, whatever became of it.
func (k *Keeper) tidy(err error) error { return errors.Join(err, k.Builder.RemoveCache()) }

// Repair puts back what is broken: packages one by one, or else the last snapshot that works, be it that its packages have to be fetched again.
func (k *Keeper) Repair(ctx context.Context) (before, after []environment.Trouble, err error) {
	// What an interrupted command left takes the disk of an environment.
	if err := k.tidy(environment.RemoveHalfBuilt(k.Host.Files, environment.User)); err != nil {
		return nil, nil, err
	}
	if before, after, err = k.repair(ctx); err == nil && len(after) == 0 {
		err = forgetRescued(k.Host.Files)
	}
	return before, after, err
}

func (k *Keeper) repair(ctx context.Context) (before, after []environment.Trouble, err error) {
	var repairErr error
	if before, err = k.examine(ctx); err != nil || len(before) == 0 {
		return before, nil, err
	}
	if _, there := environment.Current(k.Host.Files, environment.User); there {
		repairErr = k.step("put back what is broken", func() error {
			// Whose the files are comes first: what is installed is installed as their owner.
			return errors.Join(k.open(), k.tidy(k.Builder.Repair(ctx, before)))
		})
		if after, err = k.Builder.Examine(ctx); err != nil || len(after) == 0 {
			return before, after, errors.Join(err, k.open())
		}
	}
	all, err := environment.Snapshots(k.Host.Files)
	if err != nil {
		return before, after, err
	}
	for _, way := range []func(context.Context, environment.Snapshot) error{k.Rollback, k.Rebuild} {
		for _, snapshot := range slices.Backward(all) {
			if ctx.Err() != nil {
				return before, after, context.Cause(ctx)
			}
			if way(ctx, snapshot) != nil {
				continue
			}
			if after, err = k.Builder.Examine(ctx); err != nil || len(after) == 0 {
				return before, after, err
			}
		}
	}
	return before, after, repairErr
}

// examine also takes an environment that is not there at all for one that is broken, if a snapshot can bring it back.
func (k *Keeper) examine(ctx context.Context) ([]environment.Trouble, error) {
	if _, there := environment.Current(k.Host.Files, environment.User); there {
		return k.Builder.Examine(ctx)
	}
	if kept, err := environment.Snapshots(k.Host.Files); err != nil || len(kept) == 0 {
		return nil, host.Hint(errors.Join(err, errors.New("there is no user environment, and no snapshot of one")), "tljh-install install builds it")
	}
	return []environment.Trouble{{Words: "there is no user environment"}}, nil
}

// Rollback makes a snapshot the live user environment, as a new generation, or as the one that is still there. Servers that run go on with what they
// have.
func (k *Keeper) Rollback(ctx context.Context, snapshot environment.Snapshot) error {
	return k.step(fmt.Sprintf("go back to snapshot %d", snapshot.Number), func() error {
		if generation, there := environment.StillThere(k.Host.Files, snapshot); there {
			return k.use(ctx, generation)
		}
		generation, err := k.Builder.Restore(ctx, snapshot)
		if err != nil {
			return err
		}
		return k.use(ctx, generation)
	})
}

// Rebuild makes a generation of a snapshot's packages, fetched anew, the live user environment.
func (k *Keeper) Rebuild(ctx context.Context, snapshot environment.Snapshot) error {
	return k.step(fmt.Sprintf("build snapshot %d anew", snapshot.Number), func() error {
		generation, err := k.Builder.Rebuild(ctx, snapshot)
		if err = k.tidy(err); err != nil {
			return err
		}
		return k.use(ctx, generation)
	})
}

// use makes a generation the live user environment, and keeps a snapshot of it.
func (k *Keeper) use(ctx context.Context, generation environment.Generation) error {
	if err := environment.Switch(k.Host.Files, generation); err != nil {
		return err
	}
	if err := k.open(); err != nil {
		return err
	}
	if _, _, err := environment.TakeSnapshot(k.Host.Files, k.Now()); err != nil {
		return err
	}
	if err := errors.Join(forgetRescued(k.Host.Files), removeOutdated(k.Builder)); err != nil {
		return err
	}
	// It watches the folder that was live.
	return k.Host.Systemd.Do(ctx, "restart", layout.WatchPath)
}

func (k *Keeper) step(title string, do func() error) error {
	run := k.Report.Step(title, title, "user environment")
	if err := do(); err != nil {
		run.Failed(err)
		return err
	}
	run.Done()
	return nil
}
