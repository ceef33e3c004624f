package environment

import (
	"encoding/json"
	"maps"

	"tljh/internal/host"
	"tljh/internal/layout"
)

// returning is the note of a rollback or redo. It is on disk before the environment is switched, so that the next snapshot
// records what that switch was, even if the command was killed meanwhile.
type returning struct {
	To    string `json:"to"` // the generation's folder
	Title string `json:"title"`
	Who   string `json:"who"`
	Of    int    `json:"of"`
}

// Announce notes that a generation is about to become the live one, and why.
func Announce(files host.Files, to Generation, why Occasion) error {
	if why.Of == 0 {
		return nil
	}
	data, err := json.Marshal(returning{To: to.Path(), Title: why.Title, Who: why.Who, Of: why.Of})
	if err != nil {
		return err
	}
	return files.Write(layout.Returning, append(data, '\n'), host.Attr{Mode: 0o600})
}

// announced returns what the live environment was switched for, if nothing was changed in it since and no snapshot says so yet.
func announced(files host.Files, live Generation, packages map[string]string, line Lineage, why Occasion) Occasion {
	var note returning
	data, err := files.Read(layout.Returning)
	if why.Of != 0 || err != nil || json.Unmarshal(data, &note) != nil || note.To != live.Path() {
		return why
	}
	if of := line.find(note.Of); of == nil || !maps.Equal(of.Packages, packages) {
		return why
	}
	return Occasion{Title: note.Title, Who: note.Who, Of: note.Of}
}
