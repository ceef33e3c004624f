package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tljh/config"
	"tljh/installer"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/report"
	"tljh/systemdunits"
)

// configCommand is what the verbs of config share.
type configCommand struct {
	streams Streams
	path    string
	json    bool
	verbose bool
	reload  bool // put what was changed into effect at once
}

func newConfigCommand(streams Streams) *cobra.Command {
	c := &configCommand{streams: streams}
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show, change and check the hub's config",
		Long: "Show, change and check " + layout.Config + ".\n\n" +
			"Only a valid config is ever saved. set, unset, add and remove keep the comments, order and layout of the file; their\n" +
			"changes take effect with tljh-install config reload, or at once with --reload. edit opens an editor, then checks,\n" +
			"saves and applies the config, as visudo does for sudo rules.\n\n" +
			"Exit codes: 0 done; 1 failed; 2 usage error; 3 the config is not valid; 4 you are not root, or the command cannot\n" +
			"run in this state; 5 another command is running.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&c.path, "config-path", layout.Config, "use this `FILE` instead of the hub's config")
	cmd.AddCommand(c.commands()...)
	return cmd
}

func (c *configCommand) commands() []*cobra.Command {
	return []*cobra.Command{
		c.edit(), c.show(), c.get(),
		c.change("set KEY VALUE", "Set a key", 2, changeSet),
		c.change("unset KEY", "Remove a key (back to its default)", 1, changeUnset),
		c.change("add KEY VALUE…", "Add items to a list", -2, changeAdd),
		c.change("remove KEY VALUE…", "Remove items from a list", -2, changeRemove),
		c.validate(), c.explain(), c.schema(), c.reloadCommand(), c.history(), c.revert(), c.testAuth(), c.breakGlass(), c.forHub(),
	}
}

func (c *configCommand) file() installer.ConfigFile {
	return installer.ConfigFile{Host: host.Local(nil), Path: c.path, Now: time.Now, Who: who()}
}

// changePatience is how long a change by a program waits for somebody who is editing.
const changePatience = time.Minute

// lock keeps others from editing meanwhile, and tells whom it waits for.
func (c *configCommand) lock(ctx context.Context, patience time.Duration) (func(), error) {
	return c.file().Lock(ctx, patience, func(holder string) {
		fmt.Fprintf(c.streams.Err, "Waiting: the config is being edited by %s.\n", holder)
	})
}

// read returns the file's contents.
func (c *configCommand) read() ([]byte, error) {
	return c.file().Read()
}

// argsOf is cobra.ExactArgs, or MinimumNArgs for a negative number, with an error that says what to type.
func argsOf(n int, usage string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if n >= 0 && len(args) == n || n < 0 && len(args) >= -n {
			return nil
		}
		return &usageError{fmt.Errorf("usage: %s %s", cmd.Parent().CommandPath(), usage)}
	}
}

// completeKeys is the shell's completion of a key.
func completeKeys(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return config.Complete(typed), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// completeValues completes the value behind a key as well, where there are only a few.
func completeValues(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 1 {
		return config.CompleteValue(args[0], typed), cobra.ShellCompDirectiveNoFileComp
	}
	return completeKeys(cmd, args, typed)
}

func (c *configCommand) show() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show [KEY]",
		Short:   "Print the config, or a part of it, with secrets masked",
		Example: "  sudo tljh-install config show\n  sudo tljh-install config show users",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return argsOf(1, "show [KEY]")(cmd, args)
			}
			return nil
		},
		ValidArgsFunction: completeKeys,
		RunE: func(_ *cobra.Command, args []string) error {
			data, err := c.read()
			if err != nil {
				return err
			}
			masked := config.Mask(data)
			if len(args) == 1 {
				return c.print(masked, "show", args[0])
			}
			if c.json {
				return c.print(masked, "show", "")
			}
			_, err = c.streams.Out.Write(masked)
			return err
		},
	}
	cmd.Flags().BoolVar(&c.json, "json", false, "print JSON")
	return cmd
}

func (c *configCommand) get() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "get KEY",
		Short:             "Print the value of a key, or its default",
		Long:              "Print the value of a key as YAML, or its default if the file does not set it. Unlike show, it prints secrets.",
		Example:           "  sudo tljh-install config get limits.memory",
		Args:              argsOf(1, "get KEY"),
		ValidArgsFunction: completeKeys,
		RunE: func(_ *cobra.Command, args []string) error {
			data, err := c.read()
			if err != nil {
				return err
			}
			return c.print(data, "get", args[0])
		},
	}
	cmd.Flags().BoolVar(&c.json, "json", false, "print JSON")
	return cmd
}

func (c *configCommand) print(data []byte, verb, key string) error {
	read := config.Get
	if c.json {
		read = func(data []byte, key string) (string, error) {
			value, err := config.GetJSON(data, key)
			return string(value), err
		}
	}
	value, err := read(data, key)
	if err != nil {
		return &installer.BadInput{Err: quoteName(err, verb)}
	}
	_, err = fmt.Fprintln(c.streams.Out, strings.TrimRight(value, "\n"))
	return err
}

var changeVerbs = []string{"set", "add", "remove", "add-item", "remove-item"}

// nothing says why a change changes nothing.
var nothing = map[string]string{
	"set": "the config already has this value", "unset": "KEY is not set",
	"add": "KEY already contains this", "add-item": "KEY already contains this",
	"remove": "KEY does not contain this", "remove-item": "KEY does not contain this",
}

// changeHelp is what the verbs of change say of themselves; the older command line says less.
var changeHelp = map[string]struct{ long, example string }{
	"set": {
		"Set a key. Write a list as [a, b] and a mapping as {a: 1, b: 2}; items that stay keep their comments. Put a value\n" +
			"with spaces in quotes. With - as VALUE, the value is read from standard input, so that no secret appears on a\n" +
			"command line. Put -- before a value that begins with -.",
		"  sudo tljh-install config set limits.memory 2G --reload\n  sudo tljh-install config set hub.name 'Physics 101'\n" +
			"  sudo tljh-install config set users.allowed '[bob, carol]'\n  sudo tljh-install config set \\\n    auth.GitHubOAuthenticator.client_secret - < secret.txt",
	},
	"unset":  {"Remove a key, or a whole section, from the config, so that its default applies.", "  sudo tljh-install config unset limits.memory --reload"},
	"add":    {"Add items to a list; the list is created if it does not exist. Items that it already contains are not added again.", "  sudo tljh-install config add users.admin dan eve --reload"},
	"remove": {"Remove items from a list. A comment on the line of an item is removed with it.", "  sudo tljh-install config remove users.allowed bob --reload"},
}

// changeArgs is argsOf with a word on what probably went wrong. It repeats no value, which may be a secret.
func changeArgs(n int, usage string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		err := argsOf(n, usage)(cmd, args)
		switch {
		case err == nil || n < 0:
			return err
		case len(args) > n && strings.Contains(usage, "-item "):
			return host.Hint(err, "give one value at a time; tljh-install config add and remove take several")
		case n > 1 && len(args) > n:
			return host.Hint(err, "put a value with spaces in quotes, as in 'Physics 101'")
		case len(args) == 1 && strings.Contains(args[0], "="):
			return host.Hint(err, "separate KEY and VALUE with a space, not with =")
		}
		return err
	}
}

// quoteName adds the command to type to the error of a path whose name lacks quotes.
func quoteName(err error, verb string, values ...string) error {
	unquoted := (*config.UnquotedError)(nil)
	if !errors.As(err, &unquoted) {
		return err
	}
	words := []string{"sudo tljh-install config", verb, shellWord(unquoted.Quoted)}
	for _, value := range values {
		words = append(words, shellWord(value))
	}
	return host.Hint(err, "%s", strings.Join(words, " "))
}

// shellWord writes a text as one word for a shell.
func shellWord(text string) string {
	if text != "" && strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/:@%+=-") == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

type changeKind func(d *config.Document, args []string) (*config.Document, error)

func changeSet(d *config.Document, args []string) (*config.Document, error) {
	return d.Set(args[0], args[1])
}

func changeUnset(d *config.Document, args []string) (*config.Document, error) {
	return d.Unset(args[0])
}

func changeAdd(d *config.Document, args []string) (*config.Document, error) {
	return d.Add(args[0], args[1:]...)
}

func changeRemove(d *config.Document, args []string) (*config.Document, error) {
	return d.Remove(args[0], args[1:]...)
}

func (c *configCommand) change(usage, short string, n int, do changeKind) *cobra.Command {
	name, _, _ := strings.Cut(usage, " ")
	cmd := &cobra.Command{
		Use: usage, Short: short, Long: changeHelp[name].long, Example: changeHelp[name].example, Args: changeArgs(n, usage), ValidArgsFunction: completeValues,
		RunE: func(cmd *cobra.Command, args []string) error {
			args, err := c.valueFromInput(name, args)
			if err != nil {
				return err
			}
			return c.runChange(cmd.Context(), name+" "+args[0], func(d *config.Document) (*config.Document, error) {
				after, err := do(d, args)
				return after, quoteName(err, name, args[1:]...)
			})
		},
	}
	cmd.Flags().BoolVar(&c.reload, "reload", false, "apply the change at once")
	cmd.Flags().BoolVarP(&c.verbose, "verbose", "v", false, "show every command and its output")
	return cmd
}

// valueFromInput takes the value of set KEY - from standard input: what stands on a command line others may see.
func (c *configCommand) valueFromInput(verb string, args []string) ([]string, error) {
	if verb != "set" || args[1] != "-" {
		return args, nil
	}
	data, err := io.ReadAll(io.LimitReader(c.streams.In, configLimit))
	if err != nil {
		return nil, fmt.Errorf("cannot read the value from standard input: %w", err)
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	return []string{args[0], value}, nil
}

// runChange edits the file by a program: lock, read, edit, judge, save, tell.
func (c *configCommand) runChange(ctx context.Context, how string, edit func(*config.Document) (*config.Document, error)) error {
	if c.reload && c.path != layout.Config {
		return &usageError{fmt.Errorf("the hub reads only %s: omit --reload or --config-path", layout.Config)}
	}
	if _, err := c.read(); err != nil {
		return err // before a lock is asked for that only root gets
	}
	file := c.file()
	unlock, err := c.lock(ctx, changePatience)
	if err != nil {
		return err
	}
	defer unlock()
	data, err := file.Read()
	if err != nil {
		return err
	}
	before := config.Read(c.path, data)
	after, err := edit(before)
	if err != nil {
		return &installer.BadInput{Err: err}
	}
	if after == before {
		verb, key, _ := strings.Cut(how, " ")
		fmt.Fprintf(c.streams.Err, "Nothing to change: %s.\n", strings.ReplaceAll(cmp.Or(nothing[verb], nothing["set"]), "KEY", key))
		return c.after(ctx, how, before, after, key)
	}
	problems, err := c.judge(ctx, after)
	if err != nil {
		return err
	}
	ready := c.ready(ctx, after, problems)
	if c.reload && ready != nil {
		return fmt.Errorf("nothing was saved: %w", ready)
	}
	if err := file.Save(after.Data); err != nil {
		return err
	}
	fmt.Fprint(c.streams.Out, report.PaintFor(c.streams.Out).Diff(config.DiffOf(before, after, "before", "after")))
	if ready != nil {
		if strings.Contains(problems.Text(), ready.Error()) {
			fmt.Fprintln(c.streams.Err, "The change is saved. It can be applied once the missing parts are set.")
			return nil
		}
		fmt.Fprintf(c.streams.Err, "The change is saved, but cannot be applied: %v\nhint: %s\n", ready, host.HintOf(ready))
		return nil
	}
	return c.after(ctx, how, before, after, "")
}

// after puts a saved config into effect, or says how to. With a key, only a change of that key is worth a word.
func (c *configCommand) after(ctx context.Context, how string, before, saved *config.Document, key string) error {
	if c.path != layout.Config {
		return nil
	}
	if c.reload {
		return c.apply(ctx, how)
	}
	pending, _ := installer.Pending(c.file().Host.Files, saved.Config, before, saved)
	if key != "" && !slices.ContainsFunc(pending, func(c config.Change) bool { return concerns(c.Path, key) }) {
		return nil
	}
	state, err := installer.FindState(c.file().Host.Files)
	switch {
	case err != nil:
		return err
	case state.Command() != "":
		fmt.Fprintf(c.streams.Err, "To apply it: %s\n", state.Command())
	case slices.ContainsFunc(pending, func(c config.Change) bool { return c.NeedsInstall }):
		fmt.Fprintln(c.streams.Err, "To apply it: sudo tljh-install install")
	case len(pending) > 0:
		fmt.Fprintln(c.streams.Err, "To apply it: sudo tljh-install config reload")
	}
	return nil
}

// concerns reports whether two paths are the same, or one is within the other.
func concerns(a, b string) bool {
	return a == b || strings.HasPrefix(a, b+".") || strings.HasPrefix(b, a+".")
}

// ready returns why a config of the hub that is saved is not put into effect.
func (c *configCommand) ready(ctx context.Context, d *config.Document, problems config.Report) error {
	if c.path != layout.Config {
		return nil
	}
	file := c.file()
	return installer.Ready(ctx, file.Host, d.Config, problems, file.InEffect())
}

// judge tells what is wrong with a text, and returns an error when it can't be used.
func (c *configCommand) judge(ctx context.Context, d *config.Document) (config.Report, error) {
	cfg, report, err := c.file().CheckRead(ctx, d)
	if err != nil {
		return report, err
	}
	fmt.Fprint(c.streams.Err, report.Text())
	if cfg == nil {
		fmt.Fprintln(c.streams.Err, "error: the config is not valid; nothing was saved")
		return report, &errTold{exitBadInput}
	}
	return report, nil
}

func (c *configCommand) validate() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "validate [FILE]",
		Short:   "Check the config, or another file (- for standard input)",
		Example: "  sudo tljh-install config validate\n  tljh-install config validate draft.yaml",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return argsOf(1, "validate [FILE]")(cmd, args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return c.runValidate(cmd.Context(), args) },
	}
	cmd.Flags().BoolVar(&c.json, "json", false, "print JSON")
	return cmd
}

// configLimit is more than any config needs.
const configLimit = 16 << 20

func (c *configCommand) runValidate(ctx context.Context, args []string) error {
	var data []byte
	var err error
	name := c.path
	switch {
	case len(args) == 0:
		data, err = c.read()
	case args[0] == "-":
		name = "standard input"
		data, err = io.ReadAll(io.LimitReader(c.streams.In, configLimit))
	default:
		name = args[0]
		data, err = readLimited(name)
	}
	if err != nil {
		return err
	}
	file := c.file()
	file.Thorough = true
	cfg, report, err := file.Check(ctx, data)
	if err != nil {
		return err
	}
	report.File = name
	if c.json {
		err = json.NewEncoder(c.streams.Out).Encode(report)
	} else if text := report.Text(); text != "" {
		fmt.Fprint(c.streams.Out, text)
	} else {
		fmt.Fprintf(c.streams.Out, "%s is valid.\n", name)
	}
	if err == nil && cfg == nil {
		return &errTold{exitBadInput}
	}
	return err
}

func readLimited(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("cannot read the config: %w", err)
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, configLimit))
}

func (c *configCommand) explain() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "explain USER|KEY",
		Short:   "Show which settings apply to a user and which key sets them, or how a key is set",
		Example: "  sudo tljh-install config explain alice\n  sudo tljh-install config explain limits.memory",
		Args:    argsOf(1, "explain USER|KEY"),
		RunE: func(_ *cobra.Command, args []string) error {
			isKey := config.IsKey(args[0])
			if near := config.NearKey(args[0]); near != "" && !isKey {
				return &installer.BadInput{Err: host.Hint(fmt.Errorf("there is no key %s", args[0]), "did you mean %s?", near)}
			}
			if err := config.CheckUserName(args[0]); err != nil && !isKey {
				return &installer.BadInput{Err: err}
			}
			data, err := c.read()
			if err != nil {
				return err
			}
			d := config.Read(c.path, data)
			if d.Config == nil {
				fmt.Fprint(c.streams.Err, d.Report.Text())
				return &errTold{exitBadInput}
			}
			auto := config.Bytes(systemdunits.ServerMemory(host.Local(nil).Memory()))
			explanation := config.Explain(d.Config, args[0], auto)
			if isKey {
				explanation = config.ExplainKey(d, args[0], auto)
			}
			if c.json {
				return json.NewEncoder(c.streams.Out).Encode(explanation)
			}
			_, err = fmt.Fprint(c.streams.Out, explanation.Text())
			return err
		},
	}
	cmd.Flags().BoolVar(&c.json, "json", false, "print JSON")
	return cmd
}

func (c *configCommand) schema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the config, for editors",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := c.streams.Out.Write(config.JSONSchema())
			return err
		},
	}
}

// forHub is for the hub, which reads its config with it at every start.
func (c *configCommand) forHub() *cobra.Command {
	return &cobra.Command{
		Use: "for-hub", Short: "Read a config from standard input for the hub, as JSON", Hidden: true, Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			data, err := io.ReadAll(io.LimitReader(c.streams.In, configLimit))
			if err != nil {
				return fmt.Errorf("cannot read standard input: %w", err)
			}
			return json.NewEncoder(c.streams.Out).Encode(config.ReadForHub(data))
		},
	}
}

// who names the person behind this process for the history.
func who() string {
	if name := os.Getenv("SUDO_USER"); name != "" && os.Geteuid() == 0 {
		return name + " (sudo)"
	}
	if account, err := user.Current(); err == nil {
		return account.Username
	}
	return fmt.Sprintf("uid %d", os.Geteuid())
}

// table writes rows in columns.
func table(w io.Writer, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for n, cell := range row {
			widths[n] = max(widths[n], len([]rune(cell)))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for n, cell := range row {
			line.WriteString(cell + strings.Repeat(" ", widths[n]-len([]rune(cell))+2))
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

func (c *configCommand) history() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "history [NUMBER]",
		Short:   "List the versions of the config that were applied, or show what one of them changed",
		Example: "  sudo tljh-install config history\n  sudo tljh-install config history 7",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return argsOf(1, "history [NUMBER]")(cmd, args)
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error { return c.runHistory(args) },
	}
	cmd.Flags().BoolVar(&c.json, "json", false, "print JSON")
	return cmd
}

func (c *configCommand) runHistory(args []string) error {
	history := installer.History{Files: c.file().Host.Files, Now: time.Now}
	versions, err := history.Versions()
	if err != nil {
		return err
	}
	if len(args) == 1 {
		return c.showVersion(history, versions, args[0])
	}
	if c.json {
		return json.NewEncoder(c.streams.Out).Encode(versions)
	}
	if len(versions) == 0 {
		fmt.Fprintln(c.streams.Out, "No config has been applied yet.")
		return nil
	}
	rows := [][]string{{"VERSION", "TIME", "WHO", "HOW"}}
	for _, v := range slices.Backward(versions) {
		rows = append(rows, []string{fmt.Sprint(v.Number), v.Time.Local().Format(time.DateTime), v.Who, v.How})
	}
	table(c.streams.Out, rows)
	return nil
}

func versionOf(versions []installer.Version, text string) (int, error) {
	n := slices.IndexFunc(versions, func(v installer.Version) bool { return fmt.Sprint(v.Number) == text })
	if n < 0 {
		return 0, &installer.BadInput{Err: host.Hint(fmt.Errorf("there is no version %s of the config", text), "tljh-install config history lists them")}
	}
	return n, nil
}

func (c *configCommand) showVersion(history installer.History, versions []installer.Version, text string) error {
	n, err := versionOf(versions, text)
	if err != nil {
		return err
	}
	now, err := history.Text(versions[n])
	if err != nil {
		return err
	}
	var before []byte
	name := "nothing"
	if n > 0 {
		name = fmt.Sprintf("version %d", versions[n-1].Number)
		if before, err = history.Text(versions[n-1]); err != nil {
			return err
		}
	}
	diff := config.Diff(before, now, name, "version "+text)
	if c.json {
		return json.NewEncoder(c.streams.Out).Encode(struct {
			installer.Version
			Diff string `json:"diff"`
		}{versions[n], diff})
	}
	_, err = fmt.Fprint(c.streams.Out, report.PaintFor(c.streams.Out).Diff(diff))
	return err
}
