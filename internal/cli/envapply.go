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
		Short: "Make what a folder, an archive or a git address describes the environment of all users",
		Long: "Make what SOURCE describes the environment of all users: a folder, an archive (.zip, .tar.gz; a file or an address), or an address of git\n" +
			"(#BRANCH or #TAG after it). Its files are those that repo2docker knows, in its order: apt.txt, environment.yml, or else runtime.txt and\n" +
			"requirements.txt, postBuild, start. A folder binder or .binder in it takes the place of the files beside it. What is not supported is told\n" +
			"before anything runs.\n\n" +
			"The new environment is built beside the one in use, tried, and switched to; users' servers have it from their next start, and env rollback\n" +
			"goes back. With --kernel it becomes one more kernel instead.\n\n" +
			"Exit codes: 0 done; 1 failed, and all is as before; 3 there is something wrong with SOURCE; 5 another command is at work.",
		Example: "  sudo tljh-install env apply https://example.org/course.git#2026\n  sudo tljh-install env apply ./statistics --kernel statistics --group stats",
		Args:    argsOf(1, "apply SOURCE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.change(cmd.Context(), journal.Lock, func(ctx context.Context, k *installer.Keeper) error {
				source, err := k.Apply(ctx, args[0], options)
				if err != nil {
					return err
				}
				what := "The environment of all users is"
				if options.Kernel != "" {
					what = "The kernel " + options.Kernel + " is"
				}
				fmt.Fprintf(c.streams.Out, "%s what %s describes (%s). Servers have it from their next start.\n", what, args[0], strings.Join(source.Names(), ", "))
				return nil
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&options.Kernel, "kernel", "", "make it an extra kernel of this `NAME`, and leave the environment as it is")
	flags.StringVar(&options.Group, "group", "", "only members of this Linux `GROUP` see the kernel")
	flags.StringVar(&options.Manager, "package-manager", "", "what builds it: `conda|uv`; without it, what built the one in use")
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
				fmt.Fprintf(c.streams.Out, "The kernel %s is gone.\n", remove)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&remove, "remove", "", "remove the kernel of this `NAME`")
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
		fmt.Fprintln(c.streams.Out, "There is no extra kernel. tljh-install env apply SOURCE --kernel NAME makes one.")
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
