package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"tljh/internal/layout"
)

// newTLJHConfigCommand is this program under the name tljh-config, with the command line of the older TLJH.
func newTLJHConfigCommand(streams Streams) *cobra.Command {
	c := &configCommand{streams: streams}
	root := &cobra.Command{
		Use:   "tljh-config",
		Short: "Show and change the hub's config",
		Long: "Show and change " + layout.Config + ", with the command line of The Littlest JupyterHub 1.x/2.x.\n" +
			"For more commands, see tljh-install config --help.",
		SilenceUsage: true, SilenceErrors: true, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		PersistentPreRunE: permitHere,
	}
	root.PersistentFlags().StringVar(&c.path, "config-path", layout.Config, "use this `FILE` instead of the hub's config")
	root.PersistentFlags().Bool("validate", true, "ignored: the config is always checked before it is saved")
	root.PersistentFlags().Bool("no-validate", false, "ignored: the config is always checked before it is saved")
	show := c.show()
	show.Use, show.Args = "show", noArgs
	root.AddCommand(show,
		c.change("set KEY VALUE", "Set a key", 2, changeSet),
		c.change("unset KEY", "Remove a key (back to its default)", 1, changeUnset),
		c.change("add-item KEY VALUE", "Add an item to a list", 2, changeAdd),
		c.change("remove-item KEY VALUE", "Remove an item from a list", 2, changeRemove),
		c.olderReload(),
	)
	return complete(root)
}

// olderReload takes what to reload. The hub and the proxy know by themselves what a change touches.
func (c *configCommand) olderReload() *cobra.Command {
	cmd := c.reloadCommand()
	cmd.Use = "reload [hub|proxy]"
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 || len(args) == 1 && args[0] != "hub" && args[0] != "proxy" {
			return &usageError{fmt.Errorf("usage: %s [hub|proxy]", cmd.CommandPath())}
		}
		return nil
	}
	cmd.ValidArgs = []string{"hub", "proxy"}
	return cmd
}
