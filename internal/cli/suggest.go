package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tljh/config"
	"tljh/internal/host"
)

// noArgs refuses what stands behind a command: a verb that there is not, or anything behind one that takes nothing.
func noArgs(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case !cmd.HasSubCommands():
		return &usageError{host.Hint(fmt.Errorf("%s takes no further argument: %q", cmd.CommandPath(), args[0]), "see %s --help", cmd.CommandPath())}
	}
	err := fmt.Errorf("unknown command %q", cmd.CommandPath()+" "+args[0])
	if hint := doneOtherwise(cmd, args[0]); hint != "" {
		return &usageError{host.Hint(err, "%s", hint)}
	}
	if near := meant(cmd, args[0]); len(near) > 0 {
		return &usageError{host.Hint(err, "did you mean %s?", strings.Join(near, " or "))}
	}
	return &usageError{host.Hint(err, "see %s --help", cmd.CommandPath())}
}

// doneOtherwise returns how to do what a word means to people, where no command does it; "" for other words.
func doneOtherwise(cmd *cobra.Command, word string) string {
	for _, each := range otherwise[cmd.CommandPath()] {
		if slices.Contains(each.words, word) {
			return each.hint
		}
	}
	return ""
}

// otherwise are words of other programs that no verb of ours does.
var otherwise = map[string][]struct {
	words []string
	hint  string
}{
	"tljh-install": {
		{[]string{"user", "users", "add-user", "adduser", "useradd", "student", "students"},
			"users are added on the hub's Admin page, or with: sudo tljh-install config add users.allowed NAME --reload"},
		{[]string{"admin", "admins", "add-admin"}, "sudo tljh-install config add users.admin NAME --reload"},
		{[]string{"log", "logs", "journal"}, "the hub: sudo journalctl -u jupyterhub -e; a user's server: sudo journalctl -u jupyter-NAME -e; this program: sudo less /opt/tljh/installer.log"},
		{[]string{"start", "stop", "enable", "disable"}, "systemd starts and stops the hub: sudo systemctl start jupyterhub"},
		{[]string{"https", "ssl", "tls", "cert", "certificate", "letsencrypt"}, "section https of the config: sudo tljh-install config edit"},
		{[]string{"plugin", "plugins"}, "sudo tljh-install install --plugin NAME"},
		{[]string{"backup", "restore", "dump"}, "what to copy, and how: docs/troubleshooting.md, section Copy the hub's data"},
		{[]string{"man", "manual", "docs"}, "man tljh-install, or tljh-install help COMMAND"},
	},
	"tljh-install env": {
		{[]string{"uninstall", "remove", "rm", "delete", "del"}, "an admin removes a package in a terminal of the hub: pip uninstall NAME"},
		{[]string{"update", "upgrade"}, "sudo tljh-install env install 'NAME>=VERSION', or an admin in a terminal of the hub: pip install --upgrade NAME"},
		{[]string{"create", "new"}, "an extra kernel for all, or for a group: sudo tljh-install env apply FOLDER --kernel NAME"},
	},
}

// atMostOne is for verbs behind which there may be one thing.
func atMostOne(usage string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) <= 1 {
			return nil
		}
		return &usageError{fmt.Errorf("usage: %s %s", cmd.Parent().CommandPath(), usage)}
	}
}

// meant returns the command lines that a word behind a command was probably meant to be: a verb of that command, one of another, or a key of the config.
func meant(cmd *cobra.Command, word string) []string {
	if near := nearVerb(cmd, word); near != "" {
		return []string{cmd.CommandPath() + " " + near}
	}
	root := cmd.Root()
	if key := config.NearKey(word); key != "" && (config.IsKey(word) || cmd.Name() == "config") {
		get := "config get"
		if root.Name() != "tljh-install" {
			get = "show"
		}
		return []string{root.CommandPath() + " " + get + " " + key}
	}
	elsewhere := []string{}
	for _, family := range root.Commands() {
		for _, verb := range shown(family) {
			if family != cmd && isMeant(verb, word) {
				elsewhere = append(elsewhere, verb.CommandPath())
			}
		}
	}
	if cmd != root {
		if near := slices.IndexFunc(shown(root), func(verb *cobra.Command) bool { return isMeant(verb, word) }); near >= 0 {
			elsewhere = append(elsewhere, shown(root)[near].CommandPath())
		}
	}
	return elsewhere
}

// shown are the verbs of a command that people see.
func shown(cmd *cobra.Command) []*cobra.Command {
	if cmd.Hidden {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(cmd.Commands()), func(sub *cobra.Command) bool { return sub.Hidden })
}

func isMeant(verb *cobra.Command, word string) bool {
	return verb.Name() == word || slices.Contains(alsoCalled[verb.CommandPath()], word)
}

func nearVerb(cmd *cobra.Command, word string) string {
	names := []string{}
	for _, verb := range shown(cmd) {
		if isMeant(verb, word) {
			return verb.Name()
		}
		names = append(names, verb.Name())
	}
	return config.Nearest(word, names)
}

// alsoCalled are words that other programs have for our verbs.
var alsoCalled = map[string][]string{
	"tljh-install install":         {"setup", "init", "deploy", "fix", "repair"},
	"tljh-install uninstall":       {"delete", "purge", "erase"},
	"tljh-install upgrade":         {"update", "dist-upgrade", "self-update"},
	"tljh-install rollback":        {"downgrade", "revert"},
	"tljh-install status":          {"state", "info", "doctor", "health", "ps"},
	"tljh-install password":        {"passwd"},
	"tljh-install env":             {"environment", "packages", "conda", "pip"},
	"tljh-install config":          {"settings", "configure", "conf"},
	"tljh-install releases":        {"changelog"},
	"tljh-install config get":      {"print"},
	"tljh-install config show":     {"list", "cat", "view", "dump"},
	"tljh-install config validate": {"check", "lint", "verify"},
	"tljh-install config history":  {"log", "versions"},
	"tljh-install config revert":   {"rollback", "undo"},
	"tljh-install config reload":   {"apply", "restart"},
	"tljh-install config unset":    {"delete", "rm"},
	"tljh-install config add":      {"append", "add-item"},
	"tljh-install config remove":   {"remove-item"},
	"tljh-install env history":     {"log", "snapshots", "versions"},
	"tljh-install env list":        {"freeze", "show"},
	"tljh-install env rollback":    {"revert", "undo", "restore"},
	"tljh-install env check":       {"verify", "validate", "doctor"},
	"tljh-install env install":     {"add"},
	"tljh-config add-item":         {"add", "append"},
	"tljh-config remove-item":      {"remove"},
}
