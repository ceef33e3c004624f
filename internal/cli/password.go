package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"tljh/config"
	"tljh/installer"
	"tljh/internal/host"
	"tljh/internal/layout"
)

func newPasswordCommand(streams Streams) *cobra.Command {
	var generate bool
	cmd := &cobra.Command{
		Use:   "password NAME",
		Short: "Set a hub user's password",
		Long: "Set the password of a hub user, be it an admin, a student who forgot it, or one who comes back. It is asked for on a terminal,\n" +
			"and read as one line from standard input otherwise. Takes effect at once; nobody is logged out.",
		Example: "  sudo tljh-install password alice\n  sudo tljh-install password --generate bob",
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.ExactArgs(1)(cmd, args); err != nil {
				return &usageError{errors.New("give the name of one hub user: tljh-install password NAME")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPassword(cmd.Context(), streams, args[0], generate)
		},
	}
	cmd.Flags().BoolVar(&generate, "generate", false, "make up a password and print it")
	return cmd
}

func runPassword(ctx context.Context, streams Streams, name string, generate bool) error {
	admin, err := installer.ParseAdmin(name)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return host.Hint(errors.New("only root can set passwords"), "run sudo tljh-install password %s", name)
	}
	h := host.Local(nil)
	if !h.Files.Exists(layout.Hub) {
		return host.Hint(errors.New("there is no hub on this machine yet"), "install it first: tljh-install install")
	}
	password := installer.GeneratePassword(shortest(h))
	if !generate {
		if password, err = readPassword(streams, admin.Name); err != nil {
			return err
		}
		if _, err := installer.ParseAdmin(admin.Name + ":" + password); err != nil {
			return err
		}
	}
	if _, err := installer.SetPassword(ctx, h, admin.Name, password, false); err != nil {
		return err
	}
	if generate {
		_, err = fmt.Fprintln(streams.Out, password)
		return err
	}
	_, err = fmt.Fprintf(streams.Err, "The password of %s is set.\n", admin.Name)
	return err
}

// shortest is how long a password has to be; 0 where the config can't be read, of which the hub tells.
func shortest(h *host.Host) int {
	text, err := h.Files.Read(layout.Config)
	if err != nil {
		return 0
	}
	cfg, _ := config.Parse(layout.Config, text)
	if cfg == nil {
		return 0
	}
	return installer.ShortestPassword(cfg)
}

// readPassword asks twice where there is a terminal.
func readPassword(streams Streams, name string) (string, error) {
	first, err := readOnce(streams, fmt.Sprintf("New password for %s: ", name))
	in, ok := streams.In.(*os.File)
	if err != nil || !ok || !term.IsTerminal(int(in.Fd())) {
		return first, err
	}
	second, err := ask(streams, in, "The same again: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", errors.New("the two passwords differ; nothing was changed")
	}
	return first, nil
}

// readOnce asks on a terminal, and reads one line of anything else.
func readOnce(streams Streams, question string) (string, error) {
	in, ok := streams.In.(*os.File)
	if ok && term.IsTerminal(int(in.Fd())) {
		return ask(streams, in, question)
	}
	line, err := bufio.NewReader(io.LimitReader(streams.In, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("cannot read the password: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

func ask(streams Streams, in *os.File, question string) (string, error) {
	fmt.Fprint(streams.Err, question)
	password, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(streams.Err)
	if err != nil {
		return "", fmt.Errorf("cannot read the password: %w", err)
	}
	return string(password), nil
}
