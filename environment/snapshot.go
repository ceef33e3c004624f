package environment

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

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
	Packages map[string]string `json:"packages"` // name → version
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

// SitePackages is where a generation's packages are.
func SitePackages(generation Generation) string { return sitePackages(generation.Path()) }

// Packages returns what is installed in an environment, by name, and the account that owns what came last.
func Packages(files host.Files, dir string) (packages map[string]string, who string, err error) {
	site := sitePackages(dir)
	names, err := files.List(site)
	if err != nil {
		return nil, "", fmt.Errorf("cannot list the packages of %s: %w", dir, err)
	}
	packages = map[string]string{}
	var newest time.Time
	uid := 0
	for _, name := range names {
		match := distInfo.FindStringSubmatch(name)
		if match == nil {
			continue
		}
		packages[strings.ToLower(strings.ReplaceAll(match[1], "_", "-"))] = match[2]
		if info, err := files.Lstat(path.Join(site, name)); err == nil && info.ModTime().After(newest) {
			newest, uid = info.ModTime(), host.AttrOf(info).UID
		}
	}
	return packages, files.AccountName(uid), nil
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
	generation := Generation{Kind: User, Digest: digestOf([]byte(fmt.Sprint(snapshot.Packages))), Manager: snapshot.Manager}
	return b.build(ctx, generation, func(_ context.Context, dir string) error {
		if err := b.Host.Files.LinkTree(snapshot.tree(), dir); err != nil {
			return err
		}
		return b.renamePrograms(dir, snapshot.From)
	}, b.testUser)
}

// renamePrograms makes an environment's programs run its own Python: their first line names the folder that they were installed in. They are written
// anew, as their files are those of the snapshot, too.
func (b *Builder) renamePrograms(dir, before string) error {
	files := b.Host.Files
	// What described the generation before is not of this one.
	if err := removeAll(files, path.Join(dir, metaName), path.Join(dir, manifestName)); err != nil {
		return err
	}
	names, err := files.List(path.Join(dir, "bin"))
	if err != nil {
		return err
	}
	for _, name := range names {
		program := path.Join(dir, "bin", name)
		info, err := files.Lstat(program)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() || info.Size() > 1<<20 {
			continue
		}
		data, err := files.Read(program)
		if err != nil {
			return err
		}
		renamed := bytes.ReplaceAll(data, []byte(before+"/"), []byte(dir+"/"))
		renamed = bytes.ReplaceAll(renamed, []byte(before+"'"), []byte(dir+"'"))
		if bytes.Equal(renamed, data) {
			continue
		}
		if err := files.Write(program, renamed, host.Attr{Mode: info.Mode().Perm()&^fs.FileMode(0o022) | 0o044}); err != nil {
			return err
		}
	}
	return nil
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
