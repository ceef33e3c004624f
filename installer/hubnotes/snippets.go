package hubnotes

import (
	"slices"
	"strings"

	"tljh/internal/host"
	"tljh/internal/layout"
)

// Snippets is what the hub writes down about the files in jupyterhub_config.d at every start.
type Snippets struct {
	Files    []string      `json:"files"`
	Problems []SnippetNote `json:"problems"` // what is not used
	Notes    []SnippetNote `json:"notes"`    // what has no effect, and does no harm
	Closed   bool          `json:"closed"`   // only admins can log in anew
}

// SnippetNote is what the hub says of one file.
type SnippetNote struct {
	File  string `json:"file"`
	Words string `json:"words"`
}

func (w SnippetNote) String() string { return w.File + ": " + w.Words }

// ReadSnippets returns nil where no hub has written anything.
func ReadSnippets(files host.Files) (*Snippets, error) { return read[Snippets](files, layout.Snippets) }

// NotUsed says in one line what is not used; "" if everything is.
func (s *Snippets) NotUsed() string {
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

// Hint is what to do about what is not used.
func (s *Snippets) Hint() string {
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
