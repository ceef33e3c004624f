package config

import (
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// editor splices values into a text.
type editor struct {
	src     *source
	newline string
}

// payload is what an edit puts into a place: items for a list, or else a value on one line. All of it is YAML already.
type payload struct {
	items []string
	value string
}

func (p payload) flow() string {
	if p.items == nil {
		return p.value
	}
	return "[" + strings.Join(p.items, ", ") + "]"
}

var safeText = regexp.MustCompile(`^[A-Za-z0-9_/][A-Za-z0-9_./@-]*$`)

// scalarText writes a text so that it is read as itself, inside of brackets, too.
func scalarText(text string) string {
	if safeText.MatchString(text) && isPlainText(text) {
		return text
	}
	return quotedAll(text)
}

func pair(mapping *yaml.Node, name string) (*yaml.Node, *yaml.Node) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == name {
			return mapping.Content[i], mapping.Content[i+1]
		}
	}
	return nil, nil
}

func (e *editor) splice(from, to int, text string) []byte {
	return slices.Concat(e.src.data[:from], []byte(text), e.src.data[to:])
}

// walk goes along a path as far as the file does: the last key, its value, and what is left of the path.
func walk(root *yaml.Node, path []string) (name, node *yaml.Node, rest []string) {
	node, rest = root, path
	for len(rest) > 0 && node.Kind == yaml.MappingNode {
		inner, value := pair(node, rest[0])
		if inner == nil {
			break
		}
		name, node, rest = inner, value, rest[1:]
	}
	return name, node, rest
}

// put adds what is missing of a path with its payload; items are added to a list that is there. Where it finds no safe way, it returns false.
func (e *editor) put(root *yaml.Node, path []string, p payload) ([]byte, bool) {
	if root == nil || root.Kind == yaml.ScalarNode && root.Value == "" {
		return e.appendBlock(0, path, p), true
	}
	name, node, rest := walk(root, path)
	flow := node.Style&yaml.FlowStyle != 0
	switch {
	case node.Kind == yaml.MappingNode && len(rest) > 0 && flow:
		return e.intoFlowMapping(node, rest, p)
	case node.Kind == yaml.MappingNode && len(rest) > 0 && name == nil:
		return e.appendBlock(node.Column-1, rest, p), true
	case node.Kind == yaml.MappingNode && len(rest) > 0:
		return e.afterLine(name.Line, node.Column-1, rest, p)
	case node.Kind == yaml.SequenceNode && len(rest) == 0 && flow:
		return e.intoFlowList(name, node, p.items)
	case node.Kind == yaml.SequenceNode && len(rest) == 0:
		return e.intoBlockList(node, p.items)
	case node.Kind == yaml.ScalarNode && name != nil:
		return e.insteadOfNull(name, node, rest, p)
	}
	return nil, false
}

// set gives a path a value. Of a list or a mapping that is there, all stays that the value holds, too.
func (e *editor) set(root *yaml.Node, path []string, value string) ([]byte, bool) {
	if merged, ok := e.merge(root, path, value); ok {
		return merged, true
	}
	return e.replace(root, path, value)
}

// replace gives a path a value, in the place of the one that is there.
func (e *editor) replace(root *yaml.Node, path []string, value string) ([]byte, bool) {
	p := payload{value: value}
	if root == nil || root.Kind == yaml.ScalarNode && root.Value == "" {
		return e.put(root, path, p)
	}
	name, node, rest := walk(root, path)
	if len(rest) > 0 || name == nil {
		return e.put(root, path, p)
	}
	if node.Kind == yaml.ScalarNode && node.Value == "" && node.Style == 0 {
		at := e.afterColon(name)
		return e.splice(at, at, " "+value), at > 0
	}
	from, to := e.span(name, node)
	if to <= from {
		return nil, false
	}
	if node.Kind != yaml.ScalarNode && node.Style&yaml.FlowStyle == 0 {
		colon := e.afterColon(name)
		return e.splice(colon, to, " "+value+e.remarksOf(name, node, colon)), true
	}
	if e.src.data[from-1] == ':' {
		value = " " + value
	}
	return e.splice(from, to, value), true
}

// remarksOf returns what stays of a block when all of its items go: what stands behind its name, and the remarks that are indented as the items are.
func (e *editor) remarksOf(name, node *yaml.Node, colon int) string {
	rest := string(e.src.data[colon:e.src.lineEnd(colon)])
	if !strings.HasPrefix(strings.TrimSpace(rest), "#") {
		rest = ""
	}
	for n := name.Line + 1; n <= e.lastLine(name); n++ {
		if line := e.src.line(n); indentation(line) == node.Column-1 && strings.HasPrefix(strings.TrimSpace(line), "#") {
			rest += e.newline + line
		}
	}
	return rest
}

// afterColon returns where the value of a key begins, right after its colon; 0 where that can't be told.
func (e *editor) afterColon(name *yaml.Node) int {
	start := e.src.offset(name.Line, name.Column)
	end := e.src.scalarEnd(name, start)
	if colon := strings.IndexByte(e.src.line(name.Line)[end-e.src.starts[name.Line-1]:], ':'); end > start && colon >= 0 {
		return end + colon + 1
	}
	return 0
}

// span returns where a value stands that is to be replaced. One of several lines is replaced from its key's line on.
func (e *editor) span(name, node *yaml.Node) (from, to int) {
	src := e.src
	from = src.offset(node.Line, node.Column)
	switch {
	case node.Anchor != "" || node.Kind == yaml.AliasNode:
		return 0, 0
	case node.Kind == yaml.ScalarNode && node.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0:
		if node.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
			return from, src.quotedEnd(from)
		}
		return from, src.scalarEnd(node, from)
	case node.Style&yaml.FlowStyle != 0:
		return from, src.bracketEnd(from)
	}
	colon := e.afterColon(name)
	if colon == 0 {
		return 0, 0
	}
	// A block: all lines that are indented deeper than the key. What follows the colon in its own line is a header, or nothing.
	last := e.lastLine(name)
	if last < name.Line {
		return 0, 0
	}
	return e.src.skipBlanks(colon), src.starts[last-1] + len(src.line(last))
}

// skipBlanks goes on as long as there are blanks, one of which stays between a colon and what follows.
func (s *source) skipBlanks(at int) int {
	for at < len(s.data) && s.data[at] == ' ' {
		at++
	}
	return at
}

// bracketEnd returns where a list or mapping between brackets ends that begins at an offset; the offset itself where that can't be told.
func (s *source) bracketEnd(start int) int {
	depth := 0
	for i := start; i < len(s.data); i++ {
		switch c := s.data[i]; {
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			if depth--; depth == 0 {
				return i + 1
			}
		case (c == '"' || c == '\'') && i > 0 && strings.ContainsRune(" [{,:\n\r", rune(s.data[i-1])):
			i = s.quotedEnd(i) - 1
		case c == '#' && i > 0 && strings.ContainsRune(" \n\r", rune(s.data[i-1])):
			i = s.lineEnd(i) - 1
		}
	}
	return start
}

// lastLine returns the last line of what belongs to a key in block style, blank lines and comments at its end left out.
func (e *editor) lastLine(name *yaml.Node) int {
	last := name.Line
	for n := name.Line + 1; n <= len(e.src.starts); n++ {
		line := e.src.line(n)
		text := strings.TrimSpace(line)
		if text == "" || text[0] == '#' {
			continue
		}
		indent := indentation(line)
		item := (text == "-" || strings.HasPrefix(text, "- ")) && indent == name.Column-1
		if indent < name.Column || text == "---" || text == "..." {
			if !item {
				break
			}
		}
		last = n
	}
	return last
}

// unset takes out the highest key that holds nothing else.
func (e *editor) unset(root *yaml.Node, path []string) ([]byte, bool) {
	if root == nil {
		return e.src.data, true
	}
	for depth := len(path); depth > 0; depth-- {
		if _, _, rest := walk(root, path[:depth]); len(rest) > 0 {
			return e.src.data, true // it is not there
		}
	}
	depth := len(path)
	for depth > 1 {
		_, parent, _ := walk(root, path[:depth-1])
		if len(parent.Content) != 2 || e.comments(root, path[:depth-1], path[:depth]) {
			break
		}
		depth--
	}
	return e.cut(root, path[:depth])
}

// comments tells whether lines would be lost with a section that are no part of the key in it.
func (e *editor) comments(root *yaml.Node, outer, inner []string) bool {
	name, _, _ := walk(root, outer)
	key, _, _ := walk(root, inner)
	for n := name.Line; n <= e.lastLine(name); n++ {
		line := strings.TrimSpace(e.src.line(n))
		if strings.HasPrefix(line, "#") || n == name.Line && n != key.Line && strings.Contains(line, "#") {
			return true
		}
	}
	return false
}

// cut removes a key with its value.
func (e *editor) cut(root *yaml.Node, path []string) ([]byte, bool) {
	name, node, _ := walk(root, path)
	_, parent, _ := walk(root, path[:len(path)-1])
	if parent.Style&yaml.FlowStyle != 0 {
		return e.cutFlow(parent, name, node)
	}
	if name.Line == parent.Line && len(path) > 1 && strings.TrimSpace(e.src.line(name.Line)[:e.src.offset(name.Line, name.Column)-e.src.starts[name.Line-1]]) != "" {
		return nil, false
	}
	last := e.lastLine(name)
	if node.Style&yaml.FlowStyle != 0 {
		line, _ := e.src.place(max(e.src.bracketEnd(e.src.offset(node.Line, node.Column))-1, 0))
		last = max(last, line)
	}
	if node.Kind == yaml.ScalarNode && node.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		line, _ := e.src.place(e.src.quotedEnd(e.src.offset(node.Line, node.Column)) - 1)
		last = max(last, line)
	}
	to := len(e.src.data)
	if last < len(e.src.starts) {
		to = e.src.starts[last]
	}
	return e.splice(e.src.starts[name.Line-1], to, ""), true
}

// cutFlow removes a key from between brackets, with a comma beside it.
func (e *editor) cutFlow(parent, name, node *yaml.Node) ([]byte, bool) {
	from := e.src.offset(name.Line, name.Column)
	_, to := e.span(name, node)
	if node.Kind == yaml.ScalarNode && node.Value == "" && node.Style == 0 {
		to = e.afterColon(name)
	}
	if to <= from {
		return nil, false
	}
	return e.cutItem(from, to, len(parent.Content) > 2)
}

// cutItem removes a part between brackets: with the comma after it, or else with the one before.
func (e *editor) cutItem(from, to int, others bool) ([]byte, bool) {
	data := e.src.data
	if !others {
		return e.splice(from, to, ""), true
	}
	after := e.src.skipBlanks(to)
	if after < len(data) && data[after] == ',' {
		to := e.src.skipBlanks(after + 1)
		if to < len(data) && data[to] == '#' { // its remark
			to = e.src.lineEnd(to)
		}
		return e.splice(from, to, ""), true
	}
	before := from
	for before > 0 && strings.ContainsRune(" \r\n", rune(data[before-1])) {
		before--
	}
	if before > 0 && data[before-1] == ',' {
		return e.splice(before-1, to, ""), true
	}
	return nil, false
}

// removeItem takes the n-th item out of a list. A list in lines that is empty then is written as one.
func (e *editor) removeItem(root *yaml.Node, path []string, n int) ([]byte, bool) {
	name, node, rest := walk(root, path)
	if len(rest) > 0 || node.Kind != yaml.SequenceNode || n >= len(node.Content) || name == nil {
		return nil, false
	}
	if node.Style&yaml.FlowStyle != 0 {
		if merged, ok := e.mergeFlow(name, node, slices.Delete(e.items(node), n, n+1)); ok {
			return merged, true
		}
	}
	item := node.Content[n]
	end, ok := e.end(item)
	if !ok {
		return nil, false
	}
	if node.Style&yaml.FlowStyle != 0 {
		return e.cutItem(e.src.offset(item.Line, item.Column), end, len(node.Content) > 1)
	}
	if len(node.Content) == 1 {
		return e.set(root, path, "[]")
	}
	to := len(e.src.data)
	if item.Line < len(e.src.starts) {
		to = e.src.starts[item.Line]
	}
	return e.splice(e.src.starts[item.Line-1], to, ""), true
}

// block writes a payload under its keys.
func block(indent int, path []string, p payload, newline string) string {
	var b strings.Builder
	for i, name := range path {
		b.WriteString(strings.Repeat(" ", indent) + scalarText(name) + ":")
		if i == len(path)-1 && p.items == nil {
			b.WriteString(" " + p.value)
		}
		b.WriteString(newline)
		indent += 2
	}
	for _, item := range p.items {
		b.WriteString(strings.Repeat(" ", indent) + "- " + item + newline)
	}
	return b.String()
}

func blockItems(indent int, values []string, newline string) string {
	return block(indent, nil, payload{items: texts(values)}, newline)
}

func (e *editor) appendBlock(indent int, path []string, p payload) []byte {
	text := block(indent, path, p, e.newline)
	if data := e.src.data; len(data) > 0 && data[len(data)-1] != '\n' && data[len(data)-1] != '\r' {
		text = e.newline + text
	}
	return e.splice(len(e.src.data), len(e.src.data), text)
}

// afterLine puts keys into a section right after the line that begins it, so that comments stay with what they are about.
func (e *editor) afterLine(line, indent int, path []string, p payload) ([]byte, bool) {
	text := block(indent, path, p, e.newline)
	if line < len(e.src.starts) {
		return e.splice(e.src.starts[line], e.src.starts[line], text), true
	}
	return e.splice(len(e.src.data), len(e.src.data), e.newline+strings.TrimSuffix(text, e.newline)), true
}

func (e *editor) intoFlowMapping(node *yaml.Node, path []string, p payload) ([]byte, bool) {
	at := e.src.offset(node.Line, node.Column)
	if at >= len(e.src.data) || e.src.data[at] != '{' {
		return nil, false
	}
	text := flowPath(path, p)
	if len(node.Content) > 0 {
		text += ", "
	}
	return e.splice(at+1, at+1, text), true
}

// flowPath writes a payload under its keys on one line.
func flowPath(path []string, p payload) string {
	text := p.flow()
	for i, name := range slices.Backward(path) {
		text = scalarText(name) + ": " + text
		if i > 0 {
			text = "{" + text + "}"
		}
	}
	return text
}

func (e *editor) intoFlowList(name, node *yaml.Node, items []string) ([]byte, bool) {
	want := e.items(node)
	for _, text := range items {
		want = append(want, item{text: text, value: decodeYAML(text)})
	}
	if merged, ok := e.mergeFlow(name, node, want); ok {
		return merged, true
	}
	text := strings.Join(items, ", ")
	if len(node.Content) == 0 {
		at := e.src.offset(node.Line, node.Column)
		return e.splice(at+1, at+1, text), at < len(e.src.data) && e.src.data[at] == '['
	}
	end, ok := e.end(node.Content[len(node.Content)-1])
	if !ok {
		return nil, false
	}
	return e.splice(end, end, ", "+text), true
}

func (e *editor) intoBlockList(node *yaml.Node, items []string) ([]byte, bool) {
	last := node.Content[len(node.Content)-1]
	if _, ok := e.end(last); !ok {
		return nil, false
	}
	return e.afterLine(last.Line, node.Column-1, nil, payload{items: items})
}

// end returns where a scalar ends.
func (e *editor) end(node *yaml.Node) (int, bool) {
	start := e.src.offset(node.Line, node.Column)
	end := e.src.scalarEnd(node, start)
	return end, node.Kind == yaml.ScalarNode && end > start
}

// insteadOfNull gives a value to a key that has none.
func (e *editor) insteadOfNull(name, node *yaml.Node, rest []string, p payload) ([]byte, bool) {
	if node.Value == "" {
		if len(rest) == 0 && p.items == nil {
			at := e.afterColon(name)
			return e.splice(at, at, " "+p.value), at > 0
		}
		return e.afterLine(name.Line, name.Column+1, rest, p)
	}
	if read(node) != asNull {
		return nil, false
	}
	start := e.src.offset(node.Line, node.Column)
	end, ok := e.end(node)
	if !ok {
		return nil, false
	}
	text := flowPath(rest, p)
	if len(rest) > 0 {
		text = "{" + text + "}"
	}
	return e.splice(start, end, text), true
}
