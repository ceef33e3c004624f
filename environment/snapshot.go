package environment

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"tljh/conda"
	"tljh/internal/host"
	"tljh/internal/layout"
)

// Snapshot is the user environment as it was after a change. Its files are hard links: package managers replace files and do not write into them.
type Snapshot struct {
	Number   int               `json:"number"`
	Time     time.Time         `json:"time"`
	Who      string            `json:"who"`  // the account that owns what was changed last
	From     string            `json:"from"` // the generation's folder
	Manager  string            `json:"manager"`
	Packages map[string]string `json:"packages"`           // name → version
	Explicit []string          `json:"explicit,omitempty"` // where conda has its packages from, for an explicit list
	Pip      map[string]string `json:"pip,omitempty"`      // those from the index: name → version
	Command  string            `json:"command,omitempty"`  // the last that conda noted; that of the snapshot before, where something else changed it
	Title    string            `json:"title,omitempty"`    // the command that made the change, where that is known
	Name     string            `json:"name,omitempty"`     // that an admin gave it: it is never pruned
	Broken   string            `json:"broken,omitempty"`   // why this state does not pass the check; "" where it does
	Parent   int               `json:"parent,omitempty"`   // the snapshot that the change was made after
	Of       int               `json:"of,omitempty"`       // the snapshot that this is the state of again, after a rollback or a redo
	Tip      int               `json:"tip,omitempty"`      // then, the last change before somebody began to go back
}

// Occasion is why a snapshot is taken.
type Occasion struct {
	Title  string // the command
	Who    string // who gave it; "" is the account that owns what was changed last
	Of     int    // as in Snapshot
	Broken string // as in Snapshot
	Again  bool   // keep it though the last snapshot has the same packages: its files were repaired, and those of the snapshot may be broken
}

func (s Snapshot) tree() string { return path.Join(layout.Snapshots, strconv.Itoa(s.Number)) }
func (s Snapshot) meta() string { return s.tree() + ".json" }

// Snapshots returns all snapshots that are whole, the oldest first.
func Snapshots(files host.Files) ([]Snapshot, error) {
	names, err := files.List(layout.Snapshots)
	if err != nil {
		return nil, fmt.Errorf("cannot list the snapshots: %w", err)
	}
	found := []Snapshot{}
	for _, name := range names {
		var snapshot Snapshot
		data, err := files.Read(path.Join(layout.Snapshots, name))
		if !strings.HasSuffix(name, ".json") || err != nil || json.Unmarshal(data, &snapshot) != nil || path.Base(snapshot.meta()) != name {
			continue
		}
		found = append(found, snapshot)
	}
	slices.SortFunc(found, func(a, b Snapshot) int { return a.Number - b.Number })
	return found, nil
}

var distInfo = regexp.MustCompile(`^([A-Za-z0-9._]+)-([^-]+)\.dist-info$`)

// plainName is the form in which names of packages are compared, whoever installed them.
func plainName(name string) string {
	return strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(name))
}

// ofConda tells whether a package's files came with a package of conda's, by the mark that is left in its folder.
func ofConda(env *host.Within, folder string) bool { return installer(env, folder) == "conda" }

func installer(env *host.Within, folder string) string {
	data, _ := env.Read(path.Join(folder, "INSTALLER"), 1<<10)
	return strings.TrimSpace(string(data))
}

// Packages returns what is installed in an environment, by name, and the account that owns what came last.
func Packages(files host.Files, dir string) (packages map[string]string, who string, err error) {
	env, err := files.Within(dir)
	if err != nil {
		return nil, "", err
	}
	defer env.Close()
	all, err := installed(env)
	if err != nil {
		return nil, "", fmt.Errorf("cannot list the packages of %s: %w", dir, err)
	}
	packages = map[string]string{}
	newest := contents{}
	for _, each := range all {
		packages[each.name] = each.version
		if !each.changed.Before(newest.changed) {
			newest = each
		}
	}
	return packages, files.AccountName(newest.uid), nil
}

// contents is a package of an environment.
type contents struct {
	name, version string
	byConda       bool
	entry         conda.Entry // of conda's
	uid           int
	changed       time.Time
}

// installed returns all packages: conda's first, then those from the index, which may have taken the place of conda's.
func installed(env *host.Within) ([]contents, error) {
	entries, err := conda.Entries(env)
	if err != nil {
		return nil, err
	}
	all := []contents{}
	for _, entry := range entries {
		all = append(all, contents{name: plainName(entry.Name), version: entry.Version, byConda: true, entry: entry}.from(env, entry.File))
	}
	site := siteWithin(env)
	names, err := env.List(site)
	for _, name := range names {
		match := distInfo.FindStringSubmatch(name)
		if match == nil || len(entries) > 0 && ofConda(env, path.Join(site, name)) {
			continue
		}
		found := contents{name: plainName(match[1]), version: match[2]}.from(env, path.Join(site, name))
		if !laidOver(env, site, name, found.name, all) {
			all = append(all, found)
		}
	}
	return all, err
}

// from adds who brought it, and when, by a file of its own.
func (c contents) from(env *host.Within, file string) contents {
	if info, err := env.Lstat(file); err == nil {
		c.changed, c.uid = info.ModTime(), host.AttrOf(info).UID
	}
	return c
}

// Changed returns when packages were last added to the live user environment, or taken away.
func Changed(files host.Files) (time.Time, error) {
	live, ok := Current(files, User)
	if !ok {
		return time.Time{}, errNoUserEnvironment
	}
	env, err := files.Within(live.Path())
	if err != nil {
		return time.Time{}, err
	}
	defer env.Close()
	var last time.Time
	for _, folder := range []string{siteWithin(env), conda.Meta} {
		if info, err := env.Lstat(folder); err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last, nil
}

// describe notes in a snapshot what it would take to make its environment anew.
func (s *Snapshot) describe(files host.Files) error {
	env, err := files.Within(s.From)
	if err != nil {
		return err
	}
	defer env.Close()
	all, err := installed(env)
	if err != nil {
		return err
	}
	s.Pip = map[string]string{}
	for _, each := range all {
		if !each.byConda {
			s.Pip[each.name] = each.version
			continue
		}
		if record, err := each.entry.Read(env); err == nil && record.Explicitly() != "" {
			s.Explicit = append(s.Explicit, record.Explicitly())
		}
	}
	s.Command = conda.LastCommand(env)
	return nil
}

// Kept reports whether the live user environment is that of the last snapshot, by its packages.
func Kept(files host.Files) (bool, error) {
	last, err := lastOf(files)
	return last != nil, err
}

// KeptHealthy reports whether it is, and was healthy then.
func KeptHealthy(files host.Files) (bool, error) {
	last, err := lastOf(files)
	return last != nil && last.Broken == "", err
}

// lastOf returns the last snapshot if it is of the live user environment, by its packages.
func lastOf(files host.Files) (*Snapshot, error) {
	live, ok := Current(files, User)
	if !ok {
		return nil, nil
	}
	packages, _, err := Packages(files, live.Path())
	if err != nil {
		return nil, err
	}
	all, err := Snapshots(files)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	last := all[len(all)-1]
	if last.From != live.Path() || !maps.Equal(last.Packages, packages) {
		return nil, nil
	}
	return &last, nil
}

// TakeSnapshot keeps the live user environment as it is, unless the last snapshot has the same packages.
func TakeSnapshot(files host.Files, now time.Time, why Occasion) (Snapshot, bool, error) {
	live, ok := Current(files, User)
	if !ok {
		return Snapshot{}, false, errNoUserEnvironment
	}
	packages, who, err := Packages(files, live.Path())
	if err != nil {
		return Snapshot{}, false, err
	}
	all, err := Snapshots(files)
	if err != nil {
		return Snapshot{}, false, err
	}
	line := Lineage(all)
	why = announced(files, live, packages, line, why)
	snapshot := Snapshot{
		Number: 1, Time: now.UTC().Truncate(time.Second), Who: cmp.Or(why.Who, who), From: live.Path(), Manager: live.Manager, Packages: packages,
		Title: why.Title, Broken: why.Broken, Parent: line.base(),
	}
	if len(all) > 0 {
		last := all[len(all)-1]
		if !why.Again && maps.Equal(last.Packages, packages) && last.From == live.Path() && (last.Broken == "" || why.Broken != "") {
			return last, false, files.Remove(layout.Returning)
		}
		snapshot.Number = last.Number + 1
	}
	for files.Exists(snapshot.meta()) { // one that cannot be read: its files are somebody's good state all the same
		snapshot.Number++
	}
	if why.Of != 0 {
		snapshot.Parent, snapshot.Of, snapshot.Tip = 0, why.Of, line.tip()
	}
	if err := snapshot.describe(files); err != nil {
		return Snapshot{}, false, err
	}
	if err := snapshot.keep(files); err != nil {
		return Snapshot{}, false, err
	}
	if err := files.Remove(layout.Returning); err != nil {
		return snapshot, true, err
	}
	return snapshot, true, prune(files, append(all, snapshot), now)
}

// keep links the files, and then writes what makes them a snapshot.
func (s Snapshot) keep(files host.Files) error {
	if err := files.Mkdir(layout.Snapshots, host.Attr{Mode: 0o700}); err != nil {
		return err
	}
	if err := removeAll(files, s.tree()); err != nil { // of an interruption
		return err
	}
	if err := files.LinkTree(s.From, s.tree()); err != nil {
		return err
	}
	return s.write(files)
}

func (s Snapshot) write(files host.Files) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return files.Write(s.meta(), append(data, '\n'), host.Attr{Mode: 0o600})
}

// NameLast gives the newest snapshot a name. One that has another name already keeps both.
func NameLast(files host.Files, name string) error {
	all, err := Snapshots(files)
	if err != nil || len(all) == 0 {
		return errors.Join(err, errNoUserEnvironment)
	}
	last := all[len(all)-1]
	if last.Name != "" && last.Name != name {
		name = last.Name + ", " + name
	}
	return NameSnapshot(files, last, name)
}

// NameSnapshot gives a snapshot a name. It is never pruned then.
func NameSnapshot(files host.Files, snapshot Snapshot, name string) error {
	snapshot.Name = name
	return snapshot.write(files)
}

var errNoUserEnvironment = host.Hint(errors.New("there is no user environment"), "run tljh-install install")

func prune(files host.Files, all []Snapshot, now time.Time) error {
	for _, old := range Lineage(all).Superfluous(now) {
		// The name goes first: a tree without one is no snapshot.
		if err := errors.Join(files.Remove(old.meta()), files.RemoveTree(old.tree())); err != nil {
			return err
		}
	}
	return nil
}

// generation is one that is made of the snapshot.
func (s Snapshot) generation() Generation {
	return Generation{Kind: User, Digest: digestOf([]byte(fmt.Sprint(s.Packages))), Manager: s.Manager}
}

// copyOf makes an environment of the files of a tree, which belonged to an environment in the folder before.
func (b *Builder) copyOf(tree, before, manager, dir string) error {
	if err := b.Host.Files.LinkTree(tree, dir); err != nil {
		return err
	}
	// What described the generation before is not of this one.
	if err := removeAll(b.Host.Files, path.Join(dir, metaName), path.Join(dir, manifestName)); err != nil {
		return err
	}
	return b.Manager(manager).Move(dir, before)
}

// StillThere returns the generation that a snapshot was taken of, if it is another than the live one and was not changed since.
func StillThere(files host.Files, snapshot Snapshot) (Generation, bool) {
	live, _ := Current(files, User)
	generation, err := readMeta(files, snapshot.From)
	if err != nil || generation.Path() != snapshot.From || generation.Path() == live.Path() {
		return generation, false
	}
	packages, _, err := Packages(files, generation.Path())
	return generation, err == nil && maps.Equal(packages, snapshot.Packages)
}

// renamePrograms makes an environment's programs run its own Python: their first line names the folder that they were installed in.
func (b *Builder) renamePrograms(dir, before string) error {
	env, err := b.Host.Files.Within(dir)
	if err != nil {
		return err
	}
	defer env.Close()
	names, err := env.List("bin")
	if err != nil {
		return err
	}
	for _, name := range names {
		program := path.Join("bin", name)
		info, err := env.Lstat(program)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() || info.Size() > 1<<20 {
			continue
		}
		data, err := env.Read(program, 1<<20)
		if err != nil {
			return err
		}
		renamed := conda.Replace(data, before, dir)
		if bytes.Equal(renamed, data) {
			continue
		}
		if err := b.rewrite(env, dir, program, renamed); err != nil {
			return err
		}
	}
	return nil
}

// rewrite replaces a file of an environment that is being made, and keeps its mode: its contents are those of a snapshot, too. It was read by env,
// which no link leads out of, and nobody else can change the folder yet. It is no durable write: seal syncs everything.
func (b *Builder) rewrite(env *host.Within, dir, name string, data []byte) (err error) {
	info, err := env.Lstat(name)
	if err != nil {
		return err
	}
	to := b.Host.Files.Path(path.Join(dir, name))
	if err := os.Remove(to); err != nil {
		return err
	}
	file, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := file.Write(data); err != nil {
		return err
	}
	return file.Chmod(info.Mode().Perm()&^fs.FileMode(0o022) | 0o044)
}

// Difference lists what changed between two sets of packages, in order: "+cowsay 6.0", "-rich 13.0", "numpy 1.0 → 2.0".
func Difference(before, after map[string]string) []string {
	changes := []string{}
	names := slices.Sorted(maps.Keys(after))
	for name := range before {
		if _, still := after[name]; !still {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		was, had := before[name]
		is, has := after[name]
		switch {
		case !had:
			changes = append(changes, "+"+name+" "+is)
		case !has:
			changes = append(changes, "-"+name+" "+was)
		case was != is:
			changes = append(changes, name+" "+was+" → "+is)
		}
	}
	return changes
}
