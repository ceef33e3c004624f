package environment

import (
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"tljh/conda"
	"tljh/internal/host"
)

// recorded is what conda noted of a package, as it was found.
type recorded struct {
	entry  conda.Entry
	record conda.Record
	err    error
}

// metadata is a folder of Python's metadata of a package: NAME-VERSION.dist-info.
type metadata struct {
	folder        string // below the prefix
	name, version string
	byConda       bool // by the mark that its installer left
	unmarked      bool // nobody left one
}

// layers says which of two installers has the last word on a package: pip installs over conda's packages, and conda over pip's.
type layers struct {
	metadata []metadata
	owned    map[string]int // how many of conda's records name a file
}

// claim takes metadata without a mark for conda's where its record has the folder: the mark is missing because conda was killed.
func (l layers) claim(record conda.Record) {
	for _, folder := range record.Distributions() {
		for i, one := range l.metadata {
			if one.folder == folder && one.unmarked {
				l.metadata[i].byConda = true
			}
		}
	}
}

// over returns the metadata of the package from the index that was installed over one of conda's; nil where there is none. pip removes conda's metadata
// then.
func (l layers) over(record conda.Record) *metadata {
	for _, folder := range record.Distributions() {
		if slices.ContainsFunc(l.metadata, func(m metadata) bool { return m.folder == folder && m.byConda }) {
			continue
		}
		match := distInfo.FindStringSubmatch(path.Base(folder))
		if match == nil {
			continue
		}
		byIndex := func(m metadata) bool { return !m.byConda && m.name == plainName(match[1]) }
		if n := slices.IndexFunc(l.metadata, byIndex); n >= 0 {
			return &l.metadata[n]
		}
	}
	return nil
}

// under returns the metadata that conda brought of a package that pip installed, too; nil where there is none. conda leaves what pip noted.
func (l layers) under(pip metadata) *metadata {
	byConda := func(m metadata) bool {
		return m.byConda && m.name == pip.name && path.Dir(m.folder) == path.Dir(pip.folder)
	}
	if n := slices.IndexFunc(l.metadata, byConda); n >= 0 {
		return &l.metadata[n]
	}
	return nil
}

// laidOver reports whether conda installed a package over one from the index, whose metadata it leaves. The times are those of files that an installer writes
// itself.
func laidOver(env *host.Within, site, folder, name string, byConda []contents) bool {
	n := slices.IndexFunc(byConda, func(c contents) bool { return c.byConda && c.name == name })
	if n < 0 {
		return false
	}
	noted, err := env.Lstat(path.Join(site, folder, "RECORD"))
	if err != nil || !byConda[n].changed.After(noted.ModTime()) {
		return false
	}
	names, err := env.List(site)
	return err == nil && slices.ContainsFunc(names, func(other string) bool {
		match := distInfo.FindStringSubmatch(other)
		return other != folder && match != nil && plainName(match[1]) == name && ofConda(env, path.Join(site, other))
	})
}

// records reads what conda noted, all of it before any file is looked at: several packages may have brought the same file.
func (x *examination) records(entries []conda.Entry) []recorded {
	found := make([]recorded, len(entries))
	var reading errgroup.Group
	reading.SetLimit(runtime.GOMAXPROCS(0))
	for i, entry := range entries {
		reading.Go(func() error {
			record, err := entry.Read(x.env)
			found[i] = recorded{entry, record, err}
			return nil
		})
	}
	_ = reading.Wait()
	return found
}

// listMetadata returns all that there is of Python's packages.
func (x *examination) listMetadata(byConda bool) ([]metadata, error) {
	names, err := x.env.List(x.site)
	found := []metadata{}
	for _, name := range names {
		match := distInfo.FindStringSubmatch(name)
		if match == nil {
			continue
		}
		folder := path.Join(x.site, name)
		mark := installer(x.env, folder)
		found = append(found, metadata{folder, plainName(match[1]), match[2], byConda && mark == "conda", mark == ""})
	}
	return found, err
}

// condaPackage looks at a package of conda's.
func (x *examination) condaPackage(noted recorded, layers layers) {
	entry, record := noted.entry, noted.record
	if noted.err != nil {
		x.tell(Trouble{Package: entry.Name, Version: entry.Version, Words: "conda's record of it is damaged"})
		return
	}
	if pip := layers.over(record); pip != nil && !entry.Interrupted() {
		if pip.version != entry.Version {
			x.note(Trouble{Package: entry.Name, Words: fmt.Sprintf("pip installed %s %s over conda's %s", pip.name, pip.version, entry.Version)})
		}
		return // its files are those of pip's package, which is looked at
	}
	if words := x.condaFiles(noted, layers); words != "" {
		x.tell(Trouble{Package: entry.Name, Version: entry.Version, Explicit: record.Explicitly(), Words: words})
	}
}

// condaFiles returns what is wrong with the files of a package of conda's; "" for nothing.
func (x *examination) condaFiles(noted recorded, layers layers) string {
	var broken findings
	if noted.entry.Interrupted() {
		broken.add("its repair", "was interrupted")
	}
	for _, file := range noted.record.Paths.Paths {
		if strings.HasSuffix(file.Path, ".pyc") || !filepath.IsLocal(file.Path) {
			continue
		}
		switch file.Type {
		case "hardlink", "":
			broken.add(file.Path, x.file(file.Path, layers.sumOf(file)))
		case "unix_python_entry_point":
			broken.add(file.Path, x.file(file.Path, ""))
		case "softlink":
			if info, err := x.env.Lstat(file.Path); err != nil || layers.owned[file.Path] == 1 && info.Mode().Type() != fs.ModeSymlink {
				broken.add(file.Path, "is missing")
			}
		}
	}
	return broken.words()
}

// sumOf returns the sum that a file is to have; "" where it may be any, as several packages brought it and the last one won.
func (l layers) sumOf(file conda.Path) string {
	switch {
	case l.owned[file.Path] > 1:
		return ""
	case file.InPrefix != "":
		return file.InPrefix
	}
	return file.SHA256
}

// indexPackage looks at a package from the index.
func (x *examination) indexPackage(pip metadata, layers layers) {
	words := x.wheel(path.Base(pip.folder))
	if words == "" {
		return
	}
	if under := layers.under(pip); under != nil {
		// conda overwrote it. Whether conda's own files are right is told by conda's record.
		if under.version != pip.version {
			x.note(Trouble{Package: pip.name, Words: fmt.Sprintf("conda installed %s %s over pip's %s", under.name, under.version, pip.version)})
		}
		return
	}
	x.tell(Trouble{Package: pip.name, Version: pip.version, Words: words})
}
