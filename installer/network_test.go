package installer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/config"
	"tljh/environment"
	"tljh/internal/layout"
	"tljh/internal/step"
)

func TestAShellsProxyWinsOverTheConfigs(t *testing.T) {
	cfg := parsed(t, "network: {http_proxy: 'http://site:1', https_proxy: 'http://site:2', no_proxy: [example.org]}")
	const direct = "localhost,127.0.0.1,::1,[::1],example.org"
	for shell, want := range map[string][]string{
		"":                        {"http_proxy=http://site:1", "https_proxy=http://site:2", "no_proxy=" + direct, "HTTP_PROXY=http://site:1", "HTTPS_PROXY=http://site:2", "NO_PROXY=" + direct},
		"https_proxy=http://my":   {"https_proxy=http://my", "http_proxy=http://site:1", "no_proxy=" + direct, "HTTP_PROXY=http://site:1", "NO_PROXY=" + direct},
		"HTTPS_PROXY= NO_PROXY=*": {"HTTPS_PROXY=", "NO_PROXY=*", "http_proxy=http://site:1", "HTTP_PROXY=http://site:1"},
		"all_proxy=socks5://my":   {"all_proxy=socks5://my", "no_proxy=" + direct, "NO_PROXY=" + direct},
	} {
		got := withNetwork(strings.Fields(shell), cfg)
		assert.Equal(t, want, got, shell)
		assert.Equal(t, want, withNetwork(got, cfg), "once is enough")
	}
	assert.Equal(t, []string{"A=b"}, withNetwork([]string{"A=b"}, config.Default()))
	b := environment.New(environment.Setup{})
	UseSources(b, cfg)
	assert.Contains(t, b.Environ, "https_proxy=http://site:2")
}

// A reload hands the proxy on: hub and edge are started anew, and single-user servers find it at their next start. Nobody else can read its password.
func TestAReloadHandsTheProxyOn(t *testing.T) {
	s := newSite(t)
	_, err := s.apply("limits: {memory: 1G}")
	require.NoError(t, err)
	const proxy = "limits: {memory: 1G}\nnetwork: {https_proxy: 'http://me:hush@p:3128'}\n"
	applied, err := s.apply(proxy)
	require.NoError(t, err)
	assert.Equal(t, []string{"file " + layout.NetworkEnv, "file " + layout.ServersEnv, idHubUnit, "unit " + layout.EdgeUnit}, applied.Changed)
	assert.Empty(t, applied.Left)
	assert.Contains(t, s.read(layout.NetworkEnv), "\nhttps_proxy=http://me:hush@p:3128\nno_proxy=localhost,127.0.0.1,::1,[::1]\n")
	servers := map[string]string{}
	require.NoError(t, json.Unmarshal([]byte(s.read(layout.ServersEnv)), &servers))
	assert.Equal(t, "http://me:hush@p:3128", servers["HTTPS_PROXY"])
	for _, file := range []string{layout.NetworkEnv, layout.ServersEnv} {
		found, err := s.files.Lstat(file)
		require.NoError(t, err)
		assert.EqualValues(t, 0o600, found.Mode().Perm(), file)
	}
	for _, unit := range []string{layout.HubUnit, layout.EdgeUnit} {
		assert.Contains(t, s.read(layout.Units+"/"+unit), layout.NetworkEnv)
		assert.NotContains(t, s.read(layout.Units+"/"+unit), "hush")
	}

	applied, err = s.apply(proxy + "http: {public_url: 'https://lab.example.org'}\n")
	require.NoError(t, err)
	assert.Contains(t, applied.Changed, idHubUnit, "the hub's own name is reached directly")
	assert.Contains(t, s.read(layout.NetworkEnv), "no_proxy=localhost,127.0.0.1,::1,[::1],lab.example.org\n")

	_, err = s.apply("limits: {memory: 1G}\nsources: {index: 'https://i.example.org/simple'}")
	require.NoError(t, err)
	assert.NotContains(t, s.read(layout.NetworkEnv), "proxy=")
	assert.JSONEq(t, `{"PIP_INDEX_URL": "https://i.example.org/simple", "UV_DEFAULT_INDEX": "https://i.example.org/simple"}`, s.read(layout.ServersEnv))
	applied, err = s.apply("limits: {memory: 1G}")
	require.NoError(t, err)
	assert.Equal(t, []string{"file " + layout.ServersEnv}, applied.Changed, "package sources are no reason to restart the hub")
}

// A provider of logins may have a certificate of the site's own authority: hub and edge are started anew with it.
func TestHubAndEdgeTrustTheSitesAuthority(t *testing.T) {
	s := newSite(t)
	require.NoError(t, os.MkdirAll(filepath.Dir(s.files.Path(layout.Authorities)), 0o755))
	for _, file := range []string{systemAuthorities[0], "/etc/ssl/certs/example-org.pem"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(s.files.Path(file)), 0o755))
		require.NoError(t, os.WriteFile(s.files.Path(file), []byte(file+"\n"), 0o644))
	}
	_, err := s.apply("limits: {memory: 1G}")
	require.NoError(t, err)
	assert.NotContains(t, s.read(layout.NetworkEnv), "SSL_CERT_FILE")
	applied, err := s.apply("limits: {memory: 1G}\nsources: {ca: /etc/ssl/certs/example-org.pem}")
	require.NoError(t, err)
	assert.Subset(t, applied.Changed, []string{"file " + layout.Authorities, "file " + layout.NetworkEnv, idHubUnit, "unit " + layout.EdgeUnit})
	for _, name := range []string{"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"} {
		assert.Contains(t, s.read(layout.NetworkEnv), "\n"+name+"="+layout.Authorities+"\n")
	}
	assert.Contains(t, s.read(layout.Authorities), "example-org.pem")
	applied, err = s.apply("limits: {memory: 1G}")
	require.NoError(t, err)
	assert.Contains(t, applied.Changed, idHubUnit)
	assert.NotContains(t, s.read(layout.NetworkEnv), "SSL_CERT_FILE")
}

func TestTheFirstConfigTakesTheShellsProxy(t *testing.T) {
	h, _ := machine(t)
	gather := func(options Options) *Inputs {
		t.Helper()
		in, err := Gather(t.Context(), h, options)
		require.NoError(t, err)
		t.Cleanup(in.Close)
		return in
	}
	environ := []string{"https_proxy=http://me:hush@p:3128", "no_proxy=localhost,.example.org", "http_proxy=socks5://p:1080"}
	in := gather(Options{Environ: environ})
	assert.Equal(t, config.Network{HTTPSProxy: "http://me:hush@p:3128", NoProxy: []string{".example.org"}}, in.Config.Network)
	told := strings.Join(in.notes, "\n")
	assert.Contains(t, told, "network.https_proxy, network.no_proxy")
	assert.Contains(t, told, "which cannot have it: http_proxy")
	assert.NotContains(t, told, "hush")
	assert.Empty(t, gather(Options{}).notes)

	require.NoError(t, h.Files.MkdirAll(layout.ConfigDir, step.Dir{}.Attr))
	for text, words := range map[string]string{"limits: {memory: 1G}": "network.https_proxy ADDRESS --reload", "network: {http_proxy: 'http://p:1'}": ""} {
		require.NoError(t, h.Files.Write(layout.Config, []byte(text), secret))
		in = gather(Options{Environ: environ})
		assert.NotContains(t, string(in.ConfigText), "hush", "a config that is there is nobody's but the admins'")
		assert.Equal(t, words == "", len(in.notes) == 0, text)
		assert.Contains(t, strings.Join(in.notes, "\n"), words)
	}
}
