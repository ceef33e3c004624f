package installer

import (
	"context"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/config"
	"tljh/environment"
	"tljh/internal/host"
	"tljh/internal/host/hosttest"
	"tljh/internal/step"
)

// builtHub puts a hub environment of this program with packages in its place.
func builtHub(t *testing.T, files host.Files, number int, packages ...string) environment.Generation {
	t.Helper()
	generation := environment.Generation{Kind: environment.Hub, Number: number, Digest: environment.HubDigest(packages), Manager: "uv", Packages: packages}
	require.NoError(t, files.MkdirAll(generation.Path(), rootDir))
	require.NoError(t, files.Write(path.Join(generation.Path(), "generation.files"), nil, readable))
	meta := `{"kind": "hub", "number": ` + string(rune('0'+number)) + `, "digest": "` + generation.Digest + `", "manager": "uv"`
	if len(packages) > 0 {
		meta += `, "packages": ["` + strings.Join(packages, `", "`) + `"]`
	}
	require.NoError(t, files.Write(path.Join(generation.Path(), "generation.json"), []byte(meta+"}"), readable))
	return generation
}

func withHubPackages(packages ...string) *config.Config {
	cfg := config.Default()
	cfg.Hub.Packages = packages
	return cfg
}

// Another list is another hub environment. One that lacks the class of auth.type does not become the live one.
func TestHubPackagesMakeAnotherHubEnvironment(t *testing.T) {
	h, runner := machine(t)
	plain, lti := builtHub(t, h.Files, 1), builtHub(t, h.Files, 2, "lti")
	require.NoError(t, environment.Switch(h.Files, plain))
	b := environment.New(environment.Setup{Host: h})
	c := &step.Context{Host: h}
	look := func(cfg *config.Config) step.State {
		state, err := hubStep(b, &Inputs{Config: cfg}).Look(t.Context(), c)
		require.NoError(t, err)
		return state
	}
	assert.Equal(t, step.Same, look(config.Default()))
	assert.Equal(t, step.Different, look(withHubPackages("lti")))
	assert.Empty(t, packagesLeft(h.Files, config.Default()))
	assert.Equal(t, []string{"hub.packages"}, packagesLeft(h.Files, withHubPackages("lti")))

	cfg := withHubPackages("lti")
	cfg.Auth.Type = "lti.LTIAuthenticator"
	asked := lti.Path() + "/bin/python"
	runner.On(hosttest.Answer{Stdout: `{"ok": false, "error": "there is no LTIAuthenticator in lti"}`, Times: 1}, asked, "-m", "tljh.check_authenticator")
	err := hubStep(b, &Inputs{Config: cfg}).Do(t.Context(), c)
	require.ErrorContains(t, err, "cannot use auth.type lti.LTIAuthenticator, and the one before stays: there is no LTIAuthenticator in lti")
	live, _ := environment.Current(h.Files, environment.Hub)
	assert.Equal(t, plain.Number, live.Number)

	runner.On(hosttest.Answer{Stdout: `{"ok": true}`}, asked, "-m", "tljh.check_authenticator")
	require.NoError(t, hubStep(b, &Inputs{Config: cfg}).Do(t.Context(), c))
	live, _ = environment.Current(h.Files, environment.Hub)
	assert.Equal(t, lti.Number, live.Number)
	assert.Equal(t, step.Same, look(cfg))

	cfg.Hub.Packages = nil // and the class is still that of auth.type
	runner.On(hosttest.Answer{Stdout: `{"ok": false, "error": "No module named 'lti'"}`}, plain.Path()+"/bin/python", "-m", "tljh.check_authenticator")
	require.ErrorContains(t, hubStep(b, &Inputs{Config: cfg}).Do(t.Context(), c), "No module named 'lti'")
	require.NoError(t, hubStep(b, &Inputs{Config: cfg, goingBack: true}).Do(t.Context(), c), "a hub that does not start goes back, whatever the config says")
}

// A release's hub environment is built with the packages, before anything is switched; without them, it is not the one.
func TestAnUpgradeBuildsTheHubWithItsPackages(t *testing.T) {
	h, _ := machine(t)
	b := environment.New(environment.Setup{Host: h})
	builtHub(t, h.Files, 1)
	cfg := withHubPackages("lti")
	for in, want := range map[*Inputs]step.State{{Config: config.Default()}: step.Same, {Config: cfg}: step.Absent} {
		plan, err := preparePlan(in, b)
		require.NoError(t, err)
		for _, node := range plan.Nodes {
			if node.Step.ID() == idHubAhead {
				state, err := node.Step.Check(t.Context(), &step.Context{Host: h})
				require.NoError(t, err)
				assert.Equal(t, want, state)
			}
		}
	}
	u := &Upgrader{Installer: Installer{Host: h, Builder: b}}
	require.ErrorContains(t, u.follow(context.WithoutCancel(t.Context()), cfg, Release{Version: "0.0.9"}), "the new hub environment is not there")
}
