package edge

import (
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// visit is what is known of a connection, whatever the client claims.
type visit struct {
	client string // its IP address
	port   string // the one it came to
	scheme string
	users  bool // at a port for single-user servers
	unix   bool // over a unix socket, which is for a trusted proxy
}

type visitKey struct{}

func visitOf(remote, local net.Addr, door Door) visit {
	v := visit{client: clientIP(remote.String()), scheme: door.Scheme, users: door.Users}
	if isUnix(local) {
		v.unix, v.client, v.port = true, "127.0.0.1", strconv.Itoa(usualPorts[door.Scheme])
		return v
	}
	if address, err := netip.ParseAddrPort(local.String()); err == nil {
		v.port = strconv.Itoa(int(address.Port()))
	}
	return v
}

// isUnix reports whether a listener is a unix socket. Only a proxy in front has one.
func isUnix(address net.Addr) bool { return address.Network() == "unix" }

func visitFrom(r *http.Request) visit {
	v, _ := r.Context().Value(visitKey{}).(visit)
	return v
}

// clientIP returns the address in host:port as the hub should see it. IPv4 is IPv4 whatever the socket, and loopback is one address: a browser
// may use ::1 for one request and 127.0.0.1 for the next, and the hub ties forms to the address.
func clientIP(hostPort string) string {
	address, err := netip.ParseAddrPort(hostPort)
	if err != nil {
		return ""
	}
	ip := address.Addr().Unmap().WithZone("")
	if ip == netip.IPv6Loopback() {
		return "127.0.0.1"
	}
	return ip.String()
}

// untrusted are headers that say who and where a client is, and that some program behind the door may believe. Those that begin with
// X-Forwarded are untrusted too.
var untrusted = map[string]bool{
	"forwarded": true, "x-real-ip": true, "x-real-port": true, "x-scheme": true, "x-forwarded": true, "x-client-ip": true, "x-remote-ip": true,
	"x-remote-addr": true, "x-cluster-client-ip": true, "x-original-forwarded-for": true, "x-originating-ip": true, "x-original-host": true, "x-original-url": true,
	"x-original-uri": true, "x-original-proto": true, "x-rewrite-url": true, "x-host": true, "x-url-scheme": true, "x-proxyscheme": true, "x-proxycontextpath": true,
	"x-script-name": true, "x-prefix": true, "front-end-https": true, "true-client-ip": true, "cf-connecting-ip": true, "fastly-client-ip": true, "via": true,
	"x-tljh-edge": true,
	"proxy":       true, "proxy-connection": true, // Proxy would become HTTP_PROXY in a CGI program
}

// isUntrusted judges a header's name. Programs that turn names into variables take an underscore for a hyphen, so it is one here.
func isUntrusted(name string) bool {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	return untrusted[name] || strings.HasPrefix(name, "x-forwarded-")
}

// clean replaces what a client claims of itself by what is known.
func clean(header http.Header, v visit, host string) {
	for name := range header {
		if isUntrusted(name) {
			delete(header, name)
		}
	}
	for name, value := range map[string]string{
		"X-Forwarded-For": v.client, "X-Forwarded-Proto": v.scheme, "X-Forwarded-Host": host, "X-Forwarded-Port": v.port,
	} {
		if value != "" {
			header.Set(name, value)
		}
	}
}

// rewrite makes the request for the proxy from a client's.
func (s *Server) rewrite(r *httputil.ProxyRequest) {
	r.Out.URL.Scheme = "http"
	r.Out.URL.Host = s.options.Upstream
	r.Out.URL.RawQuery = r.In.URL.RawQuery // as it is, whatever Go thinks of semicolons
	r.Out.Host = r.In.Host
	clean(r.Out.Header, visitFrom(r.In), r.In.Host)
	if s.options.Token != "" && s.isForHub(r.In.URL) {
		r.Out.Header.Set(tokenHeader, s.options.Token)
	}
	if _, set := r.Out.Header["User-Agent"]; !set {
		r.Out.Header["User-Agent"] = nil // or Go names itself
	}
	if body, ok := r.In.Body.(*incoming); ok {
		r.Out = r.Out.WithContext(context.WithValue(r.Out.Context(), bodyKey{}, body))
	}
}

// tokenHeader proves to the hub that a request came through the edge: every program of the machine can send one to the proxy and to the hub.
const tokenHeader = "X-Tljh-Edge"

// isForHub reports whether an address leads to the hub and to nobody else, who could use the token.
func (s *Server) isForHub(address *url.URL) bool {
	base := s.options.BaseURL
	where, _ := locate(base, address)
	_, ofUser, _ := userPath(base, address)
	return where == ofHub && !ofUser && !strings.HasPrefix(asProxyReads(address), base+"services/")
}

// bodyKey finds a request's incoming body in its context.
type bodyKey struct{}
