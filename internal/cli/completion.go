package cli

import (
	"bytes"
	"fmt"

	"github.com/spf13/cobra"
)

// shells are those that completion is made for, with what makes it.
var shells = map[string]func(root *cobra.Command, to *bytes.Buffer) error{
	"bash": func(root *cobra.Command, to *bytes.Buffer) error { return root.GenBashCompletionV2(to, true) },
	"zsh":  func(root *cobra.Command, to *bytes.Buffer) error { return root.GenZshCompletion(to) },
	"fish": func(root *cobra.Command, to *bytes.Buffer) error { return root.GenFishCompletion(to, true) },
}

func newCompletionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print a completion script for bash, zsh or fish",
		Long: "Print a script that completes commands, options and config keys in bash, zsh or fish. The installer already puts it\n" +
			"where these shells look for it; use this command for other places.",
		Example:   "  source <(tljh-install completion bash)",
		ValidArgs: []string{"bash", "zsh", "fish"},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && shells[args[0]] != nil {
				return nil
			}
			return &usageError{fmt.Errorf("usage: %s bash|zsh|fish", cmd.CommandPath())}
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			script, err := completionScript(cmd.Root(), args[0])
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(script)
			return err
		},
	}
}

func completionScript(root *cobra.Command, shell string) ([]byte, error) {
	var script bytes.Buffer
	err := shells[shell](root, &script)
	return script.Bytes(), err
}
