package environment

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"tljh/hub"
	"tljh/internal/host"
)

// The rescue environment is what users' servers start from while the user environment is broken: JupyterLab, a terminal and a Python
// kernel, so that people reach their files. It is a part of the hub's generation and holds only what the hub's packages lack; the hub's own it
// shares. So it has the hub's version of JupyterHub, and what is done to the user environment can't reach it.

// RescueWheels are what the rescue environment is built from. All of them are of UserWheels, too, which bring them where both are fetched.
const RescueWheels Bundle = "rescue"

// dispensable are packages of the users' lock that a rescue can do without: tools for a course, a second user interface, the debugger,
// completion with types, and pip, as nothing is ever installed there.
var dispensable = []string{
	"debugpy", "ipywidgets", "jedi", "jupyter-resource-usage", "jupyterlab-widgets", "nbgitpuller", "notebook", "parso", "pip", "widgetsnbextension",
}

// unused is what the rescue's packages bring and no server uses: JupyterLab's second copy of its pages, tools to test extensions, and the
// customs of all countries; kept are those of it that are needed.
var (
	unused = []string{"jupyterlab/static/", "jupyterlab/galata/", "babel/locale-data/"}
	kept   = []string{"babel/locale-data/en", "babel/locale-data/root"}
)

// rescueLock returns the part of the users' lock that the rescue environment is made of.
func rescueLock() []byte {
	shared := map[string]bool{}
	for _, each := range parseLock(hub.Lock("hub")) {
		shared[each.name] = true
	}
	var lock strings.Builder
	keep := false
	for line := range strings.Lines(string(hub.Lock("user"))) {
		if name, _, ok := strings.Cut(line, "=="); ok {
			keep = !shared[name] && !slices.Contains(dispensable, name)
		}
		if keep {
			lock.WriteString(line)
		}
	}
	return []byte(lock.String())
}

func rescuePath(dir string) string { return path.Join(dir, "rescue") }

// fillRescue brings the wheels itself: a hub environment is also built where nobody needs those of the users.
func (b *hubs) fillRescue(ctx context.Context, generation string) error {
	dir := rescuePath(generation)
	if !RescueWheels.Fetched(b.Host.Files) {
		if err := b.Fetch(ctx, RescueWheels, func(int64) {}); err != nil {
			return err
		}
	}
	if err := b.venv(ctx, dir); err != nil {
		return err
	}
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(runtime.GOMAXPROCS(0))
	for _, wanted := range parseLock(rescueLock()) {
		all.Go(func() error { return b.unpackForRescue(ctx, wanted, dir) })
	}
	if err := all.Wait(); err != nil {
		return err
	}
	// Python reads this file: each line is a folder to look for packages in, after the environment's own.
	shared := path.Join(sitePackages(dir), "hub.pth")
	return b.Host.Files.Write(shared, []byte(sitePackages(generation)+"\n"), host.Attr{Mode: 0o644})
}

// unpackForRescue puts a wheel's files where they belong. Nothing is ever installed beside them, so there is no more to it; programs for the
// shell are left out, as servers and kernels start by the names of modules.
func (b *hubs) unpackForRescue(ctx context.Context, wanted pin, dir string) error {
	file, ok := b.wheelHere(wanted)
	if !ok {
		err := fmt.Errorf("the wheel of %s is not there", wanted.name)
		return host.Hint(errors.Join(err, forgetWheels(b.Host.Files)), "run the same command again")
	}
	wheel, err := zip.OpenReader(b.Host.Files.Path(file))
	if err != nil {
		return fmt.Errorf("cannot open %s: %w", file, err)
	}
	defer wheel.Close()
	return b.unpackAll(ctx, file, wheel.File, func(name string) (string, fs.FileMode) {
		if to := placeInRescue(name); to != "" {
			return path.Join(dir, to), 0o644
		}
		return "", 0
	})
}

// placeInRescue tells where a file of a wheel belongs, below the environment's folder; "" is nowhere.
func placeInRescue(name string) string {
	site := sitePackages("")
	if top, rest, _ := strings.Cut(name, "/"); strings.HasSuffix(top, ".data") {
		kind, rest, _ := strings.Cut(rest, "/")
		switch kind {
		case "data":
			return rest
		case "purelib", "platlib":
			return path.Join(site, rest)
		}
		return ""
	}
	begins := func(with string) bool { return strings.HasPrefix(name, with) }
	if strings.Contains(name, "/tests/") || slices.ContainsFunc(unused, begins) && !slices.ContainsFunc(kept, begins) {
		return ""
	}
	return path.Join(site, name)
}

// testRescue imports what a user's server and kernel do. It is root's, so the byte code of all that stays; users could write none.
func (b *hubs) testRescue(ctx context.Context, generation string) error {
	script := "import ipykernel.kernelapp, jupyterlab.labapp, terminado, jupyterhub.singleuser; print(jupyterhub.__version__)"
	result, err := b.run(ctx, path.Join(rescuePath(generation), "bin/python"), "-I", "-c", script)
	if err != nil {
		return fmt.Errorf("the new rescue environment does not work: %w", err)
	}
	if got := strings.TrimSpace(string(result.Stdout)); got != JupyterHubVersion() {
		return fmt.Errorf("the new rescue environment has JupyterHub %s instead of %s", got, JupyterHubVersion())
	}
	return nil
}
