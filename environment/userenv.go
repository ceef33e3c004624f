package environment

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path"
	"strings"

	"tljh/hub"
	"tljh/internal/host"
)

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
	if err := u.Builder.uvInstall(ctx, lock, "uv", python); err != nil {
		return err
	}
	// The pages of the hub are the hub environment's; a user's server has no use for what they are made of.
	if err := removeAll(u.Builder.Host.Files, path.Join(dir, components)); err != nil {
		return err
	}
	return u.Builder.compile(ctx, python, path.Join(dir, "lib"))
}

// Install implements Manager. The hub's JupyterHub version is held: a server with another one would not start.
func (u UV) Install(ctx context.Context, dir, requirements string) error {
	files := u.Builder.Host.Files
	constraint := path.Join(dir, "constraints.txt")
	text := "# The hub and the users' servers must have the same version.\njupyterhub==" + JupyterHubVersion() + "\n"
	if err := files.Write(constraint, []byte(text), host.Attr{Mode: 0o644}); err != nil {
		return err
	}
	command := host.Command{Env: u.Builder.env(), Argv: []string{uvProgram(), "pip", "install", "--quiet", "--link-mode=copy", "--compile-bytecode",
		"--python", path.Join(dir, "bin", "python"), "--constraint", constraint, "--requirement", requirements}}
	if info, err := files.Lstat(dir); err != nil {
		return err
	} else if owner := host.AttrOf(info); owner.UID != 0 {
		// It belongs to its account: what admins put into it never runs as root. The file may lie where only root can read it.
		data, err := os.ReadFile(requirements)
		if err != nil {
			return err
		}
		command.UID, command.GID, command.Stdin = uint32(owner.UID), uint32(owner.GID), bytes.NewReader(data)
		command.Argv[len(command.Argv)-1] = "-"
		command.Argv = append(command.Argv, "--no-cache")
	}
	_, err := u.Builder.Host.Runner.Run(ctx, command)
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
	generation := Generation{Kind: User, Digest: digestOf([]byte(PythonRelease), platform(), []byte(manager.Name()), hub.Lock("user")), Manager: manager.Name()}
	return b.build(ctx, generation, manager.Create, b.testUser)
}

const nobody = 65534

// testUser starts what a user's server starts, as an account that may do nothing: it proves that users can read all of it, too.
func (b *Builder) testUser(ctx context.Context, dir string) error {
	result, err := b.Host.Runner.Run(ctx, host.Command{
		Argv: []string{path.Join(dir, "bin/jupyterhub-singleuser"), "--version"},
		Env:  []string{"PATH=" + path.Join(dir, "bin") + ":" + host.Path, "HOME=/nonexistent", "LANG=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1"},
		UID:  nobody, GID: nobody,
	})
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
