package installer

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/installer/journal"
	"tljh/installer/switchover"
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
	look := func(files host.Files) []PartStatus {
		state, err := FindState(files)
		require.NoError(t, err)
		return lookAtState(files, state)
	}
	files := host.Files{Root: t.TempDir()}
	require.NoError(t, os.MkdirAll(files.Path(layout.State), 0o700))
	require.NoError(t, os.MkdirAll(files.Path(layout.Hub), 0o755))
	installed := []PartStatus{{Name: "state", State: "the hub is installed"}}
	assert.Equal(t, installed, look(files))

	change := &Change{Old: Release{Version: "0.1.0"}, New: "0.2.0"}
	require.NoError(t, change.enter(files, switchover.Preparing))
	assert.Equal(t, installed, look(files), "the old release works")
	assert.NoError(t, interrupted(files))
	require.NoError(t, change.enter(files, switchover.Switching))
	assert.Equal(t, []PartStatus{{
		Name: "state", State: "an upgrade from 0.1.0 to 0.2.0 was interrupted", Problem: true, Hint: "sudo tljh-install upgrade",
	}}, look(files))

	unlock, err := journal.Lock(t.Context(), files, time.Now())
	require.NoError(t, err)
	parts := look(files)
	require.Len(t, parts, 1)
	assert.Contains(t, parts[0].State, "a command is running (process ")
	assert.False(t, parts[0].Problem)
	unlock()

	change.Rollback = true
	require.NoError(t, change.enter(files, switchover.Restored))
	assert.Equal(t, []PartStatus{{Name: "state", State: "a rollback to 0.1.0 was interrupted", Problem: true, Hint: "sudo tljh-install rollback"}}, look(files))
	require.NoError(t, (&Adoption{}).enter(files, switchover.Switching))
	assert.Equal(t, []PartStatus{
		{Name: "state", State: "an adoption was interrupted while the hubs were switched", Problem: true, Hint: "sudo tljh-install install"},
	}, look(files))
}

func TestADamagedUserEnvironmentIsReported(t *testing.T) {
	files := host.Files{Root: t.TempDir()}
	want := PartStatus{Name: "user environment", State: "damaged: it is missing", Problem: true, Hint: "sudo tljh-install env repair repairs it"}
	assert.Equal(t, want, lookAtUserEnvironment(files))
	err := damaged(files)
	require.EqualError(t, err, "everything is installed, but not all of it works: the user environment is damaged: it is missing")
	var unproved *UnprovedError
	require.ErrorAs(t, err, &unproved, "install ends with the code of what is not complete")
	assert.Equal(t, want.Hint, host.HintOf(err))
}

// What the preflight warned of is said for as long as it is so.
func TestStatusTellsWhatTheMachineDoesNotGive(t *testing.T) {
	files := host.Files{Root: t.TempDir()}
	put := func(name, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(files.Path(name)), 0o755))
		require.NoError(t, os.WriteFile(files.Path(name), []byte(text), 0o755))
	}
	put("/sys/fs/cgroup/cgroup.controllers", "cpu pids\n")
	put("/usr/bin/apt-get", "#!")
	parts := lookAtMachine(files)
	require.Len(t, parts, 2)
	assert.Contains(t, parts[0].State, "memory limits have no effect")
	assert.Contains(t, parts[0].Hint, "cgroup_enable=memory")
	assert.Equal(t, "sudo apt install git", parts[1].Hint)
	for _, part := range parts {
		assert.False(t, part.Problem, "the hub works")
	}
	put("/sys/fs/cgroup/cgroup.controllers", "cpu memory pids\n")
	put("/usr/bin/git", "#!")
	assert.Empty(t, lookAtMachine(files))
}

// Without the receipt, nothing tells what an uninstallation has to undo: status says so, and names what writes it anew. Other commands work.
func TestALostReceiptIsReported(t *testing.T) {
	s := newSite(t)
	part, lost := lookAtReceipt(s.files)
	assert.False(t, lost, part)

	require.NoError(t, os.Remove(s.files.Path(layout.Receipt)))
	part, lost = lookAtReceipt(s.files)
	require.True(t, lost)
	assert.Equal(t, PartStatus{
		Name: "receipt", State: layout.Receipt + " is missing: uninstall would not know all that it made", Problem: true, Hint: "sudo tljh-install install writes it anew",
	}, part)
	assert.NoError(t, s.applier.installed(), "the config can be changed all the same")
	_, err := s.apply("limits: {memory: 1G}")
	require.NoError(t, err)

	for _, text := range []string{"", "{\"event\":\"ru"} {
		require.NoError(t, os.WriteFile(s.files.Path(layout.Receipt), []byte(text), 0o600))
		part, lost = lookAtReceipt(s.files)
		require.True(t, lost)
		assert.Contains(t, part.State, "is empty")
		assert.Equal(t, "sudo tljh-install install writes it anew", part.Hint)
	}

	require.NoError(t, os.WriteFile(s.files.Path(layout.Receipt), []byte("{\"event\":\"run\"}\nnot json\n{\"event\":\"end\"}\n"), 0o600))
	part, lost = lookAtReceipt(s.files)
	require.True(t, lost)
	assert.Contains(t, part.State, "line 2 is damaged")
	assert.Contains(t, part.Hint, "sudo mv "+layout.Receipt+" "+layout.Receipt+".damaged; then sudo tljh-install install")
}
