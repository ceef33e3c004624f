package edge

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Proxies is what is known of what stands between visitors and the edge: a reverse proxy of the site's, a load balancer, a router that forwards ports.
type Proxies struct {
	Public  *url.URL       // the origin that visitors have in their browsers; nil where it is the one that they come to
	Trusted []netip.Prefix // whose word about visitors is believed
	Sockets bool           // unix sockets are among the listeners: who connects to one is believed, too
}

// ParseProxies reads what the config says: an origin, and addresses, networks or unix sockets.
func ParseProxies(public string, trusted []string) (Proxies, error) {
	p := Proxies{}
	if public != "" {
		address, err := url.Parse(public)
		if err != nil || address.Hostname() == "" || usualPorts[address.Scheme] == 0 {
			return p, fmt.Errorf("%q is no origin of the form https://NAME", public)
		}
		p.Public = address
	}
	for _, text := range trusted {
		if strings.HasPrefix(text, "unix:/") { // systemd opens it and passes it
			p.Sockets = true
			continue
		}
		network, err := netip.ParsePrefix(text)
		if err != nil {
			ip, ipErr := netip.ParseAddr(text)
			if ipErr != nil {
				return p, fmt.Errorf("%q is neither an address nor a network nor a unix socket", text)
			}
			network = netip.PrefixFrom(ip, ip.BitLen())
		}
		p.Trusted = append(p.Trusted, network)
	}
	return p, nil
}

// trusts reports whether a peer is believed. Everybody else's headers are taken away.
func (p Proxies) trusts(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	return slices.ContainsFunc(p.Trusted, func(network netip.Prefix) bool { return network.Contains(ip) })
}

// isPublic reports whether a request is for the public origin, by whatever way it came.
func (p Proxies) isPublic(r *http.Request) bool {
	return p.Public != nil && hostOf(r) == strings.ToLower(p.Public.Hostname())
}

// publicPort returns the port of the public origin.
func (p Proxies) publicPort() int {
	if port, err := strconv.Atoi(p.Public.Port()); err == nil {
		return port
	}
	return usualPorts[p.Public.Scheme]
}

// learn replaces what is known of a request's connection by what a trusted proxy says of its visitor.
func (s *Server) learn(r *http.Request) *http.Request {
	p := s.options.Proxies
	if p.Public == nil && len(p.Trusted) == 0 && !p.Sockets {
		return r
	}
	v, host := visitFrom(r), r.Host
	peer, _ := netip.ParseAddr(v.client)
	believed := v.unix
	if fronted, ok := r.Context().Value(frontedKey{}).(*fronted); ok && fronted.client.IsValid() {
		peer, believed = fronted.client, false
		v.client = clientText(peer)
	}
	if believed || peer.IsValid() && p.trusts(peer) {
		v, host = p.believe(r.Header, v, host)
	}
	r = r.WithContext(context.WithValue(r.Context(), visitKey{}, v))
	r.Host = host
	// With HTTPS of its own, the edge knows what came over it; a password that was sent in the clear stays one.
	if p.isPublic(r) && (s.options.HTTPS == nil || v.scheme == p.Public.Scheme) {
		v.scheme, v.port = p.Public.Scheme, strconv.Itoa(p.publicPort())
		r = r.WithContext(context.WithValue(r.Context(), visitKey{}, v))
	}
	return r
}

// believe returns what the headers of a trusted proxy say. Each proxy adds itself at the end of a list: the visitor is the last one that is not trusted.
func (p Proxies) believe(header http.Header, v visit, host string) (visit, string) {
	told := forwarded(header)
	hops := 0
	for _, address := range slices.Backward(told.addresses) {
		ip, ok := addressOf(address)
		if !ok {
			break
		}
		v.client = clientText(ip)
		if !p.trusts(ip) {
			break
		}
		hops++
	}
	if scheme := strings.ToLower(fromEnd(told.schemes, hops)); scheme == schemeHTTP || scheme == schemeHTTPS {
		if scheme != v.scheme {
			v.port = strconv.Itoa(usualPorts[scheme])
		}
		v.scheme = scheme
	}
	if name := fromEnd(told.hosts, hops); isHost(name) {
		host = name
		v.port = strconv.Itoa(usualPorts[v.scheme])
		if _, port, err := net.SplitHostPort(name); err == nil {
			v.port = port
		}
	}
	if len(told.hosts) == 0 && p.comesFromPublicPage(header) {
		host = p.Public.Host
	}
	if port, err := strconv.ParseUint(fromEnd(told.ports, hops), 10, 16); err == nil && port > 0 {
		v.port = strconv.Itoa(int(port))
	}
	return v, host
}

// comesFromPublicPage reports whether a page of the public origin made a request. A proxy that passes on no Host, as nginx unless it is told to, leaves its own
// name for us there, which is not the origin of the page: Jupyter would take the request for another site's, and refuse it.
func (p Proxies) comesFromPublicPage(header http.Header) bool {
	if p.Public == nil {
		return false
	}
	origin, err := url.Parse(header.Get("Origin"))
	if err != nil || origin.Scheme != p.Public.Scheme || !strings.EqualFold(origin.Hostname(), p.Public.Hostname()) {
		return false
	}
	return Proxies{Public: origin}.publicPort() == p.publicPort()
}

// saying is what proxies said of a visitor, the nearest last.
type saying struct {
	addresses, schemes, hosts, ports []string
}

// forwarded reads the headers that proxies add: those with X-, and where there is none of them, Forwarded (RFC 7239).
func forwarded(header http.Header) saying {
	told := saying{
		addresses: listOf(header, "X-Forwarded-For"), schemes: listOf(header, "X-Forwarded-Proto"),
		hosts: listOf(header, "X-Forwarded-Host"), ports: listOf(header, "X-Forwarded-Port"),
	}
	if len(told.addresses)+len(told.schemes)+len(told.hosts) > 0 {
		return told
	}
	for _, element := range listOf(header, "Forwarded") {
		for pair := range strings.SplitSeq(element, ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
			value = strings.Trim(value, `"`)
			switch strings.ToLower(name) {
			case "for":
				told.addresses = append(told.addresses, value)
			case "proto":
				told.schemes = append(told.schemes, value)
			case "host":
				told.hosts = append(told.hosts, value)
			}
		}
	}
	return told
}

func listOf(header http.Header, name string) []string {
	found := []string{}
	for _, line := range header.Values(name) {
		for item := range strings.SplitSeq(line, ",") {
			if item = strings.TrimSpace(item); item != "" {
				found = append(found, item)
			}
		}
	}
	return found
}

// fromEnd returns what was said as many trusted proxies before the nearest one, or by the first where not all have added something.
func fromEnd(list []string, hops int) string {
	if len(list) == 0 {
		return ""
	}
	return list[max(0, len(list)-1-hops)]
}

// addressOf reads an address with or without port and brackets.
func addressOf(text string) (netip.Addr, bool) {
	if pair, err := netip.ParseAddrPort(text); err == nil {
		return pair.Addr(), true
	}
	ip, err := netip.ParseAddr(strings.Trim(text, "[]"))
	return ip, err == nil
}

// isHost reports whether a text can be the Host of a request.
func isHost(text string) bool {
	name, port, err := net.SplitHostPort(text)
	if err != nil {
		name, port = text, "80"
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return false
	}
	name = strings.ToLower(strings.Trim(name, "[]"))
	_, err = netip.ParseAddr(name)
	return err == nil || isName(name)
}

// clientText is an address as the hub should see it.
func clientText(ip netip.Addr) string { return clientIP(netip.AddrPortFrom(ip, 1).String()) }
