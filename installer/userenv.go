package installer

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"tljh/environment"
	"tljh/installer/hubnotes"
	"tljh/internal/host"
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

// Snapshot keeps what an admin changed, and lets the other admins change it, too. What pip left without changing any package, as byte code, is taken over
// as well.
func (k *Keeper) Snapshot(ctx context.Context, by Changer, name string) error {
	err := k.keepFor(ctx, environment.Occasion{Title: by.Command, Who: by.Who})
	if err == nil && name != "" {
		err = environment.NameLast(k.Host.Files, name)
	}
	return errors.Join(err, k.open())
}

// Check examines the user environment and records what it found, for status to report. A scheduled check runs nothing of the environment, leaves one alone
// that is being changed, and has nothing else to tell than what it records.
func (k *Keeper) Check(ctx context.Context, scheduled bool) (environment.Health, error) {
	examine := k.Builder.Examine
	begun, settled := environment.BeginCheck(k.Host.Files)
	if scheduled {
		if !settled {
			return environment.Health{}, nil
		}
		examine = k.Builder.ExamineFiles
	}
	health, err := examine(ctx)
	if err != nil || !settled {
		return health, err
	}
	if err := begun.Record(k.Host.Files, k.Now(), health); scheduled {
		return health, err
	} // a person sees the result all the same
	return health, nil
}

// keep takes a snapshot after a command of root's.
func (k *Keeper) keep(ctx context.Context, title string) error {
	return k.keepFor(ctx, environment.Occasion{Title: environment.Presentable(title)})
}

// keepFor takes a snapshot and notes in it whether the state passes the check. It looks at files only: nothing that admins installed runs here.
func (k *Keeper) keepFor(ctx context.Context, why environment.Occasion) error {
	if kept, err := environment.KeptHealthy(k.Host.Files); err != nil || kept {
		return err
	}
	health, err := k.Builder.Verify(ctx)
	if err != nil {
		return err
	}
	why.Broken = cmp.Or(health.Words(), why.Broken)
	_, _, err = environment.TakeSnapshot(k.Host.Files, k.Now(), why)
	return err
}

// open gives the live user environment to its account, and opens it for the admins.
func (k *Keeper) open() error {
	return handOver(k.Host.Files)
}

// Install adds packages for all users.
func (k *Keeper) Install(ctx context.Context, packages []string) error {
	live, ok := environment.Current(k.Host.Files, environment.User)
	if !ok {
		return errors.New("there is no user environment")
	}
	if err := usablePackages(packages, live.Manager); err != nil {
		return err
	}
	return k.step("install for all users", func() error {
		if err := k.tidy(k.Builder.Manager(live.Manager).Add(ctx, live.Path(), packages)); err != nil {
			return host.Hint(err, "check the packages' names, and that this machine reaches its package sources (network, proxy, certificates; sources.* of the config)")
		}
		return k.keep(ctx, "env install "+strings.Join(packages, " "))
	})
}

// tidy removes what was downloaded, whatever became of it.
func (k *Keeper) tidy(err error) error { return errors.Join(err, k.Builder.RemoveCache()) }

// use makes a generation the live user environment, and keeps a snapshot of it.
func (k *Keeper) use(ctx context.Context, generation environment.Generation, why environment.Occasion) error {
	if err := environment.Announce(k.Host.Files, generation, why); err != nil {
		return err
	}
	if err := environment.Switch(k.Host.Files, generation); err != nil {
		return err
	}
	if err := k.open(); err != nil {
		return err
	}
	if _, _, err := environment.TakeSnapshot(k.Host.Files, k.Now(), why); err != nil {
		return err
	}
	if err := errors.Join(hubnotes.ForgetRescue(k.Host.Files), removeOutdated(k.Builder)); err != nil {
		return err
	}
	return k.watchAnew(ctx)
}

func (k *Keeper) watchAnew(ctx context.Context) error { return watchAnew(ctx, k.Host, k.Report) }

func (k *Keeper) step(title string, do func() error) error {
	run := k.Report.Step(title, title, "user environment")
	if err := do(); err != nil {
		run.Failed(err)
		return err
	}
	run.Done()
	return nil
}
