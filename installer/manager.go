package installer

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"tljh/environment"
	"tljh/internal/host"
	"tljh/internal/layout"
)

// ManagerChoice is what builds the user environment, where there is none yet, and changes it.
type ManagerChoice struct {
	Name string // conda or uv

	// Fallback tells that uv may take conda's place when conda fails at the first attempt: nobody asked for it.
	Fallback bool
}

// Auto leaves the choice of a package manager to what can be reached.
const Auto = "auto"

// chooseManager finds out what builds the user environment, beside whatever else is done. What was chosen once stays: the live environment's manager,
// or that of the one before it.
func (i *Installer) chooseManager(ctx context.Context, asked string) <-chan ManagerChoice {
	chosen := make(chan ManagerChoice, 1)
	if known := knownManager(i.Host.Files); known != "" {
		if asked != Auto && asked != "" && asked != known {
			i.Report.Warn("tljh-install env apply builds another one", "the user environment was made by %s and is left as it is", known)
		}
		chosen <- ManagerChoice{Name: known}
		return chosen
	}
	if slices.Contains(environment.Managers, asked) {
		chosen <- ManagerChoice{Name: asked}
		return chosen
	}
	go func() {
		if err := i.Builder.ChannelAnswers(ctx); err != nil {
			if ctx.Err() == nil {
				i.Report.Note("the user environment will be made by uv, as conda cannot be fetched: %v", err)
			}
			chosen <- ManagerChoice{Name: "uv"}
			return
		}
		chosen <- ManagerChoice{Name: "conda", Fallback: true}
	}()
	return chosen
}

// knownManager returns the manager that a user environment of this machine was made by; "" when there never was one.
func knownManager(files host.Files) string {
	if live, ok := environment.Current(files, environment.User); ok {
		return live.Manager
	}
	data, _ := files.Read(layout.Manager)
	if name := strings.TrimSpace(string(data)); slices.Contains(environment.Managers, name) {
		return name
	}
	return ""
}

// managerOf returns it for those who cannot choose: uv where nothing is known.
func managerOf(files host.Files) string { return cmp.Or(knownManager(files), "uv") }

func rememberManager(files host.Files, name string) error {
	return files.Write(layout.Manager, []byte(name+"\n"), secret)
}
