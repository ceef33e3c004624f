package environment

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"

	"tljh/internal/host"
)

// Trouble is something wrong with the user environment.
type Trouble struct {
	Package string `json:"package,omitempty"` // that has to be installed again
	Version string `json:"version,omitempty"` // of it
	Words   string `json:"words"`
}

// needed are what a user's server cannot do without.
const needed = "import jupyterhub.singleuser, jupyter_server, jupyterlab, notebook, ipykernel, ipywidgets"

// Examine looks whether the live user environment is whole: its files against their records, what a server needs, and JupyterHub's version.
// Nothing in it runs with any rights.
func (b *Builder) Examine(ctx context.Context) ([]Trouble, error) {
	live, ok := Current(b.Host.Files, User)
	if !ok {
		return nil, errNoUserEnvironment
	}
	troubles, err := b.examineRecords(ctx, live.Path())
	if err != nil {
		return nil, err
	}
	packages, _, err := Packages(b.Host.Files, live.Path())
	if err != nil {
		return nil, err
	}
	if version := packages["jupyterhub"]; version != JupyterHubVersion() {
		words := fmt.Sprintf("it holds JupyterHub %s; the hub's is %s, and servers of another version do not start", version, JupyterHubVersion())
		if version == "" {
			words = "JupyterHub is missing: no server starts without it"
		}
		troubles = append(troubles, Trouble{"jupyterhub", JupyterHubVersion(), words})
	}
	if len(troubles) > 0 {
		return troubles, nil // why an import fails is known
	}
	for _, argv := range [][]string{{"-c", needed}, {"-m", "jupyterhub.singleuser", "--version"}} {
		if _, err := b.asNobody(ctx, append([]string{path.Join(live.Path(), "bin/python"), "-I"}, argv...), live.Path()); err != nil {
			troubles = append(troubles, Trouble{Words: "a server would not start: " + lastLine(err)})
			break
		}
	}
	return troubles, nil
}

func lastLine(err error) string {
	var exit *host.ExitError
	text := err.Error()
	if errors.As(err, &exit) && exit.Tail != "" {
		text = exit.Tail
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

func (b *Builder) asNobody(ctx context.Context, argv []string, dir string) (host.Result, error) {
	return b.Host.Runner.Run(ctx, host.Command{
		Argv: argv, UID: nobody, GID: nobody,
		Env: []string{"PATH=" + path.Join(dir, "bin") + ":" + host.Path, "HOME=/nonexistent", "LANG=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1"},
	})
}

// examineRecords compares all packages' files with what their wheels said of them.
func (b *Builder) examineRecords(ctx context.Context, dir string) ([]Trouble, error) {
	site := sitePackages(dir)
	names, err := b.Host.Files.List(site)
	if err != nil {
		return []Trouble{{Words: "its packages cannot be read: " + err.Error()}}, nil
	}
	var mutex sync.Mutex
	troubles := []Trouble{}
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(runtime.GOMAXPROCS(0))
	for _, name := range names {
		match := distInfo.FindStringSubmatch(name)
		if match == nil {
			continue
		}
		all.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if words := b.examineRecord(site, name); words != "" {
				mutex.Lock()
				defer mutex.Unlock()
				troubles = append(troubles, Trouble{strings.ToLower(strings.ReplaceAll(match[1], "_", "-")), match[2], words})
			}
			return nil
		})
	}
	err = all.Wait()
	slices.SortFunc(troubles, func(a, b Trouble) int { return strings.Compare(a.Package, b.Package) })
	return troubles, err
}

const recordLimit = 64 << 20

// examineRecord returns what is wrong with a package; "" for nothing.
func (b *Builder) examineRecord(site, name string) string {
	data, err := b.readPlain(path.Join(site, name, "RECORD"), recordLimit)
	if err != nil {
		return "it has no list of its files"
	}
	reader := csv.NewReader(bytes.NewReader(data))
	reader.FieldsPerRecord = -1
	broken, first := 0, ""
	for {
		row, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || len(row) == 0 {
			return "the list of its files cannot be read"
		}
		// Byte code is renewed as Python likes, and programs are written by the installer.
		if strings.HasSuffix(row[0], ".pyc") || strings.HasPrefix(row[0], "..") || path.IsAbs(row[0]) {
			continue
		}
		if words := b.examineFile(path.Join(site, row[0]), row); words != "" {
			if broken++; broken == 1 {
				first = row[0] + " " + words
			}
		}
	}
	if broken > 1 {
		return fmt.Sprintf("%s, and %d more files", first, broken-1)
	}
	return first
}

func (b *Builder) examineFile(file string, row []string) string {
	info, err := b.Host.Files.Lstat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "is missing"
	case err != nil || !info.Mode().IsRegular():
		return "is no file any more"
	case len(row) < 2 || !strings.HasPrefix(row[1], "sha256="):
		return ""
	}
	data, err := b.readPlain(file, info.Size())
	if err != nil {
		return "cannot be read"
	}
	sum := sha256.Sum256(data)
	if "sha256="+base64.RawURLEncoding.EncodeToString(sum[:]) != row[1] {
		return "was changed"
	}
	return ""
}

// readPlain reads a file that others can put anything in the place of.
func (b *Builder) readPlain(file string, limit int64) ([]byte, error) {
	in, err := os.OpenFile(b.Host.Files.Path(file), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	if info, err := in.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("not a regular file"))
	}
	return io.ReadAll(io.LimitReader(in, limit))
}

// Repair puts back what Examine found broken, package by package, from the package index. It runs as the environment's owner.
func (b *Builder) Repair(ctx context.Context, troubles []Trouble) error {
	live, ok := Current(b.Host.Files, User)
	if !ok {
		return errNoUserEnvironment
	}
	wanted := []string{}
	for _, trouble := range troubles {
		if trouble.Package != "" {
			wanted = append(wanted, trouble.Package+"=="+trouble.Version)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	info, err := b.Host.Files.Lstat(live.Path())
	if err != nil {
		return err
	}
	owner := host.AttrOf(info)
	env, args := b.forUV()
	slices.Sort(wanted)
	argv := []string{uvProgram(), "pip", "install", "--quiet", "--no-deps", "--reinstall", "--no-cache", "--link-mode=copy", "--compile-bytecode",
		"--python", path.Join(live.Path(), "bin", "python")}
	_, err = b.Host.Runner.Run(ctx, host.Command{
		Argv: slices.Concat(argv, args, slices.Compact(wanted)), Env: env, UID: uint32(owner.UID), GID: uint32(owner.GID),
	})
	return host.Hint(err, "tljh-install env rollback goes back to a snapshot, without the network")
}
