package environment

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tljh/conda"
	"tljh/hub"
	"tljh/internal/fetch"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/version"
)

// Setup is what a builder is given: the machine, and settings of the person who runs it.
type Setup struct {
	Host    *host.Host
	Environ []string // of this process: a person's settings for sources, proxies and certificates are passed on
	Now     func() time.Time
	Client  *fetch.Client
	Conda   conda.Settings
}

// carried unpacks the Python that this program carries.
type carried struct {
	*Setup

	unpacking sync.Mutex
}

// downloads fetches the wheels that this program's locks ask for, and unpacks them.
type downloads struct {
	*carried

	wheels sync.Map     // by name, a mutex that is held while the wheel is fetched
	pips   sync.RWMutex // held for writing while pip fetches the rescue's wheels, which are the users', too
	base   base
}

// tools are the carried Python and uv, with which generations are built and closed.
type tools struct{ *downloads }

// hubs builds hub environments, each with its proxy and its rescue environment.
type hubs struct{ *tools }

// miniforges fetches conda's base, and keeps the environments that were made with it.
type miniforges struct{ *tools }

// examiner tells what is wrong with an environment.
type examiner struct{ *miniforges }

// Builder builds generations on a machine: those of the hub, and those of users from what they asked for, from snapshots or from a legacy hub.
type Builder struct {
	*tools
	*hubs
	*miniforges
	*examiner
}

// New returns a builder. What it is given can be changed until it is first used.
func New(setup Setup) *Builder {
	t := &tools{&downloads{carried: &carried{Setup: &setup}}}
	m := &miniforges{t}
	return &Builder{tools: t, hubs: &hubs{t}, miniforges: m, examiner: &examiner{m}}
}

// Manager makes user environments, and changes those it made: uv or conda.
type Manager interface {
	// Name is what the option --package-manager calls it.
	Name() string
	// Create makes an environment in the folder dir, which is not there yet, with the packages every server needs.
	Create(ctx context.Context, dir string) error
	// Compose makes one there with what a source asks for; all that every server needs, or only what a kernel needs.
	Compose(ctx context.Context, dir string, source *Source, kernel bool) error
	// Rebuild makes one there with just the packages of a snapshot.
	Rebuild(ctx context.Context, dir string, snapshot Snapshot) error
	// Install adds what a text in the form of requirements.txt asks for to the environment in dir.
	Install(ctx context.Context, dir string, requirements []byte) error
	// Add adds packages by their names, perhaps with versions.
	Add(ctx context.Context, dir string, packages []string) error
	// Reinstall puts back the packages that are broken.
	Reinstall(ctx context.Context, dir string, troubles []Trouble) error
	// Move makes an environment whose files came from the folder before work in dir.
	Move(dir, before string) error
}

// Managers are what --package-manager takes, beside auto.
var Managers = []string{"conda", "uv"}

// Manager returns the manager of a name; uv where there is none of that name.
func (b *Builder) Manager(name string) Manager {
	if name == "conda" {
		return Conda{b}
	}
	return UV{b}
}

// DownloadEnv is the environment of commands that fetch something.
func (b *Setup) DownloadEnv() []string { return b.Host.DownloadEnv(b.Environ) }

func (b *Setup) env() []string {
	return append(b.Host.DownloadEnv(b.Environ),
		"UV_CACHE_DIR="+uvCache("uv"), "UV_PYTHON_DOWNLOADS=never", "UV_NO_PROGRESS=1",
		"PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_NO_CACHE_DIR=1", "PIP_NO_INPUT=1", "PIP_ROOT_USER_ACTION=ignore", "PYTHONNOUSERSITE=1",
		"NODE_DISABLE_COMPILE_CACHE=1") // npm would leave it in /tmp
}

// uvCache is a folder that uv unpacks wheels in. Those of an environment's files that are links share their contents with it, so each kind
// of environment has its own: what is done to the users' must never reach the hub's.
func uvCache(name string) string { return path.Join(layout.Cache, name) }

func (b *Setup) run(ctx context.Context, argv ...string) (host.Result, error) {
	return b.Host.Runner.Run(ctx, host.Command{Argv: argv, Env: b.env()})
}

// download runs a command that fetches packages; what people can do when it fails is nearly always the same.
func (b *Setup) download(ctx context.Context, argv ...string) error {
	_, err := b.run(ctx, argv...)
	if ctx.Err() != nil {
		return err
	}
	return host.Hint(err, "check that this machine reaches its package sources (network, proxy, certificates) and has space left, then run the same command again")
}

// lockFile writes a lock that is part of this program below dir and returns its path.
func (b *Setup) lockFile(dir, name string) (string, error) {
	file := path.Join(dir, name+".txt")
	return file, b.Host.Files.Write(file, hub.Lock(name), host.Attr{Mode: 0o644})
}

// uvPath returns the folder of the uv that this program's lock asks for.
func uvPath() string { return path.Join(layout.Tools, "uv-"+digestOf(hub.Lock("uv"))[:12]) }

func uvProgram() string { return path.Join(uvPath(), "bin", "uv") }

// UVThere tells whether the uv of this program's lock is installed.
func UVThere(files host.Files) bool { return files.Exists(uvProgram()) }

// InstallUV unpacks uv from its wheel.
func (b *tools) InstallUV(ctx context.Context) error {
	files := b.Host.Files
	staging := uvPath() + ".part"
	if err := files.RemoveTree(staging); err != nil {
		return err
	}
	for _, dir := range []string{staging, path.Join(staging, "bin")} {
		if err := files.Mkdir(dir, host.Attr{Mode: 0o755}); err != nil {
			return err
		}
	}
	err := b.unpack(ctx, UVWheel, func(name string) (string, fs.FileMode) {
		if strings.HasSuffix(name, ".data/scripts/uv") {
			return path.Join(staging, "bin", "uv"), 0o755
		}
		if path.Base(path.Dir(name)) == "licenses" {
			return path.Join(staging, path.Base(name)), 0o644
		}
		return "", 0
	})
	if err != nil {
		return err
	}
	if err := files.Sync(staging); err != nil {
		return err
	}
	return files.Rename(staging, uvPath())
}

// venv makes an empty virtual environment on the carried CPython.
func (b *tools) venv(ctx context.Context, dir string, options ...string) error {
	argv := []string{uvProgram(), "venv", "--quiet", "--no-project", "--no-config", "--python", pythonProgram()}
	return b.uv(ctx, dir, host.Command{Argv: slices.Concat(argv, options, []string{dir}), Env: b.env()})
}

// userVenv makes one for users. What they may not write to is no dead end: pip installs into their homes then, and what is there is found after
// what is shared. Python couples that with the packages of the Python below, which has none.
func (b *tools) userVenv(ctx context.Context, dir string) error {
	return b.venv(ctx, dir, "--system-site-packages")
}

// uv runs uv in an environment. It leaves a lock file there that everybody can change, which is removed.
func (b *tools) uv(ctx context.Context, dir string, command host.Command) error {
	_, err := b.Host.Runner.Run(ctx, command)
	return errors.Join(err, b.unlock(dir))
}

func (b *tools) unlock(dir string) error {
	env, err := b.Host.Files.Within(dir)
	if err == nil {
		defer env.Close()
		err = env.Remove(".lock")
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// uvInstall installs a lock from wheels that are here, checked against the lock's hashes: nothing of a package runs, and nothing is fetched.
func (b *tools) uvInstall(ctx context.Context, lock, cache, python string) error {
	argv := []string{uvProgram(), "pip", "install", "--quiet", "--no-config", "--offline", "--no-index", "--find-links", wheelsDir(), "--cache-dir", uvCache(cache),
		"--no-deps", "--require-hashes", "--only-binary=:all:", "--link-mode=hardlink", "--python", python, "--requirement", lock}
	err := b.uv(ctx, path.Dir(path.Dir(python)), host.Command{Argv: argv, Env: b.env()})
	if err != nil && ctx.Err() == nil {
		err = errors.Join(err, forgetWheels(b.Host.Files)) // one of them may be the reason
	}
	return err
}

// compile makes byte code for all in some folders, once and for everybody: users can't write any beside the sources. Packages' own
// tests, pip (which only admins run), and files that are no Python of this version are passed over. uv can do it, too, in three times the time.
func (b *tools) compile(ctx context.Context, python string, dirs ...string) error {
	return b.compileAs(ctx, host.Attr{}, python, dirs...)
}

// compileAs does so as an environment's owner. What has its byte code already is passed over.
func (b *tools) compileAs(ctx context.Context, owner host.Attr, python string, dirs ...string) error {
	script := "import compileall, re, sys; skip = re.compile('/(tests?|pip|sqlalchemy/testing|sqlalchemy/dialects/(mssql|mysql|oracle)|alembic/testing|pydoc_data)/')\n" +
		"for folder in sys.argv[1:]: compileall.compile_dir(folder, quiet=2, workers=0, maxlevels=50, rx=skip)"
	env := b.env()
	if owner.UID == 0 {
		tmp, err := b.tmp()
		if err != nil {
			return err
		}
		env = append(env, "TMPDIR="+tmp)
	}
	_, err := b.Host.Runner.Run(ctx, host.Command{
		Argv: append([]string{python, "-I", "-W", "ignore", "-c", script}, dirs...), Env: env, UID: uint32(owner.UID), GID: uint32(owner.GID),
		Confine: confine(owner, nil, path.Dir(path.Dir(python))),
	})
	return err
}

// build makes a new generation of a kind: fill does the work in its folder, test judges the result.
func (b *tools) build(ctx context.Context, generation Generation, fill, test func(ctx context.Context, dir string) error) (Generation, error) {
	files := b.Host.Files
	if err := RemoveHalfBuilt(files, generation.Kind); err != nil {
		return generation, err
	}
	number, err := Next(files, generation.Kind)
	if err != nil {
		return generation, err
	}
	generation.Number, generation.Python, generation.Version, generation.Created = number, PythonRelease, version.Version, b.Now().UTC().Truncate(time.Second)
	if err := errors.Join(b.Host.EndLeftovers(ctx, 0), begin(files, generation.Path())); err != nil {
		return generation, err
	}
	for _, do := range []func(context.Context, string) error{fill, test} {
		if err := do(ctx, generation.Path()); err != nil {
			if removeErr := RemoveGeneration(files, generation.Path()); removeErr != nil {
				return generation, fmt.Errorf("%w (and %w)", err, removeErr)
			}
			return generation, err
		}
	}
	if err := b.closeUp(generation); err != nil {
		return generation, err
	}
	return generation, seal(files, generation)
}

// closeUp gives the folder of packages of a user environment a name that holds for any Python: it is watched by that.
func (b *tools) closeUp(generation Generation) error {
	if generation.Kind != User {
		return nil
	}
	env, err := b.Host.Files.Within(generation.Path())
	if err != nil {
		return err
	}
	defer env.Close()
	return env.Link(siteWithin(env), siteLink)
}

// siteLink leads to the packages of a user environment.
const siteLink = "site-packages"

// Switch makes a generation the live one.
func Switch(files host.Files, generation Generation) error {
	if generation.Kind == User {
		_ = linkToNamed(files, generation) // going back must be possible on a full disk, too
	}
	return files.Link(generation.Path(), generation.Kind.Link())
}

// makeCache makes the folder for downloads. What is run as the account of the user environment has a folder in it, too, and may pass.
func (b *Setup) makeCache() error { return b.Host.Files.Mkdir(layout.Cache, host.Attr{Mode: 0o711}) }

// RemoveCache deletes what was downloaded.
func (b *Setup) RemoveCache() error { return b.Host.Files.RemoveTree(layout.Cache) }

func digestOf(parts ...[]byte) string {
	sum := sha256.New()
	for _, part := range parts {
		_, _ = fmt.Fprintf(sum, "%d\n", len(part))
		sum.Write(part)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

func digestOfTree(tree fs.FS) string {
	var parts [][]byte
	// An embedded tree can always be read.
	_ = fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(tree, name)
		parts = append(parts, []byte(name), data)
		return err
	})
	return digestOf(parts...)
}

// sitePackages is where packages are in an environment on the carried CPython.
func sitePackages(dir string) string {
	return path.Join(dir, layout.SitePackages)
}

var pythonFolder = regexp.MustCompile(`^python3\.(\d+)$`)

// siteWithin is where packages are in a user environment, below its folder, whichever Python it has.
func siteWithin(env *host.Within) string {
	newest, found := -1, layout.SitePackages
	names, _ := env.List("lib")
	for _, name := range names {
		match := pythonFolder.FindStringSubmatch(name)
		if match == nil {
			continue
		}
		site := path.Join("lib", name, "site-packages")
		if minor, _ := strconv.Atoi(match[1]); minor > newest {
			if info, err := env.Lstat(site); err == nil && info.IsDir() {
				newest, found = minor, site
			}
		}
	}
	return found
}

// pinned returns the version that a lock pins a package at.
func pinned(lock []byte, name string) string {
	for line := range strings.Lines(string(lock)) {
		if rest, ok := strings.CutPrefix(line, name+"=="); ok {
			return strings.Fields(rest)[0]
		}
	}
	return ""
}

func platform() []byte { return []byte(runtime.GOARCH) }

func removeAll(files host.Files, paths ...string) error {
	for _, p := range paths {
		if err := os.RemoveAll(files.Path(p)); err != nil {
			return err
		}
	}
	return nil
}
