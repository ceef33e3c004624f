package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tljh/installer"
	"tljh/installer/uninstall"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/step"
)

type uninstallOptions struct {
	installOptions
	keepUsers   bool
	removeUsers bool
	purge       bool
}

func newUninstallCommand(streams Streams) *cobra.Command {
	var options uninstallOptions
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove the hub from this machine",
		Long: "Stop the hub and all single-user servers, and undo what the installer did to this machine. It shows first what will\n" +
			"be deleted and what stays. Files that were changed are kept and listed. Config, database, passwords, accounts and\n" +
			"homes stay, so that a later installation uses them, unless the options say otherwise; homes and shared folders are\n" +
			"deleted only with --remove-users and --purge together.\n\n" +
			"Exit codes: 0 done, or nothing to do; 1 some things could not be removed (they are listed), or you answered no;\n" +
			"2 usage error, or there is no terminal for the confirmation; 4 cannot start (nothing was changed); 5 another\n" +
			"command is running; 130 interrupted.",
		Example: "  sudo tljh-install uninstall --plan\n  sudo tljh-install uninstall\n  sudo tljh-install uninstall --remove-users --purge",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runUninstall(cmd.Context(), streams, options) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&options.keepUsers, "keep-users", false, "keep the accounts that the hub created (the default)")
	flags.BoolVar(&options.removeUsers, "remove-users", false, "delete the accounts that the hub created")
	flags.BoolVar(&options.purge, "purge", false, "delete config, database and passwords; with --remove-users, also homes and shared folders")
	flags.BoolVar(&options.plan, "plan", false, "only show what would be done")
	options.common(cmd)
	return cmd
}

func runUninstall(ctx context.Context, streams Streams, o uninstallOptions) error {
	if o.keepUsers && o.removeUsers {
		return &usageError{errors.New("--keep-users and --remove-users cannot be used together")}
	}
	r := o.begin(streams)
	defer r.close()
	u := installer.NewUninstaller(r.host, r.report, time.Now)
	what := uninstall.Options{RemoveUsers: o.removeUsers, Purge: o.purge}
	planned, err := u.Plan(ctx, what)
	if err != nil {
		return o.finish(r.report, err)
	}
	if planned.Nothing() {
		return o.show(streams, planned, nothingText(planned))
	}
	if o.plan {
		return o.show(streams, planned, removalText(planned, inPlan))
	}
	if !o.yes {
		if !o.json {
			fmt.Fprint(streams.Out, removalText(planned, inPlan))
		}
		if err := agree(streams); err != nil {
			return err
		}
	}
	// A log that is to be deleted, and was by a run that was killed after that, is not begun anew.
	if !o.purge || r.host.Files.Exists(layout.Log) {
		r.begin()
	}
	done, err := u.Uninstall(ctx, what)
	if err != nil {
		return o.finish(r.report, err)
	}
	r.report.Close()
	if err := o.show(streams, done, doneText(done)); err != nil {
		return err
	}
	if len(done.Failed) > 0 {
		return &errTold{exitFailed}
	}
	return nil
}

func (o uninstallOptions) show(streams Streams, removal *uninstall.Removal, text string) error {
	if o.json {
		return writeJSON(streams.Out, removal)
	}
	_, err := io.WriteString(streams.Out, text)
	return err
}

// agree asks whether to go on. It is an error that somebody says no, and that nobody can be asked.
func agree(streams Streams) error {
	in, ok := atTerminal(streams)
	if !ok {
		return &usageError{host.Hint(errors.New("cannot ask for confirmation: no terminal; nothing was changed"),
			"review the plan (--plan), then run the same command with --yes")}
	}
	fmt.Fprint(streams.Err, "\nContinue? [y/N] ")
	yes, err := readYes(in)
	if err != nil || yes {
		return err
	}
	fmt.Fprintln(streams.Err, "Nothing was changed.")
	return &errTold{exitFailed}
}

// headings are what a fate is called in a plan, in this order, and at the end, where what has gone is not listed again.
var headings = []struct {
	verb         step.Verb
	inPlan, done string
}{
	{step.Stop, "Stop", ""},
	{step.SetAside, "Set aside (may have been changed)", "Set aside (may have been changed)"},
	{step.Delete, "Delete", ""},
	{step.Restore, "Restore", "Restored"},
	{step.Close, "Restrict to root", "Restricted to root"},
	{step.Keep, "Keep", "Kept"},
}

const (
	inPlan = false
	atEnd  = true
)

// removalText lists what becomes of everything.
func removalText(removal *uninstall.Removal, end bool) string {
	var text strings.Builder
	for _, heading := range headings {
		title := heading.inPlan
		if end {
			title = heading.done
		}
		lines := fateLines(removal.Items, heading.verb)
		if title != "" && len(lines) > 0 {
			fmt.Fprintf(&text, "%s\n%s\n", title, strings.Join(lines, ""))
		}
	}
	if len(removal.Failed) > 0 && !end {
		fmt.Fprintf(&text, "Cannot be checked yet\n  %s\n", strings.ReplaceAll(strings.Join(removal.Failed, "\n"), "\n", "\n  "))
	}
	return strings.TrimSuffix(text.String(), "\n")
}

// plurals name many things of a kind.
var plurals = map[string]string{
	"unit": "units", "server": "servers", "file": "files", "link": "links", "folder": "folders", "shared folder": "shared folders", "group": "groups",
	"account": "accounts", "home": "homes", "step": "steps",
}

// fateLines puts things of one kind that share a reason on a line.
func fateLines(items []step.Fate, verb step.Verb) []string {
	type alike struct{ kind, why, to string }
	order, names := []alike{}, map[alike][]string{}
	for _, fate := range items {
		if fate.Verb != verb {
			continue
		}
		key := alike{fate.Kind, fate.Why, fate.To}
		if names[key] == nil {
			order = append(order, key)
		}
		names[key] = append(names[key], fate.What)
	}
	lines := []string{}
	for _, key := range order {
		label := plurals[key.kind]
		if len(names[key]) == 1 && label != "" {
			label = strings.Replace(key.kind, "server", "user's server", 1)
		}
		list := strings.Join(names[key], ", ")
		if key.to != "" {
			list += " to " + key.to
		}
		if key.why != "" {
			list = strings.TrimPrefix(list+": "+key.why, ": ")
		}
		lines = append(lines, fmt.Sprintf("  %-15s%s\n", label, fold(list, 100, strings.Repeat(" ", 17))))
	}
	return lines
}

// fold breaks a list into lines at its blanks.
func fold(text string, width int, indent string) string {
	var folded strings.Builder
	column := 0
	for n, word := range strings.Fields(text) {
		switch {
		case n == 0:
		case column+1+len(word) > width:
			folded.WriteString("\n" + indent)
			column = 0
		default:
			folded.WriteByte(' ')
			column++
		}
		folded.WriteString(word)
		column += len(word)
	}
	return folded.String()
}

func nothingText(removal *uninstall.Removal) string {
	text := "nothing to do: " + installer.NotInstalled + "\n"
	if len(removal.Items) > 0 {
		text += "\n" + removalText(removal, atEnd)
	}
	return text
}

func doneText(removal *uninstall.Removal) string {
	kept := removalText(removal, atEnd)
	if len(removal.Failed) > 0 {
		text := "\nSome things could not be removed:\n\n"
		for _, failed := range removal.Failed {
			text += "  " + strings.ReplaceAll(failed, "\n", "\n    ") + "\n"
		}
		return strings.TrimSuffix(text+"\n"+kept, "\n") + "\n\nFix what is listed above, then run the same command again to remove the rest.\n"
	}
	text := fmt.Sprintf("\nThe hub is uninstalled (%s).\n", seconds(removal.Seconds))
	if kept != "" {
		text += "\n" + kept
	}
	if keeps(removal, layout.State) {
		text += "\nA later installation will use what was kept.\n"
	}
	return text
}

func keeps(removal *uninstall.Removal, what string) bool {
	for _, fate := range removal.Items {
		if fate.What == what && fate.Verb == step.Keep {
			return true
		}
	}
	return false
}
