package installer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"tljh/config"
	"tljh/environment"
	"tljh/installer/journal"
	"tljh/installer/proof"
	"tljh/installer/switchover"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/release"
	"tljh/internal/report"
	"tljh/internal/version"
)

// Upgrader puts one release in another's place.
//
// An upgrade has two halves. The installed program finds the release, judges and fetches it, and hands over to the release's own program, which knows
// what it needs: that one builds the new environments while all goes on, switches, proves itself, and goes back when it can't. Going back ends with
// the old program, which knows what it had.
type Upgrader struct {
	Installer Installer // what the two have in common: the machine, its plan and its lock

	// Ask shows what is about to happen and tells whether to go on.
	Ask func(text, question string) error
}

// Upgraded is what an upgrade or a rollback has to tell at its end.
type Upgraded struct {
	From     string  `json:"from"`
	To       string  `json:"to"`
	Seconds  float64 `json:"seconds"`
	Received int64   `json:"received_bytes"`
}

// TakenBackError tells that a new release did not work, and that the one before it is running again.
type TakenBackError struct {
	Err      error
	New, Old string
}

func (e *TakenBackError) Error() string {
	return fmt.Sprintf("the upgrade to %s failed: %v\nEverything is as it was: %s is running", e.New, e.Err, e.Old)
}
func (e *TakenBackError) Unwrap() error { return e.Err }

// NotInstalled is what is said of a machine without a hub.
const NotInstalled = "there is no hub on this machine"

// errNotInstalled is what commands say that need an installation.
var errNotInstalled = host.Hint(errors.New(NotInstalled), "install it first: sudo tljh-install install")

// installed returns the releases of this machine's installation.
func installed(files host.Files) (*Releases, error) {
	if err := adopting(files); err != nil {
		return nil, err
	}
	if !files.Exists(layout.Hub) {
		return nil, errNotInstalled
	}
	releases, err := LoadReleases(files)
	if err == nil && releases.Live == nil {
		releases.Live = thisRelease(files, time.Now(), version.ReleaseURL)
		if live, ok := environment.Current(files, environment.Hub); ok {
			releases.Live.Since = live.Created
		}
	}
	return releases, err
}

// rightRelease refuses to install over another release: what it has would not be taken over, and there would be no way back.
func rightRelease(files host.Files) error {
	releases, err := LoadReleases(files)
	if err != nil || releases.Live == nil || releases.Live.Version == version.Version {
		return err
	}
	from, fromErr := release.Parse(releases.Live.Version)
	to, toErr := release.Parse(version.Version)
	if fromErr != nil || toErr != nil {
		return nil
	}
	return &SkewRefused{otherRelease(from, to, "")}
}

// SkewRefused tells that a release can't take another's place this way. Nothing has been changed.
type SkewRefused struct{ Err error }

func (e *SkewRefused) Error() string { return e.Err.Error() }
func (e *SkewRefused) Unwrap() error { return e.Err }

// judgeMove refuses what is no step forward; it reports whether there is a step at all.
func judgeMove(from, to string) (bool, error) {
	a, err := release.Parse(from)
	if err != nil {
		return false, err
	}
	b, err := release.Parse(to)
	if err != nil {
		return false, err
	}
	if err := release.Judge(a, b); err != nil {
		return false, &SkewRefused{err}
	}
	return a.MoveTo(b) == release.Forward, nil
}

// Stage fetches a release's program to where it takes over from.
func (u *Upgrader) Stage(ctx context.Context, shop *release.Shop, offer *release.Offer) (string, error) {
	to := program(offer.Version.String())
	for _, dir := range []string{layout.Releases, path.Dir(to)} {
		if err := u.Installer.Host.Files.Mkdir(dir, rootDir); err != nil {
			return "", err
		}
	}
	run := u.Installer.Report.Step("fetch release", "fetch "+offer.Version.String()+" from "+offer.From, "release")
	if err := shop.Fetch(ctx, offer, to); err != nil {
		run.Failed(err)
		return "", err
	}
	run.Done()
	return to, nil
}

// StageSelf keeps this very program as the one that takes over: it was put in the installed one's place by other means than upgrade.
func (u *Upgrader) StageSelf() error {
	return keepProgram(u.Installer.Host.Files, version.Version)
}

// Staged returns the program of an upgrade that was interrupted while it switched; "" when there is none. One that was to go back is told by back.
func Staged(files host.Files) (staged string, back bool, err error) {
	change, err := loadChange(files)
	if err != nil || change == nil {
		return "", false, err
	}
	switch {
	case change.Phase == switchover.Back || change.Phase == switchover.Restored:
		return "", true, nil
	case change.Phase == switchover.Switching && files.Exists(program(change.New)):
		return program(change.New), false, nil
	}
	return "", false, nil
}

// Begun makes sure that the machine knows its release, and its program, before another comes.
func (u *Upgrader) Begun() (*Releases, error) {
	releases, err := installed(u.Installer.Host.Files)
	if err != nil {
		return nil, err
	}
	if releases.Live.Version == version.Version {
		err = noteInstalled(u.Installer.Host.Files, u.Installer.Now())
	}
	return releases, err
}

// takeover is all that a new release's program needs to take over.
type takeover struct {
	releases *Releases
	change   *Change // nil, or of an upgrade to this release that was interrupted
	in       *Inputs
	before   []byte   // the config as it was
	why      []string // it is changed
}

// gather reads what is there, as it would be under this release.
func (u *Upgrader) gather(ctx context.Context) (*takeover, error) {
	files := u.Installer.Host.Files
	releases, err := installed(files)
	if err != nil {
		return nil, err
	}
	t := &takeover{releases: releases}
	if t.change, err = loadChange(files); err != nil {
		return nil, err
	}
	if t.change != nil && (t.change.New != version.Version || t.change.Phase != switchover.Switching) {
		t.change = nil // nothing was touched
	}
	schema, from := releases.Live.Schema, layout.Config
	if t.change != nil {
		// The config may be this release's already.
		schema, from = t.change.Old.Schema, keptConfig(t.change.Old.Version)
	} else if forward, err := judgeMove(releases.Live.Version, version.Version); err != nil || !forward {
		return nil, errors.Join(err, ErrUpToDate)
	}
	if t.before, err = files.Read(from); err != nil {
		if lost := configLost(files); lost != nil && from == layout.Config {
			return nil, lost
		}
		return nil, fmt.Errorf("cannot read the config: %w", err)
	}
	text, why, err := config.Migrate(t.before, schema)
	if err != nil {
		return nil, badInput(err)
	}
	t.why = why
	cfg, problems := config.Parse(layout.Config, text)
	if problems.Err() != nil {
		return nil, badInput(host.Hint(fmt.Errorf("the config is not valid for %s:\n%s", version.Version, strings.TrimRight(problems.Text(), "\n")),
			"correct it (tljh-install config edit), then run the same command again"))
	}
	t.in = &Inputs{Facts: u.Installer.Host.Facts(ctx), ConfigText: text, Config: cfg}
	return t, nil
}

// ErrUpToDate tells that this program's release is the one that is installed.
var ErrUpToDate = errors.New("there is nothing to upgrade")

// old is the release that this one takes the place of.
func (t *takeover) old() Release {
	if t.change != nil {
		return t.change.Old
	}
	return *t.releases.Live
}

// text says what an upgrade is about to do.
func (t *takeover) text() string {
	old := t.old()
	var text strings.Builder
	fmt.Fprintf(&text, "\nUpgrade from %s to %s\n\n", old.Version, version.Version)
	for _, row := range [][3]string{
		{"JupyterHub", old.JupyterHub, environment.JupyterHubVersion()}, {"proxy", old.Proxy, environment.ProxyVersion()}, {"Python", old.Python, environment.PythonRelease},
	} {
		words := row[1] + " → " + row[2]
		if row[1] == row[2] {
			words = row[2] + " stays"
		}
		fmt.Fprintf(&text, "  %-12s%s\n", row[0], words)
	}
	if len(t.why) == 0 {
		fmt.Fprintf(&text, "  %-12s%s\n", "config", "stays as it is")
		return text.String()
	}
	fmt.Fprintf(&text, "  %-12s%s\n\n", "config", strings.Join(t.why, "; "))
	text.WriteString(config.Diff(t.before, t.in.ConfigText, "config.yaml now", "config.yaml of "+version.Version))
	return text.String()
}

// PlanUpgrade tells what the upgrade to this program would do, and what keeps it from it.
func (u *Upgrader) PlanUpgrade(ctx context.Context) (string, error) {
	t, err := u.gather(ctx)
	if err != nil {
		return "", err
	}
	UseSources(u.Installer.Builder, t.in.Config)
	refused := u.Installer.preflight(ctx, beforeUpgrade, t.in, Auto)
	receipt, err := journal.LoadReceipt(u.Installer.Host.Files, u.Installer.Now)
	if err != nil {
		return "", err
	}
	executor := &journal.Executor{Host: u.Installer.Host, Receipt: receipt, Report: u.Installer.Report}
	for _, make := range []func() (journal.Plan, error){
		func() (journal.Plan, error) { return preparePlan(t.in, u.Installer.Builder) },
		func() (journal.Plan, error) { return u.upgradePlan(t, t.old()) },
	} {
		plan, err := make()
		if err != nil {
			return "", err
		}
		if _, err := executor.DryRun(ctx, plan); err != nil {
			return "", err
		}
	}
	return t.text(), refused
}

// Upgrade makes this program's release the one that is installed.
func (u *Upgrader) Upgrade(ctx context.Context) (*Upgraded, error) {
	start, received := u.Installer.Now(), report.Received(u.Installer.Host.Files)
	t, err := u.gather(ctx)
	if err != nil {
		return nil, err
	}
	UseSources(u.Installer.Builder, t.in.Config)
	if t.change == nil {
		if err := u.Installer.preflight(ctx, beforeUpgrade, t.in, Auto); err != nil {
			return nil, err
		}
		if err := u.Ask(t.text(), "Upgrade now? Single-user servers keep running; the hub is away for a few seconds."); err != nil {
			return nil, err
		}
	}
	unlock, err := u.Installer.lockAll(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	u.Installer.Begin()
	from := t.old().Version
	if err := u.takeOver(ctx, t); err != nil {
		return nil, err
	}
	return &Upgraded{From: from, To: version.Version, Seconds: u.Installer.Now().Sub(start).Seconds(), Received: received()}, nil
}

// takeOver does it, or leaves everything as it was.
func (u *Upgrader) takeOver(ctx context.Context, t *takeover) error {
	if err := sweep(u.Installer.Host.Files); err != nil {
		return err
	}
	change := t.change
	if change == nil {
		var err error
		if change, err = u.newChange(t); err != nil {
			return err
		}
	}
	defer u.hubIsBack(ctx)
	return switchover.Run(ctx, u.Installer.Host.Files, u.Installer.Report, &releaseSwitchover{u: u, change: change, t: t})
}

// newChange is the journal of an upgrade that begins, with what is needed to go back.
func (u *Upgrader) newChange(t *takeover) (*Change, error) {
	files, old := u.Installer.Host.Files, *t.releases.Live
	if hub, ok := environment.Current(files, environment.Hub); ok {
		old.Hub = hub.Number
	}
	if user, ok := environment.Current(files, environment.User); ok {
		old.User = user.Number
	}
	var err error
	if old.Packages, err = environment.PackagesDigest(files); err != nil {
		return nil, err
	}
	if !files.Exists(program(old.Version)) {
		return nil, host.Hint(fmt.Errorf("the program of %s is not kept at %s", old.Version, program(old.Version)), "put it there: without it there is no way back")
	}
	return &Change{Phase: switchover.Preparing, Old: old, New: version.Version, From: u.origin()}, nil
}

// releaseSwitchover puts this release in the place of the one before, or that one back.
type releaseSwitchover struct {
	u      *Upgrader
	change *Change
	t      *takeover // nil on the way back

	plan     journal.Plan // what the new release installs
	executor *journal.Executor
}

// Phase is how far it has come.
func (s *releaseSwitchover) Phase() string { return s.change.Phase }

// Enter journals the next phase.
func (s *releaseSwitchover) Enter(phase string, why error) error {
	if why != nil {
		s.change.Why = why.Error()
	}
	return s.change.enter(s.u.Installer.Host.Files, phase)
}

// Room holds a copy of the database as well, which a release before may need in its own format.
func (s *releaseSwitchover) Room() int64 { return releaseRoom(s.u.Installer.Host.Files) }

// Prepare builds the new release's environments. What fails in it leaves no trace but downloads.
func (s *releaseSwitchover) Prepare(ctx context.Context) error {
	files, t := s.u.Installer.Host.Files, s.t
	if s.Phase() == switchover.Preparing {
		if err := s.u.keep(t); err != nil {
			return err
		}
		if err := s.Enter(switchover.Preparing, nil); err != nil {
			return err
		}
	}
	plan, err := preparePlan(t.in, s.u.Installer.Builder)
	if err != nil {
		return err
	}
	receipt, err := journal.LoadReceipt(files, s.u.Installer.Now)
	if err != nil {
		return err
	}
	s.executor = &journal.Executor{Host: s.u.Installer.Host, Receipt: receipt, Report: s.u.Installer.Report}
	if _, err := s.executor.Run(ctx, plan); err != nil {
		return err
	}
	s.plan, err = s.u.upgradePlan(t, s.change.Old)
	return err
}

// NotBegun forgets an upgrade that was only prepared.
func (s *releaseSwitchover) NotBegun(_ context.Context, cause error) error {
	if s.t.change != nil {
		return cause // it was switching, and can be completed
	}
	return errors.Join(cause, s.change.end(s.u.Installer.Host.Files))
}

// Switch makes the new environments the live ones and wants the hub to work with them.
func (s *releaseSwitchover) Switch(ctx context.Context) error {
	if _, err := s.executor.Run(ctx, s.plan); err != nil {
		return err
	}
	hub := proof.New(s.u.Installer.Host, s.u.Installer.Report, s.t.in.Config)
	hub.Cell = true
	if err := hub.Whole(ctx); err != nil {
		return err
	}
	return taken(ctx, s.u.Installer.Host, s.t.in.ConfigText, s.t.in.Config)
}

// Settle is what is left to do when the new release works.
func (s *releaseSwitchover) Settle(ctx context.Context) error {
	u, files := s.u, s.u.Installer.Host.Files
	if err := remember(files, u.Installer.Now, s.t.in.ConfigText, u.Installer.Who, "upgrade to "+version.Version); err != nil {
		return err
	}
	// It watches the folder that was live.
	if err := watchAnew(ctx, u.Installer.Host, u.Installer.Report); err != nil {
		return err
	}
	if err := s.executor.Finish(true); err != nil {
		return err
	}
	releases := s.t.releases
	releases.Before, releases.Left = &s.change.Old, ""
	releases.Live = thisRelease(files, u.Installer.Now(), u.origin())
	releases.passed(u.Installer.Now(), "upgrade", releases.Live)
	if err := releases.save(files); err != nil {
		return err
	}
	if err := s.change.end(files); err != nil {
		return err
	}
	return errors.Join(keepProgram(files, version.Version), releases.tidy(files))
}

// keep keeps the config of the release that is there. What an earlier attempt kept is of another time.
func (u *Upgrader) keep(t *takeover) error {
	files, dir := u.Installer.Host.Files, keptDir(t.old().Version)
	if err := files.RemoveTree(dir); err != nil {
		return err
	}
	for _, each := range []string{layout.Kept, dir} {
		if err := files.Mkdir(each, private); err != nil {
			return err
		}
	}
	return files.Write(keptConfig(t.old().Version), t.before, secret)
}

// OriginVariable tells the new release's program where it came from.
const OriginVariable = "TLJH_RELEASE_FROM"

func (u *Upgrader) origin() string {
	for _, pair := range u.Installer.Builder.Environ {
		if from, ok := strings.CutPrefix(pair, OriginVariable+"="); ok && from != "" {
			return from
		}
	}
	return version.ReleaseURL
}

// preparePlan builds what the new release needs beside what is there.
func preparePlan(in *Inputs, builder *environment.Builder) (journal.Plan, error) {
	p := &planner{in: in, builder: builder}
	p.ahead()
	return p.plan, p.plan.Valid()
}

// upgradePlan makes what was built the live one, with everything that depends on it.
func (u *Upgrader) upgradePlan(t *takeover, old Release) (journal.Plan, error) {
	p := &planner{in: t.in, builder: u.Installer.Builder, follow: u.followStep(t.in.Config, old)}
	if err := p.folders(); err != nil {
		return journal.Plan{}, err
	}
	if err := p.services(); err != nil {
		return journal.Plan{}, err
	}
	// As many files as an environment has are not looked at while the hub is away.
	p.userDone = []string{idHubUnit}
	p.finally(ownerStep())
	p.finally(snapshotStep(u.Installer.Builder))
	p.watch()
	p.beside(phaseServices, p.cacheStep(), p.last)
	p.beside(phaseServices, outdatedStep(u.Installer.Builder), p.last)
	return p.plan, p.plan.Valid()
}

// settlePlan is an installation's, with a user environment that follows the hub's.
func settlePlan(in *Inputs, builder *environment.Builder) (journal.Plan, error) {
	p := &planner{in: in, builder: builder, match: true}
	return p.whole()
}

func notThere(err error) bool { return errors.Is(err, fs.ErrNotExist) }
