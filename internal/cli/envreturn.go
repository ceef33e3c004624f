package cli

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"tljh/environment"
	"tljh/installer"
	"tljh/installer/journal"
	"tljh/internal/host"
)

// returning are the verbs that lead to another state of the user environment.
type returning struct {
	*envCommand
	yes  bool
	name string // that a snapshot gets
}

func newReturnCommands(c *envCommand) []*cobra.Command {
	r := &returning{envCommand: c}
	repair := &cobra.Command{
		Use: "repair", Short: "Reinstall broken packages, or else restore the healthy state that loses least", Args: noArgs,
		Long: "Reinstall the broken packages, from where they came or from sources.* in the config. If that does not help, build\n" +
			"other states next to the environment and check them, starting with the one that loses least: the snapshots, and\n" +
			"their packages fetched again. The environment is switched only to a healthy state. It shows first what would be\n" +
			"lost and asks for confirmation. If nothing helps, nothing is changed.\n\n" +
			"Exit codes: 0 healthy; 1 still damaged, or you answered no; 2 there is no terminal for the confirmation; 5 another\n" +
			"command is running.",
		RunE: func(cmd *cobra.Command, _ []string) error { return r.repair(cmd.Context()) },
	}
	rollback := &cobra.Command{
		Use: "rollback [NUMBER]", Short: "Restore the previous snapshot, or snapshot NUMBER", Args: atMostOne("rollback [NUMBER]"),
		Long: "Restore the state before the last change, or snapshot NUMBER. It shows first what would change and asks for\n" +
			"confirmation. A second rollback goes back one more step, and env redo undoes a rollback. Snapshots that did not\n" +
			"pass the check are skipped.",
		RunE: func(cmd *cobra.Command, args []string) error { return r.rollback(cmd.Context(), args) },
	}
	redo := &cobra.Command{
		Use: "redo", Short: "Undo a rollback", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return r.redo(cmd.Context()) },
	}
	for _, verb := range []*cobra.Command{repair, rollback, redo} {
		verb.Flags().BoolVarP(&r.yes, "yes", "y", false, "do not ask for confirmation")
	}
	snapshot := &cobra.Command{
		Use: "snapshot", Short: "Take a snapshot now; with --keep, never delete it", Args: noArgs,
		Long: "Wait for commands that change the environment to end, then take a snapshot, unless the last one has the same\n" +
			"packages.",
		RunE: func(cmd *cobra.Command, _ []string) error { return r.snapshot(cmd.Context()) },
	}
	snapshot.Flags().StringVar(&r.name, "keep", "", "give the snapshot this `NAME` and never delete it")
	return []*cobra.Command{repair, rollback, redo, snapshot}
}

// agree asks as upgrade does.
func (r *returning) agree() installer.Agree {
	return installOptions{yes: r.yes, json: r.json}.ask(r.streams)
}

// answered is no failure where somebody said no.
func (r *returning) answered(err error) error {
	if errors.Is(err, errDeclined) {
		fmt.Fprintln(r.streams.Err, "Nothing was changed.")
		return &errTold{exitFailed}
	}
	return err
}

func (r *returning) repair(ctx context.Context) error {
	return r.change(ctx, journal.Lock, func(ctx context.Context, k *installer.Keeper) error {
		before, err := k.Repair(ctx, r.agree())
		switch {
		case err != nil:
		case len(before) == 0:
			fmt.Fprintln(r.streams.Out, "The user environment is healthy: there is nothing to repair.")
		default:
			fmt.Fprintln(r.streams.Out, "The user environment is healthy again.")
		}
		return r.answered(err)
	})
}

func (r *returning) rollback(ctx context.Context, args []string) error {
	title := "env rollback"
	if len(args) == 1 {
		title += " " + args[0]
	}
	return r.goTo(ctx, title, func(line environment.Lineage) (environment.Snapshot, error) {
		if len(args) == 1 {
			return snapshotOf(line, args[0])
		}
		now, err := r.installed()
		if err != nil {
			now = nil // there is none: any healthy snapshot is better
		}
		if found := line.Back(now); found != nil {
			return *found, nil
		}
		return environment.Snapshot{}, &installer.BadInput{Err: errors.New("there is no earlier snapshot")}
	})
}

func (r *returning) redo(ctx context.Context) error {
	return r.goTo(ctx, "env redo", func(line environment.Lineage) (environment.Snapshot, error) {
		if found := line.Forward(); found != nil {
			return *found, nil
		}
		return environment.Snapshot{}, &installer.BadInput{Err: host.Hint(errors.New("there is no rollback to undo"), "to list the snapshots: sudo tljh-install env history")}
	})
}

func (r *returning) goTo(ctx context.Context, title string, choose func(environment.Lineage) (environment.Snapshot, error)) error {
	return r.change(ctx, journal.Lock, func(ctx context.Context, k *installer.Keeper) error {
		all, err := r.snapshots()
		if err != nil {
			return err
		}
		snapshot, err := choose(all)
		if err != nil {
			return err
		}
		if err := k.Rollback(ctx, snapshot, r.agree(), title); err != nil {
			return r.answered(err)
		}
		fmt.Fprintf(r.streams.Out, "The user environment is back at snapshot %d. Servers use it from their next start.\n", snapshot.Number)
		return nil
	})
}

// snapshotName is what an admin may call a snapshot: it is shown in a table.
var snapshotName = regexp.MustCompile(`^[\p{L}\p{N}][\p{L}\p{N} ._-]{0,40}$`)

func (r *returning) snapshot(ctx context.Context) error {
	if r.name != "" && !snapshotName.MatchString(r.name) {
		return &installer.BadInput{Err: fmt.Errorf("%q is not a valid snapshot name: use letters, digits, spaces, dots and dashes", r.name)}
	}
	files := host.Files{}
	if r.name == "" && environment.NothingToKeep(files) {
		return nil
	}
	for {
		by, err := (&installer.Keeper{Host: host.Local(nil), Now: time.Now}).Rest(ctx)
		if err != nil {
			return err
		}
		if err := r.change(ctx, journal.LockForSnapshot, func(ctx context.Context, k *installer.Keeper) error { return k.Snapshot(ctx, by, r.name) }); err != nil {
			return err
		}
		// What is changed while this runs starts nothing anew.
		if kept, err := environment.Kept(files); err != nil || kept {
			return err
		}
	}
}
