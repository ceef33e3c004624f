// Package systemdunits renders the systemd units of an installation from the templates beside it.
//
// It is pure: it looks at no machine, writes no file and starts nothing. The templates hold all of what a unit says, with the
// reasons; Go adds the names and numbers.
package systemdunits

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"unicode"
	"unicode/utf8"

	"tljh/internal/layout"
)

// Units of this package that nothing else needs to name.
const (
	tljhSlice     = layout.Slice // the parent that systemd gives the other two by their names
	servicesSlice = "tljh-services.slice"

	certificateUnit  = "tljh-edge-certificate.service"
	certificateTimer = "tljh-edge-certificate.timer"
)

// names are the units in the order in which they are written: what others refer to comes first.
var names = []string{
	tljhSlice, servicesSlice, layout.UsersSlice, layout.ProxyUnit, layout.HubUnit, layout.EdgeSocket, layout.EdgeUnit,
	certificateUnit, certificateTimer, layout.WatchUnit, layout.WatchPath, layout.WatchTimer, layout.CheckUnit, layout.CheckTimer, layout.FirewallUnit, layout.FirewallTimer,
}

// Names returns the units' names.
func Names() []string { return slices.Clone(names) }

// MinimumSystemd is the oldest systemd that takes these units, and the units of transient services that the hub makes.
const MinimumSystemd = 245

// Address is one to listen on.
type Address struct {
	IP   string // "" listens on all of the machine's addresses, IPv4 and IPv6
	Port int
}

// HTTPS is what the edge is told of HTTPS: where it listens, and either a certificate of one's own or the domains to get certificates for.
type HTTPS struct {
	Listen []Address // at least one; all have the same port, which is none of HTTP's

	Cert, Key string // absolute paths; only root need be able to read them

	Domains   []string
	Email     string
	Staging   bool   // Let's Encrypt's authority for trying out
	Directory string // address of another authority's directory; "" is Let's Encrypt's
	CA        string // absolute path of certificates to know that authority by; "" for those of the system only

	NoHSTS bool // browsers are told to forget that there is nothing but HTTPS
}

func (h *HTTPS) own() bool { return h != nil && h.Cert != "" }

func (h *HTTPS) acme() bool { return h != nil && len(h.Domains) > 0 }

// files returns the arguments that name what root has to hand to the edge.
func (h *HTTPS) files() string {
	switch {
	case h.own():
		return " --cert " + quoteArgument(h.Cert) + " --key " + quoteArgument(h.Key)
	case h.acme() && h.CA != "":
		return " --ca " + quoteArgument(h.CA)
	}
	return ""
}

// Params is what the units depend on.
type Params struct {
	HTTP           []Address // where the edge listens; at least one
	HTTPS          *HTTPS    // nil for none
	Origins        Origins
	Proxies        Proxies
	BaseURL        string   // the hub's base_url, as /jupyter/; "" is /
	MemoryBytes    uint64   // the machine's memory; 0 when unknown
	ReserveBytes   uint64   // kept from the users; 0 leaves it to Reserve
	HomeRoots      []string // folders that hold homes; none is /home
	WritablePaths  []string // folders that the hub may write to beside homes and its own
	MayListen      bool     // users' processes may be reached from other machines
	SystemdVersion int      // of the machine; lines that it can't understand are left out
}

// Origins say where single-user servers are served, if not where the hub is.
type Origins struct {
	Listen     []Address // of a port of their own
	UserDomain string    // below which each has a name
	HubDomain  string    // the hub's own name, with UserDomain
}

// Proxies say what stands between visitors and the edge.
type Proxies struct {
	PublicURL string   // "" for none
	Trusted   []string // addresses, networks, and unix:PATH
}

// sockets returns the paths of unix sockets, on which the edge listens as well.
func (p Proxies) sockets() ([]string, error) {
	paths := []string{}
	for _, text := range p.Trusted {
		socket, is := strings.CutPrefix(text, "unix:")
		if !is {
			continue
		}
		if !IsPlainPath(socket) {
			return nil, fmt.Errorf("the unix socket %q is no absolute path without blanks or special characters", socket)
		}
		paths = append(paths, socket)
	}
	return paths, nil
}

// Unit is a unit file.
type Unit struct {
	Name    string
	Content []byte
}

//go:embed templates
var templates embed.FS

// Render returns the units' files.
func Render(p Params) ([]Unit, error) {
	values, err := valuesOf(p)
	if err != nil {
		return nil, err
	}
	set, err := template.New("").Funcs(template.FuncMap{"arg": escapeArgument, "path": escapeSpecifiers, "quote": quoteArgument}).Option("missingkey=error").ParseFS(templates, "templates/*")
	if err != nil {
		return nil, fmt.Errorf("cannot read the unit templates: %w", err)
	}
	units := []Unit{}
	for _, name := range names {
		var content bytes.Buffer
		if err := set.ExecuteTemplate(&content, name, values); err != nil {
			return nil, fmt.Errorf("cannot render %s: %w", name, err)
		}
		units = append(units, Unit{Name: name, Content: content.Bytes()})
	}
	return units, nil
}

// valuesOf checks the parameters and adds the names of the installation.
func valuesOf(p Params) (map[string]any, error) {
	if p.SystemdVersion < MinimumSystemd {
		return nil, fmt.Errorf("these units need systemd %d or later, not %d", MinimumSystemd, p.SystemdVersion)
	}
	if p.BaseURL == "" {
		p.BaseURL = "/"
	}
	if err := checkBaseURL(p.BaseURL); err != nil {
		return nil, err
	}
	if len(p.HomeRoots) == 0 {
		p.HomeRoots = []string{"/home"}
	}
	for _, root := range p.HomeRoots {
		if !IsPlainPath(root) || root == "/" {
			return nil, fmt.Errorf("the folder for homes %q is no absolute path without blanks or special characters", root)
		}
	}
	for _, folder := range p.WritablePaths {
		if !IsPlainPath(folder) || folder == "/" {
			return nil, fmt.Errorf("the folder %q, which the hub may write to, is no absolute path without blanks or special characters", folder)
		}
	}
	listen, err := listenLines(p.HTTP)
	if err != nil {
		return nil, err
	}
	secure, err := p.secureLines()
	if err != nil {
		return nil, err
	}
	users, err := p.userLines()
	if err != nil {
		return nil, err
	}
	sockets, err := p.Proxies.sockets()
	if err != nil {
		return nil, err
	}
	proxy, err := netip.ParseAddrPort(layout.ProxyAddress)
	if err != nil {
		return nil, err
	}
	api, err := netip.ParseAddrPort(layout.ProxyAPIAddress)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"UserEnvironment": layout.User, "RuntimeFolder": path.Base(layout.Runtime),
		"Root": layout.Root, "Binary": layout.Binary, "Hub": layout.Hub, "State": layout.State, "ConfigDir": layout.ConfigDir,
		"HubConfig": layout.Hub + "/" + layout.SitePackages + "/tljh/jupyterhub_config.py",
		"Node":      layout.Hub + "/node/bin/node",
		"Proxy":     layout.Hub + "/proxy/node_modules/configurable-http-proxy/bin/configurable-http-proxy",
		"ProxyEnv":  layout.ProxyEnv, "EdgeEnv": layout.EdgeEnv, "NetworkEnv": layout.NetworkEnv, "ProxyGroup": layout.ProxyGroup,
		"ProxyUnit": layout.ProxyUnit, "EdgeSocket": layout.EdgeSocket, "ServicesSlice": servicesSlice,
		"ProxyAddress": layout.ProxyAddress,
		"ProxyIP":      proxy.Addr(), "ProxyPort": proxy.Port(), "APIIP": api.Addr(), "APIPort": api.Port(),
		"HTTPS": p.HTTPS, "OwnCertificate": p.HTTPS.own(), "ACME": p.HTTPS.acme(), "Secure": secure, "Users": users, "Origins": p.Origins, "Proxies": p.Proxies, "Sockets": sockets,
		"EdgeFolder": path.Base(layout.EdgeRuntime), "EdgeState": layout.EdgeState, "EdgePair": layout.EdgePair, "EdgeAuthorities": layout.EdgeAuthorities,
		"Files": p.HTTPS.files(), "CertificateTimer": certificateTimer,
		"Listen": listen, "BaseURL": p.BaseURL, "HomeRoots": p.HomeRoots, "WritablePaths": p.WritablePaths, "SystemdVersion": p.SystemdVersion,
		"UsersMemory": usersMemory(p), "ServerMemory": p.serverMemory(),
		"EdgeMemory": edgeMemory(p.MemoryBytes) / mib, "EdgeGo": edgeMemory(p.MemoryBytes) / 4 * 3 / mib, "ProxyMemory": 2 * edgeMemory(p.MemoryBytes) / mib,
		"ProxyHeader": proxyHeader, "MayListen": p.MayListen, "UsersSlice": layout.UsersSlice, "HostDevices": layout.HostDevices,
	}, nil
}

// listenLines returns the values of ListenStream. A bare port makes systemd take IPv6 and IPv4, or IPv4 alone where there is no IPv6.
func listenLines(addresses []Address) ([]string, error) {
	if len(addresses) == 0 {
		return nil, errors.New("there is no address for the edge to listen on")
	}
	lines := []string{}
	for _, address := range addresses {
		if address.Port < 1 || address.Port > 65535 {
			return nil, fmt.Errorf("%d is no port: use 1 to 65535", address.Port)
		}
		port := strconv.Itoa(address.Port)
		if address.IP == "" {
			lines = append(lines, port)
			continue
		}
		ip, err := netip.ParseAddr(address.IP)
		if err != nil || ip.Zone() != "" {
			return nil, fmt.Errorf("%q is no IP address to listen on", address.IP)
		}
		lines = append(lines, net.JoinHostPort(ip.String(), port))
	}
	return lines, nil
}

// secureLines returns the values of ListenStream for HTTPS, and checks what else HTTPS needs.
func (p Params) secureLines() ([]string, error) {
	h := p.HTTPS
	if h == nil {
		return nil, nil
	}
	lines, err := listenLines(h.Listen)
	if err != nil {
		return nil, fmt.Errorf("HTTPS: %w", err)
	}
	for _, secure := range h.Listen {
		if secure.Port != h.Listen[0].Port {
			return nil, errors.New("HTTPS has one port, whatever the address")
		}
	}
	for _, address := range p.HTTP {
		if address.Port == h.Listen[0].Port {
			return nil, fmt.Errorf("HTTP and HTTPS cannot both have the port %d", address.Port)
		}
	}
	return lines, h.check()
}

// userLines returns the values of ListenStream for single-user servers, and checks the names.
func (p Params) userLines() ([]string, error) {
	for _, name := range []string{p.Origins.UserDomain, p.Origins.HubDomain} {
		if !plain(name) {
			return nil, fmt.Errorf("%q is no domain", name)
		}
	}
	if len(p.Origins.Listen) == 0 {
		return nil, nil
	}
	lines, err := listenLines(p.Origins.Listen)
	if err != nil {
		return nil, fmt.Errorf("single-user servers: %w", err)
	}
	others := p.HTTP
	if p.HTTPS != nil {
		others = slices.Concat(others, p.HTTPS.Listen)
	}
	for _, address := range others {
		if port := p.Origins.Listen[0].Port; address.Port == port {
			return nil, fmt.Errorf("single-user servers and the hub cannot both have the port %d", port)
		}
	}
	return lines, nil
}

func (h *HTTPS) check() error {
	if h.own() == h.acme() || (h.Cert == "") != (h.Key == "") {
		return errors.New("HTTPS needs either a certificate with its key, or domains to get certificates for")
	}
	for _, file := range []string{h.Cert, h.Key, h.CA} {
		if file != "" && !path.IsAbs(file) {
			return fmt.Errorf("the path %q is not absolute", file)
		}
	}
	for _, text := range append([]string{h.Cert, h.Key, h.CA, h.Email, h.Directory}, h.Domains...) {
		if strings.ContainsFunc(text, unicode.IsControl) || !utf8.ValidString(text) {
			return fmt.Errorf("%q has characters that a unit cannot have", text)
		}
	}
	return nil
}

func checkBaseURL(text string) error {
	if !strings.HasPrefix(text, "/") || !strings.HasSuffix(text, "/") || !plain(text) {
		return fmt.Errorf("the base URL %q must begin and end with a slash and contain no blanks, quotes or backslashes", text)
	}
	return nil
}

// IsPlainPath reports whether a path can stand in a unit.
func IsPlainPath(text string) bool {
	return path.IsAbs(text) && path.Clean(text) == text && plain(text)
}

// plain tells whether systemd takes text as one word, once escapeArgument has seen to % and $.
func plain(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`"'\`, r) })
}

// escapeSpecifiers keeps systemd from reading specifiers into text; escapeArgument keeps it from reading variables as well, which it
// does in commands only.
func escapeSpecifiers(text string) string { return strings.ReplaceAll(text, "%", "%%") }

func escapeArgument(text string) string { return strings.ReplaceAll(escapeSpecifiers(text), "$", "$$") }

// quoteArgument makes one word of a command of any text without line breaks and the like. The slash before a quote or a slash is systemd's own.
func quoteArgument(text string) string {
	escaped := escapeArgument(text)
	if plain(text) && text != "" && text != ";" { // which would begin another command
		return escaped
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(escaped) + `"`
}

const mib = 1 << 20

// Reserve returns how much of a machine's memory is kept from the users by default: an eighth, within bounds that hold a hub, a
// proxy and a system with a class at work, but never more than half.
func Reserve(memory uint64) uint64 {
	return min(max(memory/8, 768*mib), 4096*mib, memory/2)
}

func usersMemory(p Params) string {
	if p.MemoryBytes == 0 {
		return "75%"
	}
	return strconv.FormatUint(p.users()/mib, 10) + "M"
}

// users is the memory that all users' servers may take together.
func (p Params) users() uint64 {
	reserve := p.ReserveBytes
	if reserve == 0 {
		reserve = Reserve(p.MemoryBytes)
	}
	// A reserve as big as the machine would leave users nothing at all.
	return p.MemoryBytes - min(reserve, p.MemoryBytes/4*3)
}

// UsersMemory returns what all users' servers may take together on a machine, a whole number of MiB; 0 when its memory is not known.
func UsersMemory(memory uint64) uint64 { return Params{MemoryBytes: memory}.users() / mib * mib }

// ServerMemory returns the default memory limit of each server on a machine: a quarter of what all may take together, so that one of them cannot
// take what the others need, but at least 1 GiB where there is that much. It is a whole number of 64 MiB; 0 when the machine's memory is not known.
func ServerMemory(memory uint64) uint64 { return Params{MemoryBytes: memory}.serverMemory() }

func (p Params) serverMemory() uint64 {
	users := p.users()
	return min(max(users/4, 1024*mib), users) / (64 * mib) * (64 * mib)
}

// edgeMemory returns the ceiling for the edge: a sixteenth of the machine, within bounds that hold a class's connections and a campus's.
func edgeMemory(memory uint64) uint64 { return min(max(memory/16, 256*mib), 512*mib) }

// proxyHeader is how many bytes a request's header may have at the proxy: all that the edge lets through, and what it adds.
const proxyHeader = 80 << 10
