package installer

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"tljh/config"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/step"
)

// Groups of single users of a shared folder, which the hub puts their accounts into.
func readersGroup(folder string) string { return "tljh-" + folder + "-r" }
func writersGroup(folder string) string { return "tljh-" + folder + "-w" }

// sharedFolders returns the groups that shared folders need beside those that every installation has, and the steps that open them.
func sharedFolders(cfg *config.Config) (groups []string, steps []step.Shared) {
	needed := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(cfg.SharedFolders)) {
		folder := cfg.SharedFolders[name]
		access := map[string]host.Access{}
		grant(access, folder.Read, host.Reader, readersGroup(name))
		grant(access, folder.Write, host.Writer, writersGroup(name))
		for group := range access {
			needed[group] = true
		}
		steps = append(steps, step.Shared{Path: path.Join(layout.Shared, name), Groups: access})
	}
	delete(needed, layout.UsersGroup)
	delete(needed, layout.AdminsGroup)
	return slices.Sorted(maps.Keys(needed)), steps
}

func grant(access map[string]host.Access, entries []string, right host.Access, single string) {
	for _, entry := range entries {
		group, isGroup := strings.CutPrefix(entry, config.GroupEntry)
		switch {
		case entry == config.Everybody:
			group = layout.UsersGroup
		case entry == config.AdminsEntry:
			group = layout.AdminsGroup
		case !isGroup:
			group = single
		}
		access[group] = max(access[group], right)
	}
}

// closeFolders shuts folders that the config shares no longer. What is in them stays.
func closeFolders(cfg *config.Config) step.Task {
	open := func(files host.Files) ([]string, error) {
		found := []string{}
		names, err := files.List(layout.Shared)
		for _, name := range names {
			dir := path.Join(layout.Shared, name)
			info, statErr := files.Lstat(dir)
			if _, shared := cfg.SharedFolders[name]; shared || statErr != nil || !info.IsDir() || info.Mode().Perm() == fs.FileMode(0o700) {
				continue
			}
			found = append(found, dir)
		}
		return found, err
	}
	return step.Task{
		Name: "shared folders closed", What: "close folders that are shared no longer",
		Look: func(_ context.Context, c *step.Context) (step.State, error) {
			found, err := open(c.Host.Files)
			if len(found) > 0 {
				return step.Different, err
			}
			return step.Same, err
		},
		Do: func(_ context.Context, c *step.Context) error {
			found, err := open(c.Host.Files)
			for _, dir := range found {
				err = errors.Join(err, c.Host.Files.CloseTree(dir))
			}
			return err
		},
	}
}
