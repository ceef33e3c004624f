package installer

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"tljh/config"
	"tljh/edge"
	"tljh/environment"
	"tljh/hub"
	"tljh/installer/proof"
	"tljh/installer/uninstall"
	"tljh/internal/check"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/systemdunits"
)

// Older is an older TLJH, of the installer written in Python, as it stands on this machine.
type Older struct {
	JupyterHub  string      `json:"jupyterhub"`
	State       olderState  `json:"state"`
	Environment olderFolder `json:"environment"`
	Servers     []string    `json:"servers"`      // units of users' servers that run
	ConfigFiles []string    `json:"config_files"` // of jupyterhub_config.d
	Traefik     []string    `json:"traefik_files"`
	Plugins     []string    `json:"plugins"` // packages of its hub environment that were plugins of it
	Hooks       []olderHook `json:"hooks"`   // what its jupyterhub_config.d does that the hub may not do
	GivenBack   []givenBack `json:"given_back"`
	Named       []string    `json:"named_environments"`
	dbm         string      // its file of passwords, below its folder of state
	missing     []string    // what it lacks to be a whole one
	unreadable  error       // why its state can't be read
}

// olderState is what tljh/older_look.py tells.
type olderState struct {
	Users     []string `json:"users"`
	Admins    []string `json:"admins"`
	Groups    []string `json:"groups"`
	Passwords []string `json:"passwords"`
	Revision  string   `json:"revision"`
}

// olderFolder is its user environment.
type olderFolder struct {
	Python     string `json:"python"`
	JupyterHub string `json:"jupyterhub"`
	Packages   int    `json:"packages"`
	Bytes      int64  `json:"bytes"`
	foreign    environment.Foreign
}

// Names of an older TLJH that ours has not.
const (
	olderSudoers    = "/etc/sudoers.d/jupyterhub-admins"
	olderConfigLink = layout.SystemConfig
	olderTraefikDir = layout.ConfigDir + "/traefik_config.d"
	olderAuthority  = layout.State + "/acme.json"
	olderDBM        = "passwords.dbm"
)

// olderPythons may be able to read what it keeps; its own can, unless the system below it was upgraded.
var olderPythons = []string{layout.Hub + "/bin/python3", "/usr/bin/python3"}

// olderParts are what a whole one has, beside its hub environment.
var olderParts = []struct {
	what  string
	there func(files host.Files) bool
}{
	{"its unit " + layout.HubUnit, unitSays(layout.HubUnit, "TLJH_INSTALL_PREFIX="+layout.Root)},
	{"its unit " + check.OlderProxyUnit, unitSays(check.OlderProxyUnit, layout.Hub+"/bin/traefik")},
	{"its user environment, a folder " + layout.User, func(files host.Files) bool {
		return host.IsFolder(files, layout.User) && files.Exists(layout.User+"/bin/python")
	}},
	{"its config " + layout.Config, func(files host.Files) bool { return files.Exists(layout.Config) }},
	{"its folder of state " + layout.State, func(files host.Files) bool { return host.IsFolder(files, layout.State) }},
}

func unitSays(name, says string) func(host.Files) bool {
	return func(files host.Files) bool {
		data, _, _ := files.ReadFile(path.Join(layout.Units, name))
		return bytes.Contains(data, []byte(says))
	}
}

// isOlderHub tells whether what has the hub environment's name has nothing of ours in it.
func isOlderHub(files host.Files) bool {
	found, missing := recogniseOlder(files)
	return found && len(missing) == 0
}

// recogniseOlder tells whether there is an older TLJH, and what a whole one would have besides. Its hub environment is a folder with a Python, where
// ours is a link.
func recogniseOlder(files host.Files) (found bool, missing []string) {
	if !host.IsFolder(files, layout.Hub) || !files.Exists(layout.Hub+"/bin/python3") && !files.Exists(layout.Hub+"/bin/python") {
		return false, nil
	}
	for _, part := range olderParts {
		if !part.there(files) {
			missing = append(missing, part.what)
		}
	}
	return true, missing
}

// lookForOlder describes an older TLJH; nil when there is none. It changes nothing.
func lookForOlder(ctx context.Context, h *host.Host, cfg *config.Config) (*Older, error) {
	found, missing := recogniseOlder(h.Files)
	if !found {
		return nil, nil
	}
	older := &Older{missing: missing, dbm: olderDBM}
	if len(missing) > 0 {
		return older, nil
	}
	if named, ok := cfg.Auth.Options["FirstUseAuthenticator"]["dbm_path"].(string); ok && named != "" {
		older.dbm = named
	}
	packages, _, err := environment.Packages(h.Files, layout.Hub)
	if err != nil {
		return nil, err
	}
	older.JupyterHub = packages["jupyterhub"]
	if older.Environment, err = olderEnvironment(h.Files); err != nil {
		return nil, err
	}
	older.Servers, older.Plugins = olderServers(h.Files), olderPlugins(h.Files)
	older.ConfigFiles, older.Traefik = listed(h.Files, layout.ConfigD, ".py"), listed(h.Files, olderTraefikDir, "")
	older.Named = environment.NamedIn(h.Files, layout.User)
	older.State, older.unreadable = readOlder(ctx, h, older.dbm)
	older.Hooks = lookAtHooks(ctx, h, older.ConfigFiles)
	older.GivenBack, _ = giveBackHomes(h.Files, true) // what cannot be looked at is told when it is due
	return older, nil
}

func olderEnvironment(files host.Files) (olderFolder, error) {
	foreign, err := environment.LookAt(files, layout.User)
	return olderFolder{
		Python: fmt.Sprintf("3.%d", foreign.Python), JupyterHub: foreign.JupyterHub, Packages: foreign.Packages, Bytes: foreign.Bytes, foreign: foreign,
	}, err
}

// olderPlugins are the packages in its hub environment that say that they are plugins of it.
func olderPlugins(files host.Files) []string {
	found := []string{}
	libraries, _ := files.List(layout.Hub + "/lib")
	for _, library := range libraries {
		plugins, _ := environment.PluginsIn(files, path.Join(layout.Hub, "lib", library, "site-packages"))
		found = append(found, plugins...)
	}
	return found
}

func listed(files host.Files, dir, ext string) []string {
	names, _ := files.List(dir)
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, ext) })
}

// readOlder asks the first Python that can.
func readOlder(ctx context.Context, h *host.Host, dbm string) (state olderState, err error) {
	return state, askOlderPython(ctx, h, "older_look.py", &state, h.Files.Path(layout.State), dbm)
}

// askOlderPython has a script of ours run by the first Python that can.
func askOlderPython(ctx context.Context, h *host.Host, name string, answer any, arguments ...string) error {
	script, err := fs.ReadFile(hub.PackageFS(), name)
	if err != nil {
		return err
	}
	err = errors.New("there is no Python")
	for _, python := range olderPythons {
		if !h.Files.Exists(python) {
			continue
		}
		var result host.Result
		result, err = h.Runner.Run(ctx, host.Command{Argv: append([]string{python, "-I", "-"}, arguments...), Stdin: bytes.NewReader(script)})
		if err == nil {
			return json.Unmarshal(result.Stdout, answer)
		}
	}
	return err
}

// olderServers are the units of users' servers that the older hub has started: those of ours are in a slice.
func olderServers(files host.Files) []string {
	names, _ := files.List(uninstall.Transient)
	return slices.DeleteFunc(names, func(name string) bool {
		data, regular, _ := files.ReadFile(path.Join(uninstall.Transient, name))
		return !strings.HasPrefix(name, "jupyter-") || path.Ext(name) != ".service" || !regular || uninstall.IsOurServer(data)
	})
}

// olderAnswers tells whether its hub answers at its public address.
func olderAnswers(ctx context.Context, cfg *config.Config, patience time.Duration) error {
	address := "http://" + proof.EdgeAddress(cfg.HTTP.Address, cfg.HTTP.Port)
	if cfg.HTTPS.Enabled {
		address = "https://" + proof.EdgeAddress(cfg.HTTPS.Address, cfg.HTTPS.Port)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no hub answers at %s", address))
	defer cancel()
	client := &http.Client{Transport: &http.Transport{Proxy: nil, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	return host.Poll(ctx, 100*time.Millisecond, func(ctx context.Context) (bool, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, address+cfg.BaseURL+"hub/api", nil)
		if err != nil {
			return false, err
		}
		response, err := client.Do(request)
		if err != nil {
			return false, nil // not yet
		}
		defer response.Body.Close()
		var said struct{ Version string }
		return json.NewDecoder(response.Body).Decode(&said) == nil && said.Version != "", nil
	})
}

// olderHealth is how long a hub that works may take to answer.
const olderHealth = 10 * time.Second

// checkOlder looks at what an adoption reads from the legacy hub.
func checkOlder(_ context.Context, about *preflight) check.Finding {
	older := about.in.older
	switch {
	case len(older.missing) > 0:
		return check.Fail("run its own installer, of its last release, once more: it completes what is missing; then run this command again",
			"it is not whole; missing: %s", strings.Join(older.missing, ", "))
	case older.unreadable != nil:
		return check.Fail("see that "+layout.Hub+"/bin/python3 or /usr/bin/python3 works, and that the files in "+layout.State+" are whole",
			"its database or passwords cannot be read: %v", older.unreadable)
	}
	return check.Fine("JupyterHub %s with %d users and %d passwords", older.JupyterHub, len(older.State.Users), len(older.State.Passwords))
}

func checkOlderHub(ctx context.Context, about *preflight) check.Finding {
	if err := olderAnswers(ctx, about.in.Config, olderHealth); err != nil {
		return check.Warn("it can be adopted all the same; should that fail, what comes back is a hub that does not answer, as now", "%v", err)
	}
	return check.Fine("it works")
}

// checkOlderEnvironment looks whether its user environment can become ours, or else a kernel.
func checkOlderEnvironment(ctx context.Context, about *preflight) check.Finding {
	builder, older := about.installer.Builder, about.in.older
	users := older.Environment.foreign
	const otherwise = "--new-environment builds a new one, and keeps this one as a kernel of the name " + olderKernel
	mounts := slices.Concat(about.Host.Files.Mounts(layout.Hub), about.Host.Files.Mounts(layout.User))
	said := fmt.Sprintf("Python %s, JupyterHub %s, %d packages, %d MB", older.Environment.Python, users.JupyterHub, users.Packages, users.Bytes>>20)
	switch {
	case len(mounts) > 0:
		return check.Fail("its folders are moved aside while the new hub proves itself, which no mount can be: copy what is on it to a plain folder first",
			"something is mounted at %s", strings.Join(mounts, ", "))
	case about.in.fresh:
		return check.Fine("%s; it becomes the kernel %s", said, olderKernel)
	case !users.Conda:
		return check.Fail(otherwise, "%s is no environment of conda's, and only those can be adopted", layout.User)
	case users.Python < environment.MinimumPython:
		return check.Fail(otherwise, "it has Python %s, and JupyterHub %s needs 3.%d or newer", older.Environment.Python, environment.JupyterHubVersion(), environment.MinimumPython)
	}
	if err := builder.ChannelAnswers(ctx); err != nil && !builder.MiniforgeWorks() {
		return check.Fail("let this machine reach it, or name mirrors in sources.mirror and sources.channel of "+layout.Config+"; "+otherwise,
			"conda, which it goes on being changed with, cannot be fetched: %v", err)
	}
	return check.Fine("%s", said)
}

// Takeover is what taking over an older TLJH is about to do, for people and as JSON.
type Takeover struct {
	Older   *Older   `json:"older"`
	To      string   `json:"jupyterhub"`
	Config  []string `json:"config_changes"`
	DropIns []string `json:"drop_ins,omitempty"`
	Fresh   bool     `json:"new_environment"`
	cert    string
	diff    string
}

// takeoverOf describes it.
func takeoverOf(files host.Files, in *Inputs) *Takeover {
	t := &Takeover{Older: in.older, To: environment.JupyterHubVersion(), Config: []string{}, Fresh: in.fresh}
	if found, _ := files.Read(layout.Config); !bytes.Equal(found, in.ConfigText) {
		t.diff = config.Diff(found, in.ConfigText, "config.yaml now", "config.yaml then")
		t.Config = append(t.Config, t.diff)
	}
	for _, unit := range systemdunits.Names() {
		if dir := path.Join(layout.Units, unit+".d"); files.Exists(dir) {
			t.DropIns = append(t.DropIns, dir)
		}
	}
	t.cert = certificateWords(files, in.Config.HTTPS)
	return t
}

func certificateWords(files host.Files, https config.HTTPS) string {
	switch {
	case !https.Enabled:
		return ""
	case https.TLS.Cert != "":
		return https.TLS.Cert + ", as before"
	}
	words := "a new one for " + strings.Join(https.LetsEncrypt.Domains, ", ") + " is fetched from the authority; that of Traefik "
	inherited, err := inheritedCertificates(files, https)
	switch {
	case err != nil:
		return words + "is not used: " + err.Error()
	case len(inherited) == 0:
		return words + "is not used"
	}
	return words + "serves until then"
}

// inheritedCertificates are those of Traefik, by their paths in the folder of the edge.
func inheritedCertificates(files host.Files, https config.HTTPS) (map[string][]byte, error) {
	store, regular, err := files.ReadFile(olderAuthority)
	if err != nil || !regular || len(store) == 0 || !https.Enabled {
		return nil, err
	}
	return edge.Inherit(store, https.LetsEncrypt.Domains, time.Now())
}

// Text is what people are shown before they are asked.
func (t *Takeover) Text() string {
	older, text := t.Older, strings.Builder{}
	fmt.Fprintf(&text, "\nAdopt the legacy hub in %s\n\n", layout.Root)
	row := func(what, words string) {
		if words != "" {
			fmt.Fprintf(&text, "  %-13s%s\n", what, words)
		}
	}
	row("JupyterHub", older.JupyterHub+" → "+t.To)
	row("users", counted(older.State.Users, "no users")+", admins: "+orNone(older.State.Admins))
	row("groups", strings.Join(older.State.Groups, ", "))
	row("passwords", fmt.Sprintf("%d, which stay what they are", len(older.State.Passwords)))
	row("homes", "stay where they are, with their accounts")
	for _, each := range older.GivenBack {
		row("", "what root left in the home of an admin becomes the admin's: "+each.words())
	}
	users := fmt.Sprintf("a copy of %s (Python %s, %d packages, %d MB)", layout.User, older.Environment.Python, older.Environment.Packages, older.Environment.Bytes>>20)
	if t.Fresh {
		row("environment", "a new one; "+users+" becomes the kernel "+olderKernel)
	} else {
		row("environment", users+", which gets JupyterHub "+t.To)
	}
	if len(older.Named) > 0 {
		row("", "those that admins made go to "+layout.Environments+", and are found in their old places, too: "+strings.Join(older.Named, ", "))
	}
	if t.diff == "" {
		row("config", "stays as it is")
	} else {
		row("config", "see below")
	}
	if len(older.ConfigFiles) > 0 {
		row("", "jupyterhub_config.d: "+strings.Join(older.ConfigFiles, ", "))
	}
	row("certificate", t.cert)
	text.WriteString("\nStops\n")
	row("units", strings.Join(check.OlderUnits, ", ")+" of the legacy hub")
	row("servers", orNone(olderPeople(older.Servers))+": who works now has to start their server again")
	text.WriteString("\nIs no longer used\n")
	row("Traefik", "its unit and files go"+traefikWords(older.Traefik))
	row("plugins", pluginWords(older.Plugins))
	row("sudo rules", olderSudoers+" goes; the new ones are in "+layout.Sudoers)
	if len(t.DropIns) > 0 {
		text.WriteString("\nStays, and applies to the new units\n")
		row("drop-ins", strings.Join(t.DropIns, ", "))
	}
	fmt.Fprintf(&text, "\nUntil the new hub has proved itself, the older one is kept in %s. If the new one does not work, the older one is started again.\n", layout.Older)
	if t.diff != "" {
		text.WriteString("\n" + t.diff)
	}
	return text.String()
}

func traefikWords(files []string) string {
	if len(files) == 0 {
		return ""
	}
	return "; " + olderTraefikDir + " stays and does nothing: " + strings.Join(files, ", ")
}

func pluginWords(plugins []string) string {
	if len(plugins) == 0 {
		return ""
	}
	return "do not come along (" + strings.Join(plugins, ", ") + "); what they did stays, and afterwards each is added with: sudo tljh-install install --plugin NAME"
}

func counted(names []string, none string) string {
	if len(names) == 0 {
		return none
	}
	return fmt.Sprint(len(names))
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// olderPeople are the users of servers' units.
func olderPeople(units []string) []string {
	people := []string{}
	for _, unit := range units {
		people = append(people, strings.TrimSuffix(strings.TrimPrefix(unit, "jupyter-"), ".service"))
	}
	return people
}
