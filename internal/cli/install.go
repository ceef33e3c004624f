package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"tljh/environment"
	"tljh/installer"
	"tljh/internal/fetch"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/report"
)

type installOptions struct {
	admins         []string
	plugins        []string
	passwordFile   string
	configFile     string
	packageManager string
	requirements   string
	newEnvironment bool
	ignore         []string
	plan           bool
	json           bool
	yes            bool
	verbose        bool
	calm           bool // steps that had nothing to do are not told
}

func newInstallCommand(streams Streams) *cobra.Command {
	var options installOptions
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Install the hub, or repair an installation and apply its config",
		Long: "Install a JupyterHub on this machine: the hub, its proxy, the user environment, systemd units and sudo rules.\n" +
			"Run it again to repair what is missing or broken; it leaves everything else alone. If The Littlest JupyterHub\n" +
			"1.x/2.x (Python) is installed, install adopts it: it shows first what will change, and if the new hub does not\n" +
			"work, it restores the legacy hub.\n\n" +
			"Exit codes: 0 the hub is up; 1 failed; 2 usage error; 3 invalid input; 4 the machine is not ready (nothing was\n" +
			"changed); 5 another command is running; 6 installed, but the hub does not work or the user requirements failed;\n" +
			"130 interrupted.",
		Example: "  sudo tljh-install install --admin alice\n  sudo tljh-install install --admin alice --user-requirements course.txt\n  sudo tljh-install install --plan",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runInstall(cmd.Context(), streams, options) },
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&options.admins, "admin", nil, "make `NAME[:PASSWORD]` an admin; can be repeated. Without PASSWORD, one is generated and shown once. "+
		"sudo logs its command line, so do not write PASSWORD here: let it be generated, or use --admin-password-file")
	flags.StringArrayVar(&options.plugins, "plugin", nil, "add a plugin for The Littlest JupyterHub: a `PACKAGE`, or NAME @ URL; can be repeated. "+
		"It is added to hub.packages in the config")
	flags.StringVar(&options.passwordFile, "admin-password-file", "", "read the admin's password from the first line of `FILE` (- for standard input); "+
		"with several admins, each line is NAME:PASSWORD")
	flags.StringVar(&options.configFile, "config", "", "use the config in `FILE`")
	flags.StringVar(&options.packageManager, "package-manager", "auto", "build the user environment with `auto|conda|uv`")
	flags.StringVar(&options.requirements, "user-requirements", "", "install this requirements.txt (`FILE|URL`) for all users")
	flags.BoolVar(&options.newEnvironment, "new-environment", false, "when adopting a legacy hub: build a new user environment, and keep the legacy one as a kernel")
	flags.StringArrayVar(&options.ignore, "ignore-preflight", nil, "continue even if the check `NAME` fails; can be repeated ("+strings.Join(installer.CheckNames(), ", ")+")")
	flags.BoolVar(&options.plan, "plan", false, "only show what would be done")
	flags.BoolVar(&options.json, "json", false, "report as JSON, one object per line")
	flags.BoolVarP(&options.yes, "yes", "y", false, "do not ask for confirmation; install asks only before it adopts a legacy hub")
	flags.BoolVarP(&options.verbose, "verbose", "v", false, "show every command and its output")
	return cmd
}

// read turns what was typed into what the installer takes.
func (o installOptions) read(in io.Reader) (installer.Options, error) {
	options := installer.Options{ConfigFile: o.configFile, PackageManager: o.packageManager, Requirements: o.requirements, Plugins: o.plugins,
		NewEnvironment: o.newEnvironment, Environ: os.Environ()}
	switch o.packageManager {
	case installer.Auto, "conda", "uv":
	default:
		return options, &usageError{fmt.Errorf("--package-manager %s: use auto, conda or uv", o.packageManager)}
	}
	named, err := withPasswords(o.admins, o.passwordFile, in)
	if err != nil {
		return options, err
	}
	for _, text := range named {
		admin, err := installer.ParseAdmin(text)
		if err != nil {
			return options, err
		}
		options.Admins = append(options.Admins, admin)
	}
	return options, nil
}

func runInstall(ctx context.Context, streams Streams, o installOptions) (err error) {
	options, err := o.read(streams.In)
	if err != nil {
		return err
	}
	if !o.plan {
		if err := handBack(streams); err != nil {
			return err
		}
	}
	r := o.begin(streams)
	for _, admin := range options.Admins {
		r.log.Redact(admin.Password)
	}
	defer r.close()
	if err := installer.KnownChecks(o.ignore); err != nil {
		return o.finish(r.report, &installer.BadInput{Err: fmt.Errorf("--ignore-preflight: %w", err)})
	}
	for _, admin := range options.Admins {
		if admin.Password != "" && installer.TooShort(admin.Name, admin.Password) != nil {
			r.report.Warn("change it: sudo tljh-install password "+admin.Name, "the password of the admin %s is easy to guess; anyone who guesses it becomes root on this machine", admin.Name)
		}
	}
	i := &installer.Installer{Host: r.host, Report: r.report, Builder: r.builder, Now: time.Now, Ignore: o.ignore, Redact: r.log.Redact, Begin: r.begin, Who: who()}
	i.Show, i.Ask = o.takeover(streams)
	if o.plan {
		return o.finish(r.report, i.Plan(ctx, options))
	}
	result, err := i.Install(ctx, options)
	var usage *usageError
	switch {
	case errors.Is(err, errDeclined):
		r.report.Close()
		fmt.Fprintln(streams.Out, "Nothing was changed.")
		return nil
	case errors.As(err, &usage):
		return err
	}
	if err != nil {
		return errors.Join(o.rescue(streams, result), o.finish(r.report, err))
	}
	return o.conclude(i, streams, result)
}

// takeover returns what shows how an older TLJH would be taken over, and what asks whether it is to be.
func (o installOptions) takeover(streams Streams) (show func(*installer.Takeover), ask func(*installer.Takeover, string) error) {
	show = func(t *installer.Takeover) {
		if o.json {
			_ = writeJSON(streams.Out, map[string]any{"takeover": t}) // it is a plan: nobody depends on it
			return
		}
		fmt.Fprintln(streams.Out, strings.TrimRight(t.Text(), "\n")+"\n")
	}
	return show, func(t *installer.Takeover, question string) error {
		if o.json {
			show(t)
		}
		return o.ask(streams)(t.Text(), question)
	}
}

// rescue shows the passwords that a run which failed has stored already.
func (o installOptions) rescue(streams Streams, result *installer.Result) error {
	if result == nil || !slices.ContainsFunc(result.Admins, func(a installer.AdminResult) bool { return a.Password != "" }) {
		return nil
	}
	if o.json {
		return writeJSON(streams.Out, result)
	}
	for n, admin := range result.Admins {
		fmt.Fprintf(streams.Out, "  %-10s%s%s\n", label(n, "Log in as"), admin.Name, passwordNote(admin))
	}
	return nil
}

// run is what a command that changes the machine works and reports with.
type run struct {
	host    *host.Host
	builder *environment.Builder
	report  *report.Reporter
	log     *report.Log
	file    *logFile
}

func (o installOptions) begin(streams Streams) *run {
	r := &run{log: report.NewLog()}
	commands := commandLogs(r.log, o, streams)
	r.host = host.Local(commands)
	r.builder = environment.New(environment.Setup{
		Host: r.host, Environ: os.Environ(), Now: time.Now,
		Client: &fetch.Client{Files: r.host.Files, Environ: os.Environ(), Log: commands.Request},
	})
	r.file = &logFile{Log: r.log, files: r.host.Files}
	r.report = report.New(o.sink(streams), r.file)
	return r
}

// begin lets the log go to its file: the machine is about to be changed.
func (r *run) begin() { r.file.begin() }

func (r *run) close() {
	r.report.Close()
	_ = r.log.Close()
}

// logFile is a log that goes to its file as soon as that may be: when the machine is to be changed, and the folder is there.
type logFile struct {
	*report.Log
	files host.Files
	begun atomic.Bool
}

func (l *logFile) begin() { l.begun.Store(true) }

// Event implements report.Sink. A log that can't be written is no reason to end: it keeps what it is told in memory.
func (l *logFile) Event(e report.Event) {
	l.Log.Event(e)
	if l.begun.Load() && l.files.Exists(layout.Root) && l.Attach(l.files, layout.Log) == nil {
		l.begun.Store(false)
	}
}

func (o installOptions) sink(streams Streams) report.Sink {
	if o.json {
		return report.NewJSON(streams.Out)
	}
	if file, ok := streams.Out.(*os.File); ok && !o.verbose && term.IsTerminal(int(file.Fd())) {
		return report.NewTerminal(file, func() int {
			width, _, err := term.GetSize(int(file.Fd()))
			if err != nil {
				return 80
			}
			return width
		}, report.Received(host.Files{}))
	}
	if o.calm && !o.verbose {
		return report.Calm(report.NewPlain(streams.Out))
	}
	return report.NewPlain(streams.Out)
}

// finish reports how a run ended that has no result to show.
func (o installOptions) finish(r *report.Reporter, err error) error {
	if err == nil {
		return nil
	}
	code := exitCode(err)
	if code == exitInterrupted {
		err = host.Hint(errors.New("interrupted; nothing is left half-done"), "run the same command again to continue")
	}
	r.Fail(err)
	if _, statErr := os.Lstat(layout.Log); statErr == nil && !o.json && code != exitRefused && code != exitBadInput {
		r.Note("log of every command and its output: %s", layout.Log)
	}
	return &errTold{code}
}

// conclude says how to get in. What is in the result may be secret: it goes to the screen only, never to the log.
func (o installOptions) conclude(i *installer.Installer, streams Streams, result *installer.Result) error {
	i.Report.Close()
	if o.json {
		if err := writeJSON(streams.Out, result); err != nil {
			return err
		}
	} else {
		fmt.Fprint(streams.Out, resultText(result, report.PaintFor(streams.Out), helpWidth(streams.Out)))
	}
	if len(result.Failed) > 0 {
		return &errTold{exitIncomplete}
	}
	return nil
}

// resultText is the last words of an installation. Lines are broken between words; commands and addresses stand alone, to be copied.
func resultText(result *installer.Result, paint report.Paint, width int) string {
	var text strings.Builder
	headline := fmt.Sprintf("The hub is up (%s, %s received).", seconds(result.Seconds), megabytes(result.Received))
	if !result.Changed {
		headline = fmt.Sprintf("Nothing to do: the hub is up and healthy (%s).", seconds(result.Seconds))
	}
	if len(result.Failed) > 0 {
		headline = "The hub is up, but not everything was installed: see the error above."
	}
	fmt.Fprintf(&text, "\n%s\n\n", paint.Strong(headline))
	rows := [][2]string{}
	for n, address := range result.Addresses {
		rows = append(rows, [2]string{label(n, "Open"), address})
	}
	for n, admin := range result.Admins {
		rows = append(rows, [2]string{label(n, "Log in as"), admin.Name + passwordNote(admin)})
	}
	text.WriteString(labelled(append(rows, [2]string{"Memory", memoryText(result.Memory)}), width))
	text.WriteString(nextText(result.Next, paint, width))
	for n, advice := range result.Advice {
		fmt.Fprintf(&text, "%s%s\n", map[bool]string{true: "\n"}[n == 0], report.WrapLines(advice, width, ""))
	}
	fmt.Fprintf(&text, "\n%s\n", report.WrapLines("Hub pages and pages of single-user servers: "+result.Origins.State+".", width, ""))
	if result.Origins.Hint != "" {
		hint := result.Origins.Hint
		fmt.Fprintln(&text, report.WrapLines(strings.ToUpper(hint[:1])+hint[1:], width, ""))
	}
	return text.String()
}

// labelled are rows with a label of up to nine letters, wrapped behind it.
func labelled(rows [][2]string, width int) string {
	indent := strings.Repeat(" ", 12)
	var text strings.Builder
	for _, row := range rows {
		fmt.Fprintf(&text, "  %-10s%s\n", row[0], strings.ReplaceAll(report.WrapLines(row[1], width-len(indent), ""), "\n", "\n"+indent))
	}
	return text.String()
}

func nextText(next []installer.Next, paint report.Paint, width int) string {
	if len(next) == 0 {
		return ""
	}
	rows := [][2]string{}
	for _, n := range next {
		words := n.Words
		if n.Command != "" {
			words = n.Command + "\n" + words
		}
		rows = append(rows, [2]string{n.What, words})
	}
	return "\n" + paint.Strong("Next") + "\n\n" + labelled(rows, width)
}

func memoryText(memory installer.Memory) string {
	switch {
	case memory.Limit == "":
		return "no limit per server (limits.memory)"
	case memory.Auto:
		return fmt.Sprintf("%s per server: a quarter of the %s that all servers share, at least 1G (limits.memory)", memory.Limit, memory.All)
	}
	return memory.Limit + " per server (limits.memory)"
}

func label(n int, text string) string {
	if n > 0 {
		return ""
	}
	return text
}

func passwordNote(admin installer.AdminResult) string {
	switch {
	case admin.Kept:
		return ""
	case admin.Password != "":
		return "  password " + admin.Password + "  (shown only now)"
	}
	return "  with the password you set"
}

func seconds(s float64) string {
	if s < 10 {
		return fmt.Sprintf("%.1f s", s)
	}
	return fmt.Sprintf("%.0f s", s)
}

func megabytes(n int64) string { return fmt.Sprintf("%.0f MB", float64(n)/1e6) }

// writeJSON ends the stream of a run with --json.
func writeJSON(w io.Writer, result any) error {
	sink := report.NewJSON(w)
	sink.Event(report.Event{Time: time.Now().UTC(), Kind: report.KindResult, Data: result})
	return nil
}

// commandLogs sends every command to the log and, with -v, to the screen.
func commandLogs(log *report.Log, o installOptions, streams Streams) host.CommandLog {
	if o.verbose {
		return host.CommandLogs{log, report.NewCommands(streams.Err)}
	}
	return log
}
