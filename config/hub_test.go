package config

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hub is a process that reads configs with the hub's own code.
type hub struct {
	in  *json.Encoder
	out *bufio.Reader
}

func startHub(t *testing.T) *hub {
	t.Helper()
	const source = "../hub/src"
	if err := exec.Command("python3", "-c", "import yaml").Run(); err != nil {
		t.Skip("there is no python3 with PyYAML here")
	}
	cmd := exec.Command("python3", "testdata/read.py", source)
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

// seen is what the hub takes from a config.
type seen struct {
	Error      string                    `json:"error,omitempty"`
	BaseURL    string                    `json:"base_url"`
	Type       string                    `json:"type"`
	Options    map[string]map[string]any `json:"options"`
	Lists      map[string][]string       `json:"lists"`
	Groups     map[string][]string       `json:"groups"`
	Memory     *Bytes                    `json:"memory"`
	CPU        *float64                  `json:"cpu"`
	HTTP       map[string]any            `json:"http"`
	DefaultApp string                    `json:"default_app"`
	Cull       map[string]any            `json:"cull"`
}

func (h *hub) read(t *testing.T, data []byte) seen {
	t.Helper()
	require.NoError(t, h.in.Encode(string(data)))
	line, err := h.out.ReadBytes('\n')
	require.NoError(t, err)
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber()
	var got seen
	require.NoError(t, decoder.Decode(&got), "%s", line)
	for _, section := range got.Options {
		numbers(section)
	}
	return got
}

// numbers tells whole numbers from others, as YAML does.
func numbers(value any) any {
	switch v := value.(type) {
	case json.Number:
		if !strings.ContainsAny(v.String(), ".e") {
			n, _ := v.Int64()
			return n
		}
		n, _ := v.Float64()
		return n
	case map[string]any:
		for key := range v {
			v[key] = numbers(v[key])
		}
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	}
	return value
}

// asSeen puts a config into the hub's form.
func asSeen(c *Config) seen {
	s := seen{
		BaseURL: "/" + strings.Trim(c.BaseURL, "/"), Type: c.Auth.Type, Options: map[string]map[string]any{}, Groups: map[string][]string{},
		Lists: map[string][]string{}, Memory: c.Limits.Memory, CPU: c.Limits.CPU, DefaultApp: c.UserEnvironment.DefaultApp,
	}
	for class, section := range c.Auth.Options {
		if len(section) > 0 {
			s.Options[class] = section
		}
	}
	for name, list := range map[string][]string{"allowed": c.Users.Allowed, "banned": c.Users.Banned, "admin": c.Users.Admin} {
		s.Lists[name] = append([]string{}, slices.Sorted(slices.Values(list))...)
	}
	for group, members := range c.Users.ExtraUserGroups {
		s.Groups[group] = append([]string{}, members...)
	}
	cull := c.Services.Cull
	s.Cull = map[string]any{
		"enabled": cull.Enabled, "users": cull.Users, "remove_named_servers": cull.RemoveNamedServers,
		"timeout": number64(cull.Timeout), "every": number64(cull.Every), "concurrency": number64(cull.Concurrency), "max_age": number64(cull.MaxAge),
	}
	return s
}

func number64(n int) json.Number { return json.Number(fmt.Sprint(n)) }

// agree checks that a config is read by the hub as it is here.
func (h *hub) agree(t *testing.T, c *Config, data []byte) {
	t.Helper()
	got, want := h.read(t, data), asSeen(c)
	require.Empty(t, got.Error, "accepted here, but not by the hub: %q", data)
	if port, ok := got.HTTP["port"].(json.Number); ok {
		assert.Equal(t, fmt.Sprint(c.HTTP.Port), port.String())
	}
	if address, ok := got.HTTP["address"].(string); ok && c.HTTP.Address == "" {
		assert.Empty(t, address)
	}
	got.HTTP = nil
	if slices.Contains(authenticators[0].short, got.Type) {
		got.Type = FirstUse
	}
	for group, members := range got.Groups { // a name that is given twice is kept once here
		want.Groups[group], got.Groups[group] = unique(want.Groups[group]), unique(members)
	}
	require.Equal(t, want, got, "%q", data)
}

func unique(names []string) []string {
	return append([]string{}, slices.Compact(slices.Sorted(slices.Values(names)))...)
}

func TestHubReadsTheSame(t *testing.T) {
	h := startHub(t)
	for _, text := range append(corpus(t), "", string(Starter([]string{"alice"})), uncommented(Starter([]string{"alice"}))) {
		if c, report := Parse("", []byte(text)); report.Err() == nil {
			h.agree(t, c, []byte(text))
		}
	}
	random := rand.New(rand.NewPCG(uint64(*seed), 1))
	accepted := 0
	for range *rounds {
		text := generate(random)
		if c, report := Parse("", []byte(text)); report.Err() == nil {
			accepted++
			h.agree(t, c, []byte(text))
		}
	}
	t.Logf("%d of %d generated files were accepted", accepted, *rounds)
	assert.Greater(t, accepted, *rounds/20)
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
