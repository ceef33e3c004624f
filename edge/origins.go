package edge

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Origins say where single-user servers are served: on a port of their own, below a domain of their own, or (the zero value) where the hub is. Browsers
// keep pages apart by scheme, name and port; on the hub's origin, a page of a user's could do whatever its visitor may do on the hub.
type Origins struct {
	UserPort   int    // 0 for none
	UserDomain string // "" for none
	HubDomain  string // the hub's own name, where there is a UserDomain
}

func (o Origins) separate() bool { return o.UserPort != 0 || o.UserDomain != "" }

// label is the name below UserDomain under which a user's server is served.
func label(user string) string {
	user = strings.ToLower(user) // as the hub has it
	if plainLabel.MatchString(user) && len(user) <= 40 && !strings.HasPrefix(user, "u-") && !strings.Contains(user, "--") {
		return user
	}
	sum := sha256.Sum256([]byte(user))
	return "u-" + hex.EncodeToString(sum[:10])
}

var plainLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// below returns the label of a host below UserDomain.
func (o Origins) below(host string) (string, bool) {
	if o.UserDomain == "" {
		return "", false
	}
	return strings.CutSuffix(host, "."+o.UserDomain)
}

// userPath returns the name of the user whose server an address leads to. An odd address leads there by other means than its plain path, which no browser's
// page needs. One that means different places to the proxy and to browsers counts as that of a user's server.
func userPath(base string, address *url.URL) (name string, ok, odd bool) {
	decoded := strings.ReplaceAll(address.Path, `\`, "/")
	plain, _ := userBelow(base, path.Clean("/"+decoded))
	name = plain
	if routed, ok := userBelow(base, asProxyReads(address)); ok {
		name = routed
	}
	odd = plain != name || !strings.HasPrefix(address.EscapedPath(), base+"user/") || decoded != address.Path
	for part := range strings.SplitSeq(decoded, "/") {
		odd = odd || part == "." || part == ".."
	}
	return name, name != "", odd && name != ""
}

// userBelow returns the name that follows user/ in a decoded path.
func userBelow(base, decoded string) (name string, ok bool) {
	rest, found := strings.CutPrefix(decoded+"/", base+"user/")
	if !found {
		return "", false
	}
	name, _, _ = strings.Cut(rest, "/")
	return name, name != ""
}

// asProxyReads returns the path by which the proxy looks for a route. It reads addresses as browsers do, which take what follows two slashes for a host and
// remove dots as they are written; only then it decodes, and looks at what comes out as it is. So "..%2f" leads nowhere else.
func asProxyReads(address *url.URL) string {
	text := address.EscapedPath()
	if strings.HasPrefix(text, "//") {
		_, after, _ := strings.Cut(strings.TrimLeft(text, "/"), "/")
		text = "/" + after
	}
	kept := []string{}
	for part := range strings.SplitSeq(text, "/") {
		switch strings.ReplaceAll(strings.ToLower(part), "%2e", ".") {
		case ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, part)
		}
	}
	decoded, err := url.PathUnescape(strings.Join(kept, "/"))
	if err != nil {
		return "/" // cannot be: the address was read
	}
	return "/" + strings.Trim(decoded, "/")
}

// separate lets each request reach only what belongs to the origin that it came to, and leads visitors to the right one.
func (s *Server) separate(next http.Handler) http.Handler {
	o := s.options.Origins
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeNameAsHub(s.options.BaseURL, r.URL)
		if !utf8.ValidString(r.URL.Path) {
			http.Error(w, "This address is not valid.", http.StatusBadRequest) // the proxy cannot read it and answers with an error of its own
			return
		}
		user, ofUser, odd := userPath(s.options.BaseURL, r.URL)
		if ofUser {
			withoutHubCookies(r.Header)
			w = &noHints{w}
		}
		if !o.separate() {
			next.ServeHTTP(w, r)
			return
		}
		host := hostOf(r)
		at, usersSide := o.below(host)
		usersSide = usersSide || visitFrom(r).users
		switch {
		case odd:
			http.Error(w, "This address is not valid.", http.StatusBadRequest)
		case usersSide && ofUser && (o.UserDomain == "" || at == label(user)):
			next.ServeHTTP(w, r)
		case usersSide && !ofUser:
			s.lead(w, r, o.hubAddress(r, host, s.options.Proxies, s.hubPort))
		case !usersSide && !ofUser && site(r) == "same-site" && acts(s.options.BaseURL, r.URL):
			s.home(w)
		case !usersSide && !ofUser && o.fromUsers(r, host):
			http.Error(w, "Pages of single-user servers cannot use the hub in their visitors' name.", http.StatusForbidden)
		case !usersSide && !ofUser:
			w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
			next.ServeHTTP(w, r)
		case !usersSide && isProgram(r):
			next.ServeHTTP(w, r)
		default:
			s.lead(w, r, o.userAddress(r, host, user))
		}
	})
}

// lead sends a visitor to another origin, with the path and query as they are. What is more than a question is not sent on: it was meant for another place.
func (s *Server) lead(w http.ResponseWriter, r *http.Request, origin string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || r.Header.Get("Upgrade") != "" {
		http.Error(w, "This address is served at "+origin+".", http.StatusMisdirectedRequest)
		return
	}
	target := r.URL.RequestURI()
	if !strings.HasPrefix(target, "/") {
		target = "/"
	}
	header := w.Header()
	header.Set("Location", origin+target)
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusFound)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte("This address is served at " + origin + "\n"))
	}
}

// hubPort returns the hub's port for a scheme.
func (s *Server) hubPort(scheme string) int {
	for _, door := range s.doors {
		if door.Scheme == scheme && !door.Users {
			return portOf(door.Addr())
		}
	}
	return 0
}

// hubAddress returns the hub's origin, for a visitor of a single-user server's.
func (o Origins) hubAddress(r *http.Request, host string, p Proxies, hubPort func(scheme string) int) string {
	scheme := visitFrom(r).scheme
	if o.UserDomain != "" {
		return originText(scheme, o.HubDomain, portAsked(r))
	}
	if p.isPublic(r) {
		return originText(scheme, host, p.publicPort())
	}
	return originText(scheme, host, hubPort(scheme))
}

// userAddress returns the origin of a user's server.
func (o Origins) userAddress(r *http.Request, host, user string) string {
	scheme := visitFrom(r).scheme
	if o.UserDomain != "" {
		return originText(scheme, label(user)+"."+o.UserDomain, portAsked(r))
	}
	return originText(scheme, host, o.UserPort)
}

// portAsked returns the port that a visitor has asked for, which need not be the machine's own; 0 is the scheme's.
func portAsked(r *http.Request) int {
	_, text, err := net.SplitHostPort(r.Host)
	if err != nil {
		return 0
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0
	}
	return int(port)
}

var usualPorts = map[string]int{schemeHTTP: 80, schemeHTTPS: 443}

func originText(scheme, host string, port int) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != 0 && port != usualPorts[scheme] {
		host += ":" + strconv.Itoa(port)
	}
	return scheme + "://" + host
}

// acts reports whether the hub does something for whoever just opens an address: it starts their server, or logs them out.
func acts(base string, address *url.URL) bool {
	rest, ok := strings.CutPrefix(asProxyReads(address)+"/", base+"hub/")
	first, _, _ := strings.Cut(rest, "/")
	return ok && (first == "spawn" || first == "logout")
}

// site is what a browser says of where a request begins, and nothing over plain HTTP.
func site(r *http.Request) string { return r.Header.Get("Sec-Fetch-Site") }

// home sends a visitor to the hub's home page, where servers are started by a click.
func (s *Server) home(w http.ResponseWriter) {
	w.Header().Set("Location", s.options.BaseURL+"hub/home")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusFound)
}

// fromUsers reports whether a page of a single-user server makes a browser send a request to the hub. Browsers send cookies along, as these know no ports
// and parents share them with their subdomains. Links that a person follows are no such request.
func (o Origins) fromUsers(r *http.Request, host string) bool {
	header := r.Header
	site, mode, kind := header.Get("Sec-Fetch-Site"), header.Get("Sec-Fetch-Mode"), header.Get("Sec-Fetch-Dest")
	asks := r.Method == http.MethodGet || r.Method == http.MethodHead
	if asks && mode == "navigate" && kind == "document" {
		return false // but for those that act
	}
	origin := header.Get("Origin")
	switch {
	case origin == "null":
		return site == "" || site == "same-site"
	case origin != "":
		return o.isUsers(origin, host)
	case site == "same-site":
		referrer := header.Get("Referer")
		return referrer == "" || o.isUsers(referrer, host)
	}
	return false
}

// isUsers reports whether an origin, or the address of a page, is a single-user server's. host is the one that the request is for.
func (o Origins) isUsers(origin, host string) bool {
	address, err := url.Parse(origin)
	if err != nil {
		return true
	}
	name := strings.TrimSuffix(strings.ToLower(address.Hostname()), ".")
	if o.UserDomain != "" {
		_, below := o.below(name)
		return below
	}
	port := usualPorts[address.Scheme]
	if text := address.Port(); text != "" {
		port, _ = strconv.Atoi(text)
	}
	return name == host && port == o.UserPort
}

// isProgram reports whether a request is a program's, by a token of its own: no page can make a browser send one in its visitor's name.
func isProgram(r *http.Request) bool {
	kind, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return (strings.EqualFold(kind, "token") || strings.EqualFold(kind, "bearer")) && r.Header.Get("Cookie") == ""
}
