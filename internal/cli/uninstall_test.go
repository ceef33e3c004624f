package cli

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/installer/uninstall"
	"tljh/internal/layout"
	"tljh/internal/step"
)

var update = flag.Bool("update", false, "write the golden files anew")

// class is what uninstalling does on a machine that a class has worked on.
func class() *uninstall.Removal {
	items := []step.Fate{
		{Verb: step.Stop, Kind: "unit", What: "jupyterhub.service"},
		{Verb: step.Stop, Kind: "unit", What: "configurable-http-proxy.service"},
	}
	for _, name := range []string{"alice", "bob", "carol", "dan", "eve", "frank", "grace", "heidi", "ivan", "judy"} {
		items = append(items, step.Fate{Verb: step.Stop, Kind: "server", What: "jupyter-" + name + ".service"})
	}
	items = append(items,
		step.Fate{Verb: step.SetAside, Kind: "file", What: layout.Sudoers, To: layout.Aside + layout.Sudoers, Why: "it was changed since"},
		step.Fate{Verb: step.Delete, Kind: "file", What: "/etc/systemd/system/jupyterhub.service"},
		step.Fate{Verb: step.Delete, Kind: "group", What: "tljh-proxy"},
		step.Fate{Verb: step.Restore, Kind: "file", What: "/etc/profile.d/tljh.sh"},
		step.Fate{Verb: step.Close, Kind: "shared folder", What: "/srv/tljh/data"},
		step.Fate{Verb: step.Keep, Kind: "folder", What: "/etc/systemd/system/jupyterhub.service.d", Why: "an admin made it; without the unit it does nothing"},
		step.Fate{Verb: step.Keep, Kind: "account", What: "jupyter-alice", Why: "made by the hub; homes stay, too"},
		step.Fate{Verb: step.Keep, Kind: "account", What: "jupyter-bob", Why: "made by the hub; homes stay, too"},
		step.Fate{Verb: step.Keep, Kind: "folder", What: layout.State, Why: "the hub's database, passwords, and what this program knows of the machine"},
	)
	return &uninstall.Removal{Items: items, Seconds: 4.2}
}

func TestWordsOfUninstalling(t *testing.T) {
	failed := class()
	failed.Failed = []string{"cannot delete the group tljh-proxy: groupdel failed (exit code 10):\n    cannot lock /etc/group", "cannot remove /opt/tljh/tools: something is mounted at /opt/tljh/tools\numount /opt/tljh/tools, then run the same command again"}
	bare := &uninstall.Removal{Seconds: 61}
	left := &uninstall.Removal{Items: []step.Fate{{Verb: step.Keep, Kind: "folder", What: layout.State, Why: "the hub's database"}}}
	for name, got := range map[string]string{
		"plan": removalText(class(), inPlan), "done": doneText(class()), "failed": doneText(failed), "without-a-trace": doneText(bare),
		"nothing": nothingText(bare), "nothing-but-state": nothingText(left),
	} {
		file := filepath.Join("testdata", "uninstall", name+".txt")
		if *update {
			require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
			require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
		}
		want, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.Equal(t, string(want), got, "%s; go test -update writes it anew", file)
	}
}

func TestUninstallAsks(t *testing.T) {
	for typed, code := range map[string]int{"y\n": exitOK, "YES\n": exitOK, "n\n": exitFailed, "\n": exitFailed, "why\n": exitFailed, "\x04": exitFailed} {
		person, program := terminal(t)
		_, err := person.WriteString(typed)
		require.NoError(t, err)
		var said bytes.Buffer
		assert.Equal(t, code, tell(agree(Streams{In: program, Err: &said}), &said), "%q", typed)
		assert.Contains(t, said.String(), "Continue? [y/N]")
		assert.Equal(t, code != exitOK, strings.Contains(said.String(), "Nothing was changed"), "%q", typed)
	}
	var said bytes.Buffer
	assert.Equal(t, exitUsage, tell(agree(Streams{In: strings.NewReader("y\n"), Err: &said}), &said))
	assert.Contains(t, said.String(), "--yes")
	assert.NotContains(t, said.String(), "Continue?")
}
