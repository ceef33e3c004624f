package cli

import (
	"github.com/spf13/cobra"

	"tljh/edge"
	"tljh/internal/layout"
)

func newEdgeCommand() *cobra.Command {
	options := edge.Options{Upstream: layout.ProxyAddress}
	cmd := &cobra.Command{
		Use:    "edge",
		Short:  "Run the public door (started by systemd)",
		Hidden: true,
		Args:   noArgs,
		RunE:   func(cmd *cobra.Command, _ []string) error { return edge.Run(cmd.Context(), options) },
	}
	cmd.Flags().StringVar(&options.BaseURL, "base-url", "/", "the hub's base_url")
	cmd.Flags().StringVar(&options.Upstream, "upstream", options.Upstream, "address of the proxy")
	return cmd
}
