package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"tljh/firewall"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/report"
)

func newFirewallCommand(streams Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:    "firewall",
		Short:  "Keep users' processes from being reached from outside (started by systemd)",
		Hidden: true,
		Args:   noArgs,
		RunE:   func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	mayListen := false
	apply := &cobra.Command{
		Use:   "apply",
		Short: "Update the packet filter",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runFirewall(cmd.Context(), streams, mayListen)
		},
	}
	apply.Flags().BoolVar(&mayListen, "may-listen", false, "let users' processes accept connections from outside")
	show := &cobra.Command{
		Use:   "show",
		Short: "Show the packet filter for this machine, in nft syntax",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			plan, err := firewall.Gather(cmd.Context(), host.Local(report.NewLog()))
			if err == nil {
				fmt.Fprint(streams.Out, plan)
			}
			return err
		},
	}
	remove := &cobra.Command{
		Use:   "remove",
		Short: "Remove the packet filter",
		Args:  noArgs,
		RunE:  func(*cobra.Command, []string) error { return firewall.Remove() },
	}
	cmd.AddCommand(apply, show, remove)
	return cmd
}

// runFirewall says something only when it is another thing than last time: it is run every minute.
func runFirewall(ctx context.Context, streams Streams, mayListen bool) error {
	state, news, err := firewall.Renew(ctx, host.Local(report.NewLog()), mayListen)
	if err != nil {
		return host.Hint(err, "journalctl -u %s", layout.FirewallUnit)
	}
	if news {
		fmt.Fprintf(streams.Out, "ports of users' processes are %s\n", state.Words())
	}
	return nil
}
