package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// errByHand is told when a file is laid out in a way that is not changed by program.
var errByHand = errors.New("the file is laid out in a way that only a person can extend")

// AddToList adds names to one of the lists of users (users.admin, say) in a valid file and leaves every other byte as it is. Names that
// are there already are not added again.
func AddToList(data []byte, path string, values []string) ([]byte, error) {
	before, report := Parse("config.yaml", data)
	if err := report.Err(); err != nil {
		return nil, err
	}
	listOf := map[string]func(*Config) []string{
		"users.admin":   func(c *Config) []string { return c.Users.Admin },
		"users.allowed": func(c *Config) []string { return c.Users.Allowed },
		"users.banned":  func(c *Config) []string { return c.Users.Banned },
	}[path]
	if listOf == nil {
		return nil, fmt.Errorf("%s is no list of users", path)
	}
	added := slices.DeleteFunc(slices.Clone(values), func(v string) bool { return slices.Contains(listOf(before), v) })
	if len(added) == 0 {
		return data, nil
	}
	text, err := splice(data, strings.TrimPrefix(path, "users."), added)
	if err != nil {
		return nil, err
	}
	// Whatever the layout was: only a file that says what it said, and this, is given back.
	after, report := Parse("config.yaml", text)
	if report.Err() != nil || !slices.Equal(listOf(after), append(slices.Clone(listOf(before)), added...)) {
		return nil, errByHand
	}
	return text, nil
}

func splice(data []byte, list string, added []string) ([]byte, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return nil, err
	}
	lines := strings.SplitAfter(string(data), "\n")
	if len(document.Content) == 0 || isNull(document.Content[0]) {
		return appendBlock(data, "users:\n"+block("  ", list, added)), nil
	}
	root := document.Content[0]
	name, users := find(root, "users")
	if users == nil {
		if root.Style&yaml.FlowStyle != 0 {
			return nil, errByHand
		}
		return appendBlock(data, "users:\n"+block("  ", list, added)), nil
	}
	if isNull(users) {
		return insert(lines, name.Line, block(spaces(name.Column+1), list, added)), nil
	}
	key, node := find(users, list)
	switch {
	case users.Style&yaml.FlowStyle != 0:
		return nil, errByHand
	case node == nil:
		return insert(lines, users.Content[0].Line-1, block(spaces(users.Column-1), list, added)), nil
	case isNull(node):
		return insert(lines, key.Line, items(spaces(key.Column+1), added)), nil
	case node.Style&yaml.FlowStyle != 0:
		return flow(lines, node, added)
	}
	last := node.Content[len(node.Content)-1]
	return insert(lines, last.Line, items(spaces(node.Column-1), added)), nil
}

func find(mapping *yaml.Node, name string) (key, value *yaml.Node) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == name {
			return mapping.Content[i], mapping.Content[i+1]
		}
	}
	return nil, nil
}

func block(indent, list string, added []string) string {
	return indent + list + ":\n" + items(indent+"  ", added)
}

func items(indent string, added []string) string {
	var text strings.Builder
	for _, name := range added {
		fmt.Fprintf(&text, "%s- %s\n", indent, asYAML(name))
	}
	return text.String()
}

var plainName = strings.NewReplacer("_", "", "-", "", ".", "")

// asYAML quotes a name unless every reader takes it for text as it is.
func asYAML(name string) string {
	simple := strings.IndexFunc(plainName.Replace(name), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }) < 0
	if simple && name[0] >= 'a' && name[0] <= 'z' && !ambiguous(name) {
		return name
	}
	return strconv.Quote(name)
}

func spaces(n int) string { return strings.Repeat(" ", max(n, 0)) }

func appendBlock(data []byte, text string) []byte {
	if len(data) > 0 && data[len(data)-1] != '\n' {
		text = "\n" + text
	}
	return append(slices.Clone(data), text...)
}

// insert puts text behind the first n lines.
func insert(lines []string, n int, text string) []byte {
	head := strings.Join(lines[:n], "")
	if head != "" && !strings.HasSuffix(head, "\n") {
		head += "\n"
	}
	return []byte(head + text + strings.Join(lines[n:], ""))
}

// flow adds to a list in brackets: behind the opening one, where nothing can be in the way.
func flow(lines []string, node *yaml.Node, added []string) ([]byte, error) {
	if node.Line > len(lines) {
		return nil, errByHand
	}
	if len(node.Content) == 0 {
		return bracket(lines, node, quoted(added))
	}
	last := node.Content[len(node.Content)-1]
	line := []rune(lines[last.Line-1])
	from := last.Column - 1
	end := from + len([]rune(last.Value))
	if last.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
		end += 2
	}
	if end > len(line) {
		return nil, errByHand
	}
	lines = slices.Clone(lines)
	lines[last.Line-1] = string(line[:end]) + ", " + quoted(added) + string(line[end:])
	return []byte(strings.Join(lines, "")), nil
}

func bracket(lines []string, node *yaml.Node, text string) ([]byte, error) {
	line := []rune(lines[node.Line-1])
	if node.Column > len(line) || line[node.Column-1] != '[' {
		return nil, errByHand
	}
	lines = slices.Clone(lines)
	lines[node.Line-1] = string(line[:node.Column]) + text + string(line[node.Column:])
	return []byte(strings.Join(lines, "")), nil
}

func quoted(names []string) string {
	all := []string{}
	for _, name := range names {
		all = append(all, asYAML(name))
	}
	return strings.Join(all, ", ")
}

// Starter returns the file that a new installation begins with.
func Starter(admins []string) []byte {
	return []byte(strings.Replace(starter, "ADMINS\n", items("    ", admins), 1))
}

const starter = `# The hub's settings. After a change, run: sudo tljh-install install
users:
  # Admins manage the hub and may use sudo on this server.
  admin:
ADMINS
  # Students. More can be added on the hub's Admin page; each chooses a password at the first log-in.
  #allowed:
  #  - ada
  #  - grace

# What each user's server may take of this machine.
#limits:
#  memory: 1G
#  cpu: 1

# Servers that nobody uses are stopped after this many seconds; notebooks stay.
#services:
#  cull:
#    timeout: 3600

# What users see first: jupyterlab or notebook.
#user_environment:
#  default_app: jupyterlab

# Where the hub listens.
#http:
#  port: 80
`
