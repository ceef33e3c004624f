package environment

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"tljh/internal/host"
)

// aside begins the names under which pip keeps a package while it replaces it, or takes it away. Where they are left, it was killed.
const aside = "~"

const leftWords = "is left of a pip that was interrupted"

// leftovers are the names of what a killed pip left among the packages.
func (x *examination) leftovers() []string {
	names, _ := x.env.List(x.site)
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, aside) })
}

// removeLeftovers deletes them. Of what they were, nothing can be used.
func removeLeftovers(files host.Files, dir string) error {
	env, err := files.Within(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer env.Close()
	x := &examination{env: env, site: siteWithin(env)}
	for _, name := range x.leftovers() {
		err = errors.Join(err, env.RemoveAll(path.Join(x.site, name)))
	}
	return err
}

// interrupted looks for what a killed pip left: names of its own, packages that it had put aside, and files of packages whose record it had removed.
func (x *examination) interrupted(layers layers, conda []recorded) {
	there := map[string]bool{}
	for _, one := range layers.metadata {
		there[one.name] = true
	}
	for _, one := range conda {
		there[plainName(one.entry.Name)] = true // by conda's record it is checked, and installed again
	}
	var left findings
	for _, name := range x.leftovers() {
		left.add(path.Join(x.site, name), leftWords)
		lost, version := x.named(path.Join(x.site, name))
		if lost != "" && !there[lost] {
			there[lost] = true
			x.tell(Trouble{Package: lost, Version: version, Words: "a pip that was interrupted has put it aside"})
		}
	}
	if words := left.words(); words != "" {
		x.tell(Trouble{Words: words})
	}
	x.halves(layers, there)
}

// named reads a package's name and version from its metadata.
func (x *examination) named(folder string) (name, version string) {
	if !strings.HasSuffix(folder, ".dist-info") {
		return "", ""
	}
	data, _ := x.env.Read(path.Join(folder, "METADATA"), 4<<20)
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() && lines.Text() != "" {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch key {
		case "Name":
			name = plainName(strings.TrimSpace(value))
		case "Version":
			version = strings.TrimSpace(value)
		}
	}
	if name == "" || version == "" {
		return "", ""
	}
	return name, version
}

// halves finds packages that the last healthy snapshot has with their record, and of which modules are there without one. A folder alone proves nothing: an
// admin may have put it there, and other packages may own it now.
func (x *examination) halves(layers layers, there map[string]bool) {
	if x.kept == nil {
		return
	}
	before := &examination{env: x.kept, site: siteWithin(x.kept)}
	metadata, _ := before.listMetadata(true)
	var owned map[string]bool
	for _, one := range metadata {
		if one.byConda || there[one.name] {
			continue
		}
		for _, name := range modules(x.kept, before.site, one.folder) {
			file := path.Join(x.site, name)
			if _, err := x.env.Lstat(file); err != nil || layers.owned[file] > 0 {
				continue
			}
			if owned == nil {
				owned = map[string]bool{}
				for _, other := range layers.metadata {
					for _, name := range modules(x.env, x.site, other.folder) {
						owned[name] = true
					}
				}
			}
			if !owned[name] {
				x.tell(Trouble{Package: one.name, Version: one.version, Words: name + " is there, and its record is not: a pip was interrupted"})
				break
			}
		}
	}
}

// modules are the files of Python code that a package's record names, below the folder of packages.
func modules(env *host.Within, site, folder string) []string {
	data, err := env.Read(path.Join(folder, "RECORD"), recordLimit)
	if err != nil {
		return nil
	}
	reader := csv.NewReader(bytes.NewReader(data))
	reader.FieldsPerRecord = -1
	found := []string{}
	for {
		row, err := reader.Read()
		if err != nil {
			return found
		}
		if name := row[0]; strings.HasSuffix(name, ".py") && filepath.IsLocal(name) && filepath.IsLocal(path.Join(site, name)) {
			found = append(found, name)
		}
	}
}

// keptOf opens the last healthy snapshot of an environment's own folder; nil where there is none.
func keptOf(files host.Files, dir string) *host.Within {
	all, err := Snapshots(files)
	if err != nil {
		return nil
	}
	for _, each := range slices.Backward(all) {
		if each.Broken != "" {
			continue
		}
		if each.From != dir {
			return nil
		}
		kept, err := files.Within(each.tree())
		if err != nil {
			return nil
		}
		return kept
	}
	return nil
}
