package installer

import (
	"context"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/config"
	"tljh/environment"
	"tljh/internal/fetch"
	"tljh/internal/host"
	"tljh/internal/host/hosttest"
	"tljh/internal/layout"
	"tljh/internal/step"
)

// Rules that visudo refuses would lock every admin out of sudo: they never get their name.
func TestSudoRulesAreJudgedBeforeTheyAreLive(t *testing.T) {
	h, runner := machine(t)
	c := &step.Context{Host: h}
	file := step.File{Path: layout.Sudoers, What: "sudo rules", Content: []byte("rules\n"), Attr: host.Attr{Mode: 0o440, UID: os.Getuid(), GID: os.Getgid()}, Vet: vetSudoers}
	require.NoError(t, os.MkdirAll(h.Files.Path("/etc/sudoers.d"), 0o755))
	seen := ""
	runner.On(hosttest.Answer{Code: 1, Stderr: "parse error", Times: 1, Do: func(_ context.Context, call hosttest.Call) error {
		data, err := os.ReadFile(call.Argv[len(call.Argv)-1])
		seen = string(data)
		return err
	}}, "visudo", "--check")
	require.ErrorContains(t, file.Apply(t.Context(), c), "parse error")
	assert.Equal(t, "rules\n", seen, "what visudo was shown")
	assert.False(t, h.Files.Exists(layout.Sudoers))
	left, err := h.Files.List(layout.State)
	require.NoError(t, err)
	assert.NotContains(t, left, "sudoers.draft")

	runner.On(hosttest.Answer{}, "visudo", "--check")
	require.NoError(t, file.Apply(t.Context(), c))
	assert.True(t, h.Files.Exists(layout.Sudoers))
}

// What is of no lock comes in when the environment is its account's already, so that none of its code runs as root.
func TestRequirementsComeAfterTheEnvironmentWasHandedOver(t *testing.T) {
	h, _ := machine(t)
	cfg := config.Default()
	cfg.UserEnvironment.Packages = []string{"numpy"}
	in := &Inputs{Config: cfg, ConfigText: []byte("{}"), Requirements: "/root/course.txt", Source: "course.txt"}
	plan, err := InstallPlan(in, &environment.Builder{Host: h, Client: &fetch.Client{}})
	require.NoError(t, err)
	after := map[string][]string{}
	for _, node := range plan.Nodes {
		after[node.Step.ID()] = node.After
	}
	for _, id := range []string{idPackages, idRequirements} {
		assert.Contains(t, after[id], idOwner)
	}
	assert.Contains(t, after[idOwner], idUser)
	assert.Contains(t, after["user-environment-snapshot"], idRequirements)
}

// While the release changes, the hub is away until it is started: what reads thousands of files comes later.
func TestTheHubIsAwayForNothingElse(t *testing.T) {
	h, _ := machine(t)
	builder := &environment.Builder{Host: h, Client: &fetch.Client{}}
	for _, manager := range environment.Managers {
		in := &Inputs{Config: config.Default(), ConfigText: []byte("{}"), Manager: ManagerChoice{Name: manager}}
		upgrader := &Upgrader{Installer: Installer{Host: h, Builder: builder}}
		upgrade, err := upgrader.upgradePlan(&takeover{in: in}, Release{Version: "0.0.9"})
		require.NoError(t, err)
		settle, err := settlePlan(in, builder)
		require.NoError(t, err)
		for _, plan := range []Plan{upgrade, settle} {
			after := map[string]bool{idHubUnit: true}
			for _, node := range plan.Nodes {
				after[node.Step.ID()] = after[node.Step.ID()] || slices.ContainsFunc(node.After, func(id string) bool { return after[id] })
			}
			for _, id := range []string{idOwner, "user-environment-snapshot", "unit " + layout.WatchPath} {
				assert.True(t, after[id], id)
			}
		}
	}
}
