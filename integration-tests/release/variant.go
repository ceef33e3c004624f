package release

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"aead.dev/minisign"

	"tljh/internal/release"
)

// Variant is a release that differs from the source tree. It is built for this machine's architecture only, and signed with a key for tests.
type Variant struct {
	Version string
	Folders []string // of integration-tests/testdata: what is in them takes the place of the tree's
	Edits   []Edit
}

// Edit is a change of one file of the tree.
type Edit struct{ File, Old, New string }

// Previous is a release of the minor before, with JupyterHub 5.
func Previous(version string) Variant {
	const from, to = "from jupyterhub.httpclient import fetch", "from tljh.previous import fetch"
	return Variant{
		Version: version, Folders: []string{"previous"},
		Edits: []Edit{{"hub/src/tljh/proxy.py", from, to}, {"hub/src/tljh/spawner.py", from, to}, {
			"hub/src/tljh/failures.py", "from jupyterhub.spawner import SpawnException", "from tljh.previous import SpawnException",
		}},
	}
}

// Next is one with another schema of the config.
func Next(version string) Variant { return Variant{Version: version, Folders: []string{"next"}} }

// WithOtherProxy makes the proxy of a release another than that of the tree.
func (v Variant) WithOtherProxy() Variant {
	v.Edits = append(slices.Clone(v.Edits), Edit{"hub/proxy/package.json", `"version": "1.0.0"`, `"version": "0.9.0"`},
		Edit{"hub/proxy/package-lock.json", `"version": "1.0.0"`, `"version": "0.9.0"`})
	return v
}

// With changes a file.
func (v Variant) With(file, old, new string) Variant {
	v.Edits = append(slices.Clone(v.Edits), Edit{file, old, new})
	return v
}

// Workshop builds variants, and keeps them in a folder as long as neither they nor the tree change.
type Workshop struct {
	Repository string
	Cache      string

	key minisign.PrivateKey
}

// OpenWorkshop makes the key for tests unless it is there.
func OpenWorkshop(repository, cache string) (*Workshop, error) {
	w := &Workshop{Repository: repository, Cache: filepath.Join(cache, "releases")}
	if err := os.MkdirAll(w.Cache, 0o755); err != nil {
		return nil, err
	}
	file := filepath.Join(w.Cache, "key")
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		_, key, err := minisign.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		if text, err = key.MarshalText(); err != nil {
			return nil, err
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	return w, w.key.UnmarshalText(text)
}

// Public is the key that variants trust, on one line.
func (w *Workshop) Public() string {
	public, _ := w.key.Public().(minisign.PublicKey)
	return public.String()
}

// Sign writes a folder's checksums and their signature anew, as those of a version.
func (w *Workshop) Sign(folder, version string) error {
	names, err := filepath.Glob(filepath.Join(folder, "tljh-install-*"))
	if err != nil {
		return err
	}
	var sums bytes.Buffer
	for _, name := range append(names, filepath.Join(folder, Bootstrap)) {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(data), filepath.Base(name))
	}
	stamped := release.Stamp(sums.Bytes(), time.Now())
	signature, err := release.Sign(w.key, version, stamped)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(folder, Sums), stamped, 0o644), os.WriteFile(filepath.Join(folder, release.Signature), signature, 0o644))
}

// Build returns the folder of a variant. It must not be changed.
func (w *Workshop) Build(ctx context.Context, v Variant) (string, error) {
	replace, sum, err := w.overlay(v)
	if err != nil {
		return "", err
	}
	folder := filepath.Join(w.Cache, v.Version+"-"+sum[:16])
	if _, err := os.Stat(filepath.Join(folder, release.Signature)); err == nil {
		return folder, nil
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	overlay, err := w.writeOverlay(folder, replace)
	if err != nil {
		return "", err
	}
	ldflags := "-s -w -X tljh/internal/version.Version=" + v.Version + " -X tljh/internal/version.ReleaseKey=" + w.Public()
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-overlay", overlay, "-ldflags", ldflags,
		"-o", filepath.Join(folder, "tljh-install-linux-"+runtime.GOARCH), "./cmd/tljh-install")
	cmd.Dir = w.Repository
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build %s: %w: %s", v.Version, err, bytes.TrimSpace(out))
	}
	script, err := os.ReadFile(filepath.Join(w.Repository, Bootstrap))
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(folder, Bootstrap), script, 0o755); err != nil {
		return "", err
	}
	return folder, w.Sign(folder, v.Version)
}

// overlay returns what takes the place of which file of the tree, and a digest of all that the build depends on.
func (w *Workshop) overlay(v Variant) (map[string][]byte, string, error) {
	replace := map[string][]byte{}
	for _, name := range v.Folders {
		root := filepath.Join(w.Repository, "integration-tests", "testdata", name)
		err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			relative, err := filepath.Rel(root, file)
			if err != nil {
				return err
			}
			replace[relative], err = os.ReadFile(file)
			return err
		})
		if err != nil {
			return nil, "", err
		}
	}
	for _, edit := range v.Edits {
		text, ok := replace[edit.File]
		if !ok {
			var err error
			if text, err = os.ReadFile(filepath.Join(w.Repository, edit.File)); err != nil {
				return nil, "", err
			}
		}
		if !bytes.Contains(text, []byte(edit.Old)) {
			return nil, "", fmt.Errorf("%s does not hold %q any more: change the variant of %s", edit.File, edit.Old, v.Version)
		}
		replace[edit.File] = bytes.Replace(text, []byte(edit.Old), []byte(edit.New), 1)
	}
	sum, err := w.digest(v, replace)
	return replace, sum, err
}

// sources are the kinds of files that a program is built from.
var sources = []string{".go", ".py", ".html", ".txt", ".json", ".service", ".socket", ".slice", ".path", ".timer", ".tmpl", ".mod", ".sum", ".yaml", ".pub", ".sh"}

func (w *Workshop) digest(v Variant, replace map[string][]byte) (string, error) {
	sum := sha256.New()
	fmt.Fprintf(sum, "%s %s\n", v.Version, w.Public())
	err := filepath.WalkDir(w.Repository, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if file != w.Repository && (strings.HasPrefix(name, ".") || slices.Contains([]string{"integration-tests", "docs", "dist", "artefacts", "testdata", "tests"}, name) && filepath.Base(filepath.Dir(file)) != "internal") {
				return filepath.SkipDir
			}
			return nil
		}
		if !slices.Contains(sources, filepath.Ext(name)) || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		data, err := os.ReadFile(file)
		fmt.Fprintf(sum, "%s %x\n", strings.TrimPrefix(file, w.Repository), sha256.Sum256(data))
		return err
	})
	for _, file := range sortedKeys(replace) {
		fmt.Fprintf(sum, "%s %x\n", file, sha256.Sum256(replace[file]))
	}
	return hex.EncodeToString(sum.Sum(nil)), err
}

func sortedKeys(files map[string][]byte) []string {
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// writeOverlay writes the files and the list that the go command reads.
func (w *Workshop) writeOverlay(folder string, replace map[string][]byte) (string, error) {
	list := struct{ Replace map[string]string }{map[string]string{}}
	for file, data := range replace {
		to := filepath.Join(folder, "overlay", file)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(to, data, 0o644); err != nil {
			return "", err
		}
		list.Replace[filepath.Join(w.Repository, file)] = to
	}
	data, err := json.Marshal(list)
	if err != nil {
		return "", err
	}
	name := filepath.Join(folder, "overlay.json")
	return name, os.WriteFile(name, data, 0o644)
}
