package check

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"tljh/internal/fetch"
	"tljh/internal/host"
)

// Source is a place that packages come from.
type Source struct {
	URL string // may hold a password
	Set string // what it is: "the Python package index", or the environment variable that names it
}

// SourceResult is what came of trying a source.
type SourceResult struct {
	Source
	Host       string        // the machine that was asked; a proxy's, when there is one on the way
	ResolveErr error         // its name does not resolve
	Err        error         // no answer came, for this reason or another
	Status     int           // of the answer
	Date       time.Time     // the server's clock; zero when it said nothing
	Took       time.Duration // until the answer
	Untried    string        // why it was not tried, in words
}

// Sources finds the package sources that pip, uv and npm are set up with on this machine, and tries them. npm's own default is not
// known before npm is there, and is not tried.
type Sources struct {
	Files   host.Files
	Environ []string               // of this process
	Index   func() (string, error) // what pip uses, set or by itself
	Package string                 // the first package that is to be fetched from it
}

// reachLimit is for one source: pip itself would wait longer, but then people ask themselves why nothing happens.
const reachLimit = 10 * time.Second

// Reach tries all sources side by side.
func (s Sources) Reach(ctx context.Context) []SourceResult {
	sources, err := s.Find()
	if err != nil {
		return []SourceResult{{Untried: err.Error()}}
	}
	results := make([]SourceResult, len(sources))
	var running sync.WaitGroup
	for n, source := range sources {
		running.Go(func() { results[n] = s.try(ctx, source) })
	}
	running.Wait()
	return results
}

func (s Sources) env(key string) string { return fetch.Env(s.Environ, key) }

// indexVariables name package indexes beside pip's: each holds one or more addresses, perhaps as NAME=ADDRESS.
var indexVariables = []string{"PIP_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL"}

const npmSet = "npm's registry"

// Find returns the sources, each once.
func (s Sources) Find() ([]Source, error) {
	if s.isOn("PIP_NO_INDEX") {
		return nil, nil // packages lie in folders, then
	}
	index, err := s.Index()
	if err != nil {
		return nil, err
	}
	found := []Source{{index, "the Python package index"}}
	for _, variable := range indexVariables {
		for _, address := range strings.Fields(s.env(variable)) {
			found = append(found, Source{dropName(address), variable})
		}
	}
	if address := s.npmRegistry(); address != "" {
		found = append(found, Source{address, npmSet})
	}
	return unique(found), nil
}

func (s Sources) isOn(key string) bool {
	return slices.Contains([]string{"1", "true", "yes", "on", "y", "t"}, strings.ToLower(s.env(key)))
}

func unique(sources []Source) []Source {
	var found []Source
	for _, source := range sources {
		same := func(other Source) bool {
			return strings.TrimRight(other.URL, "/") == strings.TrimRight(source.URL, "/")
		}
		if !slices.ContainsFunc(found, same) {
			found = append(found, source)
		}
	}
	return found
}

// dropName turns NAME=ADDRESS, as uv takes it, into the address.
func dropName(text string) string {
	if name, address, named := strings.Cut(text, "="); named && !strings.ContainsAny(name, ":/?") {
		return address
	}
	return text
}

func (s Sources) npmRegistry() string {
	for _, key := range []string{"npm_config_registry", "NPM_CONFIG_REGISTRY"} {
		if address := s.env(key); address != "" {
			return address
		}
	}
	home := s.env("HOME")
	if home == "" {
		home = "/root"
	}
	return iniValue(s.read(path.Join(home, ".npmrc")), "registry")
}

func (s Sources) read(file string) string {
	data, _ := s.Files.Read(file)
	return string(data)
}

// iniValue returns the last value of a key in a settings file, in whatever section.
func iniValue(text, key string) string {
	value := ""
	for line := range strings.Lines(text) {
		name, rest, isPair := strings.Cut(line, "=")
		if isPair && strings.ReplaceAll(strings.ToLower(strings.TrimSpace(name)), "_", "-") == key {
			value = strings.Trim(strings.TrimSpace(rest), `"'`)
		}
	}
	return value
}

// try asks a source for the page of one package, without taking the page itself.
func (s Sources) try(ctx context.Context, source Source) SourceResult {
	result := SourceResult{Source: source}
	address, err := url.Parse(source.URL)
	if err != nil || address.Scheme != "http" && address.Scheme != "https" || address.Host == "" {
		result.Untried = source.Set + " is no web address"
		return result
	}
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	proxy, err := fetch.ProxyFor(s.Environ, address)
	if err != nil {
		result.Host, result.Err = address.Host, err
		return result
	}
	hop := address
	if proxy != nil {
		hop = proxy
	}
	result.Host = hop.Hostname()
	if result.ResolveErr = resolve(ctx, result.Host); result.ResolveErr != nil {
		result.Err = result.ResolveErr
		return result
	}
	s.ask(ctx, s.page(source, address), proxy, &result)
	return result
}

// page is what a source is asked for. An index must have the package; npm's registry answers at its root.
func (s Sources) page(source Source, address *url.URL) *url.URL {
	if source.Set == npmSet {
		return address
	}
	name := s.Package
	if name == "" {
		name = "uv"
	}
	return address.JoinPath(name, "/")
}

func resolve(ctx context.Context, name string) error {
	_, err := net.DefaultResolver.LookupHost(ctx, name)
	return err
}

func (s Sources) ask(ctx context.Context, address, proxy *url.URL, result *SourceResult) {
	transport := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: fetch.TLS(s.Files, s.Environ, address.Hostname()), DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, address.String(), nil)
	if err != nil {
		result.Err = err
		return
	}
	request.Header.Set("User-Agent", "tljh-install")
	begin := time.Now()
	response, err := (&http.Client{Transport: transport}).Do(request)
	result.Took = time.Since(begin)
	if err != nil {
		result.Err = fetch.Reason(err)
		return
	}
	_ = response.Body.Close()
	result.Status = response.StatusCode
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		result.Date = date
	}
}

const noReachHint = "check the network, and the settings of a proxy (https_proxy, or network.https_proxy of the config) if your network has one; a package mirror is named by PIP_INDEX_URL and UV_DEFAULT_INDEX"

func checkDNS(ctx context.Context, env *Env) Finding {
	var names []string
	for _, source := range env.sources(ctx) {
		if source.ResolveErr != nil {
			return Fail("check the network and the name servers in /etc/resolv.conf: getent hosts "+source.Host,
				"the name %s, where packages come from, does not resolve: %s", source.Host, dnsReason(source.ResolveErr))
		}
		if source.Host != "" && !slices.Contains(names, source.Host) {
			names = append(names, source.Host)
		}
	}
	if len(names) == 0 {
		return Skip("nothing has to be fetched")
	}
	return Fine("%s", strings.Join(names, ", "))
}

func dnsReason(err error) string {
	var dns *net.DNSError
	if !errors.As(err, &dns) {
		return err.Error()
	}
	switch {
	case dns.IsNotFound:
		return "no such name"
	case dns.IsTimeout:
		return "the name server does not answer"
	}
	if _, why, found := strings.Cut(dns.Err, ": connect: "); found {
		return "the name server can't be reached: " + why
	}
	return dns.Err
}

func checkSources(ctx context.Context, env *Env) Finding {
	worst := Skip("nothing has to be fetched")
	for _, source := range env.sources(ctx) {
		finding := judge(source)
		if worst.Severity == Skipped || rank[finding.Severity] > rank[worst.Severity] {
			worst = finding
		} else if finding.Severity == OK && worst.Severity == OK {
			worst.Message += ", " + finding.Message
		}
	}
	return worst
}

var rank = map[Severity]int{Skipped: 0, OK: 1, Warning: 2, Failed: 3}

func judge(source SourceResult) Finding {
	name := source.name()
	switch {
	case source.Untried != "":
		return Warn("", "%s: it was not tried", source.Untried)
	case source.ResolveErr != nil:
		return Skip("names do not resolve: see dns")
	case source.Err != nil:
		return unreachable(source)
	case source.Status == http.StatusProxyAuthRequired:
		return Fail("put the name and password for the proxy into https_proxy", "the proxy %s wants a password", source.Host)
	case source.Status == http.StatusUnauthorized || source.Status == http.StatusForbidden:
		return Warn("if fetching fails, check the name and password in the source's address", "%s lets only some in (%d)", name, source.Status)
	case source.Status >= 500:
		return Fail("wait a while and run the same command again", "%s has trouble (it answers %d)", name, source.Status)
	case source.Status >= 400:
		return Warn("check the address of "+source.Set, "%s does not know the package that is fetched first (it answers %d)", name, source.Status)
	}
	return Fine("%s answers after %.1f s", name, source.Took.Seconds())
}

func (r SourceResult) name() string {
	address, err := url.Parse(r.URL)
	if err != nil {
		return r.Set
	}
	return fmt.Sprintf("%s (%s)", r.Set, address.Hostname())
}

func unreachable(source SourceResult) Finding {
	var (
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		wrongName x509.HostnameError
	)
	err := source.Err
	switch {
	case errors.As(err, &authority):
		return Fail("if your network has certificates of its own, name their file in SSL_CERT_FILE and run the same command again (sudo -E keeps it)",
			"%s shows a certificate that this machine does not trust", source.name())
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return Fail("check the clock: date", "%s shows a certificate that is not valid at the time of this machine's clock", source.name())
	case errors.As(err, &wrongName):
		return Fail(noReachHint, "something else answers in the place of %s", source.name())
	case errors.Is(err, context.DeadlineExceeded):
		return Fail(noReachHint, "%s does not answer within %s", source.name(), reachLimit)
	}
	return Fail(noReachHint, "%s can't be reached: %v", source.name(), err)
}
