package installer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"tljh/internal/host"
	"tljh/internal/layout"
)

// snippets is what the hub writes down about the files in jupyterhub_config.d at every start.
type snippets struct {
	Files    []string      `json:"files"`
	Problems []snippetWord `json:"problems"` // what is not used
	Notes    []snippetWord `json:"notes"`    // what has no effect, and does no harm
	Closed   bool          `json:"closed"`   // only admins can log in anew
}

type snippetWord struct {
	File  string `json:"file"`
	Words string `json:"words"`
}

func (w snippetWord) String() string { return w.File + ": " + w.Words }

// readSnippets returns nil where no hub has written anything.
func readSnippets(files host.Files) (*snippets, error) {
	data, err := files.Read(layout.Snippets)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	found := &snippets{}
	if err := json.Unmarshal(data, found); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", layout.Snippets, err)
	}
	return found, nil
}

// problems says in one line what is not used; "" if everything is.
func (s *snippets) problems() string {
	if s == nil || len(s.Problems) == 0 {
		return ""
	}
	words := []string{}
	for _, word := range s.Problems {
		words = append(words, word.String())
	}
	if s.Closed {
		words = append(words, "only admins can log in until this is fixed")
	}
	return strings.Join(words, "; ")
}

const (
	snippetsHint = "correct the files in " + layout.ConfigD + ", then: systemctl restart " + layout.HubUnit
	pluginsHint  = "without the plugin: sudo tljh-install config remove hub.packages NAME, then sudo tljh-install install"
	pluginMark   = "plugin " // what the hub writes before the name of one
)

// hint is what to do about what is not used.
func (s *snippets) hint() string {
	hints := []string{}
	for _, word := range s.Problems {
		hint := snippetsHint
		if strings.HasPrefix(word.File, pluginMark) {
			hint = pluginsHint
		}
		if !slices.Contains(hints, hint) {
			hints = append(hints, hint)
		}
	}
	return strings.Join(hints, "; ")
}

// lookAtSnippets reports what the hub uses of jupyterhub_config.d. Without files there is nothing to report.
func lookAtSnippets(files host.Files) (PartStatus, bool) {
	part := PartStatus{Name: "jupyterhub_config.d"}
	told, err := readSnippets(files)
	switch {
	case err != nil:
		part.State, part.Problem = err.Error(), true
	case told == nil || len(told.Files) == 0:
		return part, false
	case told.problems() != "":
		part.State, part.Problem, part.Hint = told.problems(), true, told.hint()
	default:
		part.State = "in effect: " + strings.Join(told.Files, ", ")
		for _, note := range told.Notes {
			part.State += "; " + note.String()
		}
	}
	return part, true
}
