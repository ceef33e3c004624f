package config

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

const (
	// deepest is how far values may be nested; the hub's reader cannot go on for ever.
	deepest = 20
	// most is how many problems are collected.
	most = 1000
)

// walker goes through a document with the table of keys, and collects what is wrong.
type walker struct {
	src      *source
	keys     []key
	problems []Problem
	at       map[string]*yaml.Node // path → key or item that stands in the file
}

func newWalker(src *source) *walker {
	return &walker{src: src, at: map[string]*yaml.Node{}}
}

func (w *walker) tell(severity Severity, node *yaml.Node, path, message, hint string) {
	if len(w.problems) >= most {
		return
	}
	line, column := max(node.Line, 1), max(node.Column, 1)
	w.problems = append(w.problems, Problem{
		Severity: severity, Path: path, Line: line, Column: column, Message: message, Hint: hint, width: w.width(node),
	})
}

func (w *walker) fail(node *yaml.Node, path, message, hint string) {
	w.tell(Error, node, path, message, hint)
}

// width is how many characters a scalar takes in its line; of anything else, the first is shown.
func (w *walker) width(node *yaml.Node) int {
	if node.Kind != yaml.ScalarNode {
		return 1
	}
	start := w.src.offset(node.Line, node.Column)
	return utf8.RuneCount(w.src.data[start:max(w.src.scalarEnd(node, start), start)])
}

// scalarEnd returns where a scalar ends that begins at an offset, or the offset itself where that cannot be told: text of several
// lines.
func (s *source) scalarEnd(node *yaml.Node, start int) int {
	rest := s.data[start:]
	if node.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 || len(rest) == 0 {
		return start
	}
	if node.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0 {
		if bytes.HasPrefix(rest, []byte(node.Value)) {
			return start + len(node.Value)
		}
		return start
	}
	if end := s.quotedEnd(start); !bytes.ContainsAny(s.data[start:end], "\r\n") {
		return end
	}
	return start
}

// quotedEnd returns where a text ends that begins with quotes at an offset.
func (s *source) quotedEnd(start int) int {
	if start >= len(s.data) {
		return start
	}
	quote := s.data[start]
	for i := start + 1; i < len(s.data); i++ {
		switch {
		case s.data[i] == '\\' && quote == '"':
			i++
		case s.data[i] == '\'' && quote == '\'' && i+1 < len(s.data) && s.data[i+1] == '\'':
			i++
		case s.data[i] == quote:
			return i + 1
		}
	}
	return len(s.data)
}

// tabInLines tells whether there is a tab in or behind a text in quotes of several lines. In one line, tabs are found without this.
func (s *source) tabInLines(start int) bool {
	end := s.quotedEnd(start)
	return bytes.ContainsAny(s.data[start:end], "\r\n") && bytes.IndexByte(s.data[start:s.lineEnd(end)], '\t') >= 0
}

// escapesApostrophe tells whether there is a \' in a text in double quotes, which is an escape for some programs only.
func (s *source) escapesApostrophe(start int) bool {
	for i, end := start+1, s.quotedEnd(start); i < end-1; i++ {
		if s.data[i] == '\\' {
			if i++; s.data[i] == '\'' {
				return true
			}
		}
	}
	return false
}

// lineEnd returns where the line ends that an offset is in.
func (s *source) lineEnd(offset int) int {
	if n := bytes.IndexAny(s.data[offset:], "\r\n"); n >= 0 {
		return offset + n
	}
	return len(s.data)
}

// guard refuses what the YAML of a config does without, wherever it stands. It returns false where the nesting is too deep.
func (w *walker) guard(node *yaml.Node, depth int, inFlow bool) bool {
	start := w.src.offset(node.Line, node.Column)
	switch {
	case depth > deepest:
		w.fail(node, "", "this is nested too deeply", "")
		return false
	case node.Kind == yaml.AliasNode:
		w.fail(node, "", "aliases (*name) are not used in this file", "write the value out, or put quotes around a text that begins with *")
	case node.Anchor != "":
		w.fail(node, "", "anchors (&name) are not used in this file", "write the value alone, or put quotes around a text that begins with &")
	case start < len(w.src.data) && w.src.data[start] == '!':
		w.fail(node, "", "tags (!name) are not used in this file", "write the value alone, or put quotes around a text that begins with !")
	}
	if node.Kind == yaml.ScalarNode {
		w.guardScalar(node, start, inFlow)
	}
	inFlow = inFlow || node.Style&yaml.FlowStyle != 0
	for _, child := range node.Content {
		if !w.guard(child, depth+1, inFlow) {
			return false
		}
	}
	return true
}

var blockHeader = regexp.MustCompile(`^[|>][-+0-9]*( *| +#.*)$`)

// guardScalar refuses ways to write a scalar that the library takes, and the hub does not.
func (w *walker) guardScalar(node *yaml.Node, start int, inFlow bool) {
	const quoted, block = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle, yaml.LiteralStyle | yaml.FoldedStyle
	switch {
	case inFlow && node.Style&(quoted|block) == 0 && (strings.Contains(node.Value, "?") || strings.HasSuffix(node.Value, ":")):
		w.fail(node, "", "between brackets, programs do not agree on how to read this colon or question mark", "put the text in quotes")
	case node.Style&block != 0 && !blockHeader.MatchString(w.src.line(node.Line)[start-w.src.starts[node.Line-1]:]):
		w.fail(node, "", "a | or > must be the last in its line", "put what follows into the lines below")
	case node.Style&yaml.DoubleQuotedStyle != 0 && w.src.escapesApostrophe(start):
		w.fail(node, "", `programs do not agree on how to read \' between double quotes`, "write ' alone")
	case node.Style&quoted != 0 && w.src.tabInLines(start):
		w.fail(node, "", "there is a tab in this text, or behind it", `use spaces; inside a text, write \t between double quotes`)
	}
}

// unread tells whether something is wrong in a section, so that what it means together with others cannot be told.
func (w *walker) unread(section string) bool {
	return slices.ContainsFunc(w.problems, func(p Problem) bool {
		rest, within := strings.CutPrefix(p.Path, section)
		return p.Severity == Error && within && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

func (w *walker) isNull(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && read(node) == asNull
}

// section is a branch of the tree that the table's paths make.
type section struct {
	any      *anyName // of a section that has names of a person's choice
	names    []string // in the table's order
	keys     map[string]key
	sections map[string]*section
}

func tree(keys []key) *section {
	root := &section{}
	for _, key := range keys {
		at := root
		parts := strings.Split(key.path, ".")
		for _, part := range parts[:len(parts)-1] {
			if part == "*" {
				at.any = key.any
			}
			at = at.enter(part)
		}
		at.add(parts[len(parts)-1], key)
	}
	return root
}

func (s *section) enter(name string) *section {
	if s.sections[name] == nil {
		if s.sections == nil {
			s.sections = map[string]*section{}
		}
		s.sections[name] = &section{}
		if name != "*" {
			s.names = append(s.names, name)
		}
	}
	return s.sections[name]
}

func (s *section) add(name string, k key) {
	if s.keys == nil {
		s.keys = map[string]key{}
	}
	s.keys[name] = k
	if name != "*" && k.typ != anything {
		s.names = append(s.names, name)
	}
}

func (w *walker) root(node *yaml.Node, c *Config) {
	w.keys = schema(c)
	w.section(node, "", tree(w.keys))
}

func (w *walker) section(node *yaml.Node, path string, s *section) {
	w.mapping(node, path, func(name *yaml.Node, value *yaml.Node) {
		full := join(path, name.Value)
		key, known := s.keys[name.Value]
		wild, free := s.keys["*"]
		inner := s.sections[name.Value]
		if inner == nil && s.any != nil {
			if err := s.any.check(name.Value); err != nil {
				w.fail(name, full, err.Error(), "")
				return
			}
			kept := path + "[" + s.any.kept(name.Value) + "]"
			if first := w.at[kept]; first != nil {
				w.fail(name, full, fmt.Sprintf("%s is given a second time; the first is in line %d", short(s.any.kept(name.Value)), first.Line), "join the two")
				return
			}
			w.at[kept] = name
			inner = s.sections["*"]
		}
		switch {
		case inner != nil:
			w.section(value, full, inner)
		case known && name.Value != "*":
			key.read(w, value, full)
		case free && (value.Kind == yaml.MappingNode || nearest(name.Value, s.names) == ""):
			wild.read(w, value, full)
		default:
			w.unknown(name, path, s)
		}
	})
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// mapping goes through the keys of a section, once each.
func (w *walker) mapping(node *yaml.Node, path string, each func(name, value *yaml.Node)) {
	if w.isNull(node) || node.Kind == yaml.AliasNode {
		return
	}
	if node.Kind != yaml.MappingNode {
		w.fail(node, path, w.subject(path)+" must have keys with values, not "+noun(node), w.sectionHint(path))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := node.Content[i], node.Content[i+1]
		if !w.isKey(name, path) {
			continue
		}
		full := join(path, name.Value)
		if line, twice := seen[name.Value]; twice {
			w.fail(name, full, fmt.Sprintf("%s is given a second time; the first is in line %d", short(full), line), "join the two")
			continue
		}
		seen[name.Value] = name.Line
		w.at[full] = name
		each(name, value)
	}
}

func (w *walker) subject(path string) string {
	if path == "" {
		return "the file"
	}
	return short(path)
}

func (w *walker) sectionHint(path string) string {
	name := path[strings.LastIndex(path, ".")+1:]
	within := strings.Split(path, ".")
	for _, key := range w.keys {
		row := strings.Split(key.path, ".")
		fits := path != "" && len(row) > len(within)
		for i := 0; fits && i < len(within); i++ {
			fits = row[i] == within[i] || row[i] == "*" && key.any != nil
		}
		if rest := strings.Join(row[min(len(within), len(row)):], "."); fits && rest != "*" {
			first, _, deeper := strings.Cut(rest, ".")
			if deeper {
				return fmt.Sprintf("write %s: and, indented in the lines below, its keys", name)
			}
			return fmt.Sprintf("write %s: and, indented in the line below, for example %s: %s", name, first, key.example)
		}
	}
	if path == "" {
		return "write users: and, indented in the lines below, its keys"
	}
	return ""
}

func (w *walker) isKey(name *yaml.Node, path string) bool {
	switch {
	case name.Kind == yaml.AliasNode:
		return false
	case name.Kind != yaml.ScalarNode:
		w.fail(name, path, "a key must be a word, not "+noun(name), "")
		return false
	}
	switch what := read(name); {
	case name.Value == "<<" && what != asText:
		w.fail(name, path, "merge keys (<<) are not used in this file", "write the values out")
	case name.Value == "":
		w.fail(name, path, "a key is missing before the colon", "")
	case what != asText:
		w.fail(name, join(path, name.Value), fmt.Sprintf("%s is read as %s, and cannot be a key like this", short(name.Value), oddNoun(name)), "put it in quotes: "+quoted(name.Value))
	default:
		return true
	}
	return false
}

func (w *walker) unknown(name *yaml.Node, path string, s *section) {
	full := join(path, name.Value)
	hint := w.suggestion(name.Value, path, s)
	if strings.ContainsFunc(name.Value, func(r rune) bool { return r != ' ' && unicode.IsSpace(r) }) {
		hint = "there is a character in it that only looks like a space: type the line anew"
	}
	w.fail(name, full, "there is no key "+short(full), hint)
}

func (w *walker) suggestion(name, path string, s *section) string {
	if near := nearest(name, s.names); near != "" {
		return "did you mean " + join(path, near) + "?"
	}
	var last, paths []string
	for _, key := range w.keys {
		if path == "" && (key.path == name || strings.HasPrefix(key.path, name+".")) {
			return "write " + strings.ReplaceAll(name, ".", ": and, indented in the line below, ") + ":"
		}
		if name := key.path[strings.LastIndex(key.path, ".")+1:]; name != "*" {
			last, paths = append(last, name), append(paths, key.path)
		}
	}
	if near := nearest(name, last); near != "" {
		return "did you mean " + paths[slices.Index(last, near)] + "?"
	}
	if path == "" {
		return "the keys here are " + strings.Join(s.names, ", ")
	}
	if len(s.names) == 0 {
		return "write the path of a key: " + strings.Replace(keyIn(strings.Split(path, ".")), "*", "NAME", 1)
	}
	return "the keys of " + path + " are " + strings.Join(s.names, ", ")
}

// noun says what a node is.
func noun(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "keys with values"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		if what := read(node); what != asText {
			return oddNoun(node)
		}
		return "a text"
	}
	return "this"
}

// short keeps messages short whatever the file holds.
func short(text string) string {
	if runes := []rune(text); len(runes) > 60 {
		return string(runes[:57]) + "…"
	}
	return text
}

// quoted writes a text between quotes, as YAML.
func quoted(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}
