package uninstall

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"tljh/environment"
	"tljh/installer/journal"
	"tljh/internal/check"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/report"
	"tljh/internal/step"
)

// Options is what a person asked uninstall for.
type Options struct {
	RemoveUsers bool // the accounts that the hub made
	Purge       bool // config, database and passwords; with RemoveUsers, homes and shared folders as well
}

func (o Options) everything() bool { return o.RemoveUsers && o.Purge }

// Removal is what uninstalling is going to do, or did, thing by thing.
type Removal struct {
	Items   []step.Fate `json:"items"`
	Failed  []string    `json:"failed,omitempty"` // what could not be undone, and why
	Seconds float64     `json:"seconds,omitempty"`
}

// Nothing tells that there is nothing to undo; what is kept may be there all the same.
func (r *Removal) Nothing() bool {
	return len(r.Failed) == 0 && !slices.ContainsFunc(r.Items, func(fate step.Fate) bool { return fate.Verb != step.Keep })
}

// CannotBeginError tells why nothing was undone yet.
type CannotBeginError struct {
	Err error
}

func (e *CannotBeginError) Error() string { return e.Err.Error() + ". Nothing has been changed" }
func (e *CannotBeginError) Unwrap() error { return e.Err }

// Uninstaller takes an installation back, by what its receipt tells. It needs neither config nor hub, and finishes what was interrupted.
type Uninstaller struct {
	Host   *host.Host
	Report *report.Reporter
	Now    func() time.Time

	// Adoption returns what was in the folder of state before an adoption that has not touched the older TLJH; found is false when none is under way. One that has
	// touched it is an error: its command completes it.
	Adoption func(files host.Files) (state []string, found bool, err error)

	told bool // that the receipt is damaged
	back bool // an older TLJH comes back, or stays: its state and config, and this program, are not looked at

	abandoned bool     // an adoption was begun, and has not touched it
	before    []string // what was in the folder of state then
}

// Plan tells what Uninstall would do.
func (u *Uninstaller) Plan(ctx context.Context, options Options) (*Removal, error) {
	d, err := u.prepare(options)
	if err != nil {
		return nil, err
	}
	removal := d.plan(ctx)
	if ctx.Err() != nil || removal.Nothing() {
		return removal, context.Cause(ctx)
	}
	return removal, d.mayBegin(removal)
}

// Uninstall does it. What can't be undone is told at the end, and keeps nothing else from being undone.
func (u *Uninstaller) Uninstall(ctx context.Context, options Options) (*Removal, error) {
	start := u.Now()
	unlock, err := journal.Lock(ctx, u.Host.Files, u.Now())
	if err != nil {
		return nil, err
	}
	defer unlock()
	if _, err := u.Plan(ctx, options); err != nil {
		return nil, err
	}
	d, err := u.prepare(options)
	if err != nil {
		return nil, err
	}
	if err := d.run(ctx); err != nil {
		return nil, err
	}
	if len(d.removal.Failed) == 0 {
		if err := u.abandon(); err != nil {
			return nil, err
		}
	}
	d.removal.Seconds = u.Now().Sub(start).Seconds()
	return d.removal, nil
}

func (u *Uninstaller) prepare(options Options) (*dismantling, error) {
	if os.Geteuid() != 0 {
		return nil, &CannotBeginError{host.Hint(errors.New("only root can uninstall"), "put sudo in front")}
	}
	if err := u.lookForAdoption(); err != nil {
		return nil, &CannotBeginError{err}
	}
	receipt, err := journal.LoadDamagedReceipt(u.Host.Files, u.Now, func(number int, _ error) error {
		if !u.told {
			u.Report.Warn("", "line %d of the receipt is damaged and was passed over", number)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	u.told = true
	d := &dismantling{Uninstaller: u, options: options, receipt: receipt, removal: &Removal{Items: []step.Fate{}}, gone: map[string]bool{}}
	d.context = &step.Context{
		Host: u.Host, Left: receipt.Left, Save: receipt.Save, Recorded: receipt.Recorded, Progress: func(string, int64, int64) {},
		Aside: d.aside, Deleted: func(p string) bool { return d.gone[p] }, TakeAll: options.everything(),
	}
	return d, d.gather()
}

// lookForAdoption finds out whether an older TLJH is to be left as it is: it has not been touched yet.
func (u *Uninstaller) lookForAdoption() error {
	if u.back || u.Adoption == nil {
		return nil
	}
	state, found, err := u.Adoption(u.Host.Files)
	if err != nil || !found {
		return err
	}
	u.back, u.abandoned, u.before = true, true, state
	return nil
}

// abandon forgets that an older TLJH was to be taken over.
func (u *Uninstaller) abandon() error {
	files := u.Host.Files
	if !u.abandoned {
		return nil
	}
	if err := files.Remove(layout.Receipt); err != nil {
		return err
	}
	return RemoveAllBut(files, layout.State, u.before) // its journal, too
}

// RemoveAllBut removes from a folder what was not there before us.
func RemoveAllBut(files host.Files, dir string, but []string) error {
	names, err := files.List(dir)
	for _, name := range names {
		if err == nil && !slices.Contains(but, name) {
			err = files.RemoveWhole(path.Join(dir, name))
		}
	}
	return err
}

// ForAdoption undoes what the receipt tells, but for accounts of people, config, state and this program.
func ForAdoption(ctx context.Context, h *host.Host, r *report.Reporter, now func() time.Time) error {
	u := &Uninstaller{Host: h, Report: r, Now: now, back: true}
	d, err := u.prepare(Options{})
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

// dismantling is one walk through all that is to be undone.
type dismantling struct {
	*Uninstaller
	options Options
	receipt *journal.Receipt
	context *step.Context
	stages  []stage
	owned   bool // what is in our folder is ours
	removal *Removal
	gone    map[string]bool // what a plan would have deleted so far

	mu       sync.Mutex
	stuck    []work // units that did not stop
	failures []failure
	kept     map[string]bool // the receipt's steps that are not undone
}

// failure is what could not be undone, and why. It is of no work where it came from between them.
type failure struct {
	work
	err error
}

// stage is a part of the walk, whose works are done one after the other, or side by side.
type stage struct {
	name     string
	works    []work
	together bool
	last     bool                  // only as long as all goes well
	after    func(context.Context) // what the works before make necessary
}

// work is one thing to be undone.
type work struct {
	undoer step.Undoer
	trace  step.Trace
}

// plan is the walk without its changes.
func (d *dismantling) plan(ctx context.Context) *Removal {
	for _, stage := range d.stages {
		for _, work := range stage.works {
			fate, err := work.undoer.Fate(ctx, d.context, work.trace)
			if err != nil {
				d.failures = append(d.failures, failure{work, fmt.Errorf("cannot find out what to do with %s: %w", fate.What, err)})
				continue
			}
			d.gone[fate.What] = d.gone[fate.What] || fate.Verb == step.Delete
			d.note(fate)
		}
	}
	d.tell()
	return d.removal
}

// note keeps a fate for people. That a folder is not empty goes without saying where it is said what in it stays.
func (d *dismantling) note(fate step.Fate) {
	within := func(other step.Fate) bool { return strings.HasPrefix(other.What, fate.What+"/") }
	if fate.Verb == step.Nothing || fate.Kind == "folder" && fate.Verb == step.Keep && slices.ContainsFunc(d.removal.Items, within) {
		return
	}
	d.removal.Items = append(d.removal.Items, fate)
}

// mayBegin tells why the walk can't begin: half of an uninstallation is worse than none.
func (d *dismantling) mayBegin(removal *Removal) error {
	ancestry := d.Host.Files.Ancestry()
	readOnly := map[string]bool{}
	for _, fate := range removal.Items {
		for _, process := range ancestry {
			if err := d.endsUs(fate, process); err != nil {
				return &CannotBeginError{err}
			}
		}
		dir := path.Dir(fate.What)
		switch {
		case fate.Verb == step.Keep || fate.Verb == step.Stop:
			continue
		case fate.Kind == "group" || fate.Kind == "account":
			dir = "/etc"
		}
		if d.Host.Files.ReadOnly(dir) {
			readOnly[dir] = true
		}
	}
	if len(readOnly) == 0 {
		return nil
	}
	dirs := slices.Sorted(maps.Keys(readOnly))
	return &CannotBeginError{host.Hint(fmt.Errorf("nothing can be changed in %s: mounted read-only", strings.Join(dirs, ", ")),
		"findmnt -T %s shows which file system that is; mount -o remount,rw makes it writable", dirs[0])}
}

// endsUs tells whether a process that this one comes from would end with what is stopped or deleted.
func (d *dismantling) endsUs(fate step.Fate, process host.Process) error {
	switch {
	case fate.Verb == step.Stop && process.In(fate.What):
		return host.Hint(errors.New("this terminal belongs to the hub, and would end with it"), "log in to the server by ssh or at its console, and run the same command there")
	case fate.Verb == step.Delete && fate.Kind == "account" && d.Host.Files.AccountName(process.UID) == fate.What:
		return host.Hint(fmt.Errorf("you are logged in as %s, which will be deleted", fate.What), "log in as somebody else, and run the same command there")
	}
	return nil
}

// run is the walk itself.
func (d *dismantling) run(ctx context.Context) error {
	if d.owned {
		d.keepPackageList()
		// What was known to be in order is so no longer, whatever happens now. A disk that is full must not keep us from making room.
		if err := d.receipt.Write(journal.Record{Event: journal.EventUninstall}); err != nil {
			d.Report.Warn(host.HintOf(err), "%v", err)
		}
	}
	d.kept = map[string]bool{}
	for _, stage := range d.stages {
		if stage.last && d.again(ctx) {
			break
		}
		d.walk(ctx, stage)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if stage.after != nil {
			stage.after(ctx)
		}
	}
	if !d.back {
		d.conclude()
	}
	d.tell()
	return context.Cause(ctx)
}

// again tries once more what failed: a disk that was full has room by now, and who held the lock on the accounts has ended. It tells whether
// anything is left.
func (d *dismantling) again(ctx context.Context) bool {
	failures := d.failures
	d.failures = nil
	for _, f := range failures {
		if f.undoer == nil {
			d.failures = append(d.failures, f)
		} else if ctx.Err() == nil {
			d.kept[f.trace.ID] = false
			d.undo(ctx, "once more", f.work)
		}
	}
	return len(d.failures) > 0
}

// manyAtOnce is how many works of a stage are done side by side.
const manyAtOnce = 16

func (d *dismantling) walk(ctx context.Context, stage stage) {
	var group errgroup.Group
	group.SetLimit(1)
	if stage.together {
		group.SetLimit(manyAtOnce)
	}
	for _, w := range stage.works {
		group.Go(func() error {
			if ctx.Err() == nil && !(stage.last && len(d.failures) > 0) {
				d.undo(ctx, stage.name, w)
			}
			return nil
		})
	}
	_ = group.Wait()
}

// verbs are what is said of a fate, as an order.
var verbs = map[step.Verb]string{
	step.Stop: "stop", step.Delete: "delete", step.Restore: "put back", step.SetAside: "set aside", step.Close: "close",
}

// titleOf says what is done, as an order: "delete the group course-a".
func titleOf(fate step.Fate) string {
	what := fate.What
	if fate.Kind == "group" || fate.Kind == "account" {
		what = "the " + fate.Kind + " " + what
	}
	return verbs[fate.Verb] + " " + what
}

func (d *dismantling) undo(ctx context.Context, phase string, w work) {
	fate, err := w.undoer.Fate(ctx, d.context, w.trace)
	title := titleOf(fate)
	if err != nil {
		d.failed(w, fmt.Errorf("cannot find out what to do with %s: %w", fate.What, err))
		return
	}
	if fate.Verb == step.Nothing || fate.Verb == step.Keep {
		d.settle(w, fate, fate.Verb == step.Keep)
		return
	}
	run := d.Report.Step(fate.Kind+" "+fate.What, title, phase)
	limit := undoLimit
	if fate.Verb == step.Stop {
		limit = stopLimit
	}
	limited, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it takes longer than %s", limit))
	err = w.undoer.Undo(limited, d.context, w.trace)
	cancel()
	if err == nil {
		run.Done()
		d.settle(w, fate, fate.Verb == step.Close)
		return
	}
	if !strings.HasPrefix(err.Error(), "cannot ") {
		err = fmt.Errorf("cannot %s: %w", title, err)
	}
	run.Failed(err)
	if fate.Verb == step.Stop && ctx.Err() == nil {
		d.mu.Lock()
		d.stuck = append(d.stuck, w)
		d.mu.Unlock()
		return
	}
	d.failed(w, err)
}

// settle keeps what became of a work, and whether the receipt is to know of it still.
func (d *dismantling) settle(w work, fate step.Fate, stays bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kept[w.trace.ID] = d.kept[w.trace.ID] || stays
	d.note(fate)
}

// How long one thing may take: deleting many files on a slow disk, and stopping a unit, which systemd kills long before.
const (
	undoLimit = 30 * time.Minute
	stopLimit = 3 * time.Minute
)

func (d *dismantling) failed(w work, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kept[w.trace.ID] = true
	d.failures = append(d.failures, failure{w, err})
}

// reload lets systemd see that the units have gone, and ends what did not stop while they were there.
func (d *dismantling) reload(ctx context.Context) {
	defer d.endProcesses(ctx)
	if !d.Host.Files.IsRunning() {
		return
	}
	if err := d.Host.Systemd.Reload(ctx); err != nil {
		d.failed(work{}, fmt.Errorf("cannot tell systemd that its units have gone: %w", err))
	}
	if unit, err := step.RunningSSH(ctx, d.Host); err == nil && unit != "" {
		_ = step.ReloadSSH(ctx, d.Host, unit) // one that does not reads it when the machine starts
	}
	for _, w := range d.stuck {
		fate, _ := w.undoer.Fate(ctx, d.context, w.trace)
		run := d.Report.Step(fate.Kind+" "+fate.What, "stop "+fate.What+" without its file", "system")
		if err := d.force(ctx, w); err != nil {
			run.Failed(err)
			d.failed(w, err)
			continue
		}
		run.Done()
		d.settle(w, step.Fate{Verb: step.Stop, Kind: fate.Kind, What: fate.What}, false)
	}
}

// endProcesses sees to it that nothing outlives the hub: neither what it started, nor what an installation that was killed left at work.
func (d *dismantling) endProcesses(ctx context.Context) {
	trees := []string{}
	if d.owned {
		trees = d.trees()
	}
	ours := func(p host.Process) bool {
		at := func(folder string) bool { return within(folder, p.Program) }
		return p.In(layout.Slice) || (p.UID == 0 || p.UID == host.Nobody) && slices.ContainsFunc(trees, at)
	}
	if err := d.Host.Files.End(ctx, ours); err != nil && ctx.Err() == nil {
		d.failed(work{}, fmt.Errorf("cannot end what still runs of the hub: %w", err))
	}
}

// force ends a unit that systemd did not stop. Without its file, systemd does not start it again.
func (d *dismantling) force(ctx context.Context, w work) error {
	if w.undoer.Undo(ctx, d.context, w.trace) == nil {
		return nil
	}
	fate, err := w.undoer.Fate(ctx, d.context, w.trace)
	if err != nil || fate.Verb != step.Stop {
		return err
	}
	if err := d.Host.Files.End(ctx, func(p host.Process) bool { return p.In(fate.What) }); err != nil {
		return fmt.Errorf("cannot end %s: %w", fate.What, err)
	}
	_ = d.Host.Systemd.Do(ctx, "reset-failed", fate.What)
	fate, err = w.undoer.Fate(ctx, d.context, w.trace)
	if err == nil && fate.Verb == step.Stop {
		err = host.Hint(fmt.Errorf("%s does not stop", fate.What), "see what systemd says: systemctl status %s", fate.What)
	}
	return err
}

// tell lists what could not be undone.
func (d *dismantling) tell() {
	for _, f := range d.failures {
		text := f.err.Error()
		if hint := host.HintOf(f.err); hint != "" {
			text += "\n" + hint
		}
		d.removal.Failed = append(d.removal.Failed, text)
	}
}

// conclude settles the receipt, where it stays: what was undone is forgotten, so that an installation after this one begins anew with it.
func (d *dismantling) conclude() {
	if !d.Host.Files.Exists(layout.Receipt) {
		return
	}
	inside := func(id string) bool {
		_, name, ok := step.ByID(id)
		return ok && (name == layout.Root || strings.HasPrefix(name, layout.Root+"/")) && d.Host.Files.Exists(name)
	}
	if err := forgetHubGroups(d.Host.Files); err != nil {
		d.failed(work{}, err)
	}
	if err := d.receipt.Forget(func(id string) bool { return d.kept[id] || inside(id) }); err != nil {
		d.failed(work{}, err)
	}
}

// keepPackageList leaves a list of what was installed for all users, for whoever installs again. It is a help, and no reason to fail.
func (d *dismantling) keepPackageList() {
	if d.options.Purge {
		return
	}
	live, ok := environment.Current(d.Host.Files, environment.User)
	if !ok {
		return
	}
	packages, _, err := environment.Packages(d.Host.Files, live.Path())
	if err != nil || len(packages) == 0 {
		return
	}
	list := strings.Join(environment.Pins(packages), "\n") + "\n"
	_ = d.Host.Files.Write(layout.PackageList, []byte(list), host.Attr{Mode: 0o600})
}

// aside returns where a file goes that somebody changed: the same place each time, as long as it is the same file.
func (d *dismantling) aside(p string, data []byte) string {
	for n := 1; ; n++ {
		to := layout.Aside + p
		if n > 1 {
			to = fmt.Sprintf("%s.%d", to, n)
		}
		there, regular, _ := d.Host.Files.ReadFile(to)
		if regular && string(there) == string(data) || !d.Host.Files.Exists(to) {
			return to
		}
	}
}

// ours tells whether what is in the folder of installations is this program's.
func (d *dismantling) ours() bool {
	files := d.Host.Files
	if check.Ours(files) {
		return true
	}
	for _, kind := range []environment.Kind{environment.Hub, environment.User} {
		if _, ok := environment.Current(files, kind); ok {
			return true
		}
	}
	info, err := files.Lstat(layout.Root)
	if errors.Is(err, fs.ErrNotExist) || err != nil || !info.IsDir() {
		return false
	}
	names, err := files.List(layout.Root)
	// As bootstrap.sh leaves it, and an uninstallation that was killed at its very end.
	left := []string{path.Base(path.Dir(layout.Binary)), path.Base(layout.Log), lostAndFound}
	if state, _ := files.List(layout.State); len(state) == 0 {
		left = append(left, path.Base(layout.State))
	}
	return err == nil && !slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(left, name) })
}

const lostAndFound = "lost+found" // of a file system of its own
