package config

import (
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"
)

// schema is the table of all keys, each bound to its field of c. The order is that of the documentation.
func schema(c *Config) []key {
	cull := &c.Services.Cull
	return []key{
		row("base_url", &c.BaseURL, "/", path,
			"/jupyter/", "The path of the hub on its server. Useful where another web server passes on only a part of an address."),
		row("auth.type", &c.Auth.Type, FirstUse, authenticator,
			"nativeauthenticator.NativeAuthenticator", "The authenticator: a short name, or the dotted path of its class."),
		each("auth.*", &c.Auth.Options, options,
			"{create_users: true}", "Options of an authenticator, under the name of its class, as in auth.GitHubOAuthenticator.client_id."),
		row("users.allowed", &c.Users.Allowed, nil, names,
			"[alice, bob]", "Users who may log in."),
		row("users.banned", &c.Users.Banned, nil, names,
			"[mallory]", "Users who may not log in, whatever else says that they may."),
		row("users.admin", &c.Users.Admin, nil, names,
			"[alice]", "Admins: they may log in, manage the hub and its users, and use sudo."),
		row("users.extra_user_groups", &c.Users.ExtraUserGroups, map[string][]string{}, groups,
			"{course-a: [alice, bob]}", "Linux groups, each with the users whose accounts are put into it when their server starts."),
		row("limits.memory", &c.Limits.Memory, nil, size,
			"2G", "The memory that each user's server may take: a number of bytes, or one with K, M, G or T (powers of 1024). null is no limit."),
		row("limits.cpu", &c.Limits.CPU, nil, number,
			"1.5", "The CPUs that each user's server may use: 2 is two whole ones, 0.5 half of one. null is no limit."),
		row("http.address", &c.HTTP.Address, "", address,
			"192.0.2.7", "The IP address on which visitors are served. Without it, all addresses of the machine."),
		row("http.port", &c.HTTP.Port, 80, port,
			"8080", "The port on which visitors are served."),
		row("user_environment.default_app", &c.UserEnvironment.DefaultApp, "jupyterlab", oneOf("jupyterlab", "notebook", "classic"),
			"notebook", "What users see first: jupyterlab, notebook (the plain notebook), or classic (the older name of notebook)."),
		row("services.cull.enabled", &cull.Enabled, true, boolean,
			"false", "Whether servers that nobody uses are stopped."),
		row("services.cull.timeout", &cull.Timeout, 600, seconds(1),
			"3600", "Seconds without activity after which a server is stopped."),
		row("services.cull.every", &cull.Every, 60, seconds(1),
			"300", "Seconds between two looks for idle servers."),
		row("services.cull.concurrency", &cull.Concurrency, 5, whole("whole number", 1, 1000),
			"10", "How many servers are stopped at the same time."),
		row("services.cull.users", &cull.Users, false, boolean,
			"true", "Whether idle users are removed from the hub as well. Their accounts and homes stay."),
		row("services.cull.max_age", &cull.MaxAge, 0, seconds(0),
			"86400", "Seconds after which a server is stopped even when it is in use. 0 is never."),
		row("services.cull.remove_named_servers", &cull.RemoveNamedServers, false, boolean,
			"true", "Whether a user's additional named servers are removed when they are stopped."),
	}
}

// elsewhere are keys of an older TLJH that have no meaning here, each with what to do instead.
var elsewhere = map[string]string{
	"https":       "this version serves HTTP only; for HTTPS, put a web server with a certificate in front, and remove this section",
	"traefik_api": "there is no Traefik in this version; remove this section",
}

// key is a row of the table.
type key struct {
	path    string // "*" at its end stands for any name
	typ     string // for people
	def     string
	example string
	doc     string
	reset   func()
	read    func(w *walker, node *yaml.Node, path string)
	list    *[]string // the field of a list of users; nil for others
}

// kind is a kind of value: its name for people, and how one is read from the file. What is wrong is told to the walker.
type kind[T any] struct {
	name string
	read func(w *walker, node *yaml.Node, path string) (T, bool)
}

func row[T any](path string, field *T, def T, k kind[T], example, doc string) key {
	list, _ := any(field).(*[]string)
	return key{
		path: path, typ: k.name, def: show(def), example: example, doc: doc, list: list,
		reset: func() { *field = def },
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
func each[T any](path string, field *map[string]T, k kind[T], example, doc string) key {
	return key{
		path: path, typ: k.name, def: show(*field), example: example, doc: doc,
		reset: func() { *field = map[string]T{} },
		read: func(w *walker, node *yaml.Node, path string) {
			if value, ok := k.read(w, node, path); ok {
				(*field)[path[strings.LastIndex(path, ".")+1:]] = value
			}
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
	case map[string][]string, map[string]map[string]any: // of users.extra_user_groups and auth.*
		return "{}"
	case string:
		if v == "" {
			return `""`
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
