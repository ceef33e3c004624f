package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"tljh/config"
	"tljh/installer"
	"tljh/internal/host"
	"tljh/internal/layout"
)

// passwordWishes are how the password command sets passwords.
type passwordWishes struct {
	generate, oneTime, all, unused bool
}

func newPasswordCommand(streams Streams) *cobra.Command {
	var wishes passwordWishes
	cmd := &cobra.Command{
		Use:   "password NAME…",
		Short: "Set a hub user's password",
		Long: "Set the password of a hub user: an admin, a student who forgot it, or one who returns. It is read from the terminal,\n" +
			"or as one line from standard input if there is no terminal. It takes effect at once: the user is logged out, and\n" +
			"running servers keep running.\n\n" +
			"With --one-time, each user gets a generated password, printed next to the name, and must choose a new password at\n" +
			"the next login.",
		Example: "  sudo tljh-install password alice\n  sudo tljh-install password --generate bob\n" +
			"  sudo tljh-install password --one-time bob carol\n  sudo tljh-install password --one-time --all > slips.txt\n" +
			"  sudo tljh-install password --one-time --unused > slips.txt",
		Args: func(_ *cobra.Command, args []string) error { return wishes.check(args) },
		RunE: func(cmd *cobra.Command, args []string) error {
			if wishes.oneTime {
				return runOneTime(cmd.Context(), streams, args, wishes)
			}
			return runPassword(cmd.Context(), streams, args[0], wishes.generate)
		},
	}
	cmd.Flags().BoolVar(&wishes.generate, "generate", false, "generate a password and print it")
	cmd.Flags().BoolVar(&wishes.oneTime, "one-time", false, "generate passwords that users must replace at the next login")
	cmd.Flags().BoolVar(&wishes.all, "all", false, "with --one-time: for all users without a password, except admins")
	cmd.Flags().BoolVar(&wishes.unused, "unused", false, "with --one-time: replace all one-time passwords that were not used yet")
	return cmd
}

func (w passwordWishes) check(args []string) error {
	switch {
	case (w.all || w.unused) && !w.oneTime:
		return &usageError{errors.New("--all and --unused need --one-time: tljh-install password --one-time --all")}
	case w.all && w.unused:
		return &usageError{errors.New("--all and --unused cannot be used together")}
	case (w.all || w.unused) && len(args) > 0:
		return &usageError{errors.New("give either names, --all or --unused")}
	case w.oneTime && w.generate:
		return &usageError{errors.New("--one-time already generates passwords: omit --generate")}
	case w.oneTime && (w.all || w.unused || len(args) > 0):
		return nil
	case w.oneTime:
		return &usageError{errors.New("give names, or --all: tljh-install password --one-time NAME…")}
	case len(args) != 1:
		return &usageError{errors.New("give the name of one hub user: tljh-install password NAME")}
	}
	return nil
}

// runOneTime prints names and passwords, one user a line, as they are set: what was printed holds, wherever it ends.
func runOneTime(ctx context.Context, streams Streams, names []string, wishes passwordWishes) error {
	h := host.Local(nil)
	if wishes.all || wishes.unused {
		var err error
		if names, err = whoNeedsOne(ctx, h, streams, wishes); err != nil || len(names) == 0 {
			return err
		}
	}
	for n, name := range names {
		known, err := knownUser(ctx, h, name)
		if err != nil {
			return err
		}
		names[n] = known
	}
	widest := len(slices.MaxFunc(names, func(a, b string) int { return len(a) - len(b) }))
	least := shortest(h)
	for _, name := range names {
		password := installer.GeneratePassword(least)
		if err := installer.SetOneTimePassword(ctx, h, name, password); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(streams.Out, "%-*s  %s\n", widest, name, password); err != nil {
			return err
		}
	}
	return nil
}

// whoNeedsOne returns the users that --all or --unused means. Whoever got one that is not used yet keeps it with --all: it may be printed.
func whoNeedsOne(ctx context.Context, h *host.Host, streams Streams, wishes passwordWishes) ([]string, error) {
	unused, err := installer.WithUnusedPassword(ctx, h)
	if err != nil {
		return nil, err
	}
	names := unused
	if wishes.all {
		if names, err = installer.WithoutPassword(ctx, h); err != nil {
			return nil, err
		}
	}
	const again = "to replace them: sudo tljh-install password --one-time --unused"
	left := fmt.Sprintf("one-time passwords not used yet: %d", len(unused))
	switch {
	case len(names) > 0 && wishes.all && len(unused) > 0:
		_, err = fmt.Fprintf(streams.Err, "%s; %s\n", left, again)
	case len(names) > 0:
	case wishes.unused:
		_, err = fmt.Fprintln(streams.Err, "There are no unused one-time passwords.")
	case len(unused) > 0:
		err = &installer.BadInput{Err: host.Hint(fmt.Errorf("no password was generated; %s", left), again)}
	default:
		_, err = fmt.Fprintln(streams.Err, "Every user already has a password. For a user who forgot it: sudo tljh-install password --one-time NAME")
	}
	return names, err
}

// knownUser returns a name as the hub has it; an error where the hub has no such user.
func knownUser(ctx context.Context, h *host.Host, name string) (string, error) {
	admin, err := installer.ParseAdmin(name)
	if err != nil {
		return "", err
	}
	known, err := installer.KnownUser(ctx, h, admin.Name)
	if err != nil {
		return "", err
	}
	if !known {
		return "", &installer.BadInput{Err: host.Hint(fmt.Errorf("there is no user %s on this hub", admin.Name),
			"add the name on the hub's Admin page, or with sudo tljh-install config add users.allowed %s --reload; then run this command again", admin.Name)}
	}
	return admin.Name, nil
}

func runPassword(ctx context.Context, streams Streams, name string, generate bool) error {
	h := host.Local(nil)
	name, err := knownUser(ctx, h, name)
	if err != nil {
		return err
	}
	password := installer.GeneratePassword(shortest(h))
	if !generate {
		if password, err = readPassword(streams, name); err != nil {
			return err
		}
		if err := installer.TooShort(name, password); err != nil {
			return err
		}
		if _, err := installer.ParseAdmin(name + ":" + password); err != nil {
			return err
		}
	}
	if _, err := installer.SetPassword(ctx, h, name, password, false); err != nil {
		return err
	}
	if generate {
		_, err = fmt.Fprintln(streams.Out, password)
		return err
	}
	_, err = fmt.Fprintf(streams.Err, "The password of %s is set.\n", name)
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
	second, err := ask(streams, in, "Repeat the password: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", errors.New("the passwords do not match; nothing was changed")
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
