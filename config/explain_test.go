package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func parsed(t *testing.T, text string) *Config {
	t.Helper()
	c, report := Parse("config.yaml", []byte(text))
	require.NoError(t, report.Err(), report.Text())
	return c
}

const course = `
users:
  admin: [alice]
  banned: [mallory]
  extra_user_groups:
    small: [bob, carol]
    large: [carol, dan]
    free: [dan]
limits:
  memory: 1G
  cpu: 2
  groups:
    small: {memory: 2G}
    large: {memory: 4G, cpu: 0.5}
    free: {memory: null}
  users:
    Bob: {cpu: null}
shared_folders:
  data: {read: [all], write: ["group:large"]}
  exams: {write: [admins]}
user_environment:
  variables: {API_TOKEN: quiet}
`

func TestMostSpecificLimitHolds(t *testing.T) {
	c := parsed(t, course)
	for user, want := range map[string][]string{
		"alice": {"1G", "limits.memory", "2", "limits.cpu"},
		"bob":   {"2G", "limits.groups.small.memory", "no limit", "limits.users.bob.cpu"},
		"carol": {"4G", "limits.groups.large.memory", "0.5", "limits.groups.large.cpu"},
		"dan":   {"no limit", "limits.groups.free.memory", "0.5", "limits.groups.large.cpu"},
		"DAN":   {"no limit", "limits.groups.free.memory", "0.5", "limits.groups.large.cpu"},
	} {
		facts := map[string]Fact{}
		for _, fact := range Explain(c, user, 2<<30).Facts {
			facts[fact.What] = fact
		}
		assert.Equal(t, want, []string{facts["memory"].Value, facts["memory"].Key, facts["CPUs"].Value, facts["CPUs"].Key}, user)
	}
}

func TestExplainText(t *testing.T) {
	c := parsed(t, course)
	lines := strings.Split(Explain(c, "mallory", 2<<30).Text(), "\n")
	assert.Regexp(t, `^WHAT +VALUE +KEY$`, lines[0])
	assert.Regexp(t, `^may log in +no +users.banned$`, lines[1])
	text := Explain(c, "carol", 2<<30).Text()
	assert.Contains(t, text, "folder data")
	assert.Contains(t, text, "shared_folders.data.write: group:large")
	assert.NotContains(t, text, "folder exams")
	assert.NotContains(t, text, "quiet")
	assert.Contains(t, Explain(c, "alice", 2<<30).Text(), "folder exams")
	assert.Contains(t, Explain(c, "mallory", 2<<30).Text(), "users.banned")
}

func TestChangesTellWhatToSeeTo(t *testing.T) {
	empty := Default()
	for text, want := range map[string]string{
		"":                                      "",
		"# a remark\nusers: {admin: []}":        "",
		"limits: {memory: 2G}":                  "limits.memory hub restart",
		"https: {port: 8443}":                   "https.port edge restart",
		"base_url: /x/":                         "base_url hub restart, edge restart",
		"users: {admin_sudo: none}":             "users.admin_sudo sudo rules",
		"sources: {channel: conda-forge}":       "sources.channel ",
		"upgrade: {url: https://e.org/tljh}":    "upgrade.url ",
		"limits: {users: {bob: {cpu: 1}}}":      "limits.users hub restart",
		"shared_folders: {data: {read: [all]}}": "shared_folders hub restart, groups and shared folders",
		"traefik_api: {port: 8099}":             "",
	} {
		var got []string
		for _, change := range Changes(empty, parsed(t, text)) {
			got = append(got, change.Path+" "+strings.Join(change.Touches, ", "))
		}
		assert.Equal(t, want, strings.Join(got, "; "), text)
	}
}

// Every key whose change asks for a restart of the hub changes what is compared, and no other does.
func TestHubView(t *testing.T) {
	docs := Keys()
	for i, key := range schema(&Config{}) {
		named := strings.Replace(docs[i].Path, "*", "physics", 1)
		if docs[i].Path == "auth.*" {
			named = "auth.FirstUseAuthenticator"
		}
		text := inFlow(named, docs[i].Example)
		if with := documents[docs[i].Path]; with != "" && !strings.HasPrefix(docs[i].Path, "limits.groups") {
			text = with
		} else if with != "" {
			continue // its document changes two keys
		}
		changed := parsed(t, text).HubView() != Default().HubView()
		assert.Equal(t, key.touches&onHub != 0, changed, key.path)
	}
}

func TestExplainWhereAMemoryLimitComesFrom(t *testing.T) {
	for text, want := range map[string]string{
		"":                                       "2G +limits.memory: auto \\(a quarter",
		"limits: {memory: auto}":                 "2G +limits.memory: auto \\(a quarter",
		"limits: {memory: null}":                 "no limit +limits.memory\n",
		"limits: {memory: 512M}":                 "512M +limits.memory\n",
		"limits: {users: {bob: {memory: null}}}": "no limit +limits.users.bob.memory",
	} {
		c, report := Parse("", []byte(text))
		require.NotNil(t, c, report.Text())
		assert.Regexp(t, "memory +"+want, Explain(c, "bob", 2<<30).Text(), text)
	}
	c, _ := Parse("", nil)
	assert.Regexp(t, "depends on the machine +limits.memory: auto", Explain(c, "bob", 0).Text())
	explained := func(text, key string) string { return ExplainKey(Read("", []byte(text)), key, 2<<30).Text() }
	assert.Regexp(t, `limits.memory +auto +default, the config does not set it\non this machine +2G +limits.memory: auto \(a quarter`, explained("", "limits.memory"))
	assert.Regexp(t, `limits.memory +3G +line 2 of the config \(default: auto\)`, explained("limits:\n  memory: 3G\n", "limits.memory"))
	assert.Regexp(t, `limits.memory +null +line 1 of the config`, explained("limits: {memory: null}", "limits.memory"))
	assert.Regexp(t, `VALUE +FROM\nusers.first_login +code +line 1 of the config \(default: open\)`, explained("users: {first_login: code}", "users.first_login"))
	assert.Regexp(t, `limits.cpu +null +default`, explained("limits: {cpu: null}", "limits.cpu"), "a key without a value says nothing")
	for key, is := range map[string]bool{"limits.memory": true, "http.port": true, "user_environment.variables": false, "limits": false, "alice": false, "auth.*": false} {
		assert.Equal(t, is, IsKey(key), key)
	}
}

// show masks secrets, and so does explain: get alone prints one.
func TestExplainShowsNoSecret(t *testing.T) {
	d := Read("", []byte("users: {first_login: code, class_code: maple-42-river}\nsources: {index: 'https://me:hush@packages.example.org/simple'}\n"))
	text := ExplainKey(d, "users.class_code", 0).Text()
	assert.NotContains(t, text, "maple")
	assert.Regexp(t, `users.class_code +\(a secret\) +line 1 of the config`, text)
	assert.Contains(t, text, "sudo tljh-install config get users.class_code")
	assert.NotContains(t, ExplainKey(d, "sources.index", 0).Text(), "hush")
	assert.NotContains(t, ExplainKey(Read("", nil), "users.class_code", 0).Text(), "secret", "there is none")
}
