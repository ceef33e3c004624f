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

// tryServer runs what a server runs.
func (b *examiner) tryServer(ctx context.Context, dir string) error {
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

func (b *tools) asNobody(ctx context.Context, argv []string, dir string) (host.Result, error) {
	return b.Host.Runner.Run(ctx, host.Command{
		Argv: argv, UID: nobody, GID: nobody, Confine: &host.Confine{Throwaway: true, Offline: true},
		Env: []string{"PATH=" + path.Join(dir, "bin") + ":" + host.Path, "HOME=/nonexistent", "LANG=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1"},
	})
}

// examination compares an environment's files with what was noted of them when they were installed.
type examination struct {
	env  *host.Within
	site string // where Python's packages are

	kept *host.Within // the last healthy snapshot of the same folder; nil for none

	mu    sync.Mutex
	found []Trouble
	notes []Trouble // what is worth knowing, and no damage
}

func examinationOf(files host.Files, env *host.Within, dir string) *examination {
	return &examination{env: env, site: siteWithin(env), kept: keptOf(files, dir), found: []Trouble{}}
}

func (x *examination) close() {
	if x.kept != nil {
		_ = x.kept.Close()
	}
}

func (x *examination) note(about Trouble) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.notes = append(x.notes, about)
}

func (x *examination) tell(trouble Trouble) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.found = append(x.found, trouble)
}

func (x *examination) health() Health {
	for _, found := range [][]Trouble{x.found, x.notes} {
		slices.SortFunc(found, func(a, b Trouble) int { return strings.Compare(a.Package+a.Words, b.Package+b.Words) })
	}
	return Health{x.found, x.notes}
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
		x.tell(Trouble{Words: noRecords})
	}
	metadata, err := x.listMetadata(byConda)
	if err != nil {
		x.tell(Trouble{Words: "its packages cannot be read: " + err.Error()})
	}
	layers := layers{metadata: metadata, owned: map[string]int{}}
	records := x.records(entries)
	for _, noted := range records {
		for _, file := range noted.record.Paths.Paths {
			layers.owned[file.Path]++
		}
		layers.claim(noted.record)
	}
	x.interrupted(layers, records)
	for _, noted := range records {
		each(func() { x.condaPackage(noted, layers) })
	}
	for _, one := range metadata {
		if !one.byConda {
			each(func() { x.indexPackage(one, layers) })
		}
	}
	return running.Wait()
}

const noRecords = "conda's records of what it installed are missing"

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
		// Byte code is renewed as Python likes.
		name := path.Join(x.site, row[0])
		if strings.HasSuffix(row[0], ".pyc") || path.IsAbs(row[0]) || !filepath.IsLocal(name) {
			continue
		}
		if !filepath.IsLocal(row[0]) {
			broken.add(name, x.installed(name))
			continue
		}
		sum := ""
		if len(row) > 1 {
			if encoded, ok := strings.CutPrefix(row[1], "sha256="); ok {
				raw, _ := base64.RawURLEncoding.DecodeString(encoded)
				sum = hex.EncodeToString(raw)
			}
		}
		broken.add(row[0], x.file(name, sum))
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
	case info.Size() > fileLimit:
		return "was changed: it is larger than any file of a package"
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

// installed returns what is wrong with a program of a package. Whoever installs programs writes them anew, with the environment's path in them, so that their
// sums say nothing. Data is not looked at: what no server needs is left out on purpose.
func (x *examination) installed(name string) string {
	if path.Dir(name) != "bin" {
		return ""
	}
	if words := x.file(name, ""); words != "" {
		return words
	}
	if info, err := x.env.Lstat(name); err != nil || info.Mode().Perm()&0o111 != 0o111 {
		return "cannot be run by all users"
	}
	return ""
}

// program tells when what a server's unit runs is not there, whichever package it belongs to: the hub would start no server from this environment.
func (x *examination) program() {
	const name = "bin/jupyterhub-singleuser"
	for _, known := range x.found {
		if known.Package == "jupyterhub" {
			return
		}
	}
	if words := x.installed(name); words != "" {
		x.tell(Trouble{Package: "jupyterhub", Version: JupyterHubVersion(), Words: name + " " + words})
	}
}

// whose checks that all can read the environment, and only those change it who may.
func (x *examination) whose(files host.Files) error {
	may, err := owners(files)
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
		if owner := host.AttrOf(info).UID; !may[owner] {
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
