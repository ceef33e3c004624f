package environment

import (
	"context"
	"fmt"
	"path"
	"strings"

	"tljh/internal/host"
)

// startProgram is a source's start, below an environment: servers are started through it.
const startProgram = "etc/tljh/start"

// Compose builds a generation of what a source describes: of the user environment, or of an extra kernel. Nothing of it runs as root.
func (b *Builder) Compose(ctx context.Context, kind Kind, manager Manager, source *Source) (Generation, error) {
	kernel := kind != User
	generation := Generation{Kind: kind, Digest: digestOf([]byte(strings.Join(source.Names(), " "))), Manager: manager.Name()}
	test := b.testUser
	if kernel {
		test = b.testKernel
	}
	return b.build(ctx, generation, func(ctx context.Context, dir string) error {
		if err := b.endLeftovers(ctx); err != nil {
			return err
		}
		if err := manager.Compose(ctx, dir, source, kernel); err != nil {
			return err
		}
		if source.PostBuild {
			if err := b.postBuild(ctx, dir, source); err != nil {
				return err
			}
		}
		if source.Start && !kernel {
			return b.keepStart(dir, source)
		}
		return nil
	}, test)
}

// postBuild runs a source's program in the new environment, in the source's folder.
func (b *Builder) postBuild(ctx context.Context, dir string, source *Source) error {
	info, err := b.Host.Files.Lstat(dir)
	if err != nil {
		return err
	}
	owner := host.AttrOf(info)
	program := path.Join(source.Dir, filePostBuild)
	env := []string{
		"PATH=" + path.Join(dir, "bin") + ":" + host.Path, "HOME=" + path.Dir(source.Dir), "CONDA_PREFIX=" + dir, "VIRTUAL_ENV=" + dir,
		"NB_PYTHON_PREFIX=" + dir, "REPO_DIR=" + source.Dir,
	}
	for _, pair := range b.env() {
		if !strings.HasPrefix(pair, "PATH=") && !strings.HasPrefix(pair, "HOME=") {
			env = append(env, pair)
		}
	}
	argv := []string{program}
	if info, err := b.Host.Files.Lstat(program); err == nil && info.Mode().Perm()&0o100 == 0 {
		argv = []string{"bash", program}
	}
	if _, err := b.Host.Runner.Run(ctx, host.Command{Argv: argv, Env: env, Dir: source.Dir, UID: uint32(owner.UID), GID: uint32(owner.GID), Confine: confine(owner, nil, dir, path.Dir(source.Dir))}); err != nil {
		return fmt.Errorf("postBuild failed: %w", err)
	}
	return nil
}

// keepStart keeps a source's start in the environment, which is another account's by now.
func (b *Builder) keepStart(dir string, source *Source) error {
	env, err := b.Host.Files.Within(dir)
	if err != nil {
		return err
	}
	defer env.Close()
	for _, folder := range []string{"etc", path.Dir(startProgram)} {
		if err := env.Mkdir(folder, 0o755); err != nil {
			return fmt.Errorf("cannot keep %s in the new environment: %w", fileStart, err)
		}
	}
	return env.Write(startProgram, source.start, host.Attr{Mode: 0o755})
}

// testKernel proves that an environment can be a kernel.
func (b *Builder) testKernel(ctx context.Context, dir string) error {
	if _, err := b.asNobody(ctx, []string{path.Join(dir, "bin/python"), "-I", "-c", "import ipykernel.kernelapp"}, dir); err != nil {
		return fmt.Errorf("the new kernel does not work: %w", err)
	}
	return nil
}
