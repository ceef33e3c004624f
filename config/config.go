// Package config is the hub's config file, /opt/tljh/config/config.yaml: what may stand in it, what it means, and what is wrong
// with one. Bytes go in; values, problems with their places, and edited bytes come out.
//
// The keys are one table, in schema.go: a new one is a field of Config and a row there. The hub asks this program for the
// values; only the copy of the last usable file is read by the hub itself, with a YAML 1.1 reader. So what the two could read
// differently is an error here.
//
// Files, locks, and putting a config into effect do not belong here.
package config

import "strconv"

// Config is what a file says, over the defaults. Names of users are in lower case, as the hub has them.
type Config struct {
	BaseURL         string // with slashes at both ends: "/"
	Auth            Auth
	Users           Users
	Limits          Limits
	HTTP            HTTP
	HTTPS           HTTPS
	UserEnvironment UserEnvironment
	SharedFolders   map[string]SharedFolder
	Hub             Hub
	Sources         Sources
	Network         Network
	Upgrade         Upgrade
	Services        Services
}

// Auth says who lets users in.
type Auth struct {
	Type    string                    // a short name, or the dotted path of a class; FirstUse under that name only
	Options map[string]map[string]any // class → option → value: nil, bool, int64, float64, string, []any or map[string]any
}

// Users lists users by name, and says what their accounts are like.
type Users struct {
	Allowed, Banned, Admin []string
	ExtraUserGroups        map[string][]string // Linux group → hub users
	AccountPrefix          string              // of a Linux account's name; "" for sites with accounts of their own
	HomeRoot               string              // absolute
	HomeMode               string              // of homes that the hub makes: four octal digits
	AdminSudo              string              // SudoAll, SudoEnvironment or SudoNone
	FirstLogin             string              // FirstOpen, FirstCode or FirstPassword
	ClassCode              string              // with FirstCode
	MayListen              bool                // their processes may be reached from other machines
	Namespaces             bool                // users who are not admins may make namespaces
	SSH                    bool                // users who are not admins may log in to the machine by ssh
	Devices                Devices             // of the machine, for users who are not admins
	Setgid                 bool                // users who are not admins may set set-user-ID and set-group-ID bits
}

// Devices are those of the machine that servers see: Auto, NoDevices, or a list of paths and patterns.
type Devices struct {
	Word  string
	Paths []string // where Word is ""
}

// NoDevices is the word for servers that see no devices.
const NoDevices = "none"

func (d Devices) value() any {
	if d.Word != "" {
		return d.Word
	}
	return d.Paths
}

// What sudo gives admins.
const (
	SudoAll         = "all"
	SudoEnvironment = "environment"
	SudoNone        = "none"
)

// Who chooses the password of a name that has none.
const (
	FirstOpen     = "open"
	FirstCode     = "code"
	FirstPassword = "password"
)

// Limits are those of each user's server; nil is none.
type Limits struct {
	Memory     *Bytes
	MemoryAuto bool             // Memory is derived from the machine
	CPU        *float64         // in CPUs, above 0
	Groups     map[string]Limit // of groups of Users.ExtraUserGroups
	Users      map[string]Limit
}

// Auto is the word for a value that is derived from the machine.
const Auto = "auto"

// Limit is one for some users, which may say nothing of a resource: then a wider one holds.
type Limit struct {
	Memory    *Bytes
	CPU       *float64
	MemorySet bool // Memory is meant, be it nil for none
	CPUSet    bool
}

// HTTP is where visitors come in.
type HTTP struct {
	Address string // an IP address; "" for all of the machine's
	Port    int

	PublicURL      string   // the origin that visitors have in their browsers, without a slash; "" where it follows from the rest
	TrustedProxies []string // addresses and networks in their shortest form, and unix:PATH
}

// HTTPS is where they come in with it; HTTP then only sends them there.
type HTTPS struct {
	Enabled     bool   // and complete
	Missing     string // what keeps it from being in effect although it is switched on
	HSTS        bool   // browsers are told to come back over HTTPS only
	Address     string
	Port        int
	TLS         TLS
	LetsEncrypt LetsEncrypt
}

// TLS is a certificate of one's own: absolute paths of PEM files, both or none.
type TLS struct {
	Key, Cert string
}

// LetsEncrypt is an authority to get certificates from.
type LetsEncrypt struct {
	Email         string
	Domains       []string
	Staging       bool
	Directory, CA string // of another authority: its address, and a PEM file to know it by
}

// UserEnvironment is what users work in.
type UserEnvironment struct {
	DefaultApp    string // jupyterlab, notebook or classic
	Variables     map[string]string
	OwnExtensions bool     // servers load config, extensions and templates from homes
	Packages      []string // requirements
}

// SharedFolder is one for several users: all, admins, group:NAME, or a user's name. Who may write may read.
type SharedFolder struct {
	Read, Write []string
}

// Hub is how its pages look, and where single-user servers are served: on origins of their own if UserPort or UserDomain is set.
type Hub struct {
	Name, Announcement string
	Logo               string   // a file
	UserPort           int      // 0 for none
	UserDomain         string   // "" for none
	Domain             string   // the hub's own name; "" where HubDomain can derive it
	WritablePaths      []string // folders that code of an admin's, run by the hub, may write to
	Packages           []string // requirements that the hub environment holds beside its own
}

// OriginsSeparate reports whether browsers keep the pages of single-user servers apart from those of the hub.
func (c *Config) OriginsSeparate() bool { return c.Hub.UserPort != 0 || c.Hub.UserDomain != "" }

// HubDomain returns the name that single-user servers lead back to with UserDomain: hub.domain, the first name of a certificate, or UserDomain itself.
func (c *Config) HubDomain() string {
	switch domains := c.HTTPS.LetsEncrypt.Domains; {
	case c.Hub.Domain != "":
		return c.Hub.Domain
	case len(domains) > 0:
		return domains[0]
	}
	return c.Hub.UserDomain
}

// Sources is where packages come from; "" is the tools' own settings.
type Sources struct {
	Index           string
	Channel, Alias  string // conda's
	Mirror          string // of Miniforge
	MiniforgeSHA256 string
	CA              string // a PEM file
}

// Network is how the machine reaches what is outside; "" is directly.
type Network struct {
	HTTPProxy, HTTPSProxy string   // addresses of proxies, perhaps with a password
	NoProxy               []string // names, addresses and networks that are reached directly, beside those of Direct
}

// Upgrade is where releases come from.
type Upgrade struct {
	URL string // the folder of one; "" is where the installed one came from
}

// Services are those that the hub runs.
type Services struct {
	Cull Cull
}

// Cull is how idle servers are stopped. Times are in seconds.
type Cull struct {
	Enabled            bool
	Timeout            int
	Every              int
	Concurrency        int
	Users              bool
	MaxAge             int // 0: no limit
	RemoveNamedServers bool
}

// Bytes is a size in bytes.
type Bytes int64

// suffixes are those of JupyterHub, with its meaning: powers of 1024.
var suffixes = []struct {
	letter byte
	bytes  Bytes
}{{'T', 1 << 40}, {'G', 1 << 30}, {'M', 1 << 20}, {'K', 1 << 10}}

// String writes a size as the config takes it: "2G", "1536M", "1000".
func (b Bytes) String() string {
	for _, suffix := range suffixes {
		if b != 0 && b%suffix.bytes == 0 {
			return strconv.FormatInt(int64(b/suffix.bytes), 10) + string(suffix.letter)
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// Default returns the config of an empty file.
func Default() *Config {
	c := &Config{}
	for _, key := range schema(c) {
		key.reset()
	}
	return c
}
