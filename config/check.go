package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// crossCheck looks at what keys mean together.
func (w *walker) crossCheck(c *Config) {
	w.checkUsers(c)
	w.checkClasses(c)
	w.checkEntry(c)
	w.checkCull(c)
	w.checkGroups(c)
	w.checkAccounts(c)
	w.checkHTTPS(c)
	w.checkOrigins(c)
}

// checkOrigins looks at where single-user servers are served.
func (w *walker) checkOrigins(c *Config) {
	if w.unread("hub") || w.unread("http") || w.unread("https") {
		return
	}
	hub := c.Hub
	if hub.UserPort != 0 && hub.UserDomain != "" {
		w.fail(w.place("hub.user_domain"), "hub.user_domain", "single-user servers cannot have both a domain and a port of their own (hub.user_port)", "take one of the two out")
	}
	for _, taken := range []struct {
		key  string
		port int
		used bool
	}{{"http.port", c.HTTP.Port, true}, {"https.port", c.HTTPS.Port, c.HTTPS.Enabled}} {
		if taken.used && hub.UserPort == taken.port {
			w.fail(w.place("hub.user_port"), "hub.user_port", fmt.Sprintf("hub.user_port and %s cannot both have port %d", taken.key, hub.UserPort), "write another port, such as 8443")
		}
	}
	if hub.UserDomain != "" && strings.HasSuffix(c.HubDomain(), "."+hub.UserDomain) {
		w.fail(w.place("hub.domain", "https.letsencrypt.domains", "hub.user_domain"), "hub.user_domain",
			fmt.Sprintf("the hub's own name, %s, is below hub.user_domain, where the names are single-user servers'", c.HubDomain()), "set hub.domain to a name that is not below it")
	}
	if hub.Domain != "" && hub.UserDomain == "" {
		w.tell(Warning, w.place("hub.domain"), "hub.domain", "without hub.user_domain, hub.domain is only the address that is shown", "")
	}
}

// place returns the first of the paths that stands in the file.
func (w *walker) place(paths ...string) *yaml.Node {
	for _, path := range paths {
		if node := w.at[path]; node != nil {
			return node
		}
	}
	return &yaml.Node{Line: 1, Column: 1}
}

func (w *walker) checkUsers(c *Config) {
	for _, name := range c.Users.Banned {
		item := w.place("users.banned[" + name + "]")
		path := fmt.Sprintf("users.banned[%d]", w.index("users.banned", item))
		if slices.Contains(c.Users.Admin, name) {
			w.fail(item, path, fmt.Sprintf("%s is banned, and an admin in line %d", name, w.place("users.admin["+name+"]").Line), "take the name out of one of the lists")
			continue
		}
		if slices.Contains(c.Users.Allowed, name) {
			w.tell(Warning, item, path, fmt.Sprintf("%s is banned, so being allowed in line %d is of no effect", name, w.place("users.allowed["+name+"]").Line), "")
		}
	}
	w.checkLeftOut(c)
	w.checkFirstLogin(c)
	if w.at["users"] != nil && len(c.Users.Admin) == 0 && c.Auth.Type == FirstUse && !w.unread("users") && !w.unread("auth") {
		w.tell(Warning, w.place("users.admin", "users"), "users.admin", "nobody is an admin of this hub", "name one under users.admin")
	}
}

// checkFirstLogin finds a class code that is missing, or that nobody is asked for.
func (w *walker) checkFirstLogin(c *Config) {
	if w.unread("users") || w.unread("auth") {
		return
	}
	node := w.place("users.first_login")
	switch code := c.Users.FirstLogin == FirstCode; {
	case code && c.Users.ClassCode == "":
		w.tell(Warning, node, "users.first_login", "there is no class code: nobody can choose a password at the first login", "write one, of at least 6 characters: users.class_code")
	case !code && c.Users.ClassCode != "":
		w.tell(Warning, w.place("users.class_code"), "users.class_code", "nobody is asked for the class code: users.first_login is "+c.Users.FirstLogin, "write users.first_login: code")
	case c.Users.FirstLogin != FirstOpen && c.Auth.Type != FirstUse:
		w.tell(Warning, node, "users.first_login", "users.first_login is of no effect with "+short(c.Auth.Type)+": that authenticator says who comes in", "")
	}
}

func (w *walker) index(list string, item *yaml.Node) int {
	for i := 0; ; i++ {
		switch w.at[fmt.Sprintf("%s[%d]", list, i)] {
		case item:
			return i
		case nil:
			if i > len(w.at) {
				return 0
			}
		}
	}
}

// overridden are options that are set from keys of their own.
var overridden = map[string]string{
	"allowed_users": "users.allowed", "whitelist": "users.allowed", "blocked_users": "users.banned", "blacklist": "users.banned", "admin_users": "users.admin",
}

// checkClasses finds options that reach no authenticator.
func (w *walker) checkClasses(c *Config) {
	mine := classOf(c.Auth.Type)
	if near := nearest(c.Auth.Type, dottedNames()); strings.Contains(c.Auth.Type, ".") && near != "" && near != c.Auth.Type {
		w.tell(Warning, w.place("auth.type"), "auth.type", "the hub does not come with "+short(c.Auth.Type), "did you mean "+near+"?")
	}
	for _, class := range slices.Sorted(maps.Keys(c.Auth.Options)) {
		path := "auth." + class
		node := w.place(path)
		if !strings.HasSuffix(class, "Authenticator") && class != mine {
			w.fail(node, path, fmt.Sprintf("%s is not the name of an authenticator's class", class), "the class of auth.type is "+mine)
			continue
		}
		if class != mine && isKnownClass(class) && isKnownClass(strings.TrimPrefix(mine, "Local")) && class != strings.TrimPrefix(mine, "Local") {
			w.tell(Warning, node, path, fmt.Sprintf("these options are of no effect: auth.type is %s", short(c.Auth.Type)), "")
		}
		if near := nearest(class, []string{mine}); class != mine && near != "" && !isKnownClass(class) {
			w.tell(Warning, node, path, fmt.Sprintf("%s is not the class of auth.type", class), "did you mean "+mine+"?")
		}
		for _, option := range slices.Sorted(maps.Keys(c.Auth.Options[class])) {
			if key := overridden[option]; key != "" {
				w.tell(Warning, w.place(join(path, option)), join(path, option), option+" is of no effect here", "use "+key)
			}
		}
	}
}

func isKnownClass(class string) bool {
	for _, known := range authenticators {
		if known.class == class {
			return true
		}
	}
	return false
}

// classOf returns the class of an authenticator that is named in either way.
func classOf(name string) string {
	for _, known := range authenticators {
		if slices.Contains(known.short, name) {
			return known.class
		}
		if "local-"+known.short[0] == name {
			return "Local" + known.class
		}
	}
	return name[strings.LastIndex(name, ".")+1:]
}

// checkEntry warns of hubs that everybody or hardly anybody can enter.
func (w *walker) checkEntry(c *Config) {
	if w.unread("auth") {
		return
	}
	class := classOf(c.Auth.Type)
	if class == "DummyAuthenticator" && c.Auth.Options[class]["password"] == nil {
		w.tell(Warning, w.place("auth.type"), "auth.type", "anybody can log in as anybody, with any password", "set auth.DummyAuthenticator.password, or use another authenticator")
	}
	for _, known := range authenticators {
		if known.class == class && known.needsAllow && len(c.Users.Allowed) == 0 && !w.unread("users") && !allows(c.Auth.Options) {
			w.tell(Warning, w.place("auth.type"), "auth.type", "nobody but admins can log in: users.allowed is empty",
				fmt.Sprintf("list users under users.allowed, or set an option of auth.%s such as allow_all: true", class))
		}
	}
}

func allows(options map[string]map[string]any) bool {
	for _, section := range options {
		for option := range section {
			if strings.HasPrefix(option, "allow") && overridden[option] == "" {
				return true
			}
		}
	}
	return false
}

func (w *walker) checkCull(c *Config) {
	cull := c.Services.Cull
	if w.at["services.cull.every"] != nil && cull.Enabled && cull.Every > cull.Timeout {
		w.tell(Warning, w.place("services.cull.every"), "services.cull.every",
			fmt.Sprintf("servers are looked at every %d seconds only, so one may idle for longer than the %d of services.cull.timeout", cull.Every, cull.Timeout), "")
	}
}

// checkLeftOut finds admins that are missing in a list of allowed users. They are let in all the same, which whoever reads the list may not know.
func (w *walker) checkLeftOut(c *Config) {
	left := slices.DeleteFunc(slices.Clone(c.Users.Admin), func(name string) bool { return slices.Contains(c.Users.Allowed, name) })
	if len(c.Users.Allowed) == 0 || len(left) == 0 {
		return
	}
	item := w.place("users.admin[" + left[0] + "]")
	names, verb := strings.Join(left, ", "), "are"
	switch {
	case len(left) == 1:
		verb = "is"
	case len(left) > 3:
		names = fmt.Sprintf("%s and %d more", strings.Join(left[:3], ", "), len(left)-3)
	}
	w.tell(Warning, item, fmt.Sprintf("users.admin[%d]", w.index("users.admin", item)),
		names+" "+verb+" not in users.allowed", "admins are let in all the same; name them there, too, to make the list complete")
}

// checkGroups finds groups that nobody is put into.
func (w *walker) checkGroups(c *Config) {
	if w.unread("users") {
		return
	}
	known := slices.Sorted(maps.Keys(c.Users.ExtraUserGroups))
	missing := func(node *yaml.Node, path, group string) {
		hint := "make it under users.extra_user_groups"
		if near := nearest(group, known); near != "" {
			hint = "did you mean " + near + "?"
		}
		w.fail(node, path, "there is no group "+short(group)+" in users.extra_user_groups", hint)
	}
	for _, group := range slices.Sorted(maps.Keys(c.Limits.Groups)) {
		if _, ok := c.Users.ExtraUserGroups[group]; !ok {
			missing(w.place("limits.groups["+group+"]"), "limits.groups."+group, group)
		}
	}
	for _, folder := range slices.Sorted(maps.Keys(c.SharedFolders)) {
		lists := map[string][]string{"read": c.SharedFolders[folder].Read, "write": c.SharedFolders[folder].Write}
		for _, list := range slices.Sorted(maps.Keys(lists)) {
			for _, entry := range lists[list] {
				path := join(join("shared_folders", folder), list)
				if group, ok := strings.CutPrefix(entry, GroupEntry); ok && c.Users.ExtraUserGroups[group] == nil {
					if _, ok := c.Users.ExtraUserGroups[group]; !ok {
						missing(w.place(path+"["+entry+"]"), path, group)
					}
				}
			}
		}
	}
}

// checkAccounts looks at accounts without a prefix, whose names are the users'.
func (w *walker) checkAccounts(c *Config) {
	if c.Users.AccountPrefix != "" {
		return
	}
	for list, names := range map[string][]string{"users.admin": c.Users.Admin, "users.allowed": c.Users.Allowed} {
		for _, name := range names {
			if mighty[name] || name == "root" || name == "nobody" {
				w.fail(w.place(list+"["+name+"]"), list, "with users.account_prefix \"\", "+name+" would have an account of the system's", "take the name out, or set a prefix")
			}
		}
	}
}

func (w *walker) checkHTTPS(c *Config) {
	https := c.HTTPS
	if w.unread("https") || w.unread("http") {
		return
	}
	if https.Enabled && strings.HasPrefix(c.HTTP.PublicURL, "http://") {
		w.fail(w.place("http.public_url"), "http.public_url", "HTTPS is switched on, and the address that visitors have is one without", "write https:// there")
	}
	own, acme := https.TLS != TLS{}, https.LetsEncrypt.Email != "" || len(https.LetsEncrypt.Domains) > 0
	incomplete := func(node *yaml.Node, path, message, hint string) {
		w.tell(Warning, node, path, message+": HTTPS is not in effect until then", hint)
		c.HTTPS.Enabled, c.HTTPS.Missing = false, message
	}
	switch at := w.place("https.enabled", "https"); {
	case !https.Enabled && (own || acme) && w.at["https.enabled"] == nil:
		w.tell(Warning, w.place("https"), "https", "HTTPS is not switched on", "write https.enabled: true")
	case !https.Enabled:
	case !own && !acme:
		incomplete(at, "https.enabled", "HTTPS needs a certificate", "set https.tls.cert and https.tls.key, or https.letsencrypt.email and https.letsencrypt.domains")
	case own && acme:
		w.fail(w.place("https.letsencrypt"), "https.letsencrypt", "there is a certificate of your own (https.tls) and an authority to get one from; only one can be used", "take one of the two out")
	case own && https.TLS.Cert == "":
		incomplete(w.place("https.tls.key", "https.tls"), "https.tls", "the certificate is missing", "set https.tls.cert")
	case own && https.TLS.Key == "":
		incomplete(w.place("https.tls.cert", "https.tls"), "https.tls", "the key is missing", "set https.tls.key")
	case acme && https.LetsEncrypt.Email == "":
		incomplete(w.place("https.letsencrypt"), "https.letsencrypt", "the e-mail address is missing", "set https.letsencrypt.email")
	case acme && len(https.LetsEncrypt.Domains) == 0:
		incomplete(w.place("https.letsencrypt"), "https.letsencrypt", "the domains are missing", "set https.letsencrypt.domains")
	}
	if https.Enabled && https.Port == c.HTTP.Port {
		w.fail(w.place("https.port", "http.port", "https.enabled"), "https.port", fmt.Sprintf("HTTP and HTTPS cannot both have port %d", https.Port), "give one of them another")
	}
}
