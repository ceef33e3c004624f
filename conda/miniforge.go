package conda

import (
	"fmt"
	"path"
	"strings"

	"tljh/internal/layout"
)

// Version is that of the Miniforge that is installed.
const Version = "26.3.2-3"

// releases is where Miniforge's makers publish it.
const releases = "https://github.com/conda-forge/miniforge/releases/download/" + Version

// Miniforge is an installer of Miniforge: a shell script that carries a whole base environment.
type Miniforge struct {
	File    string
	Address string
	SHA256  string
	Bytes   int64 // 0 when unknown
}

// pins are the installers by architecture.
var pins = map[string]Miniforge{
	"amd64": {File: "Miniforge3-" + Version + "-Linux-x86_64.sh", SHA256: "848194851a98903134187fbb4ab50efe87b003e0c0f808f97644b7524a62bf2c", Bytes: 105172629},
	"arm64": {File: "Miniforge3-" + Version + "-Linux-aarch64.sh", SHA256: "2c113a69297e612b01ca0f320c22a3107a11f2ab9b573d79ac868a175945ce29"},
}

// Settings are a site's own sources; the zero value leaves everything to Miniforge and to conda.
type Settings struct {
	Mirror  string // a folder that holds Miniforge's installer, as a web address
	SHA256  string // of that installer, where a site has one of its own
	Channel string // by name or address
	Alias   string // the address that channels' names are looked for at
	CA      string // a file of all certificates to trust

	Channels []string // that one environment takes packages from, the first before all others; none is Channel
}

// DefaultChannel is the channel that Miniforge is made from.
const DefaultChannel = "conda-forge"

// ChannelName returns the channel that packages come from.
func (s Settings) ChannelName() string {
	if s.Channel == "" {
		return DefaultChannel
	}
	return s.Channel
}

// Pick returns the installer for an architecture, as Go names it.
func (s Settings) Pick(arch string) (Miniforge, error) {
	pin, ok := pins[arch]
	if !ok {
		return pin, fmt.Errorf("there is no Miniforge for %s", arch)
	}
	folder := releases
	if s.Mirror != "" {
		folder = strings.TrimRight(s.Mirror, "/")
	}
	pin.Address = folder + "/" + pin.File
	if s.SHA256 != "" && s.SHA256 != pin.SHA256 {
		pin.SHA256, pin.Bytes = s.SHA256, 0
	}
	return pin, nil
}

// Folder is where this Miniforge is installed. Another one gets another folder, so what is half-made, or of an earlier release, is never taken
// for it.
func (m Miniforge) Folder() string { return path.Join(layout.Tools, "miniforge-"+m.SHA256[:12]) }

// Complete is a file in the folder that is written last.
func (m Miniforge) Complete() string { return path.Join(m.Folder(), "complete.tljh") }

// Install returns the command that installs it from its file.
func (m Miniforge) Install(file string) []string {
	return []string{"bash", file, "-b", "-p", m.Folder()}
}

// Condarc returns the settings that all of the installation's conda commands have, those that admins type included.
func (s Settings) Condarc() []byte {
	var text strings.Builder
	text.WriteString("# Made by tljh-install from sources.* of " + layout.Config + ", and replaced by it.\n")
	fmt.Fprintf(&text, "channels:\n  - %s\n", quote(s.ChannelName()))
	if s.Alias != "" {
		fmt.Fprintf(&text, "channel_alias: %s\n", quote(s.Alias))
	}
	if s.CA != "" {
		fmt.Fprintf(&text, "ssl_verify: %s\n", quote(s.CA))
	}
	// Environments that are made by name outlive this Miniforge, which another release replaces. And where somebody has run conda init, terminals begin with
	// the environment of all users rather than with the base, which nobody can change.
	fmt.Fprintf(&text, "envs_dirs:\n  - %s\n  - ~/.conda/envs\n", layout.Environments)
	fmt.Fprintf(&text, "default_activation_env: %s\n", layout.User)
	// The base belongs to root: nobody who sees such a note could follow it.
	text.WriteString("auto_update_conda: false\nnotify_outdated_conda: false\n")
	return []byte(text.String())
}

// quote writes a text as YAML.
func quote(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}
