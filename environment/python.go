package environment

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/kluctl/go-embed-python/embed_util"
	"github.com/kluctl/go-embed-python/pip"
	"github.com/kluctl/go-embed-python/python"

	"tljh/internal/host"
	"tljh/internal/layout"
)

// The CPython that this program carries: the version of the module go-embed-python says which.
const (
	PythonRelease = "3.14.6-20260610"
	pythonMinor   = layout.PythonMinor
)

// PythonPath returns the folder that the carried CPython is unpacked to. Environments rest on it, so another release
// gets another folder.
func PythonPath() string { return path.Join(layout.Python, "cpython-"+PythonRelease) }

func pythonProgram() string { return path.Join(PythonPath(), "bin", "python"+pythonMinor) }

// notNeeded is what no server needs of the carried CPython: Tk and what stands on it, programs for the shell, and libpython,
// which only programs that embed Python need.
var notNeeded = []string{
	"bin/idle*", "bin/pip*", "bin/pydoc*", "bin/*-config", "lib/libpython*", "lib/libtcl*", "lib/itcl*", "lib/thread*", "lib/tcl*", "lib/tk*",
	"lib/python*/idlelib", "lib/python*/tkinter", "lib/python*/turtledemo", "lib/python*/turtle.py", "lib/python*/lib-dynload/_tkinter*",
	"lib/python*/test",
}

// PythonThere tells whether the carried CPython is unpacked whole.
func PythonThere(files host.Files) bool { return files.Exists(pythonProgram()) }

// PythonProgram returns the program of the carried CPython, "" where it is not unpacked.
func PythonProgram(files host.Files) string {
	if !PythonThere(files) {
		return ""
	}
	return pythonProgram()
}

// UnpackPython unpacks the carried CPython beside where it is to be, leaves out what no server needs, adds ensurepip and then gives it its
// name, so that what has the name is whole. Nothing is done when it is there.
func (b *carried) UnpackPython() error {
	files := b.Host.Files
	b.unpacking.Lock()
	defer b.unpacking.Unlock()
	if PythonThere(files) {
		return nil
	}
	staging := PythonPath() + ".part"
	if err := files.RemoveTree(staging); err != nil {
		return err
	}
	if _, err := python.NewEmbeddedPythonWithTmpDir(files.Path(staging), false); err != nil {
		return err
	}
	if err := errors.Join(b.prunePython(staging), b.carryEnsurepip(staging)); err != nil {
		return err
	}
	if err := files.Sync(staging); err != nil {
		return err
	}
	return files.Rename(staging, PythonPath())
}

// compiled marks that CompilePython reached its end.
func compiled() string { return path.Join(PythonPath(), "compiled") }

// PythonCompiled tells whether the carried CPython's library has its byte code.
func PythonCompiled(files host.Files) bool { return files.Exists(compiled()) }

// CompilePython makes the byte code of the carried CPython's library. It works without, but slowly: users can't write it.
func (b *tools) CompilePython(ctx context.Context) error {
	if err := b.compile(ctx, pythonProgram(), path.Join(PythonPath(), "lib")); err != nil {
		return err
	}
	// Python does not start with byte code that a power cut made short.
	if err := b.Host.Files.Sync(PythonPath()); err != nil {
		return err
	}
	return b.Host.Files.Write(compiled(), nil, host.Attr{Mode: 0o644})
}

func (b *carried) prunePython(staging string) error {
	root := b.Host.Files.Path(staging)
	for _, pattern := range append([]string{"../" + filepath.Base(root) + ".lock"}, notNeeded...) {
		matches, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return err
		}
		for _, match := range matches {
			if err := os.RemoveAll(match); err != nil {
				return err
			}
		}
	}
	// The module unpacks links as copies of 28 MB each.
	for _, name := range []string{"python", "python3"} {
		link := filepath.Join(root, "bin", name)
		if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Symlink("python"+pythonMinor, link); err != nil {
			return err
		}
	}
	return nil
}

// withPip unpacks the carried pip below a folder for as long as use takes.
func withPip(tmp string, use func(pythonPath string) error) error {
	lib, err := unpackPip(tmp)
	if err != nil {
		return fmt.Errorf("cannot unpack pip: %w", err)
	}
	dir := lib.GetExtractedPath()
	defer func() {
		_ = lib.Cleanup()
		_ = os.Remove(dir + ".lock")
	}()
	return use(dir)
}

// settingTMPDIR is held while this process has another folder for temporary files.
var settingTMPDIR sync.Mutex

// unpackPip unpacks it below a folder, which the library can be told in this way only. If all may write there, nobody can guess the name.
func unpackPip(tmp string) (lib *embed_util.EmbeddedFiles, err error) {
	settingTMPDIR.Lock()
	defer settingTMPDIR.Unlock()
	before, had := os.LookupEnv("TMPDIR")
	if err := os.Setenv("TMPDIR", tmp); err != nil {
		return nil, err
	}
	defer func() {
		if had {
			err = errors.Join(err, os.Setenv("TMPDIR", before))
		} else {
			err = errors.Join(err, os.Unsetenv("TMPDIR"))
		}
	}()
	return pip.NewPipLib(rand.Text())
}

// tmp is the folder for root's temporary files: what they set, or one that goes with the downloads, whatever a killed run has left in it.
func (b *carried) tmp() (string, error) {
	for _, pair := range b.Environ {
		if dir, ok := strings.CutPrefix(pair, "TMPDIR="); ok && dir != "" {
			return dir, nil
		}
	}
	dir := path.Join(layout.Cache, "tmp")
	return b.Host.Files.Path(dir), errors.Join(b.makeCache(), b.Host.Files.MkdirAll(dir, host.Attr{Mode: 0o700}))
}
