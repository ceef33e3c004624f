package environment

import (
	"archive/zip"
	"compress/flate"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The carried CPython comes without ensurepip, and "python -m venv" ends with an error where there is none.
//
//go:embed ensurepip/*.py
var ensurepip embed.FS

// carryEnsurepip puts a module ensurepip into the library of a CPython that is being unpacked, with the carried pip as the wheel that it installs.
func (b *carried) carryEnsurepip(staging string) error {
	lib := filepath.Join(b.Host.Files.Path(staging), "lib", "python"+pythonMinor)
	if err := os.CopyFS(lib, ensurepip); err != nil {
		return err
	}
	bundled := filepath.Join(lib, "ensurepip", "_bundled")
	if err := os.Mkdir(bundled, 0o755); err != nil {
		return err
	}
	tmp, err := b.tmp()
	if err != nil {
		return err
	}
	return withPip(tmp, func(pip string) error { return packPip(pip, bundled) })
}

// notInWheel are what an installation of pip has and its wheel has not.
var notInWheel = map[string]bool{"INSTALLER": true, "REQUESTED": true, "RECORD": true}

// packPip makes the wheel of an installed pip.
func packPip(pip, folder string) (err error) {
	infos, err := filepath.Glob(filepath.Join(pip, "pip-*.dist-info"))
	if err != nil || len(infos) != 1 {
		return errors.Join(fmt.Errorf("the carried pip has %d descriptions", len(infos)), err)
	}
	info := filepath.Base(infos[0])
	file, err := os.Create(filepath.Join(folder, strings.TrimSuffix(info, ".dist-info")+"-py3-none-any.whl"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	wheel := zip.NewWriter(file)
	wheel.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestCompression) })
	for _, part := range []string{"pip", info} {
		if err := pack(wheel, pip, part, func(name string) bool { return part == info && notInWheel[name] }); err != nil {
			return err
		}
	}
	record, err := os.ReadFile(filepath.Join(infos[0], "RECORD"))
	if err != nil {
		return err
	}
	to, err := wheel.Create(info + "/RECORD")
	if err != nil {
		return err
	}
	if _, err := io.WriteString(to, wheelRecord(string(record), info)); err != nil {
		return err
	}
	return wheel.Close()
}

// wheelRecord leaves out of the record of an installation what its wheel has not: its programs, which pip makes anew for each environment, above all.
func wheelRecord(record, info string) string {
	var kept strings.Builder
	for line := range strings.Lines(record) {
		name, _, _ := strings.Cut(line, ",")
		if own, ok := strings.CutPrefix(name, info+"/"); strings.HasPrefix(name, "../") || ok && notInWheel[own] && own != "RECORD" {
			continue
		}
		kept.WriteString(line)
	}
	return kept.String()
}

// pack adds a folder below root to an archive.
func pack(archive *zip.Writer, root, folder string, skip func(name string) bool) error {
	return filepath.WalkDir(filepath.Join(root, folder), func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || skip(entry.Name()) {
			return err
		}
		name, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		to, err := archive.Create(filepath.ToSlash(name))
		if err != nil {
			return err
		}
		_, err = to.Write(data)
		return err
	})
}
