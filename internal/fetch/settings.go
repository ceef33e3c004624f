package fetch

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"

	"tljh/internal/host"
)

// Env returns a variable's value in an environment, or "".
func Env(environ []string, key string) string {
	for _, pair := range slices.Backward(environ) {
		if value, found := strings.CutPrefix(pair, key+"="); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// TLS trusts what the machine trusts and what the settings of pip, curl and others name in addition; a host that they call trusted,
// whatever it shows.
func TLS(files host.Files, environ []string, name string) *tls.Config {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	for _, key := range []string{"PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"} {
		if file := Env(environ, key); file != "" {
			data, _ := files.Read(file)
			pool.AppendCertsFromPEM(data)
		}
	}
	return &tls.Config{RootCAs: pool, InsecureSkipVerify: name != "" && trusted(environ, name)}
}

func trusted(environ []string, name string) bool {
	hosts := append(strings.Fields(Env(environ, "PIP_TRUSTED_HOST")), strings.Fields(Env(environ, "UV_INSECURE_HOST"))...)
	return slices.ContainsFunc(hosts, func(text string) bool { host, _, _ := strings.Cut(text, ":"); return host == name })
}

// ProxyFor returns the proxy that the environment names for an address, as pip, uv and curl read it; nil for none.
func ProxyFor(environ []string, address *url.URL) (*url.URL, error) {
	first := func(keys ...string) string {
		for _, key := range keys {
			if value := Env(environ, key); value != "" {
				return value
			}
		}
		return ""
	}
	if bypasses(first("no_proxy", "NO_PROXY"), address.Hostname()) {
		return nil, nil
	}
	text := first(address.Scheme+"_proxy", strings.ToUpper(address.Scheme)+"_PROXY", "all_proxy", "ALL_PROXY")
	if text == "" {
		return nil, nil
	}
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	proxy, err := url.Parse(text)
	if err != nil || proxy.Host == "" {
		return nil, errors.New("the proxy named in the environment is no web address")
	}
	return proxy, nil
}

// bypasses reports whether a list such as "localhost,.example.org,10.0.0.0/8" holds a host, by the rules of curl and uv: a name stands for all below it, with
// a dot before it or without. golang.org/x/net/http/httpproxy differs: to it, .example.org is not example.org, and loopback addresses are on every list.
func bypasses(list, name string) bool {
	ip := net.ParseIP(name)
	return slices.ContainsFunc(strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }), func(entry string) bool {
		if _, network, err := net.ParseCIDR(entry); err == nil {
			return ip != nil && network.Contains(ip)
		}
		entry = strings.TrimPrefix(strings.TrimPrefix(entry, "*"), ".")
		return entry == "" || strings.EqualFold(name, entry) || strings.HasSuffix(strings.ToLower(name), "."+strings.ToLower(entry))
	})
}
