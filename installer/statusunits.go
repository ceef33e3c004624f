package installer

import (
	"context"
	"fmt"
	"slices"

	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/systemdunits"
)

// shown are the units that status always shows.
var shown = []string{layout.HubUnit, layout.ProxyUnit, layout.EdgeSocket, layout.UsersSlice}

// resident are the units that an installation enables, and that must be active all the time.
var resident = []string{layout.FirewallTimer, layout.ProxyUnit, layout.HubUnit, layout.EdgeSocket, layout.WatchPath, layout.WatchTimer, layout.CheckTimer}

func isResident(name string) bool { return slices.Contains(resident, name) }

// lookBehind looks at all other units of ours. Those that are as they should be are not shown.
func lookBehind(ctx context.Context, h *host.Host) ([]PartStatus, error) {
	parts := []PartStatus{}
	for _, name := range systemdunits.Names() {
		if slices.Contains(shown, name) {
			continue
		}
		unit, err := h.Systemd.Unit(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("cannot ask systemd about %s: %w", name, err)
		}
		if part, wrong := behind(name, unit); wrong {
			parts = append(parts, part)
		}
	}
	return parts, nil
}

// fewRestarts is how often systemd starts one again that was killed before that is a problem.
const fewRestarts = 3

func behind(name string, unit host.UnitState) (PartStatus, bool) {
	part := PartStatus{Name: name, State: unit.Active, Problem: true}
	part.Hint = fmt.Sprintf("journalctl -u %s shows why; systemctl restart %s tries again; tljh-install install repairs what is missing", name, name)
	switch {
	case unit.Load == "not-found":
		part.State = "not installed"
		part.Hint = "tljh-install install"
	case unit.Active == "failed":
	case unit.Active == "activating" && unit.Restarts > fewRestarts && unit.Result != "success":
		part.State = "started again and again: " + unit.Result
	case isResident(name) && unit.Active != "active":
	default:
		return part, false
	}
	if name == layout.WatchPath && unit.Load != "not-found" {
		part.State += ": changes of the user environment are kept within 5 minutes only"
		part.Hint = watchHint
	}
	if name == layout.FirewallTimer && unit.Load != "not-found" {
		part.State += ": users' processes may be reached from other machines once another program changes the packet filter"
	}
	return part, true
}
