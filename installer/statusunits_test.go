package installer

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"

	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/systemdunits"
)

func TestEveryUnitIsLookedAt(t *testing.T) {
	for name, test := range map[string]struct {
		unit  string
		state host.UnitState
		says  string
	}{
		"a watch that runs":           {layout.WatchPath, host.UnitState{Load: "loaded", Active: "active"}, ""},
		"a watch that failed":         {layout.WatchPath, host.UnitState{Load: "loaded", Active: "failed"}, "kept within 5 minutes only"},
		"a watch that was stopped":    {layout.WatchPath, host.UnitState{Load: "loaded", Active: "inactive"}, "kept within 5 minutes only"},
		"a timer that is not there":   {layout.WatchTimer, host.UnitState{Load: "not-found", Active: "inactive"}, "not installed"},
		"a timer that was stopped":    {layout.FirewallTimer, host.UnitState{Load: "loaded", Active: "inactive"}, "reached from other machines"},
		"a service that has no work":  {layout.WatchUnit, host.UnitState{Load: "loaded", Active: "inactive"}, ""},
		"a service that failed":       {layout.WatchUnit, host.UnitState{Load: "loaded", Active: "failed"}, "failed"},
		"one that was killed":         {layout.WatchUnit, host.UnitState{Load: "loaded", Active: "activating", Result: "signal", Restarts: 1}, ""},
		"one that is killed always":   {layout.WatchUnit, host.UnitState{Load: "loaded", Active: "activating", Result: "oom-kill", Restarts: 4}, "started again and again: oom-kill"},
		"one that runs again":         {layout.WatchUnit, host.UnitState{Load: "loaded", Active: "activating", Result: "success", Restarts: 4}, ""},
		"an edge that nobody needed":  {layout.EdgeUnit, host.UnitState{Load: "loaded", Active: "inactive"}, ""},
		"a certificate's that failed": {"tljh-edge-certificate.service", host.UnitState{Load: "loaded", Active: "failed"}, "failed"},
	} {
		part, wrong := behind(test.unit, test.state)
		assert.Equal(t, test.says != "", wrong, name)
		assert.Equal(t, wrong, part.Problem && wrong, name)
		if wrong {
			assert.Contains(t, part.State, test.says, name)
		}
	}
	for _, name := range systemdunits.Names() {
		if isResident(name) && !slices.Contains(shown, name) {
			_, wrong := behind(name, host.UnitState{Load: "loaded", Active: "inactive"})
			assert.True(t, wrong, name)
		}
	}
	part, _ := behind(layout.WatchPath, host.UnitState{Load: "loaded", Active: "failed"})
	assert.Contains(t, part.Hint, "fs.inotify.max_user_instances")
}
