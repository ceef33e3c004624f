package environment

import (
	"bytes"
	"context"
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
}

// keep is how many snapshots are kept; the oldest go.
const keep = 10

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
func ofConda(env *host.Within, folder string) bool {
	data, err := env.Read(path.Join(folder, "INSTALLER"), 1<<10)
	return err == nil && strings.TrimSpace(string(data)) == "conda"
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
		all = append(all, contents{name: plainName(match[1]), version: match[2]}.from(env, path.Join(site, name)))
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

// Kept tells whether the live user environment is that of the last snapshot, by its packages.
func Kept(files host.Files) (bool, error) {
	live, ok := Current(files, User)
	if !ok {
		return false, nil
	}
	packages, _, err := Packages(files, live.Path())
	if err != nil {
		return false, err
	}
	all, err := Snapshots(files)
	if err != nil || len(all) == 0 {
		return false, err
	}
	last := all[len(all)-1]
	return last.From == live.Path() && maps.Equal(last.Packages, packages), nil
}

// TakeSnapshot keeps the live user environment as it is, unless the last snapshot has the same packages.
func TakeSnapshot(files host.Files, now time.Time) (Snapshot, bool, error) {
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
	snapshot := Snapshot{Number: 1, Time: now.UTC().Truncate(time.Second), Who: who, From: live.Path(), Manager: live.Manager, Packages: packages}
	if len(all) > 0 {
		last := all[len(all)-1]
		if maps.Equal(last.Packages, packages) && last.From == live.Path() {
			return last, false, nil
		}
		snapshot.Number = last.Number + 1
	}
	if err := snapshot.describe(files); err != nil {
		return Snapshot{}, false, err
	}
	if err := files.Mkdir(layout.Snapshots, host.Attr{Mode: 0o700}); err != nil {
		return Snapshot{}, false, err
	}
	if err := removeAll(files, snapshot.tree()); err != nil { // of an interruption
		return Snapshot{}, false, err
	}
	if err := files.LinkTree(live.Path(), snapshot.tree()); err != nil {
		return Snapshot{}, false, err
	}
	data, err := json.MarshalIndent(snapshot, "", "  ")
	if err != nil {
		return Snapshot{}, false, err
	}
	if err := files.Write(snapshot.meta(), append(data, '\n'), host.Attr{Mode: 0o600}); err != nil {
		return Snapshot{}, false, err
	}
	return snapshot, true, prune(files, append(all, snapshot))
}

var errNoUserEnvironment = host.Hint(errors.New("there is no user environment"), "run tljh-install install")

func prune(files host.Files, all []Snapshot) error {
	for _, old := range all[:max(0, len(all)-keep)] {
		// The name goes first: a tree without one is no snapshot.
		if err := errors.Join(files.Remove(old.meta()), files.RemoveTree(old.tree())); err != nil {
			return err
		}
	}
	return nil
}

// Restore makes a new generation of a snapshot, tests it, and leaves the switch to the caller. What runs goes on in the generation before.
func (b *Builder) Restore(ctx context.Context, snapshot Snapshot) (Generation, error) {
	if !b.Host.Files.Exists(snapshot.meta()) {
		return Generation{}, fmt.Errorf("snapshot %d is not there any more", snapshot.Number)
	}
	return b.build(ctx, snapshot.generation(), func(_ context.Context, dir string) error {
		return b.copyOf(snapshot.tree(), snapshot.From, snapshot.Manager, dir)
	}, b.testUser)
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

// Rebuild makes a new generation of the packages that a snapshot lists, from where they came: its files may be damaged as well.
func (b *Builder) Rebuild(ctx context.Context, snapshot Snapshot) (Generation, error) {
	return b.build(ctx, snapshot.generation(), func(ctx context.Context, dir string) error {
		return b.Manager(snapshot.Manager).Rebuild(ctx, dir, snapshot)
	}, b.testUser)
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
