// Package statetest writes what machines in the states of package installer have on disk, for tests of what commands do then. The files are as programs
// wrote them, word for word: what reads them is what is tested.
package statetest

import (
	"fmt"
	"os"
	"path"

	"tljh/internal/host"
	"tljh/internal/layout"
)

// Make makes a machine below a root of its own be in a state. ours is the version of the program that is tested, other one of another.
func Make(files host.Files, state, ours, other string) error {
	m := machine{files: files, ours: ours, other: other}
	m.folder(layout.State)
	switch state {
	case "none":
	case "unfinished":
		m.receipt("begin")
	case "unproved":
		m.receipt("end")
		m.hub()
	case "installed":
		m.installed(ours)
	case "other-program":
		m.installed(other)
	case "upgrade-pending":
		m.installed(other)
		m.change(false, "switching")
	case "going-back-pending":
		m.installed(other)
		m.change(false, "back")
	case "rollback-pending":
		m.installed(ours)
		m.change(true, "restored")
	case "legacy":
		m.legacy()
	case "legacy-incomplete":
		m.write(layout.Hub+"/bin/python3", "")
	case "adoption-preparing":
		m.legacy()
		m.adoption("preparing")
	case "adoption-switching":
		m.receipt("end")
		m.hub()
		m.adoption("switching")
	case "adoption-back":
		m.legacy()
		m.adoption("back")
	case "adoption-proved":
		m.installed(ours)
		m.adoption("proved")
	case "uninstall-pending":
		m.receipt("uninstall")
		m.releases(ours)
	default:
		return fmt.Errorf("there is no state %q", state)
	}
	return m.err
}

// machine remembers the first error.
type machine struct {
	files       host.Files
	ours, other string
	err         error
}

func (m *machine) do(err error) {
	if m.err == nil {
		m.err = err
	}
}

func (m *machine) folder(name string) { m.do(os.MkdirAll(m.files.Path(name), 0o755)) }

func (m *machine) write(name, text string) {
	m.folder(path.Dir(name))
	m.do(os.WriteFile(m.files.Path(name), []byte(text), 0o644))
}

func (m *machine) receipt(last string) {
	m.write(layout.Receipt, fmt.Sprintf(`{"event":"run","time":"2026-11-01T10:00:00Z","format":2,"version":%q}
{"event":"begin","time":"2026-11-01T10:00:01Z","step":"group tljh-proxy","before":{"existed":false}}
{"event":%q,"time":"2026-11-01T10:00:02Z","step":"group tljh-proxy","fingerprint":"x"}
`, m.ours, last))
}

func (m *machine) hub() {
	m.folder(layout.Generations + "/hub-1")
	m.do(os.Symlink("generations/hub-1", m.files.Path(layout.Hub)))
}

func (m *machine) releases(live string) {
	m.write(layout.ReleasesFile, fmt.Sprintf(`{"live": {"version": %q, "hub": 1, "since": "2026-11-01T10:00:00Z"}}`+"\n", live))
}

func (m *machine) installed(live string) {
	m.receipt("done")
	m.hub()
	m.releases(live)
	m.write(layout.Config, "users: {admin: [alice]}\n")
}

func (m *machine) change(rollback bool, phase string) {
	m.write(layout.Upgrade, fmt.Sprintf(`{"rollback": %t, "phase": %q, "old": {"version": %q}, "new": %q}`+"\n", rollback, phase, m.other, m.ours))
}

func (m *machine) adoption(phase string) {
	m.write(layout.Adopt, fmt.Sprintf(`{"phase": %q}`+"\n", phase))
}

func (m *machine) legacy() {
	m.write(layout.Hub+"/bin/python3", "")
	m.write(layout.Units+"/jupyterhub.service", "[Service]\nEnvironment=TLJH_INSTALL_PREFIX="+layout.Root+"\n")
	m.write(layout.Units+"/traefik.service", "[Service]\nExecStart="+layout.Hub+"/bin/traefik\n")
	m.write(layout.User+"/bin/python", "")
	m.write(layout.Config, "users: {admin: [alice]}\n")
}
