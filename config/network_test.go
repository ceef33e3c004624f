package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/layout"
)

func TestProxies(t *testing.T) {
	for text, kept := range map[string]string{
		"http://proxy.example.org:3128": "", "http://proxy.example.org:3128/": "http://proxy.example.org:3128", "https://proxy": "", "http://192.0.2.1:80": "",
		"http://proxy:65535": "", "http://[2001:db8::1]:3128": "-", "http://me:100%@proxy": "-", "http://me:a%40b$c@proxy:3128": "-", "http://me:hush@proxy:3128": "", `""`: "",
		"proxy.example.org:3128": "-", "socks5://proxy:1080": "-", "http://": "-", "http://proxy:3128/path": "-", "http://proxy:70000": "-", "http://proxy:0": "-",
		"http://me:hu sh@proxy": "-", `'http://me:hu"sh@proxy'`: "-", "http://me:hu/sh@proxy:1": "-", "'http://me:hush#@proxy:1'": "-", "3128": "-", "[http://proxy]": "-",
	} {
		for _, key := range []string{"network.http_proxy", "network.https_proxy"} {
			d := Read("c.yaml", []byte(inFlow(key, text)))
			if kept == "-" {
				require.Error(t, d.Report.Err(), text)
				assert.NotRegexp(t, "hu.?sh", d.Report.Text()+strings.Join(ReadForHub(d.Data).Problems, " ")+string(d.Masked()), text)
				continue
			}
			require.NoError(t, d.Report.Err(), text)
			got := map[string]string{"network.http_proxy": d.Config.Network.HTTPProxy, "network.https_proxy": d.Config.Network.HTTPSProxy}[key]
			if kept == "" {
				kept = strings.Trim(text, `"`)
			}
			assert.Equal(t, kept, got)
		}
	}
}

func TestWordsAboutAProxyThatCannotBeUsed(t *testing.T) {
	for text, words := range map[string][2]string{
		"socks5://proxy:1080":          {"SOCKS", "privoxy"},
		"SOCKS5H://me:hush@proxy:1080": {"SOCKS", "privoxy"},
		"socks://proxy":                {"SOCKS", "privoxy"},
		"http://[2001:db8::1]:3128":    {"IPv6", "/etc/hosts"},
		"http://me:hush@[::1]:3128":    {"IPv6", "/etc/hosts"},
		"2001:db8::1":                  {"IPv6", "/etc/hosts"},
		"[2001:db8::1]:3128":           {"IPv6", "/etc/hosts"},
		"http://wpad/wpad.dat":         {"auto-config", "after PROXY"},
		"https://example.org/p.pac":    {"auto-config", "after PROXY"},
		"proxy.example.org:3128":       {"http:// or https://", "http://proxy.example.org:3128"},
		"me:hush@proxy:3128":           {"http:// or https://", "http://proxy.example.org:3128"},
	} {
		for _, key := range []string{"network.http_proxy", "network.https_proxy"} {
			told := Read("c.yaml", []byte(inFlow(key, "'"+text+"'"))).Report.Text()
			for _, each := range words {
				assert.Contains(t, told, each, text)
			}
			assert.NotContains(t, told, "hush")
		}
	}
}

func TestAProxysPasswordIsShownNowhere(t *testing.T) {
	text := "network:\n  https_proxy: http://me:hush@proxy:3128\n"
	d := Read("c.yaml", []byte(text))
	require.NotNil(t, d.Config)
	assert.Contains(t, d.Report.Text(), "every single-user server is told it")
	shown := d.Report.Text() + string(d.Masked()) + ExplainKey(d, "network.https_proxy", 0).Text() + Explain(d.Config, "bob", 0).Text() +
		DiffOf(Read("", nil), d, "a", "b")
	assert.NotContains(t, shown, "hush")
	assert.Contains(t, shown, "http://***@proxy:3128")
	broken := Read("c.yaml", []byte("network:\n\thttps_proxy: me:hush@proxy:3128\n"))
	assert.NotContains(t, broken.Report.Text()+string(broken.Masked()), "hush")
}

func TestWhatIsReachedDirectly(t *testing.T) {
	for entry, kept := range map[string]string{
		"example.org": "example.org", "Example.ORG": "example.org", ".example.org": ".example.org", "'*.example.org'": ".example.org", "intranet": "intranet",
		"192.0.2.7": "192.0.2.7", "10.1.2.3/8": "10.0.0.0/8", "'2001:db8::/32'": "2001:db8::/32", "'2001:0db8::7'": "2001:db8::7",
		"'*'": "", "'a b'": "", "'http://example.org'": "", "'example.org:80'": "", "'a,b'": "", "''": "", "'fe80::1%eth0'": "",
	} {
		c, report := Parse("c.yaml", []byte("network: {no_proxy: ["+entry+"]}"))
		if kept == "" {
			assert.Error(t, report.Err(), entry)
			continue
		}
		require.NoError(t, report.Err(), entry)
		assert.Equal(t, []string{kept}, c.Network.NoProxy)
	}
}

func TestVariablesOfTheNetwork(t *testing.T) {
	pairs := func(text string) string {
		c, report := Parse("c.yaml", []byte(text))
		require.NotNil(t, c, report.Text())
		var found strings.Builder
		for _, v := range c.ProxyVariables() {
			found.WriteString(v.Pair() + " (" + v.Key + ")\n")
		}
		return found.String()
	}
	assert.Empty(t, pairs(""))
	assert.Empty(t, pairs("network: {no_proxy: [example.org]}"), "nobody is to be kept from a proxy that there is not")
	assert.Equal(t, "https_proxy=http://p:3128 (network.https_proxy)\nno_proxy=localhost,127.0.0.1,::1,[::1] (network.no_proxy)\n"+
		"HTTPS_PROXY=http://p:3128 (network.https_proxy)\nNO_PROXY=localhost,127.0.0.1,::1,[::1] (network.no_proxy)\n", pairs("network: {https_proxy: 'http://p:3128'}"))
	hubs := "http: {address: 192.0.2.7, public_url: 'https://lab.example.org'}\nhttps: {address: '::'}\nhub: {domain: hub.example.org, user_domain: users.example.org}\n"
	assert.Contains(t, pairs(hubs+"network: {http_proxy: 'http://p:3128', no_proxy: [10.0.0.0/8, localhost]}"),
		"no_proxy=localhost,127.0.0.1,::1,[::1],192.0.2.7,hub.example.org,.users.example.org,lab.example.org,10.0.0.0/8 (network.no_proxy)\n")
}

func TestServersGetThePackageSources(t *testing.T) {
	c, report := Parse("", []byte("sources: {index: 'https://i.example.org/simple', ca: /etc/site.pem}\nuser_environment: {variables: {PIP_INDEX_URL: 'https://own'}}\n"))
	require.NoError(t, report.Err())
	got := map[string]string{}
	for _, v := range c.ServerVariables() {
		got[v.Name] = v.Value + " " + v.Key
	}
	assert.Equal(t, "https://i.example.org/simple sources.index", got["UV_DEFAULT_INDEX"])
	assert.NotContains(t, got, "PIP_INDEX_URL")
	for _, name := range []string{"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS", "PIP_CERT"} {
		assert.Equal(t, layout.Authorities+" sources.ca", got[name], "a file that all can read")
	}
}

func TestNetworkOfAnEnvironment(t *testing.T) {
	for text, want := range map[string]struct {
		network Network
		beyond  []string
	}{
		"":                              {},
		"https_proxy=http://p:3128":     {network: Network{HTTPSProxy: "http://p:3128"}},
		"HTTP_PROXY=p:3128 https_proxy": {network: Network{HTTPProxy: "http://p:3128"}},
		"http_proxy=http://small:1 HTTP_PROXY=http://capital:1":                {network: Network{HTTPProxy: "http://small:1"}},
		"ALL_PROXY=http://p:1 http_proxy=http://q:1":                           {network: Network{HTTPProxy: "http://q:1", HTTPSProxy: "http://p:1"}},
		"all_proxy=socks5://me:hush@p:1080":                                    {beyond: []string{"all_proxy"}},
		"http_proxy=http://p no_proxy=localhost,127.0.0.1,.a.example,b:80,::1": {Network{HTTPProxy: "http://p", NoProxy: []string{".a.example"}}, []string{"no_proxy: b:80"}},
		"http_proxy=http://p NO_PROXY=*":                                       {},
		"no_proxy=a.example":                                                   {},
	} {
		network, beyond := NetworkOf(strings.Fields(text))
		assert.Equal(t, want.network, network, text)
		assert.Equal(t, want.beyond, beyond, text)
	}
}

func TestExplainSaysWhereAProxyComesFrom(t *testing.T) {
	text := "network:\n  https_proxy: http://p:3128\nuser_environment:\n  variables:\n    no_proxy: example.org\n"
	d := Read("", []byte(text))
	explained := Explain(d.Config, "bob", 0).Text()
	assert.Regexp(t, `variable https_proxy +http://p:3128 +network.https_proxy\n`, explained)
	assert.Regexp(t, `variable no_proxy +set +user_environment.variables.no_proxy\n`, explained)
	assert.Equal(t, 1, strings.Count(strings.ToLower(explained), "variable no_proxy"))
	assert.Regexp(t, `network.https_proxy +http://p:3128 +line 2 of the config`, ExplainKey(d, "network.https_proxy", 0).Text())
	assert.Regexp(t, `in effect +localhost, 127.0.0.1, ::1, \[::1\] +network.no_proxy, and this machine`, ExplainKey(d, "network.no_proxy", 0).Text())
}
