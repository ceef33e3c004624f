package installer

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/config"
	"tljh/internal/host"
	"tljh/internal/host/hosttest"
	"tljh/internal/layout"
	"tljh/internal/report"
)

// machine is a folder in place of "/", with programs that answer from a script.
func machine(t *testing.T) (*host.Host, *hosttest.Runner) {
	t.Helper()
	files, runner := host.Files{Root: t.TempDir()}, &hosttest.Runner{}
	for _, dir := range []string{layout.State, layout.ConfigDir} {
		require.NoError(t, os.MkdirAll(files.Path(dir), 0o700))
	}
	return &host.Host{Files: files, Runner: runner}, runner
}

func place(t *testing.T, h *host.Host, name, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(h.Files.Path(name)), 0o700))
	require.NoError(t, os.WriteFile(h.Files.Path(name), []byte(text), 0o755))
}

func parse(t *testing.T, text string) *config.Config {
	t.Helper()
	cfg, problems := config.Parse("test", []byte(text))
	require.NoError(t, problems.Err())
	return cfg
}

// Only what the hub runs with counts as the last config that worked: what it could not use would take the good one's place.
func TestAConfigIsTakenWhenTheHubRunsWithIt(t *testing.T) {
	const good = "users:\n  admin: [alice]\n"
	for name, c := range map[string]struct {
		applied, text string
		taken         bool
	}{
		"it started with it":               {good, good, true},
		"another word of a comment":        {"# before\n" + good, "# after\n" + good, true},
		"another port, which is no hub's":  {good, good + "http:\n  port: 8080\n", true},
		"it fell back to the one before":   {good, good + "auth:\n  type: some.Wrong\n", false},
		"it never wrote what it runs with": {"", good, false},
		"what it wrote cannot be read":     {"users: [", good, false},
	} {
		t.Run(name, func(t *testing.T) {
			h, runner := machine(t)
			runner.On(hosttest.Answer{Stdout: "CONFIG NOT USED: " + layout.Config + ": auth.type\n"}, "journalctl")
			if c.applied != "" {
				place(t, h, layout.Applied, c.applied)
			}
			err := taken(t.Context(), h, []byte(c.text), parse(t, c.text))
			if c.taken {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "did not take the config")
		})
	}
}

func TestAConfigIsJudgedBeforeAnythingIsChanged(t *testing.T) {
	const text = "users:\n  admin: [alice]\nauth:\n  type: some.Wrong\n"
	judge := func(h *host.Host, text string) error {
		i := &Installer{Host: h, Report: report.New(), Now: time.Now}
		return i.judgeConfig(t.Context(), &Inputs{ConfigText: []byte(text), Config: parse(t, text)}, Options{ConfigFile: "/root/mine.yaml"})
	}
	t.Run("the hub environment knows no such authenticator", func(t *testing.T) {
		h, runner := machine(t)
		place(t, h, layout.Hub+"/bin/python", "")
		runner.On(hosttest.Answer{Stdout: `{"error": "No module named 'some'"}`}, layout.Hub+"/bin/python")
		err := judge(h, text)
		var bad *BadInput
		require.ErrorAs(t, err, &bad)
		assert.ErrorContains(t, err, "/root/mine.yaml:4")
		assert.ErrorContains(t, err, "No module named")
	})
	t.Run("a hub environment that does not work is what install mends", func(t *testing.T) {
		h, _ := machine(t)
		place(t, h, layout.Hub+"/bin/python", "")
		require.NoError(t, judge(h, text))
	})
	t.Run("there is none yet", func(t *testing.T) {
		h, _ := machine(t)
		require.NoError(t, judge(h, text))
	})
	t.Run("a file that it names is not there", func(t *testing.T) {
		h, _ := machine(t)
		err := judge(h, "hub:\n  logo: /etc/nosuch.png\n")
		require.ErrorContains(t, err, "/etc/nosuch.png")
	})
}

func TestAConfigThatIsChangedMeanwhileIsReadAgain(t *testing.T) {
	h, _ := machine(t)
	gather := func(options Options) *Inputs {
		in, err := Gather(t.Context(), h, options)
		require.NoError(t, err)
		t.Cleanup(in.Close)
		return in
	}
	stale := func(in *Inputs, options Options) bool {
		is, err := in.stale(h.Files, options)
		require.NoError(t, err)
		return is
	}
	in := gather(Options{})
	assert.False(t, stale(in, Options{}), "there is none yet")
	place(t, h, layout.Config, "users:\n  admin: [zoe]\n")
	assert.True(t, stale(in, Options{}), "somebody made one")
	in = gather(Options{Admins: []Admin{{Name: "alice"}}})
	assert.Equal(t, []string{"zoe", "alice"}, in.Config.Users.Admin)
	assert.False(t, stale(in, Options{}))
	place(t, h, layout.Config, "users:\n  admin: [zoe, carol]\n")
	assert.True(t, stale(in, Options{}))
	mine := filepath.Join(t.TempDir(), "mine.yaml")
	require.NoError(t, os.WriteFile(mine, []byte("users:\n  admin: [alice]\n"), 0o600))
	assert.False(t, stale(gather(Options{ConfigFile: mine}), Options{ConfigFile: mine}), "it is to be replaced")
}

func TestAHubThatDoesNotStartIsNotProved(t *testing.T) {
	err := host.Hint(unproved(errors.New("it ends at once")), "journalctl -u %s", layout.HubUnit)
	var unproved *UnprovedError
	require.ErrorAs(t, err, &unproved)
	assert.EqualError(t, err, "everything is installed, but the hub does not work: it ends at once")
}

func TestGeneratedPasswordsDifferAndAreAccepted(t *testing.T) {
	seen := []string{}
	for range 100 {
		password := GeneratePassword(0)
		assert.Len(t, password, 19)
		assert.NoError(t, checkPassword("x", password))
		assert.False(t, slices.Contains(seen, password))
		seen = append(seen, password)
	}
	for least := range 70 {
		password := GeneratePassword(least)
		assert.GreaterOrEqual(t, len(password), least)
		assert.NoError(t, checkPassword("x", password))
	}
}
