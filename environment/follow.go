package environment

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"tljh/hub"
	"tljh/internal/host"
	"tljh/internal/layout"
)

// ReadyHub returns the newest hub environment that this program would build with the packages of a config and that is there already, whole, be it live or not.
func ReadyHub(files host.Files, packages []string) (Generation, bool) {
	return ready(files, Hub, HubDigest(packages), func(g Generation) bool { return Damaged(files, g) == "" })
}

func ready(files host.Files, kind Kind, digest string, good func(Generation) bool) (Generation, bool) {
	all, _, err := Generations(files, kind)
	if err != nil {
		return Generation{}, false
	}
	for _, generation := range slices.Backward(all) {
		if generation.Digest == digest && good(generation) {
			return generation, true
		}
	}
	return Generation{}, false
}

// Find returns a generation by its number, if it is there as a whole.
func Find(files host.Files, kind Kind, number int) (Generation, bool) {
	all, _, err := Generations(files, kind)
	for _, generation := range all {
		if err == nil && generation.Number == number {
			return generation, true
		}
	}
	return Generation{}, false
}

// PackagesDigest tells one content of the live user environment from another.
func PackagesDigest(files host.Files) (string, error) {
	live, ok := Current(files, User)
	if !ok {
		return "", errNoUserEnvironment
	}
	packages, _, err := Packages(files, live.Path())
	if err != nil {
		return "", err
	}
	lines := []string{live.Path()}
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		lines = append(lines, name+" "+packages[name])
	}
	return digestOf([]byte(strings.Join(lines, "\n"))), nil
}

// FollowedUser returns the user environment with this program's JupyterHub: the live one, or one that FollowUser has made of it.
func FollowedUser(files host.Files) (Generation, bool) {
	live, ok := Current(files, User)
	if !ok {
		return Generation{}, false
	}
	packages, _, err := Packages(files, live.Path())
	if err == nil && packages["jupyterhub"] == JupyterHubVersion() {
		return live, true
	}
	digest, err := followDigest(files)
	if err != nil {
		return Generation{}, false
	}
	return ready(files, User, digest, func(Generation) bool { return true })
}

func followDigest(files host.Files) (string, error) {
	packages, err := PackagesDigest(files)
	return digestOf([]byte("follow"), []byte(packages), []byte(JupyterHubVersion())), err
}

// FollowUser makes a generation of the live user environment that has this program's JupyterHub, which the hub's must match. Every other package stays as
// it is, but for those that this JupyterHub can't do with. own hands the folder over; what is installed from then on runs as its owner. The wheels of
// this program's locks are there.
func (b *Builder) FollowUser(ctx context.Context, own func(dir string) error) (Generation, error) {
	files := b.Host.Files
	live, ok := Current(files, User)
	if !ok {
		return Generation{}, errNoUserEnvironment
	}
	digest, err := followDigest(files)
	if err != nil {
		return Generation{}, err
	}
	shared, err := b.shareWheels()
	if err != nil {
		return Generation{}, err
	}
	fill := func(ctx context.Context, dir string) error {
		if err := b.copyOf(live.Path(), live.Path(), live.Manager, dir); err != nil {
			return err
		}
		if err := own(dir); err != nil {
			return err
		}
		if err := b.installFrom(ctx, shared, dir, "jupyterhub=="+JupyterHubVersion()); err != nil || live.Manager != "conda" {
			return err
		}
		return Conda{b}.hold(dir)
	}
	generation, err := b.build(ctx, Generation{Kind: User, Digest: digest, Manager: live.Manager}, fill, b.testUser)
	if err == nil {
		err = own(generation.Path()) // what describes it, too
	}
	return generation, errors.Join(err, files.RemoveTree(shared))
}

// shareWheels puts the fetched wheels where the owner of the user environment can read them.
func (b *downloads) shareWheels() (string, error) {
	files, dir := b.Host.Files, path.Join(layout.Tools, "wheels")
	if err := files.RemoveTree(dir); err != nil {
		return "", err
	}
	if err := files.Mkdir(dir, host.Attr{Mode: 0o755}); err != nil {
		return "", err
	}
	for _, wanted := range append(parseLock(hub.Lock("user")), parseLock(hub.Lock("hub"))...) {
		file, ok := b.wheelHere(wanted)
		if !ok {
			continue // for another architecture
		}
		err := os.Link(files.Path(file), files.Path(path.Join(dir, path.Base(file))))
		if err != nil && !errors.Is(err, os.ErrExist) {
			return "", err
		}
	}
	return dir, files.Write(path.Join(dir, overridesName), hub.Overrides(), host.Attr{Mode: 0o644})
}

const overridesName = "overrides.txt"

// installFrom installs a package and what it needs from a folder of wheels, as the owner of the environment.
func (b *Builder) installFrom(ctx context.Context, wheels, dir, what string) error {
	info, err := b.Host.Files.Lstat(dir)
	if err != nil {
		return err
	}
	owner := host.AttrOf(info)
	python := path.Join(dir, "bin", "python")
	argv := []string{uvProgram(), "pip", "install", "--quiet", "--no-config", "--offline", "--no-index", "--find-links", wheels, "--no-cache",
		"--overrides", path.Join(wheels, overridesName), "--link-mode=copy", "--python", python, what}
	err = b.uv(ctx, dir, host.Command{Argv: argv, Env: b.env(), UID: uint32(owner.UID), GID: uint32(owner.GID), Confine: confine(owner, nil, dir)})
	if err == nil {
		err = b.compileAs(ctx, owner, python, path.Join(dir, siteLink))
	}
	if err != nil {
		err = fmt.Errorf("cannot give the user environment %s: %w", what, err)
	}
	return host.Hint(err, "a package in the user environment may ask for another version: tljh-install env check tells; pip install can change it")
}
