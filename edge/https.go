package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"tljh/internal/layout"
)

// HTTPS says where the certificates come from with which the door serves HTTPS: Pair or ACME.
type HTTPS struct {
	Pair string // a file made by Provide; it is read again when it changes
	ACME *ACME
	HSTS HSTS

	Look time.Duration // how often it is looked whether Pair has changed; 10 s
}

// keeper has the certificates that the door shows.
type keeper interface {
	// keep looks after the certificates until ctx ends. It returns when all that is there already has been read.
	keep(ctx context.Context, doors []Door) (wait func())
	// show returns the certificate for a handshake.
	show(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// name returns the name by which someone who asked for host can be served, or nothing when there is no certificate.
	name(host string) string
	// missing says why there is none.
	missing() trouble
	// solve answers a request of an authority's, and tells whether it was one.
	solve(http.ResponseWriter, *http.Request) bool
	// again reads again what may have changed.
	again()
	// protocols are those that a handshake may agree on beside those of HTTP.
	protocols() []string
}

func (s *Server) newKeeper() keeper {
	https := s.options.HTTPS
	switch {
	case https == nil:
		return nil
	case https.ACME != nil:
		keeper := newACMEKeeper(*https.ACME, s.log)
		if s.options.Origins.UserDomain != "" {
			keeper.demand = newDemand(s.options.Origins, s.options.Hub, s.options.BaseURL)
		}
		return keeper
	}
	return newPair(*https, s.log)
}

// portAway is told when HTTPS is set up and its port was not passed to this process.
var portAway = trouble{
	Status: http.StatusServiceUnavailable, Title: "HTTPS is not open yet", Unit: layout.EdgeUnit, Retry: 10,
	Text: "This server is set up for HTTPS, but its port for that is not open. Its admin can open it with: systemctl restart " + layout.EdgeSocket,
}

// securePort returns the port to which visitors of HTTP are sent, or 0.
func securePort(doors []Door) int {
	for _, door := range doors {
		if door.Scheme == schemeHTTPS && !door.Users {
			return portOf(door.Addr())
		}
	}
	return 0
}

func portOf(address net.Addr) int {
	parsed, err := netip.ParseAddrPort(address.String())
	if err != nil {
		return 0
	}
	return int(parsed.Port())
}

// tlsConfig is Go's choice of versions (1.2 and later) and ciphers, with the keeper's certificates.
func (s *Server) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: s.show,
		NextProtos:     append([]string{"h2", "http/1.1"}, s.keeper.protocols()...),
	}
}

func (s *Server) show(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	certificate, err := s.keeper.show(hello)
	if err == nil && certificate != nil {
		s.hsts.saw(hello, certificate)
	}
	return certificate, err
}

var errNoCertificate = errors.New("there is no certificate")

// toHTTPS is what HTTP serves where there is HTTPS: the way there. Nothing goes to the hub from here, with or without a certificate: a password that
// is sent in the clear is no password.
func (s *Server) toHTTPS(port int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.keeper.solve(w, r) {
			return
		}
		if visitFrom(r).scheme == schemeHTTPS {
			s.handler.ServeHTTP(w, r) // a trusted proxy has it, or the public origin is behind one
			return
		}
		name, port := s.keeper.name(hostOf(r)), port
		if p := s.options.Proxies; p.isPublic(r) {
			name, port = strings.ToLower(p.Public.Hostname()), p.publicPort()
		}
		switch {
		case port == 0:
			s.tell(w, r, portAway)
		case name == "":
			s.tell(w, r, s.keeper.missing())
		default:
			redirect(w, r, name, port)
		}
	}
}

// redirect sends a visitor on. It says "for now", where it can: a browser that keeps a redirect for good would go on looking for HTTPS after it
// was switched off. For what is more than a question there is only 308, which keeps method and body.
func redirect(w http.ResponseWriter, r *http.Request, name string, port int) {
	if strings.Contains(name, ":") {
		name = "[" + name + "]"
	}
	if port != 443 {
		name += ":" + strconv.Itoa(port)
	}
	target := r.URL.RequestURI()
	if !strings.HasPrefix(target, "/") {
		target = "/"
	}
	status := http.StatusPermanentRedirect
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		status = http.StatusFound
	}
	header := w.Header()
	header.Set("Location", "https://"+name+target)
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte("This server speaks HTTPS: https://" + name + "\n"))
	}
}

// hostOf returns the name or address that a client asked for, without port and brackets, in small letters. A client that names none, or what can be
// no name, means the address that it has come to.
func hostOf(r *http.Request) string {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	if address, err := netip.ParseAddr(host); err == nil {
		return address.WithZone("").String()
	}
	if isName(host) {
		return host
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		if address, err := netip.ParseAddrPort(local.String()); err == nil {
			return address.Addr().Unmap().WithZone("").String()
		}
	}
	return ""
}

func isName(host string) bool {
	strange := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
	}
	return host != "" && len(host) <= 253 && !strings.ContainsFunc(host, strange)
}
