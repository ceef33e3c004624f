package installer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"tljh/config"
	"tljh/environment"
	"tljh/installer/journal"
	"tljh/installer/proof"
	"tljh/installer/switchover"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/report"
	"tljh/internal/step"
	"tljh/internal/version"
)

// Restore puts the old release back in its place.
func (s *releaseSwitchover) Restore(ctx context.Context) error {
	s.u.Installer.Report.Note("going back to %s", s.change.Old.Version)
	return s.u.takeBack(ctx, s.change, s.plan)
}

// GoneBack says what has come of going back.
func (s *releaseSwitchover) GoneBack(cause, err error) error {
	old, verb := s.change.Old.Version, "upgrade"
	if s.change.Rollback {
		verb = "rollback"
	}
	if err != nil {
		err = fmt.Errorf("going back to %s failed: %w", old, err)
		return host.Hint(errors.Join(cause, err), "tljh-install %s tries to go back again; journalctl -u %s may tell more", verb, layout.HubUnit)
	}
	if s.change.Rollback {
		return nil
	}
	return &TakenBackError{Err: cause, New: s.change.New, Old: old}
}

// FinishBack completes a going back that was interrupted, whichever of the two programs this is.
func (u *Upgrader) FinishBack(ctx context.Context) error {
	files := u.Installer.Host.Files
	change, err := loadChange(files)
	if err != nil || change == nil {
		return err
	}
	unlock, err := u.Installer.lockAll(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	u.Installer.Begin()
	u.Installer.Report.Note("going back to %s was interrupted: completing it", change.Old.Version)
	plan, err := u.presentPlan(ctx)
	if err != nil {
		return err
	}
	var cause error
	if !change.Rollback {
		cause = errors.New(change.Why)
	}
	return switchover.GoBack(ctx, files, u.Installer.Report, &releaseSwitchover{u: u, change: change, plan: plan}, cause)
}

// presentPlan is what this program would install with the config that is there; empty when it can't read that.
func (u *Upgrader) presentPlan(ctx context.Context) (journal.Plan, error) {
	text, err := u.Installer.Host.Files.Read(layout.Config)
	if err != nil {
		return journal.Plan{}, err
	}
	cfg, _ := config.Parse(layout.Config, text)
	if cfg == nil {
		return journal.Plan{}, nil
	}
	return InstallPlan(&Inputs{Facts: u.Installer.Host.Facts(ctx), ConfigText: text, Config: cfg}, u.Installer.Builder)
}

func (u *Upgrader) takeBack(ctx context.Context, change *Change, plan journal.Plan) (err error) {
	defer func() {
		if err != nil {
			u.startWhatIsThere(ctx)
		}
		u.hubIsBack(ctx)
	}()
	if change.Phase == switchover.Back {
		if err := u.undoNew(ctx, change, plan); err != nil {
			return err
		}
		if err := u.restore(ctx, change); err != nil {
			return err
		}
	}
	if err := u.settleOld(ctx, change); err != nil {
		return err
	}
	return u.noteBack(change)
}

// startTime is how long a hub may take until it is left to systemd, which goes on trying.
const startTime = time.Minute

// startWhatIsThere starts a hub that was left stopped half-way between two releases: it may well work, at once or, say, as soon as a disk has room
// again. The same command still completes what was begun.
func (u *Upgrader) startWhatIsThere(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	_ = u.Installer.Host.Systemd.Reload(ctx)
	_ = u.Installer.Host.Systemd.Do(ctx, "start", layout.HubUnit)
}

// undoNew takes away what only the new release has: units, links and files that were not there before it came. What both have, the old program writes anew.
func (u *Upgrader) undoNew(ctx context.Context, change *Change, plan journal.Plan) error {
	receipt, err := journal.LoadReceipt(u.Installer.Host.Files, u.Installer.Now)
	if err != nil {
		return err
	}
	planned := map[string]bool{}
	for _, node := range plan.Nodes {
		planned[node.Step.ID()] = true
	}
	c := &step.Context{
		Host: u.Installer.Host, Recorded: receipt.Recorded, Save: receipt.Save, Left: receipt.Left,
		Aside: func(p string, _ []byte) string { return layout.Aside + p }, Deleted: func(string) bool { return false },
	}
	var errs error
	for _, trace := range slices.Backward(receipt.Traces()) {
		if !planned[trace.ID] || trace.By != change.New || trace.First == nil || trace.First.Existed {
			continue
		}
		undoer, _, _ := step.ByID(trace.ID)
		switch undoer.(type) {
		case step.File, step.Link, step.Unit:
			errs = errors.Join(errs, undoer.Undo(ctx, c, trace))
		}
	}
	return errors.Join(errs, u.Installer.Host.Systemd.Reload(ctx))
}

// restore puts back what the old program can't make anew: its environments, its database and its config.
func (u *Upgrader) restore(ctx context.Context, change *Change) error {
	files, old := u.Installer.Host.Files, change.Old
	hub, ok := environment.Find(files, environment.Hub, old.Hub)
	if !ok {
		return fmt.Errorf("the hub environment of %s is not there any more", old.Version)
	}
	lost, err := u.lost(ctx, keptDatabase(old.Version))
	if err != nil {
		return err
	}
	live, _ := environment.Current(files, environment.Hub)
	if lost.Changed || live.Number != hub.Number {
		if err := u.stopHub(ctx); err != nil {
			return err
		}
	}
	if lost.Changed {
		if _, err := u.database(ctx, "back", keptDatabase(old.Version), liveDatabase); err != nil {
			return fmt.Errorf("cannot put the database back: %w", err)
		}
	}
	if err := environment.Switch(files, hub); err != nil {
		return err
	}
	if user, ok := environment.Find(files, environment.User, old.User); ok {
		if err := environment.Switch(files, user); err != nil {
			return err
		}
	}
	if err := u.restoreConfig(change); err != nil {
		return err
	}
	return change.enter(files, switchover.Restored)
}

func (u *Upgrader) restoreConfig(change *Change) error {
	text, err := u.Installer.Host.Files.Read(keptConfig(change.Old.Version))
	if notThere(err) {
		return nil // it stays as it is
	}
	if err != nil {
		return err
	}
	for _, file := range []string{layout.Config, layout.Applied} {
		if err := u.Installer.Host.Files.Write(file, text, secret); err != nil {
			return err
		}
	}
	return nil
}

// settleOld lets the old release's own program see to the rest: itself, its units and rules, and the proof that it works.
func (u *Upgrader) settleOld(ctx context.Context, change *Change) error {
	run := u.Installer.Report.Step("settle", "let "+change.Old.Version+" put itself in order", "going back")
	_, err := u.Installer.Host.Runner.Run(ctx, host.Command{
		Argv: []string{u.Installer.Host.Files.Path(program(change.Old.Version)), "upgrade", "--settle", "--yes"}, Env: settleEnv(u.Installer.Builder.Environ),
	})
	if err != nil {
		run.Failed(err)
		return err
	}
	run.Done()
	return watchAnew(ctx, u.Installer.Host, u.Installer.Report)
}

// settleEnv is what the old program may need: a person's settings for package sources.
func settleEnv(environ []string) []string {
	if len(environ) == 0 {
		environ = os.Environ()
	}
	kept := slices.DeleteFunc(slices.Clone(environ), func(pair string) bool { return strings.HasPrefix(pair, "PATH=") })
	return append(kept, "PATH="+host.Path)
}

// noteBack keeps that the old release is the one that is installed.
func (u *Upgrader) noteBack(change *Change) error {
	files := u.Installer.Host.Files
	releases, err := LoadReleases(files)
	if err != nil {
		return err
	}
	if releases.Live == nil || releases.Live.Version != change.Old.Version {
		old := change.Old
		old.Since = u.Installer.Now().UTC().Truncate(time.Second)
		if user, ok := environment.Current(files, environment.User); ok {
			old.User = user.Number
		}
		if old.Packages, err = environment.PackagesDigest(files); err != nil {
			return err
		}
		releases.Live, releases.Before, releases.Left = &old, nil, change.New
		releases.passed(u.Installer.Now(), "rollback", releases.Live)
		if err := releases.save(files); err != nil {
			return err
		}
	}
	if err := change.end(files); err != nil {
		return err
	}
	return releases.tidy(files)
}

// Settle is the old program's part in going back. Whoever asks for it holds the lock.
func (u *Upgrader) Settle(ctx context.Context) error {
	in, err := Gather(ctx, u.Installer.Host, Options{})
	if err != nil {
		return err
	}
	defer in.Close()
	UseSources(u.Installer.Builder, in.Config)
	u.Installer.Begin()
	plan, err := settlePlan(in, u.Installer.Builder)
	if err != nil {
		return err
	}
	receipt, err := journal.LoadReceipt(u.Installer.Host.Files, u.Installer.Now)
	if err != nil {
		return err
	}
	executor := &journal.Executor{Host: u.Installer.Host, Receipt: receipt, Report: u.Installer.Report}
	if _, err := executor.Run(ctx, plan); err != nil {
		return err
	}
	if err := proof.New(u.Installer.Host, u.Installer.Report, in.Config).Whole(ctx); err != nil {
		return &UnprovedError{Err: err}
	}
	if err := remember(u.Installer.Host.Files, u.Installer.Now, in.ConfigText, u.Installer.Who, "back to "+version.Version); err != nil {
		return err
	}
	return executor.Finish(true)
}

// Rollback goes back to the release before.
func (u *Upgrader) Rollback(ctx context.Context) (*Upgraded, error) {
	start, received := u.Installer.Now(), report.Received(u.Installer.Host.Files)
	files := u.Installer.Host.Files
	releases, err := installed(files)
	if err != nil {
		return nil, err
	}
	change, err := u.rollbackOf(releases)
	if err != nil {
		return nil, err
	}
	text, err := u.whatIsLost(ctx, releases, change)
	if err != nil {
		return nil, err
	}
	if err := u.Ask(text, "Go back now? Single-user servers keep running; the hub is away for a few seconds."); err != nil {
		return nil, err
	}
	unlock, err := u.Installer.lockAll(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	u.Installer.Begin()
	plan, err := u.presentPlan(ctx)
	if err != nil {
		return nil, err
	}
	if err := u.keepNewer(ctx, releases.Live.Version); err != nil {
		return nil, err
	}
	if err := switchover.Reserve(files, releaseRoom(files)); err != nil {
		return nil, err
	}
	if err := change.enter(files, switchover.Back); err != nil {
		return nil, errors.Join(err, files.Remove(layout.Room)) // which would be kept for nothing
	}
	if err := switchover.GoBack(ctx, files, u.Installer.Report, &releaseSwitchover{u: u, change: change, plan: plan}, nil); err != nil {
		return nil, err
	}
	return &Upgraded{From: releases.Live.Version, To: change.Old.Version, Seconds: u.Installer.Now().Sub(start).Seconds(), Received: received()}, nil
}

// rollbackOf sees that all is there that a rollback needs.
func (u *Upgrader) rollbackOf(releases *Releases) (*Change, error) {
	files, before := u.Installer.Host.Files, releases.Before
	if before == nil {
		return nil, &SkewRefused{host.Hint(fmt.Errorf("there is no release before %s on this machine", releases.Live.Version), "tljh-install releases shows what is there")}
	}
	hub, ok := environment.Find(files, environment.Hub, before.Hub)
	switch {
	case !ok:
		return nil, fmt.Errorf("the hub environment of %s is not there any more", before.Version)
	case environment.Damaged(files, hub) != "":
		return nil, fmt.Errorf("the hub environment of %s is damaged: %s", before.Version, environment.Damaged(files, hub))
	case !files.Exists(program(before.Version)):
		return nil, fmt.Errorf("the program of %s is not there any more", before.Version)
	}
	old := *before
	// A user environment that was changed since stays, and gets the JupyterHub of the release before.
	if digest, err := environment.PackagesDigest(files); err != nil || digest != releases.Live.Packages {
		old.User = 0
	}
	return &Change{Rollback: true, Old: old, New: releases.Live.Version, From: releases.Live.From}, nil
}

// whatIsLost says what a rollback does, and what nobody will have any more after it.
func (u *Upgrader) whatIsLost(ctx context.Context, releases *Releases, change *Change) (string, error) {
	lost, err := u.lost(ctx, keptDatabase(change.Old.Version))
	if err != nil {
		return "", err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "\nGo back from %s to %s (JupyterHub %s → %s)\n\n", releases.Live.Version, change.Old.Version, releases.Live.JupyterHub, change.Old.JupyterHub)
	switch words := lost.text(); {
	case !lost.Changed:
		text.WriteString("The database stays: both releases read it, and nothing in it is lost.\n")
	case words == "":
		fmt.Fprintf(&text, "The hub gets its database of %s back. Nothing was added since.\n", releases.Live.Since.Format(time.DateTime))
	default:
		fmt.Fprintf(&text, "The hub gets its database of %s back. Lost is what came since:\n%s", releases.Live.Since.Format(time.DateTime), words)
	}
	now, err := u.Installer.Host.Files.Read(layout.Config)
	if err != nil {
		return "", fmt.Errorf("cannot read the config: %w", err)
	}
	kept, err := u.Installer.Host.Files.Read(keptConfig(change.Old.Version))
	if err == nil && !bytes.Equal(now, kept) {
		text.WriteString("\nThe config is again what it was:\n" + config.Diff(now, kept, "config.yaml now", "config.yaml of "+change.Old.Version))
	}
	text.WriteString("\nHomes, passwords and the packages that users work with stay.\n")
	return text.String(), nil
}

// keepNewer keeps the database and the config of a release that is gone back from, for whoever misses something in them.
func (u *Upgrader) keepNewer(ctx context.Context, version string) error {
	files, dir := u.Installer.Host.Files, keptDir(version)
	for _, each := range []string{layout.Kept, dir} {
		if err := files.Mkdir(each, private); err != nil {
			return err
		}
	}
	text, err := files.Read(layout.Config)
	if err != nil {
		return err
	}
	if err := files.Write(keptConfig(version), text, secret); err != nil {
		return err
	}
	if !files.Exists(liveDatabase) {
		return nil
	}
	_, err = u.database(ctx, "copy", liveDatabase, keptDatabase(version))
	return err
}
