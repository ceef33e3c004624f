package config

import (
	"bufio"
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hub is a process that reads configs with the hub's own code, on the Python that the hub has.
type hub struct {
	in  *json.Encoder
	out *bufio.Reader
}

func startHub(t *testing.T) *hub {
	t.Helper()
	devenv := exec.Command("go", "run", "./internal/dist/devenv", "-cache", ".cache", "tests")
	devenv.Dir, devenv.Stderr = "..", os.Stderr
	folder, err := devenv.Output()
	require.NoError(t, err, "the hub's Python cannot be made: see make test-python")
	cmd := exec.Command(filepath.Join(strings.TrimSpace(string(folder)), "bin", "python"), "testdata/read.py", "../hub/src")
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		in.Close()
		assert.NoError(t, cmd.Wait())
	})
	return &hub{in: json.NewEncoder(in), out: bufio.NewReader(out)}
}

// reading is what the hub makes of a config.
type hubReading struct {
	Error  string         `json:"error"`
	Config map[string]any `json:"config"`
}

// read returns what the hub makes of what it is told of a config.
func (h *hub) read(t *testing.T, data []byte) (got hubReading) {
	t.Helper()
	require.NoError(t, h.in.Encode(ReadForHub(data)))
	line, err := h.out.ReadBytes('\n')
	require.NoError(t, err)
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber()
	require.NoError(t, decoder.Decode(&got), "%s", line)
	return got
}

// hubForm is a config as the hub has it.
func hubForm(t *testing.T, c *Config) map[string]any {
	t.Helper()
	limits := map[string]any{"memory": c.Limits.Memory, "cpu": c.Limits.CPU}
	if c.Limits.MemoryAuto {
		limits["memory"] = Auto
	}
	for who, entries := range map[string]map[string]Limit{"groups": c.Limits.Groups, "users": c.Limits.Users} {
		found := map[string]any{}
		for name, limit := range entries {
			found[name] = hubValue(map[string]Limit{name: limit}).(map[string]any)[name]
		}
		limits[who] = found
	}
	folders := map[string]any{}
	for name, folder := range c.SharedFolders {
		folders[name] = map[string]any{"read": hubValue(folder.Read), "write": hubValue(folder.Write)}
	}
	groups := map[string]any{}
	for name, members := range c.Users.ExtraUserGroups {
		groups[name] = append([]string{}, members...)
	}
	cull := c.Services.Cull
	options := map[string]any{}
	for class, section := range c.Auth.Options {
		options[class] = exact(section)
	}
	form := map[string]any{
		"base_url": c.BaseURL, "default_app": c.UserEnvironment.DefaultApp, "variables": c.UserEnvironment.Variables, "shared_folders": folders,
		"own_extensions": c.UserEnvironment.OwnExtensions,
		"pages":          map[string]any{"name": c.Hub.Name, "announcement": c.Hub.Announcement, "logo": c.Hub.Logo},
		"origins":        map[string]any{"user_port": c.Hub.UserPort, "user_domain": c.Hub.UserDomain},
		"auth":           map[string]any{"type": c.Auth.Type, "options": options},
		"users": map[string]any{
			"allowed": sortedNames(c.Users.Allowed), "banned": sortedNames(c.Users.Banned), "admin": sortedNames(c.Users.Admin), "extra_user_groups": groups,
			"account_prefix": c.Users.AccountPrefix, "home_root": c.Users.HomeRoot, "home_mode": c.Users.HomeMode, "existing": true, "namespaces": c.Users.Namespaces,
			"devices": hubValue(c.Users.Devices.value()), "setgid": c.Users.Setgid,
			"first_login": c.Users.FirstLogin, "class_code": c.Users.ClassCode,
		},
		"limits": limits,
		"cull": map[string]any{
			"enabled": cull.Enabled, "users": cull.Users, "remove_named_servers": cull.RemoveNamedServers,
			"timeout": cull.Timeout, "every": cull.Every, "concurrency": cull.Concurrency, "max_age": cull.MaxAge,
		},
	}
	decoder := json.NewDecoder(bytes.NewReader(mustJSON(t, form)))
	decoder.UseNumber()
	var same map[string]any
	require.NoError(t, decoder.Decode(&same))
	return same
}

func sortedNames(names []string) []string {
	return append([]string{}, slices.Sorted(slices.Values(names))...)
}

// tidy gives what means the same the same form: numbers, paths, what is empty, and names that a list holds twice.
func tidy(value any) any {
	switch v := value.(type) {
	case json.Number:
		n, _ := v.Float64()
		if whole, err := v.Int64(); err == nil {
			return whole
		}
		return n
	case map[string]any:
		found := map[string]any{}
		for name, inner := range v {
			inner = tidy(inner)
			if section, ok := inner.(map[string]any); ok && (len(section) == 0 || name != "users" && nobody(section["read"]) && nobody(section["write"])) {
				continue
			}
			if text, ok := inner.(string); ok && name == "home_root" {
				inner = strings.TrimSuffix(text, "/")
			}
			if text, ok := inner.(string); ok && name == "type" && slices.Contains(authenticators[0].short, text) {
				inner = FirstUse
			}
			if number, ok := inner.(int64); ok && name == "cpu" {
				inner = float64(number)
			}
			found[name] = inner
		}
		return found
	case []any:
		list := []any{}
		for _, item := range v {
			if item = tidy(item); !slices.ContainsFunc(list, func(other any) bool { return reflect.DeepEqual(other, item) }) {
				list = append(list, item)
			}
		}
		return list
	case nil:
		return nil
	}
	return value
}

// nobody is the list of those who may do something with a shared folder when there are none.
func nobody(list any) bool {
	names, ok := list.([]any)
	return ok && len(names) == 0
}

// agree checks that the hub has the same verdict on a file, and reads it the same.
func (h *hub) agree(t *testing.T, data []byte) bool {
	t.Helper()
	c, _ := Parse("", data)
	got := h.read(t, data)
	if c == nil {
		require.NotEmpty(t, got.Error, "accepted by the hub, but not here: %q", data)
		return false
	}
	require.Empty(t, got.Error, "accepted here, but not by the hub: %q", data)
	require.Equal(t, tidy(hubForm(t, c)), tidy(got.Config), "%q", data)
	return true
}

func TestHubReadsTheSame(t *testing.T) {
	h := startHub(t)
	texts := append(corpus(t), "", string(Starter([]string{"alice"}, Network{})), uncommented(Starter([]string{"alice"}, Network{})), largeClass())
	for _, doc := range Keys() {
		texts = append(texts, exampleOf(doc, doc.Path))
	}
	for _, text := range texts {
		h.agree(t, []byte(text))
	}
	random := rand.New(rand.NewPCG(uint64(*seed), 1))
	accepted := 0
	for range *rounds {
		if h.agree(t, []byte(generate(random))) {
			accepted++
		}
	}
	t.Logf("%d of %d generated files were accepted", accepted, *rounds)
	assert.Greater(t, accepted, *rounds/20)
}

// The hub is told every key that it reads, in a form of its own.
func TestTheHubIsToldEveryKey(t *testing.T) {
	nothing := string(mustJSON(t, ReadForHub(nil)))
	for _, key := range schema(&Config{}) {
		if key.touches&onHub == 0 {
			continue
		}
		doc := KeyDoc{Path: key.path, Example: key.example}
		told := ReadForHub([]byte(exampleOf(doc, doc.Path)))
		require.True(t, told.Valid, "%s: %v", key.path, told.Problems)
		assert.NotEqual(t, nothing, string(mustJSON(t, told)), key.path)
	}
	told := ReadForHub([]byte("auth: {X Authenticator: 1}\nuser_environment: {variables: {TOKEN: 12345}}\nlimits: {memory: lots}"))
	assert.False(t, told.Valid)
	assert.Len(t, told.Problems, 3)
	assert.NotContains(t, strings.Join(told.Problems, " "), "12345")
	assert.Nil(t, told.Config)
	assert.Len(t, ReadForHub([]byte("limits: {"+strings.Repeat("a: 1, ", 50)+"}")).Problems, toldToHub+1)
}

// corpus returns the configs of testdata.
func corpus(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/reports/*.yaml")
	require.NoError(t, err)
	var texts []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		texts = append(texts, string(data))
	}
	return texts
}

// scalars are values that readers of YAML are known to disagree on, and usual ones.
var scalars = strings.Fields(`yes no on off y n Yes NO On OFF true false True FALSE null ~ Null NULL 0 1 12 012 0o17 017 08 0x1F 0b11 1_000 _1 1_
	12:34 1:2:3 190:20:30.15 .5 5. 1.5 1e3 1.0e3 1.0e+3 1.5e-3 1E3 +1 -1 +.5 -.5 .inf -.INF .nan .NaN 2026-11-24 2026-1-2 2026-11-24T10:00:00Z << = - ? | > & * ! % @
	alice bob a:b a#b a.b 'alice' "bob" 'it''s' "a\tb" "\u00e9" "\x41" éva 王小明 2G 1.5G 512M "2G" 1073741824 /jupyter/ / :: 127.0.0.1 2001:db8::1 jupyterlab
	notebook native github 80 8080 60 600 [] {} [alice] [alice,bob] [alice,] {a:1} {a: 1} "" '' 99999999999999999999 1.7976931348623157e+309 a- -a --- ... 1.2.3
	0.1 00.5 0_1.5 1__0 +0 -0 00 0.0 1.e+3 1.5e3`)

var someKeys = []string{
	"base_url", "auth", "type", "Authenticator", "enable", "users", "allowed", "banned", "admin", "extra_user_groups", "course-a", "limits", "memory", "cpu", "http",
	"address", "port", "user_environment", "default_app", "services", "cull", "enabled", "timeout", "every", "concurrency", "max_age",
}

// generate writes a config, or what looks like one: keys of the table with values that may fit, in many of YAML's ways to write.
func generate(random *rand.Rand) string {
	pick := func(list []string) string { return list[random.IntN(len(list))] }
	value := func() string {
		text := pick(scalars)
		switch random.IntN(12) {
		case 0:
			return text + " " + pick(scalars)
		case 1:
			return "'" + text + "'"
		case 2:
			return "[" + text + ", " + pick(scalars) + "]"
		case 3:
			return text + " # note"
		case 4:
			return ""
		case 5:
			return "|\n        " + text + "\n        " + pick(scalars)
		case 6:
			return ">-\n        " + text + "\n\n        " + pick(scalars)
		case 7:
			return "\n      - " + text + "\n      - " + pick(scalars)
		case 8:
			return "\n        " + text + "\n        " + pick(scalars)
		}
		return text
	}
	var b strings.Builder
	for range 1 + random.IntN(3) {
		line := pick([]string{
			"base_url: %s", "users:\n  admin: [%s]\n  allowed:\n    - %s", "users:\n  banned: [mallory, \"%s\"]", "users:\n  extra_user_groups: {%s: [%s]}",
			"limits:\n  memory: %s\n  cpu: %s", "http: {address: %s, port: %s}", "services:\n  cull:\n    enabled: %s\n    timeout: %s", "%s: %s", "# %s", "",
			"auth:\n  Authenticator:\n    one: %s\n    two: %s", "auth:\n  Authenticator:\n    one: %s", "auth:\n  type: native\n  NativeAuthenticator: {one: %s, two: %s}",
			"limits: {users: {%s: {memory: %s, cpu: %s}}}", "limits:\n  groups:\n    g:\n      memory: %s\nusers: {extra_user_groups: {g: [bob]}}", "user_environment:\n  variables:\n    A: %s\n    b_1: %s",
			"shared_folders:\n  data:\n    read: [%s]\n    write: [%s]", "hub: {name: %s, announcement: %s}", "users: {account_prefix: %s, home_root: %s}", "services: {cull: {users: %s, every: %s, max_age: %s}}",
			"auth:\n  Authenticator:\n    one: [%s]", "auth:\n  Authenticator:\n    one:\n      two: %s\n    three: [a, {b: %s}]", "auth:\n  Authenticator: {one: '%s', two: \"%s\"}",
		})
		for strings.Contains(line, "%s") {
			line = strings.Replace(line, "%s", strings.ReplaceAll(value(), "%s", ""), 1)
		}
		b.WriteString(line + pick([]string{"\n", "\n", "\n", "\r\n", "\n\n", "\n---\n"}))
	}
	text := b.String()
	for random.IntN(4) == 0 && len(text) > 0 {
		at := random.IntN(len(text))
		text = text[:at] + pick([]string{" ", "\n", ":", "- ", "'", "\"", "#", ",", "\t", "[", "]", "{", "}", "&a ", "*a", "!", "|", "é", "\u0085", pick(someKeys), pick(scalars)}) + text[at+random.IntN(2):]
	}
	return strings.ToValidUTF8(text, "")
}
