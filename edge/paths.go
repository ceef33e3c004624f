package edge

import (
	"net/url"
	"strings"
)

// place is who answers for a path when everything is up.
type place int

const (
	outside   place = iota // nobody: it does not lie below the hub's base URL
	ofHub                  // the hub, which also answers for whatever no one else does
	ofUser                 // a user's server
	ofService              // a service of the hub's
)

// baseURL returns text with the slashes that belong to it.
func baseURL(text string) string {
	if text = strings.Trim(text, "/"); text == "" {
		return "/"
	}
	return "/" + text + "/"
}

// locate returns the place of an address, and the path of something there that anyone may ask for and that changes nothing.
func locate(base string, address *url.URL) (place, string) {
	below, ok := strings.CutPrefix(address.EscapedPath(), base)
	if !ok {
		return outside, ""
	}
	kind, rest, _ := strings.Cut(below, "/")
	name, _, _ := strings.Cut(rest, "/")
	switch {
	case kind == "user" && name != "":
		return ofUser, base + "user/" + name + "/api"
	case kind == "services" && name != "":
		return ofService, base + "hub/health"
	}
	return ofHub, base + "hub/health"
}

// isPlain reports whether an address is one that the proxy, which decodes and tidies paths before it looks for a route, understands as locate does.
func isPlain(address *url.URL) bool {
	path := address.EscapedPath()
	return !strings.HasPrefix(path, "//") && !strings.Contains(path, "/.") && !strings.ContainsAny(path, `%\`)
}

// asHub writes a name in a path as the hub does, with @ and ~ as they are.
var asHub = strings.NewReplacer("%40", "@", "%7e", "~", "%7E", "~")

// writeNameAsHub writes the user's name in the address of a single-user server as that server knows it. Programs that build addresses themselves, such as
// VS Code, escape the @ of a name, and the server's apps do not know their own path then.
func writeNameAsHub(base string, address *url.URL) {
	below, ok := strings.CutPrefix(address.EscapedPath(), base+"user/")
	if !ok {
		return
	}
	name, rest, found := strings.Cut(below, "/")
	written := asHub.Replace(name)
	if written == name {
		return
	}
	if found {
		rest = "/" + rest
	}
	address.RawPath = base + "user/" + written + rest
}
