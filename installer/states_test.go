package installer

import (
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/installer/statetest"
	"tljh/internal/host"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Every state is recognised by the files that a machine in it has, and names one command that may run in it.
func TestStates(t *testing.T) {
	setVersion(t, "0.2.0")
	for _, state := range StateNames() {
		files := host.Files{Root: t.TempDir()}
		require.NoError(t, statetest.Make(files, string(state), "0.2.0", "0.1.0"))
		found, err := FindState(files)
		require.NoError(t, err)
		assert.Equal(t, state, found)

		command := state.Command()
		if command == "" {
			assert.Equal(t, StateInstalled, state)
			continue
		}
		fields := strings.Fields(command)
		require.Equal(t, []string{"sudo", "tljh-install"}, fields[:2])
		verb := VerbOf(fields[2], func(option string) bool { return slices.Contains(fields, "--"+option) })
		assert.Contains(t, verb.In, state, "%s is said to be right in the state %s", command, state)
	}
}

// What is forbidden says what is right, and nothing ever says to move the hub's folder.
func TestWhatEveryVerbSaysInEveryState(t *testing.T) {
	setVersion(t, "0.2.0")
	for _, state := range StateNames() {
		files := host.Files{Root: t.TempDir()}
		require.NoError(t, statetest.Make(files, string(state), "0.2.0", "0.1.0"))
		for name, verb := range Verbs {
			err := verb.Permit("tljh-install "+name, files)
			assert.Equal(t, !slices.Contains(verb.In, state), err != nil, "%s in %s", name, state)
			if err == nil {
				continue
			}
			assert.IsType(t, &CommandRefused{}, err)
			assert.Contains(t, err.Error(), describe(files, state))
			assert.Contains(t, host.HintOf(err), state.Command())
			assert.NotContains(t, host.HintOf(err), "mv ")
		}
	}
}

// What would write our files over a hub that runs may not run while that hub is another's.
func TestDangerousPairs(t *testing.T) {
	for _, name := range []string{"config reload", "config edit", "config revert", "config set --reload", "env apply", "env rollback", "env repair", "rollback", "password"} {
		for _, state := range []State{StateLegacy, StateAdoptPreparing, StateAdoptSwitching, StateAdoptBack, StateUpgrading} {
			assert.NotContains(t, Verbs[name].In, state, name)
		}
	}
}

const statesPage = "../docs/reference/states.md"

// The manual's page is the table.
func TestThePageOfTheStates(t *testing.T) {
	var page strings.Builder
	page.WriteString("# States and commands\n\nA machine is in one of these states. `tljh-install status` shows which one, and the command to run next. A command that\n" +
		"cannot run in a state is refused with exit code 4, and nothing is changed.\n\n" +
		"This page is generated from the table that the program uses (`installer/states.go`).\n\n| state | meaning | command to run |\n| --- | --- | --- |\n")
	for _, state := range StateNames() {
		command := "none: everything is done"
		if state.Command() != "" {
			command = "`" + state.Command() + "`"
		}
		page.WriteString("| " + string(state) + " | " + state.Words() + " | " + command + " |\n")
	}
	page.WriteString("\n| command | root | runs in these states |\n| --- | --- | --- |\n")
	needs := map[Need]string{Anybody: "no", Root: "yes", OfHub: "for the hub's config"}
	for _, name := range slices.Sorted(maps.Keys(Verbs)) {
		verb := Verbs[name]
		if hidden(name) {
			continue
		}
		in := "all"
		if left := slices.DeleteFunc(StateNames(), func(s State) bool { return slices.Contains(verb.In, s) }); len(left) > 0 {
			texts := []string{}
			for _, state := range verb.In {
				texts = append(texts, string(state))
			}
			slices.SortFunc(texts, func(a, b string) int { return order(a) - order(b) })
			in = strings.Join(texts, ", ")
			if len(left) < 5 {
				texts = nil
				for _, state := range left {
					texts = append(texts, string(state))
				}
				in = "all but " + strings.Join(texts, ", ")
			}
		}
		page.WriteString("| `" + name + "` | " + needs[verb.Need] + " | " + in + " |\n")
	}
	if *update {
		require.NoError(t, os.WriteFile(statesPage, []byte(page.String()), 0o644))
	}
	there, err := os.ReadFile(statesPage)
	require.NoError(t, err)
	assert.Equal(t, page.String(), string(there), "go test ./installer -run TestThePageOfTheStates -update writes it anew")
}

func order(state string) int { return slices.Index(StateNames(), State(state)) }

// hidden are commands of systemd's, of bootstrap.sh and between releases.
func hidden(name string) bool {
	return slices.Contains([]string{"edge", "edge certificate", "verify-release", "config for-hub", "env snapshot", "env check --scheduled", "firewall apply", "firewall show", "firewall remove", "upgrade --staged", "upgrade --settle"}, name)
}
