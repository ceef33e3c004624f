package installer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"tljh/config"
	"tljh/environment"
	"tljh/installer/journal"
	"tljh/installer/switchover"
	"tljh/installer/uninstall"
	"tljh/internal/check"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/report"
	"tljh/internal/step"
)

// Adoption is the journal of taking over an older TLJH. It is on disk before each phase begins, and goes when all has ended. Fields are only ever added.
type Adoption struct {
	Phase  string      `json:"phase"`
	Units  []olderUnit `json:"units"`  // as they were
	State  []string    `json:"state"`  // the names that were in the folder of state
	Config []string    `json:"config"` // and in that of the config
	DBM    string      `json:"dbm"`    // its file of passwords
	Fresh  bool        `json:"fresh"`  // a new user environment is built, and its own becomes a kernel
	Why    string      `json:"why,omitempty"`
}

type olderUnit struct {
	Name    string `json:"name"`
	Active  bool   `json:"active"`
	Enabled bool   `json:"enabled"`
}

// adoptCopy is a second copy of the journal, where what it is about lies: without it, nothing could tell whose hub is to run.
const adoptCopy = layout.Older + "/adopt.json"

// loadAdoption returns nil when none is under way.
func loadAdoption(files host.Files) (*Adoption, error) {
	a, err := readAdoption(files, layout.Adopt)
	if err == nil && a != nil {
		return a, nil
	}
	if kept, keptErr := readAdoption(files, adoptCopy); keptErr == nil && kept != nil {
		return kept, nil
	}
	switch {
	case err == nil, errors.Is(err, fs.ErrPermission):
		return nil, err
	case files.Exists(layout.Older):
		return nil, host.Hint(err, "what was set aside of the legacy hub is in %s: restore %s from a backup, then run sudo tljh-install install", layout.Older, layout.Adopt)
	}
	return nil, host.Hint(err, "the legacy hub was not touched yet, and works as before: sudo mv %s %s.damaged; then sudo tljh-install install", layout.Adopt, layout.Adopt)
}

func readAdoption(files host.Files, p string) (*Adoption, error) {
	a, err := switchover.Load[Adoption](files, p, "an adoption")
	if err != nil || a == nil {
		return nil, err
	}
	if _, known := adoptionStates[a.Phase]; !known {
		return nil, fmt.Errorf("cannot read %s: it has no known phase: %q", p, a.Phase)
	}
	return a, nil
}

func (a *Adoption) enter(files host.Files, phase string) error {
	a.Phase = phase
	if err := switchover.Write(files, layout.Adopt, a); err != nil || phase == switchover.Preparing {
		return err
	}
	// On a full disk it goes on without.
	if files.Mkdir(layout.Older, private) == nil {
		_ = switchover.Write(files, adoptCopy, a)
	}
	return nil
}

// begun tells whether the older hub has been touched.
func (a *Adoption) begun() bool { return a != nil && a.Phase != switchover.Preparing }

// beginAdoption journals how the older one stands, before anything of ours is there.
func (i *Installer) beginAdoption(ctx context.Context, older *Older, fresh bool) (*Adoption, error) {
	files := i.Host.Files
	a := &Adoption{DBM: older.dbm, Fresh: fresh}
	var err error
	if a.Units, err = i.olderUnitsNow(ctx); err != nil {
		return nil, err
	}
	if a.State, err = files.List(layout.State); err != nil {
		return nil, err
	}
	if a.Config, err = files.List(layout.ConfigDir); err != nil {
		return nil, err
	}
	return a, a.enter(files, switchover.Preparing)
}

// NotAdoptedError tells that an older TLJH could not be taken over, and that it is running again.
type NotAdoptedError struct{ Err error }

func (e *NotAdoptedError) Error() string {
	return fmt.Sprintf("the legacy hub could not be adopted: %v\nEverything is as it was: the legacy hub is running again", e.Err)
}
func (e *NotAdoptedError) Unwrap() error { return e.Err }

// adopt takes over the older TLJH, or leaves it running as it was.
func (i *Installer) adopt(ctx context.Context, in *Inputs) (journal.Outcome, error) {
	s := &olderSwitchover{i: i, in: in, a: in.adoption}
	switch {
	case s.a != nil && s.a.Phase == switchover.Back:
		return journal.Outcome{}, switchover.GoBack(ctx, i.Host.Files, i.Report, s, errors.New(s.a.Why))
	case s.a == nil && len(in.older.missing) > 0:
		return journal.Outcome{}, errors.New("the legacy hub is incomplete: it cannot be adopted")
	case s.a == nil:
		var err error
		if s.a, err = i.beginAdoption(ctx, in.older, in.fresh); err != nil {
			return journal.Outcome{}, err
		}
	}
	err := switchover.Run(ctx, i.Host.Files, i.Report, s)
	if in.taker != nil {
		in.taker.end()
	}
	return s.outcome, err
}

// olderSwitchover puts this hub in the place of a legacy hub, or that one back.
type olderSwitchover struct {
	i       *Installer
	in      *Inputs
	a       *Adoption
	outcome journal.Outcome
}

// Phase is how far it has come.
func (s *olderSwitchover) Phase() string { return s.a.Phase }

// Enter journals the next phase.
func (s *olderSwitchover) Enter(phase string, why error) error {
	if why != nil {
		s.a.Why = why.Error()
	}
	return s.a.enter(s.i.Host.Files, phase)
}

// Room is for journals, units and links.
func (s *olderSwitchover) Room() int64 { return backRoom }

// Prepare builds all that is new, and starts a process that tries the conversion on copies. A run that resumes the switch
// needs neither.
func (s *olderSwitchover) Prepare(ctx context.Context) (err error) {
	if s.Phase() == switchover.Preparing {
		s.in.taker, err = s.i.prepareAdoption(ctx, s.in, s.a)
	}
	return err
}

// NotBegun ends an adoption before anything of the older one was touched.
func (s *olderSwitchover) NotBegun(ctx context.Context, cause error) error {
	s.a.Phase = switchover.Preparing // which is what the disk knows
	return s.i.notPrepared(ctx, s.a, cause)
}

// Switch stops the legacy hub and wants ours to work with its data.
func (s *olderSwitchover) Switch(ctx context.Context) (err error) {
	s.outcome, err = s.i.takeOver(ctx, s.in, s.a)
	return err
}

// Settle takes away what is left of the older one.
func (s *olderSwitchover) Settle(ctx context.Context) error {
	if err := s.Enter(switchover.Proved, nil); err != nil {
		return err
	}
	return s.i.retire(ctx, s.a)
}

// Restore takes away what is ours and starts the older one again: all by removing and renaming.
func (s *olderSwitchover) Restore(ctx context.Context) error {
	s.i.Report.Note("going back to the legacy hub")
	return s.i.restoreOlder(ctx, s.in, s.a)
}

// GoneBack says what has come of going back.
func (s *olderSwitchover) GoneBack(cause, err error) error {
	if err != nil {
		return host.Hint(errors.Join(cause, fmt.Errorf("going back to the legacy hub failed: %w", err)), "the same command tries to go back again; what was there is in %s", layout.Older)
	}
	return &NotAdoptedError{cause}
}

// prepareAdoption builds all that is new, and returns a process that has tried to take over what the older one knows, and waits for it to be stopped.
func (i *Installer) prepareAdoption(ctx context.Context, in *Inputs, a *Adoption) (*migration, error) {
	if err := i.chooseEnvironment(a, in.fresh); err != nil {
		return nil, err
	}
	if err := i.run(ctx, func() (journal.Plan, error) { return aheadOfAdoption(in, i.Builder) }); err != nil {
		return nil, err
	}
	// How its units stand may have changed since it was journalled.
	var err error
	if a.Units, err = i.olderUnitsNow(ctx); err != nil {
		return nil, err
	}
	return i.beginTaking(ctx, in.Config, a)
}

// beginTaking starts the process that takes over database and passwords. Whatever it could fail in has been tried on copies when it is ready, and all that
// it and the hub need is in memory.
func (i *Installer) beginTaking(ctx context.Context, cfg *config.Config, a *Adoption) (*migration, error) {
	files := i.Host.Files
	hub, ok := environment.ReadyHub(files, cfg.Hub.Packages)
	if !ok {
		return nil, errors.New("the new hub environment is not there")
	}
	ready := path.Join(layout.State, "adopt.ready")
	m, err := beginMigration(ctx, i.Host, ready, path.Join(hub.Path(), "bin/python"), "-m", "tljh.older", "take",
		files.Path(layout.State), a.DBM, files.Path(liveDatabase), files.Path(olderPlace(liveDatabase)), files.Path(ready),
		files.Path(olderPlace(layout.Hub)+"/bin/python3"), files.Path(layout.Hub+"/bin/python3"), "/usr/bin/python3")
	if err != nil {
		return nil, fmt.Errorf("cannot convert copies of its database and passwords: %w", err)
	}
	return m, nil
}

// notPrepared ends an adoption before anything of the older one was touched. On a disk that is full, what was built for it does not stay: people work there.
func (i *Installer) notPrepared(ctx context.Context, a *Adoption, cause error) error {
	if !host.OutOfSpace(i.Host.Files, layout.Root, cause) {
		return host.Hint(cause, "the legacy hub works as before. What was built stays for the next try; tljh-install uninstall removes it")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), switchover.BackLimit)
	defer cancel()
	if err := i.abandon(ctx, a); err != nil {
		return host.Hint(errors.Join(cause, fmt.Errorf("cannot remove what was built: %w", err)), "tljh-install uninstall removes it; the legacy hub works as before")
	}
	return fmt.Errorf("%w\nThe disk is full: what was built was removed again, and the legacy hub works as before", cause)
}

// abandon removes what was built beside the older one, and the journal.
func (i *Installer) abandon(ctx context.Context, a *Adoption) error {
	files := i.Host.Files
	if check.Ours(files) {
		if err := uninstall.ForAdoption(ctx, i.Host, i.Report, i.Now); err != nil {
			return err
		}
		if err := files.Remove(layout.Receipt); err != nil {
			return err
		}
	}
	return errors.Join(uninstall.RemoveAllBut(files, layout.State, a.State), files.RemoveWhole(layout.Older)) // its journal, too
}

// chooseEnvironment removes what was built by a run that was told otherwise.
func (i *Installer) chooseEnvironment(a *Adoption, fresh bool) error {
	if a.Fresh == fresh {
		return nil
	}
	all, _, err := environment.Generations(i.Host.Files, environment.User)
	for _, generation := range all {
		err = errors.Join(err, environment.RemoveGeneration(i.Host.Files, generation.Path()))
	}
	a.Fresh = fresh
	return errors.Join(err, a.enter(i.Host.Files, switchover.Preparing))
}

// managerFor finds out what builds the user environment. An adoption asks for it only where that is open: nothing else is announced.
func (i *Installer) managerFor(ctx context.Context, in *Inputs, asked string) <-chan ManagerChoice {
	if in.older != nil || in.adoption != nil {
		if choice, known := in.managerOfAdoption(i.Host.Files); known {
			chosen := make(chan ManagerChoice, 1)
			chosen <- choice
			return chosen
		}
	}
	return i.chooseManager(ctx, asked)
}

// managerOfAdoption is what the user environment is changed with afterwards: what it was made by, where it is there.
func (in *Inputs) managerOfAdoption(files host.Files) (choice ManagerChoice, known bool) {
	fresh := in.fresh
	if in.adoption.begun() {
		fresh = in.adoption.Fresh
	}
	user, ok := environment.NewestUser(files)
	switch {
	case !fresh:
		return ManagerChoice{Name: environment.Conda{}.Name()}, true
	case ok && in.adoption != nil && in.adoption.Fresh:
		return ManagerChoice{Name: user.Manager}, true
	}
	return ManagerChoice{}, false
}

// olderUnitsNow is how the units of the older one stand.
func (i *Installer) olderUnitsNow(ctx context.Context) ([]olderUnit, error) {
	found := []olderUnit{}
	for _, name := range check.OlderUnits {
		unit, err := i.Host.Systemd.Unit(ctx, name)
		if err != nil {
			return nil, err
		}
		found = append(found, olderUnit{name, unit.Active == "active" || unit.Active == "activating", unit.Enabled == "enabled"})
	}
	return found, nil
}

// run carries out a plan.
func (i *Installer) run(ctx context.Context, make func() (journal.Plan, error)) error {
	plan, err := make()
	if err != nil {
		return err
	}
	receipt, err := journal.LoadReceipt(i.Host.Files, i.Now)
	if err != nil {
		return err
	}
	executor := &journal.Executor{Host: i.Host, Receipt: receipt, Report: i.Report}
	_, err = executor.Run(ctx, plan)
	return err
}

func (i *Installer) takeOver(ctx context.Context, in *Inputs, a *Adoption) (journal.Outcome, error) {
	if err := i.run(ctx, func() (journal.Plan, error) { return i.adoptionPlan(in, a) }); err != nil {
		return journal.Outcome{}, err
	}
	if user, ok := environment.NewestUser(i.Host.Files); ok {
		in.Manager = ManagerChoice{Name: user.Manager} // which may not be what was asked first
	}
	in.switching = true
	return i.change(ctx, in)
}

// Steps of taking over an older TLJH.
const (
	idOlderUser     = "user-environment-older"
	idOlderKernel   = "user-environment-older-kernel"
	idNewUser       = "user-environment-new"
	idOlderServices = "older-services"
	idOlderAside    = "older-aside"
	idOlderState    = "older-state"
)

const phaseOlder = "the legacy hub"

// olderKernel is the name of the kernel that its user environment becomes where a new one is built.
const olderKernel = "older"

// aheadOfAdoption builds all that is new while the older hub runs.
func aheadOfAdoption(in *Inputs, b *environment.Builder) (journal.Plan, error) {
	p := &planner{in: in, builder: b}
	for _, dir := range folders {
		p.then(phaseFolders, dir)
	}
	p.then(phaseFolders, step.Account{Name: layout.EnvironmentUser})
	// What the older one has no part in need not be written while there is no hub.
	p.then(phaseFolders, step.Group{Name: layout.ProxyGroup})
	p.manual()
	if err := p.authorities(phaseFolders); err != nil {
		return journal.Plan{}, err
	}
	p.pythonAndUV()
	p.hubAhead(p.last)
	if in.fresh {
		p.freshUser()
	} else {
		p.conda(olderUserStep(b))
	}
	return p.plan, p.plan.Valid()
}

func olderUserStep(b *environment.Builder) step.Task {
	return step.Task{
		Name: idOlderUser, What: "give a copy of the older user environment JupyterHub " + environment.JupyterHubVersion(),
		Look: present(func(files host.Files) bool { _, ok := environment.AdoptedUser(files, layout.User); return ok }),
		Do: func(ctx context.Context, _ *step.Context) error {
			_, err := b.AdoptUser(ctx, layout.User, func(dir string) error { return handOverDir(b.Host.Files, dir) })
			return err
		},
	}
}

// freshUser builds a user environment as on a fresh machine, and makes a kernel of the older one.
func (p *planner) freshUser() {
	b, choice, from := p.builder, p.in.Manager, p.in.older.Environment.foreign
	p.beside(phaseEnvironments, step.Task{
		Name: idOlderKernel, What: "make the kernel " + olderKernel + " of a copy of the older user environment",
		Look: present(func(files host.Files) bool {
			_, ok := environment.AdoptedKernel(files, layout.User, olderKernel)
			return ok
		}),
		Do: func(ctx context.Context, _ *step.Context) error {
			_, err := b.AdoptKernel(ctx, from, olderKernel, func(dir string) error { return handOverDir(b.Host.Files, dir) })
			return err
		},
	}, p.last)
	there := present(func(files host.Files) bool { _, ok := environment.NewestUser(files); return ok })
	user := step.Task{
		Name: idNewUser, What: "build a new user environment with " + choice.Name + " next to the live one", Look: there,
		Do: func(ctx context.Context, c *step.Context) error { _, err := buildUser(ctx, c, b, choice); return err },
	}
	if choice.Name == (environment.Conda{}).Name() {
		p.conda(user)
		return
	}
	p.beside(phaseEnvironments, fetchStep(b, environment.UserWheels, "fetch the users' packages", there), p.last)
	p.beside(phaseEnvironments, user, idUV, idCompile, idFetch(environment.UserWheels))
}

// adoptionPlan makes what was built live, with what the older one knows. From its first step to its last there is no hub.
func (i *Installer) adoptionPlan(in *Inputs, a *Adoption) (journal.Plan, error) {
	p := &planner{builder: i.Builder}
	p.then(phaseOlder, step.Task{
		Name: idOlderServices, What: "stop the legacy hub, its proxy and its single-user servers",
		Look: func(ctx context.Context, c *step.Context) (step.State, error) {
			stop, err := i.olderRunning(ctx)
			if len(stop) == 0 {
				return step.Same, err
			}
			return step.Different, err
		},
		Do: func(ctx context.Context, _ *step.Context) error { return i.stopOlder(ctx) },
	})
	p.then(phaseOlder, step.Task{
		Name: idOlderAside, What: "set the older one aside in " + layout.Older,
		Look: func(_ context.Context, c *step.Context) (step.State, error) {
			if slices.ContainsFunc(olderPieces, func(piece olderPiece) bool { return piece.stands(c.Host.Files) }) {
				return step.Different, nil
			}
			return step.Same, nil
		},
		Do: func(ctx context.Context, c *step.Context) error { return i.setOlderAside(ctx) },
	})
	p.then(phaseOlder, step.Task{
		Name: idOlderState, What: "convert database and passwords, move certificates and environments",
		Look: func(_ context.Context, c *step.Context) (step.State, error) {
			_, hub := environment.Current(c.Host.Files, environment.Hub)
			_, user := environment.Current(c.Host.Files, environment.User)
			if hub && user {
				return step.Same, nil
			}
			return step.Absent, nil
		},
		Do: func(ctx context.Context, _ *step.Context) error { return i.takeOlderState(ctx, in, a) },
	})
	return p.plan, p.plan.Valid()
}

// olderRunning returns the units of the older one that run or start at boot. Our hub's unit has the same name, and another file.
func (i *Installer) olderRunning(ctx context.Context) ([]string, error) {
	found := []string{}
	for _, name := range check.OlderUnits {
		if !(olderFile{path.Join(layout.Units, name)}).stands(i.Host.Files) {
			continue
		}
		unit, err := i.Host.Systemd.Unit(ctx, name)
		if err != nil {
			return nil, err
		}
		if unit.Active != "inactive" || unit.Enabled == "enabled" {
			found = append(found, name)
		}
	}
	return append(found, olderServers(i.Host.Files)...), nil
}

// stopOlder stops users' servers first, while the hub still serves its pages: they may take their time to end. Those that are started meanwhile end with the hub.
func (i *Installer) stopOlder(ctx context.Context) error {
	running, err := i.olderRunning(ctx)
	if err != nil {
		return err
	}
	units := slices.DeleteFunc(slices.Clone(running), func(name string) bool { return !slices.Contains(check.OlderUnits, name) })
	// What may find no room on the disk comes first: a hub whose servers were stopped while it cannot write takes them for running.
	if err := i.disableOlder(ctx, units...); err != nil {
		return err
	}
	if err := i.stopAtOnce(ctx, olderServers(i.Host.Files)); err != nil {
		return err
	}
	if err := i.stopAtOnce(ctx, running); err != nil {
		return err
	}
	return i.stopAtOnce(ctx, olderServers(i.Host.Files))
}

// stopAtOnce stops units side by side.
func (i *Installer) stopAtOnce(ctx context.Context, units []string) error {
	errs := make([]error, len(units))
	var all sync.WaitGroup
	for n, name := range units {
		all.Go(func() { errs[n] = step.StopUnit(ctx, &step.Context{Host: i.Host}, name) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// disableOlder renames the links that start units at boot. They get their names back without a byte being written. systemd goes by no such name.
func (i *Installer) disableOlder(ctx context.Context, units ...string) error {
	files := i.Host.Files
	for _, name := range units {
		for _, link := range wantsLinks(files, name) {
			if err := files.Rename(link, aside(link)); err != nil {
				return err
			}
		}
	}
	if err := i.Host.Systemd.Reload(ctx); err != nil {
		return err
	}
	for _, name := range units {
		unit, err := i.Host.Systemd.Unit(ctx, name)
		if err != nil {
			return err
		}
		if unit.Enabled == "enabled" {
			if err := i.Host.Systemd.Disable(ctx, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// wantsLinks are the links by which other units start one.
func wantsLinks(files host.Files, name string) []string {
	found := []string{}
	dirs, _ := files.List(layout.Units)
	for _, dir := range dirs {
		if ext := path.Ext(dir); ext != ".wants" && ext != ".requires" {
			continue
		}
		if link := path.Join(layout.Units, dir, name); files.Exists(link) {
			found = append(found, link)
		}
	}
	return found
}

// aside is the name of something of the older one in its own folder, until the new hub has proved itself: neither systemd nor sudo reads a file of that name.
func aside(p string) string { return p + ".tljh-older" }

// olderPlace is where something of the older one is kept until the new hub has proved itself.
func olderPlace(p string) string { return layout.Older + p }

// olderPiece is something of the older one that stands where ours is to be, or that does nothing without it.
type olderPiece interface {
	stands(files host.Files) bool // still, and it is the older one's
	aside(files host.Files) error
	back(files host.Files) error
}

// olderPieces go aside in this order: the unit's file is the first, so that nothing can be started that is half gone.
var olderPieces = []olderPiece{
	olderFile{path.Join(layout.Units, layout.HubUnit)}, olderFile{path.Join(layout.Units, check.OlderProxyUnit)},
	olderFile{olderSudoers}, olderLink{olderConfigLink},
	olderDir{layout.Hub}, olderDir{layout.User},
}

// olderFile stays in its folder, which may be on another file system.
type olderFile struct{ path string }

func (f olderFile) stands(files host.Files) bool {
	data, regular, err := files.ReadFile(f.path)
	return err == nil && regular && !step.Marked(data)
}

func (f olderFile) aside(files host.Files) error { return files.Rename(f.path, aside(f.path)) }
func (f olderFile) back(files host.Files) error  { return nameBack(files, f.path) }

// nameBack gives something its name back, in the place of whatever has it now.
func nameBack(files host.Files, p string) error {
	if _, err := files.Lstat(aside(p)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return files.Rename(aside(p), p)
}

type olderLink struct{ path string }

func (l olderLink) stands(files host.Files) bool {
	target, err := files.Readlink(l.path)
	return err == nil && strings.HasPrefix(target, layout.Hub+"/")
}

func (l olderLink) aside(files host.Files) error { return files.Rename(l.path, aside(l.path)) }
func (l olderLink) back(files host.Files) error  { return nameBack(files, l.path) }

// olderDir is a folder, where ours has a link.
type olderDir struct{ path string }

func (d olderDir) stands(files host.Files) bool { return host.IsFolder(files, d.path) }
func (d olderDir) aside(files host.Files) error { return files.Rename(d.path, olderPlace(d.path)) }

func (d olderDir) back(files host.Files) error {
	if !host.IsFolder(files, olderPlace(d.path)) {
		return nil
	}
	if _, err := files.Readlink(d.path); err == nil {
		if err := files.Remove(d.path); err != nil {
			return err
		}
	}
	return files.Rename(olderPlace(d.path), d.path)
}

func (i *Installer) setOlderAside(ctx context.Context) error {
	files := i.Host.Files
	if err := files.Mkdir(layout.Older, private); err != nil {
		return err
	}
	for _, p := range []string{layout.State, layout.ConfigDir} {
		if err := files.MkdirAll(olderPlace(p), private); err != nil {
			return err
		}
	}
	for _, piece := range olderPieces {
		if !piece.stands(files) {
			continue
		}
		if err := piece.aside(files); err != nil {
			return err
		}
	}
	return i.Host.Systemd.Reload(ctx)
}

// takeOlderState needs no hub running. It can be done again as long as the links do not lead to our environments.
func (i *Installer) takeOlderState(ctx context.Context, in *Inputs, a *Adoption) error {
	files := i.Host.Files
	hub, ok := environment.ReadyHub(files, in.Config.Hub.Packages)
	if !ok {
		return errors.New("the new hub environment is not there")
	}
	// The copy was made of a folder that has another place now.
	user, ok := environment.NewestUser(files)
	if !ok {
		return errors.New("the new user environment is not there")
	}
	if err := i.keepOlderConfig(); err != nil {
		return err
	}
	if in.taker == nil { // an earlier run was ended on its way
		taker, err := i.beginTaking(ctx, in.Config, a)
		if err != nil {
			return err
		}
		defer taker.end()
		in.taker = taker
	}
	if err := in.taker.finish(); err != nil {
		return fmt.Errorf("cannot convert its database and passwords: %w", err)
	}
	if err := takeCertificates(files, in.Config.HTTPS); err != nil {
		return err
	}
	if a.Fresh {
		if err := i.showOlderKernel(); err != nil {
			return err
		}
	}
	if err := environment.Switch(files, hub); err != nil {
		return err
	}
	return environment.Switch(files, user)
}

// takeCertificates puts those of Traefik where the edge looks for them. systemd gives the folder to the edge's account when it starts it first, so
// there is nothing to be put once that has happened.
func takeCertificates(files host.Files, https config.HTTPS) error {
	inherited, err := inheritedCertificates(files, https)
	if err != nil || len(inherited) == 0 { // which was said before
		return nil
	}
	folder := uninstall.PrivateOf(layout.EdgeState)
	if info, err := files.Lstat(folder); err == nil && host.AttrOf(info).UID != 0 {
		return nil
	}
	for name, data := range inherited {
		p := path.Join(folder, name)
		if err := errors.Join(files.MkdirAll(path.Dir(p), private), files.Write(p, data, secret)); err != nil {
			return err
		}
	}
	return nil
}

// showOlderKernel lets everybody's notebooks find the older user environment.
func (i *Installer) showOlderKernel() error {
	files := i.Host.Files
	all, _, err := environment.Generations(files, environment.KernelOf(olderKernel))
	if err != nil || len(all) == 0 {
		return errors.Join(err, errors.New("the kernel of the older user environment is not there"))
	}
	for _, dir := range []string{layout.Kernels, path.Join(layout.Kernels, "env")} {
		if err := files.Mkdir(dir, rootDir); err != nil {
			return err
		}
	}
	if err := environment.Switch(files, all[len(all)-1]); err != nil {
		return err
	}
	return describeKernel(files, ApplyOptions{Kernel: olderKernel}, rootDir)
}

func (i *Installer) python(ctx context.Context, python, module string, arguments ...string) error {
	_, err := i.Host.Runner.Run(ctx, host.Command{Argv: append([]string{python, "-m", module}, arguments...)})
	return err
}

// keepOlderConfig keeps the config as it was before the installation writes it.
func (i *Installer) keepOlderConfig() error {
	files, kept := i.Host.Files, olderPlace(layout.Config)
	data, regular, err := files.ReadFile(layout.Config)
	if err != nil || !regular || files.Exists(kept) {
		return err
	}
	info, err := files.Lstat(layout.Config)
	if err != nil {
		return err
	}
	return files.Write(kept, data, host.AttrOf(info))
}

// olderStateFiles are what only an older hub and its proxy use, below the folder of state; its file of passwords is another.
var olderStateFiles = []string{"traefik.toml", "rules", "acme.json", "traefik-api.secret", "configurable-http-proxy.secret", "jupyterhub-proxy.pid"}

// retire takes away what is left of the older one. The new hub works, and none of this keeps it from doing so.
func (i *Installer) retire(ctx context.Context, a *Adoption) error {
	run := i.Report.Step("older-gone", "remove what is left of the legacy hub", phaseOlder)
	err := i.removeOlder(ctx, a)
	if err != nil {
		run.Failed(err)
		return host.Hint(err, "the new hub is up; run the same command again, which does the rest")
	}
	run.Done()
	return nil
}

func (i *Installer) removeOlder(ctx context.Context, a *Adoption) error {
	files := i.Host.Files
	if err := i.python(ctx, layout.Hub+"/bin/python", "tljh.older", "accounts"); err != nil {
		return err
	}
	if err := i.ownGroups(); err != nil {
		return err
	}
	i.giveBackToAdmins()
	if err := environment.TakeNamed(files, olderPlace(layout.User)); err != nil {
		return fmt.Errorf("cannot move the environments that admins made: %w", err)
	}
	gone := []string{}
	for _, name := range olderStateFiles {
		gone = append(gone, path.Join(layout.State, name))
	}
	for _, ext := range []string{"", ".db", ".dat", ".dir", ".pag", ".bak"} {
		gone = append(gone, path.Join(layout.State, a.DBM+ext))
	}
	for _, piece := range olderPieces {
		switch piece := piece.(type) {
		case olderFile:
			gone = append(gone, aside(piece.path))
		case olderLink:
			gone = append(gone, aside(piece.path))
		}
	}
	for _, name := range check.OlderUnits {
		gone = append(gone, wantsLinks(files, aside(name))...)
	}
	for _, p := range append(gone, layout.Older) {
		if err := files.RemoveWhole(p); err != nil {
			return err
		}
	}
	return files.Remove(layout.Adopt)
}

// ownGroups journals that the older one's groups are ours from now on: uninstalling takes them away.
func (i *Installer) ownGroups() error {
	receipt, err := journal.LoadReceipt(i.Host.Files, i.Now)
	if err != nil {
		return err
	}
	for _, name := range []string{layout.AdminsGroup, layout.UsersGroup} {
		group := step.Group{Name: name}
		if receipt.Knows(group.ID()) {
			continue
		}
		for _, record := range []journal.Record{{Event: journal.EventBegin, Step: group.ID(), Before: &step.Before{}}, {Event: journal.EventEnd, Step: group.ID()}} {
			if err := receipt.Write(record); err != nil {
				return err
			}
		}
	}
	return receipt.Write(journal.Record{Event: journal.EventDone})
}

// restoreOlder brings back the older one, whatever of ours can't be taken away: that is told afterwards.
func (i *Installer) restoreOlder(ctx context.Context, in *Inputs, a *Adoption) error {
	files := i.Host.Files
	var left error // of ours
	if files.Exists(layout.Receipt) {
		// What comes back must not be taken for ours that somebody changed, also when an earlier try brought it back and could not take ours away.
		left = i.asideAgain(a)
		if left == nil {
			left = uninstall.ForAdoption(ctx, i.Host, i.Report, i.Now)
		}
		if left == nil {
			left = files.Remove(layout.Receipt)
		}
	}
	if err := i.piecesBack(); err != nil {
		return errors.Join(left, err)
	}
	if err := errors.Join(left, i.startOlder(ctx, in, a)); err != nil {
		return err
	}
	if err := uninstall.RemoveAllBut(files, layout.ConfigDir, a.Config); err != nil {
		return err
	}
	if err := uninstall.RemoveAllBut(files, layout.State, append(slices.Clone(a.State), path.Base(layout.Adopt))); err != nil {
		return err
	}
	return errors.Join(files.RemoveWhole(layout.Older), files.Remove(layout.Adopt))
}

// asideAgain sets aside what an earlier try to go back brought back.
func (i *Installer) asideAgain(a *Adoption) (err error) {
	files := i.Host.Files
	for _, piece := range olderPieces {
		if _, isDir := piece.(olderDir); !isDir && piece.stands(files) {
			err = errors.Join(err, piece.aside(files))
		}
	}
	for _, unit := range a.Units {
		for _, link := range wantsLinks(files, unit.Name) {
			if unit.Enabled && !files.Exists(aside(link)) {
				err = errors.Join(err, files.Rename(link, aside(link)))
			}
		}
	}
	return err
}

// piecesBack gives everything of the older one its place back, by renaming alone.
func (i *Installer) piecesBack() error {
	files := i.Host.Files
	for _, piece := range slices.Backward(olderPieces) {
		if err := piece.back(files); err != nil {
			return err
		}
	}
	for _, name := range check.OlderUnits {
		for _, link := range wantsLinks(files, aside(name)) {
			if err := nameBack(files, strings.TrimSuffix(link, aside(""))); err != nil {
				return err
			}
		}
	}
	for _, p := range []string{liveDatabase, layout.Config} {
		if !files.Exists(olderPlace(p)) {
			continue
		}
		for _, rest := range []string{"-journal", "-wal", "-shm"} {
			if err := files.Remove(p + rest); err != nil {
				return err
			}
		}
		if err := files.Rename(olderPlace(p), p); err != nil {
			return err
		}
	}
	return nil
}

// answerAgain is how long the older hub may take to answer when it was started again.
const answerAgain = 2 * time.Minute

func (i *Installer) startOlder(ctx context.Context, in *Inputs, a *Adoption) error {
	run := i.Report.Step("older-again", "start the legacy hub again", phaseOlder)
	err := i.Host.Systemd.Reload(ctx)
	was := false
	for _, unit := range slices.Backward(a.Units) { // the proxy before the hub, which needs it
		if unit.Enabled {
			err = errors.Join(err, i.enableAgain(ctx, unit.Name))
		}
		if unit.Active {
			was, err = true, errors.Join(err, i.Host.Systemd.Do(ctx, "start", unit.Name))
		}
	}
	if err == nil && was {
		err = olderAnswers(ctx, in.Config, answerAgain)
	}
	if err != nil {
		run.Failed(err)
		return err
	}
	run.Done()
	return nil
}

// enableAgain makes a unit start at boot, unless its links have come back.
func (i *Installer) enableAgain(ctx context.Context, name string) error {
	unit, err := i.Host.Systemd.Unit(ctx, name)
	if err != nil || unit.Enabled == "enabled" {
		return err
	}
	return i.Host.Systemd.Enable(ctx, name)
}

// NewUninstaller returns what takes an installation back, and leaves an older TLJH as it is.
func NewUninstaller(h *host.Host, r *report.Reporter, now func() time.Time) *uninstall.Uninstaller {
	return &uninstall.Uninstaller{Host: h, Report: r, Now: now, Adoption: adoptionToAbandon}
}

// adoptionToAbandon is what uninstalling asks for.
func adoptionToAbandon(files host.Files) (state []string, found bool, err error) {
	a, err := loadAdoption(files)
	if err != nil || a == nil {
		return nil, false, err
	}
	if a.begun() {
		return nil, false, adopting(files)
	}
	return a.State, true, nil
}

// adopting tells whether an older TLJH is being taken over, for commands that can't do their work meanwhile.
func adopting(files host.Files) error {
	a, err := loadAdoption(files)
	if errors.Is(err, fs.ErrPermission) {
		return nil // who may not see it may not change anything, either
	}
	if err != nil || a == nil {
		return err
	}
	state := adoptionStates[a.Phase]
	return host.Hint(errors.New(state.Words()), "complete it first: %s", state.Command())
}

// resume reads what is known of the older TLJH, and how far taking it over has come.
func (i *Installer) resume(ctx context.Context, in *Inputs) (err error) {
	if in.adoption, err = loadAdoption(i.Host.Files); err != nil || in.adoption.begun() {
		return err
	}
	if in.older, err = lookForOlder(ctx, i.Host, in.Config); err == nil && in.older == nil {
		in.adoption = nil // somebody took it away: its journal is of no use
	}
	return err
}

// agree shows what is about to be done, and asks; never what was begun.
func (i *Installer) agree(in *Inputs) error {
	if in.older == nil || i.Ask == nil {
		return nil
	}
	return i.Ask(takeoverOf(i.Host.Files, in), "Adopt it now? Single-user servers are stopped, and nobody can work for some minutes at most.")
}
