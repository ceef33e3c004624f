package installer

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"tljh/environment"
	"tljh/installer/hubnotes"
	"tljh/internal/host"
)

// Agree shows a person what is about to happen and asks whether to go on; an error is a no.
type Agree func(text, question string) error

// Repair brings the user environment back to health. What is broken is installed again where it is. Where that does not help, other states are built beside
// it and tried, that which loses least first; nothing is switched before one has passed the check, and, if it loses anything, before a person agreed.
// Where none passes, everything is as it was.
func (k *Keeper) Repair(ctx context.Context, agree Agree) (before []environment.Trouble, err error) {
	// What an interrupted command left takes the disk of an environment.
	err = errors.Join(environment.RemoveHalfBuilt(k.Host.Files, environment.User), environment.RemoveAsides(k.Host.Files))
	if err = k.tidy(err); err != nil {
		return nil, err
	}
	before, err = k.examine(ctx)
	switch {
	case err != nil:
		return before, err
	case len(before) == 0:
		return before, k.forgetDamage()
	}
	if err := k.repair(ctx, before, agree); err != nil {
		return before, err
	}
	return before, k.forgetDamage()
}

func (k *Keeper) repairer() environment.Repairer { return environment.Repairer{Builder: k.Builder} }

// forgetDamage drops what the hub and the last check said of an environment that is healthy now.
func (k *Keeper) forgetDamage() error {
	return errors.Join(hubnotes.ForgetRescue(k.Host.Files), environment.ForgetCheck(k.Host.Files))
}

func (k *Keeper) repair(ctx context.Context, before []environment.Trouble, agree Agree) error {
	if _, there := environment.Current(k.Host.Files, environment.User); there {
		err := k.step("install what is broken again", func() error { return k.repairInPlace(ctx, before) })
		if err == nil || ctx.Err() != nil {
			return errors.Join(err, context.Cause(ctx))
		}
	}
	words := (environment.Health{Troubles: before}).Words()
	candidates, err := k.repairer().Candidates()
	if err != nil {
		return err
	}
	for _, candidate := range candidates {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		made, err := k.make(ctx, candidate)
		if err != nil {
			continue // the step has shown why
		}
		return k.useCandidate(ctx, made, agree, environment.Occasion{Title: "env repair", Broken: words})
	}
	return host.Hint(fmt.Errorf("nothing that was tried leads to a healthy environment, and everything is as it was: %s", words),
		"check that this machine reaches its package sources (sources.* of the config), then run tljh-install env repair again; "+
			"or build another environment: tljh-install env export FOLDER, then tljh-install env apply FOLDER. Until then servers start from the rescue environment")
}

// repairInPlace keeps what is live, and what runs there.
func (k *Keeper) repairInPlace(ctx context.Context, before []environment.Trouble) error {
	// Whose the files are comes first: what is installed is installed as their owner.
	if err := k.open(); err != nil {
		return err
	}
	health, err := k.repairer().RepairInPlace(ctx, before, k.open)
	if err = k.tidy(err); err != nil {
		return errors.Join(err, k.watchAnew(ctx))
	}
	if !health.Healthy() {
		return errors.Join(errors.New("that does not help, and is undone: "+health.Words()), k.watchAnew(ctx))
	}
	_, _, err = environment.TakeSnapshot(k.Host.Files, k.Now(), environment.Occasion{Title: "env repair", Who: "root", Again: true})
	return errors.Join(err, k.watchAnew(ctx))
}

// made is a candidate that passes the check.
type made struct {
	environment.Candidate
	generation environment.Generation
	built      bool // for this; it goes if it is not used
}

// make builds a candidate. Nothing that anybody uses changes.
func (k *Keeper) make(ctx context.Context, candidate environment.Candidate) (m made, err error) {
	m.Candidate = candidate
	err = k.step("try "+candidate.String(), func() error {
		if candidate.Way == environment.FromFiles {
			if there, ok := environment.StillThere(k.Host.Files, candidate.Snapshot); ok && k.repairer().Passes(ctx, there) {
				m.generation = there
				return nil
			}
		}
		m.built = true
		m.generation, err = k.repairer().Make(ctx, candidate, func(dir string) error { return handOverDir(k.Host.Files, dir) })
		return k.tidy(err)
	})
	return m, err
}

// useCandidate switches to one, after it was said what that loses. Where the occasion is that what is installed now is broken, it is kept as that.
func (k *Keeper) useCandidate(ctx context.Context, m made, agree Agree, why environment.Occasion) error {
	if len(m.Loss) > 0 {
		if err := agree("The environment can only be had with these changes:\n  "+strings.Join(m.Loss, "\n  "), "Go on?"); err != nil {
			return errors.Join(err, k.drop(m))
		}
	}
	// What is installed now is kept, broken or not: one can go forward to it.
	if _, there := environment.Current(k.Host.Files, environment.User); there {
		if err := k.keepFor(ctx, environment.Occasion{Broken: why.Broken}); err != nil {
			return errors.Join(err, k.drop(m))
		}
	}
	return k.step("use "+m.String(), func() error {
		return k.use(ctx, m.generation, environment.Occasion{Title: why.Title, Who: "root", Of: m.Snapshot.Number})
	})
}

// drop removes a generation that is not used.
func (k *Keeper) drop(m made) error {
	if !m.built {
		return nil
	}
	return k.Host.Files.RemoveTree(m.generation.Path())
}

// examine also takes an environment that is not there at all for one that is broken, if a snapshot can bring it back.
func (k *Keeper) examine(ctx context.Context) ([]environment.Trouble, error) {
	if _, there := environment.Current(k.Host.Files, environment.User); there {
		health, err := k.Builder.Examine(ctx)
		return health.Troubles, err
	}
	if kept, err := environment.Snapshots(k.Host.Files); err != nil || len(kept) == 0 {
		return nil, host.Hint(errors.Join(err, errors.New("there is no user environment, and no snapshot of one")), "tljh-install install builds it")
	}
	return []environment.Trouble{{Words: "there is no user environment"}}, nil
}

// Rollback makes a snapshot the live user environment, as a new generation, or as the one that is still there. Servers that run go on with what they
// have. It shows what that changes, and asks.
func (k *Keeper) Rollback(ctx context.Context, snapshot environment.Snapshot, agree Agree, title string) error {
	if snapshot.Broken != "" {
		return badInput(host.Hint(fmt.Errorf("snapshot %d is of a broken state: %s", snapshot.Number, snapshot.Broken), "tljh-install env history lists those that work"))
	}
	loss, err := k.changes(snapshot)
	if err != nil {
		return err
	}
	if err := agree(changesText(snapshot, loss), "Go on?"); err != nil {
		return err
	}
	m, err := k.make(ctx, environment.Candidate{Snapshot: snapshot})
	if err != nil && ctx.Err() == nil {
		m, err = k.make(ctx, environment.Candidate{Snapshot: snapshot, Way: environment.FromSource})
	}
	if err != nil {
		return fmt.Errorf("cannot bring snapshot %d back, and everything is as it was: %w", snapshot.Number, err)
	}
	return k.useCandidate(ctx, m, agree, environment.Occasion{Title: title})
}

// changes are those that a snapshot makes to what is installed.
func (k *Keeper) changes(snapshot environment.Snapshot) ([]string, error) {
	live, there := environment.Current(k.Host.Files, environment.User)
	if !there {
		return nil, nil
	}
	now, _, err := environment.Packages(k.Host.Files, live.Path())
	return environment.Difference(now, snapshot.Packages), err
}

func changesText(snapshot environment.Snapshot, changes []string) string {
	text := fmt.Sprintf("Snapshot %d of %s", snapshot.Number, snapshot.Time.Local().Format("2006-01-02 15:04"))
	if len(changes) == 0 {
		return text + " has the same packages as the environment now; its files come back."
	}
	return text + " changes what is installed now:\n  " + strings.Join(changes, "\n  ")
}
