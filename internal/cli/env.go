package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tljh/environment"
	"tljh/installer"
	"tljh/installer/journal"
	"tljh/internal/host"
)

// envCommand is what the verbs of env share.
type envCommand struct {
	streams Streams
	json    bool
	verbose bool
}

func newEnvCommand(streams Streams) *cobra.Command {
	c := &envCommand{streams: streams}
	cmd := &cobra.Command{
		Use:   "env",
		Short: "Manage the user environment, which all users share",
		Long: "Manage the user environment, which all users share. Admins change it from within the hub, with conda or pip. A\n" +
			"snapshot is taken after each command that changed it. Running single-user servers keep what they have loaded.\n\n" +
			"All snapshots of the last day are kept, the last one of each day for a month, and the last one of each month for a\n" +
			"year. The last ten, the first and those with a name are always kept.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	verbs := []*cobra.Command{
		{
			Use: "history", Short: "List the snapshots and what each of them changed", Args: noArgs,
			RunE: func(*cobra.Command, []string) error { return c.history() },
		},
		{
			Use: "list", Short: "List the installed packages", Args: noArgs,
			RunE: func(*cobra.Command, []string) error { return c.list() },
		},
		{
			Use: "diff NUMBER NUMBER", Short: "Show the differences between two snapshots", Args: argsOf(2, "diff NUMBER NUMBER"),
			RunE: func(_ *cobra.Command, args []string) error { return c.diff(args) },
		},
		newExportCommand(c),
		newCheckCommand(c),
		{
			Use: "install PACKAGE…", Short: "Install packages for all users", Args: argsOf(-1, "install PACKAGE…"),
			RunE: func(cmd *cobra.Command, args []string) error { return c.install(cmd.Context(), args) },
		},
	}
	verbs = append(verbs, newApplyCommand(c), newKernelsCommand(c))
	verbs = append(verbs, newReturnCommands(c)...)
	for _, verb := range verbs {
		verb.Flags().BoolVar(&c.json, "json", false, "print JSON")
		verb.Flags().BoolVarP(&c.verbose, "verbose", "v", false, "show every command and its output")
		cmd.AddCommand(verb)
	}
	return cmd
}

// locker waits for others, or says who is at work.
type locker func(context.Context, host.Files, time.Time) (func(), error)

// change does something to the environment under the installation's lock.
func (c *envCommand) change(ctx context.Context, lock locker, do func(context.Context, *installer.Keeper) error) error {
	options := installOptions{json: c.json, verbose: c.verbose, calm: true}
	r := options.begin(c.streams)
	defer r.close()
	unlock, err := lock(ctx, r.host.Files, time.Now())
	if err != nil {
		return options.finish(r.report, err)
	}
	defer unlock()
	r.begin()
	err = do(ctx, installer.NewKeeper(r.host, r.report, r.builder, time.Now))
	return options.finish(r.report, err)
}

func (c *envCommand) snapshots() ([]environment.Snapshot, error) {
	all, err := environment.Snapshots(host.Files{})
	return all, err
}

func (c *envCommand) history() error {
	all, err := c.snapshots()
	if err != nil {
		return err
	}
	if c.json {
		return json.NewEncoder(c.streams.Out).Encode(all)
	}
	if len(all) == 0 {
		fmt.Fprintln(c.streams.Out, "There are no snapshots yet.")
		return nil
	}
	rows := [][]string{{"SNAPSHOT", "TIME", "WHO", "PACKAGES", "CHANGED"}}
	for n, snapshot := range slices.Backward(all) {
		rows = append(rows, []string{
			fmt.Sprint(snapshot.Number), snapshot.Time.Local().Format(time.DateTime), snapshot.Who, fmt.Sprint(len(snapshot.Packages)), changed(all, n),
		})
	}
	table(c.streams.Out, rows)
	return nil
}

// changed describes the change that led to a snapshot.
func changed(all []environment.Snapshot, n int) string {
	snapshot, text := all[n], "the first"
	if n > 0 {
		text = summary(environment.Difference(all[n-1].Packages, snapshot.Packages))
	}
	title := snapshot.Title
	if title == "" && (n == 0 || snapshot.Command != all[n-1].Command) {
		title = environment.Presentable(snapshot.Command)
	}
	if title != "" && n > 0 {
		text += " (" + title + ")"
	}
	if snapshot.Of != 0 {
		text += fmt.Sprintf(", as snapshot %d", snapshot.Of)
	}
	if snapshot.Name != "" {
		text += fmt.Sprintf(" [%s]", snapshot.Name)
	}
	if snapshot.Broken != "" {
		text += ", BROKEN: " + snapshot.Broken
	}
	return text
}

// summary keeps a line short.
func summary(changes []string) string {
	const most = 4
	if len(changes) == 0 {
		return "nothing"
	}
	text := strings.Join(changes[:min(most, len(changes))], ", ")
	if more := len(changes) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func (c *envCommand) installed() (map[string]string, error) {
	files := host.Files{}
	live, ok := environment.Current(files, environment.User)
	if !ok {
		return nil, host.Hint(errors.New("there is no user environment"), "run tljh-install install")
	}
	packages, _, err := environment.Packages(files, live.Path())
	return packages, err
}

func (c *envCommand) list() error {
	packages, err := c.installed()
	if err != nil {
		return err
	}
	if c.json {
		return json.NewEncoder(c.streams.Out).Encode(packages)
	}
	rows := [][]string{{"PACKAGE", "VERSION"}}
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		rows = append(rows, []string{name, packages[name]})
	}
	table(c.streams.Out, rows)
	return nil
}

func newExportCommand(c *envCommand) *cobra.Command {
	locked := false
	cmd := &cobra.Command{
		Use: "export [FOLDER]", Short: "Print the installed packages as a requirements.txt, or write a folder for env apply", Args: atMostOne("export [FOLDER]"),
		Long: "Print the installed packages as a requirements.txt, or write a folder for env apply. With --lock, the folder lists\n" +
			"each conda package by address and checksum: env apply then installs exactly these, without a solver, and conda\n" +
			"verifies every file.",
		Example: "  tljh-install env export > requirements.txt\n  tljh-install env export course\n  tljh-install env export --lock course",
		RunE:    func(_ *cobra.Command, args []string) error { return c.export(args, locked) },
	}
	cmd.Flags().BoolVar(&locked, "lock", false, "write the addresses and checksums of conda's packages; needs FOLDER")
	return cmd
}

func (c *envCommand) export(args []string, locked bool) error {
	if len(args) == 1 {
		return c.exportFolder(args[0], locked)
	}
	if locked {
		return &usageError{errors.New("usage: tljh-install env export --lock FOLDER")}
	}
	packages, err := c.installed()
	if err != nil {
		return err
	}
	for _, pin := range environment.Pins(packages) {
		fmt.Fprintln(c.streams.Out, pin)
	}
	return nil
}

// exportFolder writes what env apply takes, into a folder that is new or empty.
func (c *envCommand) exportFolder(dir string, locked bool) error {
	files := host.Files{}
	described, err := environment.Export(files, locked)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return &installer.BadInput{Err: host.Hint(fmt.Errorf("%s is not empty", dir), "choose another folder; the contents of this one were not changed")}
	}
	for _, name := range slices.Sorted(maps.Keys(described)) {
		mode := os.FileMode(0o644)
		if strings.HasPrefix(described[name], "#!") {
			mode = 0o755
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(described[name]), mode); err != nil {
			return err
		}
		fmt.Fprintln(c.streams.Out, filepath.Join(dir, name))
	}
	return nil
}

func snapshotOf(all []environment.Snapshot, text string) (environment.Snapshot, error) {
	n := slices.IndexFunc(all, func(s environment.Snapshot) bool { return fmt.Sprint(s.Number) == text })
	if n < 0 {
		return environment.Snapshot{}, &installer.BadInput{Err: host.Hint(fmt.Errorf("there is no snapshot %s", text), "tljh-install env history lists them")}
	}
	return all[n], nil
}

func (c *envCommand) diff(args []string) error {
	all, err := c.snapshots()
	if err != nil {
		return err
	}
	a, err := snapshotOf(all, args[0])
	if err != nil {
		return err
	}
	b, err := snapshotOf(all, args[1])
	if err != nil {
		return err
	}
	changes := environment.Difference(a.Packages, b.Packages)
	if c.json {
		return json.NewEncoder(c.streams.Out).Encode(changes)
	}
	for _, change := range changes {
		fmt.Fprintln(c.streams.Out, change)
	}
	return nil
}

func newCheckCommand(c *envCommand) *cobra.Command {
	scheduled := false
	cmd := &cobra.Command{
		Use: "check", Short: "Verify the files and that servers can start", Args: noArgs,
		Long: "Compare all files with the records of their packages, import what a server needs, and compare JupyterHub's\n" +
			"version with the hub's. The result is recorded, and status reports damage. A timer does this once a day, without\n" +
			"starting anything of the environment.\n\nExit codes: 0 healthy; 1 damaged.",
		RunE: func(cmd *cobra.Command, _ []string) error { return c.check(cmd.Context(), scheduled) },
	}
	cmd.Flags().BoolVar(&scheduled, "scheduled", false, "record the result only, and run nothing of the environment")
	_ = cmd.Flags().MarkHidden("scheduled")
	return cmd
}

func (c *envCommand) check(ctx context.Context, scheduled bool) error {
	r := installOptions{verbose: c.verbose}.begin(c.streams)
	defer r.close()
	health, err := installer.NewKeeper(r.host, r.report, r.builder, time.Now).Check(ctx, scheduled)
	if err != nil {
		return err
	}
	if scheduled {
		if !health.Healthy() {
			fmt.Fprintln(c.streams.Out, health.Words()) // for the journal
		}
		return nil
	}
	if c.json {
		err = json.NewEncoder(c.streams.Out).Encode(map[string]any{"whole": health.Healthy(), "troubles": health.Troubles, "notes": health.Notes})
	} else {
		c.showHealth(health)
	}
	if err == nil && !health.Healthy() {
		return &errTold{exitFailed}
	}
	return err
}

func (c *envCommand) showHealth(health environment.Health) {
	show := func(troubles []environment.Trouble, prefix string) {
		for _, trouble := range troubles {
			name := trouble.Package
			if name != "" {
				name += ": "
			}
			fmt.Fprintln(c.streams.Out, prefix+name+trouble.Words)
		}
	}
	show(health.Notes, "note: ")
	if health.Healthy() {
		fmt.Fprintln(c.streams.Out, "The user environment is healthy.")
		return
	}
	show(health.Troubles, "")
	fmt.Fprintln(c.streams.Out, "hint: tljh-install env repair")
}

func (c *envCommand) install(ctx context.Context, packages []string) error {
	return c.change(ctx, journal.Lock, func(ctx context.Context, k *installer.Keeper) error {
		if err := k.Install(ctx, packages); err != nil {
			return err
		}
		fmt.Fprintln(c.streams.Out, "Installed for all users.")
		return nil
	})
}
