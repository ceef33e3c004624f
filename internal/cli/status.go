package cli

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"tljh/installer"
	"tljh/internal/host"
	"tljh/internal/report"
)

func newStatusCommand(streams Streams) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the state of the hub",
		Long: "Show the state of the installation, the hub, its proxy, the edge, the config and the user environment. If a command\n" +
			"was interrupted, show how to complete it.\n\nExit codes: 0 healthy; 1 there is a problem; 4 there is no hub, or you are not root.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runStatus(cmd.Context(), streams, asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func runStatus(ctx context.Context, streams Streams, asJSON bool) error {
	status, err := installer.Look(ctx, host.Local(nil))
	if err != nil {
		return err
	}
	if asJSON {
		err = json.NewEncoder(streams.Out).Encode(status)
	} else {
		showStatus(streams, status)
	}
	if err == nil && !status.OK {
		return &errTold{exitFailed}
	}
	return err
}

func showStatus(streams Streams, status *installer.Status) {
	paint := report.PaintFor(streams.Out)
	rows := [][]string{{"program", status.Version}}
	if status.Hub != "" {
		rows = append(rows, []string{"hub", "release " + status.Hub})
	}
	for _, part := range status.Parts {
		state := part.State
		if part.Problem {
			state = paint.Bad("PROBLEM:") + " " + state
		}
		rows = append(rows, []string{part.Name, state})
	}
	for n, address := range status.Addresses {
		rows = append(rows, []string{label(n, "address"), address})
	}
	if origins := status.Origins; origins != nil {
		rows = append(rows, []string{"origins", origins.State})
	}
	table(streams.Out, rows)
	if status.Origins != nil && status.Origins.Hint != "" {
		fmt.Fprintln(streams.Out, paint.Strong("hint:")+" origins: "+status.Origins.Hint)
	}
	for _, part := range status.Parts {
		if part.Hint != "" {
			fmt.Fprintf(streams.Out, "%s %s: %s\n", paint.Strong("hint:"), part.Name, part.Hint)
		}
	}
}
