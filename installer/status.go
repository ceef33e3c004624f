package installer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"tljh/config"
	"tljh/environment"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/version"
)

// Status is how an installation is doing.
type Status struct {
	Version   string       `json:"version"`
	OK        bool         `json:"ok"`
	Parts     []PartStatus `json:"parts"`
	Addresses []string     `json:"addresses,omitempty"`
}

// PartStatus is one thing that was looked at. Without a problem, it is as it should be.
type PartStatus struct {
	Name    string `json:"name"`
	State   string `json:"state"`
	Problem bool   `json:"problem,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

// Look tells how the installation is doing. It changes nothing.
func Look(ctx context.Context, h *host.Host) (*Status, error) {
	if !h.Files.Exists(layout.Root) {
		return nil, host.Hint(errors.New("there is no hub on this machine yet"), "install it first: tljh-install install")
	}
	s := &Status{Version: version.Version}
	for _, unit := range []struct{ name, what string }{
		{layout.HubUnit, "hub"}, {layout.ProxyUnit, "proxy"}, {layout.EdgeSocket, "public door"}, {layout.UsersSlice, "users' slice"},
	} {
		part, err := lookAtUnit(ctx, h, unit.name, unit.what)
		if err != nil {
			return nil, err
		}
		s.Parts = append(s.Parts, part)
	}
	cfg, part, err := lookAtConfig(h.Files)
	if err != nil {
		return nil, err
	}
	s.Parts = append(s.Parts, part, lookAtUserEnvironment(h.Files))
	s.Parts = append(s.Parts, lookAtChanges(h.Files)...)
	if h.Files.Exists(layout.BreakGlass) {
		s.Parts = append(s.Parts, lookAtGlass(h.Files))
	}
	if cfg != nil {
		s.Addresses = addresses(h.Files, cfg)
	}
	s.OK = true
	for _, part := range s.Parts {
		s.OK = s.OK && !part.Problem
	}
	return s, nil
}

func lookAtUnit(ctx context.Context, h *host.Host, name, what string) (PartStatus, error) {
	part := PartStatus{Name: what}
	unit, err := h.Systemd.Unit(ctx, name)
	if err != nil {
		return part, fmt.Errorf("cannot ask systemd about %s: %w", name, err)
	}
	part.State = unit.Active
	if unit.Load == "not-found" {
		part.State = "not installed"
	}
	if name == layout.UsersSlice && unit.Active == "inactive" && unit.Load != "not-found" {
		part.State = "ready" // after a start of the machine, it begins with the first server
		return part, nil
	}
	if unit.Active != "active" {
		part.Problem = true
		part.Hint = fmt.Sprintf("journalctl -u %s tells why; systemctl restart %s tries again; tljh-install install puts right what is missing", name, name)
	}
	return part, nil
}

// lookAtConfig compares the file with what is in effect. The config returned is the one in effect, if it can be told.
func lookAtConfig(files host.Files) (*config.Config, PartStatus, error) {
	part := PartStatus{Name: "config"}
	text, err := files.Read(layout.Config)
	if errors.Is(err, fs.ErrPermission) {
		return nil, part, host.Hint(errors.New("only root can see all of it"), "put sudo in front")
	}
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return nil, part, fmt.Errorf("cannot read the config: %w", err)
	}
	cfg, problems := config.Parse(layout.Config, text)
	told := hubProblems(files)
	before := lastInEffect(History{Files: files})
	pending, known := []config.Change(nil), false
	if cfg != nil {
		pending, known = Pending(files, cfg)
	}
	trouble := func(state, hint string) { part.State, part.Hint, part.Problem = state, hint, true }
	switch {
	case missing:
		trouble("there is no "+layout.Config, "tljh-install config revert brings the last one that worked back")
	case cfg == nil:
		trouble(problems.Err().Error(), "the hub runs with the last one that worked; tljh-install config edit, or tljh-install config revert")
	case len(told.Problems) > 0:
		trouble("not used by the hub: "+strings.Join(told.Problems, "; "), "the hub runs with "+told.Using+"; tljh-install config edit, or tljh-install config revert; then tljh-install config reload")
	case othersCanRead(files):
		trouble("valid, but it is not root's alone, and holds secrets", "tljh-install config reload puts that right")
	case !known:
		part.State = "valid"
	case len(pending) > 0:
		part.State, part.Hint = "valid, with changes that are not in effect yet", "tljh-install config reload"
	case before != nil && !packagesInstalled(files, cfg):
		part.State, part.Hint = "valid, in effect but for user_environment.packages", "tljh-install install"
	default:
		part.State = "valid, in effect"
	}
	if before == nil {
		before = cfg
	}
	return before, part, nil
}

func othersCanRead(files host.Files) bool {
	info, err := files.Lstat(layout.Config)
	return err == nil && (host.AttrOf(info).UID != secret.UID || info.Mode().Perm()&^secret.Mode != 0)
}

// packagesInstalled tells whether the last installation saw to the packages that a config lists.
func packagesInstalled(files host.Files, cfg *config.Config) bool {
	list := cfg.UserEnvironment.Packages
	if len(list) == 0 {
		return true
	}
	receipt, err := LoadReceipt(files, time.Now)
	return err != nil || receipt.Recorded(idPackages) == hexDigest(packagesText(list))
}

func lookAtUserEnvironment(files host.Files) PartStatus {
	part := PartStatus{Name: "user environment", State: "there"}
	told, err := readRescued(files)
	switch {
	case err != nil:
		part.State, part.Problem = err.Error(), true
	case told != nil:
		part.State, part.Problem, part.Hint = told.words(), true, repairHint
	case !environment.UserWorks(files):
		part.State, part.Problem, part.Hint = "broken or missing", true, repairHint
	}
	return part
}

// lookAtChanges tells of what was begun and has not ended, unless somebody is at it.
func lookAtChanges(files host.Files) []PartStatus {
	parts := []PartStatus{}
	for _, change := range []struct {
		name string
		look func(host.Files) error
	}{{"release", interrupted}, {"older TLJH", adopting}} {
		err := change.look(files)
		if err == nil {
			continue
		}
		unlock, holder, free, lockErr := files.Lock(layout.Lock, layout.SnapshotNote)
		if free {
			unlock()
		}
		if lockErr == nil && !free {
			parts = append(parts, PartStatus{Name: change.name, State: "a command is at work (" + holder + ")"})
			continue
		}
		parts = append(parts, PartStatus{Name: change.name, State: err.Error(), Problem: true, Hint: host.HintOf(err)})
	}
	return parts
}

func lookAtGlass(files host.Files) PartStatus {
	info, err := files.Lstat(layout.BreakGlass)
	part := PartStatus{Name: "break-glass login", State: "over"}
	if err == nil && time.Since(info.ModTime()) < GlassTime {
		part.State, part.Hint = "open until "+info.ModTime().Add(GlassTime).Format(time.TimeOnly), "tljh-install config break-glass --off closes it"
	}
	return part
}
