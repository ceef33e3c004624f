package environment

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/conda"
	"tljh/internal/host"
	"tljh/internal/host/hosttest"
)

func TestTheStateThatLosesLeastIsTriedFirst(t *testing.T) {
	files, live := condaEnvironment(t) // python, jupyter_core, rich
	b := Repairer{New(Setup{Host: &host.Host{Files: files}})}
	take := func(n int64, why Occasion) {
		_, taken, err := TakeSnapshot(files, time.Unix(n, 0), why)
		require.NoError(t, err)
		require.True(t, taken)
	}
	take(1, Occasion{})
	install(t, files, live, "cowsay", "6.0")
	take(2, Occasion{})
	install(t, files, live, "numpy", "2.0")
	take(3, Occasion{Broken: "numpy: is missing"})
	install(t, files, live, "cowsay", "6.1")

	candidates, err := b.Candidates()
	require.NoError(t, err)
	found := []string{}
	for _, each := range candidates {
		found = append(found, each.String())
	}
	assert.Equal(t, []string{"the packages that are installed now, fetched again", "snapshot 2", "snapshot 2, fetched again", "snapshot 1", "snapshot 1, fetched again"}, found)
	assert.Equal(t, []string{"cowsay 6.1 → 6.0", "-numpy 2.0"}, candidates[1].Loss)
	all, err := Snapshots(files)
	require.NoError(t, err)
	assert.Len(t, all, 3, "candidates are no history")
}

func TestARepairThatDoesNotHelpLeavesEverythingAsItWas(t *testing.T) {
	files, live := condaEnvironment(t)
	put(t, files, "/etc/passwd", "tljh-env:x:0:0::/:/bin/sh\n")
	live.Manager = "conda"
	require.NoError(t, seal(files, live))
	core := path.Join(sitePackages(live.Path()), "jupyter_core.py")
	require.NoError(t, files.Remove(core))
	records, err := files.List(path.Join(live.Path(), conda.Meta))
	require.NoError(t, err)
	runner := &hosttest.Runner{}
	runner.On(hosttest.Answer{Do: func(context.Context, hosttest.Call) error {
		// conda unlinks what it replaces, and fails then.
		require.NoError(t, files.RemoveTree(sitePackages(live.Path())+"/rich-13.0.dist-info"))
		return errors.New("the channel is gone")
	}}, "/opt/tljh/conda/bin/conda")
	runner.On(hosttest.Answer{Code: 1})
	b := Repairer{New(Setup{Host: &host.Host{Files: files, Runner: runner}})}
	troubles := []Trouble{{Package: "jupyter_core", Version: "5.0", Explicit: "https://conda.example.org/noarch/jupyter_core-5.0-0.conda#m5.0"}}
	health, err := b.RepairInPlace(t.Context(), troubles, func() error { return nil })
	require.ErrorContains(t, err, "the channel is gone")
	assert.False(t, health.Healthy())
	assert.True(t, files.Exists(sitePackages(live.Path())+"/rich-13.0.dist-info/RECORD"), "what the attempt removed is lost")
	now, err := files.List(path.Join(live.Path(), conda.Meta))
	require.NoError(t, err)
	assert.Equal(t, records, now)
	assert.False(t, files.Exists(live.Path()+asideSuffix))
}

// uvUser is a user environment of uv's with a package, which users can start.
func uvUser(t *testing.T) (host.Files, Generation) {
	t.Helper()
	files := newFiles(t)
	put(t, files, "/etc/passwd", fmt.Sprintf("tljh-env:x:%d:%d::/:/bin/sh\n", os.Getuid(), os.Getgid()))
	put(t, files, "/etc/group", "")
	live := liveUser(t, files, 1)
	install(t, files, live, "jupyterhub", JupyterHubVersion())
	program := path.Join(live.Path(), "bin/jupyterhub-singleuser")
	put(t, files, program, "")
	require.NoError(t, os.Chmod(files.Path(program), 0o755))
	install(t, files, live, "rich", "13.0")
	return files, live
}

// uv leaves a lock file that everybody can change wherever it works: by the check, that is damage.
func TestARepairByUVInPlaceIsAccepted(t *testing.T) {
	files, live := uvUser(t)
	require.NoError(t, files.Remove(sitePackages(live.Path())+"/rich.py"))
	runner := &hosttest.Runner{}
	runner.On(hosttest.Answer{Do: func(context.Context, hosttest.Call) error {
		install(t, files, live, "rich", "13.0")
		lock := files.Path(path.Join(live.Path(), ".lock"))
		return errors.Join(os.WriteFile(lock, nil, 0o666), os.Chmod(lock, 0o666))
	}}, uvProgram())
	runner.On(hosttest.Answer{})
	b := Repairer{New(Setup{Host: &host.Host{Files: files, Runner: runner}})}
	before, err := b.Examine(t.Context())
	require.NoError(t, err)
	require.Equal(t, []Trouble{{Package: "rich", Version: "13.0", Words: "rich.py is missing"}}, before.Troubles)
	health, err := b.RepairInPlace(t.Context(), before.Troubles, func() error { return nil })
	require.NoError(t, err)
	assert.Empty(t, health.Troubles)
	assert.False(t, files.Exists(path.Join(live.Path(), ".lock")))
}

func TestAnEnvironmentThatIsGoneIsRestoredFromItsSnapshot(t *testing.T) {
	files, live := uvUser(t)
	_, _, err := TakeSnapshot(files, time.Unix(1, 0), Occasion{})
	require.NoError(t, err)
	install(t, files, live, "cowsay", "6.0")
	_, _, err = TakeSnapshot(files, time.Unix(2, 0), Occasion{Broken: "cowsay: is missing"})
	require.NoError(t, err)
	require.NoError(t, errors.Join(RemoveGeneration(files, live.Path()), files.Remove(User.Link())))
	runner := &hosttest.Runner{}
	runner.On(hosttest.Answer{})
	b := Repairer{New(Setup{Host: &host.Host{Files: files, Runner: runner}, Now: time.Now})}
	restored, ok, err := b.Restore(t.Context(), func(string) error { return nil }, t.Logf)
	require.NoError(t, err)
	require.True(t, ok)
	packages, _, err := Packages(files, restored.Path())
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"jupyterhub": JupyterHubVersion(), "rich": "13.0"}, packages)
}

func TestPackagesComeFromTheConfiguredChannelWhereTheirAddressFails(t *testing.T) {
	lines := []string{"https://gone.example.org/conda-forge/noarch/jupyter_core-5.0-pyh_0.conda#abc", "https://gone.example.org/conda-forge/linux-64/python-3.14.1-h1_2.tar.bz2"}
	assert.Equal(t, []string{"jupyter_core=5.0=pyh_0", "python=3.14.1=h1_2"}, conda.Specs(lines))
	assert.False(t, conda.Settings{Alias: "https://mirror.example.org"}.Has(lines))
	assert.False(t, conda.Settings{}.Has(lines), "the channel's address is not known")
	assert.True(t, conda.Settings{Alias: "https://gone.example.org/"}.Has(lines), "asking there again is no use")
	assert.True(t, conda.Settings{Channel: "https://gone.example.org/conda-forge"}.Has(lines))
}
