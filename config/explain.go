package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Explanation is what a config means for a user, each with the key that says so.
type Explanation struct {
	User  string `json:"user,omitempty"`
	Doc   string `json:"doc,omitempty"` // what a key is for
	Facts []Fact `json:"facts"`
}

// Fact is one of them.
type Fact struct {
	What  string `json:"what"`
	Value string `json:"value"`
	Key   string `json:"key"` // that decides, or where a key's value comes from; "default" where none does
}

const byDefault = "default"

// autoKey is what is said to decide where a limit is derived from the machine.
const autoKey = "limits.memory: auto (a quarter of what all servers may take together, at least 1G)"

// Explain shows what holds for a user; auto is the memory limit that this machine has by default, 0 when that is not known. Whether someone is let
// in may also be the authenticator's business.
func Explain(c *Config, user string, auto Bytes) Explanation {
	user = strings.ToLower(user)
	e := Explanation{User: user}
	add := func(what, value, key string) { e.Facts = append(e.Facts, Fact{what, value, key}) }
	access, key := c.access(user)
	add("may log in", access, key)
	admin := slices.Contains(c.Users.Admin, user)
	add("admin", yesOrNo(admin), "users.admin")
	if admin {
		add("sudo", c.Users.AdminSudo, "users.admin_sudo")
	}
	groups := c.groupsOf(user)
	add("groups", listed(groups), "users.extra_user_groups")
	memory, key := c.MemoryOf(user)
	limit := limitText(memory)
	if key == autoKey {
		if limit = auto.String(); auto == 0 {
			limit = "depends on the machine"
		}
	}
	add("memory", limit, key)
	cpu, key := c.CPUOf(user)
	value := "no limit"
	if cpu != nil {
		value = strconv.FormatFloat(*cpu, 'f', -1, 64)
	}
	add("CPUs", value, key)
	for _, name := range slices.Sorted(maps.Keys(c.SharedFolders)) {
		if rights, key := c.rightsOf(user, name); rights != "" {
			add("folder "+name, rights, key)
		}
	}
	for _, v := range c.ServerVariables() {
		if v.Name != strings.ToUpper(v.Name) || !isProxyVariable(v.Name) { // the same in capital letters
			add("variable "+v.Name, withoutUserInfo(v.Value), v.Key)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.UserEnvironment.Variables)) {
		add("variable "+name, "set", "user_environment.variables."+name)
	}
	return e
}

// IsKey reports whether a path is that of a key which can be explained: one whose value is no secret and that stands once.
func IsKey(path string) bool {
	return slices.ContainsFunc(schema(&Config{}), func(key key) bool {
		return key.path == path && key.typ != anything && reflect.ValueOf(key.value()).Kind() != reflect.Map
	})
}

// hidden stands for a secret, whose value is shown by get alone.
const hidden = "(a secret)"

// ExplainKey shows what a key is set to, and what sets it: a line of the file, or else the default. The document is valid.
func ExplainKey(d *Document, path string, auto Bytes) Explanation {
	e := Explanation{}
	for _, key := range schema(d.Config) {
		if key.path != path {
			continue
		}
		value, ok := key.value().(string)
		if !ok {
			value = show(key.value())
			if limit, ok := key.value().(*Bytes); ok && limit != nil {
				value = limit.String()
			} else if number, ok := key.value().(*float64); ok && number != nil {
				value = strconv.FormatFloat(*number, 'f', -1, 64)
			}
		}
		from := "default, the config does not set it"
		if node := d.walker.at[path]; node != nil && d.sets(path) {
			from = fmt.Sprintf("line %d of the config (default: %s)", node.Line, key.def)
			if isSecret(path) && mayHoldSecrets(path) && value != "" {
				value = hidden
			}
		}
		e.Facts = append(e.Facts, Fact{path, withoutUserInfo(value), from})
		if path == "limits.memory" && d.Config.Limits.MemoryAuto && auto > 0 {
			e.Facts = append(e.Facts, Fact{"on this machine", auto.String(), autoKey})
		}
		if path == "network.no_proxy" {
			e.Facts = append(e.Facts, Fact{"in effect", listed(d.Config.Direct()), "network.no_proxy, and this machine's own names and addresses"})
		}
		e.Doc = key.doc
		if value == hidden {
			e.Doc += "\n\nTo see it: sudo tljh-install config get " + path
		}
	}
	return e
}

// sets reports whether the file gives a key a value: without one, a key says nothing, but for a memory limit, which null switches off.
func (d *Document) sets(path string) bool {
	value, found := find(d.values(), strings.Split(path, "."))
	return found && (value != nil || path == "limits.memory")
}

func (c *Config) access(user string) (string, string) {
	switch {
	case slices.Contains(c.Users.Banned, user):
		return "no", "users.banned"
	case slices.Contains(c.Users.Admin, user):
		return "yes", "users.admin"
	case slices.Contains(c.Users.Allowed, user):
		return "yes", "users.allowed"
	case c.Auth.Type == FirstUse && c.createsUsers():
		return "yes, with a password that the user chooses", "auth.FirstUseAuthenticator.create_users"
	case c.Auth.Type == FirstUse:
		return "when an admin has added the name on the hub's Admin page", "auth.type"
	}
	return "if the authenticator says so", "auth.type"
}

// createsUsers tells whether the first-use authenticator lets in whoever comes with a new name. A list of who may has the last word.
func (c *Config) createsUsers() bool {
	creates, _ := c.Auth.Options["FirstUseAuthenticator"]["create_users"].(bool)
	return creates && len(c.Users.Allowed) == 0
}

func (c *Config) groupsOf(user string) []string {
	found := []string{}
	for _, group := range slices.Sorted(maps.Keys(c.Users.ExtraUserGroups)) {
		if slices.Contains(c.Users.ExtraUserGroups[group], user) {
			found = append(found, group)
		}
	}
	return found
}

// MemoryOf returns a user's memory limit, nil for none, and the key that sets it: the user's own, or else the largest of their groups', or else
// the one for all.
func (c *Config) MemoryOf(user string) (*Bytes, string) {
	limit, key := limitOf(c, user, "memory", c.Limits.Memory, func(l Limit) (*Bytes, bool) { return l.Memory, l.MemorySet })
	switch {
	case key != byDefault:
		return limit, key
	case c.Limits.MemoryAuto:
		return nil, autoKey
	}
	return nil, "limits.memory"
}

// CPUOf does the same for CPUs.
func (c *Config) CPUOf(user string) (*float64, string) {
	return limitOf(c, user, "cpu", c.Limits.CPU, func(l Limit) (*float64, bool) { return l.CPU, l.CPUSet })
}

func limitOf[T Bytes | float64](c *Config, user, what string, all *T, of func(Limit) (*T, bool)) (*T, string) {
	if limit, ok := of(c.Limits.Users[user]); ok {
		return limit, "limits.users." + user + "." + what
	}
	var largest *T
	key := ""
	for _, group := range c.groupsOf(user) {
		limit, ok := of(c.Limits.Groups[group])
		if ok && (key == "" || limit == nil || largest != nil && *limit > *largest) {
			largest, key = limit, "limits.groups."+group+"."+what
		}
	}
	switch {
	case key != "":
		return largest, key
	case all == nil:
		return nil, byDefault
	}
	return all, "limits." + what
}

// rightsOf tells what a user may do with a shared folder, and by which entry.
func (c *Config) rightsOf(user, folder string) (string, string) {
	for _, right := range []struct {
		name, what string
		entries    []string
	}{{"write", "read and write", c.SharedFolders[folder].Write}, {"read", "read", c.SharedFolders[folder].Read}} {
		for _, entry := range right.entries {
			group, isGroup := strings.CutPrefix(entry, GroupEntry)
			if entry == Everybody || entry == user || entry == AdminsEntry && slices.Contains(c.Users.Admin, user) ||
				isGroup && slices.Contains(c.Users.ExtraUserGroups[group], user) {
				return right.what, fmt.Sprintf("shared_folders.%s.%s: %s", folder, right.name, entry)
			}
		}
	}
	return "", ""
}

func limitText(limit *Bytes) string {
	if limit == nil {
		return "no limit"
	}
	return limit.String()
}

func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func yesOrNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

// Text writes the explanation as a table.
func (e Explanation) Text() string {
	wide, wider := len("what"), len("value")
	for _, fact := range e.Facts {
		wide, wider = max(wide, len(fact.What)), max(wider, len(fact.Value))
	}
	var b strings.Builder
	by := "KEY"
	if e.User == "" {
		by = "FROM"
	}
	for _, fact := range append([]Fact{{strings.ToUpper("what"), "VALUE", by}}, e.Facts...) {
		fmt.Fprintf(&b, "%-*s  %-*s  %s\n", wide, fact.What, wider, fact.Value, fact.Key)
	}
	if e.Doc != "" {
		fmt.Fprintf(&b, "\n%s\n", e.Doc)
	}
	return b.String()
}
