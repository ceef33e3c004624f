package installer

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/config"
	"tljh/environment"
	"tljh/installer/journal"
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
	plan, err := InstallPlan(in, environment.New(environment.Setup{Host: h, Client: &fetch.Client{}}))
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
	builder := environment.New(environment.Setup{Host: h, Client: &fetch.Client{}})
	for _, manager := range environment.Managers {
		in := &Inputs{Config: config.Default(), ConfigText: []byte("{}"), Manager: ManagerChoice{Name: manager}}
		upgrader := &Upgrader{Installer: Installer{Host: h, Builder: builder}}
		upgrade, err := upgrader.upgradePlan(&takeover{in: in}, Release{Version: "0.0.9"})
		require.NoError(t, err)
		settle, err := settlePlan(in, builder)
		require.NoError(t, err)
		in.switching = true
		adoption, err := InstallPlan(in, builder)
		require.NoError(t, err)
		waits := map[string][]string{}
		for _, node := range adoption.Nodes {
			waits[node.Step.ID()] = node.After
		}
		assert.NotContains(t, strings.Join(waits[idHubUnit], " "), "unit ", "the hub waits for another unit")
		assert.NotContains(t, strings.Join(waits["unit "+layout.EdgeSocket], " "), "unit ", "the edge waits for the hub")
		assert.NotEmpty(t, waits["unit "+layout.ProxyUnit])
		for _, plan := range []journal.Plan{upgrade, settle, adoption} {
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

const sudoSays = "Sudo version 1.9.15p5\nSudoers path: /etc/sudoers\nValue to override user's $PATH with: %s\nType of authentication timestamp record: tty\n"

// Where sudo has a path of its own without /usr/local/bin, and where scripts know /usr/bin/tljh-config, the commands are found all the same.
func TestTheCommandsAreFoundBySudo(t *testing.T) {
	const debian, fedora = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "/sbin:/bin:/usr/sbin:/usr/bin"
	for name, c := range map[string]struct {
		sudo      string
		switching bool
		there     string // /usr/bin/tljh-config leads there
		want      []string
	}{
		"usual":              {fmt.Sprintf(sudoSays, debian), false, "", []string{}},
		"sudo-rs":            {"sudo-rs 0.2.5\n", false, "", []string{}},
		"no such folder":     {fmt.Sprintf(sudoSays, fedora), false, "", []string{layout.SystemConfig, layout.SystemBinary}},
		"an adoption":        {fmt.Sprintf(sudoSays, debian), true, "", []string{layout.SystemConfig}},
		"after an adoption":  {fmt.Sprintf(sudoSays, debian), false, layout.Binary, []string{layout.SystemConfig}},
		"somebody else's":    {fmt.Sprintf(sudoSays, fedora), true, "/srv/mine", []string{layout.SystemBinary}},
		"only one is theirs": {fmt.Sprintf(sudoSays, debian), true, "/srv/mine", []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := machine(t)
			require.NoError(t, h.Files.MkdirAll("/usr/bin", rootDir))
			if c.there != "" {
				require.NoError(t, h.Files.Link(c.there, layout.SystemConfig))
			}
			in := &Inputs{Config: config.Default(), switching: c.switching}
			in.Facts.Sudo = c.sudo
			assert.Equal(t, c.want, systemLinks(h.Files, in))
		})
	}
}

// A file of the user environment is missing: what admins installed is no reason for a new environment without it.
func TestADamagedUserEnvironmentIsNotReplaced(t *testing.T) {
	h, _ := machine(t)
	live := environment.Generation{Kind: environment.User, Number: 1, Manager: "uv"}
	place(t, h, live.Path()+"/generation.json", `{"kind":"user","number":1,"manager":"uv"}`)
	build := userStep(environment.New(environment.Setup{Host: h}), ManagerChoice{Name: "uv"})
	state, err := build.Look(t.Context(), &step.Context{Host: h})
	require.NoError(t, err)
	assert.Equal(t, step.Absent, state)
	require.NoError(t, environment.Switch(h.Files, live))
	state, err = build.Look(t.Context(), &step.Context{Host: h})
	require.NoError(t, err)
	assert.Equal(t, step.Same, state)
	part := lookAtUserEnvironment(h.Files)
	assert.True(t, part.Problem)
	assert.Contains(t, part.State, "bin/python is missing")
	assert.Contains(t, part.Hint, "env repair")
}
