package config

import (
	"errors"
	"fmt"
	"net/mail"
	"net/netip"
	"net/url"
	gopath "path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"

	"tljh/internal/layout"
)

const userPattern = `^[^\s/\\:,%?#"<>“”„«»]+$`

// noUser are names that have the form, and mean something else: folders, and the user of the installation's test.
const noUser = `^\.+$|^[tT][lL][jJ][hH]-[pP][rR][oO][bB][eE]$`

var prefixForm = regexp.MustCompile(`^([a-z_][a-z0-9_.-]*)?$`)

var accountPrefix = text("text", "the beginning of an account's name", `^([a-z_][a-z0-9_.-]{0,11})?$`, func(text string) (string, string, string) {
	switch {
	case len(text) > 12:
		return "", "is too long: at most 12 characters can be used", ""
	case !prefixForm.MatchString(text):
		return "", "cannot begin the name of an account: " + short(text), "use small letters, digits and - only, such as jupyter-"
	}
	return text, "", ""
})

var plainPath = regexp.MustCompile(`^/[A-Za-z0-9._/@+-]*$`)

// systemFolders are no places for homes.
var systemFolders = []string{"/bin", "/boot", "/dev", "/etc", "/lib", "/opt/tljh", "/proc", "/root", "/run", "/sbin", "/sys", "/tmp", "/usr"}

func checkAbsolute(text string) (trouble, hint string) {
	switch {
	case !strings.HasPrefix(text, "/"):
		return "must be an absolute path, not " + short(text), "begin it with a /"
	case gopath.Clean(text) != strings.TrimSuffix(text, "/") && text != "/":
		return "must be a plain path, without .. and double slashes", "write " + short(gopath.Clean(text))
	case strings.ContainsFunc(text, unicode.IsControl):
		return "has a character that no path has", ""
	}
	return "", ""
}

// crooked are paths that are not plain, as programs know them.
const crooked = `/\.{1,2}(/|$)|//|[\x00-\x1f\x7f]`

var folder = but("^/$|^("+strings.Join(systemFolders, "|")+")(/|$)|"+crooked, text("folder", "the absolute path of a folder", `^/[A-Za-z0-9._/@+-]+$`, func(text string) (string, string, string) {
	trouble, hint := checkAbsolute(text)
	if trouble != "" {
		return "", trouble, hint
	}
	text = gopath.Clean(text)
	switch {
	case text == "/":
		return "", "cannot be /", "make a folder for it, such as /srv/homes"
	case !plainPath.MatchString(text):
		return "", "can have letters, digits, slashes and . _ @ + - only", ""
	}
	for _, system := range systemFolders {
		if text == system || strings.HasPrefix(text, system+"/") {
			return "", "cannot be in " + system + ": that is the system's", "use a folder such as /srv/homes"
		}
	}
	return text, "", ""
}))

// notWritable are no places for the hub to write to: those of the system and of this installation. Above them, the folder that holds them counts alone.
var (
	notWritable      = slices.Concat(systemFolders, []string{"/lib32", "/lib64", "/libx32", "/var/lib/private", "/var/lib/tljh-edge", "/var/backups/tljh"})
	aboveNotWritable = []string{"/", "/opt", "/var", "/var/lib", "/var/backups"}
)

// writable is a list of folders that the hub may write to.
var writable = listOfNames("list of folders", obj{"type": "string", "pattern": plainPath.String(), "not": obj{
	"pattern": "^(" + strings.Join(aboveNotWritable, "|") + ")/?$|^(" + strings.Join(notWritable, "|") + ")(/|$)|" + crooked,
}}, entry("a folder", checkWritablePath))

func checkWritablePath(text string) (string, error) {
	if trouble, _ := checkAbsolute(text); trouble != "" {
		return "", errors.New("a folder " + trouble)
	}
	text = gopath.Clean(text)
	if !plainPath.MatchString(text) {
		return "", fmt.Errorf("%s can have letters, digits, slashes and . _ @ + - only", short(text))
	}
	if slices.Contains(aboveNotWritable, text) {
		return "", fmt.Errorf("%s cannot be given to the hub as a whole: name the folder that is needed, such as /srv/homework", text)
	}
	for _, system := range notWritable {
		if text == system || strings.HasPrefix(text, system+"/") {
			return "", fmt.Errorf("%s cannot be given to the hub: %s belongs to the system or to this installation", short(text), system)
		}
	}
	return text, nil
}

var devicePath = regexp.MustCompile(`^/dev/[A-Za-z0-9._/@+:*?-]+$`)

var devicePaths = listOfNames("list of devices", obj{"type": "string", "pattern": devicePath.String(), "not": obj{"pattern": crooked}}, entry("a device", checkDevicePath))

func checkDevicePath(text string) (string, error) {
	switch {
	case !strings.HasPrefix(text, "/dev/"):
		return "", fmt.Errorf("a device must be the absolute path of one below /dev, such as /dev/ttyUSB0 or /dev/nvidia*, not %s", short(text))
	case gopath.Clean(text) != text:
		return "", fmt.Errorf("a device must be a plain path, without .. and double slashes: write %s", short(gopath.Clean(text)))
	case !devicePath.MatchString(text):
		return "", fmt.Errorf("%s can have letters, digits, slashes and . _ @ + : - * ? only", short(text))
	}
	return text, nil
}

// devices is a word or a list.
var devices = kind[Devices]{"auto, none or list of devices", obj{"anyOf": []any{obj{"enum": []string{Auto, NoDevices}}, devicePaths.schema}},
	func(w *walker, node *yaml.Node, path string) (Devices, bool) {
		if node.Kind == yaml.ScalarNode {
			if w.scalar(node, asText) && (node.Value == Auto || node.Value == NoDevices) {
				return Devices{Word: node.Value}, true
			}
			w.wrongType(node, path, "auto, none or a list of devices", "write auto, none, or a list such as [/dev/ttyUSB0, /dev/nvidia*]")
			return Devices{}, false
		}
		paths, ok := devicePaths.read(w, node, path)
		return Devices{Paths: paths}, ok
	}}

var file = but(crooked, text("path", "the absolute path of a file", `^(/.*[^/])?$`, func(text string) (string, string, string) {
	if text == "" {
		return "", "", ""
	}
	if strings.HasSuffix(text, "/") {
		return "", "must be the path of a file, not of a folder", ""
	}
	trouble, hint := checkAbsolute(text)
	return text, trouble, hint
}))

var pictureForm = regexp.MustCompile(`(?i)\.(png|svg|jpe?g)$`)

var picture = but(crooked, text("path", "the absolute path of a picture", `^(/.*\.([pP][nN][gG]|[sS][vV][gG]|[jJ][pP][eE]?[gG]))?$`, func(text string) (string, string, string) {
	if text == "" {
		return "", "", ""
	}
	if trouble, hint := checkAbsolute(text); trouble != "" {
		return "", trouble, hint
	}
	if !pictureForm.MatchString(text) {
		return "", "must be a png, svg or jpg file", ""
	}
	return text, "", ""
}))

// line is a text of one line.
func line(longest int) kind[string] {
	k := text("text", "a text", `^[^\x00-\x1f\x7f-\x9f]*$`, func(text string) (string, string, string) {
		switch {
		case len([]rune(text)) > longest:
			return "", fmt.Sprintf("is too long: at most %d characters can be used", longest), ""
		case strings.ContainsFunc(text, unicode.IsControl):
			return "", "must be one line of text", "write it behind the colon, in quotes; or, for several lines that are shown as one, begin with >-"
		}
		return text, "", ""
	})
	k.schema["maxLength"] = longest
	return k
}

var classCodeForm = regexp.MustCompile(`^([^\x00-\x20\x7f-\x9f][^\x00-\x1f\x7f-\x9f]{4,98}[^\x00-\x20\x7f-\x9f])?$`)

// classCode is what students type from a blackboard. One that can be guessed would be none.
var classCode = text("class code", "a text", classCodeForm.String(), func(text string) (string, string, string) {
	if !classCodeForm.MatchString(text) {
		return "", "must have 6 to 100 characters, with no spaces at its ends", ""
	}
	return text, "", ""
})

var webAddress = text("web address", "a web address", `^(https?://[^\s/]+(/\S*)?)?$`, func(text string) (string, string, string) {
	if text == "" {
		return "", "", ""
	}
	parsed, err := url.Parse(text)
	if err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Hostname() == "" || strings.ContainsFunc(text, unicode.IsSpace) {
		return "", "must be a web address", "write one that begins with https://"
	}
	return text, "", ""
})

// webFolder is an address that names of files are put behind.
var webFolder = text("web address", "a web address", `^(https?://[^\s/?#]+(/[^\s?#]*)?)?$`, func(text string) (string, string, string) {
	if text == "" {
		return "", "", ""
	}
	parsed, err := url.Parse(text)
	if err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Hostname() == "" || strings.ContainsFunc(text, unicode.IsSpace) || strings.ContainsAny(text, "?#") {
		return "", "must be a web address of a folder", "write one that begins with https:// and has no ? or # in it"
	}
	return text, "", ""
})

var digest = text("SHA-256", "a SHA-256 in hexadecimal", `^([0-9a-f]{64})?$`, func(text string) (string, string, string) {
	if text != "" && !digestForm.MatchString(text) {
		return "", "must be a SHA-256: 64 hexadecimal digits in small letters", "sha256sum FILE prints it"
	}
	return text, "", ""
})

var digestForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

var channelForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]*$`)

var channel = text("channel", "a channel", `^([A-Za-z0-9][A-Za-z0-9._/-]*|https?://[^\s/]+(/\S*)?)?$`, func(text string) (string, string, string) {
	if strings.Contains(text, "://") {
		parsed, err := url.Parse(text)
		if err == nil && (parsed.Scheme == "http" || parsed.Scheme == "https") && parsed.Hostname() != "" && !strings.ContainsFunc(text, unicode.IsSpace) {
			return text, "", ""
		}
	}
	if text == "" || channelForm.MatchString(text) {
		return text, "", ""
	}
	return "", "must be the name or the web address of a channel", "write, for example, conda-forge"
})

var email = text("e-mail address", "an e-mail address", `^([^\s@<>]+@[^\s@<>]+\.[^\s@<>.]+)?$`, func(text string) (string, string, string) {
	if text == "" {
		return "", "", ""
	}
	parsed, err := mail.ParseAddress(text)
	_, domain, _ := strings.Cut(text, "@")
	if err != nil || parsed.Address != text || checkDomain(domain) != nil {
		return "", "is no e-mail address: " + short(text), "write one such as teacher@example.org"
	}
	return text, "", ""
})

var domainForm = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]$`)

func checkDomain(name string) error {
	switch {
	case strings.Contains(name, "://") || strings.Contains(name, "/"):
		return errors.New("a domain must be the name only, such as hub.example.org")
	case strings.HasPrefix(name, "*"):
		return fmt.Errorf("%s is no single name: certificates for * cannot be had this way", short(name))
	case len(name) > 253 || !domainForm.MatchString(strings.ToLower(name)):
		return fmt.Errorf("%s is no domain name", short(name))
	}
	return nil
}

var domain = text("domain name", "a domain name", `^(([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`, func(text string) (string, string, string) {
	if text == "" {
		return "", "", ""
	}
	if err := checkDomain(text); err != nil {
		return "", "is no domain name: " + short(text), "write the name only, such as users.example.org"
	}
	return strings.ToLower(text), "", ""
})

// entry makes the reader of a list's items from a check.
func entry(what string, check func(text string) (kept string, err error)) func(w *walker, node *yaml.Node, path string) (string, bool) {
	return func(w *walker, node *yaml.Node, path string) (string, bool) {
		if node.Kind == yaml.AliasNode {
			return "", false
		}
		if node.Kind != yaml.ScalarNode {
			w.fail(node, path, what+" must stand here, not "+noun(node), "")
			return "", false
		}
		if read(node) != asText || node.Value == "" {
			w.fail(node, path, what+" must stand here, not "+oddNoun(node), "put it in quotes: "+quoted(short(node.Value)))
			return "", false
		}
		kept, err := check(node.Value)
		if err != nil {
			w.fail(node, path, err.Error(), "")
		}
		return kept, err == nil
	}
}

// origin is an address without anything behind the name and port.
var origin = text("web address", "a web address", `^([hH][tT][tT][pP][sS]?://[^\s/?#@]+/?)?$`, func(text string) (string, string, string) {
	if text == "" {
		return "", "", ""
	}
	parsed, err := url.Parse(strings.TrimSuffix(text, "/"))
	if err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || !isHostOrIP(parsed.Hostname()) || parsed.User != nil || parsed.Path+parsed.RawQuery+parsed.Fragment != "" {
		return "", "must be the beginning of a web address: scheme and name, and a port where it is an unusual one", "write, for example, https://hub.example.org; what comes behind it is base_url"
	}
	if port := parsed.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "", "has no valid port", "a port is a number from 1 to 65535"
		}
	}
	return parsed.Scheme + "://" + strings.ToLower(parsed.Host), "", ""
})

var hostForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)

func isHostOrIP(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil || len(name) <= 253 && hostForm.MatchString(name)
}

// aSocket is a unix socket of http.trusted_proxies. /run is the one folder in which nobody but root makes files, and which is there when systemd opens sockets.
const aSocket = `unix:/run/([A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*`

var socketForm = regexp.MustCompile("^" + aSocket + "$")

// notForSockets are folders of /run in which others than root make files, or which are cleared away.
var notForSockets = []string{"/run/lock", "/run/shm", "/run/systemd", "/run/user", layout.EdgeRuntime}

const longestSocket = 107 // bytes of a path that the kernel takes

func checkSocket(text string) (string, error) {
	path := strings.TrimPrefix(text, "unix:")
	switch {
	case !socketForm.MatchString(text):
		return "", fmt.Errorf("%s is no unix socket below /run: write, for example, unix:/run/hub.sock", short(text))
	case len(path) > longestSocket:
		return "", fmt.Errorf("%s is too long: the path of a unix socket has at most %d characters", short(text), longestSocket)
	}
	for _, folder := range notForSockets {
		if path == folder || strings.HasPrefix(path, folder+"/") {
			return "", fmt.Errorf("%s cannot be used: %s is for other files. Write, for example, unix:/run/hub.sock", short(text), folder)
		}
	}
	return text, nil
}

var proxies = listOfNames("list of addresses, networks and unix sockets", obj{
	"type": "string", "pattern": `^([0-9]{1,3}(\.[0-9]{1,3}){3}(/[0-9]{1,2})?|[0-9A-Fa-f]*:[0-9A-Fa-f.:]*(/[0-9]{1,3})?|` + aSocket + `)$`,
	"not": obj{"pattern": "^unix:(" + strings.Join(notForSockets, "|") + ")(/|$)"},
},
	entry("an address, a network or a unix socket", func(text string) (string, error) {
		if strings.HasPrefix(text, "unix:") {
			return checkSocket(text)
		}
		if ip, err := netip.ParseAddr(text); err == nil && ip.Zone() == "" {
			return ip.Unmap().String(), nil
		}
		network, err := netip.ParsePrefix(text)
		switch {
		case err != nil:
			return "", fmt.Errorf("%s is neither an address nor a network nor a unix socket: write, for example, 192.0.2.10, 10.0.0.0/24 or unix:/run/hub.sock", short(text))
		case network.Bits() == 0:
			return "", fmt.Errorf("%s is the whole internet: anyone there could say what they like about themselves", short(text))
		}
		return network.Masked().String(), nil
	}))

var domains = listOfNames("list of domain names", obj{"type": "string", "pattern": `^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]$`},
	entry("a domain name", func(text string) (string, error) { return strings.ToLower(text), checkDomain(text) }))

// A requirement is a name, with extras, versions, or an address; no option of pip's.
var requirement = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?(\[[A-Za-z0-9._, -]*\])? *(` + versions + `( *, *` + versions + `)*|@ *[a-z+]+://[^\s\x00-\x1f\x7f-\x9f]+)?( *;[^\x00-\x1f\x7f-\x9f]*)?$`)

const versions = `(===|==|~=|!=|<=|>=|<|>) *[A-Za-z0-9.*+!_-]+`

var packages = listOfNames("list of packages", obj{"type": "string", "pattern": requirement.String()},
	entry("a package", func(text string) (string, error) {
		if strings.ContainsFunc(text, unicode.IsControl) || !requirement.MatchString(text) {
			return "", fmt.Errorf("%s is not the way to name a package: write, for example, numpy, pandas>=2 or NAME @ URL", short(text))
		}
		return text, nil
	}))

var folderName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,15}$`)

func checkFolderName(name string) error {
	if !folderName.MatchString(name) {
		return fmt.Errorf("%s cannot be the name of a shared folder: use up to 16 small letters, digits and -, a letter first", short(name))
	}
	return nil
}

// Entries of a shared folder that are no user's name.
const (
	Everybody   = "all"
	AdminsEntry = "admins"
	GroupEntry  = "group:"
)

var members = listOfNames("list of users and groups", obj{
	"type": "string", "pattern": `^(group:[A-Za-z_][A-Za-z0-9_.-]*|[^\s/\\:,%?#"<>“”„«»]+)$`, "not": obj{"pattern": noUser + "|^group:(tljh-|" + layout.AdminsGroup + "$|" + layout.UsersGroup + "$)"},
},
	entry("all, admins, group:NAME or a user's name", func(text string) (string, error) {
		if group, ok := strings.CutPrefix(text, GroupEntry); ok {
			return text, checkGroupName(group)
		}
		return strings.ToLower(text), CheckUserName(text)
	}))

var variableValue = text("text", "a text", `^[^\x00]*$`, func(text string) (string, string, string) { return text, "", "" })

var variables = kind[map[string]string]{"texts by name", obj{
	"type": "object", "additionalProperties": obj{"anyOf": []any{obj{"type": "string"}, obj{"type": "null"}}},
	"propertyNames": obj{"pattern": variableName.String(), "not": obj{"pattern": refusedVariables()}},
}, func(w *walker, node *yaml.Node, path string) (map[string]string, bool) {
	found := map[string]string{}
	w.mapping(node, path, func(name, value *yaml.Node) {
		full := join(path, name.Value)
		if err := checkVariable(name.Value); err != nil {
			w.fail(name, full, err.Error(), "")
			return
		}
		if w.isNull(value) {
			return
		}
		if text, ok := variableValue.read(w, value, full); ok {
			found[name.Value] = text
		}
	})
	return found, node.Kind == yaml.MappingNode
}}

// CheckWritable returns why a folder cannot stand in hub.writable_paths.
func CheckWritable(folder string) error {
	_, err := checkWritablePath(folder)
	return err
}
