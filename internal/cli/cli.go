// Package cli is what people type and see: one file a verb, in which newXCommand parses and runX works. It holds no
// knowledge of how anything is done to a machine; that is package installer's.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"

	"tljh/installer"
	"tljh/installer/journal"
	"tljh/installer/uninstall"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/report"
)

// Exit codes, as documented in docs/install.md.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitBadInput    = 3
	exitRefused     = 4
	exitBusy        = 5
	exitIncomplete  = 6
	exitUpgrade     = 10
	exitInterrupted = 130
)

// Streams are where a command reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// errTold marks an error that has been reported in full: only its exit code is left to give.
type errTold struct {
	code int
}

func (e *errTold) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// usageError is a command line that says nothing we know.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

// interrupted is the cause of a context that a signal ended.
type interrupted struct{ signal os.Signal }

func (e *interrupted) Error() string { return "interrupted" }

// Main runs the program, under the name it was called by, and returns its exit code.
func Main(name string, args []string, streams Streams) int {
	// Folders and files get the modes they are to have, whatever the caller's umask.
	syscall.Umask(0o022)
	ctx, stop := withSignals(context.Background())
	defer stop()
	root := rootCommand(name, streams)
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.Err)
	root.SetFlagErrorFunc(flagError)
	root.SetArgs(args)
	return tell(root.ExecuteContext(ctx), streams.Err)
}

// editing is set while an editor has the terminal: what is typed there, Ctrl-C too, is for it alone.
var editing atomic.Bool

// withSignals ends the context at the first SIGINT, SIGTERM or SIGHUP. Children are in process groups of their own and are ended by whoever
// waits for them; a second signal ends this program as usual.
func withSignals(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		for {
			select {
			case s := <-signals:
				if s == syscall.SIGINT && editing.Load() {
					continue
				}
				signal.Stop(signals)
				cancel(&interrupted{s})
			case <-ctx.Done():
			}
			return
		}
	}()
	return ctx, func() { signal.Stop(signals); cancel(nil) }
}

func rootCommand(name string, streams Streams) *cobra.Command {
	if filepath.Base(name) == path.Base(layout.ConfigLink) {
		return newTLJHConfigCommand(streams)
	}
	return newRootCommand(streams)
}

func newRootCommand(streams Streams) *cobra.Command {
	root := &cobra.Command{
		Use:           "tljh-install",
		Short:         "The Littlest JupyterHub: a JupyterHub for one server",
		Long:          "Install and manage a JupyterHub on this machine, for a class of up to about 50 users.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		PersistentPreRunE: permitHere,
	}
	root.AddCommand(newInstallCommand(streams), newConfigCommand(streams), newEnvCommand(streams), newStatusCommand(streams),
		newUpgradeCommand(streams), newRollbackCommand(streams), newReleasesCommand(streams), newUninstallCommand(streams), newPasswordCommand(streams), newVersionCommand(streams), newVerifyReleaseCommand(streams), newEdgeCommand(), newFirewallCommand(streams))
	return complete(root)
}

// tell writes what is left to say of an error and returns the exit code for it.
func tell(err error, w io.Writer) int {
	var told *errTold
	if errors.As(err, &told) {
		return told.code
	}
	if err != nil {
		paint := report.PaintFor(w)
		fmt.Fprintf(w, "%s %v\n", paint.Bad("error:"), err)
		if hint := host.HintOf(err); hint != "" {
			fmt.Fprintf(w, "%s %s\n", paint.Strong("hint:"), hint)
		}
	}
	return exitCode(err)
}

func exitCode(err error) int {
	var (
		usage    *usageError
		bad      *installer.BadInput
		refused  *installer.RefusedError
		busy     *journal.BusyError
		unproved *installer.UnprovedError
		skew     *installer.SkewRefused
		cannot   *uninstall.CannotBeginError
		denied   *installer.CommandRefused
		stopped  *interrupted
		asBefore *installer.NotAdoptedError
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &stopped):
		return exitInterrupted
	case errors.As(err, &asBefore):
		return exitFailed
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &bad):
		return exitBadInput
	case errors.As(err, &refused), errors.As(err, &skew), errors.As(err, &cannot), errors.As(err, &denied):
		return exitRefused
	case errors.As(err, &busy):
		return exitBusy
	case errors.As(err, &unproved):
		return exitIncomplete
	}
	return exitFailed
}

// flagError is the usage error of a flag that there is not, or that lacks its value.
func flagError(cmd *cobra.Command, err error) error {
	if slices.Contains(changeVerbs, cmd.Name()) && strings.HasPrefix(err.Error(), "unknown shorthand flag") {
		key, value := "KEY", err.Error()[strings.LastIndex(err.Error(), " ")+1:]
		if typed := cmd.Flags().Args(); len(typed) > 0 {
			key = shellWord(typed[0])
		}
		return &usageError{host.Hint(err, "put -- before a value that begins with -, as in: %s %s -- %s", cmd.CommandPath(), key, shellWord(value))}
	}
	return &usageError{host.Hint(err, "see %s --help", cmd.CommandPath())}
}
