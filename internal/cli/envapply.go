package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"tljh/installer"
	"tljh/installer/journal"
	"tljh/internal/host"
)

func newApplyCommand(c *envCommand) *cobra.Command {
	var options installer.ApplyOptions
	cmd := &cobra.Command{
		Use:   "apply SOURCE",
		Short: "Build the user environment from a folder, an archive or a git address",
		Long: "Build the user environment from SOURCE: a folder, an archive (.zip or .tar.gz; a file or an address), or a git\n" +
			"address (with #BRANCH or #TAG at the end). SOURCE contains files that repo2docker knows, processed in its order:\n" +
			"apt.txt, environment.yml or else runtime.txt and requirements.txt, postBuild, start. If it has a folder binder or\n" +
			".binder, the files in that folder are used instead. Unsupported files are reported before anything runs.\n\n" +
			"The new environment is built next to the current one, tested, and switched to. Servers use it from their next\n" +
			"start, and env rollback undoes it. With --kernel, it becomes an extra kernel instead.\n\n" +
			"Exit codes: 0 done; 1 failed, and the environment is as before; 3 SOURCE is not valid; 5 another command is running.",
		Example: "  sudo tljh-install env apply https://example.org/course.git#2026\n  sudo tljh-install env apply ./statistics --kernel statistics --group stats",
		Args:    argsOf(1, "apply SOURCE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.change(cmd.Context(), journal.Lock, func(ctx context.Context, k *installer.Keeper) error {
				source, err := k.Apply(ctx, args[0], options)
				if err != nil {
					return err
				}
				what := "The user environment"
				if options.Kernel != "" {
					what = "The kernel " + options.Kernel
				}
				fmt.Fprintf(c.streams.Out, "%s now matches %s (%s). Servers use it from their next start.\n", what, args[0], strings.Join(source.Names(), ", "))
				return nil
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&options.Kernel, "kernel", "", "create an extra kernel with this `NAME` instead of changing the user environment")
	flags.StringVar(&options.Group, "group", "", "show the kernel only to members of this Linux `GROUP`")
	flags.StringVar(&options.Manager, "package-manager", "", "build with `conda|uv` instead of what built the current environment")
	return cmd
}

func newKernelsCommand(c *envCommand) *cobra.Command {
	remove := ""
	cmd := &cobra.Command{
		Use: "kernels", Short: "List the extra kernels, or remove one", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if remove == "" {
				return c.kernels()
			}
			return c.change(cmd.Context(), journal.Lock, func(_ context.Context, k *installer.Keeper) error {
				if err := k.RemoveKernel(remove); err != nil {
					return err
				}
				fmt.Fprintf(c.streams.Out, "Removed the kernel %s.\n", remove)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&remove, "remove", "", "remove the kernel with this `NAME`")
	return cmd
}

func (c *envCommand) kernels() error {
	all, err := installer.Kernels(host.Files{})
	if err != nil {
		return err
	}
	if c.json {
		return json.NewEncoder(c.streams.Out).Encode(all)
	}
	if len(all) == 0 {
		fmt.Fprintln(c.streams.Out, "There are no extra kernels. To create one: sudo tljh-install env apply SOURCE --kernel NAME")
		return nil
	}
	rows := [][]string{{"KERNEL", "FOR"}}
	for _, kernel := range all {
		group := "everybody"
		if kernel.Group != "" {
			group = "group " + kernel.Group
		}
		rows = append(rows, []string{kernel.Name, group})
	}
	table(c.streams.Out, rows)
	return nil
}
