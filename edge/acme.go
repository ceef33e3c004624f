package edge

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"go.uber.org/zap"

	"tljh/internal/layout"
)

// ACME says from which authority the door gets its certificates.
type ACME struct {
	Email     string
	Domains   []string
	Staging   bool   // Let's Encrypt's authority for trying out, whose certificates no browser trusts
	Directory string // address of another authority's directory; Let's Encrypt
	CA        string // a file of certificates by which to know that authority, beside the system's
	State     string // the folder in which account, keys and certificates are kept

	renewCheck time.Duration // how often it is looked whether something is due; 10 min
}

// directory is the address of the authority.
func (a ACME) directory() string {
	switch {
	case a.Directory != "":
		return a.Directory
	case a.Staging:
		return certmagic.LetsEncryptStagingCA
	}
	return certmagic.LetsEncryptProductionCA
}

// acmeKeeper keeps certificates that an authority gives and renews.
type acmeKeeper struct {
	options ACME
	log     *log.Logger
	cache   *certmagic.Cache
	config  *certmagic.Config
	issuer  *certmagic.ACMEIssuer

	demand   *demand           // nil where single-user servers have no names of their own
	demanded *certmagic.Config // as config, for those names

	lock      sync.Mutex
	inherited map[string]*tls.Certificate // certificates of before, of domains that have none yet
	there     map[string]bool             // domains that have a certificate
	problems  map[string]string           // why others have none
	failures  map[string]map[string]problem
	raw       map[string]string // the last error of a domain, as it came
}

func newACMEKeeper(options ACME, log *log.Logger) *acmeKeeper {
	options.Domains = tidyDomains(options.Domains)
	return &acmeKeeper{
		options: options, log: log,
		inherited: map[string]*tls.Certificate{}, there: map[string]bool{}, problems: map[string]string{}, failures: map[string]map[string]problem{}, raw: map[string]string{},
	}
}

func tidyDomains(domains []string) []string {
	tidy := []string{}
	for _, domain := range domains {
		tidy = append(tidy, strings.TrimSuffix(strings.ToLower(strings.TrimSpace(domain)), "."))
	}
	return tidy
}

// portsOf returns where the doors listen.
func portsOf(doors []Door) (host string, http, https int) {
	for _, door := range doors {
		if door.Users {
			continue
		}
		if door.Scheme == schemeHTTPS {
			https = portOf(door.Addr())
			continue
		}
		http = portOf(door.Addr())
		if name, _, err := net.SplitHostPort(door.Addr().String()); err == nil && !net.ParseIP(name).IsUnspecified() {
			host = name
		}
	}
	return host, http, https
}

// keep gets certificates where there are none, and renews those that are.
func (a *acmeKeeper) keep(ctx context.Context, doors []Door) func() {
	a.readInherited()
	if err := a.prepare(doors); err != nil {
		a.lock.Lock()
		defer a.lock.Unlock()
		for _, domain := range a.options.Domains {
			a.problems[domain] = err.Error()
		}
		a.log.Printf("no certificates are available: %v", err)
		return func() {}
	}
	_ = a.config.ManageAsync(ctx, a.options.Domains) // never fails by itself: what goes wrong comes as an event
	context.AfterFunc(ctx, a.cache.Stop)
	return func() { certmagic.CleanUpOwnLocks(context.WithoutCancel(ctx), a.zap()) }
}

func (a *acmeKeeper) prepare(doors []Door) error {
	if err := checkFolder(a.options.State); err != nil {
		return err
	}
	trusted, err := a.trusted()
	if err != nil {
		return err
	}
	storage := &certmagic.FileStorage{Path: a.options.State}
	a.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certificate certmagic.Certificate) (*certmagic.Config, error) {
			if len(certificate.Names) > 0 && a.demand.covers(certificate.Names[0]) {
				return a.demanded, nil
			}
			return a.config, nil
		},
		RenewCheckInterval: a.options.renewCheck,
		Logger:             a.zap(),
	})
	settings := certmagic.Config{
		Storage: storage, Logger: a.zap(), OnEvent: a.event, ShouldEmitFunc: func(name string) bool { return slices.Contains(events, name) },
		// Somebody who comes by another name, or by the address, sees in the browser which name this server has.
		DefaultServerName: a.options.Domains[0], FallbackServerName: a.options.Domains[0],
		OCSP: certmagic.OCSPConfig{DisableStapling: true},
	}
	a.config = certmagic.New(a.cache, settings)
	host, httpPort, httpsPort := portsOf(doors)
	a.issuer = certmagic.NewACMEIssuer(a.config, certmagic.ACMEIssuer{
		CA: a.options.directory(), Email: a.options.Email, Agreed: true, TrustedRoots: trusted, Logger: a.zap(),
		// It finds these ports taken, and leaves the answers to whoever has them: this door.
		ListenHost: host, AltHTTPPort: httpPort, AltTLSALPNPort: httpsPort,
	})
	a.config.Issuers = []certmagic.Issuer{a.issuer}
	a.onDemand(settings)
	return nil
}

// checkFolder makes sure that what comes can be kept: an authority gives the same certificate only a few times a week.
func checkFolder(folder string) error {
	probe := filepath.Join(folder, ".probe")
	err := os.WriteFile(probe, []byte("x"), 0o600)
	if err == nil {
		err = os.Remove(probe)
	}
	if err != nil {
		return fmt.Errorf("cannot keep certificates in %s: %w", folder, err)
	}
	return nil
}

// trusted returns what to know the authority by, or nil for what the system trusts.
func (a *acmeKeeper) trusted() (*x509.CertPool, error) {
	if a.options.CA == "" {
		return nil, nil
	}
	data, err := readSmall(a.options.CA)
	if err != nil {
		return nil, fmt.Errorf("cannot read the authority's certificates (https.letsencrypt.ca): %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(data) {
		return nil, errors.New("there is no certificate in the file that https.letsencrypt.ca names")
	}
	return pool, nil
}

// events are those of certmagic's that event deals with.
var events = []string{"cert_obtaining", "cert_obtained", "cert_failed", "cached_managed_cert"}

func (a *acmeKeeper) event(_ context.Context, name string, data map[string]any) error {
	domain := subject(data)
	renewal, _ := data["renewal"].(bool)
	until := a.until(domain)
	a.lock.Lock()
	defer a.lock.Unlock()
	switch name {
	case "cert_obtaining":
		delete(a.failures, domain)
		a.log.Printf("asking %s for a certificate for %s", a.host(), domain)
	case "cert_obtained":
		if renewal {
			a.log.Printf("the certificate for %s is renewed", domain)
		}
	case "cached_managed_cert":
		a.has(domain, until)
	case "cert_failed":
		err, _ := data["error"].(error)
		a.failed(domain, renewal, until, err)
	}
	return nil
}

// subject returns the domain that an event is about. There is one to a certificate.
func subject(data map[string]any) string {
	if names, _ := data["sans"].([]string); len(names) > 0 {
		return names[0]
	}
	domain, _ := data["identifier"].(string)
	return domain
}

// until returns when a domain's certificate ends, in words; nothing when there is none.
func (a *acmeKeeper) until(domain string) string {
	for _, certificate := range a.cache.AllMatchingCertificates(domain) {
		return day(certificate.Leaf.NotAfter)
	}
	return ""
}

func (a *acmeKeeper) has(domain, until string) {
	a.there[domain] = true
	a.disinherit(domain)
	delete(a.problems, domain)
	a.log.Printf("HTTPS has a certificate for %s, valid until %s", domain, until)
}

func (a *acmeKeeper) failed(domain string, renewal bool, until string, err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	words := a.words(domain, err)
	a.raw[domain] = err.Error()
	if renewal {
		a.log.Printf("cannot renew the certificate for %s, which is valid until %s: %s. It is tried again", domain, until, words)
		return
	}
	a.problems[domain] = words
	a.log.Printf("no certificate for %s: %s. It is tried again, after a longer time each time", domain, words)
}

// host names the authority.
func (a *acmeKeeper) host() string {
	address, err := url.Parse(a.options.directory())
	if err != nil || address.Host == "" {
		return a.options.directory()
	}
	return address.Host
}

func (a *acmeKeeper) zap() *zap.Logger { return zap.New(&journal{take: a.told}) }

func (a *acmeKeeper) show(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if certificate := a.showInherited(hello); certificate != nil {
		return certificate, nil
	}
	if a.config == nil {
		return nil, errNoCertificate
	}
	if a.demand.covers(hello.ServerName) {
		return a.showDemanded(hello)
	}
	return a.config.GetCertificate(hello)
}

// name returns the domain that was asked for, or the first that has a certificate: there is none for an address or another name.
func (a *acmeKeeper) name(host string) string {
	a.lock.Lock()
	defer a.lock.Unlock()
	return a.served(host)
}

func (a *acmeKeeper) served(host string) string {
	if a.demand.covers(host) {
		return host // its certificate is fetched when it is needed
	}
	has := func(domain string) bool { return a.there[domain] || a.inherited[domain] != nil }
	if has(host) {
		return host
	}
	for _, domain := range a.options.Domains {
		if has(domain) {
			return domain
		}
	}
	return ""
}

func (a *acmeKeeper) missing() trouble {
	t := trouble{
		Status: http.StatusServiceUnavailable, Title: "This server waits for its certificate", Unit: layout.EdgeUnit, Retry: 10,
		Text: "Without it there is no safe way in: a password would be readable on its way. It has been asked for, which usually takes less than a minute.",
	}
	a.lock.Lock()
	defer a.lock.Unlock()
	for _, domain := range a.options.Domains {
		if words := a.problems[domain]; words != "" {
			t.Text = "Without it there is no safe way in: a password would be readable on its way. The last try for " + domain + " failed: " + words + ". It is tried again automatically."
			return t
		}
	}
	return t
}

func (a *acmeKeeper) solve(w http.ResponseWriter, r *http.Request) bool {
	return a.issuer != nil && a.issuer.HandleHTTPChallenge(w, r)
}

func (a *acmeKeeper) again() {}

// protocols lets the authority ask over TLS, too.
func (a *acmeKeeper) protocols() []string { return []string{acmez.ACMETLS1Protocol} }
