// Package authority is a certificate authority for tests: a real ACME server that checks names as Let's Encrypt does, with a name server of its own.
// It trusts no one and nobody should trust it; it is part of no installation.
package authority

import (
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

// Options say what the authority sees of the world.
type Options struct {
	HTTP, HTTPS int               // the ports it looks at
	Names       map[string]string // the addresses of names; there are no others
	Validity    uint64            // of its certificates, in seconds; 90 days
	Listener    net.Listener      // where it is asked; a free port of loopback
}

// Server is a running authority.
type Server struct {
	Directory string         // its address
	Own       []byte         // the certificate by which to know it when talking to it, as PEM
	Roots     *x509.CertPool // what to know the certificates by that it gives

	server *httptest.Server
	store  *db.MemoryStore
	refuse atomic.Pointer[string]
	hold   sync.RWMutex
}

// hurry tells what makes certificates, by the only way there is, neither to sleep nor to refuse requests at random. It holds for the
// whole process, so that tests with an authority can run side by side.
var hurry = sync.OnceFunc(func() {
	_ = os.Setenv("PEBBLE_VA_NOSLEEP", "1")
	_ = os.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
})

// Start starts an authority that ends with the test.
func Start(t testing.TB, options Options) *Server {
	t.Helper()
	hurry()
	quiet := log.New(io.Discard, "", 0)
	s := &Server{store: db.NewMemoryStore(), Roots: x509.NewCertPool()}
	maker := ca.New(quiet, s.store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {Description: "test", ValidityPeriod: options.Validity}})
	checker := va.New(quiet, options.HTTP, options.HTTPS, true, nameServer(t, options.Names), s.store)
	front := wfe.New(quiet, s.store, checker, maker, []string{"ca.test"}, true, false, 1, 1)
	s.server = httptest.NewUnstartedServer(s.front(front.Handler()))
	if options.Listener != nil {
		_ = s.server.Listener.Close()
		s.server.Listener = options.Listener
	}
	s.server.Config.ErrorLog = quiet
	s.server.StartTLS()
	t.Cleanup(s.Close)
	root, err := x509.ParseCertificate(maker.GetRootCert(0).DER)
	if err != nil {
		t.Fatal(err)
	}
	s.Roots.AddCert(root)
	s.Directory = s.server.URL + wfe.DirectoryPath
	s.Own = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.server.Certificate().Raw})
	return s
}

func (s *Server) front(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.hold.RLock()
		defer s.hold.RUnlock()
		if problem := s.refuse.Load(); problem != nil && strings.Contains(r.URL.Path, "order") {
			w.Header().Set("Content-Type", "application/problem+json")
			w.Header().Set("Replay-Nonce", "unused")
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, *problem)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Hold makes everybody wait until release is called.
func (s *Server) Hold() (release func()) {
	s.hold.Lock()
	return s.hold.Unlock
}

// Refuse answers every order with a problem, which is JSON.
func (s *Server) Refuse(problem string) { s.refuse.Store(&problem) }

// Block makes it give no certificates for a name.
func (s *Server) Block(name string) error { return s.store.AddBlockedDomain(name) }

// Close makes it answer no more.
func (s *Server) Close() { s.server.Close() }

// nameServer tells the addresses of names and no others.
func nameServer(t testing.TB, names map[string]string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{Listener: listener, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, question *dns.Msg) {
		answer := new(dns.Msg).SetReply(question)
		name := question.Question[0].Name
		address, known := names[strings.TrimSuffix(name, ".")]
		if !known {
			answer.Rcode = dns.RcodeNameError
		} else if question.Question[0].Qtype == dns.TypeA {
			answer.Answer = append(answer.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.ParseIP(address),
			})
		}
		_ = w.WriteMsg(answer)
	})}
	ended := make(chan struct{})
	go func() {
		_ = server.ActivateAndServe()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-ended
	})
	return listener.Addr().String()
}
