package cli

import (
	"os"
	"strings"

	"github.com/spf13/cobra"

	"tljh/installer"
	"tljh/internal/host"
	"tljh/internal/layout"
)

// permitHere holds every command to the table installer.Verbs, before it does anything.
func permitHere(cmd *cobra.Command, args []string) error {
	return permit(cmd, args, host.Files{}, os.Geteuid())
}

func permit(cmd *cobra.Command, args []string, files host.Files, uid int) error {
	command := cmd.CommandPath()
	key, ok := installer.OlderVerbs[command]
	if !ok {
		_, key, _ = strings.Cut(command, " ")
	}
	if key == "" || cmd.HasSubCommands() && key != "edge" || isOfCobra(cmd) {
		return nil // it shows its help
	}
	verb := installer.VerbOf(key, func(option string) bool {
		flag := cmd.Flags().Lookup(option)
		return flag != nil && flag.Changed && flag.Value.String() != "false"
	})
	if verb.Need == installer.OfHub && ofAnotherFile(cmd, key, args) {
		return nil
	}
	if verb.Need != installer.Anybody && uid != 0 {
		return installer.NeedRoot(command)
	}
	return verb.Permit(command, files)
}

// ofAnotherFile reports whether a command of config works on a file that is not the hub's.
func ofAnotherFile(cmd *cobra.Command, key string, args []string) bool {
	if file := cmd.Flags().Lookup("config-path"); file != nil && file.Value.String() != layout.Config {
		return true
	}
	return key == "config validate" && len(args) > 0
}

// isOfCobra reports whether a command is one that the library for command lines brings.
func isOfCobra(cmd *cobra.Command) bool {
	for ; cmd != nil; cmd = cmd.Parent() {
		if name := cmd.Name(); name == "help" || name == "completion" || strings.HasPrefix(name, "__complete") {
			return true
		}
	}
	return false
}
