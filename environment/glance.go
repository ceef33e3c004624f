package environment

import (
	"path"
	"strings"

	"tljh/conda"
	"tljh/internal/host"
)

// vital are the modules without which a user's page or kernel does not start. The hub looks for some of them, too (rescue.py).
var vital = []string{
	"jupyterhub", "jupyter_server", "jupyterlab", "ipykernel",
	"jupyterlab_server", "IPython", "jupyter_client", "jupyter_core", "nbformat", "nbconvert", "tornado", "traitlets", "zmq",
}

// Damage returns what keeps the live user environment from working, as far as a look at a few files, the last snapshot and the last check show: nothing of it
// is run. "" is nothing. It takes milliseconds; Examine finds more.
func Damage(files host.Files) string {
	live, there := Current(files, User)
	if !there {
		return "it is missing"
	}
	env, err := files.Within(live.Path())
	if err != nil {
		return "it cannot be read: " + err.Error()
	}
	defer env.Close()
	if words := (&examination{env: env, site: siteWithin(env)}).glance(live.Manager == "conda"); words != "" {
		return words
	}
	packages, _, err := Packages(files, live.Path())
	if err != nil {
		return err.Error()
	}
	if words := wrongJupyterHub(packages["jupyterhub"]); words != "" {
		return words
	}
	if last, err := lastOf(files); err == nil && last != nil && last.Broken != "" {
		return last.Broken
	}
	return lastCheck(files, live)
}

// glance looks for vital modules and conda's records, and for what a killed pip left.
func (x *examination) glance(byConda bool) string {
	if entries, err := conda.Entries(x.env); byConda && err == nil && len(entries) == 0 {
		return noRecords
	}
	for _, name := range programs {
		if _, err := x.env.Lstat(name); err != nil {
			return name + " is missing"
		}
	}
	for _, name := range vital {
		if _, err := x.env.Lstat(path.Join(x.site, name, "__init__.py")); err != nil && !x.editable(name) {
			return path.Join(x.site, name) + " is missing, or not complete"
		}
	}
	if left := x.leftovers(); len(left) > 0 {
		return path.Join(x.site, left[0]) + " " + leftWords
	}
	return ""
}

// editable reports whether an admin works on a package elsewhere: its modules are in another folder.
func (x *examination) editable(module string) bool {
	all, _ := x.listMetadata(false)
	for _, each := range all {
		if each.name != plainName(module) {
			continue
		}
		data, err := x.env.Read(path.Join(each.folder, "direct_url.json"), 64<<10)
		return err == nil && strings.Contains(string(data), `"editable"`)
	}
	return false
}
