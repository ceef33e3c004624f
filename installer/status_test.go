package installer

import (
	"os"
	"testing"

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
