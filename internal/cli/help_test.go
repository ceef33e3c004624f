package cli

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
)

// allCommands calls do with every command that people see, under both names of the program.
func allCommands(t *testing.T, do func(cmd *cobra.Command)) {
	t.Helper()
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		do(cmd)
		for _, sub := range shown(cmd) {
			walk(sub)
		}
	}
	for _, name := range []string{"tljh-install", "tljh-config"} {
		walk(rootCommand(name, Streams{}))
	}
}

// A terminal of 80 columns breaks no line of help inside a word.
func TestHelpFitsIntoEightyColumns(t *testing.T) {
	count := 0
	allCommands(t, func(cmd *cobra.Command) {
		count++
		for _, width := range []int{80, 50} {
			for _, line := range strings.Split(helpText(cmd, width), "\n") {
				if width == 80 || !strings.HasPrefix(line, "  ") { // examples and usage are to be pasted as they are
					assert.LessOrEqual(t, len([]rune(line)), width, "%s: %s", cmd.CommandPath(), line)
				}
			}
		}
	})
	assert.Greater(t, count, 40)
}

// Every command says something of itself; those that end in more than one way list the exit codes.
func TestHelpHasItsParts(t *testing.T) {
	allCommands(t, func(cmd *cobra.Command) {
		text := helpText(cmd, helpColumns)
		assert.Contains(t, text, "\nUsage:\n  "+cmd.CommandPath(), cmd.CommandPath())
		assert.Contains(t, text, "--help", cmd.CommandPath())
		assert.NotContains(t, strings.TrimSpace(text), "Exit codes: ", "%s: the codes stand in a list", cmd.CommandPath())
		assert.False(t, strings.HasSuffix(cmd.Short, "."), cmd.CommandPath())
	})
}

func TestWordsOfOthersLeadToVerbs(t *testing.T) {
	commands := map[string]*cobra.Command{}
	allCommands(t, func(cmd *cobra.Command) { commands[cmd.CommandPath()] = cmd })
	for path, words := range alsoCalled {
		require.Contains(t, commands, path)
		for _, word := range words {
			assert.Contains(t, meant(commands[path].Parent(), word), path, word)
		}
	}
}

func TestWordsThatNoVerbDoesLeadToWhatDoes(t *testing.T) {
	commands := map[string]*cobra.Command{}
	allCommands(t, func(cmd *cobra.Command) { commands[cmd.CommandPath()] = cmd })
	for path, all := range otherwise {
		require.Contains(t, commands, path)
		for _, each := range all {
			for _, word := range each.words {
				err := noArgs(commands[path], []string{word})
				assert.Equal(t, each.hint, host.HintOf(err), word)
				assert.False(t, slices.ContainsFunc(commands[path].Commands(), func(verb *cobra.Command) bool { return verb.Name() == word }), word)
			}
			for _, verb := range regexp.MustCompile("tljh-install( [a-z]+)+").FindAllString(strings.ReplaceAll(each.hint, "tljh-install help", ""), -1) {
				found, rest, err := commands["tljh-install"].Find(strings.Fields(verb)[1:])
				require.NoError(t, err)
				assert.NotEqual(t, "tljh-install", found.CommandPath(), "%s %v", verb, rest)
			}
		}
	}
}

// Every verb, with a letter too many, one missing and two swapped, is understood at its own level.
func TestMisspeltVerbsAreUnderstood(t *testing.T) {
	allCommands(t, func(cmd *cobra.Command) {
		if !cmd.HasParent() {
			return
		}
		name, siblings := cmd.Name(), map[string]bool{}
		for _, sub := range shown(cmd.Parent()) {
			siblings[sub.Name()] = true
		}
		last := name[len(name)-1:]
		for _, wrong := range []string{name + last, "x" + name, name[:len(name)-2] + last + name[len(name)-2:len(name)-1]} {
			if siblings[wrong] || len(name) < 3 {
				continue
			}
			assert.Equal(t, []string{cmd.CommandPath()}, meant(cmd.Parent(), wrong), "%s %s", cmd.Parent().CommandPath(), wrong)
		}
	})
}

func TestCompletionIsMadeForEachShell(t *testing.T) {
	for _, name := range []string{"tljh-install", "tljh-config"} {
		for shell := range shells {
			script, err := completionScript(rootCommand(name, Streams{}), shell)
			require.NoError(t, err)
			assert.True(t, bytes.Contains(script, []byte(name)), shell)
		}
	}
}
