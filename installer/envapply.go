package installer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"tljh/environment"
	"tljh/internal/host"
	"tljh/internal/layout"
)

// ApplyOptions is what an environment is made for.
type ApplyOptions struct {
	Manager string // conda or uv; "" is that of this machine
	Kernel  string // the name of an extra kernel; "" is the user environment itself
	Group   string // the only ones who see the kernel; "" is everybody
}

// kernelName is what kernels and groups may be called: the names end up in paths.
var kernelName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,40}$`)

// Apply makes what a source describes the user environment, or an extra kernel, as a new generation: what cannot be done is told before anything runs,
// and what fails leaves everything as it was.
func (k *Keeper) Apply(ctx context.Context, from string, options ApplyOptions) (*environment.Source, error) {
	if err := options.check(k.Host.Files); err != nil {
		return nil, err
	}
	source, err := k.bring(ctx, from)
	if err != nil {
		return nil, k.tidy(err)
	}
	return source, k.tidy(k.apply(ctx, source, from, options))
}

func (o ApplyOptions) check(files host.Files) error {
	switch {
	case o.Kernel == "" && o.Group != "":
		return badInput(errors.New("--group is for a kernel: name it with --kernel"))
	case o.Kernel != "" && !kernelName.MatchString(o.Kernel):
		return badInput(fmt.Errorf("%q is no name for a kernel: small letters, digits, dots and dashes", o.Kernel))
	case o.Kernel == "python3":
		return badInput(errors.New("python3 is the name of the kernel of the user environment"))
	case o.Manager != "" && !slices.Contains(environment.Managers, o.Manager):
		return badInput(fmt.Errorf("--package-manager %s: give %s", o.Manager, strings.Join(environment.Managers, " or ")))
	}
	if o.Group != "" {
		if _, err := files.GroupID(o.Group); err != nil {
			return badInput(host.Hint(fmt.Errorf("there is no group %s on this machine", o.Group), "name one of users.extra_user_groups of the config, and reload it"))
		}
	}
	return nil
}

func (k *Keeper) apply(ctx context.Context, source *environment.Source, from string, options ApplyOptions) error {
	manager := cmp.Or(options.Manager, managerOf(k.Host.Files))
	if beyond := source.Beyond(manager); len(beyond) > 0 {
		return badInput(host.Hint(errors.New("this cannot be done here, and nothing was:\n  "+strings.Join(beyond, "\n  ")), "remove or change these files, then run the same command again"))
	}
	if err := k.distribution(ctx, source.Apt); err != nil {
		return err
	}
	if manager == "conda" {
		if err := k.miniforge(ctx); err != nil {
			return err
		}
	}
	if options.Kernel != "" {
		return k.kernel(ctx, source, manager, options)
	}
	return k.step("build the environment", func() error {
		if manager == "uv" {
			if err := k.wheels(ctx); err != nil {
				return err
			}
		}
		generation, err := k.Builder.Compose(ctx, environment.User, k.Builder.Manager(manager), source)
		if err != nil {
			return err
		}
		if err := rememberManager(k.Host.Files, manager); err != nil {
			return err
		}
		return k.use(ctx, generation, environment.Occasion{Title: environment.Presentable("env apply " + from), Who: "root"})
	})
}

// wheels brings what an environment of uv begins with.
func (k *Keeper) wheels(ctx context.Context) error {
	return k.Builder.Fetch(ctx, environment.UserWheels, func(int64) {})
}

func (k *Keeper) miniforge(ctx context.Context) error {
	if k.Builder.MiniforgeWorks() {
		return nil
	}
	return k.step("install Miniforge", func() error { return k.Builder.EnsureMiniforge(ctx) })
}

// distribution installs packages of the distribution: they are for the whole machine.
func (k *Keeper) distribution(ctx context.Context, packages []string) error {
	if len(packages) == 0 {
		return nil
	}
	return k.step("install the distribution's packages", func() error {
		env := append(k.Builder.DownloadEnv(), "DEBIAN_FRONTEND=noninteractive")
		argv := append([]string{"apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "--no-remove", "-o", "DPkg::Lock::Timeout=120", "--"}, packages...)
		_, err := k.Host.Runner.Run(ctx, host.Command{Argv: argv, Env: env})
		if err != nil && ctx.Err() == nil {
			// A fresh server has no lists of packages, or old ones.
			if _, err := k.Host.Runner.Run(ctx, host.Command{Argv: []string{"apt-get", "update", "--quiet"}, Env: env}); err != nil {
				return host.Hint(err, "apt.txt needs a distribution with apt; remove that file, or install its packages by hand")
			}
			_, err = k.Host.Runner.Run(ctx, host.Command{Argv: argv, Env: env})
		}
		return err
	})
}

// Folders of kernels' descriptions, which Jupyter looks through; a group's is the group's alone.
func kernelsOf(group string) string {
	if group == "" {
		return path.Join(layout.Kernels, "all")
	}
	return path.Join(layout.Kernels, "group-"+group)
}

func (k *Keeper) kernel(ctx context.Context, source *environment.Source, manager string, options ApplyOptions) error {
	return k.step("build the kernel "+options.Kernel, func() error {
		files := k.Host.Files
		for _, dir := range []string{layout.Kernels, path.Join(layout.Kernels, "env")} {
			if err := files.Mkdir(dir, rootDir); err != nil {
				return err
			}
		}
		generation, err := k.Builder.Compose(ctx, environment.KernelOf(options.Kernel), k.Builder.Manager(manager), source)
		if err != nil {
			return err
		}
		before, replaced := environment.Current(files, generation.Kind)
		attr := rootDir
		if options.Group != "" {
			gid, err := files.GroupID(options.Group)
			if err != nil {
				return err
			}
			attr = host.Attr{Mode: 0o750, GID: gid}
		}
		if err := files.Mkdir(generation.Path(), attr); err != nil {
			return err
		}
		if err := environment.Switch(files, generation); err != nil {
			return err
		}
		if err := k.RemoveDescription(options.Kernel); err != nil {
			return err
		}
		if err := describeKernel(files, options, attr); err != nil {
			return err
		}
		if replaced && !files.InUse(before.Path()) {
			return environment.RemoveGeneration(files, before.Path())
		}
		return nil
	})
}

func describeKernel(files host.Files, options ApplyOptions, attr host.Attr) error {
	dir := kernelsOf(options.Group)
	for _, each := range []string{dir, path.Join(dir, "kernels"), path.Join(dir, "kernels", options.Kernel)} {
		if err := files.Mkdir(each, attr); err != nil {
			return err
		}
	}
	env := environment.KernelOf(options.Kernel).Link()
	// In a notebook, !python and !pip mean the kernel's environment, as they do in one that was activated.
	variables := map[string]string{"PATH": env + "/bin:${PATH}"}
	if live, ok := environment.Current(files, environment.KernelOf(options.Kernel)); ok && live.Manager == (environment.Conda{}).Name() {
		variables["CONDA_PREFIX"] = env
	}
	data, err := json.MarshalIndent(map[string]any{
		"argv": []string{env + "/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"}, "display_name": options.Kernel, "language": "python",
		"env": variables,
	}, "", "  ")
	if err != nil {
		return err
	}
	attr.Mode &^= 0o111
	return files.Write(path.Join(dir, "kernels", options.Kernel, "kernel.json"), append(data, '\n'), attr)
}

// Kernel is an extra kernel.
type Kernel struct {
	Name  string `json:"name"`
	Group string `json:"group,omitempty"`
}

// Kernels lists the extra kernels.
func Kernels(files host.Files) ([]Kernel, error) {
	folders, err := files.List(layout.Kernels)
	found := []Kernel{}
	for _, folder := range folders {
		group, isGroup := strings.CutPrefix(folder, "group-")
		if !isGroup && folder != "all" {
			continue
		}
		if !isGroup {
			group = ""
		}
		names, listErr := files.List(path.Join(layout.Kernels, folder, "kernels"))
		err = errors.Join(err, listErr)
		for _, name := range names {
			found = append(found, Kernel{name, group})
		}
	}
	return found, err
}

// RemoveKernel takes an extra kernel away. Those that run go on until they are stopped, as far as they have loaded what they need.
func (k *Keeper) RemoveKernel(name string) error {
	all, err := Kernels(k.Host.Files)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all, func(kernel Kernel) bool { return kernel.Name == name }) {
		return badInput(host.Hint(fmt.Errorf("there is no kernel %s", name), "tljh-install env kernels lists them"))
	}
	return k.step("remove the kernel "+name, func() error {
		if err := k.RemoveDescription(name); err != nil {
			return err
		}
		kind := environment.KernelOf(name)
		if err := k.Host.Files.Remove(kind.Link()); err != nil {
			return err
		}
		complete, half, err := environment.Generations(k.Host.Files, kind)
		for _, generation := range complete {
			half = append(half, generation.Path())
		}
		for _, dir := range half {
			err = errors.Join(err, environment.RemoveGeneration(k.Host.Files, dir))
		}
		return err
	})
}

// RemoveDescription takes a kernel out of what Jupyter lists, for whomever it was.
func (k *Keeper) RemoveDescription(name string) error {
	all, err := Kernels(k.Host.Files)
	for _, kernel := range all {
		if kernel.Name == name {
			err = errors.Join(err, k.Host.Files.RemoveTree(path.Join(kernelsOf(kernel.Group), "kernels", name)))
		}
	}
	return err
}
