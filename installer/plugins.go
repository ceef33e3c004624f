package installer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"tljh/config"
	"tljh/environment"
	"tljh/internal/host"
	"tljh/internal/layout"
)

// pluginWork does what plugins of the older TLJH ask for once their package is in the hub environment: packages of the distribution and of the user
// environment, settings, and what they do themselves. Each version of a plugin is served once. What fails is told; the hub is up without it.
type pluginWork struct {
	*Keeper
	served map[string]bool // by NAME-VERSION
	failed []error
}

// pluginAnswer is what tljh.plugins says.
type pluginAnswer struct {
	Apt      []string          `json:"apt"`
	Conda    []string          `json:"conda"`
	Channels []string          `json:"channels"`
	Pip      []string          `json:"pip"`
	Config   map[string]any    `json:"config"`
	Broken   map[string]string `json:"broken"`
}

// servePlugins returns what could not be done. Without a plugin that is new it does nothing.
func (i *Installer) servePlugins(ctx context.Context) ([]error, error) {
	w := &pluginWork{Keeper: NewKeeper(i.Host, i.Report, i.Builder, i.Now)}
	fresh, err := w.fresh()
	if err != nil || len(fresh) == 0 {
		return nil, err
	}
	i.Report.Note("plugins of the legacy hub that are new here: %s", strings.Join(fresh, ", "))
	if err := w.serve(ctx); err != nil {
		return nil, err
	}
	if len(w.failed) > 0 {
		return w.failed, nil // the next installation tries all of it again
	}
	for _, each := range fresh {
		w.served[each] = true
	}
	data, err := json.Marshal(map[string]any{"served": slices.Sorted(maps.Keys(w.served))})
	if err != nil {
		return nil, err
	}
	return nil, i.Host.Files.Write(layout.Plugins, append(data, '\n'), readable)
}

// noPlugins returns those of the packages that --plugin named which are none: they have no entry point of the group tljh, so no hook of theirs is called.
func (i *Installer) noPlugins(asked []string) ([]string, error) {
	there, err := environment.HubPlugins(i.Host.Files)
	if err != nil {
		return nil, err
	}
	plain := []string{}
	for _, spec := range asked {
		name := canonical(packageName.FindString(spec))
		is := func(plugin string) bool { return strings.HasPrefix(canonical(plugin), name+"-") }
		if !slices.ContainsFunc(there, is) && !slices.Contains(plain, name) {
			plain = append(plain, name)
		}
	}
	return plain, nil
}

var (
	packageName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*`)
	separators  = regexp.MustCompile(`[-_.]+`)
)

// canonical is the name of a package in the form in which all its spellings are the same.
func canonical(name string) string { return strings.ToLower(separators.ReplaceAllString(name, "-")) }

// fresh returns the plugins that were not served yet. It reads what root alone has written.
func (w *pluginWork) fresh() ([]string, error) {
	w.served = map[string]bool{}
	var told struct {
		Served []string `json:"served"`
	}
	data, err := w.Host.Files.Read(layout.Plugins)
	if err == nil {
		err = json.Unmarshal(data, &told)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot read %s: %w", layout.Plugins, err)
	}
	for _, each := range told.Served {
		w.served[each] = true
	}
	there, err := environment.HubPlugins(w.Host.Files)
	return slices.DeleteFunc(there, func(name string) bool { return w.served[name] }), err
}

// serve asks the plugins, as an account that may do nothing, and does what they want in the order of the older TLJH.
func (w *pluginWork) serve(ctx context.Context) error {
	var answer pluginAnswer
	if err := w.ask(ctx, "ask", nil, &answer); err != nil {
		return w.goOn(ctx, err)
	}
	w.tell(answer.Broken)
	for _, do := range []func() error{
		func() error { return w.distribution(ctx, answer.Apt) },
		func() error { return w.packages(ctx, answer) },
		func() error { return w.settings(ctx) },
		func() error { return w.finish(ctx) },
	} {
		if err := w.goOn(ctx, do()); err != nil {
			return err
		}
	}
	return nil
}

// goOn notes an error and returns it only where nothing more is to be done.
func (w *pluginWork) goOn(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return err
	}
	w.failed = append(w.failed, fmt.Errorf("plugins: %w", err))
	return nil
}

func (w *pluginWork) tell(broken map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(broken)) {
		w.failed = append(w.failed, fmt.Errorf("plugin %s: %s", name, broken[name]))
	}
}

// ask runs a verb of tljh.plugins. Its answer may hold secrets of the config: it is not logged.
func (w *pluginWork) ask(ctx context.Context, verb string, given []byte, answer *pluginAnswer) error {
	var said bytes.Buffer
	cmd := w.command(verb)
	cmd.Stdin, cmd.Stdout, cmd.Quiet = bytes.NewReader(given), &said, true
	cmd.UID, cmd.GID, cmd.Confine = host.Nobody, host.Nobody, &host.Confine{Throwaway: true, Offline: true}
	if _, err := w.Host.Runner.Run(ctx, cmd); err != nil {
		return err
	}
	return json.Unmarshal(said.Bytes(), answer)
}

func (w *pluginWork) command(verb string) host.Command {
	return host.Command{
		Argv: []string{path.Join(layout.Hub, "bin/python"), "-I", "-m", "tljh.plugins", verb},
		Env:  []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/"},
	}
}

// packages adds what plugins want to the user environment, in the usual way.
func (w *pluginWork) packages(ctx context.Context, answer pluginAnswer) error {
	wanted := slices.DeleteFunc(slices.Clone(answer.Pip), isOption)
	if options := slices.DeleteFunc(slices.Clone(answer.Pip), func(text string) bool { return !isOption(text) }); len(options) > 0 {
		w.failed = append(w.failed, fmt.Errorf("plugins: packages come from sources.index of the config alone, so these options of pip are not used: %s", strings.Join(options, " ")))
	}
	if managerOf(w.Host.Files) == (environment.Conda{}).Name() {
		wanted = append(slices.Clone(answer.Conda), wanted...)
	} else if len(answer.Conda) > 0 {
		w.failed = append(w.failed, fmt.Errorf("plugins: the user environment is made without conda, which these are packages of: %s; if the Python package index has "+
			"them, too: sudo tljh-install env install NAME", strings.Join(answer.Conda, " ")))
	}
	if others := slices.DeleteFunc(answer.Channels, func(name string) bool { return name == "conda-forge" }); len(others) > 0 {
		w.failed = append(w.failed, fmt.Errorf("plugins: packages come from sources.channel of the config alone, not from %s", strings.Join(others, ", ")))
	}
	if len(wanted) == 0 {
		return nil
	}
	return w.Install(ctx, wanted)
}

func isOption(text string) bool { return strings.HasPrefix(text, "-") }

// settings lets plugins change the config. What they changed is written key by key, so that comments stay, and put into effect.
func (w *pluginWork) settings(ctx context.Context) error {
	text, err := w.Host.Files.Read(layout.Config)
	if err != nil {
		return err
	}
	before := map[string]any{}
	if err := yaml.Unmarshal(text, &before); err != nil {
		return err
	}
	given, err := json.Marshal(before)
	if err != nil {
		return err
	}
	var answer pluginAnswer
	if err := w.ask(ctx, "config", given, &answer); err != nil {
		return err
	}
	w.tell(answer.Broken)
	changed, err := withSettings(text, before, answer.Config)
	if err != nil || bytes.Equal(changed, text) {
		return err
	}
	return w.step("put settings of plugins into effect", func() error { return w.apply(ctx, changed) })
}

func (w *pluginWork) apply(ctx context.Context, text []byte) error {
	file := ConfigFile{Host: w.Host, Path: layout.Config, Now: w.Now}
	cfg, problems, err := file.Check(ctx, text)
	if err != nil {
		return err
	}
	if cfg == nil {
		return fmt.Errorf("the config that they want is not valid, and is not used:\n%s", strings.TrimRight(problems.Text(), "\n"))
	}
	if err := file.Save(text); err != nil {
		return err
	}
	applier := &Applier{Host: w.Host, Report: w.Report, Builder: w.Builder, Now: w.Now, Who: "a plugin", How: "tljh_config_post_install"}
	_, err = applier.Apply(ctx, text, cfg)
	return err
}

// withSettings sets each key that differs. Keys that are gone are taken out.
func withSettings(text []byte, before, after map[string]any) ([]byte, error) {
	was, now := map[string]string{}, map[string]string{}
	if err := errors.Join(leaves("", before, was), leaves("", after, now)); err != nil {
		return nil, err
	}
	var err error
	for _, key := range slices.Sorted(maps.Keys(now)) {
		if was[key] == now[key] {
			continue
		}
		if text, err = config.Set(text, key, now[key]); err != nil {
			return nil, fmt.Errorf("cannot set %s: %w", key, err)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(was)) {
		if _, kept := now[key]; kept {
			continue
		}
		if text, err = config.Unset(text, key); err != nil {
			return nil, fmt.Errorf("cannot take %s out: %w", key, err)
		}
	}
	return text, nil
}

// leaves writes a tree as dotted keys with their values as config set takes them: a text as it is, all else in JSON, which is YAML.
func leaves(prefix string, tree map[string]any, to map[string]string) error {
	for key, value := range tree {
		if inner, ok := value.(map[string]any); ok && len(inner) > 0 {
			if err := leaves(prefix+key+".", inner, to); err != nil {
				return err
			}
			continue
		}
		if text, ok := value.(string); ok {
			to[prefix+key] = text
			continue
		}
		data, err := json.Marshal(value)
		if err != nil {
			return err
		}
		to[prefix+key] = string(data)
	}
	return nil
}

// finish runs tljh_post_install, which is there to do what root does.
func (w *pluginWork) finish(ctx context.Context) error {
	var said bytes.Buffer
	cmd := w.command("finish")
	cmd.Env = append(cmd.Env, w.Builder.DownloadEnv()...)
	cmd.Stdout = &said
	return w.step("let plugins finish (tljh_post_install)", func() error {
		if _, err := w.Host.Runner.Run(ctx, cmd); err != nil {
			return err
		}
		var answer pluginAnswer
		if err := json.Unmarshal(said.Bytes(), &answer); err != nil {
			return err
		}
		w.tell(answer.Broken)
		return nil
	})
}
