package installer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"tljh/config"
	"tljh/environment"
	"tljh/internal/check"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/step"
)

// Phases of taking over an older TLJH, beside those of a change of the release: preparing and back mean the same there.
const phaseProved = "proved" // the new hub works: what is left of the older one is to go

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

// loadAdoption returns nil when none is under way.
func loadAdoption(files host.Files) (*Adoption, error) {
	data, err := files.Read(layout.Adopt)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read whether an older TLJH is being taken over: %w", err)
	}
	a := &Adoption{}
	if err := json.Unmarshal(data, a); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", layout.Adopt, err)
	}
	return a, nil
}

func (a *Adoption) enter(files host.Files, phase string) error {
	a.Phase = phase
	data, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return files.Write(layout.Adopt, append(data, '\n'), secret)
}

// begun tells whether the older hub has been touched.
func (a *Adoption) begun() bool { return a != nil && a.Phase != phasePreparing }

// begin journals how the older one stands, before anything of ours is there.
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
	return a, a.enter(files, phasePreparing)
}

// NotAdoptedError tells that an older TLJH could not be taken over, and that it is running again.
type NotAdoptedError struct{ Err error }

func (e *NotAdoptedError) Error() string {
	return fmt.Sprintf("the older TLJH could not be taken over: %v\nEverything is as it was: the older TLJH is running again", e.Err)
}
func (e *NotAdoptedError) Unwrap() error { return e.Err }

// adopt takes over the older TLJH, or leaves it running as it was.
func (i *Installer) adopt(ctx context.Context, in *Inputs) (Outcome, error) {
	files, a := i.Host.Files, in.adoption
	if a != nil && a.Phase == phaseBack {
		return Outcome{}, i.giveBack(ctx, in, a, errors.New(a.Why))
	}
	if a == nil && len(in.older.missing) > 0 {
		return Outcome{}, errors.New("the older TLJH is not whole: it cannot be taken over")
	}
	if a == nil {
		var err error
		if a, err = i.beginAdoption(ctx, in.older, in.fresh); err != nil {
			return Outcome{}, err
		}
	}
	if a.Phase == phasePreparing {
		if err := i.chooseEnvironment(a, in.fresh); err != nil {
			return Outcome{}, err
		}
		if err := i.run(ctx, func() (Plan, error) { return aheadOfAdoption(in, i.Builder) }); err != nil {
			return Outcome{}, err
		}
		// How its units stand may have changed since it was journalled.
		var err error
		if a.Units, err = i.olderUnitsNow(ctx); err != nil {
			return Outcome{}, err
		}
		if err := a.enter(files, phaseSwitching); err != nil {
			return Outcome{}, err
		}
	}
	var outcome Outcome
	if a.Phase == phaseSwitching {
		var err error
		if outcome, err = i.takeOver(ctx, in, a); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return outcome, i.giveBack(ctx, in, a, err)
		}
		if err := a.enter(files, phaseProved); err != nil {
			return outcome, err
		}
	}
	return outcome, i.retire(ctx, a)
}

// chooseEnvironment removes what was built by a run that was told otherwise.
func (i *Installer) chooseEnvironment(a *Adoption, fresh bool) error {
	if a.Fresh == fresh {
		return nil
	}
	all, _, err := environment.Generations(i.Host.Files, environment.User)
	for _, generation := range all {
		err = errors.Join(err, i.Host.Files.RemoveTree(generation.Path()))
	}
	a.Fresh = fresh
	return errors.Join(err, a.enter(i.Host.Files, phasePreparing))
}

// managerOfAdoption is what the user environment is changed with afterwards: what it was made by, where it is there.
func (in *Inputs) managerOfAdoption(files host.Files) ManagerChoice {
	fresh := in.fresh
	if in.adoption.begun() {
		fresh = in.adoption.Fresh
	}
	user, ok := environment.NewestUser(files)
	switch {
	case !fresh:
		return ManagerChoice{Name: environment.Conda{}.Name()}
	case ok && in.adoption != nil && in.adoption.Fresh:
		return ManagerChoice{Name: user.Manager}
	}
	return in.Manager
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
func (i *Installer) run(ctx context.Context, make func() (Plan, error)) error {
	plan, err := make()
	if err != nil {
		return err
	}
	receipt, err := LoadReceipt(i.Host.Files, i.Now)
	if err != nil {
		return err
	}
	executor := &Executor{Host: i.Host, Receipt: receipt, Report: i.Report}
	_, err = executor.Run(ctx, plan)
	return err
}

func (i *Installer) takeOver(ctx context.Context, in *Inputs, a *Adoption) (Outcome, error) {
	if err := i.run(ctx, func() (Plan, error) { return i.adoptionPlan(in, a) }); err != nil {
		return Outcome{}, err
	}
	if user, ok := environment.NewestUser(i.Host.Files); ok {
		in.Manager = ManagerChoice{Name: user.Manager} // which may not be what was asked first
	}
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

const phaseOlder = "the older TLJH"

// olderKernel is the name of the kernel that its user environment becomes where a new one is built.
const olderKernel = "older"

// aheadOfAdoption builds all that is new while the older hub runs.
func aheadOfAdoption(in *Inputs, b *environment.Builder) (Plan, error) {
	p := &planner{in: in, builder: b}
	for _, dir := range folders {
		p.then(phaseFolders, dir)
	}
	p.then(phaseFolders, step.Account{Name: layout.EnvironmentUser})
	if err := p.authorities(phaseFolders); err != nil {
		return Plan{}, err
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
		Name: idNewUser, What: "build a new user environment with " + choice.Name + " beside the live one", Look: there,
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
func (i *Installer) adoptionPlan(in *Inputs, a *Adoption) (Plan, error) {
	p := &planner{builder: i.Builder}
	p.then(phaseOlder, step.Task{
		Name: idOlderServices, What: "stop the older hub, its proxy and its users' servers",
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
		Name: idOlderState, What: "take over database, passwords, certificates and environments",
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

func (i *Installer) stopOlder(ctx context.Context) error {
	running, err := i.olderRunning(ctx)
	if err != nil {
		return err
	}
	c := &step.Context{Host: i.Host}
	for _, name := range running {
		if slices.Contains(check.OlderUnits, name) {
			if err := i.Host.Systemd.Disable(ctx, name); err != nil {
				return err
			}
		}
		if err := step.StopUnit(ctx, c, name); err != nil {
			return err
		}
	}
	return nil
}

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

// olderFile may lie on another file system.
type olderFile struct{ path string }

func (f olderFile) stands(files host.Files) bool {
	data, regular, err := files.ReadFile(f.path)
	return err == nil && regular && !step.Marked(data)
}

func (f olderFile) aside(files host.Files) error { return carry(files, f.path, olderPlace(f.path)) }
func (f olderFile) back(files host.Files) error  { return carry(files, olderPlace(f.path), f.path) }

// carry moves a file. The copy is whole before the original goes.
func carry(files host.Files, from, to string) error {
	data, regular, err := files.ReadFile(from)
	if err != nil || !regular {
		return err
	}
	info, err := files.Lstat(from)
	if err != nil {
		return err
	}
	if err := files.Write(to, data, host.AttrOf(info)); err != nil {
		return err
	}
	return files.Remove(from)
}

type olderLink struct{ path string }

func (l olderLink) stands(files host.Files) bool {
	target, err := files.Readlink(l.path)
	return err == nil && strings.HasPrefix(target, layout.Hub+"/")
}

func (l olderLink) aside(files host.Files) error { return carryLink(files, l.path, olderPlace(l.path)) }
func (l olderLink) back(files host.Files) error  { return carryLink(files, olderPlace(l.path), l.path) }

func carryLink(files host.Files, from, to string) error {
	target, err := files.Readlink(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = files.Link(target, to)
	}
	if err != nil {
		return err
	}
	return files.Remove(from)
}

// olderDir is a folder, where ours has a link.
type olderDir struct{ path string }

func (d olderDir) stands(files host.Files) bool { return isFolder(files, d.path) }
func (d olderDir) aside(files host.Files) error { return files.Rename(d.path, olderPlace(d.path)) }

func (d olderDir) back(files host.Files) error {
	if !isFolder(files, olderPlace(d.path)) {
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
	for _, p := range []string{layout.Units, path.Dir(olderSudoers), path.Dir(olderConfigLink), layout.State, layout.ConfigDir} {
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
	hub, ok := environment.ReadyHub(files)
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
	python := path.Join(hub.Path(), "bin/python")
	if files.Exists(liveDatabase) {
		kept := olderPlace(liveDatabase)
		if !files.Exists(kept) {
			if err := i.python(ctx, python, "tljh.database", "copy", files.Path(liveDatabase), files.Path(kept)); err != nil {
				return fmt.Errorf("cannot copy its database: %w", err)
			}
		}
		if err := i.python(ctx, python, "tljh.older", "database", files.Path(kept), files.Path(liveDatabase)); err != nil {
			return fmt.Errorf("cannot take over its database: %w", err)
		}
	}
	err := i.python(ctx, python, "tljh.older", "passwords", files.Path(layout.State), a.DBM, files.Path(olderPlace(layout.Hub)+"/bin/python3"), "/usr/bin/python3")
	if err != nil {
		return fmt.Errorf("cannot take over its passwords: %w", err)
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

// takeCertificates puts those of Traefik where the door looks for them. systemd gives the folder to the door's account when it starts it first, so
// there is nothing to be put once that has happened.
func takeCertificates(files host.Files, https config.HTTPS) error {
	inherited, err := inheritedCertificates(files, https)
	if err != nil || len(inherited) == 0 { // which was said before
		return nil
	}
	folder := privateOf(layout.EdgeState)
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
	run := i.Report.Step("older-gone", "remove what is left of the older TLJH", phaseOlder)
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
	gone := []string{}
	for _, name := range olderStateFiles {
		gone = append(gone, path.Join(layout.State, name))
	}
	for _, ext := range []string{"", ".db", ".dat", ".dir", ".pag", ".bak"} {
		gone = append(gone, path.Join(layout.State, a.DBM+ext))
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
	receipt, err := LoadReceipt(i.Host.Files, i.Now)
	if err != nil {
		return err
	}
	for _, name := range []string{layout.AdminsGroup, layout.UsersGroup} {
		group := step.Group{Name: name}
		if receipt.knows(group.ID()) {
			continue
		}
		for _, record := range []Record{{Event: eventBegin, Step: group.ID(), Before: &step.Before{}}, {Event: eventEnd, Step: group.ID()}} {
			if err := receipt.write(record); err != nil {
				return err
			}
		}
	}
	return receipt.write(Record{Event: eventDone})
}

// giveBack takes away what is ours and starts the older one again. It is not interrupted: half of it would be worse than either whole.
func (i *Installer) giveBack(ctx context.Context, in *Inputs, a *Adoption, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), backTime)
	defer cancel()
	if a.Phase != phaseBack {
		i.Report.Note("it did not work: going back to the older TLJH")
		a.Why = cause.Error()
	}
	err := a.enter(i.Host.Files, phaseBack)
	if err == nil {
		err = i.restoreOlder(ctx, in, a)
	}
	if err != nil {
		return host.Hint(errors.Join(cause, fmt.Errorf("going back to the older TLJH failed, too: %w", err)), "the same command tries to go back again; what was there is in %s", layout.Older)
	}
	return &NotAdoptedError{cause}
}

func (i *Installer) restoreOlder(ctx context.Context, in *Inputs, a *Adoption) error {
	files := i.Host.Files
	if files.Exists(layout.Receipt) {
		if err := i.dismantleOurs(ctx); err != nil {
			return err
		}
		// What comes back now must not be taken for ours that somebody changed.
		if err := files.Remove(layout.Receipt); err != nil {
			return err
		}
	}
	for _, piece := range slices.Backward(olderPieces) {
		if err := piece.back(files); err != nil {
			return err
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
	if err := i.startOlder(ctx, in, a); err != nil {
		return err
	}
	if err := forgetOurs(files, layout.ConfigDir, a.Config); err != nil {
		return err
	}
	if err := forgetOurs(files, layout.State, append(slices.Clone(a.State), path.Base(layout.Adopt))); err != nil {
		return err
	}
	return errors.Join(files.RemoveWhole(layout.Older), files.Remove(layout.Adopt))
}

// forgetOurs removes from a folder what was not there before us.
func forgetOurs(files host.Files, dir string, but []string) error {
	names, err := files.List(dir)
	for _, name := range names {
		if err == nil && !slices.Contains(but, name) {
			err = files.RemoveWhole(path.Join(dir, name))
		}
	}
	return err
}

// answerAgain is how long the older hub may take to answer when it was started again.
const answerAgain = 2 * time.Minute

func (i *Installer) startOlder(ctx context.Context, in *Inputs, a *Adoption) error {
	run := i.Report.Step("older-again", "start the older TLJH again", phaseOlder)
	err := i.Host.Systemd.Reload(ctx)
	was := false
	for _, unit := range slices.Backward(a.Units) { // the proxy before the hub, which needs it
		if err == nil && unit.Enabled {
			err = i.Host.Systemd.Enable(ctx, unit.Name)
		}
		if err == nil && unit.Active {
			was, err = true, i.Host.Systemd.Do(ctx, "start", unit.Name)
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

// dismantleOurs undoes what the receipt tells, but for accounts of people, config, state and this program.
func (i *Installer) dismantleOurs(ctx context.Context) error {
	u := &Uninstaller{Host: i.Host, Report: i.Report, Now: i.Now, back: true}
	d, err := u.prepare(UninstallOptions{})
	if err != nil {
		return err
	}
	if err := d.run(ctx); err != nil {
		return err
	}
	if len(d.removal.Failed) > 0 {
		return errors.New(strings.Join(d.removal.Failed, "\n"))
	}
	return nil
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
	return host.Hint(errors.New("taking over the older TLJH was interrupted"), "complete it first: tljh-install install")
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
	return i.Ask(takeoverOf(i.Host.Files, in), "Take it over now? Users' servers are stopped, and nobody can work for some minutes at most.")
}
