package environment

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"tljh/conda"
	"tljh/internal/host"
	"tljh/internal/layout"
)

// Trouble is something wrong with the user environment.
type Trouble struct {
	Package  string `json:"package,omitempty"` // that has to be installed again
	Version  string `json:"version,omitempty"` // of it
	Explicit string `json:"from,omitempty"`    // where conda has it from; "" for a package from the index
	Words    string `json:"words"`
}

// needed are what a user's server cannot do without.
const needed = "import jupyterhub.singleuser, jupyter_server, jupyterlab, notebook, ipykernel, ipywidgets"

// Examine looks whether the live user environment is whole: its files against their records, whose they are, what a server needs, and JupyterHub's
// version. Nothing in it runs with any rights.
func (b *Builder) Examine(ctx context.Context) ([]Trouble, error) {
	live, ok := Current(b.Host.Files, User)
	if !ok {
		return nil, errNoUserEnvironment
	}
	env, err := b.Host.Files.Within(live.Path())
	if err != nil {
		return nil, err
	}
	defer env.Close()
	x := &examination{env: env, site: siteWithin(env), found: []Trouble{}}
	// It takes as long as to read all files: side by side, and given up where these tell what is wrong.
	trying, giveUp := context.WithCancel(ctx)
	defer giveUp()
	tried := make(chan error, 1)
	go func() { tried <- b.tryServer(trying, live.Path()) }()
	if err := x.all(ctx, live.Manager == "conda"); err != nil {
		return nil, err
	}
	settled, err := Kept(b.Host.Files)
	if err != nil {
		return nil, err
	}
	if err := x.whose(b.Host.Files, settled); err != nil {
		return nil, err
	}
	if live.Manager == "conda" {
		if damaged := b.BaseDamaged(); damaged != "" {
			x.tell(Trouble{Words: "conda itself is damaged: " + damaged})
		}
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
		x.tell(Trouble{Package: "jupyterhub", Version: JupyterHubVersion(), Words: words})
	}
	if len(x.found) == 0 { // else, why an import fails is known
		err := <-tried
		if err != nil && ctx.Err() != nil {
			return nil, err
		}
		if err != nil {
			x.tell(Trouble{Words: "a server would not start: " + lastLine(err)})
		}
	}
	return x.sorted(), nil
}

// tryServer runs what a server runs.
func (b *Builder) tryServer(ctx context.Context, dir string) error {
	start := needed + "; import runpy, sys; sys.argv[1:] = ['--version']; runpy.run_module('jupyterhub.singleuser', run_name='__main__', alter_sys=True)"
	_, err := b.asNobody(ctx, []string{path.Join(dir, "bin/python"), "-I", "-c", start}, dir)
	return err
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

// examination compares an environment's files with what was noted of them when they were installed.
type examination struct {
	env  *host.Within
	site string // where Python's packages are

	mu    sync.Mutex
	found []Trouble
}

func (x *examination) tell(trouble Trouble) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.found = append(x.found, trouble)
}

func (x *examination) sorted() []Trouble {
	slices.SortFunc(x.found, func(a, b Trouble) int { return strings.Compare(a.Package+a.Words, b.Package+b.Words) })
	return x.found
}

// all looks at all packages, as many side by side as there are processors.
func (x *examination) all(ctx context.Context, byConda bool) error {
	running, ctx := errgroup.WithContext(ctx)
	running.SetLimit(runtime.GOMAXPROCS(0))
	each := func(look func()) {
		running.Go(func() error {
			if ctx.Err() == nil {
				look()
			}
			return context.Cause(ctx)
		})
	}
	entries, err := conda.Entries(x.env)
	if err != nil {
		return err
	}
	if byConda && len(entries) == 0 {
		x.tell(Trouble{Words: "conda's records of what it installed are missing"})
	}
	for _, entry := range entries {
		each(func() { x.condaPackage(entry) })
	}
	names, err := x.env.List(x.site)
	if err != nil {
		x.tell(Trouble{Words: "its packages cannot be read: " + err.Error()})
	}
	for _, name := range names {
		match := distInfo.FindStringSubmatch(name)
		if match == nil || byConda && ofConda(x.env, path.Join(x.site, name)) {
			continue
		}
		each(func() {
			if words := x.wheel(name); words != "" {
				x.tell(Trouble{Package: plainName(match[1]), Version: match[2], Words: words})
			}
		})
	}
	return running.Wait()
}

const recordLimit = 64 << 20

// wheel returns what is wrong with a package from the index; "" for nothing.
func (x *examination) wheel(name string) string {
	data, err := x.env.Read(path.Join(x.site, name, "RECORD"), recordLimit)
	if err != nil {
		return "it has no list of its files"
	}
	reader := csv.NewReader(bytes.NewReader(data))
	reader.FieldsPerRecord = -1
	var broken findings
	for {
		row, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return broken.words()
		}
		if err != nil || len(row) == 0 {
			return "the list of its files cannot be read"
		}
		// Byte code is renewed as Python likes, and programs are written by the installer.
		if strings.HasSuffix(row[0], ".pyc") || !filepath.IsLocal(row[0]) {
			continue
		}
		sum := ""
		if len(row) > 1 {
			if encoded, ok := strings.CutPrefix(row[1], "sha256="); ok {
				raw, _ := base64.RawURLEncoding.DecodeString(encoded)
				sum = hex.EncodeToString(raw)
			}
		}
		broken.add(row[0], x.file(path.Join(x.site, row[0]), sum))
	}
}

// condaPackage looks at a package of conda's.
func (x *examination) condaPackage(entry conda.Entry) {
	record, err := entry.Read(x.env)
	if err != nil {
		x.tell(Trouble{Package: entry.Name, Version: entry.Version, Words: "conda's record of it is damaged"})
		return
	}
	var broken findings
	if entry.Interrupted() {
		broken.add("its repair", "was interrupted")
	}
	for _, file := range record.Paths.Paths {
		if strings.HasSuffix(file.Path, ".pyc") || !filepath.IsLocal(file.Path) {
			continue
		}
		switch file.Type {
		case "hardlink", "":
			sum := file.InPrefix
			if sum == "" {
				sum = file.SHA256
			}
			broken.add(file.Path, x.file(file.Path, sum))
		case "softlink":
			if info, err := x.env.Lstat(file.Path); err != nil || info.Mode().Type() != fs.ModeSymlink {
				broken.add(file.Path, "is missing")
			}
		}
	}
	if words := broken.words(); words != "" {
		x.tell(Trouble{Package: entry.Name, Version: entry.Version, Explicit: record.Explicitly(), Words: words})
	}
}

// findings are the broken files of a package.
type findings struct {
	number int
	first  string
}

func (f *findings) add(name, words string) {
	if words == "" {
		return
	}
	if f.number++; f.number == 1 {
		f.first = name + " " + words
	}
}

func (f *findings) words() string {
	if f.number > 1 {
		return fmt.Sprintf("%s, and %d more files", f.first, f.number-1)
	}
	return f.first
}

// file returns what is wrong with a file; a sum of "" is not known.
func (x *examination) file(name, sum string) string {
	info, err := x.env.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "is missing"
	case err != nil || !info.Mode().IsRegular():
		return "is no file any more"
	case sum == "":
		return ""
	}
	file, err := x.env.Open(name)
	if err != nil {
		return "cannot be read"
	}
	defer file.Close()
	digest := sha256.New()
	if _, err := io.Copy(digest, file); err != nil {
		return "cannot be read"
	}
	if hex.EncodeToString(digest.Sum(nil)) != sum {
		return "was changed"
	}
	return ""
}

// whose looks whether all can read the environment, and only those change it who may. What an admin has just installed is the admin's, until it is
// settled.
func (x *examination) whose(files host.Files, settled bool) error {
	uid, _, err := files.AccountIDs(layout.EnvironmentUser)
	if err != nil {
		return nil // no installation of ours, as in a test
	}
	var closed, open, strange findings
	err = fs.WalkDir(x.env.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // removed just now
			}
			return err
		}
		info, err := entry.Info()
		if err != nil || info.Mode().Type() == fs.ModeSymlink {
			return nil
		}
		// What root itself noted there is nobody else's.
		if owner := host.AttrOf(info).UID; settled && owner != uid && owner != 0 {
			strange.add(name, "belongs to "+files.AccountName(owner))
		}
		if info.Mode().Perm()&0o004 == 0 || info.IsDir() && info.Mode().Perm()&0o001 == 0 {
			closed.add(name, "cannot be read by all users")
		}
		if info.Mode().Perm()&0o002 != 0 {
			open.add(name, "can be changed by everybody")
		}
		return nil
	})
	for _, found := range []findings{closed, open, strange} {
		if words := found.words(); words != "" {
			x.tell(Trouble{Words: words})
		}
	}
	return err
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Repair puts back what Examine found broken, package by package. It runs as the environment's owner.
func (b *Builder) Repair(ctx context.Context, troubles []Trouble) error {
	live, ok := Current(b.Host.Files, User)
	if !ok {
		return errNoUserEnvironment
	}
	if live.Manager == "conda" && b.BaseDamaged() != "" {
		if err := b.EnsureMiniforge(ctx); err != nil {
			return err
		}
	}
	return b.Manager(live.Manager).Reinstall(ctx, live.Path(), troubles)
}
