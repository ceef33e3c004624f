package installer

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"tljh/config"
	"tljh/internal/check"
	"tljh/internal/host"
	"tljh/internal/layout"
)

// olderHook is what a line of jupyterhub_config.d does, as far as its text says: tljh/older_hooks.py finds it.
type olderHook struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Kind string `json:"kind"` // write, sudo or broken
	Path string `json:"path"` // that is written to
}

// Kinds of hooks.
const (
	hookWrites = "write"
	hookSudo   = "sudo"
)

func (h olderHook) place() string { return fmt.Sprintf("%s:%d", h.File, h.Line) }

// lookAtHooks returns what code of an admin's own writes to. What can't be read tells nothing: the proof finds what fails.
func lookAtHooks(ctx context.Context, h *host.Host, there []string) []olderHook {
	found := []olderHook{}
	if len(there) == 0 || askOlderPython(ctx, h, "older_hooks.py", &found, h.Files.Path(layout.ConfigD)) != nil {
		return []olderHook{}
	}
	return slices.DeleteFunc(found, func(hook olderHook) bool { return hook.Kind != hookWrites && hook.Kind != hookSudo })
}

// hubWrites are the folders that the hub may write to, beside homes and what the config names: those of its unit, and what is private to it.
var hubWrites = []string{"/etc", "/run", "/var/run", layout.State, "/var/mail", "/var/spool/mail", "/var/log", "/var/lib/lastlog", "/var/lib/sss", "/tmp", "/var/tmp", "/dev", "/proc"}

// refusedHooks are those that will not work under our hub: that write where it may not, and that call sudo.
func refusedHooks(hooks []olderHook, cfg *config.Config) (writes, sudo []olderHook) {
	may := slices.Concat(hubWrites, homeRoots(cfg.Users.HomeRoot), cfg.Hub.WritablePaths)
	for _, hook := range hooks {
		switch {
		case hook.Kind == hookSudo:
			sudo = append(sudo, hook)
		case !slices.ContainsFunc(may, func(dir string) bool { return hook.Path == dir || strings.HasPrefix(hook.Path, dir+"/") }):
			writes = append(writes, hook)
		}
	}
	return writes, sudo
}

// wide are folders that hold many other things: of these, what is written to is permitted alone, unless it is a file.
var wide = []string{"/", "/srv", "/opt", "/mnt", "/media", "/var", "/var/lib", "/usr", "/usr/local", "/home"}

// folderToPermit is the folder to name in hub.writable_paths for something that is written to; "" where the config takes none.
func folderToPermit(files host.Files, p string) string {
	dir := p
	if !host.IsFolder(files, dir) && path.Ext(dir) != "" {
		dir = path.Dir(dir)
	}
	for !host.IsFolder(files, dir) && !slices.Contains(wide, path.Dir(dir)) {
		dir = path.Dir(dir)
	}
	if config.CheckWritable(dir) != nil {
		return ""
	}
	return dir
}

// checkHooks looks for what code in jupyterhub_config.d will not be able to do, and says what permits it.
func checkHooks(_ context.Context, about *preflight) check.Finding {
	files := about.Host.Files
	writes, sudo := refusedHooks(about.in.older.Hooks, about.in.Config)
	if len(writes)+len(sudo) == 0 {
		return check.Fine("it writes to no other folders and calls no sudo, as far as can be seen")
	}
	said, hints := []string{}, []string{}
	for _, hook := range writes {
		said = append(said, hook.place()+" writes to "+hook.Path)
	}
	for _, hook := range sudo {
		said = append(said, hook.place()+" calls sudo")
	}
	if len(writes) > 0 {
		hints = permitting(files, writes)
	}
	if len(sudo) > 0 {
		hints = append(hints, "remove sudo: the hub is root, and sudo does not work in it; to run something as a user: runuser -u NAME -- COMMAND")
	}
	return check.Fail(strings.Join(hints, "; "), "the new hub does not allow what it does: %s", strings.Join(said, ", "))
}

// permitting are the commands that permit what hooks write to.
func permitting(files host.Files, writes []olderHook) []string {
	permit, absent, elsewhere := []string{}, []string{}, []string{}
	for _, hook := range writes {
		switch dir := folderToPermit(files, hook.Path); {
		case dir == "":
			elsewhere = append(elsewhere, hook.Path)
		case slices.Contains(permit, dir):
		default:
			permit = append(permit, dir)
			if !host.IsFolder(files, dir) {
				absent = append(absent, dir)
			}
		}
	}
	hints := []string{}
	if len(permit) > 0 {
		command := "sudo " + layout.Binary + " config add hub.writable_paths " + strings.Join(permit, " ")
		if len(absent) > 0 {
			command = "sudo mkdir -p " + strings.Join(absent, " ") + " && " + command
		}
		hints = append(hints, "permit it: "+command)
	}
	if len(elsewhere) > 0 {
		hints = append(hints, "change the code: folders of the system cannot be permitted ("+strings.Join(elsewhere, ", ")+")")
	}
	return hints
}
