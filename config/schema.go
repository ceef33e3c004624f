package config

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// kind is what a key's value looks like, in the words of messages and of the reference.
type kind string

const (
	kindText   kind = "text"
	kindBool   kind = "true or false"
	kindInt    kind = "a whole number"
	kindNumber kind = "a number"
	kindSize   kind = "a size such as 2G"
	kindNames  kind = "a list of names"
	kindGroups kind = "groups, each with a list of names"
)

// key is one key of the file: the only place that knows it.
type key struct {
	path     string
	kind     kind
	nullable bool
	def      string // as it would stand in the file
	doc      string
	example  string
	// set judges the decoded value and puts it into the config; it returns what is wrong, and what would be right.
	set func(c *Config, value any) (wrong, hint string)
}

// classSection is the pattern of the sections below auth that hold a class's own options.
var classSection = regexp.MustCompile(`^[A-Z][A-Za-z0-9_]*$`)

var keys = []key{
	{"base_url", kindText, false, "/", "Path below which the hub lives.", "/jupyter/", setBaseURL},
	{"auth.type", kindText, false, FirstUse, "Authenticator class, as MODULE.CLASS or a short name that JupyterHub knows.", "nativeauthenticator.NativeAuthenticator", setAuthType},
	{"users.allowed", kindNames, false, "[]", "Users who may log in, besides admins and those added on the Admin page.", "[ada, grace]", names(func(c *Config) *[]string { return &c.Users.Allowed })},
	{"users.banned", kindNames, false, "[]", "Users who may not log in, whatever else is said.", "[mallory]", names(func(c *Config) *[]string { return &c.Users.Banned })},
	{"users.admin", kindNames, false, "[]", "Admins: they manage the hub, and may use sudo on the server.", "[alice]", names(func(c *Config) *[]string { return &c.Users.Admin })},
	{"users.extra_user_groups", kindGroups, false, "{}", "Linux groups of the server, and the users who are put into them.", "{project: [ada, grace]}", setGroups},
	{"limits.memory", kindSize, true, "null", "Most memory each user's server may take; null is no limit.", "2G", setMemory},
	{"limits.cpu", kindNumber, true, "null", "Most CPUs each user's server may take, such as 0.5; null is no limit.", "1.5", setCPU},
	{"http.address", kindText, false, `""`, "Address to listen on; empty is every address of the server.", "127.0.0.1", setAddress},
	{"http.port", kindInt, false, "80", "Port to listen on.", "8080", setPort},
	{"user_environment.default_app", kindText, false, "jupyterlab", "What users see first: jupyterlab, or notebook (classic is another name for it).", "notebook", setApp},
	{"services.cull.enabled", kindBool, false, "true", "Stop servers that nobody uses.", "false", flag(func(c *Config) *bool { return &c.Services.Cull.Enabled })},
	{"services.cull.timeout", kindInt, false, "600", "Seconds without activity after which a server is stopped.", "3600", count(1, func(c *Config) *int { return &c.Services.Cull.Timeout })},
	{"services.cull.every", kindInt, false, "60", "Seconds between two looks for idle servers.", "300", count(1, func(c *Config) *int { return &c.Services.Cull.Every })},
	{"services.cull.concurrency", kindInt, false, "5", "How many servers are stopped at a time.", "10", count(1, func(c *Config) *int { return &c.Services.Cull.Concurrency })},
	{"services.cull.max_age", kindInt, false, "0", "Seconds after which a server is stopped even when it is in use; 0 is never.", "86400", count(0, func(c *Config) *int { return &c.Services.Cull.MaxAge })},
	{"services.cull.users", kindBool, false, "false", "Remove users from the hub, too, once they are idle. Their accounts and passwords stay.", "true", flag(func(c *Config) *bool { return &c.Services.Cull.Users })},
	{"services.cull.remove_named_servers", kindBool, false, "false", "Remove named servers when they are stopped.", "true", flag(func(c *Config) *bool { return &c.Services.Cull.RemoveNamedServers })},
}

// KeyDoc describes a key to people.
type KeyDoc struct {
	Path, Type, Default, Doc, Example string
}

// Keys describes all keys but those of authenticators' classes, in the order of the reference.
func Keys() []KeyDoc {
	docs := []KeyDoc{}
	for _, k := range keys {
		text := string(k.kind)
		if k.nullable {
			text += ", or null"
		}
		docs = append(docs, KeyDoc{k.path, text, k.def, k.doc, k.example})
	}
	return docs
}

func names(list func(*Config) *[]string) func(*Config, any) (string, string) {
	return func(c *Config, value any) (string, string) { *list(c) = value.([]string); return "", "" }
}

func flag(place func(*Config) *bool) func(*Config, any) (string, string) {
	return func(c *Config, value any) (string, string) { *place(c) = value.(bool); return "", "" }
}

func count(least int, place func(*Config) *int) func(*Config, any) (string, string) {
	return func(c *Config, value any) (string, string) {
		n := value.(int)
		if n < least {
			return fmt.Sprintf("%d is too small", n), fmt.Sprintf("give %d or more", least)
		}
		*place(c) = n
		return "", ""
	}
}

var plainPath = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)*/?$`)

func setBaseURL(c *Config, value any) (string, string) {
	text := value.(string)
	if text == "" || !plainPath.MatchString(text) || strings.Contains(text, "/..") || strings.Contains(text, "/.") {
		return fmt.Sprintf("%q is no path for the hub", text), "begin with a slash, and use letters, digits and -._~ only: /jupyter/"
	}
	c.BaseURL = strings.TrimRight(text, "/") + "/"
	return "", ""
}

var className = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$`)

// Names that are accepted without a dot: those JupyterHub and the authenticators of the hub environment register.
var shortNames = []string{"firstuse", "firstuseauthenticator", "native", "dummy", "pam", "null", "ldap", "tmp", "auth0", "azuread", "bitbucket", "cilogon", "generic-oauth", "github", "gitlab", "globus", "google", "mediawiki", "openshift"}

func setAuthType(c *Config, value any) (string, string) {
	text := value.(string)
	if !className.MatchString(text) && !slices.Contains(shortNames, text) {
		return fmt.Sprintf("%q names no authenticator class", text), "give MODULE.CLASS, such as " + FirstUse
	}
	if text == "firstuse" || text == "firstuseauthenticator" {
		text = FirstUse
	}
	c.Auth.Type = text
	return "", ""
}

func setAddress(c *Config, value any) (string, string) {
	text := value.(string)
	if text != "" {
		if ip, err := netip.ParseAddr(text); err != nil || ip.Zone() != "" {
			return fmt.Sprintf("%q is no IP address", text), "give one of the server's addresses, or leave it out to listen on all"
		}
	}
	c.HTTP.Address = text
	return "", ""
}

func setPort(c *Config, value any) (string, string) {
	port := value.(int)
	if port < 1 || port > 65535 {
		return fmt.Sprintf("%d is no port", port), "give 1 to 65535"
	}
	if port >= 971 && port <= 973 {
		return fmt.Sprintf("port %d is used between hub and proxy", port), "give another, such as 80 or 8080"
	}
	c.HTTP.Port = port
	return "", ""
}

func setApp(c *Config, value any) (string, string) {
	apps := []string{"jupyterlab", "notebook", "classic"}
	text := value.(string)
	if !slices.Contains(apps, text) {
		return fmt.Sprintf("there is no app %q", text), "give one of: " + strings.Join(apps, ", ")
	}
	c.UserEnvironment.DefaultApp = text
	return "", ""
}

func setMemory(c *Config, value any) (string, string) {
	if value == nil {
		return "", ""
	}
	bytes := value.(int64)
	if bytes < 100<<20 {
		return fmt.Sprintf("%d bytes are too little for a server", bytes), "a server needs 128M to start; 1G is a good size for most classes"
	}
	c.Limits.Memory = &bytes
	return "", ""
}

func setCPU(c *Config, value any) (string, string) {
	if value == nil {
		return "", ""
	}
	cpus := value.(float64)
	if cpus < 0.01 || cpus > 4096 {
		return fmt.Sprintf("%v is no number of CPUs", cpus), "give a number such as 0.5 or 2"
	}
	c.Limits.CPU = &cpus
	return "", ""
}

var groupName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)

func setGroups(c *Config, value any) (string, string) {
	groups := value.(map[string][]string)
	for name := range groups {
		if !groupName.MatchString(name) {
			return fmt.Sprintf("%q is no name for a group", name), "use lower-case letters, digits, - and _, beginning with a letter; at most 32"
		}
	}
	c.Users.ExtraUserGroups = groups
	return "", ""
}

// node is where a key stands in the tree of sections.
type section struct {
	keys     map[string]*key
	sections map[string]*section
}

var schema = makeSchema()

func makeSchema() *section {
	root := newSection()
	for i := range keys {
		at := root
		parts := strings.Split(keys[i].path, ".")
		for _, part := range parts[:len(parts)-1] {
			if at.sections[part] == nil {
				at.sections[part] = newSection()
			}
			at = at.sections[part]
		}
		at.keys[parts[len(parts)-1]] = &keys[i]
	}
	return root
}

func newSection() *section {
	return &section{keys: map[string]*key{}, sections: map[string]*section{}}
}

func (s *section) names() []string {
	all := []string{}
	for name := range s.keys {
		all = append(all, name)
	}
	for name := range s.sections {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// CheckUserName tells why a name can't be a hub user's; nil when it can.
func CheckUserName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("a user's name is empty")
	case len(name) > 255:
		return fmt.Errorf("the name %.20q… is longer than 255 bytes", name)
	case !isPlainText(name) || strings.ContainsAny(name, " /\\:,\"'"):
		return fmt.Errorf("%q cannot be a user's name: it holds a blank, a slash, a colon, a comma, a quote or a control character", name)
	case strings.HasPrefix(name, "-") || strings.HasPrefix(name, "."):
		return fmt.Errorf("%q cannot be a user's name: it begins with %q", name, name[:1])
	case strings.EqualFold(name, "tljh-probe"):
		return fmt.Errorf("%q cannot be a user's name: the installer uses it to try the hub", name)
	}
	return nil
}
