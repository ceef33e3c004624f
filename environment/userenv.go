package environment

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"strings"

	"tljh/hub"
	"tljh/internal/host"
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
	if err := u.Builder.venv(ctx, dir); err != nil {
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

// Install implements Manager. The hub's JupyterHub version is held: a server with another one would not start.
func (u UV) Install(ctx context.Context, dir string, requirements []byte) error {
	files := u.Builder.Host.Files
	info, err := files.Lstat(dir)
	if err != nil {
		return err
	}
	owner := host.AttrOf(info)
	constraint := path.Join(dir, "constraints.txt")
	text := "# The hub and the users' servers must have the same version.\njupyterhub==" + JupyterHubVersion() + "\n"
	if err := files.Write(constraint, []byte(text), host.Attr{Mode: 0o644, UID: owner.UID, GID: owner.GID}); err != nil {
		return err
	}
	env, args := u.Builder.forUV()
	command := host.Command{
		Env: env, Stdin: bytes.NewReader(requirements),
		Argv: append([]string{uvProgram(), "pip", "install", "--quiet", "--link-mode=copy", "--compile-bytecode",
			"--python", path.Join(dir, "bin", "python"), "--constraint", constraint, "--requirement", "-"}, args...),
	}
	if owner.UID != 0 {
		// It belongs to its account: what admins put into it never runs as root.
		command.UID, command.GID = uint32(owner.UID), uint32(owner.GID)
		command.Argv = append(command.Argv, "--no-cache")
	}
	_, err = u.Builder.Host.Runner.Run(ctx, command)
	if closeErr := u.Builder.closeUp(dir); err == nil {
		err = closeErr
	}
	if err != nil && strings.Contains(err.Error(), "Python.h") {
		return host.Hint(err, "a package has no wheel for this Python and needs a C compiler with Python's headers, which this environment lacks: ask for a version that has a wheel")
	}
	return err
}

// BuildUser builds a generation of the user environment.
func (b *Builder) BuildUser(ctx context.Context, manager Manager) (Generation, error) {
	// What an interrupted build unpacked may be short.
	if err := b.Host.Files.RemoveTree(uvCache(userCache)); err != nil {
		return Generation{}, err
	}
	generation := Generation{Kind: User, Digest: digestOf([]byte(PythonRelease), platform(), []byte(manager.Name()), hub.Lock("user")), Manager: manager.Name()}
	return b.build(ctx, generation, manager.Create, b.testUser)
}

const nobody = 65534

// testUser starts what a user's server starts, as an account that may do nothing: it proves that users can read all of it, too.
func (b *Builder) testUser(ctx context.Context, dir string) error {
	result, err := b.asNobody(ctx, []string{path.Join(dir, "bin/jupyterhub-singleuser"), "--version"}, dir)
	if err != nil {
		return fmt.Errorf("the new user environment does not work: %w", err)
	}
	if got := strings.TrimSpace(string(result.Stdout)); got != JupyterHubVersion() {
		return fmt.Errorf("the new user environment holds JupyterHub %s instead of %s", got, JupyterHubVersion())
	}
	return nil
}

// UserWorks tells, at a glance, whether the live user environment can start servers. It belongs to the instructor: what else
// changed in it is no damage.
func UserWorks(files host.Files) bool {
	if _, ok := Current(files, User); !ok {
		return false
	}
	for _, needed := range []string{"bin/python", "bin/jupyterhub-singleuser"} {
		if !files.Exists(path.Join(User.Link(), needed)) {
			return false
		}
	}
	return true
}
