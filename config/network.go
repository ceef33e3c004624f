package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"tljh/internal/layout"
)

// proxyForm is what all who are told of a proxy read alike: systemd's files of variables, shells, and the libraries of programs.
const proxyForm = `^(https?://(([A-Za-z0-9._~!&*+,;=:-]|%[0-9A-Fa-f]{2})+@)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:` + portForm + `)?/?)?$`

const portForm = `([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])`

var proxyAddress = regexp.MustCompile(proxyForm)

const proxyHint = "write, for example, http://proxy.example.org:3128; in a name or password, write characters such as @, / and # as %40, %2F and %23"

// proxy is the address of one. It may hold a password, so that it is never quoted.
var proxy = kind[string]{proxyText.name, proxyText.schema, func(w *walker, node *yaml.Node, path string) (string, bool) {
	kept, ok := proxyText.read(w, node, path)
	if ok && strings.Contains(kept, "@") {
		w.tell(Warning, node, path, path+" contains a name or password, and every single-user server is told it", "take an account of the proxy's that is for this machine alone")
	}
	return kept, ok
}}

var proxyText = text("web address of a proxy", "the web address of a proxy", proxyForm, func(text string) (string, string, string) {
	kept, ok := checkProxy(text)
	if !ok {
		trouble, hint := noProxy(text)
		return "", trouble, hint
	}
	return kept, "", ""
})

func checkProxy(text string) (string, bool) {
	return strings.TrimSuffix(text, "/"), proxyAddress.MatchString(text)
}

var (
	socksProxy = regexp.MustCompile(`(?i)^socks[0-9a-z]*://`)
	ipv6Proxy  = regexp.MustCompile(`^([A-Za-z]+://)?([^/@]*@)?(\[[0-9A-Fa-f:.%]*\]|[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)`)
	proxyFile  = regexp.MustCompile(`(?i)\.(pac|dat)$`)
)

// noProxy says why a text cannot be the address of a proxy, and what to write instead. It may hold a password, so that it is not quoted.
func noProxy(text string) (trouble, hint string) {
	switch {
	case socksProxy.MatchString(text):
		return "is the address of a SOCKS proxy, and some of the programs that use it, such as pip, speak HTTP to a proxy only",
			"write the address of an HTTP proxy: ask who runs the SOCKS proxy for one, or install a program that passes on from HTTP to SOCKS, such as privoxy, and write http://127.0.0.1:8118"
	case ipv6Proxy.MatchString(text):
		return "has an IPv6 address, which not all programs that use it can read", "give the proxy a name in /etc/hosts, and write, for example, http://proxy:3128"
	case proxyFile.MatchString(text):
		return "is the address of a file for browsers (proxy auto-config), which other programs cannot use", "open the file, and write the address that it has after PROXY, for example http://proxy.example.org:3128"
	}
	return "must be the address of a proxy: http:// or https://, its name, and its port", proxyHint
}

const directForm = `^(\*?\.?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?|[0-9]{1,3}(\.[0-9]{1,3}){3}(/[0-9]{1,2})?|[0-9A-Fa-f]*:[0-9A-Fa-f.:]*(/[0-9]{1,3})?)$`

var directEntry = regexp.MustCompile(directForm)

// direct is a list of what is reached without the proxy.
var direct = listOfNames("list of names, addresses and networks", obj{"type": "string", "pattern": directForm}, entry("a name, an address or a network", checkDirect))

// checkDirect returns an entry in the form that all programs know: a name stands for all below it.
func checkDirect(text string) (string, error) {
	text = strings.ToLower(text)
	if ip, err := netip.ParseAddr(text); err == nil && ip.Zone() == "" {
		return ip.String(), nil
	}
	if network, err := netip.ParsePrefix(text); err == nil {
		return network.Masked().String(), nil
	}
	name := strings.TrimPrefix(strings.TrimPrefix(text, "*"), ".")
	if !directEntry.MatchString(text) || strings.ContainsAny(name, ":/*") || text == "*" {
		return "", fmt.Errorf("%s is no name, address or network: write, for example, example.org, 192.0.2.10 or 10.0.0.0/8", short(text))
	}
	if name != text {
		name = "." + name
	}
	return name, nil
}

// Variable is one of the environment, with the key of the config that it comes from.
type Variable struct {
	Name, Value, Key string
}

// Pair is a variable as processes have it.
func (v Variable) Pair() string { return v.Name + "=" + v.Value }

// loopback is never reached through a proxy: there are the hub and its users' servers. Python's own library compares an IPv6 address with its brackets.
var loopback = []string{"localhost", "127.0.0.1", "::1", "[::1]"}

// ProxyVariables are the variables that tell programs of the network's proxy, in small and in capital letters, as programs differ in which they read; none
// without a proxy.
func (c *Config) ProxyVariables() []Variable {
	found := []Variable{}
	for _, v := range []Variable{{"http_proxy", c.Network.HTTPProxy, "network.http_proxy"}, {"https_proxy", c.Network.HTTPSProxy, "network.https_proxy"}} {
		if v.Value != "" {
			found = append(found, v)
		}
	}
	if len(found) == 0 {
		return nil
	}
	found = append(found, Variable{"no_proxy", strings.Join(c.Direct(), ","), "network.no_proxy"})
	for _, v := range found[:len(found):len(found)] {
		v.Name = strings.ToUpper(v.Name)
		found = append(found, v)
	}
	return found
}

// ServiceVariables are those that hub and edge get: the network's proxy, and what to trust. A provider of logins may have a certificate of the site's own
// authority.
func (c *Config) ServiceVariables() []Variable {
	found := c.ProxyVariables()
	if c.Sources.CA != "" {
		for _, name := range []string{"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"} {
			found = append(found, Variable{name, layout.Authorities, "sources.ca"})
		}
	}
	return found
}

func isProxyVariable(name string) bool {
	return slices.Contains([]string{"http_proxy", "https_proxy", "no_proxy"}, strings.ToLower(name))
}

// ServerVariables are those that single-user servers get of the network and of package sources. What user_environment.variables sets, in small or in capital
// letters, is left out.
func (c *Config) ServerVariables() []Variable {
	own := map[string]bool{}
	for name := range c.UserEnvironment.Variables {
		own[strings.ToLower(name)] = true
	}
	all := c.ProxyVariables()
	if index := c.Sources.Index; index != "" {
		all = append(all, Variable{"PIP_INDEX_URL", index, "sources.index"}, Variable{"UV_DEFAULT_INDEX", index, "sources.index"})
	}
	if c.Sources.CA != "" {
		for _, name := range []string{"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS", "PIP_CERT"} {
			all = append(all, Variable{name, layout.Authorities, "sources.ca"})
		}
	}
	return slices.DeleteFunc(all, func(v Variable) bool { return own[strings.ToLower(v.Name)] })
}

// Direct is all that is reached without the network's proxy: this machine, by the names and addresses that the config has for it, and network.no_proxy.
func (c *Config) Direct() []string {
	names := slices.Clone(loopback)
	for _, address := range []string{c.HTTP.Address, c.HTTPS.Address} {
		if ip, err := netip.ParseAddr(address); err == nil && !ip.IsUnspecified() {
			names = append(names, address)
		}
	}
	names = append(names, c.HubDomain())
	names = append(names, c.HTTPS.LetsEncrypt.Domains...)
	if c.Hub.UserDomain != "" {
		names = append(names, "."+c.Hub.UserDomain)
	}
	if parsed, err := url.Parse(c.HTTP.PublicURL); err == nil {
		names = append(names, parsed.Hostname())
	}
	found := []string{}
	for _, name := range append(names, c.Network.NoProxy...) {
		if name != "" && !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	return found
}

// NetworkOf returns what an environment says of a proxy, as network.* of a config has it, and the variables that a config cannot hold.
func NetworkOf(environ []string) (network Network, beyond []string) {
	find := func(names ...string) (name, value string) {
		for _, name = range names {
			for _, pair := range slices.Backward(environ) {
				if value, ok := strings.CutPrefix(pair, name+"="); ok && strings.TrimSpace(value) != "" {
					return name, strings.TrimSpace(value)
				}
			}
		}
		return "", ""
	}
	for _, each := range []struct {
		to    *string
		names []string
	}{
		{&network.HTTPProxy, []string{"http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"}},
		{&network.HTTPSProxy, []string{"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"}},
	} {
		name, value := find(each.names...)
		if value != "" && !strings.Contains(value, "://") {
			value = "http://" + value
		}
		kept, ok := checkProxy(value)
		switch {
		case ok:
			*each.to = kept
		case !slices.Contains(beyond, name):
			beyond = append(beyond, name)
		}
	}
	name, list := find("no_proxy", "NO_PROXY")
	for _, item := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		if kept, err := checkDirect(item); err != nil {
			beyond = append(beyond, name+": "+short(item))
		} else if !slices.Contains(loopback, kept) && !slices.Contains(network.NoProxy, kept) {
			network.NoProxy = append(network.NoProxy, kept)
		}
	}
	if list == "*" {
		return Network{}, nil // whoever says so has no proxy
	}
	if network.HTTPProxy+network.HTTPSProxy == "" {
		network.NoProxy = nil
	}
	return network, beyond
}
