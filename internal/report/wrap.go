package report

import "strings"

// Wrap breaks a text between words so that no line has more than width columns, where its words allow it. Further lines of a paragraph begin with hang. Lines
// that begin with a space, and empty ones, stay lines of their own; others are joined to the line before.
func Wrap(text string, width int, hang string) string {
	var out []string
	for _, line := range paragraphs(text) {
		out = append(out, wrapLine(line, width, hang)...)
	}
	return strings.Join(out, "\n")
}

// WrapLines does the same with each line of a text by itself, and leaves those alone that fit.
func WrapLines(text string, width int, hang string) string {
	var out []string
	for _, line := range strings.Split(text, "\n") {
		if columns(line) <= width {
			out = append(out, line)
			continue
		}
		out = append(out, wrapLine(line, width, hang)...)
	}
	return strings.Join(out, "\n")
}

// paragraphs joins the lines that are one paragraph.
func paragraphs(text string) []string {
	found := []string{}
	open := false
	for _, line := range strings.Split(text, "\n") {
		switch {
		case line == "", strings.HasPrefix(line, " "):
			found, open = append(found, line), line != ""
		case open || len(found) > 0 && found[len(found)-1] != "":
			found[len(found)-1] += " " + line
		default:
			found, open = append(found, line), true
		}
	}
	return found
}

func wrapLine(line string, width int, hang string) []string {
	words := strings.Fields(line)
	if len(words) == 0 {
		return []string{""}
	}
	indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
	lines, now := []string{}, indent+words[0]
	for _, word := range words[1:] {
		if columns(now)+1+columns(word) > width {
			lines, now = append(lines, now), indent+hang+word
			continue
		}
		now += " " + word
	}
	return append(lines, now)
}
