package cli

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/installer"
	"tljh/installer/statetest"
	"tljh/internal/host"
	"tljh/internal/version"
)

// everyCommand returns all commands that do something, by their names without the program's.
func everyCommand() map[string]*cobra.Command {
	found := map[string]*cobra.Command{}
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if _, name, ok := strings.Cut(cmd.CommandPath(), " "); ok && (!cmd.HasSubCommands() || name == "edge") {
			found[name] = cmd
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(newRootCommand(Streams{Out: io.Discard, Err: io.Discard}))
	return found
}

// The table knows every command that is not for people, and none that is not there; a row with an option is for one that there is.
func TestTheTableKnowsEveryCommand(t *testing.T) {
	commands := everyCommand()
	for name, cmd := range commands {
		if isHidden(cmd) { // any other without a row needs root and a hub that is installed, which is safe
			_, known := installer.Verbs[name]
			assert.True(t, known, "%s: systemd or another program may start it at any time: say so in installer/states.go", name)
		}
	}
	for name := range installer.Verbs {
		command, option, has := strings.Cut(name, " --")
		require.Contains(t, commands, command)
		if has {
			assert.NotNil(t, commands[command].Flags().Lookup(option), name)
		}
	}
	root := newTLJHConfigCommand(Streams{})
	for older := range installer.OlderVerbs {
		found, _, err := root.Find(strings.Fields(older)[1:])
		require.NoError(t, err)
		assert.Equal(t, older, found.CommandPath())
	}
}

// isHidden reports whether a command, or one that it belongs to, is not shown to people.
func isHidden(cmd *cobra.Command) bool {
	for ; cmd != nil; cmd = cmd.Parent() {
		if cmd.Hidden {
			return true
		}
	}
	return false
}

// Walks all commands through all states, as root and as somebody else.
func TestEveryCommandInEveryState(t *testing.T) {
	for _, state := range installer.StateNames() {
		files := host.Files{Root: t.TempDir()}
		require.NoError(t, statetest.Make(files, string(state), version.Version, "0.0.0-other"))
		for name := range installer.Verbs {
			command, option, has := strings.Cut(name, " --")
			cmd := everyCommand()[command]
			require.NotNil(t, cmd, command)
			if has {
				value := "true"
				if cmd.Flags().Lookup(option).Value.Type() != "bool" {
					value = "statistics"
				}
				require.NoError(t, cmd.Flags().Set(option, value))
			}
			verb := installer.Verbs[name]
			err := permit(cmd, nil, files, 0)
			assert.Equal(t, slices.Contains(verb.In, state), err == nil, "%s in %s: %v", name, state, err)
			if err != nil {
				assert.Equal(t, exitRefused, exitCode(err))
			}
			err = permit(cmd, nil, files, 1000)
			if verb.Need != installer.Anybody {
				require.ErrorContains(t, err, "only root can run tljh-install "+command+"; nothing was changed")
				assert.Equal(t, "put sudo in front: sudo tljh-install "+command, host.HintOf(err))
				assert.Equal(t, exitRefused, exitCode(err))
			}
		}
	}
}

// Another file than the hub's is anybody's, whatever the machine's state.
func TestAConfigOfOnesOwn(t *testing.T) {
	files := host.Files{Root: t.TempDir()}
	require.NoError(t, statetest.Make(files, "adoption-switching", version.Version, "0.0.0-other"))
	cmd := everyCommand()["config set"]
	require.Error(t, permit(cmd, nil, files, 1000))
	require.NoError(t, cmd.Parent().PersistentFlags().Set("config-path", "draft.yaml"))
	require.NoError(t, cmd.ParseFlags(nil))
	require.NoError(t, permit(cmd, nil, files, 1000))
	require.NoError(t, permit(everyCommand()["config validate"], []string{"draft.yaml"}, files, 1000))
}
