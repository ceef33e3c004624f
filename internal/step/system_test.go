package step

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
)

// busySystemd is one whose unit is at work when it is asked about first.
type busySystemd struct {
	host.Systemd
	asked, busy int
}

func (s *busySystemd) Unit(context.Context, string) (host.UnitState, error) {
	s.asked++
	if s.asked <= s.busy {
		return host.UnitState{Load: "loaded", Active: "activating"}, nil
	}
	return host.UnitState{Load: "loaded", Active: "inactive"}, nil
}

// A timer starts the packet filter's unit every minute: a plan that is made meanwhile has nothing to do about it.
func TestAUnitThatRunsForAMomentIsInOrder(t *testing.T) {
	files := host.Files{Root: t.TempDir()}
	require.NoError(t, os.MkdirAll(files.Path("/run/systemd/system"), 0o755))
	unit := Unit{Name: "tljh-firewall.service", OnDemand: true, Stamp: func(*Context) string { return "1" }}
	c := &Context{Host: &host.Host{Files: files, Systemd: &busySystemd{busy: 2}}, Recorded: func(string) string { return "1" }}
	state, err := unit.Check(t.Context(), c)
	require.NoError(t, err)
	assert.Equal(t, Same, state)

	c.Host.Systemd = &busySystemd{busy: 2}
	unit.OnDemand = false
	state, err = unit.Check(t.Context(), c)
	require.NoError(t, err)
	assert.Equal(t, Different, state, "one that is to run all the time is not waited for")
}
