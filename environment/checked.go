package environment

import (
	"encoding/json"
	"fmt"
	"time"

	"tljh/internal/host"
	"tljh/internal/layout"
)

// Checked is what the last check of all files found. It holds for as long as no package of the same environment is changed.
type Checked struct {
	Time    time.Time `json:"time"`
	Of      string    `json:"of"`      // the generation's folder
	Changed time.Time `json:"changed"` // when its packages were last changed
	Broken  string    `json:"broken,omitempty"`
}

// BeginCheck notes what is going to be checked. It is false where there is nothing to check, or where somebody is changing it.
func BeginCheck(files host.Files) (Checked, bool) {
	live, ok := Current(files, User)
	changed, err := Changed(files)
	if !ok || err != nil || len(Changers(files)) > 0 {
		return Checked{}, false
	}
	return Checked{Of: live.Path(), Changed: changed}, true
}

// Record keeps what the check found, unless the environment was changed meanwhile: then the check has seen half of a change.
func (c Checked) Record(files host.Files, now time.Time, health Health) error {
	if again, ok := BeginCheck(files); !ok || !again.same(c) {
		return nil
	}
	c.Time, c.Broken = now.UTC().Truncate(time.Second), health.Words()
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return files.Write(layout.Checked, append(data, '\n'), host.Attr{Mode: 0o600})
}

func (c Checked) same(other Checked) bool { return c.Of == other.Of && c.Changed.Equal(other.Changed) }

// ForgetCheck drops what the last check found: it was repaired.
func ForgetCheck(files host.Files) error { return files.Remove(layout.Checked) }

// lastCheck returns what the last check found wrong with the live environment as it is now; "" for nothing.
func lastCheck(files host.Files, live Generation) string {
	var last Checked
	data, err := files.Read(layout.Checked)
	if err != nil || json.Unmarshal(data, &last) != nil || last.Broken == "" {
		return ""
	}
	changed, err := Changed(files)
	if err != nil || !last.same(Checked{Of: live.Path(), Changed: changed}) {
		return ""
	}
	return fmt.Sprintf("%s (found by the check of %s)", last.Broken, last.Time.Local().Format("2006-01-02 15:04"))
}
