package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// splices are edits: a config, an operation, and the config after it, or why not.
var splices = []struct{ before, op, after string }{
	// Values of each type.
	{"", "set limits.memory 2G", "limits:\n  memory: 2G\n"},
	{"", "set limits.memory 1073741824", "limits:\n  memory: 1073741824\n"},
	{"", "set limits.cpu 0.5", "limits:\n  cpu: 0.5\n"},
	{"", "set limits.cpu null", "!"},
	{"", "set services.cull.enabled false", "services:\n  cull:\n    enabled: false\n"},
	{"", "set http.port 8080", "http:\n  port: 8080\n"},
	{"", "set hub.name Physics 101", "hub:\n  name: \"Physics 101\"\n"},
	{"", "set hub.name yes", "hub:\n  name: \"yes\"\n"},
	{"", "set hub.name null", "hub:\n  name: \"null\"\n"},
	{"", "set hub.name 1.50", "hub:\n  name: \"1.50\"\n"},
	{"", "set hub.name a: b # c", "hub:\n  name: \"a: b # c\"\n"},
	{"", "set hub.name [x]", "hub:\n  name: \"[x]\"\n"},
	{"", "set hub.name Ünïcode \"q\" \\", "hub:\n  name: \"Ünïcode \\\"q\\\" \\\\\"\n"},
	{"", "set users.admin [alice, \"1234\"]", "users:\n  admin: [alice, \"1234\"]\n"},
	{"", "set users.admin alice", "!users.admin takes a list: write '[alice]', or add to it: tljh-install config add users.admin alice"},
	{"", "set users.admin alice, bob", "!takes a list"},
	{"", "set users.extra_user_groups {course: [alice]}", "users:\n  extra_user_groups: {course: [alice]}\n"},
	{"", "set users.extra_user_groups.course [alice]", "users:\n  extra_user_groups:\n    course: [alice]\n"},
	{"", "set user_environment.variables.COURSE 7", "user_environment:\n  variables:\n    COURSE: \"7\"\n"},
	{"", "set limits.users.bob.memory 2G", "limits:\n  users:\n    bob:\n      memory: 2G\n"},
	{"", "set limits.users.\"carol.x\".memory 2G", "limits:\n  users:\n    carol.x:\n      memory: 2G\n"},
	{"", "set limits.users.1234.cpu 2", "limits:\n  users:\n    \"1234\":\n      cpu: 2\n"},
	{"", "set limits.users.bob.cpu null", "limits:\n  users:\n    bob:\n      cpu: null\n"},
	{"", "set auth.type github", "auth:\n  type: github\n"},
	{"", "set auth.GitHubOAuthenticator.client_id 0123", "auth:\n  GitHubOAuthenticator:\n    client_id: \"0123\"\n"},
	{"", "set auth.GitHubOAuthenticator.client_id abc def", "auth:\n  GitHubOAuthenticator:\n    client_id: \"abc def\"\n"},
	{"", "set auth.GitHubOAuthenticator.allow_all true", "auth:\n  GitHubOAuthenticator:\n    allow_all: true\n"},
	{"", "set auth.GitHubOAuthenticator.allow_all yes", "auth:\n  GitHubOAuthenticator:\n    allow_all: \"yes\"\n"},
	{"", "set auth.GitHubOAuthenticator.allowed_organizations [a, b]", "auth:\n  GitHubOAuthenticator:\n    allowed_organizations: [a, b]\n"},
	{"", "set base_url /jupyter/", "base_url: /jupyter/\n"},
	{"", "set https.letsencrypt.email a@example.org", "https:\n  letsencrypt:\n    email: a@example.org\n"},

	// What is refused.
	{"", "set limits.memory lots", "!limits.memory must be a size, auto or null, not lots"},
	{"", "set limits.memory 5Q", "!limits.memory must be a size, auto or null, not 5Q"},
	{"", "set limits.users.bob.memory 5Q", "!limits.users.bob.memory must be a size or null, not 5Q"},
	{"", "set limits.memroy 2G", "!did you mean limits.memory?"},
	{"", "set limts.memory 2G", "!there is no key limts.memory; did you mean limits"},
	{"", "set limits 2G", "!limits is a section: give one of its keys, such as limits.memory"},
	{"limits: {memory: 1G}\nhttp:\n  port: 8080\n", "unset limits", "http:\n  port: 8080\n"},
	{"limits:\n  users:\n    bob:\n      cpu: 2\n    carol:\n      cpu: 1\n", "unset limits.users.bob", "limits:\n  users:\n    carol:\n      cpu: 1\n"},
	{"shared_folders:\n  data: {read: [all]}\n", "unset shared_folders.data", ""},
	{"", "set limits.memory.x 2G", "!there is no key limits.memory.x"},
	{"", "set limits.users.j.doe.memory 300M", `!there is no key limits.users.j.doe.memory; put the name j.doe between quotes: 'limits.users."j.doe".memory'`},
	{"", "set limits.groups.a.b.c.cpu 1", `!put the name a.b.c between quotes: 'limits.groups."a.b.c".cpu'`},
	{"", "set users.extra_user_groups.course.a [bob]", `!put the name course.a between quotes: 'users.extra_user_groups."course.a"'`},
	{"", "set limits.users.bob.foo 300M", "!there is no key limits.users.bob.foo; the keys of limits.users.bob are memory, cpu"},
	{"", "set limits.users.j.doe.foo 300M", "!there is no key limits.users.j.doe.foo; the keys of limits.users.j are memory, cpu"},
	{"", "set shared_folders.my.data.read [all]", "!the keys of shared_folders.my are read, write"},
	{"", "set a..b 2G", "!not the path of a key"},
	{"", "set http.port 80 80", "!http.port must be a whole number"},
	{"users: {banned: [bob]}", "set users.admin [bob]", "!bob is banned, and an admin"},
	{"limts: {}\n", "set limits.memory 2G", "!there is no key limts"},
	{"users: [\n", "set limits.memory 2G", "!cannot be read"},
	{"a: 1\n---\nb: 1\n", "set limits.memory 2G", "!cannot be read"},
	{"limits: &a {memory: 1G}\n", "set limits.memory 2G", "!anchor"},

	// In the place of another value.
	{"limits:\n  memory: 1G   # per user\n  cpu: 2\n", "set limits.memory 2G", "limits:\n  memory: 2G   # per user\n  cpu: 2\n"},
	{"limits: {memory: 1G, cpu: 2}  # x\n", "set limits.cpu 1.5", "limits: {memory: 1G, cpu: 1.5}  # x\n"},
	{"limits:\n  memory:\n", "set limits.memory 2G", "limits:\n  memory: 2G\n"},
	{"limits:\n  memory:   # none yet\n", "set limits.memory 2G", "limits:\n  memory: 2G   # none yet\n"},
	{"limits:\n  memory: null\n", "set limits.memory 2G", "limits:\n  memory: 2G\n"},
	{"hub:\n  name: 'it''s' # x\n", "set hub.name b", "hub:\n  name: b # x\n"},
	{"hub:\n  name: \"two\\\n    lines\"\n  logo: /a.png\n", "set hub.name b", "hub:\n  name: b\n  logo: /a.png\n"},
	{"hub:\n  announcement: >-\n    a long\n    text\n\n  name: x\n", "set hub.announcement short", "hub:\n  announcement: short\n\n  name: x\n"},
	{"users:\n  admin:\n  - alice\n  - bob\n  allowed: [x]\n", "set users.admin [carol]", "users:\n  admin: [carol]\n  allowed: [x]\n"},
	{"users:\n  admin:\n    - alice\n\n# end\n", "set users.admin [carol]", "users:\n  admin: [carol]\n\n# end\n"},
	{"users:\n  admin: [alice, # me\n    bob]\n", "set users.admin []", "users:\n  admin: []\n"},
	{"users:\n  extra_user_groups:\n    a: [x]\n    b:\n    - y\nlimits: {}\n", "set users.extra_user_groups {}", "users:\n  extra_user_groups: {}\nlimits: {}\n"},
	{"users:\n  extra_user_groups:\n    \"a\": [x]\n", "set users.extra_user_groups.a [y]", "users:\n  extra_user_groups:\n    \"a\": [y]\n"},
	{"\"limits\": {\"memory\": 1G}\n", "set limits.memory 2G", "\"limits\": {\"memory\": 2G}\n"},
	{"\ufefflimits:\r\n  memory: 1G\r\n", "set limits.memory 2G", "\ufefflimits:\r\n  memory: 2G\r\n"},
	{"limits:\r\n  memory: 1G", "set limits.cpu 2", "limits:\r\n  cpu: 2\r\n  memory: 1G"},
	{"limits:\n    memory: 1G\n", "set limits.cpu 2", "limits:\n    cpu: 2\n    memory: 1G\n"},
	{"---\nlimits:\n  memory: 1G\n", "set limits.memory 2G", "---\nlimits:\n  memory: 2G\n"},
	{"limits:\n  memory: 2G\n", "set limits.memory 2G", "limits:\n  memory: 2G\n"},
	{"limits: {memory: 2 GB}\n", "set limits.memory 2G", "limits: {memory: 2G}\n"},
	{"# only a remark\n", "set limits.memory 2G", "# only a remark\nlimits:\n  memory: 2G\n"},
	{"base_url: /\n", "set limits.memory 2G", "base_url: /\nlimits:\n  memory: 2G\n"},
	{"base_url: /", "set limits.memory 2G", "base_url: /\nlimits:\n  memory: 2G\n"},
	{"{base_url: /}", "set limits.memory 2G", "{limits: {memory: 2G}, base_url: /}"},
	{"limits:\n", "set limits.memory 2G", "limits:\n  memory: 2G\n"},
	{"limits: {}\n", "set limits.memory 2G", "limits: {memory: 2G}\n"},
	{"limits: ~ # none\n", "set limits.memory 2G", "limits: {memory: 2G} # none\n"},

	// Lists and mappings in the place of others: what stays keeps its place and its remarks.
	{"users:\n  admin:\n    # the staff\n    - alice # head\n    # assistants\n    - bob   # mornings\n    - carol # evenings\n    # end\n", "set users.admin [alice, carol, dan]",
		"users:\n  admin:\n    # the staff\n    - alice # head\n    # assistants\n    - carol # evenings\n    - dan\n    # end\n"},
	{"users:\n  admin:\n    # the staff\n    - alice # head\n    # assistants\n    - bob # mornings\n", "set users.admin [bob, zoe, alice]",
		"users:\n  admin:\n    # the staff\n    # assistants\n    - bob # mornings\n    - zoe\n    - alice # head\n"},
	{"users:\n  admin:   # the staff\n    - alice # head\n    # assistants\n    - bob\n", "set users.admin [zoe]", "users:\n  admin:   # the staff\n    - zoe\n    # assistants\n"},
	{"users:\n  admin:   # the staff\n    - alice # head\n", "set users.admin [zoe]", "users:\n  admin: [zoe]   # the staff\n"},
	{"users:\n  admin:   # the staff\n    # a\n    - alice # head\n    # b\n    - bob\n  allowed: [x]\n", "set users.admin []",
		"users:\n  admin: []   # the staff\n    # a\n    # b\n  allowed: [x]\n"},
	{"users:\n  admin:\n  - alice # head\n\n  - bob", "set users.admin [bob, \"1234\"]", "users:\n  admin:\n  - bob\n  - \"1234\""},
	{"users:\r\n  admin:\r\n  - alice # head\r\n  - bob\r\n", "set users.admin [bob, carol]", "users:\r\n  admin:\r\n  - bob\r\n  - carol\r\n"},
	{"users:\n  admin: [alice, # head\n    # assistants\n    bob, carol # evenings\n    ]\n", "set users.admin [alice, carol, dan]",
		"users:\n  admin: [alice, # head\n    # assistants\n    carol, # evenings\n    dan\n    ]\n"},
	{"users:\n  admin: [ # the staff\n    alice, # head\n    bob,\n  ]\n", "set users.admin [zoe, bob]", "users:\n  admin: [ # the staff\n    zoe,\n    bob,\n  ]\n"},
	{"users:\n  admin: [ # the staff\n    alice # head\n  ]\n", "set users.admin []", "users:\n  admin: [ # the staff\n  ]\n"},
	{"users:\n  extra_user_groups:\n    # first\n    a: [x] # of a\n    # second\n    b:\n      - y # yes\n      - z\n    c: [w] # of c\n",
		"set users.extra_user_groups {b: [y, v], a: [x], d: [u]}",
		"users:\n  extra_user_groups:\n    d: [u]\n    # first\n    a: [x] # of a\n    # second\n    b:\n      - y # yes\n      - v\n"},
	{"users:\n  extra_user_groups: {a: [x], # of a\n    b: [y], # of b\n    c: [z]}\n", "set users.extra_user_groups {b: [y], c: [w]}",
		"users:\n  extra_user_groups: {\n    b: [y], # of b\n    c: [w]}\n"},
	{"user_environment:\n  variables:\n    A: one # of a\n    B: two # of b\n", "set user_environment.variables {A: uno, C: tres}",
		"user_environment:\n  variables:\n    C: tres\n    A: uno # of a\n"},
	{"user_environment:\n  variables: # ours\n    # first\n    A: one # of a\n", "set user_environment.variables {}", "user_environment:\n  variables: {} # ours\n    # first\n"},
	{"auth:\n  XAuthenticator:\n    orgs:\n      - a # of a\n      - 7 # of seven\n", "set auth.XAuthenticator.orgs [7, b]", "auth:\n  XAuthenticator:\n    orgs:\n      - 7 # of seven\n      - b\n"},
	{"users:\n  admin: [alice, # head\n    bob # mornings\n    ]\n", "add users.admin carol", "users:\n  admin: [alice, # head\n    bob, # mornings\n    carol\n    ]\n"},
	{"users:\n  admin: [alice, # head\n    bob # mornings\n    ]\n", "remove users.admin bob", "users:\n  admin: [alice # head\n    ]\n"},
	{"users:\n  admin: [alice, # head\n    bob # mornings\n    ]\n", "remove users.admin alice", "users:\n  admin: [bob # mornings\n    ]\n"},
	{"users:\n  admin: # the staff\n    # a\n    - alice # head\n", "remove users.admin alice", "users:\n  admin: [] # the staff\n    # a\n"},

	// Taking out.
	{"limits:\n  memory: 1G\n  cpu: 2\n", "unset limits.memory", "limits:\n  cpu: 2\n"},
	{"limits:\n  memory: 1G # x\nhttp:\n  port: 8080\n", "unset limits.memory", "http:\n  port: 8080\n"},
	{"# about limits\nlimits:\n  memory: 1G\n", "unset limits.memory", "# about limits\n"},
	{"limits:\n  # why\n  memory: 1G\n", "unset limits.memory", "limits:\n  # why\n"},
	{"limits: # why\n  memory: 1G\n", "unset limits.memory", "limits: # why\n"},
	{"limits: {memory: 1G, cpu: 2}\n", "unset limits.memory", "limits: {cpu: 2}\n"},
	{"limits: {cpu: 2, memory: 1G}\n", "unset limits.memory", "limits: {cpu: 2}\n"},
	{"limits: {memory: 1G}\nbase_url: /x/\n", "unset limits.memory", "base_url: /x/\n"},
	{"limits: {memory: 1G}", "unset limits.cpu", "limits: {memory: 1G}"},
	{"", "unset limits.cpu", ""},
	{"users:\n  admin:\n  - alice\n  - bob\n\n  allowed: [x]\n", "unset users.admin", "users:\n\n  allowed: [x]\n"},
	{"users:\n  admin: [alice,\n    bob]\n  allowed: [x]\n", "unset users.admin", "users:\n  allowed: [x]\n"},
	{"hub:\n  announcement: |\n    one\n\n    two\n  name: x\n", "unset hub.announcement", "hub:\n  name: x\n"},
	{"hub:\n  name: \"two\\\n    lines\"\n  logo: /a.png\n", "unset hub.name", "hub:\n  logo: /a.png\n"},
	{"services:\n  cull:\n    enabled: false\n", "unset services.cull.enabled", ""},
	{"services:\n  cull:\n    enabled: false\n    timeout: 60\n", "unset services.cull.enabled", "services:\n  cull:\n    timeout: 60\n"},
	{"users:\n  extra_user_groups:\n    a: [x]\n    b: [y]\n", "unset users.extra_user_groups.a", "users:\n  extra_user_groups:\n    b: [y]\n"},
	{"users: {extra_user_groups: {a: [x], b: [y]}}\n", "unset users.extra_user_groups.b", "users: {extra_user_groups: {a: [x]}}\n"},
	{"base_url: /x/", "unset base_url", ""},
	{"auth:\n  type: github\n  GitHubOAuthenticator:\n    client_id: x\n", "unset auth.GitHubOAuthenticator", "auth:\n  type: github\n"},

	// What is no key, and names that mean the same.
	{"traefik_api:\n  port: 1\nbase_url: /x/\n", "unset traefik_api", "base_url: /x/\n"},
	{"", "set traefik_api.port 1", "!traefik_api is not used: There is no Traefik"},
	{"limts:\n  memory: 1G\nbase_url: /x/\n", "unset limts", "base_url: /x/\n"},
	{"limts: 1\nusres: 2\n", "unset limts", "!there is no key usres"},
	{"", "unset limts", "!did you mean limits?"},
	{"limits:\n  users:\n    bob: {memory: 1G}\n", "set limits.users.Bob.memory 2G", "limits:\n  users:\n    bob: {memory: 2G}\n"},
	{"limits:\n  users:\n    Bob: {memory: 1G}\n", "unset limits.users.bob.memory", ""},
	{"limits:\n  groups:\n    g: {memory: 1G}\nusers: {extra_user_groups: {g: [], G: []}}\n", "set limits.groups.G.memory 2G",
		"limits:\n  groups:\n    G:\n      memory: 2G\n    g: {memory: 1G}\nusers: {extra_user_groups: {g: [], G: []}}\n"},

	// A password of digits is a text; elsewhere, quotes say so.
	{"auth: {type: dummy}\n", "set auth.DummyAuthenticator.password 12345", "auth: {DummyAuthenticator: {password: \"12345\"}, type: dummy}\n"},
	{"auth: {type: dummy}\n", "set auth.DummyAuthenticator.other 12345", "auth: {DummyAuthenticator: {other: 12345}, type: dummy}\n"},
	{"auth: {type: dummy}\n", "set auth.DummyAuthenticator.other \"12345\"", "auth: {DummyAuthenticator: {other: \"12345\"}, type: dummy}\n"},

	// Lists.
	{"", "add users.admin alice", "users:\n  admin:\n    - alice\n"},
	{"", "add users.extra_user_groups.course alice 1234", "users:\n  extra_user_groups:\n    course:\n      - alice\n      - \"1234\"\n"},
	{"users:\n  extra_user_groups:\n    course: [alice]\n", "add users.extra_user_groups.course bob", "users:\n  extra_user_groups:\n    course: [alice, bob]\n"},
	{"users:\n  extra_user_groups:\n    course: [alice]\n", "add users.extra_user_groups.course alice", "users:\n  extra_user_groups:\n    course: [alice]\n"},
	{"", "add user_environment.packages numpy pandas>=2", "user_environment:\n  packages:\n    - numpy\n    - \"pandas>=2\"\n"},
	{"", "add auth.GitHubOAuthenticator.allowed_organizations uni", "auth:\n  GitHubOAuthenticator:\n    allowed_organizations:\n      - uni\n"},
	{"", "add https.letsencrypt.domains hub.example.org", "https:\n  letsencrypt:\n    domains:\n      - hub.example.org\n"},
	{"", "add limits.memory 2G", "!limits.memory is no list"},
	{"", "remove limits.memory 2G", "!limits.memory is no list"},
	{"users:\n  admin: [alice, bob, carol]\n", "remove users.admin bob", "users:\n  admin: [alice, carol]\n"},
	{"users:\n  admin: [alice, bob, carol]\n", "remove users.admin alice carol", "users:\n  admin: [bob]\n"},
	{"users:\n  admin: [alice, Bob]\n", "remove users.admin bob", "users:\n  admin: [alice]\n"},
	{"users:\n  admin:\n    - alice # me\n    - bob\n", "remove users.admin alice", "users:\n  admin:\n    - bob\n"},
	{"users:\n  admin:\n    - alice\n", "remove users.admin alice", "users:\n  admin: []\n"},
	{"users:\n  admin: [alice]\n", "remove users.admin alice", "users:\n  admin: []\n"},
	{"users:\n  admin: [alice]\n", "remove users.admin bob", "users:\n  admin: [alice]\n"},
	{"", "remove users.admin bob", ""},
	{"users:\n  admin: [\"1234\", alice]\n", "remove users.admin 1234", "users:\n  admin: [alice]\n"},
	{"shared_folders:\n  data:\n    read: [all]\n", "add shared_folders.data.write group:x", "!there is no group x"},
	{"shared_folders:\n  data:\n    read: [all]\n", "add shared_folders.data.write admins", "shared_folders:\n  data:\n    write:\n      - admins\n    read: [all]\n"},
}

// operate does what a line of the command line says.
func operate(data []byte, op string) ([]byte, error) {
	verb, rest, _ := strings.Cut(op, " ")
	path, value, _ := strings.Cut(rest, " ")
	switch verb {
	case "set":
		return Set(data, path, value)
	case "unset":
		return Unset(data, path)
	case "add":
		return Add(data, path, strings.Fields(value)...)
	}
	return bytesOf(Read("the config", data).Remove(path, strings.Fields(value)...))
}

func TestSplices(t *testing.T) {
	for _, c := range splices {
		after, err := operate([]byte(c.before), c.op)
		if says, refused := strings.CutPrefix(c.after, "!"); refused {
			if says == "" {
				continue
			}
			assert.ErrorContains(t, err, says, "%q %s", c.before, c.op)
			continue
		}
		require.NoError(t, err, "%q %s", c.before, c.op)
		assert.Equal(t, c.after, string(after), "%q %s", c.before, c.op)
		again, err := operate(after, c.op)
		if verb, _, _ := strings.Cut(c.op, " "); verb == "unset" && err != nil {
			continue // what is no key, and not there any more
		}
		require.NoError(t, err)
		assert.Equal(t, c.after, string(again), "the second time")
	}
}

func valuesOf(data []byte) any { return Read("", data).values() }

func TestGet(t *testing.T) {
	const text = "limits:\n  memory: 2G\nauth:\n  XAuthenticator: {a: [1, b]}\nusers: {extra_user_groups: {g: [alice]}}\n"
	for path, want := range map[string]string{
		"limits.memory": "2G\n", "limits.cpu": "null\n", "http.port": "80\n", "auth.XAuthenticator.a": "- 1\n- b\n", "users.extra_user_groups.g": "- alice\n",
		"limits": "memory: 2G\n", "users.admin": "[]\n", "auth.type": FirstUse + "\n", "https": "{}\n", "limits.users.bob.memory": "null\n",
	} {
		value, err := Get([]byte(text), path)
		require.NoError(t, err, path)
		assert.Equal(t, want, value, path)
		data, err := GetJSON([]byte(text), path)
		require.NoError(t, err)
		assert.True(t, json.Valid(data))
	}
	for path, says := range map[string]string{"limits.memroy": "did you mean limits.memory", "auth.XAuthenticator.b": "is not set", "x": "there is no key"} {
		_, err := Get([]byte(text), path)
		assert.ErrorContains(t, err, says)
	}
}

// lines counts the lines of a text.
func lines(data []byte) map[string]int {
	found := map[string]int{}
	for line := range bytes.Lines(data) {
		found[strings.TrimRight(string(line), "\r\n")]++
	}
	return found
}

func FuzzSet(f *testing.F) {
	paths := []string{
		"limits.memory", "limits.cpu", "hub.name", "users.admin", "auth.type", "auth.XAuthenticator.client_id", "services.cull.enabled", "http.port",
		"users.extra_user_groups.g", "limits.users.bob.memory", "user_environment.variables.COURSE", "base_url",
	}
	for i, c := range splices {
		_, rest, _ := strings.Cut(c.op, " ")
		_, value, _ := strings.Cut(rest, " ")
		f.Add([]byte(c.before), uint8(i), value)
	}
	for _, text := range corpus(f) {
		f.Add([]byte(text), uint8(2), "yes")
	}
	f.Fuzz(func(t *testing.T, data []byte, which uint8, value string) {
		path := paths[int(which)%len(paths)]
		target, err := targetOf(path)
		require.NoError(t, err)
		edited, err := Set(data, path, value)
		if err != nil {
			return
		}
		if _, report := Parse("", edited); report.Err() != nil {
			t.Fatalf("the edited file is invalid: %s", report.Text())
		}
		got := get(valuesOf(edited), target.parts)
		if text, isText := got.(string); target.text() && (!isText || text != value) {
			t.Fatalf("%s was set to %q and is %q", path, value, got)
		}
		if !reflect.DeepEqual(prune(drop(valuesOf(edited), target.parts)), prune(drop(valuesOf(data), target.parts))) {
			t.Fatalf("more has changed: %q to %q", data, edited)
		}
		again, err := Set(edited, path, value)
		if err != nil || !bytes.Equal(again, edited) {
			t.Fatalf("the second time: %v, %q, %q", err, edited, again)
		}
		// Remarks in lines of their own outside of the value stay.
		without, err := Unset(edited, path)
		if err != nil {
			return
		}
		if _, report := Parse("", without); report.Err() != nil && !strings.Contains(report.Err().Error(), "line") {
			t.Fatal(report.Err())
		}
		if get(valuesOf(without), target.parts) != nil {
			t.Fatalf("%s is still set in %q", path, without)
		}
		for line, n := range lines(data) {
			if strings.HasPrefix(line, "#") && lines(edited)[line] < n && !bytes.ContainsAny(data, "|>\"'[{") {
				t.Fatalf("a remark was lost: %q to %q", data, edited)
			}
		}
	})
}

// touchedOnly checks that every byte that an edit changed lies within the lines of the keys on the way to its own.
func touchedOnly(t *testing.T, data, edited []byte, path []string) {
	t.Helper()
	d := Read("", data)
	if d.root == nil || d.root.Kind != yaml.MappingNode || bytes.HasPrefix(data, []byte(bom)) {
		return
	}
	if d.root.Style&yaml.FlowStyle != 0 {
		return
	}
	top, _ := pair(d.root, path[0])
	if top == nil { // the section is new, and comes last
		if !bytes.HasPrefix(edited, data) {
			t.Fatalf("bytes were changed although the section is new: %q to %q", data, edited)
		}
		return
	}
	first, last := d.src.starts[top.Line-1], len(data)
	for i := 0; i+1 < len(d.root.Content); i += 2 {
		if d.root.Content[i] == top && i+2 < len(d.root.Content) {
			last = d.src.offset(d.root.Content[i+2].Line, 1)
		}
	}
	if !bytes.HasPrefix(edited, data[:first]) || !bytes.HasSuffix(edited, data[last:]) {
		t.Fatalf("bytes outside of %d to %d were changed: %q to %q", first, last, data, edited)
	}
}

// Whatever the file: an edit of any kind touches nothing outside of its section, leaves a valid file, gives back what was put in, and does nothing the second time.
func FuzzVerbs(f *testing.F) {
	ops := []struct{ verb, path string }{
		{"set", "limits.memory"}, {"set", "hub.name"}, {"set", "auth.XAuthenticator.client_id"}, {"set", "limits.users.bob.cpu"}, {"unset", "limits.memory"}, {"unset", "users.admin"},
		{"unset", "services.cull.timeout"}, {"unset", "auth.XAuthenticator"}, {"add", "users.extra_user_groups.g"}, {"add", "user_environment.packages"}, {"add", "users.allowed"},
		{"add", "shared_folders.data.read"}, {"remove", "users.admin"}, {"remove", "users.extra_user_groups.g"}, {"remove", "https.letsencrypt.domains"},
		{"set", "users.allowed"}, {"set", "users.extra_user_groups"}, {"set", "user_environment.variables"}, {"set", "auth.XAuthenticator.a"},
	}
	for i, c := range splices {
		_, rest, _ := strings.Cut(c.op, " ")
		_, value, _ := strings.Cut(rest, " ")
		f.Add([]byte(c.before), uint8(i), value)
	}
	for i, text := range corpus(f) {
		f.Add([]byte(text), uint8(i), "alice")
	}
	f.Fuzz(func(t *testing.T, data []byte, which uint8, value string) {
		op := ops[int(which)%len(ops)]
		do := func(data []byte) ([]byte, error) {
			switch op.verb {
			case "set":
				return Set(data, op.path, value)
			case "unset":
				return Unset(data, op.path)
			case "add":
				return Add(data, op.path, value)
			}
			return bytesOf(Read("the config", data).Remove(op.path, value))
		}
		edited, err := do(data)
		if err != nil {
			return
		}
		after := Read("", edited)
		if after.Config == nil {
			t.Fatalf("%v made %q of %q, which is not valid: %s", op, edited, data, after.Report.Text())
		}
		again, err := do(edited)
		if err != nil || !bytes.Equal(again, edited) {
			t.Fatalf("%v a second time: %v, %q, %q", op, err, edited, again)
		}
		target, err := targetOf(op.path)
		require.NoError(t, err)
		target.asWritten(after)
		got, there := find(after.values(), target.parts)
		list, _ := got.([]any)
		switch op.verb {
		case "unset":
			if there && got != nil {
				t.Fatalf("%s is there still in %q", op.path, edited)
			}
		case "add":
			if !slices.ContainsFunc(list, func(item any) bool { return strings.EqualFold(fmt.Sprint(item), value) }) {
				t.Fatalf("%q was not added to %s: %q", value, op.path, edited)
			}
		case "remove":
			if slices.ContainsFunc(list, func(item any) bool { return item == value }) {
				t.Fatalf("%q is there still in %s: %q", value, op.path, edited)
			}
		}
		before := Read("", data)
		if !reflect.DeepEqual(prune(drop(before.values(), target.parts)), prune(drop(after.values(), target.parts))) {
			t.Fatalf("%v changed more: %q to %q", op, data, edited)
		}
		touchedOnly(t, data, edited, target.parts)
	})
}

func BenchmarkSetIn1000Users(b *testing.B) {
	data := []byte(largeClass())
	for b.Loop() {
		if _, err := Set(data, "limits.memory", "2G"); err != nil {
			b.Fatal(err)
		}
	}
}
