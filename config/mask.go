package config

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// masked stands for a secret.
const masked = `"********"`

// Mask returns a config's text without its secrets: options and environment variables whose names say so, also in remarks, and passwords in web addresses. Every
// other byte stays. Of a text that can't be read, rather too much is masked than too little.
func Mask(data []byte) []byte { return Read("", data).Masked() }

// Masked is Mask of a document.
func (d *Document) Masked() []byte {
	if !d.readable {
		return maskLines(d.Data)
	}
	out := d.maskValues()
	if d.Config == nil {
		return maskLines(out) // who knows what was meant
	}
	return out
}

func (d *Document) maskValues() []byte {
	text, marked := d.text()
	spans := secretSpans(d.src, d.root, "", nil)
	spans = append(spans, d.src.secretRemarks(d.src.texts(d.root, nil))...)
	slices.SortFunc(spans, func(a, b span) int { return a.from - b.from })
	var out bytes.Buffer
	if marked {
		out.WriteString(bom)
	}
	at := 0
	for _, s := range spans {
		if s.from < at {
			continue // within the one before
		}
		out.Write(text[at:s.from])
		out.WriteString(masked)
		at = s.to
	}
	out.Write(text[at:])
	return userInfo.ReplaceAll(out.Bytes(), []byte("${1}***@"))
}

type span struct{ from, to int }

// secretSpans finds where secrets stand.
func secretSpans(src *source, node *yaml.Node, path string, spans []span) []span {
	if node == nil || node.Kind != yaml.MappingNode && node.Kind != yaml.SequenceNode {
		return spans
	}
	if node.Kind == yaml.SequenceNode {
		for _, item := range node.Content {
			spans = secretSpans(src, item, path, spans)
		}
		return spans
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := node.Content[i], node.Content[i+1]
		full := join(path, name.Value)
		if isSecret(name.Value) && mayHoldSecrets(full) && !shows(value) {
			if from, to := valueSpan(src, value); to > from {
				spans = append(spans, span{from, to})
			}
			continue
		}
		spans = secretSpans(src, value, full, spans)
	}
	return spans
}

// mayHoldSecrets tells whether a path is of a section whose names are not this program's, or of a key that is a secret.
func mayHoldSecrets(path string) bool {
	return path == "users.class_code" || slices.ContainsFunc([]string{"auth.", "user_environment.variables.", "traefik_api."}, func(section string) bool { return strings.HasPrefix(path, section) })
}

// shows tells whether a value is none that one could know or not.
func shows(value *yaml.Node) bool {
	return value.Kind == yaml.ScalarNode && slices.Contains([]reading{asNull, asBool}, read(value))
}

// texts finds the texts in quotes and in blocks, in which a # begins no remark.
func (s *source) texts(node *yaml.Node, spans []span) []span {
	if node == nil {
		return spans
	}
	for _, child := range node.Content {
		spans = s.texts(child, spans)
	}
	if node.Kind != yaml.ScalarNode || node.Style == 0 {
		return spans
	}
	from := s.offset(node.Line, node.Column)
	to := s.quotedEnd(from)
	if node.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		to = s.blockEnd(from)
	}
	return append(spans, span{from, to})
}

// secretRemarks finds the secrets in remarks: values that are not in use, or not any more.
func (s *source) secretRemarks(texts []span) []span {
	slices.SortFunc(texts, func(a, b span) int { return a.from - b.from })
	found := []span{}
	for n, start := range s.starts {
		line := s.line(n + 1)
		for at := 0; ; at++ {
			next := strings.IndexByte(line[at:], '#')
			if next < 0 {
				break
			}
			at += next
			if at > 0 && line[at-1] != ' ' && line[at-1] != '\t' || within(texts, start+at) {
				continue
			}
			if value := afterSecret(line[at:]); value >= 0 && strings.TrimSpace(line[at+value:]) != "" {
				begin := at + value + len(line[at+value:]) - len(strings.TrimLeft(line[at+value:], " \t"))
				found = append(found, span{start + begin, start + len(line)})
			}
			break
		}
	}
	return found
}

func within(spans []span, offset int) bool {
	n, _ := slices.BinarySearchFunc(spans, offset, func(s span, offset int) int { return s.from - offset })
	return n < len(spans) && spans[n].from == offset || n > 0 && offset < spans[n-1].to
}

// valueSpan returns where a value stands, brackets and all.
func valueSpan(src *source, node *yaml.Node) (from, to int) {
	from = src.offset(node.Line, node.Column)
	if node.Kind == yaml.ScalarNode && node.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
		if node.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
			return from, src.quotedEnd(from)
		}
		if end := src.scalarEnd(node, from); end > from || node.Value == "" {
			return from, end
		}
	}
	// Anything of several lines: all that is indented deeper than its key, or up to the end of the line.
	return from, src.blockEnd(from)
}

// blockEnd returns the end of the line that an offset is in, and of the lines after it that are indented deeper than the line's key or blank.
func (s *source) blockEnd(from int) int {
	first, _ := s.place(from)
	indent := func(n int) int { line := s.line(n); return len(line) - len(strings.TrimLeft(line, " -")) }
	begin := first
	for begin > 1 && !strings.Contains(s.line(begin), ":") {
		begin-- // the key's own line
	}
	last := first
	for n := first + 1; n <= len(s.starts); n++ {
		text := strings.TrimSpace(s.line(n))
		if text != "" && indent(n) <= indent(begin) && !strings.HasPrefix(text, "]") && !strings.HasPrefix(text, "}") {
			break
		}
		if text != "" {
			last = n
		}
	}
	return s.starts[last-1] + len(s.line(last))
}

// maskLines is for a text whose structure can't be told: what follows a secret's name is masked, with all lines indented deeper.
func maskLines(data []byte) []byte {
	var out bytes.Buffer
	hidden := -1 // the indent of the secret's key, while its value goes on
	for line := range bytes.Lines(data) {
		text := strings.TrimRight(string(line), "\r\n")
		indent := len(text) - len(strings.TrimLeft(text, " \t"))
		item := strings.HasPrefix(text[indent:], "- ") && !strings.Contains(text, ":")
		if hidden >= 0 && (indent > hidden || indent == hidden && item) && strings.TrimSpace(text) != "" {
			continue
		}
		hidden = -1
		value := afterSecret(text)
		if value >= 0 {
			hidden = indent
		}
		if value >= 0 && strings.TrimSpace(text[value:]) != "" && strings.TrimSpace(text[value:]) != masked {
			out.WriteString(text[:value] + " " + masked + "\n")
			continue
		}
		out.WriteString(withoutUserInfo(string(line)))
	}
	return out.Bytes()
}

// Diff shows what changed between two texts, line by line with three lines around, and without secrets: that one changed is told, not how.
func Diff(before, after []byte, nameBefore, nameAfter string) string {
	return DiffOf(Read("", before), Read("", after), nameBefore, nameAfter)
}

// DiffOf is Diff of documents.
func DiffOf(before, after *Document, nameBefore, nameAfter string) string {
	if bytes.Equal(before.Data, after.Data) {
		return ""
	}
	a, b := before.maskedLines(), after.maskedLines()
	ops := diffLines(a, b)
	var out strings.Builder
	fmt.Fprintf(&out, "--- %s\n+++ %s\n", nameBefore, nameAfter)
	if !slices.ContainsFunc(ops, func(op diffOp) bool { return op.sign != ' ' }) {
		out.WriteString("  (only values that are not shown differ)\n")
		return out.String()
	}
	writeHunks(&out, ops)
	return out.String()
}

func (d *Document) maskedLines() []string {
	text := strings.TrimSuffix(string(d.Masked()), "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

type diffOp struct {
	sign byte // ' ', '-' or '+'
	text string
	a, b int // the lines' numbers, from 1
}

// diffLimit bounds the work; what lies between equal beginnings and ends and is larger is shown as replaced.
const diffLimit = 4 << 20

func diffLines(a, b []string) []diffOp {
	start := 0
	for start < len(a) && start < len(b) && a[start] == b[start] {
		start++
	}
	end := 0
	for end < len(a)-start && end < len(b)-start && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	ops := []diffOp{}
	for i := range start {
		ops = append(ops, diffOp{' ', a[i], i + 1, i + 1})
	}
	ops = append(ops, middle(a[start:len(a)-end], b[start:len(b)-end], start)...)
	for i := range end {
		ops = append(ops, diffOp{' ', a[len(a)-end+i], len(a) - end + i + 1, len(b) - end + i + 1})
	}
	return ops
}

// middle finds the longest common subsequence of what is left.
func middle(a, b []string, shift int) []diffOp {
	ops := []diffOp{}
	if len(a)*len(b) > diffLimit {
		return replaced(a, b, shift)
	}
	common := make([][]int32, len(a)+1)
	for i := range common {
		common[i] = make([]int32, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if common[i][j] = max(common[i+1][j], common[i][j+1]); a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			}
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			ops = append(ops, diffOp{' ', a[i], shift + i + 1, shift + j + 1})
			i, j = i+1, j+1
		case i < len(a) && (j == len(b) || common[i+1][j] >= common[i][j+1]):
			ops = append(ops, diffOp{'-', a[i], shift + i + 1, shift + j})
			i++
		default:
			ops = append(ops, diffOp{'+', b[j], shift + i, shift + j + 1})
			j++
		}
	}
	return ops
}

func replaced(a, b []string, shift int) []diffOp {
	ops := []diffOp{}
	for i, text := range a {
		ops = append(ops, diffOp{'-', text, shift + i + 1, shift})
	}
	for j, text := range b {
		ops = append(ops, diffOp{'+', text, shift + len(a), shift + j + 1})
	}
	return ops
}

// around is how many unchanged lines are shown about a change.
const around = 3

func writeHunks(out *strings.Builder, ops []diffOp) {
	for i := 0; i < len(ops); {
		if ops[i].sign == ' ' {
			i++
			continue
		}
		from, last := max(0, i-around), i
		for j := i; j < len(ops) && j-last <= 2*around; j++ {
			if ops[j].sign != ' ' {
				last = j
			}
		}
		to := min(len(ops), last+around+1)
		writeHunk(out, ops[from:to])
		i = to
	}
}

func writeHunk(out *strings.Builder, ops []diffOp) {
	var a, b, firstA, firstB int
	for _, op := range ops {
		if op.sign != '+' {
			if a == 0 {
				firstA = op.a
			}
			a++
		}
		if op.sign != '-' {
			if b == 0 {
				firstB = op.b
			}
			b++
		}
	}
	fmt.Fprintf(out, "@@ -%d,%d +%d,%d @@\n", firstA, a, firstB, b)
	for _, op := range ops {
		out.WriteByte(op.sign)
		out.WriteString(strings.TrimRight(op.text, "\r") + "\n")
	}
}
