// Command devenv makes the Python environments that the project's own tests and linters run in, from hash-pinned locks and
// on the CPython that the installer carries, so that neither depends on the developer's machine. It prints the environment's
// folder. Nothing here is part of what is installed on a hub.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/kluctl/go-embed-python/pip"
	"github.com/kluctl/go-embed-python/python"
)

//go:embed lint.txt
var lintLock []byte

const usage = "usage: devenv [-cache DIR] tests|lint|hub|user|node|mirror\n\n" +
	"tests            the hub's packages and pytest (hub/locks/hub.txt, hub/locks/test.txt)\n" +
	"lint             ruff (internal/dist/devenv/lint.txt)\n" +
	"hub, user, node  what the lock of that name holds (node: and uv)\n" +
	"mirror           what makes the conda mirror of the integration tests (integration-tests/mirror/locks/tools.txt)\n"

func main() {
	cache := flag.String("cache", ".cache", "folder that the environments are kept in")
	flag.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := run(ctx, *cache, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	fmt.Println(dir)
}

func run(ctx context.Context, cache string, args []string) (string, error) {
	if len(args) != 1 {
		return "", errors.New("say which environment: tests, lint, hub, user, node or mirror")
	}
	cache, err := filepath.Abs(cache)
	if err != nil {
		return "", err
	}
	uvLock, err := os.ReadFile("hub/locks/uv.txt")
	if err != nil {
		return "", err
	}
	locks, err := locksOf(args[0])
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(filepath.Join(cache, "devenv.lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	w := &workshop{ctx: ctx, cache: cache}
	return w.environment(args[0], uvLock, locks)
}

func locksOf(name string) ([][]byte, error) {
	if name == "lint" {
		return [][]byte{lintLock}, nil
	}
	const hub = "hub/locks/"
	files, ok := map[string][]string{
		"tests": {hub + "hub.txt", hub + "test.txt"}, "hub": {hub + "hub.txt"}, "user": {hub + "user.txt"}, "node": {hub + "node.txt", hub + "uv.txt"},
		"mirror": {"integration-tests/mirror/locks/tools.txt"},
	}[name]
	if !ok {
		return nil, fmt.Errorf("there is no environment %q: say tests, lint, hub, user, node or mirror", name)
	}
	var locks [][]byte
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		locks = append(locks, data)
	}
	return locks, nil
}

// lock keeps two runs from building the same environment at once.
func lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	return func() { _ = file.Close() }, nil
}

// A workshop builds folders below its cache, each under a name that holds the digest of what it is made from.
type workshop struct {
	ctx   context.Context
	cache string
}

// made returns the folder kind-DIGEST and fills it if it is not there. A folder that has its name is whole.
func (w *workshop) made(kind string, from [][]byte, fill func(dir string) error) (string, error) {
	sum := sha256.Sum256(bytes.Join(from, []byte{0}))
	dir := filepath.Join(w.cache, fmt.Sprintf("%s-%x", kind, sum[:6]))
	whole := dir + ".whole" // beside it: a virtual environment cannot be renamed
	if _, err := os.Stat(whole); err == nil {
		return dir, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := fill(dir); err != nil {
		return "", fmt.Errorf("cannot make %s: %w", dir, err)
	}
	return dir, os.WriteFile(whole, nil, 0o644)
}

func (w *workshop) environment(name string, uvLock []byte, locks [][]byte) (string, error) {
	base, err := w.made("python", [][]byte{carriedVersion()}, func(dir string) error {
		_, err := python.NewEmbeddedPythonWithTmpDir(dir, false)
		return err
	})
	if err != nil {
		return "", err
	}
	interpreter := filepath.Join(base, "bin", "python3")
	uv, err := w.made("uv", [][]byte{uvLock}, func(dir string) error { return w.installUV(interpreter, uvLock, dir) })
	if err != nil {
		return "", err
	}
	return w.made(name, append(locks, uvLock), func(dir string) error {
		program := filepath.Join(uv, "bin", "uv")
		if err := w.command(nil, program, "venv", "--quiet", "--no-project", "--no-config", "--python", interpreter, dir); err != nil {
			return err
		}
		argv := []string{program, "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:", "--python", filepath.Join(dir, "bin", "python")}
		for i, lock := range locks {
			path := filepath.Join(dir, fmt.Sprintf("lock-%d.txt", i))
			if err := os.WriteFile(path, lock, 0o644); err != nil {
				return err
			}
			argv = append(argv, "--requirement", path)
		}
		return w.command(nil, argv...)
	})
}

// carriedVersion tells one carried CPython from the next.
func carriedVersion() []byte {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	for _, module := range info.Deps {
		if strings.HasSuffix(module.Path, "/go-embed-python") {
			return []byte(module.Version)
		}
	}
	return nil
}

// installUV has the carried pip fetch uv: a bare machine has neither.
func (w *workshop) installUV(interpreter string, uvLock []byte, dir string) error {
	lib, err := pip.NewPipLib(rand.Text())
	if err != nil {
		return err
	}
	defer func() {
		_ = lib.Cleanup()
		_ = os.Remove(lib.GetExtractedPath() + ".lock")
	}()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	path := filepath.Join(dir, "uv.txt")
	if err := os.WriteFile(path, uvLock, 0o644); err != nil {
		return err
	}
	env := []string{"PYTHONPATH=" + lib.GetExtractedPath()}
	return w.command(env, interpreter, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:",
		"--disable-pip-version-check", "--root-user-action=ignore", "--target="+dir, "--requirement="+path)
}

// command leaves the standard output to the folder's name.
func (w *workshop) command(env []string, argv ...string) error {
	cmd := exec.CommandContext(w.ctx, argv[0], argv[1:]...)
	cmd.Env = append(cleanEnviron(), env...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s failed: %w", strings.Join(argv, " "), err)
	}
	return nil
}

// cleanEnviron leaves out what would lead to another Python or environment.
func cleanEnviron() []string {
	var env []string
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, "PYTHON") || name == "VIRTUAL_ENV" || name == "CONDA_PREFIX" {
			continue
		}
		env = append(env, pair)
	}
	return append(env, "UV_PYTHON_DOWNLOADS=never", "UV_SYSTEM_CERTS=1", "UV_NATIVE_TLS=1", "PYTHONNOUSERSITE=1")
}
