package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// limit bounds the size of a file; a class of a thousand users is well below.
const limit = 1 << 20

// Parse reads a file. The config is nil when the report has an error. Name is what the report calls the file.
func Parse(name string, data []byte) (*Config, Report) {
	p := &parser{config: Default(), report: Report{Name: name, Problems: []Problem{}, lines: strings.Split(string(data), "\n")}}
	if root := p.document(data); root != nil {
		p.section(root, "", schema)
		p.across()
	}
	p.report.sort()
	if p.report.Err() != nil {
		return nil, p.report
	}
	return p.config, p.report
}

type parser struct {
	config *Config
	report Report
	nodes  map[string]*yaml.Node // by path, for problems between keys
}

func (p *parser) wrong(node *yaml.Node, path, hint, format string, args ...any) {
	p.report.add(Problem{Path: path, Line: node.Line, Column: node.Column, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// document returns the mapping that a file consists of; nil when there is none, with the reason reported unless the file is empty.
func (p *parser) document(data []byte) *yaml.Node {
	p.nodes = map[string]*yaml.Node{}
	if why := unreadable(data); why != "" {
		p.report.add(Problem{Message: why, Hint: "write it anew with an editor for plain text, or take the last good copy"})
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	err := decode(decoder, &document)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		p.syntax(err, data)
		return nil
	}
	if err := decode(decoder, &second); err == nil {
		p.wrong(&second, "", "take the line with --- and all after it out", "the file holds a second document")
		return nil
	}
	if len(document.Content) == 0 {
		return nil
	}
	root := document.Content[0]
	if isNull(root) {
		return nil
	}
	if root.Kind != yaml.MappingNode {
		p.wrong(root, "", "begin with a section: users:", "the file holds no keys")
		return nil
	}
	return root
}

// decode is Decode for which the decoder's panics are errors as well.
func decode(decoder *yaml.Decoder, node *yaml.Node) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: %v", r)
		}
	}()
	return decoder.Decode(node)
}

func unreadable(data []byte) string {
	switch {
	case len(data) > limit:
		return fmt.Sprintf("the file is larger than %d KiB", limit>>10)
	case bytes.IndexByte(data, 0) >= 0:
		return "the file holds NUL bytes: it is no text"
	case !utf8.Valid(data):
		return "the file is not UTF-8 text"
	}
	return ""
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): (.*)$`)

// syntax reports an error of the YAML parser in words.
func (p *parser) syntax(err error, data []byte) {
	problem := Problem{Message: strings.TrimPrefix(err.Error(), "yaml: "), Hint: "check the indentation and the colons around this line"}
	if match := yamlLine.FindStringSubmatch(err.Error()); match != nil {
		problem.Line, _ = strconv.Atoi(match[1])
		problem.Column, problem.Message = 1, match[2]
	}
	for number, line := range strings.Split(string(data), "\n") {
		indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
		if at := strings.IndexByte(indent, '\t'); at >= 0 && strings.TrimSpace(line) != "" {
			problem = Problem{Line: number + 1, Column: at + 1, Message: "the line is indented with a tab", Hint: "use spaces: YAML takes no tabs here"}
			break
		}
	}
	p.report.add(problem)
}

// section walks through a mapping whose keys the schema knows.
func (p *parser) section(node *yaml.Node, path string, known *section) {
	if isNull(node) {
		return // "users:" with nothing below it says nothing
	}
	if !p.plain(node, path) {
		return
	}
	if node.Kind != yaml.MappingNode {
		p.wrong(node, path, "put its keys below it, indented", "%s must hold keys and values", path)
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := node.Content[i], node.Content[i+1]
		if !p.keyName(name, path, seen) {
			continue
		}
		below := join(path, name.Value)
		switch {
		case known.keys[name.Value] != nil:
			p.value(value, below, known.keys[name.Value])
		case known.sections[name.Value] != nil:
			p.section(value, below, known.sections[name.Value])
		case path == "auth" && classSection.MatchString(name.Value):
			p.class(value, below, name.Value)
		default:
			p.unknown(name, below, known)
		}
	}
}

func (p *parser) keyName(name *yaml.Node, path string, seen map[string]bool) bool {
	switch {
	case name.Kind != yaml.ScalarNode || name.Anchor != "" || name.ShortTag() == "!!merge":
		p.wrong(name, path, "write every key out", "anchors, aliases and merged keys are not used in this file")
		return false
	case seen[name.Value]:
		p.wrong(name, join(path, name.Value), "keep one of them", "%s is there twice", join(path, name.Value))
		return false
	}
	seen[name.Value] = true
	return true
}

func (p *parser) unknown(name *yaml.Node, path string, known *section) {
	hint := "known here: " + strings.Join(known.names(), ", ")
	if near := nearest(name.Value, known.names()); near != "" {
		hint = "did you mean " + near + "?"
	}
	p.wrong(name, path, hint, "there is no key %s", path)
}

// plain refuses what makes a file mean something else than it seems to say.
func (p *parser) plain(node *yaml.Node, path string) bool {
	if node.Kind == yaml.AliasNode || node.Anchor != "" {
		p.wrong(node, path, "write the value out", "anchors and aliases are not used in this file")
		return false
	}
	if tag := node.Tag; node.Style&yaml.TaggedStyle != 0 {
		p.wrong(node, path, "take the tag out", "tags such as %s are not used in this file", tag)
		return false
	}
	return true
}

// class takes an authenticator class's own options as they are.
func (p *parser) class(node *yaml.Node, path, name string) {
	if isNull(node) {
		return
	}
	if !p.plainBelow(node, path) {
		return
	}
	options := map[string]any{}
	if node.Kind != yaml.MappingNode {
		p.wrong(node, path, "put the class's options below it, indented", "%s must hold options and values", path)
		return
	}
	if err := node.Decode(&options); err != nil {
		p.wrong(node, path, "see the documentation of the class", "the options of %s cannot be read", name)
		return
	}
	p.config.Auth.Classes[name] = options
}

func (p *parser) plainBelow(node *yaml.Node, path string) bool {
	if !p.plain(node, path) {
		return false
	}
	seen := map[string]bool{}
	for i, child := range node.Content {
		if node.Kind == yaml.MappingNode && i%2 == 0 {
			if !p.keyName(child, path, seen) {
				return false
			}
			continue
		}
		if !p.plainBelow(child, path) {
			return false
		}
	}
	return true
}

// value decodes one key's value and hands it to the schema.
func (p *parser) value(node *yaml.Node, path string, k *key) {
	p.nodes[path] = node
	if !p.plainBelow(node, path) {
		return
	}
	if isNull(node) {
		if !k.nullable && k.kind != kindNames && k.kind != kindGroups {
			p.wrong(node, path, "give "+string(k.kind)+", or take the line out", "%s has no value", path)
		}
		return
	}
	value, ok := p.decoded(node, path, k)
	if !ok {
		return
	}
	if wrong, hint := k.set(p.config, value); wrong != "" {
		p.wrong(node, path, hint, "%s: %s", path, wrong)
	}
}

func (p *parser) decoded(node *yaml.Node, path string, k *key) (any, bool) {
	switch k.kind {
	case kindNames:
		return p.names(node, path)
	case kindGroups:
		return p.groups(node, path)
	}
	if node.Kind != yaml.ScalarNode {
		p.wrong(node, path, "example: "+k.path[strings.LastIndex(k.path, ".")+1:]+": "+k.example, "%s must be %s", path, k.kind)
		return nil, false
	}
	value, err := scalar(node, k.kind)
	if err != nil {
		p.wrong(node, path, err.hint, "%s must be %s%s", path, k.kind, err.detail)
		return nil, false
	}
	return value, true
}

// scalarError says why a value is not of its kind.
type scalarError struct{ detail, hint string }

// decimal is a number that YAML 1.1, by which the hub reads the file, and 1.2 read alike.
var (
	decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)
	real    = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?$`)
	size    = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)([KMGT])B?$`)
)

func scalar(node *yaml.Node, kind kind) (any, *scalarError) {
	quoted := node.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	text := node.Value
	switch kind {
	case kindText:
		if !quoted && ambiguous(text) {
			return nil, &scalarError{fmt.Sprintf(", and %s alone is none", text), fmt.Sprintf("quote it: %q", text)}
		}
		return text, nil
	case kindBool:
		if quoted || text != "true" && text != "false" {
			return nil, &scalarError{fmt.Sprintf(", not %q", text), "write true or false, without quotes"}
		}
		return text == "true", nil
	case kindInt:
		number, err := strconv.Atoi(text)
		if quoted || !decimal.MatchString(text) || err != nil {
			return nil, &scalarError{fmt.Sprintf(", not %q", text), "write it in digits, without quotes"}
		}
		return number, nil
	case kindNumber:
		number, err := strconv.ParseFloat(text, 64)
		if quoted || !real.MatchString(text) || err != nil {
			return nil, &scalarError{fmt.Sprintf(", not %q", text), "write it in digits, without quotes: 0.5"}
		}
		return number, nil
	}
	return bytesOf(text)
}

func bytesOf(text string) (any, *scalarError) {
	wrong := &scalarError{fmt.Sprintf(", not %q", text), "write a number with K, M, G or T behind it: 512M, 1.5G"}
	if decimal.MatchString(text) {
		number, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, wrong
		}
		return number, nil
	}
	match := size.FindStringSubmatch(text)
	if match == nil || strings.HasSuffix(text, "B") {
		return nil, wrong
	}
	number, err := strconv.ParseFloat(match[1], 64)
	bytes := number * float64(int64(1)<<(10*(1+strings.Index("KMGT", match[2]))))
	if err != nil || bytes > 1<<60 {
		return nil, wrong
	}
	return int64(bytes), nil
}

func (p *parser) names(node *yaml.Node, path string) (any, bool) {
	if node.Kind != yaml.SequenceNode {
		p.wrong(node, path, "write a line for each below it, beginning with a dash", "%s must be %s", path, kindNames)
		return nil, false
	}
	list, good := []string{}, true
	for i, item := range node.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		if item.Kind != yaml.ScalarNode || isNull(item) {
			p.wrong(item, at, "write a dash and a name", "%s must be a name", at)
			good = false
			continue
		}
		value, err := scalar(item, kindText)
		if err != nil {
			p.wrong(item, at, err.hint, "%s must be a name%s", at, err.detail)
			good = false
			continue
		}
		name := value.(string)
		if err := CheckUserName(name); err != nil {
			p.wrong(item, at, "use the name that the user logs in with", "%s: %v", at, err)
			good = false
		}
		p.nodes[at] = item
		list = append(list, name)
	}
	return list, good
}

func (p *parser) groups(node *yaml.Node, path string) (any, bool) {
	if node.Kind != yaml.MappingNode {
		p.wrong(node, path, "example: {project: [ada, grace]}", "%s must be %s", path, kindGroups)
		return nil, false
	}
	groups, good := map[string][]string{}, true
	for i := 0; i+1 < len(node.Content); i += 2 {
		name := node.Content[i]
		at := join(path, name.Value)
		if _, err := scalar(name, kindText); err != nil {
			p.wrong(name, at, err.hint, "%s must be a group's name%s", at, err.detail)
			good = false
			continue
		}
		if isNull(node.Content[i+1]) {
			groups[name.Value] = nil
			continue
		}
		members, ok := p.names(node.Content[i+1], at)
		if good = good && ok; ok {
			groups[name.Value] = members.([]string)
		}
	}
	return groups, good
}

// across judges what only several keys together tell.
func (p *parser) across() {
	banned := map[string]bool{}
	for _, name := range p.config.Users.Banned {
		banned[strings.ToLower(name)] = true
	}
	for i, name := range p.config.Users.Admin {
		at := fmt.Sprintf("users.admin[%d]", i)
		if node := p.nodes[at]; node != nil && banned[strings.ToLower(name)] {
			p.wrong(node, at, "take the name out of users.admin or out of users.banned", "%s is an admin and banned", name)
		}
	}
}

// ambiguous tells whether YAML 1.1 or 1.2 reads a plain text as something else than text.
func ambiguous(text string) bool {
	var out any
	if err := yaml.Unmarshal([]byte(text), &out); err != nil {
		return true
	}
	if _, ok := out.(string); !ok && text != "" {
		return true
	}
	switch strings.ToLower(text) {
	case "y", "n", "yes", "no", "on", "off", "true", "false", "null", "~", "=", "<<":
		return true
	}
	return yaml11.MatchString(text)
}

// yaml11 matches what YAML 1.1 takes for a number or a date: octal and sexagesimal numbers, digits with underscores, exponents.
var yaml11 = regexp.MustCompile(`^[-+]?(0[0-7_]+|0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*(:[0-5]?[0-9])*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|\.[0-9_]+([eE][-+]?[0-9]+)?|\.inf|\.Inf|\.INF)$|^\.(nan|NaN|NAN)$|^\d{4}-\d\d?-\d\d?`)

func isNull(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null" && node.Style&yaml.TaggedStyle == 0
}

func isPlainText(text string) bool {
	return utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) && r != ' ' }) < 0
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// nearest returns the name that a wrong one was most likely meant to be; "" when none is near.
func nearest(wrong string, names []string) string {
	best, least := "", 3
	for _, name := range names {
		if d := distance(strings.ToLower(wrong), name); d < least && d < len(name) {
			best, least = name, d
		}
	}
	return best
}

// distance is the number of letters to insert, delete or replace to turn a into b.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		previous := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := previous
			if a[i-1] != b[j-1] {
				cost++
			}
			previous, row[j] = row[j], min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
