package cli

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"tljh/installer"
	"tljh/internal/host"
)

func newStatusCommand(streams Streams) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Tell how the hub is doing",
		Long:  "Tell how the hub, its proxy, the public door, the config and the user environment are doing.\n\nExit codes: 0 all is well; 1 something is not.",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return runStatus(cmd.Context(), streams, asJSON) },
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
	rows := [][]string{{"version", status.Version}}
	for _, part := range status.Parts {
		state := part.State
		if part.Problem {
			state = "PROBLEM: " + state
		}
		rows = append(rows, []string{part.Name, state})
	}
	for n, address := range status.Addresses {
		rows = append(rows, []string{label(n, "address"), address})
	}
	table(streams.Out, rows)
	for _, part := range status.Parts {
		if part.Hint != "" {
			fmt.Fprintf(streams.Out, "hint: %s: %s\n", part.Name, part.Hint)
		}
	}
}
