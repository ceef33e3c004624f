package installer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"tljh/config"
	"tljh/environment"
	"tljh/installer/hubnotes"
	"tljh/installer/journal"
	"tljh/internal/check"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/version"
)

// Status is how an installation is doing.
type Status struct {
	Version   string       `json:"version"` // of this program
	Hub       string       `json:"hub,omitempty"`
	State     State        `json:"state"`
	OK        bool         `json:"ok"`
	Parts     []PartStatus `json:"parts"`
	Addresses []string     `json:"addresses,omitempty"`
	Origins   *Origins     `json:"origins,omitempty"` // nil where the config cannot be read
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
	state, err := FindState(h.Files)
	if err != nil {
		return nil, err
	}
	if state == StateNone {
		return nil, errNotInstalled
	}
	s := &Status{Version: version.Version, State: state, Hub: hubVersion(h.Files), Parts: lookAtState(h.Files, state)}
	if state == StateLegacy || state == StateLegacyBroken || state == StateAdoptPreparing {
		return s, nil // what runs here is not ours
	}
	for _, unit := range []struct{ name, what string }{
		{layout.HubUnit, "hub"}, {layout.ProxyUnit, "proxy"}, {layout.EdgeSocket, "edge"}, {layout.UsersSlice, "users' slice"},
	} {
		part, err := lookAtUnit(ctx, h, unit.name, unit.what)
		if err != nil {
			return nil, err
		}
		s.Parts = append(s.Parts, part)
	}
	behind, err := lookBehind(ctx, h)
	if err != nil {
		return nil, err
	}
	s.Parts = append(s.Parts, behind...)
	cfg, part, err := lookAtConfig(h.Files)
	if err != nil {
		return nil, err
	}
	s.Parts = append(s.Parts, part)
	if part, wrong := lookAtReceipt(h.Files); wrong {
		s.Parts = append(s.Parts, part)
	}
	if part, ok := lookAtCertificate(h.Files, time.Now()); ok {
		s.Parts = append(s.Parts, part)
	}
	if part, ok := lookAtSnippets(h.Files); ok {
		s.Parts = append(s.Parts, part)
	}
	s.Parts = append(s.Parts, lookAtUserEnvironment(h.Files))
	if part, ok := lookAtSeen(h.Files, time.Now()); ok {
		s.Parts = append(s.Parts, part)
	}
	if part, known := lookAtFirewall(h.Files); known {
		s.Parts = append(s.Parts, part)
	}
	s.Parts = append(s.Parts, lookAtMachine(h.Files)...)
	if h.Files.Exists(layout.RoomTold) {
		s.Parts = append(s.Parts, PartStatus{Name: "disk", State: "full: the room kept for the hub is in use", Hint: "make room on the disk of " + layout.Root, Problem: true})
	}
	s.Parts = append(s.Parts, lookAtStores(h.Files)...)
	if h.Files.Exists(layout.BreakGlass) {
		s.Parts = append(s.Parts, lookAtGlass(h.Files))
	}
	if cfg != nil {
		if part, open := lookAtSSH(h.Files, cfg); open {
			s.Parts = append(s.Parts, part)
		}
		if part, found := lookOutside(h.Files, cfg); found {
			s.Parts = append(s.Parts, part)
		}
		s.Parts = append(s.Parts, lookAtAddresses(cfg)...)
		s.Addresses = addresses(h.Files, cfg)
		origins := originsOf(cfg)
		s.Origins = &origins
	}
	s.OK = true
	for n, part := range s.Parts {
		s.OK = s.OK && !part.Problem
		if n > 0 && !slices.Contains(inSettled, state) {
			s.Parts[n].Hint = "" // one command is right now: that of the state
		}
	}
	return s, nil
}

// stores are the databases that the hub keeps copies of.
var stores = []struct{ name, told, were, begins, lost string }{
	{"database", layout.DatabaseTold, "was damaged", "it began empty", "add the users and groups that are missing on the Admin page"},
	{
		"passwords", layout.PasswordsTold, "were damaged", "",
		"users who have chosen a password since then log in with the one before; give a new one to those who cannot: sudo tljh-install password --generate NAME",
	},
}

// lookAtStores tells that the hub's database or the passwords were damaged, until an admin has seen to what that lost.
func lookAtStores(files host.Files) []PartStatus {
	parts := []PartStatus{}
	for _, store := range stores {
		data, err := files.Read(store.told)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var told struct {
			Since, Copy int64
			Why, Aside  string
		}
		if err == nil {
			err = json.Unmarshal(data, &told)
		}
		part := PartStatus{Name: store.name, Problem: true, Hint: store.lost + "; then: sudo rm " + store.told}
		switch moment := time.Unix(told.Copy, 0).Format("2006-01-02 15:04"); {
		case err != nil:
			part.State = fmt.Sprintf("%s, and what the hub says of it cannot be read: %v", store.were, err)
		case told.Copy == 0:
			part.State = fmt.Sprintf("%s (%s), and there was no copy: %s", store.were, told.Why, store.begins)
		default:
			part.State = fmt.Sprintf("%s (%s); a copy of %s is in its place", store.were, told.Why, moment)
		}
		if told.Aside != "" {
			part.State += "; the damaged one is kept as " + told.Aside
		}
		parts = append(parts, part)
	}
	return parts
}

// lookAtReceipt reports a receipt that is lost or damaged. The hub works without it; an uninstallation needs it.
func lookAtReceipt(files host.Files) (PartStatus, bool) {
	part := PartStatus{Name: "receipt", Problem: true}
	if !files.Exists(layout.Receipt) {
		part.State = layout.Receipt + " is missing: uninstall would not know all that it made"
		part.Hint = "sudo tljh-install install writes it anew"
		return part, true
	}
	receipt, err := journal.LoadReceipt(files, time.Now)
	if err != nil {
		part.State, part.Hint = err.Error(), host.HintOf(err)
		return part, true
	}
	if receipt.Empty() {
		part.State = layout.Receipt + " is empty: uninstall would not know all that it made"
		part.Hint = "sudo tljh-install install writes it anew"
		return part, true
	}
	return part, false
}

// hubVersion is the release of the hub; "" where that is not recorded.
func hubVersion(files host.Files) string {
	releases, err := LoadReleases(files)
	if err != nil || releases.Live == nil {
		return ""
	}
	return releases.Live.Version
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
		part.Hint = fmt.Sprintf("journalctl -u %s shows why; systemctl restart %s tries again; tljh-install install repairs what is missing", name, name)
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
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, part, fmt.Errorf("cannot read the config: %w", err)
	}
	cfg, problems := config.Parse(layout.Config, text)
	told := hubProblems(files)
	before := lastInEffect(History{Files: files})
	pending, known, left := []config.Change(nil), false, []string(nil)
	if cfg != nil {
		pending, known = Pending(files, cfg)
		left = packagesLeft(files, cfg)
	}
	trouble := func(state, hint string) { part.State, part.Hint, part.Problem = state, hint, true }
	switch {
	case err != nil:
		trouble("there is no "+layout.Config, "sudo tljh-install config revert brings back the last one that worked")
	case lostHow(files) != "":
		trouble(layout.Config+" is "+lostHow(files), "sudo tljh-install config revert brings back the last one that worked")
	case cfg == nil:
		trouble(problems.Err().Error(), "the hub runs with the last one that worked; tljh-install config edit, or tljh-install config revert")
	case len(told.Problems) > 0:
		trouble("not used by the hub: "+strings.Join(told.Problems, "; "), "the hub runs with "+told.Using+"; tljh-install config edit, or tljh-install config revert; then tljh-install config reload")
	case othersCanRead(files):
		trouble("valid, but others can read or write it, and it contains secrets", "tljh-install config reload puts that right")
	case !known:
		part.State = "valid"
	case len(pending) > 0 && !areAll(pending, left):
		part.State, part.Hint = "valid, with changes that are not in effect yet", "tljh-install config reload"
	case before != nil && len(left) > 0:
		part.State, part.Hint = "valid, in effect but for "+strings.Join(left, " and "), "tljh-install install"
	default:
		part.State = "valid, in effect"
	}
	if before == nil {
		before = cfg
	}
	return before, part, nil
}

// areAll reports whether the keys are those of all changes.
func areAll(changes []config.Change, keys []string) bool {
	return !slices.ContainsFunc(changes, func(c config.Change) bool { return !slices.Contains(keys, c.Path) })
}

// lookAtCertificate judges a certificate of one's own by the config in effect: its names, its time and its key.
func lookAtCertificate(files host.Files, now time.Time) (PartStatus, bool) {
	part := PartStatus{Name: "certificate", State: "valid, with all names of the hub"}
	_, text, ok := History{Files: files}.Last()
	if !ok {
		return part, false
	}
	cfg, report := config.Parse(layout.Config, text)
	if cfg == nil || !cfg.HTTPS.Enabled || cfg.HTTPS.TLS.Cert == "" {
		return part, false
	}
	for _, problem := range config.CheckMachine(cfg, report, files, config.Resources{}, now, func() *config.Config { return nil }) {
		if strings.HasPrefix(problem.Path, "https.tls.") {
			part.State, part.Hint, part.Problem = problem.Message, problem.Hint, true
			break
		}
	}
	return part, true
}

func othersCanRead(files host.Files) bool {
	info, err := files.Lstat(layout.Config)
	return err == nil && (host.AttrOf(info).UID != secret.UID || info.Mode().Perm()&^secret.Mode != 0)
}

// packagesLeft returns the keys with packages that no installation has seen to yet.
func packagesLeft(files host.Files, cfg *config.Config) []string {
	keys := []string{}
	if !packagesInstalled(files, cfg) {
		keys = append(keys, "user_environment.packages")
	}
	if !environment.HoldsPackages(files, cfg.Hub.Packages) {
		keys = append(keys, "hub.packages")
	}
	return keys
}

// packagesInstalled tells whether the last installation saw to the packages that a config lists.
func packagesInstalled(files host.Files, cfg *config.Config) bool {
	list := cfg.UserEnvironment.Packages
	if len(list) == 0 {
		return true
	}
	receipt, err := journal.LoadReceipt(files, time.Now)
	return err != nil || receipt.Recorded(idPackages) == host.SHA256(packagesText(list))
}

func lookAtUserEnvironment(files host.Files) PartStatus {
	part := PartStatus{Name: "user environment", State: "there"}
	told, err := hubnotes.ReadRescue(files)
	switch {
	case err != nil:
		part.State, part.Problem = err.Error(), true
	case told != nil:
		part.State, part.Problem, part.Hint = told.Words(), true, hubnotes.RepairHint
	default:
		damage := environment.Damage(files)
		if damage == "" {
			break
		}
		if changers := environment.Changers(files); len(changers) > 0 {
			part.State = "being changed by: " + changers[0].Command
			break
		}
		part.State, part.Problem, part.Hint = "damaged: "+damage, true, hubnotes.RepairHint
	}
	return part
}

// machineChecks are findings of the preflight that an admin is reminded of for as long as they hold: they change what users can count on.
var machineChecks = []struct {
	name string
	look func(host.Files) check.Finding
}{
	{"limits", check.Limits}, {"git", check.Git},
}

// lookAtMachine tells what the machine does not give. The hub works all the same, so that it is no problem of the installation.
func lookAtMachine(files host.Files) []PartStatus {
	parts := []PartStatus{}
	for _, each := range machineChecks {
		if finding := each.look(files); finding.Severity == check.Warning {
			parts = append(parts, PartStatus{Name: each.name, State: finding.Message, Hint: finding.Hint})
		}
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

// lookAtSnippets reports what the hub uses of jupyterhub_config.d. Without files there is nothing to report.
func lookAtSnippets(files host.Files) (PartStatus, bool) {
	part := PartStatus{Name: "jupyterhub_config.d"}
	told, err := hubnotes.ReadSnippets(files)
	switch {
	case err != nil:
		part.State, part.Problem = err.Error(), true
	case told == nil || len(told.Files) == 0:
		return part, false
	case told.NotUsed() != "":
		part.State, part.Problem, part.Hint = told.NotUsed(), true, told.Hint()
	default:
		part.State = "in effect: " + strings.Join(told.Files, ", ")
		for _, note := range told.Notes {
			part.State += "; " + note.String()
		}
	}
	return part, true
}
