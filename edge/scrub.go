package edge

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// reaching are headers by which an answer would reach beyond its own path: they hold for all of an origin or a machine, for what a browser does later, or
// they make it load or open other pages. A user's server has no business with any of them, and the hub may be on the same origin.
var reaching = map[string]bool{
	"Service-Worker-Allowed": true, "Clear-Site-Data": true, "Strict-Transport-Security": true,
	"Nel": true, "Report-To": true, "Reporting-Endpoints": true, "Public-Key-Pins": true, "Public-Key-Pins-Report-Only": true, "Expect-Ct": true,
	"Alt-Svc": true, "Origin-Agent-Cluster": true, "Accept-Ch": true, "Critical-Ch": true, "Set-Login": true, "Idp-Signin-Status": true,
	"Speculation-Rules": true, "Supports-Loading-Mode": true, "Use-As-Dictionary": true, "Activate-Storage-Access": true,
	"Secure-Session-Registration": true, "Secure-Session-Challenge": true, "Sec-Session-Registration": true, "Sec-Session-Challenge": true,
	"Sec-Session-Google-Registration": true, "Sec-Session-Google-Challenge": true, "Set-Cookie2": true, "X-Permitted-Cross-Domain-Policies": true,
	"Shared-Storage-Write": true, "Observe-Browsing-Topics": true, "Attribution-Reporting-Register-Source": true, "Attribution-Reporting-Register-Trigger": true,
}

// scrub removes from an answer of a user's server what reaches beyond its path.
func (s *Server) scrub(response *http.Response) error {
	user, ok, _ := userPath(s.options.BaseURL, response.Request.URL)
	if !ok {
		return nil
	}
	own := s.options.BaseURL + "user/" + user
	for name := range response.Header {
		if reaching[http.CanonicalHeaderKey(name)] {
			delete(response.Header, name)
		}
	}
	address := response.Request.URL
	keep(response.Header, "Set-Cookie", func(value string) (string, bool) { return ownCookie(value, own) })
	keep(response.Header, "Link", func(value string) (string, bool) { return value, ownLinks(value, address, own) })
	keep(response.Header, "Refresh", func(value string) (string, bool) { return value, ownRefresh(value, address, own) })
	return nil
}

// keep replaces the values of a header by what pass makes of them.
func keep(header http.Header, name string, pass func(string) (string, bool)) {
	values, ok := header[name]
	if !ok {
		return
	}
	kept := []string{}
	for _, value := range values {
		if value, ok := pass(value); ok {
			kept = append(kept, value)
		}
	}
	if header[name] = kept; len(kept) == 0 {
		delete(header, name)
	}
}

// ownCookie returns a cookie of a user's server that is sent back to that server only. One that names no path gets the server's: a browser would take the
// folder of the request's, which can be that of all users.
func ownCookie(value, own string) (string, bool) {
	path := ""
	parts := strings.Split(value, ";")
	kept := parts[:1]
	for _, part := range parts[1:] {
		name, argument, _ := strings.Cut(strings.TrimSpace(part), "=")
		name, argument = strings.ToLower(strings.TrimSpace(name)), strings.Trim(argument, " \t")
		switch name {
		case "domain":
			if argument != "" {
				return "", false
			}
		case "path":
			path = argument // the last one counts
		default:
			kept = append(kept, part)
		}
	}
	if !strings.HasPrefix(path, "/") {
		path = (&url.URL{Path: own + "/"}).EscapedPath()
	}
	if decoded, err := url.PathUnescape(path); err != nil || !within(decoded, own) {
		return "", false
	}
	return strings.Join(append(slices.Clip(kept), " Path="+path), ";"), true
}

// within reports whether a path is a user's server's own.
func within(path, own string) bool { return path == own || strings.HasPrefix(path, own+"/") }

// ownAddress reports whether a reference, as a browser resolves it, stays on a user's server.
func ownAddress(reference string, from *url.URL, own string) bool {
	reference = strings.ReplaceAll(strings.Trim(reference, " \t\"'"), `\`, "/")
	target, err := url.Parse(reference)
	if err != nil || target.Scheme != "" || target.Host != "" || strings.HasPrefix(reference, "//") {
		return false
	}
	return within(from.ResolveReference(target).Path, own)
}

// ownLinks reports whether all that a Link header refers to is on a user's server. What has no plain form is not.
func ownLinks(value string, from *url.URL, own string) bool {
	for rest := value; ; {
		before, after, found := strings.Cut(rest, "<")
		if !found {
			return !strings.Contains(before, ">")
		}
		reference, next, closed := strings.Cut(after, ">")
		if !closed || !ownAddress(reference, from, own) {
			return false
		}
		rest = next
	}
}

// ownRefresh reports whether a page is followed by one of the same server.
func ownRefresh(value string, from *url.URL, own string) bool {
	at := strings.IndexAny(value, ";,")
	if at < 0 {
		return !strings.ContainsAny(value, "/=") // the page itself
	}
	reference := strings.TrimSpace(value[at+1:])
	if len(reference) >= 3 && strings.EqualFold(reference[:3], "url") {
		reference = strings.TrimPrefix(strings.TrimSpace(reference[3:]), "=")
	}
	return ownAddress(reference, from, own)
}

// hubCookies are the hub's own, which are for nobody else. Their path keeps browsers from sending them to users' servers; others may be less careful.
var hubCookies = map[string]bool{"jupyterhub-hub-login": true, "__Host-jupyterhub-hub-login": true, "jupyterhub-services": true}

func withoutHubCookies(header http.Header) {
	for i, line := range header["Cookie"] {
		parts := strings.Split(line, ";")
		header["Cookie"][i] = strings.Join(slices.DeleteFunc(parts, func(part string) bool {
			name, _, _ := strings.Cut(strings.TrimSpace(part), "=")
			return hubCookies[strings.TrimSpace(name)]
		}), ";")
	}
	header["Cookie"] = slices.DeleteFunc(header["Cookie"], func(line string) bool { return strings.TrimSpace(line) == "" })
	if len(header["Cookie"]) == 0 {
		delete(header, "Cookie")
	}
}

// noHints passes no early hints (103) on, which can hold links to anything.
type noHints struct{ http.ResponseWriter }

func (n *noHints) Unwrap() http.ResponseWriter { return n.ResponseWriter }

func (n *noHints) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		n.ResponseWriter.WriteHeader(status)
	}
}
