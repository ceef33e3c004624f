package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"tljh/config"
	"tljh/installer"
	"tljh/installer/journal"
	"tljh/internal/check"
	"tljh/internal/host"
	"tljh/internal/layout"
)

func (c *configCommand) edit() *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use:   "edit",
		Short: "Edit the config in an editor, check it, save it and apply it",
		Long: "Edit a private copy of the config in $SUDO_EDITOR, $VISUAL, $EDITOR or the default editor. When you close the editor,\n" +
			"the copy is checked. Errors are shown with their lines, and you can edit again or give up. Then the change is\n" +
			"shown, saved and applied. If the hub does not start with it, the previous config is restored.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.runEdit(cmd.Context(), wait) },
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait if someone else is editing")
	cmd.Flags().BoolVarP(&c.verbose, "verbose", "v", false, "show every command and its output")
	return cmd
}

func (c *configCommand) runEdit(ctx context.Context, wait bool) error {
	if _, err := c.read(); err != nil {
		return err
	}
	patience := time.Duration(0)
	if wait {
		patience = installer.WaitForEver
	}
	unlock, err := c.lock(ctx, patience)
	if err != nil {
		return err
	}
	defer unlock()
	file := c.file()
	before, err := file.Read()
	if err != nil {
		return err
	}
	draft, err := newDraft(before)
	if err != nil {
		return err
	}
	saved, err := c.editDraft(ctx, file, draft)
	if err == nil || !draft.worthKeeping() {
		draft.remove()
	} else {
		err = draft.kept(err, c.streams.Err)
	}
	if err != nil || !saved || c.path != layout.Config {
		return err
	}
	return c.apply(ctx, "edit")
}

// editDraft has a person edit, and saves what is valid.
func (c *configCommand) editDraft(ctx context.Context, file installer.ConfigFile, d *draft) (saved bool, err error) {
	after, err := c.editUntilValid(ctx, d)
	if err != nil {
		return false, err
	}
	if bytes.Equal(d.before, after) {
		fmt.Fprintln(c.streams.Err, "Nothing was changed.")
		return false, nil
	}
	fmt.Fprint(c.streams.Out, config.Diff(d.before, after, "before", "after"))
	// Whoever does not come by this command may have written meanwhile.
	if now, err := file.Read(); err != nil || !bytes.Equal(now, d.before) {
		return false, errors.Join(errors.New("the config was changed by someone else while you were editing; nothing was saved"), err)
	}
	return true, file.Save(after)
}

// editUntilValid returns the text once it is valid. Who gives up keeps the config as it was.
func (c *configCommand) editUntilValid(ctx context.Context, d *draft) ([]byte, error) {
	file := c.file()
	file.Thorough = true
	for {
		if err := d.open(ctx); err != nil {
			return nil, err
		}
		text, err := os.ReadFile(d.path)
		if err != nil {
			return nil, fmt.Errorf("cannot read the edited file: %w", err)
		}
		cfg, report, err := file.Check(ctx, text)
		if err != nil {
			return nil, err
		}
		fmt.Fprint(c.streams.Err, report.Text())
		if cfg != nil {
			return text, nil
		}
		switch again, asked, err := c.askAgain(); {
		case err != nil:
			return nil, err
		case !again:
			d.unwanted = asked
			fmt.Fprintln(c.streams.Err, "The config was not changed.")
			return nil, &errTold{exitBadInput}
		}
	}
}

// askAgain tells whether to edit again, and whether somebody was there to say so.
func (c *configCommand) askAgain() (again, asked bool, err error) {
	in, ok := c.streams.In.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return false, false, nil
	}
	lines := bufio.NewReader(in)
	for {
		fmt.Fprint(c.streams.Err, "The config is not valid. What now? (e)dit again, e(x)it without saving: ")
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return false, false, nil
		}
		if err != nil {
			return false, false, err
		}
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "", "e", "edit":
			return true, true, nil
		case "x", "exit", "q", "quit":
			return false, true, nil
		}
	}
}

// draft is a private copy of the config, in a folder that nobody else can enter.
type draft struct {
	dir, path string
	before    []byte
	unwanted  bool // the person said so
}

func newDraft(text []byte) (*draft, error) {
	dir, err := os.MkdirTemp(draftDir(), "tljh-config-")
	if err != nil {
		return nil, fmt.Errorf("cannot make a copy to edit: %w", err)
	}
	d := &draft{dir: dir, path: filepath.Join(dir, "config.yaml"), before: text}
	if err := os.WriteFile(d.path, text, 0o600); err != nil {
		d.remove()
		return nil, fmt.Errorf("cannot make a copy to edit: %w", err)
	}
	return d, nil
}

// draftDir is in memory where that can be, as a config holds secrets.
func draftDir() string {
	if info, err := os.Stat(layout.Runtime); err == nil && info.IsDir() && os.Geteuid() == 0 {
		return layout.Runtime
	}
	return ""
}

func (d *draft) remove() { _ = os.RemoveAll(d.dir) }

// worthKeeping tells whether there is work in it that nobody gave up.
func (d *draft) worthKeeping() bool {
	text, err := os.ReadFile(d.path)
	return !d.unwanted && err == nil && !bytes.Equal(text, d.before)
}

// kept says where the draft is, with an error or beside one that was told.
func (d *draft) kept(err error, w io.Writer) error {
	where := "your edit is kept in " + d.path
	if told := (*errTold)(nil); errors.As(err, &told) {
		fmt.Fprintln(w, strings.ToUpper(where[:1])+where[1:])
		return err
	}
	if host.HintOf(err) != "" {
		return fmt.Errorf("%w; %s", err, where)
	}
	return host.Hint(err, "%s", where)
}

// open lets the person edit. What an editor is named by may hold arguments, which sh takes apart. What is typed, Ctrl-C too, is for the editor; when this program
// is told to end, or the terminal is gone, it ends the editor in a way that lets it tidy up.
func (d *draft) open(ctx context.Context) error {
	chosen := editor()
	if chosen == "" {
		return host.Hint(errors.New("there is no editor on this machine; the config was not changed"), "%s; or: sudo tljh-install config set", check.InstallHint(host.Files{}, "nano"))
	}
	editing.Store(true)
	defer editing.Store(false)
	quits := make(chan os.Signal, 1)
	signal.Notify(quits, syscall.SIGQUIT)
	defer signal.Stop(quits)
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", chosen+` "$1"`, "sh", d.path)
	cmd.Env = editorEnv(os.Environ())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return host.Hint(fmt.Errorf("the editor failed: %w; the config was not changed", err), "choose another editor: sudo EDITOR=nano tljh-install config edit")
	}
	return nil
}

// editor returns what a person's editor is named by, or else the machine's usual one; "" where there is none.
func editor() string {
	for _, key := range check.EditorVariables {
		if value := os.Getenv(key); value != "" {
			return value
		}
	}
	folders := systemFolders(os.Getenv("PATH"))
	for _, name := range check.Editors {
		if !isProgramIn(folders, name) {
			continue
		}
		if isProgramIn(folders, check.EditorChooser) {
			return check.EditorChooser
		}
		return name
	}
	return ""
}

// editorEnv is the environment of an editor, and of what an editor starts.
func editorEnv(environ []string) []string {
	env := slices.Clone(environ)
	for n, pair := range env {
		if value, ok := strings.CutPrefix(pair, "PATH="); ok {
			env[n] = "PATH=" + strings.Join(systemFolders(value), ":")
		}
	}
	return env
}

// systemFolders returns the folders of a search path without the user environment, which sudo's path ends with: others than root put programs there, and root
// would run one of them where the system has none of that name.
func systemFolders(path string) []string {
	return slices.DeleteFunc(filepath.SplitList(path), func(folder string) bool {
		return !filepath.IsAbs(folder) || strings.HasPrefix(filepath.Clean(folder)+"/", layout.Root+"/")
	})
}

func isProgramIn(folders []string, name string) bool {
	return slices.ContainsFunc(folders, func(folder string) bool {
		info, err := os.Stat(filepath.Join(folder, name))
		return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
	})
}

func (c *configCommand) reloadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Apply the config",
		Long: "Apply the config. Only what the changed keys affect is touched: the hub, the edge, sudo rules, groups, shared\n" +
			"folders, or nothing. Single-user servers keep running. If the hub does not start, the previous config is restored.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.runReload(cmd.Context()) },
	}
	cmd.Flags().BoolVar(&c.json, "json", false, "report as JSON, one object per line")
	cmd.Flags().BoolVarP(&c.verbose, "verbose", "v", false, "show every command and its output")
	return cmd
}

func (c *configCommand) runReload(ctx context.Context) error {
	if c.path != layout.Config {
		return &usageError{fmt.Errorf("the hub reads only %s: omit --config-path", layout.Config)}
	}
	if _, err := c.read(); err != nil {
		return err
	}
	unlock, err := c.lock(ctx, 0)
	if err != nil {
		return err
	}
	defer unlock()
	return c.apply(ctx, "reload")
}

// apply puts what the file holds into effect. Whoever calls it holds the file's lock.
func (c *configCommand) apply(ctx context.Context, how string) error {
	options := installOptions{json: c.json, verbose: c.verbose, calm: true}
	r := options.begin(c.streams)
	defer r.close()
	err := c.applyWith(ctx, r, how)
	if err == nil {
		return nil
	}
	return options.finish(r.report, err)
}

func (c *configCommand) applyWith(ctx context.Context, r *run, how string) error {
	file := c.file()
	file.Host, file.Thorough = r.host, true
	text, err := file.Read()
	if err != nil {
		return err
	}
	cfg, problems, err := file.Check(ctx, text)
	if err != nil {
		return err
	}
	if cfg == nil {
		return &installer.BadInput{Err: host.Hint(fmt.Errorf("the config is not valid:\n%s", strings.TrimRight(problems.Text(), "\n")), "correct it with tljh-install config edit, or restore the last one that worked with tljh-install config revert")}
	}
	if err := installer.Ready(ctx, r.host, cfg, problems, file.InEffect()); err != nil {
		return err
	}
	unlock, err := journal.Lock(ctx, r.host.Files, time.Now())
	if err != nil {
		return err
	}
	defer unlock()
	applier := &installer.Applier{Host: r.host, Report: r.report, Builder: r.builder, Now: time.Now, Who: who(), How: "config " + how}
	r.begin()
	applied, err := applier.Apply(ctx, text, cfg)
	if err != nil {
		return err
	}
	r.report.Close()
	return c.concludeApply(applied)
}

func (c *configCommand) concludeApply(applied *installer.Applied) error {
	if c.json {
		return writeJSON(c.streams.Out, applied)
	}
	but := ""
	if len(applied.Left) > 0 {
		but = " except for " + strings.Join(applied.Left, ", ")
	}
	if len(applied.Changed) == 0 {
		fmt.Fprintf(c.streams.Out, "The config is in effect%s: there was nothing to do.\n", but)
	} else {
		servers := "Single-user servers kept running."
		if applied.Ended {
			servers = "Single-user servers were stopped because their addresses changed (base_url). Users can start them again."
		}
		fmt.Fprintf(c.streams.Out, "The config is in effect%s (%s). %s\n", but, seconds(applied.Seconds), servers)
	}
	if applied.Note != "" {
		fmt.Fprintln(c.streams.Out, "note: "+applied.Note)
		fmt.Fprintln(c.streams.Out, "hint: to go back: sudo tljh-install config revert")
	}
	if but != "" {
		fmt.Fprintln(c.streams.Out, "To apply the rest: sudo tljh-install install")
	}
	return nil
}

func (c *configCommand) revert() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revert [NUMBER]",
		Short: "Restore the previous version of the config, or version NUMBER, and apply it",
		Long: "Restore the previous version of the config, or version NUMBER, and apply it. If the file differs from the config in\n" +
			"effect, it counts as a version: without NUMBER, the last config that worked is restored. To list the numbers, use\n" +
			"tljh-install config history.",
		Example: "  sudo tljh-install config revert\n  sudo tljh-install config revert 7",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return argsOf(1, "revert [NUMBER]")(cmd, args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return c.runRevert(cmd.Context(), args) },
	}
	cmd.Flags().BoolVarP(&c.verbose, "verbose", "v", false, "show every command and its output")
	return cmd
}

func (c *configCommand) runRevert(ctx context.Context, args []string) error {
	if _, err := c.file().ReadAny(); err != nil {
		return err
	}
	file := c.file()
	unlock, err := c.lock(ctx, 0)
	if err != nil {
		return err
	}
	defer unlock()
	text, number, err := c.versionToGoTo(file, args)
	if err != nil {
		return err
	}
	before, err := file.ReadAny()
	if err != nil {
		return err
	}
	d := config.Read(c.path, text)
	if _, err := c.judge(ctx, d); err != nil {
		return err
	}
	fmt.Fprint(c.streams.Out, config.DiffOf(config.Read("", before), d, "before", fmt.Sprintf("version %d", number)))
	if err := file.Save(text); err != nil {
		return err
	}
	return c.apply(ctx, fmt.Sprintf("revert to %d", number))
}

// versionToGoTo is the one asked for; or the last that worked, when the file is another by now; or the one before that.
func (c *configCommand) versionToGoTo(file installer.ConfigFile, args []string) ([]byte, int, error) {
	history := installer.History{Files: file.Host.Files, Now: time.Now}
	versions, err := history.Versions()
	if err != nil {
		return nil, 0, err
	}
	n := len(versions) - 1
	if len(args) == 1 {
		if n, err = versionOf(versions, args[0]); err != nil {
			return nil, 0, err
		}
	} else if now, err := file.ReadAny(); err == nil && n >= 0 {
		if text, err := history.Text(versions[n]); err == nil && bytes.Equal(text, now) {
			n--
		}
	}
	if n < 0 {
		return nil, 0, &installer.BadInput{Err: errors.New("there is no earlier version of the config")}
	}
	text, err := history.Text(versions[n])
	return text, versions[n].Number, err
}
