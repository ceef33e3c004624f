package installer

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
	"tljh/internal/host/hosttest"
	"tljh/internal/layout"
)

// After a start of the machine, the slice is not there before the first server: that is no problem. A hub that does not run is one.
func TestAMachineThatWasJustStarted(t *testing.T) {
	files := host.Files{Root: t.TempDir()}
	require.NoError(t, os.MkdirAll(files.Path(layout.Units), 0o755))
	for _, name := range []string{layout.UsersSlice, layout.HubUnit} {
		require.NoError(t, os.WriteFile(files.Path(layout.Units+"/"+name), []byte("[Unit]\n"), 0o644))
	}
	h := &host.Host{Files: files, Systemd: &hosttest.Systemd{Files: files}}
	slice, err := lookAtUnit(t.Context(), h, layout.UsersSlice, "users' slice")
	require.NoError(t, err)
	assert.Equal(t, PartStatus{Name: "users' slice", State: "ready"}, slice)
	hub, err := lookAtUnit(t.Context(), h, layout.HubUnit, "hub")
	require.NoError(t, err)
	assert.True(t, hub.Problem)
}

func TestStatusTellsWhatWasInterrupted(t *testing.T) {
	files := host.Files{Root: t.TempDir()}
	require.NoError(t, os.MkdirAll(files.Path(layout.State), 0o700))
	assert.Empty(t, lookAtChanges(files))

	change := &Change{Old: Release{Version: "0.1.0"}, New: "0.2.0"}
	require.NoError(t, change.enter(files, phasePreparing))
	assert.Empty(t, lookAtChanges(files), "the old release works")
	assert.NoError(t, interrupted(files))
	require.NoError(t, change.enter(files, phaseSwitching))
	assert.Equal(t, []PartStatus{{
		Name: "release", State: "an upgrade from 0.1.0 to 0.2.0 was interrupted", Problem: true, Hint: "complete it first: tljh-install upgrade",
	}}, lookAtChanges(files))

	unlock, err := Lock(t.Context(), files, time.Now())
	require.NoError(t, err)
	parts := lookAtChanges(files)
	require.Len(t, parts, 1)
	assert.Contains(t, parts[0].State, "a command is at work (process ")
	assert.False(t, parts[0].Problem)
	unlock()

	change.Rollback = true
	require.NoError(t, change.enter(files, phaseRestored))
	require.NoError(t, (&Adoption{}).enter(files, phaseSwitching))
	assert.Equal(t, []PartStatus{
		{Name: "release", State: "a rollback to 0.1.0 was interrupted", Problem: true, Hint: "complete it first: tljh-install rollback"},
		{Name: "older TLJH", State: "taking over the older TLJH was interrupted", Problem: true, Hint: "complete it first: tljh-install install"},
	}, lookAtChanges(files))
}
