package config

import (
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"tljh/internal/layout"
)

// wrongType tells that a value is of another type than its key wants.
func (w *walker) wrongType(node *yaml.Node, path, want, hint string) {
	if node.Kind == yaml.AliasNode {
		return // told already
	}
	what := noun(node)
	if node.Kind == yaml.ScalarNode && !strings.HasPrefix(path, "auth.") {
		switch read(node) {
		case asText:
			what = "the text " + short(node.Value)
			if node.Value == "" {
				what = "an empty text"
			}
		case asWhole, asFraction, asOdd:
			what = short(node.Value)
		}
	}
	w.fail(node, path, fmt.Sprintf("%s must be %s, not %s", path, want, what), hint)
}

// scalar returns a scalar of one of the readings that are wanted.
func (w *walker) scalar(node *yaml.Node, wanted ...reading) bool {
	return node.Kind == yaml.ScalarNode && slices.Contains(wanted, read(node))
}

var boolean = kind[bool]{"true or false", obj{"type": "boolean"}, func(w *walker, node *yaml.Node, path string) (bool, bool) {
	if w.scalar(node, asBool, asYesNo) {
		return truth(node.Value), true
	}
	hint := "write true or false"
	if node.Kind == yaml.ScalarNode && truths.MatchString(node.Value) {
		hint = "write it without quotes: " + strings.ToLower(node.Value)
	}
	w.wrongType(node, path, "true or false", hint)
	return false, false
}}

// whole is a whole number within bounds.
func whole(name string, least, greatest int) kind[int] {
	return kind[int]{name, obj{"type": "integer", "minimum": least, "maximum": greatest}, func(w *walker, node *yaml.Node, path string) (int, bool) {
		want := fmt.Sprintf("a whole number from %d to %d", least, greatest)
		if greatest == math.MaxInt32 {
			want = fmt.Sprintf("a whole number of at least %d", least)
		}
		huge := w.scalar(node, asOdd) && decimals.MatchString(node.Value)
		if !w.scalar(node, asWhole) && !huge {
			w.wrongType(node, path, want, wholeHint(node))
			return 0, false
		}
		n, err := strconv.ParseInt(node.Value, 10, 64) // of a huge one, the nearest
		if err != nil || n < int64(least) || n > int64(greatest) {
			hint := ""
			if n > int64(greatest) {
				hint = fmt.Sprintf("%d is the most", greatest)
			}
			w.fail(node, path, fmt.Sprintf("%s must be %s, not %s", path, want, short(node.Value)), hint)
			return 0, false
		}
		return int(n), true
	}}
}

var duration = regexp.MustCompile(`^([0-9]+) ?(s|sec|m|min|h|d)[a-z]*$`)

func wholeHint(node *yaml.Node) string {
	if node.Kind != yaml.ScalarNode {
		return ""
	}
	if decimals.MatchString(node.Value) && read(node) == asText {
		return "write it without quotes: " + node.Value
	}
	if strings.HasPrefix(node.Value, "0") && strings.Trim(node.Value, "0123456789") == "" {
		return "write it without the 0 in front"
	}
	if match := duration.FindStringSubmatch(node.Value); match != nil {
		if n, err := strconv.Atoi(match[1]); err == nil && n < 1e6 {
			return fmt.Sprintf("write it in seconds: %d", n*map[string]int{"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}[match[2]])
		}
	}
	return "write it with digits only"
}

func seconds(least int) kind[int] { return whole("seconds", least, math.MaxInt32) }

var internalPorts = func() []int {
	ports := []int{}
	for _, address := range layout.InternalAddresses {
		ports = append(ports, int(netip.MustParseAddrPort(address).Port()))
	}
	return ports
}()

var port = kind[int]{"port", obj{"type": "integer", "minimum": 1, "maximum": 65535, "not": obj{"enum": internalPorts}}, func(w *walker, node *yaml.Node, path string) (int, bool) {
	n, ok := whole("", 1, 65535).read(w, node, path)
	if !ok {
		return 0, false
	}
	if slices.Contains(internalPorts, n) {
		w.fail(node, path, fmt.Sprintf("%s cannot be %d: the hub uses that port inside the machine", path, n), "")
		return 0, false
	}
	return n, true
}}

// userPort is a port, or 0 for none.
var userPort = kind[int]{"port or 0", obj{"type": "integer", "minimum": 0, "maximum": 65535, "not": obj{"enum": internalPorts}}, func(w *walker, node *yaml.Node, path string) (int, bool) {
	if w.scalar(node, asWhole) && node.Value == "0" {
		return 0, true
	}
	return port.read(w, node, path)
}}

// greatestCPUs is more than Linux can have.
const greatestCPUs = 8192

var number = kind[*float64]{"number or null", obj{"type": []string{"number", "null"}, "exclusiveMinimum": 0, "maximum": greatestCPUs}, func(w *walker, node *yaml.Node, path string) (*float64, bool) {
	if !w.scalar(node, asWhole, asFraction) {
		hint := "write a number, such as 1.5, or null for no limit"
		if node.Kind == yaml.ScalarNode && (fractions.MatchString(node.Value) || decimals.MatchString(node.Value)) && read(node) == asText {
			hint = "write it without quotes: " + node.Value
		}
		w.wrongType(node, path, "a number or null", hint)
		return nil, false
	}
	n, err := strconv.ParseFloat(node.Value, 64)
	if err != nil || n <= 0 || n > greatestCPUs {
		w.fail(node, path, fmt.Sprintf("%s must be above 0 and at most %d, not %s", path, greatestCPUs, short(node.Value)), "write null for no limit")
		return nil, false
	}
	return &n, true
}}

var (
	sizeForm = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)([KMGT])$`)
	sizeNear = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) ?([kKmMgGtT])(?:[iI]?[bB])?$`)
)

// Below these sizes no server can start, and probably none.
const (
	leastSize  = 1 << 20
	scarceSize = 128 << 20
)

var (
	size     = sizeKind("size or null", sizeSchema, "a size or null", "or null for no limit")
	autoSize = sizeKind("size, auto or null", obj{"anyOf": []any{sizeSchema, obj{"const": Auto}}}, "a size, auto or null", "auto for a share of this machine's memory, or null for no limit")
)

// sizeKind is a size; want and others name what a key takes beside sizes.
func sizeKind(name string, schema obj, want, others string) kind[*Bytes] {
	return kind[*Bytes]{name, schema, func(w *walker, node *yaml.Node, path string) (*Bytes, bool) {
		return w.size(node, path, want, others)
	}}
}

func (w *walker) size(node *yaml.Node, path, want, others string) (*Bytes, bool) {
	if !w.scalar(node, asWhole, asText) {
		hint := "write a size such as 2G, " + others
		if w.scalar(node, asFraction) && len(node.Value) < 10 {
			hint = fmt.Sprintf("did you mean %sG?", node.Value)
		}
		w.wrongType(node, path, want, hint)
		return nil, false
	}
	bytes, ok := parseSize(node.Value)
	if !ok || read(node) == asText && decimals.MatchString(node.Value) {
		what := short(node.Value)
		if what == "" {
			what = "an empty text"
		}
		w.fail(node, path, fmt.Sprintf("%s must be %s, not %s", path, want, what), sizeHint(node, others))
		return nil, false
	}
	if bytes < leastSize {
		hint := "write null for no limit"
		if bytes > 0 && read(node) == asWhole {
			hint = fmt.Sprintf("that is bytes; did you mean %sG?", node.Value)
		}
		w.fail(node, path, fmt.Sprintf("%s must be at least 1M, not %s", path, short(node.Value)), hint)
		return nil, false
	}
	if bytes < scarceSize {
		w.tell(Warning, node, path, fmt.Sprintf("%s is %s, and a server hardly starts with less than 128M", path, short(node.Value)), "")
	}
	return &bytes, true
}

var sizeSchema = obj{"anyOf": []any{
	obj{"type": "integer", "minimum": leastSize},
	obj{"type": "string", "pattern": sizeForm.String()},
	obj{"type": "null"},
}}

func parseSize(text string) (Bytes, bool) {
	if decimals.MatchString(text) {
		n, err := strconv.ParseInt(text, 10, 64)
		return Bytes(n), err == nil
	}
	match := sizeForm.FindStringSubmatch(text)
	if match == nil {
		return 0, false
	}
	n, err := strconv.ParseFloat(match[1], 64)
	for _, suffix := range suffixes {
		if suffix.letter == match[2][0] {
			n *= float64(suffix.bytes)
		}
	}
	return Bytes(n), err == nil && n < math.MaxInt64
}

func sizeHint(node *yaml.Node, others string) string {
	switch match := sizeNear.FindStringSubmatch(node.Value); {
	case decimals.MatchString(node.Value):
		return "write it without quotes: " + short(node.Value)
	case sizeForm.MatchString(node.Value):
		return "no machine has that much; write null for no limit"
	case match != nil:
		return "write " + short(match[1]) + strings.ToUpper(match[2])
	case strings.EqualFold(node.Value, "none"):
		return "write null for no limit"
	}
	return "write a size such as 2G or 512M, " + others
}

// text is a text that check accepts; check may return it in the form that is kept. The pattern says the same to programs, as far as one can.
func text(name, want, pattern string, check func(text string) (kept, trouble, hint string)) kind[string] {
	return kind[string]{name, obj{"type": "string", "pattern": pattern}, func(w *walker, node *yaml.Node, path string) (string, bool) {
		if node.Kind != yaml.ScalarNode {
			w.wrongType(node, path, want, "")
			return "", false
		}
		kept, trouble, hint := check(node.Value)
		if trouble == "" && read(node) != asText {
			trouble, hint = fmt.Sprintf("is read as %s, not as a text", oddNoun(node)), "put it in quotes: "+quoted(short(node.Value))
			if mayHoldSecrets(path) {
				hint = "put it in quotes"
			}
		}
		if trouble != "" {
			w.fail(node, path, fmt.Sprintf("%s %s", path, trouble), hint)
			return "", false
		}
		return kept, true
	}}
}

// but tells programs of texts that are not accepted although they have the form.
func but(pattern string, k kind[string]) kind[string] {
	k.schema["not"] = obj{"pattern": pattern}
	return k
}

var urlPath = regexp.MustCompile(`^(/[A-Za-z0-9._~@:+,=-]+)*/?$`)

var path = but(`^$|/\.{1,2}(/|$)`, text("path", "a path such as /jupyter/", `^(/[A-Za-z0-9._~@:+,=-]+)*/?$`, func(text string) (string, string, string) {
	const hint = "write a path such as /jupyter/"
	switch trimmed := strings.Trim(text, "/"); {
	case strings.Contains(text, "://"):
		return "", "must be the path only, without the server's name", hint
	case !strings.HasPrefix(text, "/"):
		return "", "must begin with a /", "write " + short(strings.ReplaceAll("/"+trimmed+"/", "//", "/"))
	case !urlPath.MatchString(text):
		return "", "can have letters, digits, single slashes and . _ ~ @ : + , = - only", hint
	case slices.ContainsFunc(strings.Split(trimmed, "/"), func(part string) bool { return part == "." || part == ".." }):
		return "", "cannot have . or .. between slashes", hint
	case trimmed == "":
		return "/", "", ""
	default:
		return "/" + trimmed + "/", "", ""
	}
}))

var address = text("IP address", "an IP address", `^[0-9a-fA-F:.]*$`, func(text string) (string, string, string) {
	if text == "" {
		return "", "", ""
	}
	ip, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return "", "is no IP address: " + short(text), "write an address of this machine, such as 192.0.2.7; without this key, all of them are used"
	case ip.Zone() != "":
		return "", "cannot have a zone (what follows the %)", ""
	}
	return ip.String(), "", ""
})

func oneOf(choices ...string) kind[string] {
	list := strings.Join(choices[:len(choices)-1], ", ") + " or " + choices[len(choices)-1]
	return text(list, list, "^("+strings.Join(choices, "|")+")$", func(text string) (string, string, string) {
		if slices.Contains(choices, text) {
			return text, "", ""
		}
		hint := ""
		if near := nearest(text, choices); near != "" {
			hint = "did you mean " + near + "?"
		}
		return "", "must be " + list + ", not " + short(text), hint
	})
}

// userName reads one name.
func (w *walker) userName(node *yaml.Node, path string) (string, bool) {
	if node.Kind == yaml.AliasNode {
		return "", false
	}
	if w.isNull(node) && node.Value == "" {
		w.fail(node, path, "a name is missing here", "write it, or delete the line")
		return "", false
	}
	if !w.scalar(node, asText) {
		if node.Kind == yaml.ScalarNode {
			w.fail(node, path, fmt.Sprintf("%s is read as %s, not as a name", short(node.Value), oddNoun(node)), "put it in quotes: "+quoted(short(node.Value)))
		} else {
			w.fail(node, path, "a name must stand here, not "+noun(node), "")
		}
		return "", false
	}
	if err := CheckUserName(node.Value); err != nil {
		w.fail(node, path, err.Error(), "")
		return "", false
	}
	return strings.ToLower(node.Value), true
}

var names = listOfNames("list of users", obj{"type": "string", "pattern": userPattern, "maxLength": longest, "not": obj{"pattern": noUser}}, (*walker).userName)

// listOfNames is a list of texts of one kind, each of which is kept once.
func listOfNames(name string, item obj, one func(w *walker, node *yaml.Node, path string) (string, bool)) kind[[]string] {
	return kind[[]string]{name, obj{"type": "array", "items": item}, func(w *walker, node *yaml.Node, path string) ([]string, bool) {
		if node.Kind != yaml.SequenceNode {
			w.wrongType(node, path, "a list", listHint(node))
			return nil, false
		}
		var found []string
		seen := map[string]bool{}
		for i, item := range node.Content {
			at := fmt.Sprintf("%s[%d]", path, i)
			name, ok := one(w, item, at)
			switch {
			case !ok:
			case seen[name]:
				w.tell(Warning, item, at, name+" is in this list twice", "")
			default:
				seen[name] = true
				found = append(found, name)
				w.at[path+"["+name+"]"] = item
				w.at[at] = item
			}
		}
		return found, true
	}}
}

// listHint makes a list of a text: alice, bob → [alice, bob].
func listHint(node *yaml.Node) string {
	if node.Kind == yaml.ScalarNode && strings.HasPrefix(node.Value, "-") {
		return "put a space after each -"
	}
	if node.Kind != yaml.ScalarNode || len(node.Value) > 60 || strings.ContainsAny(node.Value, "\n[]{}\"") {
		return "write [alice, bob]"
	}
	var items []string
	for _, word := range strings.FieldsFunc(node.Value, func(r rune) bool { return r == ',' || r == ' ' || r == ';' }) {
		items = append(items, scalarText(word))
	}
	if len(items) == 0 {
		items = []string{"alice", "bob"}
	}
	return "write [" + strings.Join(items, ", ") + "]"
}

var groups = kind[map[string][]string]{"users by group", obj{
	"type": "object", "propertyNames": groupSchema,
	"additionalProperties": obj{"anyOf": []any{names.schema, obj{"type": "null"}}},
}, func(w *walker, node *yaml.Node, path string) (map[string][]string, bool) {
	found := map[string][]string{}
	w.mapping(node, path, func(name, value *yaml.Node) {
		full := join(path, name.Value)
		if err := checkGroupName(name.Value); err != nil {
			w.fail(name, full, err.Error(), "")
			return
		}
		if mighty[name.Value] {
			w.tell(Warning, name, full, fmt.Sprintf("members of the group %s can control the whole machine", name.Value), "for admins, there is users.admin")
		}
		members := []string(nil)
		if !w.isNull(value) {
			members, _ = names.read(w, value, full)
		}
		found[name.Value] = members
	})
	return found, node.Kind == yaml.MappingNode
}}
