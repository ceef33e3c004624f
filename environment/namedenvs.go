package environment

import (
	"errors"
	"io/fs"
	"path"
	"strings"

	"tljh/conda"
	"tljh/internal/host"
	"tljh/internal/layout"
)

// Environments that admins make by name (conda create -n geo) belong to them: nothing here deletes one. New ones are made in layout.Environments. Earlier releases
// let conda make them in the folder of Miniforge, which another Miniforge replaces.

// namedFolder is the folder within a Miniforge that conda makes environments in.
const namedFolder = "envs"

// namedAside ends the name of the folder that these wait in while their Miniforge is installed again.
const namedAside = ".envs"

// keepNamed puts them aside before a Miniforge's folder is removed.
func (b *miniforges) keepNamed(m conda.Miniforge) error {
	files, envs, aside := b.Host.Files, path.Join(m.Folder(), namedFolder), m.Folder()+namedAside
	if files.Exists(aside) {
		return nil // of an interruption: those are the ones
	}
	names, err := files.List(envs)
	if err != nil || len(names) == 0 {
		return err
	}
	return files.Rename(envs, aside)
}

// giveNamedBack puts them back.
func (b *miniforges) giveNamedBack(m conda.Miniforge) error {
	files, envs, aside := b.Host.Files, path.Join(m.Folder(), namedFolder), m.Folder()+namedAside
	if !files.Exists(aside) {
		return nil
	}
	if names, err := files.List(envs); err != nil || len(names) > 0 {
		return errors.Join(err, errors.New("both "+envs+" and "+aside+" have environments: move those of one to the other"))
	}
	return errors.Join(files.RemoveTree(envs), files.Rename(aside, envs))
}

// linkNamed lets environments in the folders of Miniforges be found by their names, whichever of them is in use.
func (b *miniforges) linkNamed() error {
	files := b.Host.Files
	bases, err := files.List(layout.Tools)
	if err != nil || !files.Exists(layout.Environments) {
		return err
	}
	for _, base := range bases {
		if !isMiniforge(base) {
			continue
		}
		envs := path.Join(layout.Tools, base, namedFolder)
		names, listErr := files.List(envs)
		if err = errors.Join(err, listErr); err != nil {
			return err
		}
		for _, name := range names {
			link := path.Join(layout.Environments, name)
			if _, there := files.Lstat(link); there == nil || !files.Exists(path.Join(envs, name, conda.History)) {
				continue
			}
			if err := files.Link(path.Join(envs, name), link); err != nil {
				return err
			}
		}
	}
	return nil
}

func isMiniforge(name string) bool {
	return strings.HasPrefix(name, "miniforge-") && !strings.HasSuffix(name, namedAside)
}

// OldMiniforges returns what can go of bases that another release or another mirror brought, or that were never finished: all but the environments in them.
func (b *miniforges) OldMiniforges() ([]string, error) {
	names, err := b.Host.Files.List(layout.Tools)
	if err != nil {
		return nil, err
	}
	live, _ := b.Host.Files.Readlink(layout.Conda)
	old := []string{}
	for _, name := range names {
		dir := path.Join(layout.Tools, name)
		if !isMiniforge(name) || dir == live {
			continue
		}
		envs, err := b.Host.Files.List(path.Join(dir, namedFolder))
		if err != nil {
			return nil, err
		}
		if len(envs) == 0 {
			old = append(old, dir)
			continue
		}
		parts, err := b.Host.Files.List(dir)
		if err != nil {
			return nil, err
		}
		for _, part := range parts {
			if part != namedFolder {
				old = append(old, path.Join(dir, part))
			}
		}
	}
	return old, nil
}

// NamedIn returns the names of the environments that admins of an older TLJH made in its user environment.
func NamedIn(files host.Files, dir string) []string {
	found := []string{}
	names, _ := files.List(path.Join(dir, namedFolder))
	for _, name := range names {
		if info, err := files.Lstat(path.Join(dir, namedFolder, name)); err == nil && info.IsDir() {
			found = append(found, name)
		}
	}
	return found
}

// TakeNamed moves them to the others. They know themselves by the paths that they had, which go on leading to them.
func TakeNamed(files host.Files, dir string) error {
	for _, name := range NamedIn(files, dir) {
		to := path.Join(layout.Environments, name)
		if files.Exists(to) {
			to += "-older"
		}
		if files.Exists(to) {
			return errors.New("there is an environment " + to + " already: rename it")
		}
		if err := files.Rename(path.Join(dir, namedFolder, name), to); err != nil {
			return err
		}
	}
	if live, ok := Current(files, User); ok {
		return linkToNamed(files, live)
	}
	return nil
}

// linkToNamed lets environments by name be found below the user environment, where an older TLJH had them: kernels' descriptions in homes say so.
func linkToNamed(files host.Files, user Generation) error {
	if names, err := files.List(layout.Environments); err != nil || len(names) == 0 {
		return err
	}
	env, err := files.Within(user.Path())
	if err != nil {
		return err
	}
	defer env.Close()
	if _, err := env.Lstat(namedFolder); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return env.Link(layout.Environments, namedFolder)
}
