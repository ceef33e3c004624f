package environment

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"tljh/hub"
	"tljh/internal/host"
	"tljh/internal/layout"
)

// userCache is where uv unpacks what becomes the users'. It is of one build only.
const userCache = "uv-user"

// UV makes user environments that are virtual environments on the carried CPython.
type UV struct {
	Builder *Builder
}

// Name implements Manager.
func (u UV) Name() string { return "uv" }

// Create implements Manager.
func (u UV) Create(ctx context.Context, dir string) error {
	if err := u.Builder.userVenv(ctx, dir); err != nil {
		return err
	}
	lock, err := u.Builder.lockFile(dir, "user")
	if err != nil {
		return err
	}
	python := path.Join(dir, "bin", "python")
	if err := u.Builder.uvInstall(ctx, lock, userCache, python); err != nil {
		return err
	}
	// The pages of the hub are the hub environment's; a user's server has no use for what they are made of.
	if err := removeAll(u.Builder.Host.Files, path.Join(dir, components)); err != nil {
		return err
	}
	return u.Builder.compile(ctx, python, path.Join(dir, "lib"))
}

// Compose implements Manager.
func (u UV) Compose(ctx context.Context, dir string, source *Source, kernel bool) error {
	if kernel {
		if err := u.Builder.userVenv(ctx, dir); err != nil {
			return err
		}
		if err := u.pip(ctx, dir, "", []string{pinOf("ipykernel"), pinOf("pip")}, false); err != nil {
			return err
		}
	} else if err := u.Create(ctx, dir); err != nil {
		return err
	}
	if err := u.give(dir); err != nil {
		return err
	}
	return u.fromIndex(ctx, dir, source)
}

// give makes the environment that is being made the account's whose work the rest is: what a source asks for may run code while it is installed.
func (u UV) give(dir string) error {
	uid, gid, err := u.Builder.Host.Files.AccountIDs(layout.EnvironmentUser)
	if err != nil {
		return err
	}
	return u.Builder.Host.Files.HandOver(dir, uid, gid, host.ACL{gid: host.Writer, host.Others: host.Reader})
}

// fromIndex installs what a source has from the index: the pip section of its environment.yml, and its requirements.txt.
func (u UV) fromIndex(ctx context.Context, dir string, source *Source) error {
	if len(source.Pip) > 0 {
		if err := u.pip(ctx, dir, source.Dir, source.Pip, true); err != nil {
			return err
		}
	}
	if !source.Requirements {
		return nil
	}
	return u.pip(ctx, dir, source.Dir, []string{"--requirement " + fileRequirements}, true)
}

// pip installs requirements, which may name files below a folder. With hold, JupyterHub's version stays the hub's.
func (u UV) pip(ctx context.Context, dir, folder string, requirements []string, hold bool) error {
	more := []string{}
	if hold {
		constraint, err := u.constraint()
		if err != nil {
			return err
		}
		more = append(more, "--constraint", constraint)
	}
	return u.Builder.add(ctx, dir, folder, requirements, more...)
}

// constraint returns a file that holds JupyterHub's version: a server with another one would not start.
func (u UV) constraint() (string, error) {
	file := path.Join(layout.Cache, "constraints.txt")
	text := "# The hub and the single-user servers must have the same version.\njupyterhub==" + JupyterHubVersion() + "\n"
	if err := u.Builder.makeCache(); err != nil {
		return file, err
	}
	return file, u.Builder.Host.Files.Write(file, []byte(text), host.Attr{Mode: 0o644})
}

// Rebuild implements Manager.
func (u UV) Rebuild(ctx context.Context, dir string, snapshot Snapshot) error {
	if err := u.Builder.userVenv(ctx, dir); err != nil {
		return err
	}
	if err := u.give(dir); err != nil {
		return err
	}
	err := u.Builder.add(ctx, dir, "", Pins(snapshot.Pip), "--no-deps", "--only-binary=:all:")
	return host.Hint(err, "check that this machine reaches its Python package index, then run the same command again")
}

// Pins are packages and their versions as requirements, in order.
func Pins(packages map[string]string) []string {
	pins := []string{}
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		pins = append(pins, name+"=="+packages[name])
	}
	return pins
}

// add lets uv install requirements, which may name files below a folder, into an environment, as its owner: what admins put into it never runs as
// root. Its files are copies of what is downloaded, and nothing is kept beside them.
func (b *Builder) add(ctx context.Context, dir, folder string, requirements []string, more ...string) error {
	info, err := b.Host.Files.Lstat(dir)
	if err != nil {
		return err
	}
	env, args := b.forUV()
	owner := host.AttrOf(info)
	argv := []string{uvProgram(), "pip", "install", "--quiet", "--no-cache", "--link-mode=copy", "--compile-bytecode",
		"--python", path.Join(dir, "bin", "python"), "--requirement", "-"}
	return b.uv(ctx, dir, host.Command{
		Argv: slices.Concat(argv, args, more), Env: env, UID: uint32(owner.UID), GID: uint32(owner.GID),
		Dir: folder, Stdin: strings.NewReader(strings.Join(requirements, "\n") + "\n"), Confine: confine(owner, named(requirements), dir, folder),
	})
}

// Install implements Manager. The hub's JupyterHub version is held: a server with another one would not start.
func (u UV) Install(ctx context.Context, dir string, requirements []byte) error {
	err := u.pip(ctx, dir, "", []string{string(requirements)}, true)
	if err != nil && strings.Contains(err.Error(), "Python.h") {
		return host.Hint(err, "a package has no wheel for this Python and needs a C compiler with Python's headers, which this environment lacks: ask for a version that has a wheel")
	}
	return err
}

// Add implements Manager.
func (u UV) Add(ctx context.Context, dir string, packages []string) error {
	return u.Install(ctx, dir, []byte(strings.Join(packages, "\n")+"\n"))
}

// Reinstall implements Manager.
func (u UV) Reinstall(ctx context.Context, dir string, troubles []Trouble) error {
	wanted := []string{}
	for _, trouble := range troubles {
		if trouble.Package != "" {
			wanted = append(wanted, trouble.Package+"=="+trouble.Version)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	slices.Sort(wanted)
	return host.Hint(u.Builder.add(ctx, dir, "", slices.Compact(wanted), "--no-deps", "--reinstall"), "tljh-install env rollback goes back to a snapshot, without the network")
}

// Move implements Manager.
func (u UV) Move(dir, before string) error { return u.Builder.renamePrograms(dir, before) }

// BuildUser builds a generation of the user environment.
func (b *Builder) BuildUser(ctx context.Context, manager Manager) (Generation, error) {
	// What an interrupted build unpacked may be short.
	if err := b.Host.Files.RemoveTree(uvCache(userCache)); err != nil {
		return Generation{}, err
	}
	generation := Generation{Kind: User, Digest: digestOf([]byte(PythonRelease), platform(), []byte(manager.Name()), hub.Lock("user")), Manager: manager.Name()}
	return b.build(ctx, generation, manager.Create, b.testUser)
}

const nobody = host.Nobody

// testUser starts what a user's server starts, as an account that may do nothing: it proves that users can read all of it, too.
func (b *Builder) testUser(ctx context.Context, dir string) error {
	result, err := b.asNobody(ctx, []string{path.Join(dir, "bin/jupyterhub-singleuser"), "--version"}, dir)
	if err != nil {
		return fmt.Errorf("the new user environment does not work: %w", err)
	}
	if got := strings.TrimSpace(string(result.Stdout)); got != JupyterHubVersion() {
		return fmt.Errorf("the new user environment has JupyterHub %s instead of %s", got, JupyterHubVersion())
	}
	return nil
}

// programs are what the hub runs of a user environment.
var programs = []string{"bin/python", "bin/jupyterhub-singleuser"}

// UserThere reports whether there is a live user environment, healthy or not. It is the admins' work, and never replaced by a new one.
func UserThere(files host.Files) bool {
	_, ok := Current(files, User)
	return ok
}
