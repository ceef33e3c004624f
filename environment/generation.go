// Package environment builds the two environments of an installation, the hub's and the users', as generations: folders that
// are built next to the live one, tested, and then switched to by a symbolic link, so that a build that fails or is
// interrupted leaves everything as it was.
//
// It decides how an environment is built, not when: that is package installer's.
package environment

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"tljh/internal/host"
	"tljh/internal/layout"
)

// Kind is which of the two environments a generation is of.
type Kind string

// The two kinds, with the names that their generations' folders begin with.
const (
	Hub  Kind = "hub"
	User Kind = "user"
)

// kernelPrefix begins the kinds of environments that are kernels beside the users' own.
const kernelPrefix = "kernel-"

// KernelOf is the kind of the environment of an extra kernel.
func KernelOf(name string) Kind { return Kind(kernelPrefix + name) }

// Link returns the path of the symbolic link that leads to the live generation.
func (k Kind) Link() string {
	if name, ok := strings.CutPrefix(string(k), kernelPrefix); ok {
		return path.Join(layout.Kernels, "env", name)
	}
	return path.Join(layout.Root, string(k))
}

// Generation is one build of an environment.
type Generation struct {
	Kind    Kind      `json:"kind"`
	Number  int       `json:"number"`
	Digest  string    `json:"digest"`  // of everything it was built from
	Manager string    `json:"manager"` // uv or conda
	Python  string    `json:"python"`
	Version string    `json:"version"` // of this program
	Created time.Time `json:"created"`

	Packages []string `json:"packages,omitempty"` // of a hub environment: the requirements of hub.packages that it was built with
}

// Path returns the generation's folder.
func (g Generation) Path() string {
	return path.Join(layout.Generations, fmt.Sprintf("%s-%d", g.Kind, g.Number))
}

const (
	metaName     = "generation.json"  // written last: a folder without it is half-built
	manifestName = "generation.files" // a line for each file: size, space, path below the generation's folder
)

// Generations returns the complete generations of a kind, oldest first, and the folders of half-built ones.
func Generations(files host.Files, kind Kind) (complete []Generation, half []string, err error) {
	names, err := files.List(layout.Generations)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot list the generations: %w", err)
	}
	for _, name := range names {
		number, ok := strings.CutPrefix(name, string(kind)+"-")
		if !ok {
			continue
		}
		if _, err := strconv.Atoi(number); err != nil {
			continue
		}
		dir := path.Join(layout.Generations, name)
		generation, err := readMeta(files, dir)
		if err != nil || generation.Path() != dir {
			half = append(half, dir)
			continue
		}
		complete = append(complete, generation)
	}
	sortByNumber(complete)
	return complete, half, nil
}

func sortByNumber(generations []Generation) {
	for i := 1; i < len(generations); i++ { // names sort as text: hub-10 before hub-2
		for j := i; j > 0 && generations[j].Number < generations[j-1].Number; j-- {
			generations[j], generations[j-1] = generations[j-1], generations[j]
		}
	}
}

// Current returns the live generation of a kind; ok is false when there is none.
func Current(files host.Files, kind Kind) (generation Generation, ok bool) {
	target := liveFolder(files, kind)
	if target == "" {
		return Generation{}, false
	}
	generation, err := readMeta(files, target)
	return generation, err == nil && generation.Path() == target
}

// Next returns the number a new generation gets: none is ever used twice while a folder of it is there.
func Next(files host.Files, kind Kind) (int, error) {
	names, err := files.List(layout.Generations)
	next := 1
	for _, name := range names {
		if number, ok := strings.CutPrefix(name, string(kind)+"-"); ok {
			if n, err := strconv.Atoi(number); err == nil && n >= next {
				next = n + 1
			}
		}
	}
	return next, err
}

// seal makes a finished build complete: its files are listed and on disk before the name that says so.
func seal(files host.Files, generation Generation) error {
	manifest, err := listFiles(files, generation.Path(), nil)
	if err != nil {
		return err
	}
	if generation.Kind != Hub {
		if err := files.MkdirAll(madeFolder(), host.Attr{Mode: 0o755}); err != nil {
			return err
		}
	}
	if err := files.Write(manifestOf(generation), manifest, host.Attr{Mode: 0o644}); err != nil {
		return err
	}
	if err := files.Sync(generation.Path()); err != nil {
		return err
	}
	meta, err := json.MarshalIndent(generation, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot describe the generation: %w", err)
	}
	return describe(files, generation, append(meta, '\n'))
}

// listFiles returns the manifest of a folder. Byte code is left out, for Python renews it as it likes, and so is what skip says; nil is nothing.
func listFiles(files host.Files, dir string, skip func(name string) bool) ([]byte, error) {
	var manifest bytes.Buffer
	root, err := files.Within(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if entry.Name() == "__pycache__" {
				return fs.SkipDir
			}
			return nil
		}
		info, err := entry.Info()
		if err != nil || strings.Contains(name, "\n") || skip != nil && skip(name) {
			return err
		}
		_, err = fmt.Fprintf(&manifest, "%d %s\n", info.Size(), name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list the files of %s: %w", dir, err)
	}
	return manifest.Bytes(), nil
}

// Damaged returns the first file of a generation that is missing or has another size than when it was built; "" when there is none.
func Damaged(files host.Files, generation Generation) string {
	return differs(files, generation.Path(), manifestOf(generation))
}

// differs returns the first file that a manifest lists and that is missing in dir or has another size.
func differs(files host.Files, dir, manifest string) string {
	data, err := files.Read(manifest)
	if err != nil {
		return manifest
	}
	for line := range strings.Lines(string(data)) {
		size, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if !ok {
			return manifest
		}
		info, err := files.Lstat(path.Join(dir, name))
		if err != nil || strconv.FormatInt(info.Size(), 10) != size {
			return path.Join(dir, name)
		}
	}
	return ""
}

// RemoveHalfBuilt deletes what interrupted builds left: generations that were never completed. What people work in is never deleted, whatever is known of it.
func RemoveHalfBuilt(files host.Files, kind Kind) error {
	complete, half, err := Generations(files, kind)
	if err != nil {
		return err
	}
	for _, dir := range half {
		if dir == liveFolder(files, kind) {
			continue
		}
		if err := RemoveGeneration(files, dir); err != nil {
			return err
		}
	}
	return adoptMeta(files, complete)
}

// Kept generations next to the live one. The user environment's are what a rollback goes back to at once.
var keptGenerations = map[Kind]int{Hub: 1, User: 2}

// Outdated returns the folders that nobody needs any more: generations before the live one, but for those that are kept and those that something runs
// in, and conda's bases of other releases.
func (b *Builder) Outdated() ([]string, error) {
	outdated, err := b.OldMiniforges()
	if err != nil {
		return nil, err
	}
	for kind, kept := range keptGenerations {
		live, ok := Current(b.Host.Files, kind)
		all, _, err := Generations(b.Host.Files, kind)
		if err != nil {
			return nil, err
		}
		before := []string{}
		for _, generation := range all {
			if ok && generation.Number < live.Number {
				before = append(before, generation.Path())
			}
		}
		for _, dir := range before[:max(0, len(before)-kept)] {
			if !b.Host.Files.InUse(dir) {
				outdated = append(outdated, dir)
			}
		}
	}
	return outdated, nil
}

// copyTree writes the files of tree below dir, readable by all. It is no durable write: seal syncs everything.
func copyTree(files host.Files, tree fs.FS, dir string) error {
	return fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := files.Path(path.Join(dir, name))
		if entry.IsDir() {
			if err := os.MkdirAll(to, 0o755); err != nil {
				return err
			}
			return os.Chmod(to, 0o755)
		}
		data, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return os.WriteFile(to, data, 0o644)
	})
}
