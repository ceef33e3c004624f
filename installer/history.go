package installer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"tljh/internal/host"
	"tljh/internal/layout"
)

// Version is a config that was put into effect.
type Version struct {
	Number int       `json:"number"`
	Time   time.Time `json:"time"`
	Who    string    `json:"who"`
	How    string    `json:"how"` // the command, without values
	SHA256 string    `json:"sha256"`
}

// History keeps every config that was put into effect: a line in a journal, and the file as it was. Both are root's only, as configs hold
// secrets.
type History struct {
	Files host.Files
	Now   func() time.Time
}

func historyJournal() string { return path.Join(layout.ConfigHistory, "history.jsonl") }

func (v Version) file() string {
	return path.Join(layout.ConfigHistory, fmt.Sprintf("%06d.yaml", v.Number))
}

// Versions returns all versions, the oldest first. A line that an interruption cut is passed over.
func (h History) Versions() ([]Version, error) {
	data, err := h.Files.Read(historyJournal())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the config's history: %w", err)
	}
	versions := []Version{}
	for line := range bytes.Lines(data) {
		var version Version
		if json.Unmarshal(line, &version) == nil && version.Number > 0 {
			versions = append(versions, version)
		}
	}
	return versions, nil
}

// Text returns a version's file, which must be the one that was kept.
func (h History) Text(version Version) ([]byte, error) {
	data, err := h.Files.Read(version.file())
	if err != nil {
		return nil, fmt.Errorf("cannot read version %d of the config: %w", version.Number, err)
	}
	if host.SHA256(data) != version.SHA256 {
		return nil, fmt.Errorf("version %d of the config is not what was kept: %s was changed", version.Number, version.file())
	}
	return data, nil
}

// Last returns the newest version and its file; false when there is none that can be read.
func (h History) Last() (Version, []byte, bool) {
	versions, err := h.Versions()
	if err != nil || len(versions) == 0 {
		return Version{}, nil, false
	}
	last := versions[len(versions)-1]
	text, err := h.Text(last)
	return last, text, err == nil
}

// Add keeps a config as the newest version, unless it is that already.
func (h History) Add(text []byte, who, how string) error {
	versions, err := h.Versions()
	if err != nil {
		return err
	}
	version := Version{Number: 1, Time: h.Now().UTC().Truncate(time.Second), Who: who, How: how, SHA256: host.SHA256(text)}
	if len(versions) > 0 {
		last := versions[len(versions)-1]
		if last.SHA256 == version.SHA256 {
			return nil
		}
		version.Number = last.Number + 1
	}
	line, err := json.Marshal(version)
	if err != nil {
		return err
	}
	if err := h.Files.Mkdir(layout.ConfigHistory, private); err != nil {
		return err
	}
	// The file first: a line always has one.
	if err := h.Files.Write(version.file(), text, secret); err != nil {
		return err
	}
	// A line that was cut before must not swallow this one.
	return h.Files.Append(historyJournal(), append([]byte("\n"), append(line, '\n')...), secret)
}
