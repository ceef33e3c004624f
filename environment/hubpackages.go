package environment

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"tljh/hub"
	"tljh/internal/host"
	"tljh/internal/layout"
)

// requirements are the packages of a config in an order of their own: the same packages make the same hub environment.
func requirements(packages []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(packages)))
}

// HoldsPackages reports whether the live hub environment was built with just the packages of a config.
func HoldsPackages(files host.Files, packages []string) bool {
	live, _ := Current(files, Hub)
	return slices.Equal(live.Packages, requirements(packages))
}

// HubPlugins returns the plugins of the older TLJH that the live hub environment holds, as NAME-VERSION.
func HubPlugins(files host.Files) ([]string, error) {
	live, ok := Current(files, Hub)
	if !ok {
		return nil, nil
	}
	return PluginsIn(files, sitePackages(live.Path()))
}

// PluginsIn returns the packages in a folder that say that they are plugins of the older TLJH, as NAME-VERSION. Nothing of them is run.
func PluginsIn(files host.Files, site string) ([]string, error) {
	names, err := files.List(site)
	if err != nil {
		return nil, err
	}
	found := []string{}
	for _, name := range names {
		plugin, ok := strings.CutSuffix(name, ".dist-info")
		if !ok {
			continue
		}
		data, _, err := files.ReadFile(path.Join(site, name, "entry_points.txt"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if slices.Contains(strings.Fields(string(data)), "[tljh]") {
			found = append(found, plugin)
		}
	}
	return found, nil
}

// hubLock returns what the hub's lock pins, without hashes.
func hubLock() []string {
	pins := []string{}
	for _, each := range parseLock(hub.Lock("hub")) {
		pins = append(pins, each.name+"=="+each.version)
	}
	return pins
}

// addition is what the program that makes packages for a hub environment reads.
type addition struct {
	UV           string   `json:"uv"`
	Python       string   `json:"python"`
	Options      []string `json:"options"`
	Requirements []string `json:"requirements"`
	Pinned       []string `json:"pinned"`
	Overrides    string   `json:"overrides"`
}

// addToHub adds packages to a hub environment that is being made. What they bring may run code while it is built: that is done by an account that exists only
// for it and can write nowhere, and root takes no more from there than files, none of which takes another's place. What the lock pins stays as it is.
func (b *hubs) addToHub(ctx context.Context, dir string, added []string) error {
	if len(added) == 0 {
		return nil
	}
	built, err := b.buildForHub(ctx, dir, added)
	if err != nil {
		return err
	}
	defer built.Close()
	modules, err := unpackForHub(b.Host.Files, dir, built)
	if err != nil {
		return addingFailed(err)
	}
	return b.compile(ctx, path.Join(dir, "bin", "python"), modules...)
}

// buildForHub returns the files of packages as an archive, at its start.
func (b *hubs) buildForHub(ctx context.Context, dir string, added []string) (*os.File, error) {
	env, options := b.forUV()
	options = append([]string{}, options...) // none is a list, too
	python := path.Join(dir, "bin", "python")
	question, err := json.Marshal(addition{
		UV: uvProgram(), Python: python, Options: options, Requirements: added, Pinned: hubLock(), Overrides: string(hub.Overrides()),
	})
	if err != nil {
		return nil, err
	}
	archive := b.Host.Files.Path(path.Join(layout.Cache, "hub-packages.tar"))
	if err := b.makeCache(); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(archive, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = b.Host.Runner.Run(ctx, host.Command{
		Argv: []string{python, "-I", path.Join(sitePackages(dir), "tljh", "hub_packages.py")}, Env: env, UID: nobody, GID: nobody,
		Stdin: bytes.NewReader(question), Stdout: struct{ io.Writer }{file}, Confine: &host.Confine{Throwaway: true, Readable: named(added)},
	})
	var exit *host.ExitError
	if errors.As(err, &exit) && exit.Tail != "" {
		err = saidError{exit}
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err == nil {
		return file, nil
	}
	_ = file.Close()
	if ctx.Err() != nil {
		return nil, err
	}
	return nil, addingFailed(err)
}

// saidError is the error of a program that says itself what is wrong.
type saidError struct{ exit *host.ExitError }

func (e saidError) Error() string { return strings.TrimSpace(e.exit.Tail) }
func (e saidError) Unwrap() error { return e.exit }

// addingFailed says what an admin can do. The environment that is live was not touched.
func addingFailed(err error) error {
	return host.Hint(fmt.Errorf("cannot add hub.packages to the hub environment, which stays as it is: %w", err),
		"correct the list (sudo tljh-install config get hub.packages; config add, config remove): what the hub itself needs keeps its version. "+
			"If packages could not be fetched, check that this machine reaches its Python package index. Then run the same command again")
}

// placesInHub are where packages have files, below the environment.
func placesInHub() []string {
	return []string{sitePackages("") + "/", "bin/", "share/", "etc/", "include/"}
}

// hubFileLimit is more than the largest file of a package that a hub has a use for.
const hubFileLimit = 512 << 20

// unpackForHub writes the files of an archive into a hub environment, and returns its folders of modules. Nothing that is there is replaced.
func unpackForHub(files host.Files, dir string, archive io.Reader) ([]string, error) {
	env, err := files.Within(dir)
	if err != nil {
		return nil, err
	}
	defer env.Close()
	modules := []string{}
	from := tar.NewReader(archive)
	for {
		header, err := from.Next()
		if errors.Is(err, io.EOF) {
			return slices.Compact(slices.Sorted(slices.Values(modules))), nil
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read what was built: %w", err)
		}
		if err := unpackFile(env, header, from); err != nil {
			return nil, err
		}
		if inside, ok := strings.CutPrefix(header.Name, sitePackages("")+"/"); ok {
			if top, _, deep := strings.Cut(inside, "/"); deep {
				modules = append(modules, path.Join(sitePackages(dir), top))
			}
		}
	}
}

func unpackFile(env *host.Within, header *tar.Header, content io.Reader) error {
	name := header.Name
	fits := func(place string) bool { return strings.HasPrefix(name, place) }
	if header.Typeflag != tar.TypeReg || !filepath.IsLocal(name) || path.Clean(name) != name || !slices.ContainsFunc(placesInHub(), fits) {
		return fmt.Errorf("a package brings %q, which has no place in an environment", name)
	}
	if _, err := env.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("a package brings a file of the hub's own: %s", name), err)
	}
	for n, letter := range name {
		if letter == '/' {
			if err := env.Mkdir(name[:n], 0o755); err != nil {
				return err
			}
		}
	}
	data, err := io.ReadAll(io.LimitReader(content, hubFileLimit+1))
	if err != nil {
		return fmt.Errorf("cannot read what was built: %w", err)
	}
	if len(data) > hubFileLimit {
		return fmt.Errorf("a package brings a file that is too large: %s", name)
	}
	mode := fs.FileMode(0o644)
	if header.Mode&0o100 != 0 {
		mode = 0o755
	}
	return env.Write(name, data, host.Attr{Mode: mode})
}
