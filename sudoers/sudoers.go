// Package sudoers renders the sudo rules of an installation.
//
// It is pure: who writes the file, judges it with visudo first and gives it its mode (0440) is the installer.
package sudoers

import (
	_ "embed"
	"strings"
	"text/template"

	"tljh/internal/layout"
)

// Params is what the rules depend on.
type Params struct {
	Admins string // the group of the admins; "" is the installation's own

	// Classic adds settings that only the original sudo has; sudo-rs refuses a file that holds them.
	Classic bool

	// Environment lets admins only run the tools that change the user environment, as its owner, who is nobody else.
	Environment bool
}

// IsClassic judges what `sudo --version` prints.
func IsClassic(version string) bool { return strings.HasPrefix(version, "Sudo version ") }

//go:embed sudoers.tmpl
var text string

// tools change the user environment.
func tools() []string {
	const env = layout.User + "/bin/"
	return []string{env + "pip", env + "pip3", env + "uv", layout.Shims + "/conda", layout.Shims + "/mamba"}
}

var rules = template.Must(template.New("sudoers").Funcs(template.FuncMap{"tools": tools}).Option("missingkey=error").Parse(text))

// Render returns the file. A group's name is escaped, so that none can bring a rule of its own.
func Render(p Params) []byte {
	if p.Admins == "" {
		p.Admins = layout.AdminsGroup
	}
	var file strings.Builder
	values := map[string]any{"Admins": quote(p.Admins), "UserBin": layout.User + "/bin", "Shims": layout.Shims, "Classic": p.Classic, "Environment": p.Environment, "Owner": layout.EnvironmentUser}
	if err := rules.Execute(&file, values); err != nil {
		panic("the template of the sudo rules: " + err.Error()) // strings into a builder: it is the template that is wrong
	}
	return []byte(file.String())
}

// quote makes sudo take each character of a name as itself. Control characters have no business in one and are dropped.
func quote(name string) string {
	var quoted strings.Builder
	for _, r := range name {
		switch {
		case r < ' ' || r == 0x7f:
			continue
		case !strings.ContainsRune("-_.", r) && (r < '0' || r > '9' && r < 'A' || r > 'Z' && r < 'a' || r > 'z' && r < 0x80):
			quoted.WriteByte('\\')
		}
		quoted.WriteRune(r)
	}
	return quoted.String()
}
