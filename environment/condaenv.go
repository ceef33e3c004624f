package environment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"tljh/conda"
	"tljh/hub"
	"tljh/internal/host"
	"tljh/internal/layout"
)

// Conda makes user environments that are conda's, with packages of a channel. What the channel lacks comes from the Python package index.
type Conda struct {
	Builder *Builder
}

// byConda are the packages that a user environment begins with, as far as the channel has them. JupyterHub itself is always the hub's version, which
// a channel may not have yet: it comes from the index, like what else the channel lacks.
var byConda = []string{"python=" + pythonMinor, "pip", "jupyterlab", "notebook", "ipykernel", "ipywidgets", "nbgitpuller", "jupyter-resource-usage"}

// Name implements Manager.
func (c Conda) Name() string { return "conda" }

// Create implements Manager.
func (c Conda) Create(ctx context.Context, dir string) error {
	if err := c.prepare(dir); err != nil {
		return err
	}
	lacking, err := c.create(ctx, c.Builder.Conda, dir, byConda)
	if err != nil {
		return err
	}
	return c.complete(ctx, dir, lacking)
}

// Compose implements Manager. What is in the source comes in one go with what servers need, so that the solver sees all of it.
func (c Conda) Compose(ctx context.Context, dir string, source *Source, kernel bool) error {
	if err := c.prepare(dir); err != nil {
		return err
	}
	if len(source.Locked) > 0 {
		return c.locked(ctx, dir, source, kernel)
	}
	specs := slices.Clone(byConda)
	if kernel {
		specs = []string{byConda[0], "pip", "ipykernel"}
	}
	if source.Python != "" {
		specs[0] = "python=" + source.Python
	}
	for _, spec := range source.Conda {
		specs = slices.DeleteFunc(specs, func(ours string) bool { return conda.Name(ours) == conda.Name(spec) })
	}
	settings := c.Builder.Conda
	settings.Channels = source.Channels
	ours := specs
	lacking, err := c.create(ctx, settings, dir, slices.Concat(specs, source.Conda))
	if err != nil {
		return err
	}
	for _, spec := range lacking {
		if !slices.Contains(ours, spec) {
			return host.Hint(fmt.Errorf("no channel has %s, which environment.yml asks for", spec), "correct its name or version, or move it to the section pip")
		}
	}
	if !kernel {
		if err := c.complete(ctx, dir, lacking); err != nil {
			return err
		}
	}
	return UV(c).fromIndex(ctx, dir, source)
}

// prepare makes the empty folder of an environment. It belongs to the account that all of conda's work is done as.
func (c Conda) prepare(dir string) error {
	owner, err := c.owner()
	if err != nil {
		return err
	}
	return c.Builder.Host.Files.Mkdir(dir, owner)
}

func (c Conda) owner() (host.Attr, error) {
	uid, gid, err := c.Builder.Host.Files.AccountIDs(layout.EnvironmentUser)
	return host.Attr{Mode: 0o755, UID: uid, GID: gid}, err
}

// attempt lets conda do something with specs. Where the channel lacks some of them, they are told and the others are left to be tried again.
func (c Conda) attempt(ctx context.Context, verb func(prefix string, specs []string) []string, dir string, specs []string) (left, lacking []string, err error) {
	output, err := c.run(ctx, dir, verb(dir, specs))
	if err == nil || ctx.Err() != nil {
		return nil, nil, err
	}
	lacking = conda.Lacking(output, specs)
	if len(lacking) == 0 {
		return nil, nil, c.explain(err, dir, output)
	}
	return slices.DeleteFunc(slices.Clone(specs), func(spec string) bool { return slices.Contains(lacking, spec) }), lacking, err
}

// create makes an environment of specs, in the folder that is prepared for it, without those that the channel lacks, which it returns.
func (c Conda) create(ctx context.Context, settings conda.Settings, dir string, specs []string) (lacking []string, err error) {
	for {
		left, missing, err := c.attempt(ctx, settings.Create, dir, specs)
		lacking = append(lacking, missing...)
		switch {
		case len(missing) == 0:
			return lacking, err
		case len(left) == 0 || slices.Contains(missing, byConda[0]):
			return lacking, host.Hint(err, "the channel %s has none of this: check sources.channel of %s", c.Builder.Conda.ChannelName(), layout.Config)
		}
		// What a refused attempt left is no environment.
		if err := errors.Join(c.Builder.Host.Files.RemoveTree(dir), c.prepare(dir)); err != nil {
			return lacking, err
		}
		specs = left
	}
}

// unsolvable are words of conda's when packages do not fit together. Which ones depends on its solver.
var unsolvable = regexp.MustCompile(`Unsatisfiable|ould not solve|SpecsConfigurationConflictError|Pins seem to be involved`)

// explain says what to do about a failure of conda's in an environment.
func (c Conda) explain(err error, dir, output string) error {
	switch {
	case err == nil:
	case conda.Unreachable(output):
		return host.Hint(err, "check that this machine reaches its conda channel (network, proxy, certificates, sources.channel), then run the same command again")
	case unsolvable.MatchString(output):
		return host.Hint(err, "these packages do not fit together: ask for other versions, or for fewer%s", c.pinsInTheWay(dir))
	}
	return err
}

// pinsInTheWay names the pins of an environment, which count beside what is asked for; "" where there are none.
func (c Conda) pinsInTheWay(dir string) string {
	env, err := c.Builder.Host.Files.Within(dir)
	if err != nil {
		return ""
	}
	defer env.Close()
	text, err := env.Read(conda.Pinned, pinsLimit)
	if err != nil {
		return ""
	}
	admins, any := []string{}, false
	for line := range strings.Lines(string(text)) {
		spec, _, _ := strings.Cut(line, "#")
		if spec = strings.TrimSpace(spec); spec == "" {
			continue
		}
		if any = true; !ours.MatchString(spec) && conda.Name(spec) != "jupyterhub" {
			admins = append(admins, spec)
		}
	}
	if !any {
		return ""
	}
	words := ""
	if len(admins) > 0 {
		words = strings.Join(admins, ", ") + " (an admin's, who may change them); "
	}
	return ". The pins in " + path.Join(dir, conda.Pinned) + " count as well: " + words + "this program keeps JupyterHub and Python as they are"
}

// run runs conda as the account of the user environment; it may change the environment in dir.
func (c Conda) run(ctx context.Context, dir string, argv []string) (output string, err error) {
	owner, err := c.owner()
	if err != nil {
		return "", err
	}
	if err := c.Builder.makeCache(); err != nil {
		return "", err
	}
	for _, dir := range []string{condaHome(), condaCache()} {
		if err := c.Builder.Host.Files.Mkdir(dir, host.Attr{Mode: 0o700, UID: owner.UID, GID: owner.GID}); err != nil {
			return "", err
		}
	}
	result, err := c.Builder.Host.Runner.Run(ctx, host.Command{
		Argv: argv, Env: c.Builder.condaEnv(), UID: uint32(owner.UID), GID: uint32(owner.GID), Confine: c.confine(owner, dir),
	})
	return string(result.Output), err
}

// complete adds what comes from the index, and keeps conda from changing what the hub depends on.
func (c Conda) complete(ctx context.Context, dir string, lacking []string) error {
	wanted := []string{}
	for _, name := range append([]string{"jupyterhub"}, lacking...) {
		wanted = append(wanted, pinOf(conda.Name(name)))
	}
	if err := c.pip(ctx, dir, wanted); err != nil {
		return err
	}
	return c.hold(dir)
}

// hold keeps conda from giving the environment another JupyterHub than the hub's.
func (c Conda) hold(dir string) error {
	owner, err := c.owner()
	if err != nil {
		return err
	}
	text := "# Made by tljh-install. The hub and the single-user servers must have the same version of JupyterHub,\n" +
		"# and with another Python all that pip installed would be gone, JupyterHub included.\njupyterhub ==" + JupyterHubVersion() + "\n"
	pin, err := c.pythonPin(dir)
	if err != nil {
		return err
	}
	text += pin
	if text, err = c.withPins(dir, text); err != nil {
		return err
	}
	env, err := c.Builder.Host.Files.Within(dir)
	if err != nil {
		return err
	}
	defer env.Close()
	if err := env.Mkdir(conda.Meta, 0o755); err != nil {
		return err
	}
	return env.Write(conda.Pinned, []byte(text), host.Attr{Mode: 0o644, UID: owner.UID, GID: owner.GID})
}

// pythonPin keeps conda from giving the environment another Python.
func (c Conda) pythonPin(dir string) (string, error) {
	env, err := c.Builder.Host.Files.Within(dir)
	if err != nil {
		return "", err
	}
	defer env.Close()
	minor, ok := strings.CutPrefix(path.Base(path.Dir(siteWithin(env))), "python")
	if !ok {
		return "", nil
	}
	return "python " + minor + ".*\n", nil
}

// ours are lines of the file that are written anew: another release may have written others.
var ours = regexp.MustCompile(`^(# Made by tljh-install\.|# and with another Python |python 3\.\d+\.\*$)`)

// withPins adds what admins have pinned themselves.
func (c Conda) withPins(dir, text string) (string, error) {
	env, err := c.Builder.Host.Files.Within(dir)
	if err != nil {
		return "", err
	}
	defer env.Close()
	pins, err := env.Read(conda.Pinned, pinsLimit)
	if err != nil {
		return text, nil // there are none
	}
	for line := range strings.Lines(string(pins)) {
		if spec := strings.TrimSpace(line); spec != "" && !strings.Contains(text, spec) && !ours.MatchString(spec) && conda.Name(spec) != "jupyterhub" {
			text += spec + "\n"
		}
	}
	return text, nil
}

const pinsLimit = 1 << 20

// pinOf returns a package with the version that this program's lock pins it at.
func pinOf(name string) string {
	if version := pinned(hub.Lock("user"), name); version != "" {
		return name + "==" + version
	}
	return name
}

// pip installs packages from the index. What they need and conda did not bring gets the versions of this program's lock.
func (c Conda) pip(ctx context.Context, dir string, wanted []string) error {
	packages, _, err := Packages(c.Builder.Host.Files, dir)
	if err != nil {
		return err
	}
	constraints := []string{}
	for _, each := range parseLock(hub.Lock("user")) {
		if _, there := packages[each.name]; !there {
			constraints = append(constraints, each.name+"=="+each.version)
		}
	}
	file := path.Join(layout.Cache, "constraints-conda.txt")
	if err := c.Builder.Host.Files.Write(file, []byte(strings.Join(constraints, "\n")+"\n"), host.Attr{Mode: 0o644}); err != nil {
		return err
	}
	return host.Hint(c.Builder.add(ctx, dir, "", wanted, "--constraint", file), "check that this machine reaches its Python package index, then run the same command again")
}

// Install implements Manager: requirements are pip's.
func (c Conda) Install(ctx context.Context, dir string, requirements []byte) error {
	return UV(c).Install(ctx, dir, requirements)
}

// Add implements Manager: from the channel, or else from the index.
func (c Conda) Add(ctx context.Context, dir string, packages []string) error {
	forConda, forPip := []string{}, []string{}
	for _, name := range packages {
		if strings.ContainsAny(name, "@;[ ") { // a requirement in a form that only pip knows
			forPip = append(forPip, name)
			continue
		}
		forConda = append(forConda, name)
	}
	lacking, err := c.add(ctx, dir, forConda)
	if err != nil {
		return err
	}
	if forPip = append(forPip, lacking...); len(forPip) == 0 {
		return nil
	}
	return c.Install(ctx, dir, []byte(strings.Join(forPip, "\n")+"\n"))
}

func (c Conda) add(ctx context.Context, dir string, specs []string) (lacking []string, err error) {
	for len(specs) > 0 {
		left, missing, err := c.attempt(ctx, c.Builder.Conda.Install, dir, specs)
		if lacking = append(lacking, missing...); len(missing) == 0 {
			return lacking, err
		}
		specs = left
	}
	return lacking, nil
}

// Rebuild implements Manager: the packages of a snapshot, each from where it came from.
func (c Conda) Rebuild(ctx context.Context, dir string, snapshot Snapshot) error {
	if len(snapshot.Explicit) == 0 {
		return errors.New("the snapshot does not tell where its packages came from")
	}
	if err := c.prepare(dir); err != nil {
		return err
	}
	if err := c.explicit(ctx, "create", dir, snapshot.Explicit); err != nil {
		emptied := func() error { return errors.Join(c.Builder.Host.Files.RemoveTree(dir), c.prepare(dir)) }
		if err := c.fromSources(ctx, c.Builder.Conda.Create, dir, snapshot.Explicit, err, emptied); err != nil {
			return err
		}
	}
	if len(snapshot.Pip) > 0 {
		if err := c.Builder.add(ctx, dir, "", Pins(snapshot.Pip), "--no-deps", "--reinstall"); err != nil {
			return err
		}
	}
	return c.complete(ctx, dir, nil)
}

func (c Conda) explicit(ctx context.Context, verb, dir string, lines []string) error {
	list := path.Join(layout.Cache, "explicit.txt")
	if err := c.Builder.makeCache(); err != nil {
		return err
	}
	if err := c.Builder.Host.Files.Write(list, conda.List(lines), host.Attr{Mode: 0o644}); err != nil {
		return err
	}
	output, err := c.run(ctx, dir, conda.Explicit(verb, dir, list))
	return c.explain(err, dir, output)
}

// fromSources installs just the packages of an explicit list from the channel of the config, after their own addresses failed: a mirror may have moved, or a
// record may name a place that this machine does not reach. prepare undoes what the failure left.
func (c Conda) fromSources(
	ctx context.Context, verb func(prefix string, specs []string) []string, dir string, lines []string, failed error, prepare func() error,
) error {
	specs := conda.Specs(lines)
	if ctx.Err() != nil || len(specs) != len(lines) || c.Builder.Conda.Has(lines) {
		return failed
	}
	if err := prepare(); err != nil {
		return errors.Join(failed, err)
	}
	output, err := c.run(ctx, dir, verb(dir, append([]string{"--no-deps"}, specs...)))
	if err != nil {
		return errors.Join(failed, c.explain(err, dir, output))
	}
	return nil
}

// Reinstall implements Manager: conda's packages by conda, the others from the index.
func (c Conda) Reinstall(ctx context.Context, dir string, troubles []Trouble) error {
	lines, names, others := []string{}, []string{}, []Trouble{}
	for _, trouble := range troubles {
		if trouble.Explicit == "" {
			others = append(others, trouble)
			continue
		}
		lines, names = append(lines, trouble.Explicit), append(names, trouble.Package)
	}
	if len(lines) > 0 {
		if err := c.again(ctx, dir, names, lines); err != nil {
			return err
		}
	}
	return UV(c).Reinstall(ctx, dir, others)
}

// again installs packages again from where they came, without a solver. conda passes over what it has a record of: the records are set aside
// meanwhile, where env check finds them after an interruption.
func (c Conda) again(ctx context.Context, dir string, names, lines []string) error {
	env, err := c.Builder.Host.Files.Within(dir)
	if err != nil {
		return err
	}
	defer env.Close()
	entries, err := conda.Entries(env)
	if err != nil {
		return err
	}
	asides := []string{}
	for _, entry := range entries {
		if !slices.Contains(names, entry.Name) {
			continue
		}
		aside := strings.TrimSuffix(entry.File, conda.Aside) + conda.Aside
		if err := env.Rename(entry.File, aside); err != nil {
			return err
		}
		asides = append(asides, aside)
	}
	if err = c.explicit(ctx, "install", dir, lines); err != nil {
		err = c.fromSources(ctx, c.Builder.Conda.Install, dir, lines, err, func() error { return nil })
	}
	for _, aside := range asides {
		record := strings.TrimSuffix(aside, conda.Aside)
		if _, missing := env.Lstat(record); missing != nil {
			err = errors.Join(err, env.Rename(aside, record))
			continue
		}
		err = errors.Join(err, env.Remove(aside))
	}
	return err
}

// Move implements Manager: conda writes the prefix into files of its packages, as text or padded with zeros in programs. They are written anew, as
// their contents are those of the snapshot, too.
func (c Conda) Move(dir, before string) error {
	env, err := c.Builder.Host.Files.Within(dir)
	if err != nil {
		return err
	}
	defer env.Close()
	entries, err := conda.Entries(env)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := c.moveEntry(env, entry, dir, before); err != nil {
			return fmt.Errorf("%s: %w", entry.Name, err)
		}
	}
	return c.Builder.renamePrograms(dir, before)
}

func (c Conda) moveEntry(env *host.Within, entry conda.Entry, dir, before string) error {
	data, err := env.Read(entry.File, recordLimit)
	if err != nil {
		return err
	}
	record, err := conda.ParseRecord(data)
	if err != nil {
		return err
	}
	sums := map[string]string{}
	for _, file := range record.Paths.Paths {
		if file.Placeholder == "" {
			continue
		}
		sum, err := c.moveFile(env, dir, file, before)
		if err != nil {
			return err
		}
		if sum != "" {
			sums[file.InPrefix] = sum
		}
	}
	moved := data
	for old, sum := range sums {
		if old != "" {
			moved = bytes.ReplaceAll(moved, []byte(old), []byte(sum))
		}
	}
	moved = bytes.ReplaceAll(moved, []byte(before+"/"), []byte(dir+"/"))
	if bytes.Equal(moved, data) {
		return nil
	}
	// When a record was written tells whether conda has ended (Settled), and whether it or pip came last.
	info, err := env.Lstat(entry.File)
	if err != nil {
		return err
	}
	if err := c.Builder.rewrite(env, dir, entry.File, moved); err != nil {
		return err
	}
	return os.Chtimes(c.Builder.Host.Files.Path(path.Join(dir, entry.File)), info.ModTime(), info.ModTime())
}

// moveFile returns the sha256 of the file as it is then; "" when it was not changed.
func (c Conda) moveFile(env *host.Within, dir string, file conda.Path, before string) (string, error) {
	data, err := env.Read(file.Path, fileLimit)
	if err != nil {
		return "", nil // missing or replaced: what is broken stays so, and check tells
	}
	var moved []byte
	if file.Mode == "binary" {
		moved, err = conda.ReplacePadded(data, before, dir)
	} else {
		moved = conda.Replace(data, before, dir)
	}
	if err != nil || bytes.Equal(moved, data) {
		return "", err
	}
	return host.SHA256(moved), c.Builder.rewrite(env, dir, file.Path, moved)
}

const fileLimit = 1 << 30
