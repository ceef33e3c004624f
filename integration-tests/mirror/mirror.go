// Package mirror makes and serves a conda mirror for tests on machines that reach no public channel: a channel of real conda packages,
// made from the wheels of the project's locks, and an installer of Miniforge's shape.
//
// What conda does is done by a stand-in for conda's command line (standin/conda_standin): the packages, the solver, the linker and the
// records in conda-meta are py-rattler's, the records brought to the
// form that conda writes, the command line is imitated. What passes with it was tried with real packages and with
// Miniforge's command line; it was not tried with conda or Miniforge.
//
// How the channel is made is Python (maker/), which runs on the carried CPython. There are packages for linux-64 and CPython 3.14 only.
package mirror

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"tljh/environment"
	"tljh/integration-tests/guest"
)

// Channel is the channel's name, and its folder below the mirror's address: with that address as channel_alias the name leads to it.
const Channel = "conda-forge"

// LeftOut is a package of the user environment's lock that the channel lacks, as some channel always lacks something.
const LeftOut = "nbgitpuller"

// Packages of the channel that the user environment's lock does not have, for tests that go up, down, or nowhere.
const (
	Cowsay        = "cowsay"    // in the versions 4.0, 6.0 and 6.1
	OldHerd       = "old-herd"  // needs cowsay <6
	LostHerd      = "lost-herd" // needs what no channel has
	OldJupyterHub = "5.4.6"     // a version of jupyterhub beside the lock's
)

// Mirror is a folder that can be served.
type Mirror struct {
	Folder    string    `json:"-"`
	Miniforge Installer `json:"miniforge"`
	Packages  []string  `json:"packages"` // files of the channel, as "noarch/cowsay-6.1-pyhd8ed1ab_0.conda"
}

// Installer is the file that stands for Miniforge's.
type Installer struct {
	Path   string `json:"path"` // below the mirror's folder and address
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
}

// sources are what a mirror is made of: files and folders of the repository.
var sources = []string{
	"hub/locks/overrides.txt", "hub/locks/user.txt", "integration-tests/mirror/locks/extra.txt", "integration-tests/mirror/locks/tools.txt",
	"integration-tests/mirror/maker", "integration-tests/mirror/standin",
}

// Build makes the mirror from the source tree below a cache folder (guest.CacheDir), or finds it there, made from the same sources. It
// takes a minute or two the first time, and nothing after that.
func Build(ctx context.Context, repository, cache string) (*Mirror, error) {
	key, err := digest(repository)
	if err != nil {
		return nil, fmt.Errorf("cannot read what the mirror is made of: %w", err)
	}
	folder := filepath.Join(cache, "mirrors", key)
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	if err := os.MkdirAll(filepath.Dir(folder), 0o755); err != nil {
		return nil, err
	}
	unlock, err := guest.Lock(ctx, filepath.Join(cache, "mirrors", "build.lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		err = build(ctx, repository, cache, folder)
		if err != nil {
			return nil, fmt.Errorf("cannot make the conda mirror: %w", err)
		}
	}
	return open(folder)
}

func build(ctx context.Context, repository, cache, folder string) error {
	building := folder + ".building" // a rest of an interrupted build, if it is there: we hold the lock
	if err := os.RemoveAll(building); err != nil {
		return err
	}
	if err := os.MkdirAll(building, 0o755); err != nil {
		return err
	}
	tools, err := output(ctx, repository, "go", "run", "./internal/dist/devenv", "-cache", ".cache", "mirror")
	if err != nil {
		return err
	}
	_, err = output(ctx, repository, filepath.Join(strings.TrimSpace(tools), "bin", "python"), "-B", "integration-tests/mirror/maker/make.py",
		"--out", building, "--wheels", filepath.Join(cache, "mirrors", "wheels"), "--overrides", "hub/locks/overrides.txt", "--leave-out", LeftOut,
		"hub/locks/user.txt", "integration-tests/mirror/locks/tools.txt", "integration-tests/mirror/locks/extra.txt")
	if err != nil {
		return errors.Join(err, os.RemoveAll(building))
	}
	return os.Rename(building, folder)
}

func open(folder string) (*Mirror, error) {
	data, err := os.ReadFile(filepath.Join(folder, "mirror.json"))
	if err != nil {
		return nil, fmt.Errorf("cannot read the mirror: %w", err)
	}
	m := &Mirror{Folder: folder}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("cannot read the mirror: %w", err)
	}
	return m, nil
}

// File returns the path, below the mirror's folder and address, of a package in a version, or "".
func (m *Mirror) File(name, version string) string {
	for _, file := range m.Packages {
		if strings.HasPrefix(filepath.Base(file), name+"-"+version+"-") {
			return Channel + "/" + file
		}
	}
	return ""
}

// digest stands for all sources and the Python they are made with.
func digest(repository string) (string, error) {
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n%s\n", environment.PythonRelease, LeftOut)
	for _, source := range sources {
		err := filepath.WalkDir(filepath.Join(repository, source), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(path) == ".pyc" {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			relative, err := filepath.Rel(repository, path)
			fmt.Fprintf(sum, "%s %d\n", relative, len(data))
			sum.Write(data)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%x", sum.Sum(nil)[:6]), nil
}

func output(ctx context.Context, dir string, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
