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
		for _, fact := range Explain(c, user).Facts {
			facts[fact.What] = fact
		}
		assert.Equal(t, want, []string{facts["memory"].Value, facts["memory"].Key, facts["CPUs"].Value, facts["CPUs"].Key}, user)
	}
}

func TestExplainText(t *testing.T) {
	c := parsed(t, course)
	lines := strings.Split(Explain(c, "mallory").Text(), "\n")
	assert.Regexp(t, `^WHAT +VALUE +KEY$`, lines[0])
	assert.Regexp(t, `^may log in +no +users.banned$`, lines[1])
	text := Explain(c, "carol").Text()
	assert.Contains(t, text, "folder data")
	assert.Contains(t, text, "shared_folders.data.write: group:large")
	assert.NotContains(t, text, "folder exams")
	assert.NotContains(t, text, "quiet")
	assert.Contains(t, Explain(c, "alice").Text(), "folder exams")
	assert.Contains(t, Explain(c, "mallory").Text(), "users.banned")
}

func TestChangesTellWhatToSeeTo(t *testing.T) {
	empty := Default()
	for text, want := range map[string]string{
		"":                                      "",
		"# a remark\nusers: {admin: []}":        "",
		"limits: {memory: 2G}":                  "limits.memory hub restart",
		"https: {port: 8443}":                   "https.port public door restart",
		"base_url: /x/":                         "base_url hub restart, public door restart",
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
