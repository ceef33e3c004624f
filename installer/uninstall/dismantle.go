package uninstall

import (
	"path"
	"slices"
	"strings"

	"tljh/environment"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/manual"
	"tljh/internal/step"
	"tljh/systemdunits"
)

// gather lists what is to be undone, in order. Most of it the receipt tells; the rest is what has no step of its own, and what says of itself that it
// is ours.
func (d *dismantling) gather() error {
	d.owned = d.ours()
	traces := d.traces()
	units := unitNames(d.Host.Files, traces)
	people, err := d.people()
	if err != nil {
		return err
	}
	d.stages = []stage{
		{name: "services", works: unitWorks(traces, units, false)},
		{name: "services", works: d.servers(), together: true},
		{name: "services", works: []work{{filter{}, step.Trace{}}}},
		{name: "services", works: unitWorks(traces, units, true)}, // slices are empty now
		{name: "system", works: slices.Concat(system(traces), d.leftovers(units)), after: d.reload},
		{name: "system", works: restarts(traces)},
		{name: "users", works: slices.Concat(people, temporary(traces), homesFolders(traces), d.hubGroups(), shared(traces))},
		{name: "files", works: d.files()},
		// What is needed to try again goes when there is nothing to try again.
		{name: "program", works: slices.Concat(d.keepsakes(), d.program(traces)), last: true},
	}
	if d.back {
		d.stages[len(d.stages)-1].works = programLinks(traces)
	}
	return nil
}

// traces returns the receipt's, and those of files that are told by their names and by what they say of themselves, should a receipt be lost.
func (d *dismantling) traces() []step.Trace {
	traces := d.receipt.Traces()
	add := func(t step.Trace) {
		if !slices.ContainsFunc(traces, func(has step.Trace) bool { return has.ID == t.ID }) {
			traces = append(traces, t)
		}
	}
	for _, name := range systemdunits.Names() {
		add(step.Trace{ID: step.File{Path: path.Join(layout.Units, name)}.ID()})
	}
	for _, file := range []string{layout.Sudoers, layout.Profile, layout.NeedRestart, layout.SSHRule} {
		add(step.Trace{ID: step.File{Path: file}.ID()})
	}
	for _, file := range manual.Files() {
		ours := step.File{Path: file.Path, Content: file.Content}
		add(step.Trace{ID: ours.ID(), Left: []step.Left{ours.Leaves()}})
	}
	for _, link := range links {
		add(step.Trace{ID: step.Link{Path: link}.ID(), Left: []step.Left{{Target: layout.Binary}}})
	}
	if d.owned { // nobody else uses these names
		add(step.Trace{ID: step.Account{Name: layout.EnvironmentUser}.ID(), First: &step.Before{}})
		add(step.Trace{ID: step.Group{Name: layout.ProxyGroup}.ID(), First: &step.Before{}})
	}
	return traces
}

// unitNames returns the units that we started or whose files are, or were, ours: those that start others first, and slices last.
func unitNames(files host.Files, traces []step.Trace) []string {
	names := []string{}
	add := func(name string) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, t := range slices.Backward(traces) {
		if name, isUnit := strings.CutPrefix(t.ID, "unit "); isUnit {
			add(name)
		}
		file, isFile := strings.CutPrefix(t.ID, "file ")
		if !isFile || path.Dir(file) != layout.Units {
			continue
		}
		data, _, _ := files.ReadFile(file)
		if t.First != nil || step.Marked(data) {
			add(path.Base(file))
		}
	}
	for _, name := range systemdunits.Names() {
		// One that runs without its file was left so by an uninstallation that systemd did not answer.
		if strings.HasPrefix(name, "tljh") && !files.Exists(path.Join(layout.Units, name)) {
			add(name)
		}
	}
	add(layout.ReturnUnit + ".timer")
	rank := map[string]int{".service": 1, ".slice": 2}
	slices.SortStableFunc(names, func(a, b string) int { return rank[path.Ext(a)] - rank[path.Ext(b)] })
	return names
}

func unitWorks(traces []step.Trace, units []string, slice bool) []work {
	works := []work{}
	for _, name := range units {
		if (path.Ext(name) == ".slice") != slice {
			continue
		}
		unit := step.Unit{Name: name}
		w := work{unit, step.Trace{ID: unit.ID()}}
		if n := slices.IndexFunc(traces, func(t step.Trace) bool { return t.ID == unit.ID() }); n >= 0 {
			w.trace = traces[n]
		}
		works = append(works, w)
	}
	return works
}

// system is what the receipt tells of the machine outside of our own folders, the last first.
func system(traces []step.Trace) []work {
	works := []work{}
	for _, t := range slices.Backward(traces) {
		undoer, name, ok := step.ByID(t.ID)
		_, isUnit := undoer.(step.Unit)
		switch {
		case strings.HasPrefix(t.ID, HomesTask):
			continue
		case !ok:
			undoer = taskUndoer(t.ID)
		case isUnit, slices.Contains(links, name), within(layout.Root, name), within(layout.Shared, name):
			continue // comes at another stage
		}
		works = append(works, work{undoer, t})
	}
	return works
}

func within(folder, p string) bool { return p == folder || strings.HasPrefix(p, folder+"/") }

// restarts start again what ran before us under a name that we took.
func restarts(traces []step.Trace) []work {
	works := []work{}
	for _, t := range traces {
		name, isUnit := strings.CutPrefix(t.ID, "unit ")
		if isUnit && t.First != nil && t.First.Active {
			works = append(works, work{restart{name}, t})
		}
	}
	return works
}

// homesFolders are the folders for homes that we made.
func homesFolders(traces []step.Trace) []work {
	works := []work{}
	for _, t := range slices.Backward(traces) {
		if strings.HasPrefix(t.ID, HomesTask) {
			works = append(works, work{taskUndoer(t.ID), t})
		}
	}
	return works
}

// temporary are the folders beside the homes in which the hub keeps temporary files of servers.
func temporary(traces []step.Trace) []work {
	works := []work{{tree{path: path.Join(layout.Homes, layout.ServersTemporary), kind: "folder"}, step.Trace{}}}
	for _, t := range traces {
		if root, ok := strings.CutPrefix(t.ID, HomesTask); ok && path.IsAbs(root) {
			works = append(works, work{tree{path: path.Join(root, layout.ServersTemporary), kind: "folder"}, step.Trace{}})
		}
	}
	return works
}

// shared are the shared folders, and the folder that holds them.
func shared(traces []step.Trace) []work {
	works := []work{}
	for _, t := range slices.Backward(traces) {
		if undoer, name, ok := step.ByID(t.ID); ok && within(layout.Shared, name) {
			works = append(works, work{undoer, t})
		}
	}
	return works
}

// Transient is where systemd keeps the units that were made by a command, as users' servers are.
const Transient = "/run/systemd/transient"

// IsOurServer tells by its unit whether a user's server was started by our hub.
func IsOurServer(unit []byte) bool {
	text := string(unit)
	return strings.Contains(text, "\nSlice="+layout.UsersSlice+"\n") || strings.Contains(text, "\nDescription=Jupyter server of ")
}

// isSocketMount reports whether a unit is the file system of a server's socket.
func isSocketMount(name string) bool {
	return strings.HasPrefix(name, "run-tljh-sockets-") && path.Ext(name) == ".mount"
}

// servers are the users' servers, failed ones included, wherever the config has put them, and the file systems of their sockets.
func (d *dismantling) servers() []work {
	works := []work{}
	names, _ := d.Host.Files.List(Transient)
	for _, name := range names {
		text, _, _ := d.Host.Files.ReadFile(path.Join(Transient, name))
		if path.Ext(name) == ".service" && IsOurServer(text) || isSocketMount(name) {
			works = append(works, work{server{name}, step.Trace{}})
		}
	}
	return works
}

// leftovers are what neither receipt nor systemd takes care of: links that start units which have gone, and what killed runs did not finish. What
// admins added to our units stays.
func (d *dismantling) leftovers(units []string) []work {
	works := []work{}
	for _, dir := range append(manual.Folders(), layout.Units, path.Dir(layout.Sudoers), path.Dir(layout.Profile), path.Dir(layout.NeedRestart), path.Dir(layout.SSHRule), path.Dir(layout.BinaryLink), path.Dir(layout.SystemBinary)) {
		for _, name := range d.Host.Files.Unfinished(dir) {
			works = append(works, work{tree{path: path.Join(dir, name), kind: "file"}, step.Trace{}})
		}
	}
	dirs, _ := d.Host.Files.List(layout.Units)
	for _, dir := range dirs {
		if ext := path.Ext(dir); ext != ".wants" && ext != ".requires" {
			continue
		}
		for _, unit := range units {
			works = append(works, work{wanted{path.Join(layout.Units, dir, unit), path.Join(layout.Units, unit)}, step.Trace{}})
		}
	}
	for _, base := range []string{layout.Units, "/etc/systemd/system.control"} {
		names, _ := d.Host.Files.List(base)
		for _, name := range names {
			unit, isDropIn := strings.CutSuffix(name, ".d")
			ours := slices.Contains(units, unit) || strings.HasPrefix(unit, "jupyter-") && path.Ext(unit) == ".service"
			if isDropIn && ours && d.owned {
				works = append(works, work{kept{path.Join(base, name), "folder", "an admin made it; without the unit it does nothing"}, step.Trace{}})
			}
		}
	}
	return works
}

// PrivateOf is where a folder that systemd makes for an account of its own making really is; it makes a link to there.
func PrivateOf(dir string) string { return path.Join(path.Dir(dir), "private", path.Base(dir)) }

// files are folders that hold nothing but what we made.
func (d *dismantling) files() []work {
	works := []work{}
	for _, dir := range []string{layout.EdgeRuntime, layout.EdgeState} {
		works = append(works, work{tree{path: dir, kind: "folder"}, step.Trace{}}, work{tree{path: PrivateOf(dir), kind: "folder"}, step.Trace{}})
	}
	if !d.owned {
		return works
	}
	for _, p := range []string{environment.Hub.Link(), environment.User.Link()} {
		if !host.IsFolder(d.Host.Files, p) { // which is an older TLJH's
			works = append(works, work{tree{path: p, kind: "link"}, step.Trace{}})
		}
	}
	for _, p := range d.trees() {
		works = append(works, work{tree{path: p, kind: "folder", atOnce: true}, step.Trace{}})
	}
	// What admins made in it stays.
	works = append(works, work{step.Dir{Path: layout.Environments}, step.Trace{First: &step.Before{}}})
	for _, name := range d.Host.Files.Unfinished(layout.Root) {
		works = append(works, work{tree{path: path.Join(layout.Root, name), kind: "folder"}, step.Trace{}})
	}
	return works
}

// trees are the folders in ours that hold nothing but what we made: those that the receipt tells of, and those that are made on the way.
func (d *dismantling) trees() []string {
	trees := []string{layout.Generations, layout.Snapshots, layout.Conda, layout.Kernels, layout.Shims, layout.Releases, layout.Python, layout.Tools, layout.Cache}
	for _, t := range d.receipt.Traces() {
		undoer, name, _ := step.ByID(t.ID)
		_, isDir := undoer.(step.Dir)
		special := []string{path.Dir(layout.Binary), layout.ConfigDir, layout.State, layout.Environments}
		if isDir && path.Dir(name) == layout.Root && t.First != nil && !t.First.Existed && !slices.Contains(special, name) && !slices.Contains(trees, name) {
			trees = append(trees, name)
		}
	}
	return trees
}

// keepsakes are what is kept unless it is to go, too.
func (d *dismantling) keepsakes() []work {
	works := []work{}
	if !d.owned {
		return append(works, work{kept{layout.Root, "folder", "this program did not make it"}, step.Trace{}})
	}
	for _, keep := range []struct{ path, kind, why string }{
		{layout.ConfigDir, "folder", "the config"},
		{layout.Log, "file", "what this program did"},
		{layout.State, "folder", "the hub's database, passwords, and what this program knows of the machine"},
	} {
		switch {
		case !d.options.Purge:
			works = append(works, work{kept{keep.path, keep.kind, keep.why}, step.Trace{}})
		case keep.path == layout.State:
			works = append(works, work{stateFolder{tree{path: keep.path, kind: keep.kind}}, step.Trace{}})
		default:
			works = append(works, work{tree{path: keep.path, kind: keep.kind}, step.Trace{}})
		}
	}
	return works
}

// links are those that the program may be found by.
var links = []string{layout.BinaryLink, layout.ConfigLink, layout.SystemBinary, layout.SystemConfig}

// programLinks are the links that the program is found by.
func programLinks(traces []step.Trace) []work {
	works := []work{}
	for _, t := range traces {
		if undoer, name, ok := step.ByID(t.ID); ok && slices.Contains(links, name) {
			works = append(works, work{undoer, t})
		}
	}
	return works
}

// program is the program itself, and what is left of our folder. It comes last: until then, the same command can be given again.
func (d *dismantling) program(traces []step.Trace) []work {
	works := programLinks(traces)
	if d.owned {
		ofOurs := step.Trace{First: &step.Before{}} // nothing was there before
		works = append(works, work{tree{path: layout.Binary, kind: "file"}, ofOurs}, work{step.Dir{Path: path.Dir(layout.Binary)}, ofOurs})
		works = append(works, d.strangers()...)
		works = append(works, work{ownFolder{step.Dir{Path: layout.Root}}, ofOurs})
	}
	return append(works, work{tree{path: layout.Runtime, kind: "folder"}, step.Trace{}})
}

// strangers are what somebody put into our folder.
func (d *dismantling) strangers() []work {
	known := append(d.trees(), layout.Binary, layout.ConfigDir, layout.Log, layout.State, layout.Environments, environment.Hub.Link(), environment.User.Link())
	works := []work{}
	for _, dir := range []string{path.Dir(layout.Binary), layout.Root} {
		names, _ := d.Host.Files.List(dir)
		unfinished := d.Host.Files.Unfinished(dir)
		for _, name := range names {
			p := path.Join(dir, name)
			if slices.Contains(known, p) || p == path.Dir(layout.Binary) || slices.Contains(unfinished, name) || name == lostAndFound {
				continue
			}
			works = append(works, work{kept{p, "file", "this program did not make it"}, step.Trace{}})
		}
	}
	return works
}
