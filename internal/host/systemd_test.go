package host_test

import (
	"context"
	"os"
	"path"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
	"tljh/internal/host/hosttest"
)

// manager is a service manager under test.
type manager struct {
	systemd host.Systemd
	files   host.Files
	// kill ends the main process of a unit from outside.
	kill func(t *testing.T, name string)
	// broken makes a unit one that fails when started.
	broken func(name string)
}

const (
	unitsFolder = "/etc/systemd/system"
	goodUnit    = "tljh-contract.service"
	badUnit     = "tljh-contract-bad.service"
	goodText    = "[Unit]\nDescription=contract test\n[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=multi-user.target\n"
	badText     = "[Service]\nType=oneshot\nExecStart=/bin/false\n"
)

func TestSystemdInMemoryKeepsTheContract(t *testing.T) {
	files := newFiles(t)
	require.NoError(t, os.MkdirAll(files.Path(unitsFolder), 0o755))
	memory := &hosttest.Systemd{Files: files}
	testSystemd(t, manager{
		systemd: memory, files: files,
		kill:   func(_ *testing.T, name string) { memory.Kill(name) },
		broken: func(name string) { memory.Fail(name, "exit-code") },
	})
	assert.Subset(t, memory.Done(), []string{"reload", "enable " + goodUnit, "restart " + goodUnit})
}

// The real one is only touched where the machine is there for that: in a throwaway guest.
func TestRealSystemdKeepsTheContract(t *testing.T) {
	files := host.Files{}
	if os.Getenv("TLJH_TEST_SYSTEMD") == "" || !files.IsRunning() || os.Geteuid() != 0 {
		t.Skip("needs TLJH_TEST_SYSTEMD=1 on a machine with systemd, as root; it makes units there")
	}
	bus := &host.SystemdBus{}
	t.Cleanup(func() {
		for _, name := range []string{goodUnit, badUnit} {
			_ = bus.Do(context.Background(), "stop", name)
			_ = bus.Disable(context.Background(), name)
			_ = files.Remove(path.Join(unitsFolder, name))
		}
		_ = bus.Reload(context.Background())
	})
	testSystemd(t, manager{
		systemd: bus, files: files,
		kill: func(t *testing.T, name string) {
			state, err := bus.Unit(t.Context(), name)
			require.NoError(t, err)
			require.NoError(t, syscall.Kill(state.MainPID, syscall.SIGKILL))
		},
		broken: func(string) {},
	})
}

func testSystemd(t *testing.T, m manager) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	unit := func(name string) host.UnitState {
		state, err := m.systemd.Unit(ctx, name)
		require.NoError(t, err)
		return state
	}
	write := func(name, content string) {
		require.NoError(t, m.files.Write(path.Join(unitsFolder, name), []byte(content), mine(0o644)))
	}

	state := unit(goodUnit)
	assert.Equal(t, "not-found", state.Load)
	assert.Equal(t, "inactive", state.Active)
	for _, verb := range []string{"start", "restart"} {
		require.Error(t, m.systemd.Do(ctx, verb, goodUnit), "there is nothing to %s", verb)
	}
	require.ErrorContains(t, m.systemd.Do(ctx, "paint", goodUnit), "no such verb")
	require.Error(t, m.systemd.Enable(ctx, goodUnit))
	require.Error(t, m.systemd.Disable(ctx, goodUnit))

	write(goodUnit, goodText)
	require.NoError(t, m.systemd.Reload(ctx))
	state = unit(goodUnit)
	assert.Equal(t, host.UnitState{
		Load: "loaded", Active: "inactive", Enabled: "disabled", Result: "success", FragmentPath: path.Join(unitsFolder, goodUnit),
	}, state)

	require.NoError(t, m.systemd.Enable(ctx, goodUnit))
	require.NoError(t, m.systemd.Enable(ctx, goodUnit), "twice is no error")
	assert.Equal(t, "enabled", unit(goodUnit).Enabled)
	assert.Equal(t, "inactive", unit(goodUnit).Active, "enabling starts nothing")
	assert.True(t, m.files.Exists(path.Join(unitsFolder, "multi-user.target.wants", goodUnit)))

	require.NoError(t, m.systemd.Do(ctx, "start", goodUnit))
	first := unit(goodUnit)
	assert.Equal(t, "active", first.Active)
	assert.Positive(t, first.MainPID)
	assert.Len(t, first.Invocation, 32)
	require.NoError(t, m.systemd.Do(ctx, "start", goodUnit))
	assert.Equal(t, first, unit(goodUnit), "starting what runs changes nothing")
	require.NoError(t, m.systemd.Do(ctx, "restart", goodUnit))
	second := unit(goodUnit)
	assert.Equal(t, "active", second.Active)
	assert.NotEqual(t, first.Invocation, second.Invocation)
	assert.NotEqual(t, first.MainPID, second.MainPID)

	write(goodUnit, goodText+"# changed\n")
	assert.True(t, unit(goodUnit).NeedsReload)
	require.NoError(t, m.systemd.Reload(ctx))
	assert.False(t, unit(goodUnit).NeedsReload)
	assert.Equal(t, second.Invocation, unit(goodUnit).Invocation, "reading unit files again restarts nothing")

	m.kill(t, goodUnit)
	eventually(t, "the unit has failed", func() bool { return unit(goodUnit).Active == "failed" })
	assert.Equal(t, "signal", unit(goodUnit).Result)
	assert.Zero(t, unit(goodUnit).MainPID)
	require.NoError(t, m.systemd.Do(ctx, "restart", goodUnit))
	assert.Equal(t, "active", unit(goodUnit).Active)
	assert.Equal(t, "success", unit(goodUnit).Result)

	require.NoError(t, m.systemd.Do(ctx, "stop", goodUnit))
	require.NoError(t, m.systemd.Do(ctx, "stop", goodUnit), "stopping what does not run is no error")
	assert.Equal(t, "inactive", unit(goodUnit).Active)
	assert.Zero(t, unit(goodUnit).MainPID)
	require.NoError(t, m.systemd.Disable(ctx, goodUnit))
	assert.Equal(t, "disabled", unit(goodUnit).Enabled)
	assert.False(t, m.files.Exists(path.Join(unitsFolder, "multi-user.target.wants", goodUnit)))

	write(badUnit, badText)
	m.broken(badUnit)
	require.NoError(t, m.systemd.Reload(ctx))
	assert.Equal(t, "static", unit(badUnit).Enabled)
	require.ErrorContains(t, m.systemd.Do(ctx, "start", badUnit), badUnit)
	assert.Equal(t, "failed", unit(badUnit).Active)
	assert.Equal(t, "exit-code", unit(badUnit).Result)
	require.NoError(t, m.systemd.Do(ctx, "reset-failed", badUnit))
	assert.Equal(t, "inactive", unit(badUnit).Active)
	require.NoError(t, m.systemd.Do(ctx, "reset-failed", badUnit), "nothing to forget is no error")
	require.NoError(t, m.systemd.Do(ctx, "reset-failed", "tljh-contract-unheard-of.service"))
	require.NoError(t, m.systemd.Do(ctx, "stop", "tljh-contract-unheard-of.service"), "what is not there is stopped")
	require.ErrorContains(t, m.systemd.Do(ctx, "start", "tljh-contract-unheard-of.service"), "tljh-contract-unheard-of.service")

	require.NoError(t, m.files.Remove(path.Join(unitsFolder, goodUnit)))
	require.NoError(t, m.systemd.Reload(ctx))
	assert.Equal(t, "not-found", unit(goodUnit).Load)

	cancel()
	_, err := m.systemd.Unit(ctx, badUnit)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, m.systemd.Do(ctx, "start", badUnit), context.Canceled)
}

// "its last words:" with nothing behind it leaves people looking for what is missing.
func TestLastWordsAreNeverAnEmptyHeading(t *testing.T) {
	for _, words := range []string{"", "\n", "  \n\t\n"} {
		err := host.LastWords(assert.AnError, "jupyterhub.service", words)
		assert.ErrorIs(t, err, assert.AnError)
		assert.Equal(t, assert.AnError.Error()+"; jupyterhub.service wrote nothing into the journal", err.Error())
	}
	err := host.LastWords(assert.AnError, "jupyterhub.service", "one\ntwo\n\n")
	assert.Equal(t, assert.AnError.Error()+"; the last words of jupyterhub.service:\none\ntwo", err.Error())
}
