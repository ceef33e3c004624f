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
		Use: "repair", Short: "Install what is broken again, or else restore the healthy state that loses least", Args: noArgs,
		Long: "Install the broken packages again, from where they came, or from sources.* of the config. Where that does not help, build other states beside the\n" +
			"environment and check them, that which loses least first: the snapshots, and their packages fetched again. Nothing is switched before one is healthy.\n" +
			"What would be lost is shown, and you are asked. Where nothing helps, everything stays as it is.\n\n" +
			"Exit codes: 0 it is healthy; 1 it is not, or you said no; 2 there was nobody to ask; 5 another command is at work.",
		RunE: func(cmd *cobra.Command, _ []string) error { return r.repair(cmd.Context()) },
	}
	rollback := &cobra.Command{
		Use: "rollback [NUMBER]", Short: "Go back to the state before, or to a snapshot", Args: atMostOne("rollback [NUMBER]"),
		Long: "Go back to the state before the last change, or to a snapshot. What that changes is shown, and you are asked. Another rollback goes further back, as undo\n" +
			"does, and env redo goes forward again. A state that did not pass the check is passed over.",
		RunE: func(cmd *cobra.Command, args []string) error { return r.rollback(cmd.Context(), args) },
	}
	redo := &cobra.Command{
		Use: "redo", Short: "Go forward again after a rollback", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return r.redo(cmd.Context()) },
	}
	for _, verb := range []*cobra.Command{repair, rollback, redo} {
		verb.Flags().BoolVarP(&r.yes, "yes", "y", false, "do not ask")
	}
	snapshot := &cobra.Command{
		Use: "snapshot", Short: "Take a snapshot now, and with --keep never delete it", Args: noArgs,
		Long: "Wait until commands that change the environment have ended, and take a snapshot, unless the last one has the same packages.",
		RunE: func(cmd *cobra.Command, _ []string) error { return r.snapshot(cmd.Context()) },
	}
	snapshot.Flags().StringVar(&r.name, "keep", "", "give the snapshot this `NAME`; it is never deleted")
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
			fmt.Fprintln(r.streams.Out, "The user environment is whole: there is nothing to repair.")
		default:
			fmt.Fprintln(r.streams.Out, "The user environment is whole again.")
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
		return environment.Snapshot{}, &installer.BadInput{Err: host.Hint(errors.New("there is nothing to go forward to"), "env redo takes back a rollback; tljh-install env history lists the snapshots")}
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
		fmt.Fprintf(r.streams.Out, "The user environment is that of snapshot %d again. Servers have it from their next start.\n", snapshot.Number)
		return nil
	})
}

// snapshotName is what an admin may call a snapshot: it is shown in a table.
var snapshotName = regexp.MustCompile(`^[\p{L}\p{N}][\p{L}\p{N} ._-]{0,40}$`)

func (r *returning) snapshot(ctx context.Context) error {
	if r.name != "" && !snapshotName.MatchString(r.name) {
		return &installer.BadInput{Err: fmt.Errorf("%q is no name for a snapshot: letters, digits, spaces, dots and dashes", r.name)}
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
