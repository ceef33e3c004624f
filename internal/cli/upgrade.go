package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"tljh/installer"
	"tljh/internal/host"
	"tljh/internal/release"
	"tljh/internal/report"
	"tljh/internal/version"
)

type upgradeOptions struct {
	installOptions
	to, from string
	check    bool

	// Between releases, not for people: each release's program knows these flags for ever.
	staged bool // take over from the release that is installed
	settle bool // put this release in order after another gave its place back
}

func newUpgradeCommand(streams Streams) *cobra.Command {
	var o upgradeOptions
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Upgrade to the next release; roll back automatically on failure",
		Long: "Upgrade to a release of the same minor version or the next one. It is fetched from --from, from upgrade.url in the\n" +
			"config, or from the address that this program came from, and its signature is verified. Everything new is built\n" +
			"while the hub runs; then the hub is down for a few seconds, and single-user servers keep running. The new release\n" +
			"is tested by starting a server and running a notebook cell for a probe user. On failure, the previous release is\n" +
			"restored.\n\n" +
			"Exit codes: 0 done, or nothing to do; 1 failed, and the previous release is running; 2 usage error; 3 the config or\n" +
			"the release cannot be used; 4 refused: the machine is not ready, or there is no upgrade path to the release;\n" +
			"5 another command is running; 10 with --check: an upgrade is available; 130 interrupted, and the previous release\n" +
			"is running.",
		Example: "  tljh-install upgrade --check\n  sudo tljh-install upgrade --plan\n  sudo tljh-install upgrade\n  sudo tljh-install upgrade --to 0.8 --from https://hub.example.org/tljh --yes",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runUpgrade(cmd.Context(), streams, o) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.to, "to", "", "upgrade to this `VERSION`: MAJOR.MINOR.PATCH or MAJOR.MINOR")
	flags.StringVar(&o.from, "from", "", "take the release from this `URL|FOLDER|FILE`; a file needs SHA256SUMS and its signature next to it")
	flags.BoolVar(&o.check, "check", false, "only check whether an upgrade is available")
	flags.BoolVar(&o.plan, "plan", false, "only show what would be done")
	o.common(cmd)
	flags.StringArrayVar(&o.ignore, "ignore-preflight", nil, "continue even if the check `NAME` fails; can be repeated ("+strings.Join(installer.UpgradeCheckNames(), ", ")+")")
	flags.BoolVar(&o.staged, "staged", false, "")
	flags.BoolVar(&o.settle, "settle", false, "")
	for _, name := range []string{"staged", "settle"} {
		_ = flags.MarkHidden(name) // it is there
	}
	return cmd
}

// upgrader returns what does the work, and what is to be closed after it.
func (o upgradeOptions) upgrader(streams Streams) (*installer.Upgrader, *run) {
	r := o.begin(streams)
	u := &installer.Upgrader{Ask: o.ask(streams)}
	u.Installer = installer.Installer{
		Host: r.host, Report: r.report, Builder: r.builder, Now: time.Now, Ignore: o.ignore, Redact: r.log.Redact, Begin: r.begin, Who: who(),
	}
	return u, r
}

// errDeclined is an answer, no failure.
var errDeclined = errors.New("nothing was changed")

// ask shows what is about to happen; without --yes, a person has to agree.
func (o installOptions) ask(streams Streams) func(text, question string) error {
	return func(text, question string) error {
		if !o.json {
			fmt.Fprintln(streams.Out, strings.TrimRight(text, "\n")+"\n")
		}
		if o.yes {
			return nil
		}
		file, ok := atTerminal(streams)
		if !ok || o.json {
			return &usageError{host.Hint(errors.New("cannot ask for confirmation: no terminal, or --json"), "to proceed without confirmation, pass --yes")}
		}
		fmt.Fprintf(streams.Out, "%s [y/N] ", question)
		if yes, err := readYes(file); err != nil || yes {
			return err
		}
		return errDeclined
	}
}

func runUpgrade(ctx context.Context, streams Streams, o upgradeOptions) error {
	u, r := o.upgrader(streams)
	defer r.close()
	switch {
	case o.settle:
		return o.finish(r.report, u.Settle(ctx))
	case o.staged:
		return o.takeOver(ctx, streams, u)
	case o.check:
		return o.runCheck(ctx, streams, u)
	}
	return o.handOver(ctx, streams, u)
}

// handOver is the installed program's half: it finds, judges and fetches the release, and becomes its program.
func (o upgradeOptions) handOver(ctx context.Context, streams Streams, u *installer.Upgrader) error {
	staged, back, err := installer.Staged(u.Installer.Host.Files)
	switch {
	case err != nil:
		return err
	case back:
		return o.finish(u.Installer.Report, u.FinishBack(ctx))
	case staged != "":
		u.Installer.Report.Note("an upgrade was interrupted: completing it")
		u.Installer.Report.Close()
		return become(staged, o.passOn(), "")
	}
	releases, err := u.Begun()
	if err != nil {
		return err
	}
	if releases.Live.Version != version.Version && o.from == "" && o.to == "" {
		// The pasted line of a newer release has put its program here.
		if err := u.StageSelf(); err != nil {
			return err
		}
		return o.takeOver(ctx, streams, u)
	}
	offer, shop, by, err := o.find(ctx, u, releases)
	if err != nil {
		return o.finish(u.Installer.Report, err)
	}
	if by.by != askedNow {
		u.Installer.Report.Note("looking for releases at %s", beside(offer.From, by.by))
	}
	move, err := installer.Judge(releases, offer)
	if err != nil {
		return o.finish(u.Installer.Report, err)
	}
	if move == release.Nowhere {
		return o.upToDate(streams, u, releases)
	}
	program, err := u.Stage(ctx, shop, offer)
	if err != nil {
		return o.finish(u.Installer.Report, err)
	}
	u.Installer.Report.Close()
	return become(program, o.passOn(), offer.From)
}

// passOn is what the new program is told; it knows these flags, whatever its version.
func (o upgradeOptions) passOn() []string {
	args := []string{"upgrade", "--staged"}
	for flag, set := range map[string]bool{"--plan": o.plan, "--json": o.json, "--yes": o.yes, "--verbose": o.verbose} {
		if set {
			args = append(args, flag)
		}
	}
	for _, name := range o.ignore {
		args = append(args, "--ignore-preflight="+name)
	}
	return args
}

// become replaces this program by another, which keeps its terminal and its process.
func become(program string, args []string, origin string) error {
	env := os.Environ()
	if origin != "" {
		env = append(env, installer.OriginVariable+"="+origin)
	}
	err := syscall.Exec(program, append([]string{"tljh-install"}, args...), env)
	return fmt.Errorf("cannot start the new release's program %s: %w", program, err)
}

// takeOver is the new program's half.
func (o upgradeOptions) takeOver(ctx context.Context, streams Streams, u *installer.Upgrader) error {
	if o.plan {
		text, err := u.PlanUpgrade(ctx)
		if text != "" && !o.json {
			u.Installer.Report.Close()
			fmt.Fprintln(streams.Out, strings.TrimRight(text, "\n"))
		}
		return o.finish(u.Installer.Report, err)
	}
	result, err := u.Upgrade(ctx)
	if errors.Is(err, installer.ErrUpToDate) {
		releases, loadErr := installer.LoadReleases(u.Installer.Host.Files)
		return errors.Join(loadErr, o.upToDate(streams, u, releases))
	}
	return o.tellChange(streams, u, result, err, "Upgraded")
}

func (o upgradeOptions) tellChange(streams Streams, u *installer.Upgrader, result *installer.Upgraded, err error, what string) error {
	var usage *usageError
	switch {
	case errors.Is(err, errDeclined):
		u.Installer.Report.Close()
		fmt.Fprintln(streams.Out, "Nothing was changed.")
		return nil
	case errors.As(err, &usage):
		return err
	case err != nil:
		return o.finish(u.Installer.Report, err)
	}
	u.Installer.Report.Close()
	if o.json {
		return writeJSON(streams.Out, result)
	}
	_, err = fmt.Fprintf(streams.Out, "\n%s from %s to %s (%s, %s received). The hub is up.\n", what, result.From, result.To, seconds(result.Seconds), megabytes(result.Received))
	return err
}

func (o upgradeOptions) upToDate(streams Streams, u *installer.Upgrader, releases *installer.Releases) error {
	u.Installer.Report.Close()
	if o.json {
		return writeJSON(streams.Out, map[string]any{"installed": releases.Live.Version, "upgrade": false})
	}
	_, err := fmt.Fprintf(streams.Out, "Nothing to do: %s is installed, and no newer release is available.\n", releases.Live.Version)
	return err
}

// runCheck tells whether there is an upgrade; it needs no root.
func (o upgradeOptions) runCheck(ctx context.Context, streams Streams, u *installer.Upgrader) error {
	releases, err := installer.Installed(u.Installer.Host.Files)
	if err != nil {
		return err
	}
	offer, _, by, err := o.find(ctx, u, releases)
	if err != nil {
		return err
	}
	at := beside(offer.From, by.by)
	move, err := installer.Judge(releases, offer)
	var skew *installer.SkewRefused
	if err != nil && !errors.As(err, &skew) {
		return err
	}
	newer := move == release.Forward || move == release.TooFar
	u.Installer.Report.Close()
	switch {
	case o.json:
		sink := report.NewJSON(streams.Out)
		sink.Event(report.Event{Time: time.Now().UTC(), Kind: report.KindResult, Data: map[string]any{
			"installed": releases.Live.Version, "available": offer.Version.String(), "from": offer.From, "named": by.by, "upgrade": newer, "reachable": move == release.Forward, "signed": signedTime(offer),
		}})
	case move == release.Forward:
		fmt.Fprintf(streams.Out, "%s is installed, %s is available at %s. To upgrade: sudo tljh-install upgrade\n", releases.Live.Version, offer.Version, at)
	case move == release.TooFar:
		fmt.Fprintf(streams.Out, "%v\n%s\n", err, host.HintOf(err))
	default:
		fmt.Fprintf(streams.Out, "%s is installed; %s offers %s. No upgrade is available.\n", releases.Live.Version, at, offer.Version)
	}
	if age, old := installer.Age(time.Now(), offer.Signed); !o.json {
		fmt.Fprintf(streams.Out, "Release %s is %s.\n", offer.Version, age)
		if old {
			fmt.Fprintf(streams.Out, "hint: %s\n", installer.OldHint)
		}
	}
	if newer {
		return &errTold{exitUpgrade}
	}
	return nil
}

// signedTime is for JSON; nil where a signature has no time.
func signedTime(offer *release.Offer) any {
	if offer.Signed.IsZero() {
		return nil
	}
	return offer.Signed
}

func newRollbackCommand(streams Streams) *cobra.Command {
	var o upgradeOptions
	cmd := &cobra.Command{
		Use:   "rollback",
		Short: "Roll back to the previous release",
		Long: "Roll back to the release before the last upgrade: its program, hub environment, config and, if the two releases use\n" +
			"different database formats, the copy of the database that the upgrade kept. It shows first what would be lost and\n" +
			"asks for confirmation. Homes, passwords and user packages stay; single-user servers keep running.\n\n" +
			"Exit codes: 0 done; 1 failed (run the same command to try again); 2 usage error; 4 there is no release to roll back\n" +
			"to; 5 another command is running.",
		Example: "  sudo tljh-install rollback\n  sudo tljh-install rollback --yes",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runRollback(cmd.Context(), streams, o) },
	}
	o.common(cmd)
	return cmd
}

func runRollback(ctx context.Context, streams Streams, o upgradeOptions) error {
	u, r := o.upgrader(streams)
	defer r.close()
	staged, back, err := installer.Staged(u.Installer.Host.Files)
	switch {
	case err != nil:
		return err
	case back:
		return o.finish(u.Installer.Report, u.FinishBack(ctx))
	case staged != "":
		return o.finish(u.Installer.Report, host.Hint(errors.New("an upgrade was interrupted"), "complete it first: tljh-install upgrade"))
	}
	result, err := u.Rollback(ctx)
	return o.tellChange(streams, u, result, err, "Rolled back")
}
