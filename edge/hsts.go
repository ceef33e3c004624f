package edge

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mholt/acmez/v3"
)

// HSTS says whether browsers are told to come back over HTTPS only.
type HSTS struct {
	Off   bool   // they are told to forget it
	State string // the folder that keeps since when a name has a certificate that browsers trust; "" keeps it until the edge ends

	roots *x509.CertPool   // whom browsers trust; the system's
	now   func() time.Time // time.Now
}

const (
	hstsHeader = "Strict-Transport-Security"
	hstsFile   = "hsts.json"
	hstsAfter  = 24 * time.Hour // a certificate that works for a day is no trial
	hstsFor    = 30 * 24 * time.Hour
	hstsRecall = time.Hour // a certificate is judged again after it: roots of trust change, too
)

// hsts decides which answers say that a name is to be visited over HTTPS only. A browser that has read it lets nobody pass a warning. So it is said only once a
// certificate that browsers trust has been in use for a day.
type hsts struct {
	HSTS
	log *log.Logger

	lock   sync.Mutex
	since  map[string]time.Time // by name, as the certificate says it
	judged map[string]judgement
}

// judgement is what is known of the certificate that is in use for a name.
type judgement struct {
	leaf    [32]byte
	trusted bool
	until   time.Time
	at      time.Time
}

func newHSTS(options HSTS, log *log.Logger) *hsts {
	h := &hsts{HSTS: options, log: log, since: map[string]time.Time{}, judged: map[string]judgement{}}
	if h.now == nil {
		h.now = time.Now
	}
	if h.State == "" {
		return h
	}
	data, err := readSmall(filepath.Join(h.State, hstsFile))
	if err == nil {
		err = json.Unmarshal(data, &h.since)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Printf("%s is sent only after another day: %v", hstsHeader, err)
	}
	if h.since == nil {
		h.since = map[string]time.Time{}
	}
	return h
}

// saw notes which certificate a visitor was shown.
func (h *hsts) saw(hello *tls.ClientHelloInfo, certificate *tls.Certificate) {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if name == "" || slices.Contains(hello.SupportedProtos, acmez.ACMETLS1Protocol) || len(certificate.Certificate) == 0 {
		return
	}
	leaf := certificate.Leaf
	if leaf == nil {
		var err error
		if leaf, err = x509.ParseCertificate(certificate.Certificate[0]); err != nil {
			return
		}
	}
	key := nameIn(leaf, name)
	if key == "" {
		return // it is shown to whoever asks for a name that this server does not have
	}
	h.lock.Lock()
	defer h.lock.Unlock()
	now, digest := h.now(), sha256.Sum256(leaf.Raw)
	known := h.judged[key]
	if known.leaf == digest && now.Sub(known.at) < hstsRecall {
		return
	}
	trusted := h.trusts(certificate, leaf, name, now)
	h.judged[key] = judgement{digest, trusted, leaf.NotAfter, now}
	_, counting := h.since[key]
	switch {
	case trusted && !counting:
		h.since[key] = now
	case !trusted && counting:
		delete(h.since, key)
	default:
		return
	}
	if err := h.save(); err != nil {
		h.log.Printf("cannot keep since when %s has a certificate that browsers trust: %v", key, err)
	}
}

// nameIn returns the name by which a certificate is good for a host, or "".
func nameIn(leaf *x509.Certificate, host string) string {
	_, parent, _ := strings.Cut(host, ".")
	for _, name := range leaf.DNSNames {
		if name = strings.ToLower(name); name == host || name == "*."+parent {
			return name
		}
	}
	return ""
}

func (h *hsts) trusts(certificate *tls.Certificate, leaf *x509.Certificate, name string, now time.Time) bool {
	between := x509.NewCertPool()
	for _, raw := range certificate.Certificate[1:] {
		if parsed, err := x509.ParseCertificate(raw); err == nil {
			between.AddCert(parsed)
		}
	}
	_, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: h.roots, Intermediates: between, CurrentTime: now})
	return err == nil
}

// words returns the header's value for a request, or "".
func (h *hsts) words(r *http.Request) string {
	if r.TLS == nil || h == nil {
		return ""
	}
	if h.Off {
		return "max-age=0"
	}
	name := strings.ToLower(strings.TrimSuffix(r.TLS.ServerName, "."))
	if name == "" || name != hostOf(r) {
		return ""
	}
	_, parent, _ := strings.Cut(name, ".")
	h.lock.Lock()
	defer h.lock.Unlock()
	now := h.now()
	for _, key := range []string{name, "*." + parent} {
		since, counting := h.since[key]
		if known := h.judged[key]; counting && known.trusted && now.Before(known.until) && now.Sub(since) >= hstsAfter {
			return fmt.Sprintf("max-age=%d", int(hstsFor.Seconds()))
		}
	}
	return ""
}

func (h *hsts) save() error {
	if h.State == "" {
		return nil
	}
	data, err := json.Marshal(h.since)
	if err != nil {
		return err
	}
	draft, err := os.CreateTemp(h.State, "."+hstsFile+"-*")
	if err != nil {
		return err
	}
	err = errors.Join(write(draft, bytes.TrimSpace(data)), draft.Close())
	if err == nil {
		err = os.Rename(draft.Name(), filepath.Join(h.State, hstsFile))
	}
	if err != nil {
		_ = os.Remove(draft.Name())
	}
	return err
}
