package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"tljh/internal/layout"
)

// schema is the table of all keys, each bound to its field of c. The order is that of the documentation.
func schema(c *Config) []key {
	cull, https := &c.Services.Cull, &c.HTTPS
	return slices.Concat([]key{
		row("base_url", &c.BaseURL, "/", path, onHub|onDoor,
			"/jupyter/", "The path of the hub on its server. Useful if another web server forwards only a part of an address. Single-user servers are stopped when it changes."),
		row("auth.type", &c.Auth.Type, FirstUse, authenticator, onHub,
			"nativeauthenticator.NativeAuthenticator", "The authenticator: a short name, or the dotted path of its class."),
		each("auth.*", &c.Auth.Options, options, onHub,
			"{create_users: true}", "Options of an authenticator, under the name of its class, as in auth.GitHubOAuthenticator.client_id."),
		row("users.allowed", &c.Users.Allowed, nil, names, onHub,
			"[alice, bob]", "Users who may log in."),
		row("users.banned", &c.Users.Banned, nil, names, onHub,
			"[mallory]", "Users who may not log in, even if another setting allows it."),
		row("users.admin", &c.Users.Admin, nil, names, onHub,
			"[alice]", "Admins: they may log in, manage the hub and its users, and use sudo."),
		row("users.extra_user_groups", &c.Users.ExtraUserGroups, map[string][]string{}, groups, onHub|onFolders,
			"{course-a: [alice, bob]}", "Linux groups, each with the users whose accounts are added to it when their server starts."),
		row("users.account_prefix", &c.Users.AccountPrefix, "jupyter-", accountPrefix, onHub|onSSH,
			`""`, "The prefix that turns a user's name into the name of the Linux account. \"\" is for sites with their own accounts: an existing account is used as it is. If it changes, users work in other accounts; their files stay where they are."),
		row("users.home_root", &c.Users.HomeRoot, "/home", folder, onHub|onUnits,
			"/srv/homes", "The folder for the homes of accounts that the hub creates. Existing homes stay where they are."),
		row("users.home_mode", &c.Users.HomeMode, "0700", oneOf("0700", "0711", "0750", "0755"), onHub,
			`"0755"`, "The mode of homes that the hub creates. 0700: no other user has access. 0711: others can reach a file whose path they know, as web servers do for public_html. 0750 and 0755: the home's group or all users can read. Existing homes keep their mode."),
		row("users.admin_sudo", &c.Users.AdminSudo, SudoAll, oneOf(SudoAll, SudoEnvironment, SudoNone), onSudo,
			"none", "What admins may do with sudo: all, environment (only change the packages of the user environment), or none."),
		row("users.first_login", &c.Users.FirstLogin, FirstOpen, oneOf(FirstOpen, FirstCode, FirstPassword), onHub,
			"code", "Who chooses the password of a user without one. open: the first person who logs in with that name. code: the same, with users.class_code. password: nobody; an admin creates one-time passwords. It applies to the default authenticator."),
		row("users.class_code", &c.Users.ClassCode, "", classCode, onHub,
			"maple-42-river", "The code that a class gets for first logins, with users.first_login: code. At least 6 characters; upper and lower case make no difference."),
		row("users.may_listen", &c.Users.MayListen, false, boolean, onFilter,
			"true", "Whether other machines can connect to ports (TCP) that users' processes open. Browsers send the hub's cookies to every port of its name, so over plain HTTP a student's page there could hijack its visitor's session."),
		row("users.namespaces", &c.Users.Namespaces, false, boolean, onHub,
			"true", "Whether users who are not admins may create Linux namespaces. podman, bubblewrap and the sandbox of Chromium need them."),
		row("users.ssh", &c.Users.SSH, false, boolean, onSSH,
			"true", "Whether users who are not admins may log in to the machine itself by ssh, with a key that they put into their homes. Such a session is not confined, and limits do not apply to it. A site's own accounts (users.account_prefix: \"\") are not affected."),
		devicesRow(&c.Users.Devices),
		row("users.setgid", &c.Users.Setgid, false, boolean, onHub,
			"true", "Whether users who are not admins may set the set-user-ID and set-group-ID bits of files and folders (chmod g+s). nbgrader needs it for teaching assistants who release assignments."),
		memoryRow(&c.Limits),
		row("limits.cpu", &c.Limits.CPU, nil, number, onHub,
			"1.5", "The CPUs that each single-user server may use: 2 means two, 0.5 half of one. null means no limit."),
	},
		limitRows("limits.groups", &c.Limits.Groups, groupNames, "for the users of a group of users.extra_user_groups. For users in several groups, the largest limit applies"),
		limitRows("limits.users", &c.Limits.Users, userNames, "for one user"),
		[]key{
			row("http.address", &c.HTTP.Address, "", address, onDoor,
				"192.0.2.7", "The IP address that the hub listens on. If unset, all addresses of the machine."),
			row("http.port", &c.HTTP.Port, 80, port, onDoor,
				"8080", "The port that the hub listens on."),
			row("http.public_url", &c.HTTP.PublicURL, "", origin, onDoor,
				"https://hub.example.org", "The address in visitors' browsers, if it differs from this machine's: behind a proxy, a load balancer or a router that forwards ports. Redirects use it, and with https:// cookies are Secure."),
			row("http.trusted_proxies", &c.HTTP.TrustedProxies, nil, proxies, onDoor,
				"[192.0.2.10, 10.0.0.0/24]", "The addresses and networks of reverse proxies that are trusted to report a visitor's address: X-Forwarded-For, -Proto, -Host and -Port, Forwarded, and the PROXY protocol. These headers are removed from all other requests. unix:/run/NAME is a unix socket: the hub listens there as well, and trusts all connections to it."),
			row("https.enabled", &https.Enabled, false, boolean, onDoor,
				"true", "Whether the hub uses HTTPS. HTTP then only redirects to it. It needs a certificate, your own or from Let's Encrypt."),
			row("https.address", &https.Address, "", address, onDoor,
				"192.0.2.7", "The IP address that the hub listens on for HTTPS. If unset, all addresses of the machine."),
			row("https.port", &https.Port, 443, port, onDoor,
				"8443", "The port that the hub listens on for HTTPS."),
			row("https.hsts", &https.HSTS, true, boolean, onDoor,
				"false", "Whether browsers are told to use only HTTPS for this name, for 30 days after each visit (Strict-Transport-Security). This starts when a certificate that browsers trust has been in use for a day. false tells browsers to forget it."),
			row("https.tls.key", &https.TLS.Key, "", file, onDoor,
				"/etc/ssl/private/hub.key", "The private key of your own certificate: a PEM file without a passphrase."),
			row("https.tls.cert", &https.TLS.Cert, "", file, onDoor,
				"/etc/ssl/certs/hub.pem", "Your own certificate, with the intermediate certificates: a PEM file."),
			row("https.letsencrypt.email", &https.LetsEncrypt.Email, "", email, onDoor,
				"teacher@example.org", "The email address that Let's Encrypt uses if there is a problem with the certificates."),
			row("https.letsencrypt.domains", &https.LetsEncrypt.Domains, nil, domains, onDoor,
				"[hub.example.org]", "The names to get certificates for."),
			row("https.letsencrypt.staging", &https.LetsEncrypt.Staging, false, boolean, onDoor,
				"true", "Whether certificates come from Let's Encrypt's staging authority, for testing. Browsers warn about them."),
			row("https.letsencrypt.directory", &https.LetsEncrypt.Directory, "", webAddress, onDoor,
				"https://acme.example.org/directory", "The directory of another authority that supports the same protocol (ACME)."),
			row("https.letsencrypt.ca", &https.LetsEncrypt.CA, "", file, onDoor,
				"/etc/ssl/certs/example-org.pem", "CA certificates to verify that authority with: a PEM file."),
			row("user_environment.default_app", &c.UserEnvironment.DefaultApp, "jupyterlab", oneOf("jupyterlab", "notebook", "classic"), onHub,
				"notebook", "What users see first: jupyterlab, notebook (the plain notebook), or classic (the older name of notebook)."),
			row("user_environment.variables", &c.UserEnvironment.Variables, map[string]string{}, variables, onHub,
				"{COURSE: physics}", "Environment variables of all single-user servers."),
			row("user_environment.own_extensions", &c.UserEnvironment.OwnExtensions, false, boolean, onHub,
				"true", "Whether servers load Jupyter's config, extensions and templates from their users' homes. By default they run trusted code only."),
			row("user_environment.packages", &c.UserEnvironment.Packages, nil, packages, onEnvironment,
				"[numpy, \"pandas>=2\"]", "Packages to install in the user environment in addition to the standard ones. tljh-install install installs them."),
		},
		folderRows(c),
		[]key{
			row("hub.name", &c.Hub.Name, "", line(80), onHub,
				"Physics 101", "The name of the hub: the title of its pages, also in their header and on the login page."),
			row("hub.announcement", &c.Hub.Announcement, "", line(2000), onHub,
				"The exam begins at nine.", "A text shown on the hub's pages."),
			row("hub.logo", &c.Hub.Logo, "", picture, onHub,
				"/etc/tljh/logo.png", "A logo shown instead of JupyterHub's: a png, svg or jpg file."),
			row("hub.user_port", &c.Hub.UserPort, 0, userPort, onHub|onDoor,
				"8443", "A separate port for single-user servers, so that browsers keep their pages apart from the hub's. It uses HTTPS if the hub does. 0 means none."),
			row("hub.user_domain", &c.Hub.UserDomain, "", domain, onHub|onDoor,
				"users.example.org", "The domain below which each single-user server has its own name (alice.users.example.org), so that browsers keep its pages apart from the hub's and from other users'."),
			row("hub.domain", &c.Hub.Domain, "", domain, onDoor,
				"hub.example.org", "The hub's own name, for hub.user_domain and for the address that status shows. Without it, the first of https.letsencrypt.domains, or else hub.user_domain itself."),
			row("hub.writable_paths", &c.Hub.WritablePaths, nil, writable, onUnits,
				"[/srv/homework]", "Folders outside homes that code in jupyterhub_config.d may write to. Everything else except the hub's own state, /etc, /run, /tmp and /var/log is read-only for the hub. They must exist when the hub starts."),
			row("hub.packages", &c.Hub.Packages, nil, packages, onHubEnvironment,
				"[jupyterhub-ltiauthenticator]", "Python packages to add to the hub environment: authenticators that are not part of the hub, helpers of the spawner, services. tljh-install install and every upgrade install them."),
			row("sources.index", &c.Sources.Index, "", webAddress, onServers,
				"https://packages.example.org/simple", "The Python package index, also for single-user servers. If unset, the one that pip and uv are configured for."),
			row("sources.channel", &c.Sources.Channel, "", channel, onNothing,
				"conda-forge", "The conda channel, by name or address."),
			row("sources.alias", &c.Sources.Alias, "", webAddress, onNothing,
				"https://mirror.example.org/conda", "The base address of conda's channels. If unset, conda's own."),
			row("sources.mirror", &c.Sources.Mirror, "", webAddress, onNothing,
				"https://mirror.example.org/miniforge", "The address of the folder that contains Miniforge's installer."),
			row("sources.miniforge_sha256", &c.Sources.MiniforgeSHA256, "", digest, onNothing,
				"b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c", "The SHA-256 of that installer, if your site has its own. If unset, that of the Miniforge which this release was made for."),
			row("sources.ca", &c.Sources.CA, "", file, onTrust|onHub|onDoor|onEnvironment|onServers,
				"/etc/ssl/certs/example-org.pem", "CA certificates to trust in addition to the system's, also in single-user servers: a PEM file."),
			row("network.http_proxy", &c.Network.HTTPProxy, "", proxy, onHub|onDoor|onServers,
				"http://proxy.example.org:3128", "The proxy for addresses that begin with http://. The hub, the edge, single-user servers and the commands of tljh-install use it; a shell variable http_proxy takes precedence for commands in that shell, and user_environment.variables for servers. If unset, no proxy is used."),
			row("network.https_proxy", &c.Network.HTTPSProxy, "", proxy, onHub|onDoor|onServers,
				"http://proxy.example.org:3128", "The proxy for addresses that begin with https://. It is usually the same proxy, and its own address usually begins with http://."),
			row("network.no_proxy", &c.Network.NoProxy, nil, direct, onHub|onDoor|onServers,
				"[example.org, 10.0.0.0/8]", "Names, addresses and networks that are reached without the proxy. A name includes all names below it; not all programs support networks. This machine is always included: localhost, and the names and addresses of the hub in the config."),
			row("upgrade.url", &c.Upgrade.URL, "", webFolder, onUpgrade,
				"https://releases.example.org/tljh", "The address where tljh-install upgrade looks for releases. If unset, the one that the installed release came from. Releases must be signed in any case."),
			row("services.cull.enabled", &cull.Enabled, true, boolean, onHub,
				"false", "Whether idle servers are stopped."),
			row("services.cull.timeout", &cull.Timeout, 3600, seconds(1), onHub,
				"1800", "Seconds after which an idle server is stopped: no page of it is open, no cell runs and no command runs in a terminal. Files are kept; data in memory is lost."),
			row("services.cull.every", &cull.Every, 60, seconds(1), onHub,
				"300", "Seconds between two checks for idle servers."),
			row("services.cull.concurrency", &cull.Concurrency, 5, whole("whole number", 1, 1000), onHub,
				"10", "How many servers are stopped at the same time."),
			row("services.cull.users", &cull.Users, false, boolean, onHub,
				"true", "Whether idle users are removed from the hub as well. Their accounts and homes stay."),
			row("services.cull.max_age", &cull.MaxAge, 0, seconds(0), onHub,
				"86400", "Seconds after which a server is stopped even if it is in use. 0 means never."),
			row("services.cull.remove_named_servers", &cull.RemoveNamedServers, false, boolean, onHub,
				"true", "Whether a user's additional named servers are removed when they are stopped."),
			unused("services.configurator", "The configurator of The Littlest JupyterHub 1.x/2.x is not part of this version."),
			unused("traefik_api", "There is no Traefik in this version."),
		})
}

// memoryRow is the row of the memory limit for all: the one key where null, a value and none at all each mean something.
func memoryRow(l *Limits) key {
	return key{
		path: "limits.memory", typ: autoSize.name, touches: onHub, def: Auto, example: "2G",
		schema: autoSize.schema,
		doc: "The memory limit of each single-user server: a number of bytes, or one with K, M, G or T (powers of 1024). null means no limit. " +
			"auto is a quarter of the memory that all single-user servers share, and at least 1G: tljh-install config explain shows the value.",
		reset: func() { l.Memory, l.MemoryAuto = nil, true },
		value: func() any {
			if l.MemoryAuto {
				return Auto
			}
			return l.Memory
		},
		read: func(w *walker, node *yaml.Node, path string) {
			switch {
			case w.isNull(node):
				l.Memory, l.MemoryAuto = nil, false
			case w.scalar(node, asText) && node.Value == Auto:
				l.Memory, l.MemoryAuto = nil, true
			default:
				if bytes, ok := autoSize.read(w, node, path); ok {
					l.Memory, l.MemoryAuto = bytes, false
				}
			}
		},
	}
}

// devicesRow is the row of the devices that users' servers see: a word, or a list.
func devicesRow(d *Devices) key {
	return key{
		path: "users.devices", typ: devices.name, touches: onHub, def: Auto, example: "[/dev/nvidia*, /dev/video0]",
		schema: devices.schema,
		doc: "The devices that servers of users who are not admins see, in addition to /dev/null and the like: auto means GPUs and serial ports (and /dev/fuse with users.namespaces) that the " +
			"mode and group of the device let the user open, none means no devices, and a list of paths, which may contain * and ?, means only these. It never gives more access than mode and group do.",
		reset: func() { *d = Devices{Word: Auto} },
		value: func() any { return d.value() },
		read: func(w *walker, node *yaml.Node, path string) {
			if w.isNull(node) {
				return
			}
			if value, ok := devices.read(w, node, path); ok {
				*d = value
			}
		},
	}
}

// limitRows are those of a limit for some users.
func limitRows(path string, field *map[string]Limit, name *anyName, of string) []key {
	return []key{
		inEach(path+".*.memory", field, func(l *Limit) (**Bytes, *bool) { return &l.Memory, &l.MemorySet }, size, name, onHub,
			"4G", "The memory limit "+of+". null means no limit."),
		inEach(path+".*.cpu", field, func(l *Limit) (**float64, *bool) { return &l.CPU, &l.CPUSet }, number, name, onHub,
			"2", "The CPU limit "+of+". null means no limit."),
	}
}

func folderRows(c *Config) []key {
	return []key{
		inEach("shared_folders.*.read", &c.SharedFolders, func(f *SharedFolder) (*[]string, *bool) { return &f.Read, nil }, members, folderNames, onHub|onFolders,
			"[all]", "Who may read the folder /srv/tljh/NAME, which users find as ~/shared/NAME: all, admins, group:GROUP (of users.extra_user_groups), or a user."),
		inEach("shared_folders.*.write", &c.SharedFolders, func(f *SharedFolder) (*[]string, *bool) { return &f.Write, nil }, members, folderNames, onHub|onFolders,
			"[admins]", "Who may change the folder, which includes reading it."),
	}
}

// touches is what has to be seen to when a key changes.
type touches int

const (
	onHub touches = 1 << iota
	onDoor
	onUnits
	onSudo
	onFolders
	onEnvironment
	onTrust
	onFilter
	onSSH
	onHubEnvironment
	onServers         // their variables, which the hub reads at each start of one
	onUpgrade         // nothing that runs: it is read when the next release is looked for
	onNothing touches = 0
)

// effects are the names of touches, for people.
var effects = []struct {
	touch touches
	name  string
}{
	{onHub, "hub restart"}, {onDoor, "edge restart"}, {onUnits, "units"}, {onSudo, "sudo rules"}, {onFolders, "groups and shared folders"},
	{onServers, "single-user servers, at their next start"},
	{onTrust, "certificates to trust"}, {onFilter, "packet filter"}, {onSSH, "rule for sshd"}, {onEnvironment, "user environment, by tljh-install install"},
	{onHubEnvironment, "hub environment, by tljh-install install"},
}

// key is a row of the table.
type key struct {
	path    string // "*" stands for any name
	typ     string // for people
	schema  obj    // for programs
	touches touches
	def     string
	example string
	doc     string
	any     *anyName // what may stand for a "*" that is not the last part
	reset   func()
	read    func(w *walker, node *yaml.Node, path string)
	value   func() any
	list    *[]string // the field of a list of users; nil for others
}

// anyName is a kind of name of a person's choice.
type anyName struct {
	check  func(name string) error
	schema obj
	folds  bool // capital letters are taken as small ones
}

// kept is the form in which a name is kept.
func (n *anyName) kept(name string) string {
	if n.folds {
		return strings.ToLower(name)
	}
	return name
}

var (
	userNames   = &anyName{CheckUserName, obj{"pattern": userPattern, "maxLength": longest, "not": obj{"pattern": noUser}}, true}
	groupNames  = &anyName{checkGroupName, groupSchema, false}
	folderNames = &anyName{checkFolderName, obj{"pattern": folderName.String()}, false}
)

var groupSchema = obj{
	"pattern": groupName.String(), "maxLength": 32, "not": obj{"pattern": "^(tljh-.*|" + layout.AdminsGroup + "|" + layout.UsersGroup + ")$"},
}

// obj is a part of a JSON Schema.
type obj = map[string]any

// kind is a kind of value: its name for people, its JSON Schema, and how one is read from the file. What is wrong is told to the walker.
type kind[T any] struct {
	name   string
	schema obj
	read   func(w *walker, node *yaml.Node, path string) (T, bool)
}

func row[T any](path string, field *T, def T, k kind[T], t touches, example, doc string) key {
	list, _ := any(field).(*[]string)
	return key{
		path: path, typ: k.name, schema: k.schema, touches: t, def: show(def), example: example, doc: doc, list: list,
		reset: func() { *field = def },
		value: func() any { return *field },
		read: func(w *walker, node *yaml.Node, path string) {
			if w.isNull(node) {
				return // a key without a value says nothing
			}
			if value, ok := k.read(w, node, path); ok {
				*field = value
			}
		},
	}
}

// each is the row of a path that ends in "*": the field has an entry for every name.
func each[T any](path string, field *map[string]T, k kind[T], t touches, example, doc string) key {
	return key{
		path: path, typ: k.name, schema: k.schema, touches: t, def: show(*field), example: example, doc: doc,
		reset: func() { *field = map[string]T{} },
		value: func() any { return *field },
		read: func(w *walker, node *yaml.Node, path string) {
			if value, ok := k.read(w, node, path); ok {
				(*field)[path[strings.LastIndex(path, ".")+1:]] = value
			}
		},
	}
}

// inEach is the row of a path with "*" before its last part: the field has an entry for every name, and this row a place in each. Where
// null means something, the place comes with a mark that it was given.
func inEach[T, V any](path string, field *map[string]T, place func(*T) (*V, *bool), k kind[V], names *anyName, t touches, example, doc string) key {
	before, after, _ := strings.Cut(path, "*")
	var none V
	return key{
		path: path, typ: k.name, schema: k.schema, touches: t, def: show(none), example: example, doc: doc, any: names,
		reset: func() { *field = map[string]T{} },
		value: func() any { return *field },
		read: func(w *walker, node *yaml.Node, path string) {
			name := names.kept(strings.TrimSuffix(strings.TrimPrefix(path, before), after))
			entry := (*field)[name]
			to, given := place(&entry)
			value, ok := none, w.isNull(node)
			if !ok {
				value, ok = k.read(w, node, path)
			}
			if ok {
				*to = value
				if given != nil {
					*given = true
				}
			}
			(*field)[name] = entry
		},
	}
}

const anything = "anything"

// unused is a section of the older TLJH that may stay where it is.
func unused(path, doc string) key {
	return key{
		path: path, typ: anything, schema: obj{}, def: "null", example: "{port: 8099}", doc: doc, reset: func() {}, value: func() any { return nil },
		read: func(w *walker, _ *yaml.Node, path string) {
			w.tell(Warning, w.at[path], path, path+" is not used: "+strings.ToLower(doc[:1])+strings.TrimSuffix(doc[1:], "."), "remove it when you like")
		},
	}
}

// show writes a default as YAML.
func show(value any) string {
	switch v := value.(type) {
	case *Bytes, *float64:
		return "null" // no other default is in use
	case []string:
		return "[" + strings.Join(v, ", ") + "]"
	case map[string][]string, map[string]map[string]any, map[string]string:
		return "{}"
	case string:
		if v == "" || !isPlainText(v) {
			return strconv.Quote(v)
		}
	}
	return fmt.Sprint(value)
}

// KeyDoc describes a key for documentation.
type KeyDoc struct {
	Path    string `json:"path"` // "*" stands for any name
	Type    string `json:"type"`
	Default string `json:"default"` // as YAML
	Doc     string `json:"doc"`
	Example string `json:"example"` // as YAML
}

// Keys describes all keys, in the order of the documentation.
func Keys() []KeyDoc {
	var docs []KeyDoc
	for _, key := range schema(&Config{}) {
		docs = append(docs, KeyDoc{Path: key.path, Type: key.typ, Default: key.def, Doc: key.doc, Example: key.example})
	}
	return docs
}
