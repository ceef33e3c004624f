package edge

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/mholt/acmez/v3"

	"tljh/internal/keypair"
)

// traefikStore is what Traefik keeps of an authority: since its second version for each that it knows, before that for the only one.
type traefikStore struct{ Certificates []traefikCertificate }

type traefikCertificate struct{ Certificate, Key []byte }

// inheritedFolder is where certificates of before lie, below the folder of certificates.
const inheritedFolder = "inherited"

// inheritedFile is the path of a domain's, chain and key, below the folder of certificates.
func inheritedFile(domain string) string { return filepath.Join(inheritedFolder, domain+".pem") }

// Inherit takes certificates out of what Traefik has kept. The door serves domains with them until it has got its own; the files, by their
// paths below its folder of certificates, are for it alone to read. Certificates that browsers would not take today are passed over.
func Inherit(store []byte, domains []string, now time.Time) (files map[string][]byte, err error) {
	all, err := traefikCertificates(store)
	if err != nil {
		return nil, err
	}
	files = map[string][]byte{}
	for _, domain := range tidyDomains(domains) {
		for _, c := range all {
			if pair, err := keypair.Read(c.Certificate, c.Key); err == nil && serves(pair, domain, now) {
				files[inheritedFile(domain)] = slices.Concat(c.Certificate, []byte("\n"), c.Key)
				break
			}
		}
	}
	return files, nil
}

func traefikCertificates(store []byte) ([]traefikCertificate, error) {
	var single traefikStore
	several := map[string]traefikStore{}
	if err := json.Unmarshal(store, &single); err != nil {
		return nil, fmt.Errorf("cannot read the certificates of Traefik: %w", err)
	}
	all := single.Certificates
	if len(all) > 0 || json.Unmarshal(store, &several) != nil {
		return all, nil
	}
	for _, one := range several {
		all = append(all, one.Certificates...)
	}
	return all, nil
}

// serves tells whether browsers would take a certificate for a domain now.
func serves(pair *tls.Certificate, domain string, now time.Time) bool {
	return now.After(pair.Leaf.NotBefore) && now.Before(pair.Leaf.NotAfter) && pair.Leaf.VerifyHostname(domain) == nil
}

// readInherited reads the certificates of before.
func (a *acmeKeeper) readInherited() {
	a.lock.Lock()
	defer a.lock.Unlock()
	for _, domain := range a.options.Domains {
		pair, err := readPair(filepath.Join(a.options.State, inheritedFile(domain)))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			a.log.Printf("the certificate for %s of before is not used: %v", domain, err)
		case serves(pair, domain, time.Now()):
			a.inherited[domain] = pair
			a.log.Printf("HTTPS has a certificate for %s from before, valid until %s, and gets one of its own", domain, day(pair.Leaf.NotAfter))
		}
	}
}

// showInherited returns the certificate of before as long as there is no other for the domain.
func (a *acmeKeeper) showInherited(hello *tls.ClientHelloInfo) *tls.Certificate {
	if slices.Contains(hello.SupportedProtos, acmez.ACMETLS1Protocol) {
		return nil // the authority asks
	}
	a.lock.Lock()
	defer a.lock.Unlock()
	name := a.served(hello.ServerName)
	if a.there[name] {
		return nil
	}
	return a.inherited[name]
}

// disinherit forgets what is no longer needed.
func (a *acmeKeeper) disinherit(domain string) {
	delete(a.inherited, domain)
	if err := os.Remove(filepath.Join(a.options.State, inheritedFile(domain))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.log.Printf("cannot remove the certificate for %s of before: %v", domain, err)
	}
}
