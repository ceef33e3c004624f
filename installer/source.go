package installer

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"tljh/environment"
	"tljh/internal/host"
	"tljh/internal/layout"
)

// sourceFolder is where what an environment is made from lies while it is made. It belongs to the account that makes it.
const sourceFolder = layout.Cache + "/source"

// Limits of a source.
const (
	archiveLimit  = 256 << 20
	unpackedLimit = 1 << 30
	filesLimit    = 100_000
)

// bring copies a source to its folder: a folder, an archive, or what git has under an address.
func (k *Keeper) bring(ctx context.Context, source string) (*environment.Source, error) {
	files := k.Host.Files
	uid, gid, err := files.AccountIDs(layout.EnvironmentUser)
	if err != nil {
		return nil, err
	}
	home := path.Dir(sourceFolder)
	if err := errors.Join(files.Mkdir(home, host.Attr{Mode: 0o711}), files.RemoveTree(sourceFolder)); err != nil {
		return nil, err
	}
	// What an earlier command left running as that account would get into what root makes here. Root's own work is handed over when it is done.
	if err := k.Host.EndLeftovers(ctx, uid); err != nil {
		return nil, err
	}
	for _, dir := range []string{sourceFolder, sourceFiles} {
		if err := files.Mkdir(dir, host.Attr{Mode: 0o700}); err != nil {
			return nil, err
		}
	}
	if err := k.fill(ctx, source, uid, gid); err != nil {
		return nil, badInput(fmt.Errorf("cannot read %s: %w", source, err))
	}
	if err := files.Give(sourceFolder, uid, gid); err != nil {
		return nil, err
	}
	read, err := readSource(files)
	if err != nil {
		return nil, badInput(fmt.Errorf("%s: %w", source, err))
	}
	return read, nil
}

// sourceFiles is the source itself.
const sourceFiles = sourceFolder + "/files"

// readSource reads what was brought. The folder is another account's by now: each way into it begins at the one that only root can rename.
func readSource(files host.Files) (*environment.Source, error) {
	folder, err := files.Within(sourceFolder)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	name := single(folder, path.Base(sourceFiles))
	within, err := folder.Within(name)
	if err != nil {
		return nil, err
	}
	defer within.Close()
	return environment.ReadSourceWithin(within, path.Join(sourceFolder, name))
}

// single returns the only folder within one that holds nothing else, as archives often have it; or else the folder itself.
func single(within *host.Within, dir string) string {
	names, err := within.List(dir)
	if err != nil || len(names) != 1 {
		return dir
	}
	inner := path.Join(dir, names[0])
	if info, err := within.Lstat(inner); err != nil || !info.IsDir() || names[0] == "binder" || names[0] == ".binder" {
		return dir
	}
	return inner
}

func (k *Keeper) fill(ctx context.Context, source string, uid, gid int) error {
	to := k.Host.Files.Path(sourceFiles)
	if _, err := os.Lstat(source); err == nil {
		return fillFrom(source, to)
	}
	address, isGit := strings.CutPrefix(source, "git+")
	parsed, err := url.Parse(address)
	switch {
	case err != nil || parsed.Scheme == "" || !strings.Contains(source, "://"):
		return errors.New("there is no such file or folder, and it is no address")
	case !isGit && archiveName(parsed.Path) != "":
		data, _, _, err := k.Builder.Client.Page(ctx, address, "*/*", archiveLimit)
		if err != nil {
			return err
		}
		return unpack(parsed.Path, data, to)
	}
	return k.clone(ctx, parsed, uid, gid)
}

// clone lets git bring an address. What follows # is a branch or a tag.
func (k *Keeper) clone(ctx context.Context, address *url.URL, uid, gid int) error {
	// It runs as the account that the source is for.
	if err := k.Host.Files.Give(sourceFolder, uid, gid); err != nil {
		return err
	}
	if address.Scheme != "https" && address.Scheme != "http" && address.Scheme != "file" {
		return fmt.Errorf("addresses that begin with %s:// cannot be fetched here: use https://", address.Scheme)
	}
	argv := []string{"git", "-c", "protocol.ext.allow=never", "clone", "--quiet", "--depth=1"}
	if ref := address.Fragment; ref != "" {
		argv = append(argv, "--branch="+ref)
	}
	plain := *address
	plain.Fragment = ""
	env := append(k.Builder.DownloadEnv(), "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_NOSYSTEM=1")
	confine := &host.Confine{Writable: []string{sourceFolder}}
	if address.Scheme == "file" && host.Hidden(address.Path) {
		confine.Readable = []string{address.Path}
	}
	_, err := k.Host.Runner.Run(ctx, host.Command{
		Argv: append(argv, "--", plain.String(), k.Host.Files.Path(path.Join(sourceFiles, "files"))), Env: env, Dir: sourceFiles,
		UID: uint32(uid), GID: uint32(gid), Confine: confine,
	})
	if err != nil && strings.Contains(err.Error(), "no such program") {
		return host.Hint(err, "install git on this machine, or name an archive (.zip, .tar.gz) of it instead")
	}
	return err
}

// archiveName returns the ending of an archive's name; "" for what is none.
func archiveName(name string) string {
	for _, ending := range []string{".zip", ".tar.gz", ".tgz"} {
		if strings.HasSuffix(strings.ToLower(name), ending) {
			return ending
		}
	}
	return ""
}

// unpacking writes files below a folder that is new and root's: nothing leads out of it.
type unpacking struct {
	root  *os.Root
	left  int64
	files int
}

func newUnpacking(dir string) (*unpacking, error) {
	root, err := os.OpenRoot(dir)
	return &unpacking{root: root, left: unpackedLimit, files: filesLimit}, err
}

func (p *unpacking) folder(name string) error {
	if name == "." {
		return nil
	}
	if err := p.folder(path.Dir(name)); err != nil {
		return err
	}
	if err := p.root.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func (p *unpacking) file(name string, run bool, from io.Reader) (err error) {
	if !filepath.IsLocal(name) {
		return fmt.Errorf("it contains the odd name %q", name)
	}
	name = path.Clean(name)
	if p.files--; p.files < 0 {
		return fmt.Errorf("it has more than %d files", filesLimit)
	}
	if err := p.folder(path.Dir(name)); err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if run {
		mode = 0o755
	}
	file, err := p.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	n, err := io.Copy(file, io.LimitReader(from, p.left+1))
	if err != nil {
		return err
	}
	if p.left -= n; p.left < 0 {
		return fmt.Errorf("it has more than %d MB", unpackedLimit>>20)
	}
	return nil
}

// fillFrom copies a folder or unpacks an archive that a person named. Its owner may change it meanwhile.
func fillFrom(source, to string) error {
	opened, err := host.Files{}.OpenNamed(source)
	if err != nil {
		return err
	}
	defer opened.Close()
	info, err := opened.Stat()
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return copyFolder(opened, host.AttrOf(info).UID, to)
	case !info.Mode().IsRegular():
		return errors.New("it is no folder, and no file")
	case info.Size() > archiveLimit:
		return fmt.Errorf("it is larger than %d MB", archiveLimit>>20)
	}
	data, err := io.ReadAll(io.LimitReader(opened, archiveLimit))
	if err != nil {
		return err
	}
	return unpack(source, data, to)
}

// copyFolder copies a folder's files. What is neither file nor folder is left out, as is git's own. A file that the folder's owner might not read is
// not copied for them.
func copyFolder(from *os.File, owner int, to string) error {
	p, err := newUnpacking(to)
	if err != nil {
		return err
	}
	defer p.root.Close()
	within, err := host.WithinNamed(from)
	if err != nil {
		return err
	}
	defer within.Close()
	return fs.WalkDir(within.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == ".git":
			return fs.SkipDir
		case !entry.Type().IsRegular():
			return nil
		}
		file, err := within.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return err
		}
		if uid := host.AttrOf(info).UID; owner != 0 && uid != owner && info.Mode().Perm()&0o004 == 0 {
			return fmt.Errorf("%s belongs to another account, and is not for everybody to read", name)
		}
		return p.file(name, info.Mode().Perm()&0o100 != 0, file)
	})
}

func unpack(name string, data []byte, to string) error {
	p, err := newUnpacking(to)
	if err != nil {
		return err
	}
	defer p.root.Close()
	switch archiveName(name) {
	case ".zip":
		return p.zip(data)
	case ".tar.gz", ".tgz":
		return p.tar(data)
	}
	return errors.New("it is no folder, and no archive (.zip, .tar.gz)")
}

func (p *unpacking) zip(data []byte) error {
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return err
	}
	for _, entry := range archive.File {
		if !entry.Mode().IsRegular() {
			continue
		}
		if err := p.zipped(entry); err != nil {
			return err
		}
	}
	return nil
}

func (p *unpacking) zipped(entry *zip.File) error {
	from, err := entry.Open()
	if err != nil {
		return err
	}
	defer from.Close()
	return p.file(entry.Name, entry.Mode().Perm()&0o100 != 0, from)
}

func (p *unpacking) tar(data []byte) error {
	unzipped, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return err
	}
	archive := tar.NewReader(unzipped)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		if err := p.file(header.Name, header.Mode&0o100 != 0, archive); err != nil {
			return err
		}
	}
}
