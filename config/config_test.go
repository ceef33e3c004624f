package config

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var rounds = flag.Int("rounds", 3000, "how many generated configs are compared with the hub's reading")

var seed = flag.Int("seed", 1, "which configs are generated")

var commentedKey = regexp.MustCompile(`(?m)^#(\S| {2,})`)

// uncommented takes the # from all lines of a text but the notes.
func uncommented(text []byte) string { return commentedKey.ReplaceAllString(string(text), "$1") }

func TestStarter(t *testing.T) {
	for name, text := range map[string]string{"as it is": string(Starter([]string{"alice", "1234"}, Network{})), "uncommented": uncommented(Starter([]string{"alice", "1234"}, Network{}))} {
		c, report := Parse("config.yaml", []byte(text))
		require.Empty(t, report.Text(), name)
		assert.Equal(t, []string{"alice", "1234"}, c.Users.Admin, name)
		if name == "uncommented" {
			assert.Equal(t, []string{"alice", "1234", "bob", "carol"}, c.Users.Allowed)
			assert.Equal(t, []string{"mallory"}, c.Users.Banned)
			assert.Equal(t, Bytes(2<<30), *c.Limits.Memory)
			assert.Equal(t, 8080, c.HTTP.Port)
			assert.Equal(t, 8443, c.Hub.UserPort)
			assert.Contains(t, text, "first_login: open")
			assert.Equal(t, "native", c.Auth.Type)
		} else {
			c.Users.Admin = nil
			assert.Equal(t, Default(), c)
		}
	}
}

func TestStarterWithANetwork(t *testing.T) {
	network := Network{HTTPProxy: "http://me:a%40b@p:3128", HTTPSProxy: "http://p:3128", NoProxy: []string{".example.org", "10.0.0.0/8", "2001:db8::/32"}}
	for n := range 4 {
		given := network
		given.HTTPProxy, given.NoProxy = []string{network.HTTPProxy, ""}[n%2], [][]string{network.NoProxy, nil}[n/2]
		text := Starter([]string{"alice"}, given)
		c, report := Parse("config.yaml", text)
		require.NoError(t, report.Err(), "%s", text)
		assert.Equal(t, given, c.Network)
		assert.NotContains(t, string(text), "#network:", "%s", text)
		c, _ = Parse("config.yaml", []byte(uncommented(text)))
		require.NotNil(t, c)
	}
	c, _ := Parse("", []byte(uncommented(Starter(nil, Network{}))))
	assert.Equal(t, []string{"network.http_proxy", "network.https_proxy", "network.no_proxy"}, c.Network.Keys())
}

// The table's defaults and examples are what the package itself does and takes.
func TestKeys(t *testing.T) {
	require.NotEmpty(t, Keys())
	for _, doc := range Keys() {
		assert.NotEmpty(t, doc.Doc, doc.Path)
		assert.NotEmpty(t, doc.Type, doc.Path)
		if doc.Path == "auth.*" {
			doc.Path, doc.Default = "auth.FirstUseAuthenticator", "{}"
		}
		named := strings.Replace(doc.Path, "*", "physics", 1)
		text := inFlow(named, doc.Example)
		if with := documents[doc.Path]; with != "" {
			text = with
		}
		c, report := Parse("", []byte(text))
		require.NoError(t, report.Err(), doc.Path)
		if doc.Type != anything {
			assert.NotEqual(t, Default(), c, "%s: the example is the default", doc.Path)
		}
		text = inFlow(named, doc.Default)
		if strings.HasPrefix(doc.Path, "limits.groups") {
			text = documents[doc.Path]
		}
		c, report = Parse("", []byte(text))
		require.NoError(t, report.Err(), doc.Path)
		delete(c.Auth.Options, "FirstUseAuthenticator")
		if named != doc.Path { // an entry that says nothing is an entry all the same
			c = Default()
		}
		assert.Equal(t, plain(Default()), plain(c), "%s: %s is not the default", doc.Path, doc.Default)
	}
}

// plain makes lists that are empty and lists that are not there the same.
func plain(c *Config) *Config {
	for _, list := range []*[]string{&c.Users.Admin, &c.Users.Allowed, &c.Users.Banned} {
		if len(*list) == 0 {
			*list = nil
		}
	}
	return c
}

// inFlow writes a key with any value.
func inFlow(path, value string) string {
	before, after := "", ""
	for _, name := range strings.Split(path, ".") {
		before, after = before+"{"+name+": ", "}"+after
	}
	return before + value + after
}

func TestValues(t *testing.T) {
	data, err := os.ReadFile("testdata/reports/full.yaml")
	require.NoError(t, err)
	c, report := Parse("", data)
	require.NoError(t, report.Err())
	memory, cpu := Bytes(3<<29), 0.5
	want := Default()
	want.BaseURL, want.Limits.Memory, want.Limits.MemoryAuto, want.Limits.CPU, want.HTTP = "/jupyter/", &memory, false, &cpu, HTTP{Address: "::", Port: 8080}
	want.UserEnvironment.DefaultApp, want.Services.Cull.Timeout = "notebook", 3600
	want.Users.Allowed, want.Users.Banned, want.Users.Admin = []string{"bob", "1234", "carol@example.org"}, []string{"mallory"}, []string{"alice", "dan"}
	want.Users.ExtraUserGroups = map[string][]string{"course-a": {"bob"}}
	want.Auth = Auth{Type: "oauthenticator.github.GitHubOAuthenticator", Options: map[string]map[string]any{"GitHubOAuthenticator": {
		"client_id": "0123abc", "client_secret": "quiet", "oauth_callback_url": "https://hub.example.org/hub/oauth_callback",
		"allowed_organizations": []any{"example-university"},
	}}}
	assert.Equal(t, want, c)
}

func TestShortNameOfFirstUse(t *testing.T) {
	for _, name := range []string{"firstuse", "firstuseauthenticator", FirstUse} {
		c, report := Parse("", []byte("auth: {type: "+name+"}"))
		require.Empty(t, report.Text())
		assert.Equal(t, FirstUse, c.Auth.Type)
	}
}

// JupyterHub's meaning of sizes, and how they are written.
func TestSizes(t *testing.T) {
	for text, want := range map[string]Bytes{
		"1048576": 1 << 20, "2G": 2 << 30, "1.5G": 3 << 29, "512M": 512 << 20, "131072K": 128 << 20, "0.5T": 1 << 39, "1.0000001G": 1073741931,
	} {
		got, ok := parseSize(text)
		assert.True(t, ok, text)
		assert.Equal(t, want, got, text)
	}
	for bytes, want := range map[Bytes]string{2 << 30: "2G", 3 << 29: "1536M", 1 << 40: "1T", 1000: "1000", 0: "0", 1025: "1025", 5 << 10: "5K"} {
		assert.Equal(t, want, bytes.String())
	}
}

func TestUserNames(t *testing.T) {
	for _, name := range []string{"alice", "a", "Alice", "1234", "a.b", "a_b-c", "carol@example.org", "王小明", "éva", "o'neil", strings.Repeat("a", 255)} {
		assert.NoError(t, CheckUserName(name), name)
	}
	for _, name := range []string{
		"", " ", "bad name", "a b", "a\tb", "a\n", "a/b", "a:b", "..", ".", "tljh-probe", "TLJH-Probe", "É", "İ", "a\u200bb", "a\x00", "\xff", "a\u00a0b", strings.Repeat("é", 128), `a\b`,
	} {
		assert.Error(t, CheckUserName(name), "%q", name)
	}
}

func TestTooLarge(t *testing.T) {
	_, report := Parse("", bytes.Repeat([]byte("#"), MaxSize))
	assert.NoError(t, report.Err())
	_, report = Parse("", bytes.Repeat([]byte("#"), MaxSize+1))
	assert.ErrorContains(t, report.Err(), "larger than 1 MiB")
}

// Whatever a file holds, it is judged soon. The reports of some would be long; they are cut.
func TestHostileFilesAreJudgedSoon(t *testing.T) {
	fill := func(text string) string { return strings.Repeat(text, (MaxSize-100)/len(text)) }
	bomb := "a: &a [x]\n"
	for i := 'b'; i < 'z'; i++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", i-1), 20), ", "))
	}
	for name, text := range map[string]string{
		"[": fill("["), "{": fill("{"), "-": fill("- "), "?": fill("? "), "a:": fill("a: "), "&a": fill("&a "), "!": fill("! "), "#": fill("# a\n"), "quote": `"` + fill("a"), "'": "'" + fill("''"),
		"keys": fill("a: 1\n"), "flow keys": "{" + fill("a: 1,") + "}", "names": "users: {admin: [" + fill("1,") + "]}", "bomb": bomb, "deep keys": deepKeys(700), "lines": fill("\n"), "text": fill("a\n"),
		"flow": "[" + fill("[],") + "]", "colons": fill(":"), "commas": "[" + fill(",") + "]", "aliases": "a: &a x\nb: [" + fill("*a,") + "]", "escapes": `a: "` + fill(`\u0041`) + `"`, "tabs": fill("\t\n"), "byte": fill("\xff"),
		"unknown": many(40000, func(i int) string { return fmt.Sprintf("usr%d: 1\n", i) }), "comment before": fill("#\n") + "a: [", "long key": fill("a") + ": 1", "folded": "a: >\n" + fill("  a\n"), "quotes": "[" + fill(`"a",`) + "]", "unclosed": "users:\n  admin: [" + fill("a, "),
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			_, report := Parse("config.yaml", []byte(text)[:min(len(text), MaxSize)])
			said := report.Text()
			assert.Less(t, time.Since(begin), time.Minute, "seconds even where the machine is busy; what explodes never ends")
			assert.Less(t, len(said), 100_000)
			assert.LessOrEqual(t, len(report.Problems), most+1)
		})
	}
}

func deepKeys(depth int) string {
	return many(depth, func(i int) string { return strings.Repeat(" ", i) + "a:\n" })
}

func many(n int, line func(i int) string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(line(i))
	}
	return b.String()
}

func largeClass() string {
	return "users:\n  allowed:\n" + many(1000, func(i int) string { return fmt.Sprintf("    - student%d\n", i) }) +
		"  admin: [student7]\n  extra_user_groups:\n" + many(50, func(i int) string {
		return fmt.Sprintf("    group%d: [%s]\n", i, strings.TrimSuffix(many(20, func(j int) string { return fmt.Sprintf("student%d,", i*20+j) }), ","))
	})
}

func TestLargeClass(t *testing.T) {
	c, report := Parse("", []byte(largeClass()))
	require.Empty(t, report.Text())
	assert.Len(t, c.Users.Allowed, 1000)
	assert.Len(t, c.Users.ExtraUserGroups, 50)
}

func TestReportAsJSON(t *testing.T) {
	_, report := Parse("config.yaml", []byte("limts: {}\nbase_url: /\n"))
	assert.JSONEq(t, `{"file": "config.yaml", "valid": false, "problems": [
		{"severity": "error", "path": "limts", "line": 1, "column": 1, "message": "there is no key limts", "hint": "did you mean limits?"}]}`, string(mustJSON(t, report)))
	_, report = Parse("config.yaml", nil)
	assert.JSONEq(t, `{"file": "config.yaml", "valid": true, "problems": []}`, string(mustJSON(t, report)))
	assert.Empty(t, report.Text())
}

func TestErr(t *testing.T) {
	_, report := Parse("config.yaml", []byte("limts: {}\nhttp: {port: 0}\n"))
	assert.EqualError(t, report.Err(), "config.yaml has 2 errors; the first is in line 1: there is no key limts")
	_, report = Parse("config.yaml", []byte("auth: {type: dummy}"))
	assert.NotEmpty(t, report.Problems)
	assert.NoError(t, report.Err(), "a warning is no error")
}

// No report shows what stands behind a key that sounds like a secret, wherever the fault is.
func TestSecretsStayOut(t *testing.T) {
	const secret = "hunter2"
	for _, text := range []string{
		"auth:\n  X:\n    client_secret: " + secret + ": x\n", "auth: {X: {password: " + secret + "}, nosuch: 1}\n", "auth:\n  X:\n    api_token: [" + secret + "\n",
		"auth:\n  X:\n    private_key: |\n      " + secret + "\n     x\n", "auth:\n  X:\n    password: \"" + secret + "\n  Y: 1\n", "auth:\n  X:\n    password: *" + secret + "\n",
		"auth:\n  X:\n    password: &" + secret + " x\n", "auth:\n  X:\n    password: !" + secret + " x\n", "auth:\n  X:\n    password: " + secret + "\n    password: " + secret + "\n",
		"auth:\n  X:\n    password:\n      - " + secret + "\n      - 012\n", "auth:\n  X:\n    passwords: {a: 0x1, b: " + secret + "}\n", "auth:\n  X:\n    client_secret: '" + secret + "\\x\t'\n",
		"auth:\n  X:\n    client_secret: @" + secret + "\n", "auth:\n  X:\n    client_secret: \"\\q" + secret + "\"\n", "client_secret: " + secret + "\n", "auth:\n  X:\n  client_secret: " + secret + "\n",
		"auth:\n  X:\n    client_secret: \"\n" + secret + "\n", "auth:\n  client_secret:\n  " + secret + "\n",
	} {
		_, report := Parse("config.yaml", []byte(text))
		assert.Error(t, report.Err(), text)
		assert.NotContains(t, report.Text(), secret)
		assert.NotContains(t, string(mustJSON(t, report)), secret)
		assert.NotContains(t, report.Err().Error(), secret)
	}
}

func TestTheHubsNameForADomain(t *testing.T) {
	const domain = "hub: {user_domain: users.example.org%s}\n"
	for text, want := range map[string]string{
		fmt.Sprintf(domain, ""):                          "users.example.org",
		fmt.Sprintf(domain, ", domain: hub.example.org"): "hub.example.org",
		fmt.Sprintf(domain, "") + "https: {enabled: true, letsencrypt: {email: a@example.org, domains: [first.example.org, second.example.org]}}\n": "first.example.org",
	} {
		cfg, report := Parse("config.yaml", []byte(text))
		require.NoError(t, report.Err(), text)
		assert.Equal(t, want, cfg.HubDomain(), text)
	}
	_, report := Parse("config.yaml", []byte(fmt.Sprintf(domain, ", domain: hub.users.example.org")))
	assert.ErrorContains(t, report.Err(), "is below hub.user_domain")
}

func TestSuggestions(t *testing.T) {
	for word, want := range map[string]string{"admins": "admin", "Admin": "admin", "adimn": "admin", "default-app": "default_app", "banned": "banned", "xyz": "", "prot": "port"} {
		assert.Equal(t, want, nearest(word, []string{"allowed", "banned", "admin", "default_app", "port"}), word)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range corpus(f) {
		f.Add([]byte(text))
	}
	f.Add(Starter([]string{"alice"}, Network{}))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, report := Parse("config.yaml", data)
		if (report.Err() == nil) != (c != nil) {
			t.Fatal("a config and an error, or neither")
		}
		text := report.Text()
		if strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) {
			t.Fatalf("control characters in %q", text)
		}
		last := Problem{Line: 1, Column: 1}
		lines := len(lineStarts(data))
		for _, p := range report.Problems {
			if p.Line < last.Line || p.Line == last.Line && p.Column < last.Column || p.Line > lines || p.Message == "" {
				t.Fatalf("%+v after %+v, of %d lines", p, last, lines)
			}
			last = p
		}
		if _, again := Parse("config.yaml", data); again.Text() != text {
			t.Fatal("another report the second time")
		}
	})
}
