package installer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"

	"tljh/config"
	"tljh/environment"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/version"
)

// Release is one that is or was installed. Fields are only ever added: later releases read it.
type Release struct {
	Version    string    `json:"version"`
	JupyterHub string    `json:"jupyterhub"`
	Proxy      string    `json:"proxy"`
	Python     string    `json:"python"`
	Schema     int       `json:"schema"`             // of the config
	Hub        int       `json:"hub"`                // number of the hub environment
	User       int       `json:"user"`               // number of the user environment that it began with
	Packages   string    `json:"packages,omitempty"` // digest of what was in that
	Since      time.Time `json:"since"`
	From       string    `json:"from,omitempty"` // where it came from
}

// Releases is what a machine has and had. All may read it; it holds nothing secret.
type Releases struct {
	Live   *Release  `json:"live"`
	Before *Release  `json:"before,omitempty"` // that rollback goes back to
	Left   string    `json:"left,omitempty"`   // the version that was gone back from last: its database is kept
	Past   []Passing `json:"past,omitempty"`   // the oldest first
}

// Passing is one change of the release.
type Passing struct {
	Time    time.Time `json:"time"`
	What    string    `json:"what"` // install, upgrade, rollback
	Version string    `json:"version"`
	From    string    `json:"from,omitempty"`
}

// pastLimit is how many changes are remembered.
const pastLimit = 50

// LoadReleases reads what is kept. A machine without has an empty one.
func LoadReleases(files host.Files) (*Releases, error) {
	data, err := files.Read(layout.ReleasesFile)
	if errors.Is(err, fs.ErrNotExist) {
		return &Releases{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read which releases are installed: %w", err)
	}
	releases := &Releases{}
	if err := json.Unmarshal(data, releases); err != nil {
		return nil, host.Hint(fmt.Errorf("cannot read %s: %w", layout.ReleasesFile, err), "move it aside: sudo mv %s %s.damaged; then sudo tljh-install install, which writes it anew", layout.ReleasesFile, layout.ReleasesFile)
	}
	return releases, nil
}

func (r *Releases) save(files host.Files) error {
	r.Past = r.Past[max(0, len(r.Past)-pastLimit):]
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := files.Mkdir(layout.Releases, rootDir); err != nil {
		return err
	}
	return files.Write(layout.ReleasesFile, append(data, '\n'), readable)
}

func (r *Releases) passed(now time.Time, what string, release *Release) {
	r.Past = append(r.Past, Passing{Time: now.UTC().Truncate(time.Second), What: what, Version: release.Version, From: release.From})
}

// thisRelease is this program's, with the environments that are live.
func thisRelease(files host.Files, now time.Time, from string) *Release {
	r := &Release{
		Version: version.Version, JupyterHub: environment.JupyterHubVersion(), Proxy: environment.ProxyVersion(), Python: environment.PythonRelease,
		Schema: config.Schema(), Since: now.UTC().Truncate(time.Second), From: from,
	}
	if live, ok := environment.Current(files, environment.Hub); ok {
		r.Hub = live.Number
	}
	if live, ok := environment.Current(files, environment.User); ok {
		r.User = live.Number
	}
	r.Packages, _ = environment.PackagesDigest(files)
	return r
}

// noteInstalled keeps what an installation is of, and its program: another may be put in its place.
func noteInstalled(files host.Files, now time.Time) error {
	releases, err := LoadReleases(files)
	if err != nil {
		return err
	}
	if live := releases.Live; live != nil && live.Version == version.Version && live.Schema == config.Schema() {
		if hub, ok := environment.Current(files, environment.Hub); ok && hub.Number == live.Hub {
			return keepProgram(files, version.Version)
		}
	}
	first := releases.Live == nil
	releases.Live = thisRelease(files, now, version.ReleaseURL)
	if first {
		releases.passed(now, "install", releases.Live)
	}
	if err := releases.save(files); err != nil {
		return err
	}
	return keepProgram(files, version.Version)
}

// program is where the program of a release is kept.
func program(version string) string {
	return path.Join(layout.Releases, version, path.Base(layout.Binary))
}

// keepProgram keeps the installed program under its version. It takes no disk: the installed one is replaced, never written into.
func keepProgram(files host.Files, version string) error {
	installed, err := os.Stat(files.Path(layout.Binary))
	if err != nil {
		return nil // an installation that was begun only
	}
	if kept, err := os.Stat(files.Path(program(version))); err == nil && os.SameFile(installed, kept) {
		return nil
	}
	if err := files.Mkdir(path.Dir(program(version)), rootDir); err != nil {
		return err
	}
	if err := files.HardLink(layout.Binary, program(version)); err != nil {
		return fmt.Errorf("cannot keep the program of %s: %w", version, err)
	}
	return nil
}

// What is kept of a release when another takes its place.
func keptDir(version string) string      { return path.Join(layout.Kept, version) }
func keptDatabase(version string) string { return path.Join(keptDir(version), path.Base(liveDatabase)) }
func keptConfig(version string) string   { return path.Join(keptDir(version), path.Base(layout.Config)) }

const liveDatabase = layout.State + "/jupyterhub.sqlite"

// tidy removes what is kept of releases that nobody can go back to any more.
func (r *Releases) tidy(files host.Files) error {
	needed := []string{path.Base(layout.ReleasesFile)}
	for _, release := range []*Release{r.Live, r.Before} {
		if release != nil {
			needed = append(needed, release.Version)
		}
	}
	if r.Left != "" {
		needed = append(needed, r.Left)
	}
	var errs error
	for _, dir := range []string{layout.Releases, layout.Kept} {
		names, err := files.List(dir)
		errs = errors.Join(errs, err)
		for _, name := range names {
			if !slices.Contains(needed, name) {
				errs = errors.Join(errs, files.RemoveTree(path.Join(dir, name)))
			}
		}
	}
	return errs
}

// neededHubs are the numbers of hub environments that a rollback, or the end of an upgrade that was interrupted, needs.
func neededHubs(files host.Files) ([]int, error) {
	needed := []int{}
	releases, err := LoadReleases(files)
	if err != nil {
		return nil, err
	}
	for _, release := range []*Release{releases.Live, releases.Before} {
		if release != nil {
			needed = append(needed, release.Hub)
		}
	}
	change, err := loadChange(files)
	if err == nil && change != nil {
		needed = append(needed, change.Old.Hub)
	}
	return needed, err
}
