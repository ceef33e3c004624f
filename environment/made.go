package environment

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"tljh/conda"
	"tljh/internal/host"
	"tljh/internal/layout"
)

// What describes a generation lies where only root writes: a folder beside the generations. In a user environment, whose owner may change it, there is
// a copy for releases that know no other place. This program reads that one only where there is nothing else, as in what such a release made.

// metaLimit is for a description in a folder that others write to.
const metaLimit = 64 << 10

func madeFolder() string { return path.Join(layout.Generations, ".made") }

// made is where something about a generation's folder is noted.
func made(dir, what string) string { return path.Join(madeFolder(), path.Base(dir)+"."+what) }

func metaOf(dir string) string {
	if rootsOwn(dir) {
		return path.Join(dir, metaName)
	}
	return made(dir, "json")
}

// manifestOf is where the files of a generation are listed.
func manifestOf(g Generation) string {
	if g.Kind == Hub {
		return path.Join(g.Path(), manifestName)
	}
	return made(g.Path(), "files")
}

// buildingMark is there while a generation is made, or removed: nothing in its folder makes it a complete one.
func buildingMark(dir string) string { return made(dir, "building") }

// rootsOwn reports whether a folder of generations is root's in all of it.
func rootsOwn(dir string) bool { return strings.HasPrefix(path.Base(dir), string(Hub)+"-") }

func isGeneration(dir string) bool { return path.Dir(dir) == layout.Generations }

// readMeta returns what is known of the generation in a folder; an error where that is none that was completed. What is live was completed: where its
// description is damaged, the folder itself says what matters.
func readMeta(files host.Files, dir string) (Generation, error) {
	generation, err := described(dir, func() ([]byte, error) { return files.Read(metaOf(dir)) })
	if err == nil {
		if !files.Exists(dir) {
			err = fs.ErrNotExist
		}
		return generation, err
	}
	if files.Exists(buildingMark(dir)) {
		return generation, err
	}
	if !rootsOwn(dir) {
		if kept, copyErr := described(dir, func() ([]byte, error) { return readCopy(files, dir) }); copyErr == nil {
			return kept, nil
		}
	}
	if found, ok := byFolder(files, dir); ok {
		return found, nil
	}
	return generation, err
}

// described reads a description, which must be that of the folder.
func described(dir string, read func() ([]byte, error)) (generation Generation, err error) {
	data, err := read()
	if err != nil {
		return generation, err
	}
	if err := json.Unmarshal(data, &generation); err != nil {
		return generation, err
	}
	if generation.Path() != dir {
		return generation, fmt.Errorf("it describes %s", generation.Path())
	}
	return generation, nil
}

// byFolder tells what a live generation is without its description. It has no digest: nothing is taken for built from the same.
func byFolder(files host.Files, dir string) (Generation, bool) {
	name := path.Base(dir)
	at := strings.LastIndex(name, "-")
	if at < 0 {
		return Generation{}, false
	}
	number, err := strconv.Atoi(name[at+1:])
	generation := Generation{Kind: Kind(name[:at]), Number: number, Manager: UV{}.Name()}
	if err != nil || liveFolder(files, generation.Kind) != dir {
		return generation, false
	}
	env, err := files.Within(dir)
	if err != nil {
		return generation, false
	}
	defer env.Close()
	if entries, err := conda.Entries(env); err == nil && len(entries) > 0 {
		generation.Manager = Conda{}.Name()
	}
	return generation, true
}

// liveFolder is where the link of a kind leads to; "" where there is none.
func liveFolder(files host.Files, kind Kind) string {
	target, err := files.Readlink(kind.Link())
	if err != nil || path.IsAbs(target) {
		return target
	}
	return path.Join(layout.Root, target)
}

func readCopy(files host.Files, dir string) ([]byte, error) {
	env, err := files.Within(dir)
	if err != nil {
		return nil, err
	}
	defer env.Close()
	return env.Read(metaName, metaLimit)
}

// begin notes that a generation is being made.
func begin(files host.Files, dir string) error {
	if rootsOwn(dir) {
		return nil
	}
	if err := files.MkdirAll(madeFolder(), host.Attr{Mode: 0o755}); err != nil {
		return err
	}
	if err := files.Write(buildingMark(dir), nil, host.Attr{Mode: 0o644}); err != nil {
		return err
	}
	return errors.Join(files.Remove(metaOf(dir)), files.Remove(made(dir, "files")))
}

// describe writes what makes a generation complete.
func describe(files host.Files, g Generation, meta []byte) error {
	attr := host.Attr{Mode: 0o644}
	dir := g.Path()
	if g.Kind == Hub {
		return files.Write(metaOf(dir), meta, attr)
	}
	env, err := files.Within(dir)
	if err != nil {
		return err
	}
	defer env.Close()
	if err := env.Write(metaName, meta, attr); err != nil {
		return err
	}
	if err := files.Write(metaOf(dir), meta, attr); err != nil {
		return err
	}
	return files.Remove(buildingMark(dir))
}

// RemoveGeneration deletes a generation's folder with all that was noted about it. Any other folder is only deleted.
func RemoveGeneration(files host.Files, dir string) error {
	if !isGeneration(dir) || rootsOwn(dir) {
		return files.RemoveTree(dir)
	}
	if err := begin(files, dir); err != nil {
		return err
	}
	if err := files.RemoveTree(dir); err != nil {
		return err
	}
	return files.Remove(buildingMark(dir))
}

// adoptMeta gives generations their description where only root writes, those that an earlier release made and those whose description was damaged, and forgets
// those whose folder has gone.
func adoptMeta(files host.Files, complete []Generation) error {
	for _, g := range complete {
		_, err := described(g.Path(), func() ([]byte, error) { return files.Read(metaOf(g.Path())) })
		if g.Kind == Hub || err == nil {
			continue
		}
		meta, err := json.MarshalIndent(g, "", "  ")
		if err == nil {
			err = files.MkdirAll(madeFolder(), host.Attr{Mode: 0o755})
		}
		if err == nil {
			err = files.Write(metaOf(g.Path()), append(meta, '\n'), host.Attr{Mode: 0o644})
		}
		if err != nil {
			return err
		}
	}
	names, err := files.List(madeFolder())
	for _, name := range names {
		dir := path.Join(layout.Generations, strings.TrimSuffix(name, path.Ext(name)))
		if !files.Exists(dir) {
			err = errors.Join(err, files.Remove(path.Join(madeFolder(), name)))
		}
	}
	return err
}
