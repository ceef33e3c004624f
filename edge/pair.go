package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tljh/internal/keypair"
	"tljh/internal/layout"
)

// pair keeps the certificate that an admin has brought, from a file that holds its chain and its key.
type pair struct {
	file string
	look time.Duration
	log  *log.Logger
	now  func() time.Time

	current atomic.Pointer[tls.Certificate]
	lock    sync.Mutex
	seen    os.FileInfo // of the file as it was read last
	failed  string      // why that did not help
	warned  time.Time   // when a warning about the end of its time was written
}

func newPair(https HTTPS, log *log.Logger) *pair {
	p := &pair{file: https.Pair, look: https.Look, log: log, now: time.Now}
	if p.look <= 0 {
		p.look = 10 * time.Second
	}
	return p
}

func (p *pair) keep(ctx context.Context, _ []Door) func() {
	p.again()
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(p.look)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				p.check()
			}
		}
	}()
	return func() { <-done }
}

// check reads the file if it is another one than before.
func (p *pair) check() {
	info, err := os.Stat(p.file)
	p.lock.Lock()
	same := err != nil && p.failed != "" ||
		err == nil && p.seen != nil && os.SameFile(info, p.seen) && info.ModTime().Equal(p.seen.ModTime()) && info.Size() == p.seen.Size()
	p.lock.Unlock()
	if !same {
		p.again()
		return
	}
	p.warn()
}

// again reads the file. What is bad replaces nothing.
func (p *pair) again() {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.seen, _ = os.Stat(p.file)
	pair, err := readPair(p.file)
	if err != nil {
		p.fail(err)
		return
	}
	p.failed = ""
	if old := p.current.Swap(pair); old == nil || !bytes.Equal(old.Leaf.Raw, pair.Leaf.Raw) {
		p.log.Printf("HTTPS has a certificate for %s, valid until %s", namesOf(pair.Leaf), day(pair.Leaf.NotAfter))
		p.warned = time.Time{}
	}
	p.warnLocked()
}

func (p *pair) fail(err error) {
	if p.failed == err.Error() {
		return
	}
	p.failed = err.Error()
	if p.current.Load() != nil {
		p.log.Printf("the new certificate cannot be used, HTTPS goes on with the one before: %v", err)
		return
	}
	p.log.Printf("there is no certificate, so no HTTPS, and HTTP says so to visitors: %v", err)
}

const (
	soonOver  = 14 * 24 * time.Hour
	warnEvery = 24 * time.Hour
)

func (p *pair) warn() {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.warnLocked()
}

// warnLocked tells once a day when the certificate is not or soon no longer valid.
func (p *pair) warnLocked() {
	certificate, now := p.current.Load(), p.now()
	if certificate == nil || now.Sub(p.warned) < warnEvery {
		return
	}
	words := ""
	switch leaf := certificate.Leaf; {
	case now.After(leaf.NotAfter):
		words = "the certificate for HTTPS was valid until " + day(leaf.NotAfter) + ": browsers warn every visitor. Replace it"
	case now.Before(leaf.NotBefore):
		words = "the certificate for HTTPS is valid from " + day(leaf.NotBefore) + " only: browsers warn every visitor. Is this machine's clock right?"
	case leaf.NotAfter.Sub(now) < soonOver:
		words = "the certificate for HTTPS is valid until " + day(leaf.NotAfter) + " only. Replace it before that"
	}
	if words != "" {
		p.warned = now
		p.log.Print(words)
	}
}

func (p *pair) show(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if certificate := p.current.Load(); certificate != nil {
		return certificate, nil
	}
	return nil, errNoCertificate
}

// name keeps the name that was asked for: only the admin knows which ones the certificate is meant for.
func (p *pair) name(host string) string {
	if p.current.Load() == nil {
		return ""
	}
	return host
}

func (p *pair) missing() trouble {
	return trouble{
		Status: http.StatusServiceUnavailable, Title: "This server's certificate cannot be used", Unit: layout.EdgeUnit, Retry: 10,
		Text: "So there is no safe way to it: a password would be readable on its way. The admin of this server has to look at the settings https.tls.cert and https.tls.key.",
	}
}

func (p *pair) solve(http.ResponseWriter, *http.Request) bool { return false }

func (p *pair) protocols() []string { return nil }

func day(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") }

func namesOf(certificate *x509.Certificate) string {
	names := append([]string{}, certificate.DNSNames...)
	for _, ip := range certificate.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "no name at all (browsers take none without a subject alternative name)"
	}
	return strings.Join(names, ", ")
}

func readPair(file string) (*tls.Certificate, error) {
	data, err := readSmall(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read the certificate and its key: %w", err)
	}
	return keypair.Read(data, data)
}
