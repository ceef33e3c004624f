package config

import (
	"cmp"
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Merging is how a list or a mapping takes the place of another: what both hold stays where it is, with its remarks, and so do remarks in lines of their own.

// item is one of a list, with what stands about it.
type item struct {
	lead  string // remarks above it: in a block whole lines, between brackets each from the line break before it
	blank string // between brackets: what is between the item and what comes before
	text  string // in a block whole lines
	rest  string // between brackets: what follows in its line, without the comma
	value any
}

// merge gives a path a value that is a list or a mapping. It is false where there is nothing to keep, or no way to keep it: then the whole is replaced.
func (e *editor) merge(root *yaml.Node, path []string, value string) ([]byte, bool) {
	if root == nil {
		return nil, false
	}
	typed := &editor{newline: e.newline}
	typed.src, _ = newSource([]byte(value))
	want, _ := typed.src.parse()
	name, node, rest := walk(root, path)
	if want == nil || len(rest) > 0 || name == nil || node.Kind != want.Kind || len(node.Content) == 0 {
		return nil, false
	}
	switch {
	case node.Kind == yaml.MappingNode:
		return e.mergeMapping(path, node, typed, want)
	case node.Kind == yaml.SequenceNode:
		return e.mergeList(name, node, typed.items(want))
	}
	return nil, false
}

// items are those of a list that was typed.
func (e *editor) items(list *yaml.Node) []item {
	items := []item{}
	for _, node := range list.Content {
		items = append(items, item{text: e.textOf(node), value: treeOfNode(node, 0)})
	}
	return items
}

// extent returns where a value of one line stands, or a text or brackets of several; to is from where that can't be told.
func (e *editor) extent(node *yaml.Node) (from, to int) {
	from = e.src.offset(node.Line, node.Column)
	switch {
	case node.Kind == yaml.ScalarNode && node.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		return from, e.src.quotedEnd(from)
	case node.Kind == yaml.ScalarNode && node.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0:
		return from, e.src.scalarEnd(node, from)
	case node.Kind != yaml.AliasNode && node.Style&yaml.FlowStyle != 0:
		return from, e.src.bracketEnd(from)
	}
	return from, from
}

func (e *editor) mergeList(name, node *yaml.Node, want []item) ([]byte, bool) {
	switch {
	case node.Style&yaml.FlowStyle != 0:
		return e.mergeFlow(name, node, want)
	case len(want) > 0:
		return e.mergeBlock(name, node, want)
	}
	return nil, false
}

// arrange puts what is there in the order of what is wanted. What stood above an item that goes is left above the next that stays, or else behind all.
func arrange(old, want []item) (now []item, behind string, kept int) {
	places := map[string][]int{}
	for n, item := range old {
		places[item.key()] = append(places[item.key()], n)
	}
	chosen := make([]int, len(want))
	stays := make([]bool, len(old))
	for i, item := range want {
		chosen[i] = -1
		if free := places[item.key()]; len(free) > 0 {
			chosen[i], places[item.key()] = free[0], free[1:]
			stays[free[0]] = true
			kept++
		}
	}
	leads := make([]string, len(old))
	for n, item := range old {
		if stays[n] {
			leads[n], behind = behind+item.lead, ""
		} else if strings.Contains(item.lead, "#") {
			behind += item.lead
		}
	}
	for i, n := range chosen {
		if n < 0 {
			now = append(now, want[i])
			continue
		}
		item := old[n]
		item.lead = leads[n]
		now = append(now, item)
	}
	return now, behind, kept
}

// key is what two items of the same value have in common.
func (i item) key() string {
	data, _ := json.Marshal(i.value) // values of YAML; two that look the same are told apart when the result is read again
	return string(data)
}

func keyOf(node *yaml.Node) string { return item{value: treeOfNode(node, 0)}.key() }

// mergeBlock is for a list with an item a line.
func (e *editor) mergeBlock(name, node *yaml.Node, want []item) ([]byte, bool) {
	old, from, to, ok := e.blockItems(name, node)
	if !ok {
		return nil, false
	}
	head := old[0].lead // about the first item, or about all of them
	old[0].lead = ""
	now, behind, kept := arrange(old, want)
	if kept == 0 && !strings.Contains(head+behind, "#") {
		return nil, false
	}
	var b strings.Builder
	b.WriteString(head)
	for n, item := range now {
		if n > 0 || strings.Contains(item.lead, "#") { // no blank line above the first
			b.WriteString(item.lead)
		}
		if strings.HasSuffix(item.text, "\n") || strings.HasSuffix(item.text, "\r") {
			b.WriteString(item.text)
		} else {
			b.WriteString(strings.Repeat(" ", node.Column-1) + "- " + item.text + e.newline)
		}
	}
	b.WriteString(behind)
	text := b.String()
	if to == len(e.src.data) && !strings.HasSuffix(string(e.src.data), "\n") {
		text = strings.TrimRight(text, "\r\n")
	}
	return e.splice(from, to, text), true
}

// blockItems takes a list apart by its lines. Where items are more than such lines, it is false.
func (e *editor) blockItems(name, node *yaml.Node) (items []item, from, to int, ok bool) {
	last := e.lastLine(name)
	done := name.Line
	for n, child := range node.Content {
		if start, end := e.extent(child); end <= start || !isDash(e.src.line(child.Line), child.Column) || child.Line <= done {
			return nil, 0, 0, false
		}
		end := last
		if n+1 < len(node.Content) {
			for end = node.Content[n+1].Line - 1; end > child.Line && isRemark(e.src.line(end)); end-- {
			}
		}
		items = append(items, item{lead: e.src.lines(done+1, child.Line-1, e.newline), text: e.src.lines(child.Line, end, e.newline), value: treeOfNode(child, 0)})
		done = end
	}
	to = len(e.src.data)
	if done < len(e.src.starts) {
		to = e.src.starts[done]
	}
	return items, e.src.starts[name.Line], to, len(items) > 0 && last >= node.Content[len(node.Content)-1].Line
}

// lines returns some lines, each with its break; one that has none gets one.
func (s *source) lines(first, last int, newline string) string {
	if last < first {
		return ""
	}
	end := len(s.data)
	if last < len(s.starts) {
		end = s.starts[last]
	}
	text := string(s.data[s.starts[first-1]:end])
	if !strings.HasSuffix(text, "\n") && !strings.HasSuffix(text, "\r") {
		text += newline
	}
	return text
}

// isDash tells whether nothing but a dash stands before an item.
func isDash(line string, column int) bool {
	before := []rune(line)
	return column-1 <= len(before) && strings.TrimSpace(string(before[:column-1])) == "-"
}

func isRemark(line string) bool {
	text := strings.TrimSpace(line)
	return text == "" || text[0] == '#'
}

// mergeFlow is for a list between brackets that has several lines; one in one line holds no remarks.
func (e *editor) mergeFlow(name, node *yaml.Node, want []item) ([]byte, bool) {
	list, ok := e.flowItems(node)
	if !ok || len(want) == 0 && !list.remarked() {
		return nil, false
	}
	indent := e.newline + strings.Repeat(" ", indentation(e.src.line(name.Line))+2)
	for _, item := range slices.Backward(list.items) {
		if strings.ContainsAny(item.blank, "\r\n") {
			indent = item.blank
		}
	}
	from, to := e.extent(node)
	return e.splice(from, to, list.with(want, indent)), true
}

// with writes the list with other items; indent is what begins a line in it.
func (l flowList) with(want []item, indent string) string {
	first := l.items[0] // the remarks above it may be about all of them
	items := slices.Clone(l.items)
	items[0].lead, items[0].blank = "", indent
	now, behind, _ := arrange(items, want)
	var b strings.Builder
	b.WriteString("[" + l.opening + first.lead)
	newLine := strings.Contains(l.opening+first.lead, "#") // nothing can follow a remark in its line
	for n, item := range now {
		blank := cmp.Or(item.blank, " ")
		if n == 0 {
			blank = first.blank
		}
		if (newLine || item.lead != "") && !strings.ContainsAny(blank, "\r\n") {
			blank = indent
		}
		b.WriteString(item.lead + blank + item.text)
		if n < len(now)-1 || l.comma {
			b.WriteString(",")
		}
		b.WriteString(item.rest)
		newLine = strings.Contains(item.rest, "#")
	}
	b.WriteString(behind)
	if (newLine || behind != "") && !strings.ContainsAny(l.closing, "\r\n") {
		b.WriteString(indent)
	}
	return b.String() + l.closing + "]"
}

// flowList is a list between brackets, taken apart.
type flowList struct {
	opening string // what follows the bracket in its line
	items   []item
	comma   bool   // behind the last
	closing string // what stands before the other bracket
}

// remarked tells whether there are remarks that are of no item.
func (l flowList) remarked() bool {
	return strings.Contains(l.opening+l.closing, "#") || slices.ContainsFunc(l.items, func(i item) bool { return i.lead != "" })
}

var (
	afterItem    = regexp.MustCompile(`^(?: *(,))?( *(?:#[^\r\n]*)?)$`)
	afterBracket = regexp.MustCompile(`^ *(?:#[^\r\n]*)?$`)
)

// flowItems takes a list apart that has several lines.
func (e *editor) flowItems(node *yaml.Node) (list flowList, ok bool) {
	from, to := e.extent(node)
	if to <= from || len(node.Content) == 0 || !strings.ContainsAny(string(e.src.data[from:to]), "\r\n") {
		return list, false
	}
	at := from + 1
	for n, child := range node.Content {
		start, end := e.extent(child)
		if end <= start || start < at {
			return list, false
		}
		line, lead, blank := gap(string(e.src.data[at:start]))
		if n == 0 {
			list.opening, ok = line, afterBracket.MatchString(line)
		} else {
			list.items[n-1].rest, ok = restOf(line, true)
		}
		if !ok {
			return list, false
		}
		list.items = append(list.items, item{lead: lead, blank: blank, text: string(e.src.data[start:end]), value: treeOfNode(child, 0)})
		at = end
	}
	line, lead, blank := gap(string(e.src.data[at : to-1]))
	rest, ok := restOf(line, false)
	list.items[len(list.items)-1].rest = strings.TrimRight(rest, " ")
	list.comma, list.closing = strings.HasPrefix(strings.TrimLeft(line, " "), ","), lead+blank
	return list, ok
}

// restOf returns what follows an item in its line, without the comma, which must be there where another item follows.
func restOf(line string, another bool) (rest string, ok bool) {
	parts := afterItem.FindStringSubmatch(line)
	if parts == nil || another && parts[1] == "" {
		return "", false
	}
	return parts[2], true
}

// gap takes apart what is between two items: what follows the first in its line, the remarks in lines of their own, and the blanks before the second.
func gap(text string) (line, lead, blank string) {
	at := strings.IndexAny(text, "\r\n")
	if at < 0 {
		comma := strings.IndexByte(text, ',') + 1
		return text[:comma], "", text[comma:]
	}
	line, text = text[:at], text[at:]
	end := strings.LastIndexAny(text, "\r\n")
	if end > 0 && text[end] == '\n' && text[end-1] == '\r' {
		end--
	}
	return line, text[:end], text[end:]
}

// mergeLimit bounds how many names of a mapping are gone through one by one.
const mergeLimit = 200

// mergeMapping is for a mapping: names are added, changed and taken out one by one.
func (e *editor) mergeMapping(path []string, node *yaml.Node, typed *editor, want *yaml.Node) ([]byte, bool) {
	from, to := e.extent(node)
	if len(want.Content) == 0 || node.Style&yaml.FlowStyle != 0 && !strings.ContainsAny(string(e.src.data[from:to]), "\r\n") {
		return nil, false
	}
	var steps []func(e *editor, root *yaml.Node) ([]byte, bool)
	for i := len(want.Content) - 2; i >= 0; i -= 2 { // what is new comes first in a section
		inner, value := append(slices.Clone(path), want.Content[i].Value), want.Content[i+1]
		if _, old := pair(node, want.Content[i].Value); old == nil || keyOf(old) != keyOf(value) {
			text := typed.textOf(value)
			steps = append(steps, func(e *editor, root *yaml.Node) ([]byte, bool) { return e.set(root, inner, text) })
		}
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		gone := append(slices.Clone(path), node.Content[i].Value)
		if kept, _ := pair(want, node.Content[i].Value); kept == nil {
			steps = append(steps, func(e *editor, root *yaml.Node) ([]byte, bool) { return e.cut(root, gone) })
		}
	}
	return e.through(steps)
}

// through makes changes one after the other, each in the text that the one before left.
func (e *editor) through(steps []func(e *editor, root *yaml.Node) ([]byte, bool)) ([]byte, bool) {
	data := e.src.data
	if len(steps) > mergeLimit {
		return nil, false
	}
	for _, step := range steps {
		next := &editor{newline: e.newline}
		next.src, _ = newSource(data)
		root, problems := next.src.parse()
		if root == nil || anyError(problems) {
			return nil, false
		}
		edited, ok := step(next, root)
		if !ok {
			return nil, false
		}
		data = edited
	}
	return data, true
}

// textOf returns a value as it was typed.
func (e *editor) textOf(node *yaml.Node) string {
	if from, to := e.extent(node); to > from {
		return string(e.src.data[from:to])
	}
	return "null"
}
