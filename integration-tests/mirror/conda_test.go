package mirror

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/integration-tests/guest"
)

// site is a mirror that is served, and a Miniforge that was installed from it.
type site struct {
	*Server
	mirror *Mirror
	folder string // open to all accounts: one of the tests is another's
	base   string
}

// done is how a command ended.
type done struct {
	code int
	text string // both streams
}

const nobody = 65534

func newSite(t *testing.T) *site {
	guest.Require(t)
	m, err := Build(t.Context(), guest.RepositoryRoot(), guest.CacheDir())
	require.NoError(t, err)
	folder, err := os.MkdirTemp("", "mirror-")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(folder)) })
	require.NoError(t, os.Chmod(folder, 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(folder, "home"), 0o755))
	return &site{Server: serve(t, m), mirror: m, folder: folder, base: filepath.Join(folder, "miniforge")}
}

func (s *site) path(name string) string { return filepath.Join(s.folder, name) }

// command runs a program with nothing of this machine's settings, as an account.
func (s *site) command(t *testing.T, uid uint32, env []string, argv ...string) done {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = s.folder
	// What can't be reached is asked for again once, and at once: tests need not wait as people do.
	cmd.Env = append([]string{"PATH=/usr/bin:/bin", "HOME=" + s.path("home"), "CONDA_REMOTE_MAX_RETRIES=1", "CONDA_REMOTE_BACKOFF_FACTOR=0"}, env...)
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", strings.Join(argv, " "), err)
	}
	return done{code: cmd.ProcessState.ExitCode(), text: string(out)}
}

func (s *site) install(t *testing.T, argv ...string) done {
	t.Helper()
	installer := filepath.Join(s.mirror.Folder, s.mirror.Miniforge.Path)
	return s.command(t, 0, []string{"MIRROR_CHANNEL_ALIAS=" + s.URL()}, append([]string{"sh", installer}, argv...)...)
}

func (s *site) conda(t *testing.T, argv ...string) done {
	t.Helper()
	return s.command(t, 0, nil, append([]string{filepath.Join(s.base, "bin", "conda")}, argv...)...)
}

func (d done) is(t *testing.T, code int, words ...string) {
	t.Helper()
	assert.Equal(t, code, d.code, d.text)
	for _, each := range words {
		assert.Contains(t, d.text, each)
	}
}

func TestInstaller(t *testing.T) {
	s := newSite(t)
	s.install(t, "-h").is(t, 2, "run install in batch mode")
	s.install(t, "-b", "-x").is(t, 1, "did not recognize option")
	s.install(t, "-b", "-p", s.path("with space")).is(t, 1, "Cannot install into directories with spaces")
	s.install(t, "-b", "-p", s.path("home")).is(t, 1, "ERROR: File or directory already exists", "use the -u option")
	s.install(t, "-p", s.path("never")).is(t, 1, "license")

	for name, damage := range map[string]func([]byte) []byte{
		"cut":     func(data []byte) []byte { return data[:len(data)/2] },
		"damaged": func(data []byte) []byte { data[len(data)/2] ^= 0x55; return data },
	} {
		data, err := os.ReadFile(filepath.Join(s.mirror.Folder, s.mirror.Miniforge.Path))
		require.NoError(t, err)
		file := s.path(name + ".sh")
		require.NoError(t, os.WriteFile(file, damage(data), 0o755))
		s.command(t, 0, nil, "sh", file, "-b", "-p", s.path(name)).is(t, 1, "could not extract the tar archive")
		assert.DirExists(t, s.path(name), "what was unpacked stays, as with Miniforge")
		assert.NoFileExists(t, filepath.Join(s.path(name), "bin", "conda"))
	}
}

func TestConda(t *testing.T) {
	s := newSite(t)
	s.install(t, "-b", "-p", s.base).is(t, 0, "installation finished.")
	assert.DirExists(t, filepath.Join(s.base, "pkgs"))
	for _, program := range []string{"bin/conda", "bin/mamba", "condabin/conda", "condabin/mamba", "bin/pip"} {
		assert.FileExists(t, filepath.Join(s.base, program))
	}
	s.conda(t, "--version").is(t, 0, "conda 26.3.2")
	s.install(t, "-b", "-u", "-p", s.base).is(t, 0, "installation finished.")
	s.install(t, "-b", "-p", s.base).is(t, 1, "already exists")

	env := s.path("env")
	s.conda(t, "create", "-y", "-p", env, "jupyterlab", "cowsay=4.0").is(t, 0)
	s.command(t, 0, nil, filepath.Join(env, "bin/python"), "-c", "import jupyterlab").is(t, 0)
	s.command(t, 0, nil, filepath.Join(env, "bin/jupyter"), "--version").is(t, 0, "jupyterlab")
	s.command(t, 0, nil, filepath.Join(env, "bin/pip"), "check").is(t, 0, "No broken requirements")

	t.Run("records", func(t *testing.T) { s.records(t, env) })
	t.Run("whole", func(t *testing.T) { s.whole(t, env) })
	t.Run("changes", func(t *testing.T) { s.changes(t, env) })
	t.Run("refusals", func(t *testing.T) { s.refusals(t, env) })
	t.Run("network", func(t *testing.T) { s.network(t, env) })
	t.Run("lists", func(t *testing.T) { s.lists(t, env) })
	t.Run("files", func(t *testing.T) { s.files(t) })
	if os.Geteuid() == 0 {
		t.Run("others", func(t *testing.T) { s.others(t, env) })
	}
}

// version is that of cowsay in an environment, "" where it is not there.
func version(t *testing.T, env string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(env, "conda-meta", "cowsay-*.json"))
	require.NoError(t, err)
	if len(found) == 0 {
		return ""
	}
	require.Len(t, found, 1)
	return strings.Split(filepath.Base(found[0]), "-")[1]
}

func (s *site) changes(t *testing.T, env string) {
	assert.Equal(t, "4.0", version(t, env))
	s.conda(t, "install", "-y", "-p", env, "cowsay").is(t, 0, "All requested packages already installed")
	s.conda(t, "install", "-y", "-p", env, "cowsay==6.0").is(t, 0)
	assert.Equal(t, "6.0", version(t, env))
	s.conda(t, "update", "-y", "-p", env, "cowsay").is(t, 0)
	assert.Equal(t, "6.1", version(t, env))
	s.conda(t, "install", "-y", "-p", env, OldHerd).is(t, 0, "cowsay-4.0")
	assert.Equal(t, "4.0", version(t, env))

	// What a person asked for is kept against what only happens to be newer.
	s.conda(t, "update", "-y", "--all", "-p", env).is(t, 0)
	assert.Equal(t, "4.0", version(t, env))

	s.conda(t, "install", "-d", "-p", env, "cowsay=6.1", "--no-deps").is(t, 0, "DryRunExit: Dry run. Exiting.")
	assert.Equal(t, "4.0", version(t, env))
	s.conda(t, "install", "-y", "-p", env, "cowsay=6.1", "--no-deps").is(t, 0)
	assert.Equal(t, "6.1", version(t, env), "whatever others need")

	// The active environment is meant where none is named.
	active := []string{"CONDA_PREFIX=" + env}
	conda := filepath.Join(s.base, "condabin", "mamba")
	s.command(t, 0, active, conda, "remove", "-y", OldHerd, "cowsay").is(t, 0)
	assert.Empty(t, version(t, env))
	assert.NoFileExists(t, filepath.Join(env, "bin", "cowsay"))
	assert.NoDirExists(t, filepath.Join(env, "lib/python3.14/site-packages/cowsay"), "not even its byte code stays")
	s.command(t, 0, active, conda, "install", "-y", "cowsay=6.0").is(t, 0)
	assert.Equal(t, "6.0", version(t, env))

	// A package that was damaged is put in order again.
	program := filepath.Join(env, "lib/python3.14/site-packages/cowsay/__init__.py")
	require.NoError(t, os.Remove(program))
	s.conda(t, "install", "-y", "-p", env, "--force-reinstall", "cowsay=6.0").is(t, 0)
	assert.FileExists(t, program)

	history, err := os.ReadFile(filepath.Join(env, "conda-meta", "history"))
	require.NoError(t, err)
	assert.Contains(t, string(history), "# cmd: "+filepath.Join(s.base, "bin/conda")+" install -y -p "+env+" cowsay==6.0\n# conda version: 26.3.2\n")
	assert.Contains(t, string(history), "-"+s.ChannelURL()+"/noarch::cowsay-4.0-pyhd8ed1ab_0\n+"+s.ChannelURL()+"/noarch::cowsay-6.0-pyhd8ed1ab_0\n# update specs: ['cowsay==6.0']\n")
	assert.Contains(t, string(history), "# remove specs: ['old-herd', 'cowsay']\n")
}

// What is not to be had at all is refused, and nothing changes.
func (s *site) refusals(t *testing.T, env string) {
	before := version(t, env)
	s.conda(t, "install", "-y", "-p", env, OldHerd, "cowsay=6.1").is(t, 1, "Encountered problems while solving", "old-herd")
	s.conda(t, "install", "-y", "-p", env, LostHerd).is(t, 1, "Encountered problems while solving", "shepherd-nobody-has")
	s.conda(t, "install", "-y", "-p", env, "no-such-package").is(t, 1, "PackagesNotFound", "not available from current channels", "  - no-such-package\n", s.ChannelURL())
	s.conda(t, "install", "-y", "-p", env, LeftOut).is(t, 1, "PackagesNotFound")
	s.conda(t, "install", "-y", "--json", "-p", env, "cowsay=99").is(t, 1, `"exception_name": "PackagesNotFoundInChannelsError"`)
	s.conda(t, "update", "-y", "-p", env, OldHerd).is(t, 1, "PackageNotInstalledError")
	s.conda(t, "remove", "-y", "-p", env, "no-such-package").is(t, 1, "missing from the target environment")
	s.conda(t, "install", "-y", "-p", s.path("nowhere"), "cowsay").is(t, 1, "EnvironmentLocationNotFound")
	s.conda(t, "install", "-y", "-p", s.path("home"), "cowsay").is(t, 1, "DirectoryNotACondaEnvironmentError")
	s.conda(t, "install", "-p", env).is(t, 1, "too few arguments")
	s.conda(t, "install", "--override-channels", "-p", env, "cowsay").is(t, 1, "--override-channels")
	s.conda(t, "install", "--no-such-flag").is(t, 2, "unrecognized arguments")
	assert.Equal(t, before, version(t, env))

	// A pin holds against whoever asks for more.
	pinned := filepath.Join(env, "conda-meta", "pinned")
	require.NoError(t, os.WriteFile(pinned, []byte("cowsay <6.1 # we teach this one\n"), 0o644))
	s.conda(t, "install", "-y", "-p", env, "cowsay=6.1").is(t, 1, "problems while solving")
	s.conda(t, "update", "-y", "-p", env, "cowsay").is(t, 0, "already installed")
	require.NoError(t, os.Remove(pinned))
}

func (s *site) network(t *testing.T, env string) {
	fresh := s.path("fresh")
	s.conda(t, "clean", "-y", "--index-cache", "--tarballs").is(t, 0)
	wanted := []string{"create", "-y", "-p", fresh, "python", "cowsay=6.1"}

	s.Break(Channel+"/", Fault{HangUp: true})
	s.conda(t, wanted...).is(t, 1, "CondaHTTPError: HTTP 000 CONNECTION FAILED", s.ChannelURL())
	s.conda(t, append(wanted, "--json")...).is(t, 1, `"exception_name": "CondaHTTPError"`)
	s.Mend()
	s.conda(t, "create", "-y", "-p", fresh, "--override-channels", "-c", "http://127.0.0.1:1/nowhere", "cowsay").is(t, 1, "CondaHTTPError: HTTP 000 CONNECTION FAILED")
	s.Break(Channel+"/", Fault{Status: 503})
	s.conda(t, wanted...).is(t, 1, "CondaHTTPError: HTTP 503 SERVICE UNAVAILABLE")
	s.Break(Channel+"/", Fault{Status: 404})
	s.conda(t, wanted...).is(t, 1, "UnavailableInvalidChannel: HTTP 404 NOT FOUND for channel conda-forge")
	s.Break(Channel+"/", Fault{Body: []byte("<html>please log in")})
	s.conda(t, wanted...).is(t, 1, "CondaHTTPError")
	s.Mend()
	s.Break(Channel+"/linux-64/", Fault{Status: 404})
	s.conda(t, wanted...).is(t, 1, "PackagesNotFound", "  - python")
	assert.NoDirExists(t, fresh)
	s.Mend()

	// A server that stumbles once is asked again.
	s.Break(Channel+"/noarch/repodata*", Fault{Status: 503, Times: 1})
	s.conda(t, "install", "-y", "-p", env, "cowsay=6.0").is(t, 0)
	s.Mend()

	require.NoError(t, removeAll(filepath.Join(s.base, "pkgs", "cowsay-6.1-*")))
	package61 := s.mirror.File(Cowsay, "6.1")
	s.Break(package61, Fault{Corrupt: true})
	s.conda(t, wanted...).is(t, 1, "ChecksumMismatchError", "mismatch between the expected content and downloaded content", package61)
	assert.NoDirExists(t, fresh, "nothing half-made stays")
	s.conda(t, "install", "-y", "-p", env, "cowsay=6.1").is(t, 1, "ChecksumMismatchError")
	assert.Equal(t, "6.0", version(t, env), "what was there is untouched")

	// What came before a cut need not come again.
	size := fileSize(t, filepath.Join(s.mirror.Folder, package61))
	s.Break(package61, Fault{CutAfter: size - 1000, Times: 1})
	s.conda(t, wanted...).is(t, 1, "CondaHTTPError")
	assert.NoDirExists(t, fresh)
	sent := s.Bytes(package61)
	s.conda(t, wanted...).is(t, 0)
	assert.Less(t, s.Bytes(package61)-sent, size-15_000)
	assert.Equal(t, "6.1", version(t, fresh))

	s.Break("/", Fault{HangUp: true})
	s.conda(t, "install", "-y", "--offline", "-p", env, "cowsay=6.1").is(t, 0)
	require.NoError(t, removeAll(filepath.Join(s.base, "pkgs", "cowsay-4.0-*")))
	s.conda(t, "install", "-y", "--offline", "-p", env, "cowsay=4.0").is(t, 1, "OfflineError", "offline mode")
	s.Mend()
	s.conda(t, "remove", "-y", "--all", "-p", fresh).is(t, 0)
	assert.NoDirExists(t, fresh)
}

// The channel holds together: all that the user environment has, and an older JupyterHub, can be solved for.
// records are as conda itself writes them: of what works with any Python, they hold the paths in the package.
func (s *site) records(t *testing.T, env string) {
	found, err := filepath.Glob(filepath.Join(env, "conda-meta", "cowsay-4.0-*.json"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	data, err := os.ReadFile(found[0])
	require.NoError(t, err)
	for _, words := range []string{
		`"_path": "site-packages/cowsay/__init__.py"`, `"_path": "lib/python3.14/site-packages/cowsay/__pycache__/__init__.cpython-314.pyc"`,
		`"lib/python3.14/site-packages/cowsay/__init__.py"`, `"bin/cowsay"`,
	} {
		assert.Contains(t, string(data), words)
	}
	module := filepath.Join(env, "lib/python3.14/site-packages/cowsay")
	assert.FileExists(t, filepath.Join(module, "__init__.py"))
	s.conda(t, "remove", "-y", "-p", env, "cowsay").is(t, 0)
	assert.NoDirExists(t, module, "what is removed goes with all of its files")
	s.conda(t, "install", "-y", "-p", env, "cowsay=4.0").is(t, 0)
}

func (s *site) whole(t *testing.T, env string) {
	everything := []string{"ipykernel", "ipywidgets", "jupyter-resource-usage", "jupyterhub", "jupyterlab", "notebook", "pip"}
	s.conda(t, append([]string{"install", "-d", "-p", env}, everything...)...).is(t, 0, "+ jupyterhub-6.", "DryRunExit")
	s.conda(t, "install", "-d", "-p", env, "jupyterhub="+OldJupyterHub).is(t, 0, "+ jupyterhub-"+OldJupyterHub+"-")
}

func removeAll(pattern string) error {
	found, err := filepath.Glob(pattern)
	for _, each := range found {
		err = errors.Join(err, os.RemoveAll(each))
	}
	return err
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Size()
}

func (s *site) lists(t *testing.T, env string) {
	s.conda(t, "list", "-p", env, "--json", "cowsay").is(t, 0, `"channel": "conda-forge"`, `"version": "6.1"`)
	s.conda(t, "list", "-p", env, "--explicit").is(t, 0, "@EXPLICIT\n", s.URL()+"/"+s.mirror.File(Cowsay, "6.1")+"\n")
	list := s.conda(t, "list", "-p", env, "--explicit", "--md5")
	list.is(t, 0, s.URL()+"/"+s.mirror.File(Cowsay, "6.1")+"#")
	file := s.path("explicit.txt")
	require.NoError(t, os.WriteFile(file, []byte(list.text), 0o644))

	again := s.path("again")
	s.conda(t, "create", "-y", "-p", again, "--offline", "--file", file).is(t, 0)
	assert.Equal(t, list.text, s.conda(t, "list", "-p", again, "--explicit", "--md5").text)
	s.command(t, 0, nil, filepath.Join(again, "bin/python"), "-c", "import jupyterlab").is(t, 0)

	// One package, whatever others need; then the list again, from the network.
	require.NoError(t, removeAll(filepath.Join(s.base, "pkgs", "cowsay-*")))
	one := s.path("one.txt")
	require.NoError(t, os.WriteFile(one, []byte("@EXPLICIT\n"+s.URL()+"/"+s.mirror.File(Cowsay, "4.0")+"\n"), 0o644))
	s.conda(t, "install", "-y", "-p", again, "--file", one).is(t, 0)
	assert.Equal(t, "4.0", version(t, again))
	s.conda(t, "install", "-y", "-p", again, "--file", file).is(t, 0)
	assert.Equal(t, list.text, s.conda(t, "list", "-p", again, "--explicit", "--md5").text)

	broken := s.path("broken.txt")
	require.NoError(t, os.WriteFile(broken, []byte("@EXPLICIT\n"+s.URL()+"/"+s.mirror.File(Cowsay, "6.0")+"#"+strings.Repeat("0", 32)+"\n"), 0o644))
	s.conda(t, "install", "-y", "-p", again, "--file", broken).is(t, 1, "ChecksumMismatchError")
	s.conda(t, "create", "-y", "-p", s.path("not"), "--file", broken).is(t, 1, "ChecksumMismatchError")
	assert.NoDirExists(t, s.path("not"))

	s.conda(t, "info", "--json").is(t, 0, `"root_prefix": "`+s.base+`"`, `"default_prefix": "`+s.base+`"`)
	s.conda(t, "info", "--base").is(t, 0, s.base)
	s.conda(t, "env", "list").is(t, 0, env, again)
	s.conda(t, "export", "-p", env, "--no-builds").is(t, 0, "- conda-forge", "- cowsay=6.1")
	s.conda(t, "env", "export", "-p", env, "--from-history").is(t, 0, "- jupyterlab")
	s.conda(t, "run", "-p", env, "sh", "-c", "command -v python; exit 7").is(t, 7, filepath.Join(env, "bin/python"))
	s.conda(t, "run", "-p", env, "no-such-program").is(t, 127)
}

func (s *site) files(t *testing.T) {
	env := s.path("named")
	yml := s.path("environment.yml")
	require.NoError(t, os.WriteFile(yml, []byte("channels: [conda-forge]\ndependencies:\n  - python\n  - cowsay=4.0\n"), 0o644))
	s.conda(t, "env", "create", "-y", "-p", env, "-f", yml).is(t, 0)
	assert.Equal(t, "4.0", version(t, env))
	s.conda(t, "env", "create", "-p", env, "-f", yml).is(t, 1, "prefix already exists")
	require.NoError(t, os.WriteFile(yml, []byte("dependencies:\n  - cowsay=6.0\n"), 0o644))
	s.conda(t, "env", "update", "-p", env, "-f", yml).is(t, 0)
	assert.Equal(t, "6.0", version(t, env))
	s.conda(t, "env", "update", "-p", env, "-f", s.path("none.yml")).is(t, 1, "EnvironmentFileNotFound")

	// What pip brought is told apart from conda's.
	script := "import sysconfig, pathlib; d = pathlib.Path(sysconfig.get_path('purelib'), 'mine-1.0.dist-info'); d.mkdir(); (d / 'METADATA').write_text('Name: mine\\nVersion: 1.0\\n')"
	s.command(t, 0, nil, filepath.Join(env, "bin/python"), "-c", script).is(t, 0)
	s.conda(t, "list", "-p", env, "mine").is(t, 0, "pypi")
	s.conda(t, "env", "remove", "-y", "-p", env).is(t, 0)
	assert.NoDirExists(t, env)
}

// Another account reads the base and the environment, and writes neither.
func (s *site) others(t *testing.T, env string) {
	conda := filepath.Join(s.base, "bin", "conda")
	home := s.path("nobody")
	require.NoError(t, os.Mkdir(home, 0o755))
	require.NoError(t, os.Chown(home, nobody, nobody))
	theirs := []string{"HOME=" + home}
	s.command(t, nobody, theirs, conda, "list", "-p", env, "cowsay").is(t, 0, "6.1")
	s.command(t, nobody, theirs, conda, "install", "-y", "-p", env, "cowsay=4.0").is(t, 1,
		"EnvironmentNotWritableError: The current user does not have write permissions to the target environment.", "environment location: "+env, "uid: 65534")
	s.command(t, nobody, theirs, conda, "create", "-y", "-p", filepath.Join(s.folder, "mine"), "cowsay").is(t, 1, "NotWritableError")

	// What is in the base's cache is taken from there, what is not comes to the account's own.
	s.command(t, nobody, theirs, conda, "create", "-y", "-p", filepath.Join(home, "env"), "python", "pamela").is(t, 0)
	s.command(t, nobody, nil, filepath.Join(home, "env/bin/python"), "-c", "import pamela").is(t, 0)
	found, err := filepath.Glob(filepath.Join(home, ".conda/pkgs/pamela-*_0"))
	require.NoError(t, err)
	assert.Len(t, found, 1)
	assert.NoDirExists(t, filepath.Join(home, ".conda/pkgs/python-3.14.6-0_cp314"))

	// An environment that access control lists open to a group, and a home that can't be written.
	shared := s.path("shared")
	s.conda(t, "create", "-y", "-p", shared, "python", "cowsay=4.0").is(t, 0)
	s.command(t, 0, nil, "chgrp", "-R", "65534", shared).is(t, 0)
	s.command(t, 0, nil, "chmod", "-R", "g+w", shared).is(t, 0)
	s.command(t, 0, nil, "find", shared, "-type", "d", "-exec", "chmod", "g+s", "{}", "+").is(t, 0)
	cache := []string{"HOME=/nonexistent", "CONDA_PKGS_DIRS=" + filepath.Join(home, "cache")}
	s.command(t, nobody, cache, conda, "install", "-y", "-p", shared, "cowsay=6.1").is(t, 0)
	assert.Equal(t, "6.1", version(t, shared))
	s.command(t, nobody, []string{"HOME=/nonexistent"}, conda, "install", "-y", "-p", shared, "cowsay=6.0").is(t, 1, "NoWritablePkgsDirError")
	s.command(t, 0, nil, filepath.Join(shared, "bin/cowsay"), "-t", "moo").is(t, 0, "moo")

	// A change that can't be made everywhere is taken back.
	s.command(t, 0, nil, "chmod", "g-w", filepath.Join(shared, "bin")).is(t, 0)
	s.command(t, nobody, cache, conda, "install", "-y", "-p", shared, "cowsay=6.0").is(t, 1, "Cannot link the packages")
	assert.Equal(t, "6.1", version(t, shared))
	s.command(t, 0, nil, filepath.Join(shared, "bin/cowsay"), "-t", "moo").is(t, 0, "moo")
}
