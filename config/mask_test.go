package config

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMask(t *testing.T) {
	for text, want := range map[string]string{
		"": "",
		"auth:\n  XAuthenticator:\n    client_secret: s3cret # why\n    client_id: id\n":         "auth:\n  XAuthenticator:\n    client_secret: \"********\" # why\n    client_id: id\n",
		"auth:\n  XAuthenticator:\n    client_secret: 's3cret ''x'\n":                            "auth:\n  XAuthenticator:\n    client_secret: \"********\"\n",
		"auth: {XAuthenticator: {bind_password: s3cret, a: 1}}\n":                                "auth: {XAuthenticator: {bind_password: \"********\", a: 1}}\n",
		"auth:\n  XAuthenticator:\n    client_secret: |\n      s3cret\n      s3cret\n    a: 1\n": "auth:\n  XAuthenticator:\n    client_secret: \"********\"\n    a: 1\n",
		"auth:\n  XAuthenticator:\n    tokens:\n    - s3cret\n    - s3cret\n    a: 1\n":          "auth:\n  XAuthenticator:\n    tokens:\n    \"********\"\n    a: 1\n",
		"user_environment:\n  variables:\n    API_KEY: s3cret\n    COURSE: x\n":                  "user_environment:\n  variables:\n    API_KEY: \"********\"\n    COURSE: x\n",
		"https:\n  tls:\n    key: /etc/hub.key\n":                                                "https:\n  tls:\n    key: /etc/hub.key\n",
		"sources: {index: \"https://me:s3cret@example.org/simple\"}\n":                           "sources: {index: \"https://***@example.org/simple\"}\n",
		"\ufeffauth: {XAuthenticator: {secret: s3cret}}\r\nlimits: {}\r\n":                       "\ufeffauth: {XAuthenticator: {secret: \"********\"}}\r\nlimits: {}\r\n",
		"auth:\n  XAuthenticator: {secret: s3cret\n  client_secret: s3cret\n   more\nusers: [":   "auth:\n  XAuthenticator: {secret: \"********\"\n  client_secret: \"********\"\nusers: [",
		"auth:\n\tpassword:\n\t\ts3cret\nb: c\n":                                                 "auth:\n\tpassword:\n\t\ts3cret\nb: c\n",
		"# client_secret: s3cret\nhub: {name: \"a # token: x\"} # password=s3cret now\n":         "# client_secret: \"********\"\nhub: {name: \"a # token: x\"} # password=\"********\"\n",
		"traefik_api: {port: 1, password: s3cret}\n":                                             "traefik_api: {port: 1, password: \"********\"}\n",
		"user_environment: {variables: {A: \"https://u:s3@cret@example.org/x\"}}\n":              "user_environment: {variables: {A: \"https://***@example.org/x\"}}\n",
		"auth:\n  NativeAuthenticator:\n    check_common_password: true\n    minimum_password_length: 9\n": "auth:\n  NativeAuthenticator:\n    check_common_password: true\n" +
			"    minimum_password_length: 9\n",
	} {
		got := string(Mask([]byte(text)))
		if strings.HasPrefix(text, "auth:\n\tpassword") { // a secret on a line of its own, in a file that is none
			assert.NotContains(t, got, "s3cret")
			continue
		}
		assert.Equal(t, want, got)
	}
}

func TestNamesOfSecrets(t *testing.T) {
	for _, name := range []string{
		"AWS_SECRET_ACCESS_KEY", "SECRET_KEY", "SECRET_KEY_BASE", "OPENAI_KEY", "MYSQL_PWD", "GITHUB_PAT", "jwt_signing_key", "secret_key", "client_secret", "password", "passwd", "DB_PASS",
		"api_token", "API_KEY", "apikey", "credentials", "private_key", "cookie_secret", "bind_dn_password", "keys", "passphrase", "PGPASSWORD", "SENTRY_DSN", "shared-password", "consumers",
	} {
		assert.True(t, isSecret(name), name)
		text := "user_environment:\n  variables: {" + strings.ReplaceAll(name, "-", "_") + ": s3cret}\n"
		assert.NotContains(t, string(Mask([]byte(text))), "s3cret", name)
		assert.NotContains(t, string(Mask([]byte(text+"limts: 1\n"))), "s3cret", "in a file that is not valid: "+name)
		assert.NotContains(t, string(Mask([]byte("# "+name+": s3cret\n"))), "s3cret", "in a remark: "+name)
	}
	for _, name := range []string{"client_id", "token_url", "PATH", "compat", "min_password_length", "username_key", "COURSE", "keyboard_layout", "userdata_url", "allow_all"} {
		assert.False(t, isSecret(name), name)
	}
}

func FuzzMask(f *testing.F) {
	f.Add("auth:\n  XAuthenticator:\n    client_secret: ", "|\n      s3cret\n")
	f.Add("auth: {XAuthenticator: {secret: ", "'s'}}")
	f.Fuzz(func(t *testing.T, before, after string) {
		Mask([]byte(before + after))
		// A secret of one word behind a secret's name is never shown, whatever stands around it.
		if strings.ContainsAny(before+after, "s5") {
			return
		}
		for _, line := range []string{"    client_secret: s5s5s5s5", "    client_id: x # password: s5s5s5s5"} {
			text := before + "\nauth:\n  XAuthenticator:\n" + line + "\n" + after
			if utf8.ValidString(text) && (!strings.Contains(line, "#") || Read("", []byte(text)).Config != nil && !strings.ContainsAny(before, "|>\"'")) {
				assert.NotContains(t, string(Mask([]byte(text))), "s5s5s5s5")
			}
		}
	})
}

func TestDiff(t *testing.T) {
	assert.Empty(t, Diff([]byte("a\n"), []byte("a\n"), "x", "y"))
	before := "base_url: /\n# one\n# two\n# three\n# four\nlimits:\n  memory: 1G\nauth:\n  XAuthenticator:\n    secret: old\n"
	after := strings.Replace(strings.Replace(before, "1G", "2G", 1), "base_url: /\n", "", 1)
	assert.Equal(t, `--- before
+++ after
@@ -1,10 +1,9 @@
-base_url: /
 # one
 # two
 # three
 # four
 limits:
-  memory: 1G
+  memory: 2G
 auth:
   XAuthenticator:
     secret: "********"
`, Diff([]byte(before), []byte(after), "before", "after"))
	secret := Diff([]byte(before), []byte(strings.Replace(before, "old", "new", 1)), "before", "after")
	assert.Contains(t, secret, "not shown")
	assert.NotContains(t, secret, "old")
}

// What a diff says leads from one text to the other.
func FuzzDiff(f *testing.F) {
	f.Add("a\nb\nc\n", "a\nc\nd\n")
	f.Add("", "x")
	f.Fuzz(func(t *testing.T, before, after string) {
		ops := diffLines(strings.Split(before, "\n"), strings.Split(after, "\n"))
		var a, b []string
		for _, op := range ops {
			if op.sign != '+' {
				a = append(a, op.text)
			}
			if op.sign != '-' {
				b = append(b, op.text)
			}
		}
		assert.Equal(t, before, strings.Join(a, "\n"))
		assert.Equal(t, after, strings.Join(b, "\n"))
		Diff([]byte(before), []byte(after), "", "")
	})
}

func TestLargeDiff(t *testing.T) {
	a, b := bytes.Repeat([]byte("one\n"), 5000), bytes.Repeat([]byte("two\n"), 5000)
	require.Contains(t, Diff(a, b, "", ""), "+two")
}

func TestTheClassCodeIsMasked(t *testing.T) {
	text := Mask([]byte("users:\n  first_login: code\n  class_code: maple-42-river\n"))
	assert.NotContains(t, string(text), "maple")
	assert.Contains(t, string(text), "first_login: code")
}
