package config

import (
	"bytes"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// AddToList adds names to a list of users, such as users.admin, and leaves every other byte as it is. Names that are in the list
// already are not added again. The list is made when there is none. The file must be valid, and what is returned has been read again.
func AddToList(data []byte, path string, values []string) ([]byte, error) {
	if listOf(&Config{}, path) == nil {
		return nil, fmt.Errorf("%s is no list", path)
	}
	old, report := Parse("the config", data)
	if err := report.Err(); err != nil {
		return nil, err
	}
	missing, err := notIn(*listOf(old, path), values)
	if err != nil {
		return nil, err
	}
	if len(missing) == 0 {
		return data, nil
	}
	if err := contradiction(old, path, missing); err != nil {
		return nil, err
	}
	text, marked := bytes.CutPrefix(data, []byte(bom))
	src, _ := newSource(text)
	root, _ := src.parse()
	e := &editor{src: src, newline: lineBreak(text)}
	edited, ok := e.add(root, strings.Split(path, "."), missing)
	if marked {
		edited = append([]byte(bom), edited...)
	}
	if !ok || !addsOnly(old, edited, path, missing) {
		return nil, fmt.Errorf("%s is written in a way that only a person can edit safely: add %s there by hand", path, strings.Join(missing, ", "))
	}
	return edited, nil
}

// listOf returns the field of a list, or nil.
func listOf(c *Config, path string) *[]string {
	for _, key := range schema(c) {
		if key.path == path {
			return key.list
		}
	}
	return nil
}

func notIn(list, values []string) ([]string, error) {
	var missing []string
	for _, value := range values {
		if err := CheckUserName(value); err != nil {
			return nil, err
		}
		if name := strings.ToLower(value); !slices.Contains(list, name) && !slices.Contains(missing, name) {
			missing = append(missing, name)
		}
	}
	return missing, nil
}

// contradiction finds who would be both banned and an admin.
func contradiction(c *Config, path string, names []string) error {
	other := map[string]string{"users.admin": "users.banned", "users.banned": "users.admin"}[path]
	if other == "" {
		return nil
	}
	for _, name := range names {
		if slices.Contains(*listOf(c, other), name) {
			return fmt.Errorf("%s is in %s, and cannot be in %s as well", name, other, path)
		}
	}
	return nil
}

// addsOnly tells whether edited bytes mean what they did before, with names added to one list.
func addsOnly(old *Config, edited []byte, path string, added []string) bool {
	now, report := Parse("", edited)
	if report.Err() != nil {
		return false
	}
	list, before := *listOf(now, path), *listOf(old, path)
	if !slices.Equal(list, slices.Concat(before, added)) {
		return false
	}
	*listOf(now, path) = before
	return reflect.DeepEqual(now, old)
}

func lineBreak(data []byte) string {
	at := bytes.IndexAny(data, "\r\n")
	switch {
	case at < 0 || data[at] == '\n':
		return "\n"
	case at+1 < len(data) && data[at+1] == '\n':
		return "\r\n"
	}
	return "\r"
}

// editor splices lists into a text.
type editor struct {
	src     *source
	newline string
}

// add finds how far a path goes in the file, and adds what is missing of it. Where it finds no safe way, it returns false.
func (e *editor) add(root *yaml.Node, path []string, values []string) ([]byte, bool) {
	if root == nil || root.Kind == yaml.ScalarNode && root.Value == "" {
		return e.appendBlock(0, path, values), true
	}
	var name *yaml.Node // the key that node is the value of
	node, rest := root, path
	for len(rest) > 0 && node.Kind == yaml.MappingNode {
		inner, value := pair(node, rest[0])
		if inner == nil {
			break
		}
		name, node, rest = inner, value, rest[1:]
	}
	switch {
	case node.Kind == yaml.MappingNode && node.Style&yaml.FlowStyle != 0:
		return e.intoFlowMapping(node, rest, values)
	case node.Kind == yaml.MappingNode && name == nil:
		return e.appendBlock(node.Column-1, rest, values), true
	case node.Kind == yaml.MappingNode:
		return e.afterLine(name.Line, node.Column-1, rest, values)
	case node.Kind == yaml.SequenceNode && node.Style&yaml.FlowStyle != 0:
		return e.intoFlowList(node, values)
	case node.Kind == yaml.SequenceNode:
		return e.intoBlockList(node, values)
	case node.Kind == yaml.ScalarNode && name != nil:
		return e.insteadOfNull(name, node, rest, values)
	}
	return nil, false
}

func pair(mapping *yaml.Node, name string) (*yaml.Node, *yaml.Node) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == name {
			return mapping.Content[i], mapping.Content[i+1]
		}
	}
	return nil, nil
}

func (e *editor) splice(at int, text string) []byte {
	return slices.Concat(e.src.data[:at], []byte(text), e.src.data[at:])
}

// block writes a list under its keys, one line each.
func block(indent int, path []string, values []string, newline string) string {
	var b strings.Builder
	for _, name := range path {
		b.WriteString(strings.Repeat(" ", indent) + name + ":" + newline)
		indent += 2
	}
	return b.String() + blockItems(indent, values, newline)
}

func blockItems(indent int, values []string, newline string) string {
	var b strings.Builder
	for _, value := range values {
		b.WriteString(strings.Repeat(" ", indent) + "- " + scalarText(value) + newline)
	}
	return b.String()
}

func flowItems(values []string) string {
	var items []string
	for _, value := range values {
		items = append(items, scalarText(value))
	}
	return strings.Join(items, ", ")
}

var safeText = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.@-]*$`)

// scalarText writes a text so that it is read as itself, inside of brackets, too.
func scalarText(text string) string {
	if safeText.MatchString(text) && isPlainText(text) {
		return text
	}
	return quoted(text)
}

func (e *editor) appendBlock(indent int, path, values []string) []byte {
	text := block(indent, path, values, e.newline)
	if data := e.src.data; len(data) > 0 && data[len(data)-1] != '\n' && data[len(data)-1] != '\r' {
		text = e.newline + text
	}
	return e.splice(len(e.src.data), text)
}

// afterLine puts keys into a section right after the line that begins it, so that comments stay with what they are about.
func (e *editor) afterLine(line, indent int, path, values []string) ([]byte, bool) {
	text := block(indent, path, values, e.newline)
	if line < len(e.src.starts) {
		return e.splice(e.src.starts[line], text), true
	}
	return e.splice(len(e.src.data), e.newline+strings.TrimSuffix(text, e.newline)), true
}

func (e *editor) intoFlowMapping(node *yaml.Node, path, values []string) ([]byte, bool) {
	at := e.src.offset(node.Line, node.Column)
	if at >= len(e.src.data) || e.src.data[at] != '{' {
		return nil, false
	}
	text := flowPath(path, values)
	if len(node.Content) > 0 {
		text += ", "
	}
	return e.splice(at+1, text), true
}

// flowPath writes a list under its keys on one line.
func flowPath(path, values []string) string {
	text := "[" + flowItems(values) + "]"
	for i, name := range slices.Backward(path) {
		text = name + ": " + text
		if i > 0 {
			text = "{" + text + "}"
		}
	}
	return text
}

func (e *editor) intoFlowList(node *yaml.Node, values []string) ([]byte, bool) {
	if len(node.Content) == 0 {
		at := e.src.offset(node.Line, node.Column)
		return e.splice(at+1, flowItems(values)), at < len(e.src.data) && e.src.data[at] == '['
	}
	end, ok := e.end(node.Content[len(node.Content)-1])
	if !ok {
		return nil, false
	}
	return e.splice(end, ", "+flowItems(values)), true
}

func (e *editor) intoBlockList(node *yaml.Node, values []string) ([]byte, bool) {
	last := node.Content[len(node.Content)-1]
	if _, ok := e.end(last); !ok {
		return nil, false
	}
	return e.afterLine(last.Line, node.Column-1, nil, values)
}

// end returns where a scalar ends.
func (e *editor) end(node *yaml.Node) (int, bool) {
	start := e.src.offset(node.Line, node.Column)
	end := e.src.scalarEnd(node, start)
	return end, node.Kind == yaml.ScalarNode && end > start
}

// insteadOfNull gives a value to a key that has none.
func (e *editor) insteadOfNull(name, node *yaml.Node, rest, values []string) ([]byte, bool) {
	if node.Value == "" {
		return e.afterLine(name.Line, name.Column+1, rest, values)
	}
	start := e.src.offset(node.Line, node.Column)
	end, ok := e.end(node)
	if !ok {
		return nil, false
	}
	text := flowPath(rest, values)
	if len(rest) > 0 {
		text = "{" + text + "}"
	}
	return slices.Concat(e.src.data[:start], []byte(text), e.src.data[end:]), true
}
