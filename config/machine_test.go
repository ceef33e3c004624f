package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type shelf map[string][]byte

func (s shelf) Read(path string) ([]byte, error) {
	data, ok := s[path]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return data, nil
}

func keyPair(t *testing.T, until time.Time, names ...string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "hub"}, NotBefore: until.AddDate(-1, 0, 0), NotAfter: until, DNSNames: names}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

func TestFilesThatAConfigNames(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	cert, key := keyPair(t, now.AddDate(0, 6, 0))
	_, otherKey := keyPair(t, now.AddDate(0, 6, 0))
	old, oldKey := keyPair(t, now.AddDate(0, 0, -1))
	ending, endingKey := keyPair(t, now.AddDate(0, 0, 3))
	files := shelf{
		"/cert": cert, "/key": key, "/other": otherKey, "/old": old, "/oldkey": oldKey, "/ending": ending, "/endingkey": endingKey, "/text": []byte("hello"),
		"/locked":   pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}),
		"/logo.png": []byte("\x89PNG\r\n\x1a\n"), "/logo.svg": []byte("<?xml?><svg/>"), "/logo.jpeg": []byte("\xff\xd8\xff\xe0"), "/fake.png": []byte("<svg/>"),
	}
	for text, want := range map[string]string{
		"https: {enabled: true, tls: {cert: /cert, key: /key}}":         "",
		"https: {enabled: false, tls: {cert: /none, key: /none}}":       "",
		"https: {enabled: true, tls: {cert: /none, key: /key}}":         "https.tls.cert: there is no file /none",
		"https: {enabled: true, tls: {cert: /cert, key: /other}}":       "https.tls.key: the key /other does not belong to the certificate /cert: they are not put into effect until both match",
		"https: {enabled: true, tls: {cert: /text, key: /key}}":         "https.tls.cert: /text contains no certificate",
		"https: {enabled: true, tls: {cert: /cert, key: /cert}}":        `https.tls.key: /cert contains no private key, it has "CERTIFICATE"`,
		"https: {enabled: true, tls: {cert: /cert, key: /locked}}":      "https.tls.key: /locked is protected by a passphrase, which nobody can type when the machine starts",
		"https: {enabled: true, tls: {cert: /old, key: /oldkey}}":       "https.tls.cert: the certificate expired on 2026-11-23",
		"https: {enabled: true, tls: {cert: /ending, key: /endingkey}}": "https.tls.cert: the certificate expires on 2026-11-27",
		"sources: {ca: /cert}":                   "",
		"sources: {ca: /text}":                   "sources.ca: /text contains no certificate",
		"hub: {logo: /logo.png}":                 "",
		"hub: {logo: /logo.svg}":                 "",
		"hub: {logo: /logo.jpeg}":                "",
		"hub: {logo: /fake.png}":                 "hub.logo: /fake.png is no png picture",
		"hub: {logo: /missing.png}":              "hub.logo: there is no file /missing.png",
		"hub: {writable_paths: [/srv/a]}":        "hub.writable_paths: there is no folder /srv/a",
		"hub: {writable_paths: [/srv/a, /cert]}": "hub.writable_paths: there is no folder /srv/a",
		"hub: {writable_paths: [/cert]}":         "",
	} {
		c, report := Parse("", []byte(text))
		require.NoError(t, report.Err())
		problems := CheckMachine(c, report, files, Resources{}, now, func() *Config { return nil })
		got := ""
		for _, problem := range problems {
			got += problem.Path + ": " + problem.Message
			assert.Greater(t, problem.Column, 1, "%s: the place is not known", text)
		}
		assert.Equal(t, want, got, text)
	}
}

// Browsers refuse a name that the certificate lacks, and say so to nobody but the user: such a config is saved, and not put into effect.
func TestACertificateHoldsTheNamesOfTheHub(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	const https = "https: {enabled: true, tls: {cert: /cert, key: /key}}\n"
	for _, test := range []struct {
		names      []string
		text, want string
		unready    bool
	}{
		{[]string{"hub.example.org"}, "", "", false},
		{nil, "", "", false},
		{[]string{"hub.example.org"}, "hub: {domain: hub.example.org, user_domain: users.example.org}", "the certificate lacks *.users.example.org; it has hub.example.org: browsers refuse the addresses that it lacks", true},
		{[]string{"hub.example.org", "*.users.example.org"}, "hub: {domain: hub.example.org, user_domain: users.example.org}", "", false},
		{[]string{"*.users.example.org"}, "hub: {user_domain: users.example.org}", "the certificate lacks users.example.org; it has *.users.example.org: browsers refuse the addresses that it lacks", true},
		{[]string{"*.example.org"}, "hub: {domain: hub.example.org, user_domain: users.example.org}", "the certificate lacks *.users.example.org; it has *.example.org: browsers refuse the addresses that it lacks", true},
		{[]string{"a.example.org"}, "hub: {domain: hub.example.org}", "the certificate lacks hub.example.org; it has a.example.org: browsers refuse the addresses that it lacks", true},
		{nil, "hub: {domain: hub.example.org}", "the certificate lacks hub.example.org; it has none: browsers refuse the addresses that it lacks", true},
		{[]string{"a.example.org"}, "http: {public_url: 'https://b.example.org'}", "the certificate lacks b.example.org; it has a.example.org: browsers refuse the addresses that it lacks", true},
		{[]string{"a.example.org"}, "http: {public_url: 'https://b.example.org', trusted_proxies: [192.0.2.1]}", "", false},
		{[]string{"hub.example.org", "bob.users.example.org"}, "hub: {domain: hub.example.org, user_domain: users.example.org}", "the certificate lacks *.users.example.org; it has hub.example.org, bob.users.example.org", false},
	} {
		cert, key := keyPair(t, now.AddDate(0, 6, 0), test.names...)
		files := shelf{"/cert": cert, "/key": key}
		c, report := Parse("", []byte(https+test.text))
		require.NoError(t, report.Err(), test.text)
		got, unready := "", false
		for _, problem := range CheckMachine(c, report, files, Resources{}, now, func() *Config { return nil }) {
			got, unready = got+problem.Message, problem.Unready
			assert.Equal(t, Warning, problem.Severity)
		}
		assert.Equal(t, test.want, got, "%v %s", test.names, test.text)
		assert.Equal(t, test.unready, unready, test.text)
		for _, problem := range CheckMachine(c, report, files, Resources{}, now, func() *Config { return c }) {
			assert.False(t, problem.Unready, "what is in effect already keeps nobody from changing something else")
		}
		before := parsed(t, https)
		assert.Equal(t, test.unready, report.With(CheckMachine(c, report, files, Resources{}, now, func() *Config { return before })).Unready() != nil, test.text)
	}
}

// Certificate and key are replaced one after the other.
func TestAPairThatDoesNotMatchIsSavedAndNotPutIntoEffect(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	cert, key := keyPair(t, now.AddDate(0, 6, 0))
	newCert, newKey := keyPair(t, now.AddDate(0, 9, 0))
	files := shelf{"/cert": cert, "/key": key, "/newcert": newCert, "/newkey": newKey}
	before := parsed(t, "https: {enabled: true, tls: {cert: /cert, key: /key}}")
	for text, ready := range map[string]bool{
		"https: {enabled: true, tls: {cert: /newcert, key: /key}}":    false,
		"https: {enabled: true, tls: {cert: /cert, key: /newkey}}":    false,
		"https: {enabled: true, tls: {cert: /newcert, key: /newkey}}": true,
	} {
		c, report := Parse("", []byte(text))
		checked := report.With(CheckMachine(c, report, files, Resources{}, now, func() *Config { return before }))
		require.NoError(t, checked.Err(), text)
		problem := checked.Unready()
		assert.Equal(t, ready, problem == nil, text)
		if !ready {
			assert.Contains(t, problem.Hint, "sudo tljh-install config edit")
		}
	}
}

func TestLimitsAboveTheMachineAreAWarning(t *testing.T) {
	for text, want := range map[string]string{
		"limits: {memory: 900G}":               "limits.memory is 900G, and this machine has 3.8G: the limit has no effect",
		"limits: {memory: 2G, cpu: 2}":         "",
		"limits: {cpu: 2.5}":                   "limits.cpu is 2.5, and this machine has 2 CPUs: the limit has no effect",
		"limits: {users: {Bob: {memory: 1T}}}": "limits.users.bob.memory is 1T, and this machine has 3.8G: the limit has no effect",
		"users: {extra_user_groups: {a: []}}\nlimits: {groups: {a: {cpu: 8}}}": "limits.groups.a.cpu is 8, and this machine has 2 CPUs: the limit has no effect",
	} {
		c, report := Parse("", []byte(text))
		require.NoError(t, report.Err(), text)
		got := ""
		for _, problem := range CheckMachine(c, report, shelf{}, Resources{Memory: 3891 << 20, CPUs: 2}, time.Now(), func() *Config { return nil }) {
			assert.Equal(t, Warning, problem.Severity)
			got += problem.Message
		}
		assert.Equal(t, want, got, text)
		assert.Empty(t, CheckMachine(c, report, shelf{}, Resources{}, time.Now(), func() *Config { return nil }), "a machine that is not known")
	}
}

// What is wrong with a file that is in use already keeps nobody from changing something else.
func TestFilesInEffectAreNoReasonToRefuse(t *testing.T) {
	const https = "https: {enabled: true, tls: {cert: /none, key: /none}}\n"
	for _, test := range []struct {
		before, text string
		refused      bool
	}{
		{https + "hub: {logo: /none.png}\nsources: {ca: /none}", https + "hub: {logo: /none.png, name: A}\nsources: {ca: /none}", false},
		{"", https, true},
		{"https: {enabled: false, tls: {cert: /none, key: /none}}", https, true},
		{https, "https: {enabled: true, tls: {cert: /other, key: /none}}", true},
		{"hub: {logo: /none.png}", "hub: {logo: /gone.png}", true},
	} {
		c, report := Parse("", []byte(test.text))
		require.NoError(t, report.Err())
		problems := CheckMachine(c, report, shelf{}, Resources{}, time.Now(), func() *Config { return parsed(t, test.before) })
		assert.NotEmpty(t, problems)
		assert.Equal(t, test.refused, anyError(problems), test.text)
	}
}

func TestWhatTheHubSaysOfAnAuthenticator(t *testing.T) {
	const text = "auth:\n  type: github\n  GitHubOAuthenticator:\n    client_di: x\n    client_id: 5\n    allowed_users: [a]\n    allow_all: 'yes'\n"
	c, report := Parse("", []byte(text))
	require.NoError(t, report.Err())
	var answer AuthenticatorAnswer
	require.NoError(t, json.Unmarshal([]byte(`{"ok": true, "classes": {"GitHubOAuthenticator": {"exists": true, "options": ["client_id", "client_secret", "allow_all"], "refused":
		{"client_id": "must be a text, not a number", "client_di": "the authenticator has no such option", "allow_all": "must be true or false, not a text"}}}}`), &answer))
	told := []string{}
	for _, problem := range CheckAuthenticator(c, report, answer) {
		told = append(told, fmt.Sprintf("%d: %s (%s)", problem.Line, problem.Message, problem.Hint))
	}
	assert.Equal(t, []string{
		"7: auth.GitHubOAuthenticator.allow_all: must be true or false, not a text (write true or false, without quotes)",
		"4: GitHubOAuthenticator has no option client_di (did you mean client_id?)",
		"5: auth.GitHubOAuthenticator.client_id: must be a text, not a number (put it in quotes)",
	}, told)

	problems := CheckAuthenticator(c, report, AuthenticatorAnswer{Error: "No module named 'x'"})
	require.Len(t, problems, 1)
	assert.Equal(t, "the hub cannot use github: No module named 'x'", problems[0].Message)
	assert.Equal(t, 2, problems[0].Line)
}

// The package of an authenticator is named first and installed later: such a config is saved, reload does not put it into effect, and install does.
func TestAnAuthenticatorThatHubPackagesBring(t *testing.T) {
	c, report := Parse("", []byte("auth: {type: lti.LTIAuthenticator}\nhub: {packages: [lti]}\n"))
	require.NoError(t, report.Err())
	missing := AuthenticatorAnswer{Error: "No module named 'lti'", Hint: "add it"}

	refused := report.With(CheckAuthenticator(c, report, missing))
	require.Error(t, refused.Err())
	assert.Contains(t, refused.Text(), "hint: add it")

	missing.Pending = true
	saved := report.With(CheckAuthenticator(c, report, missing))
	require.NoError(t, saved.Err())
	require.NotNil(t, saved.Unready())
	assert.Contains(t, saved.Unready().Message, "cannot use lti.LTIAuthenticator until hub.packages is installed")
	assert.Equal(t, "sudo tljh-install install", saved.Unready().Hint)
	assert.Nil(t, saved.UnreadyToInstall())

	misspelt := AuthenticatorAnswer{Error: "No module named 'oauthenticator.githab'", Pending: true}
	require.Error(t, report.With(CheckAuthenticator(c, report, misspelt)).Err(), "no package brings that")
}

func TestHubPackagesAreInstalledByInstall(t *testing.T) {
	before, after := parsed(t, "{}"), parsed(t, "hub: {packages: [lti]}")
	assert.Equal(t, []Change{{Path: "hub.packages", Touches: []string{"hub environment, by tljh-install install"}, NeedsInstall: true}}, Changes(before, after))
	assert.Equal(t, before.HubView(), after.HubView(), "a hub that goes on in its environment has no use for a restart")
	for _, text := range []string{"--index-url=x", "-r /etc/shadow", "a b", "a==", "/root/x.whl"} {
		_, report := Parse("", []byte("hub: {packages: ['"+text+"']}"))
		assert.Error(t, report.Err(), text)
	}
}
