package report

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// clean takes everything out of text that a terminal would obey instead of show: escape sequences, control characters but for line
// feeds and tabs (which become spaces), characters that turn the direction of writing. Of a line that was overwritten by way of
// carriage returns, as progress bars are, the last state stays.
func clean(text string) string {
	if isPlain(text) {
		return text
	}
	text = strings.ToValidUTF8(text, "\uFFFD")
	text = strings.ReplaceAll(text, "\r\n", "\n")
	text = stripEscapes(text)
	lines := strings.Split(text, "\n")
	for n, line := range lines {
		line = strings.TrimRight(line, "\r")
		if at := strings.LastIndexByte(line, '\r'); at >= 0 {
			line = line[at+1:]
		}
		lines[n] = strings.Map(shown, line)
	}
	return strings.Join(lines, "\n")
}

func isPlain(text string) bool {
	for n := 0; n < len(text); n++ {
		if c := text[n]; c < ' ' && c != '\n' || c > '~' {
			return false
		}
	}
	return true
}

func shown(r rune) rune {
	switch {
	case r == '\t':
		return ' '
	case unicode.IsControl(r), r == '\u2028', r == '\u2029', unicode.Is(unicode.Bidi_Control, r):
		return -1
	}
	return r
}

const escape = '\x1b'

// stripEscapes removes whole sequences, so that no "[31m" stays behind. What it misses loses its control characters in clean.
func stripEscapes(text string) string {
	var out strings.Builder
	for len(text) > 0 {
		at := strings.IndexFunc(text, func(r rune) bool { return r == escape || r == '\u009b' || r == '\u009d' || r == '\u0090' })
		if at < 0 {
			break
		}
		out.WriteString(text[:at])
		text = text[at+sequenceLength(text[at:]):]
	}
	out.WriteString(text)
	return out.String()
}

// sequenceLength returns the length of the escape sequence that text begins with (ECMA-48).
func sequenceLength(text string) int {
	first, size := utf8.DecodeRuneInString(text)
	kind := first
	if first == escape {
		next, more := utf8.DecodeRuneInString(text[size:])
		kind, size = 0x40+next, size+more
		if more == 0 {
			return size
		}
		if next < ' ' || next > '~' {
			return 1 // a lone escape; what follows is no part of it
		}
		if next <= '/' { // intermediate characters, then a final one
			return size + finalLength(text[size:], ' ', '/')
		}
	}
	switch kind {
	case '\u009b': // CSI: parameters, then a final character
		return size + finalLength(text[size:], ' ', '?')
	case '\u0090', '\u0098', '\u009d', '\u009e', '\u009f': // DCS, SOS, OSC, PM, APC: a string up to its terminator
		return size + stringLength(text[size:])
	}
	return size
}

func finalLength(text string, from, to byte) int {
	n := 0
	for n < len(text) && text[n] >= from && text[n] <= to {
		n++
	}
	if n < len(text) && text[n] >= 0x30 && text[n] <= '~' {
		n++
	}
	return n
}

// stringLength ends at the line's end, too: a sequence that is never closed must not swallow all that follows.
func stringLength(text string) int {
	for n, r := range text {
		switch {
		case r == '\a':
			return n + 1
		case r == '\u009c':
			return n + utf8.RuneLen(r)
		case r == escape && strings.HasPrefix(text[n+1:], `\`):
			return n + 2
		case r == '\n':
			return n
		}
	}
	return len(text)
}

// ascii replaces what a terminal without UTF-8 would garble.
func ascii(text string) string {
	return strings.Map(func(r rune) rune {
		if r > '~' {
			return '?'
		}
		return r
	}, text)
}

// oneLine makes text fit for a single line.
func oneLine(text string) string {
	return strings.Join(strings.Fields(clean(text)), " ")
}

// indentLines puts prefix before every line but the first.
func indentLines(text, prefix string) string {
	return strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n"+prefix)
}

// clip cuts text, which has no line feeds, to at most width columns.
func clip(text string, width int, ellipsis string) string {
	if columns(text) <= width {
		return text
	}
	if width <= columns(ellipsis) {
		ellipsis = ""
	}
	left := width - columns(ellipsis)
	for n, r := range text {
		if left -= runeColumns(r); left < 0 {
			return text[:n] + ellipsis
		}
	}
	return text
}

func columns(text string) int {
	total := 0
	for _, r := range text {
		total += runeColumns(r)
	}
	return total
}

// wide holds the characters that take two columns of a terminal: those of East Asia, and pictures.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{{0x1100, 0x115f, 1}, {0x231a, 0x231b, 1}, {0x23e9, 0x23f3, 1}, {0x25fd, 0x25fe, 1}, {0x2614, 0x2615, 1},
		{0x2648, 0x2653, 1}, {0x267f, 0x2693, 1}, {0x26a1, 0x26a1, 1}, {0x26aa, 0x26fd, 1}, {0x2705, 0x2705, 1}, {0x270a, 0x270b, 1},
		{0x2728, 0x2728, 1}, {0x274c, 0x2757, 1}, {0x2795, 0x2797, 1}, {0x27b0, 0x27bf, 1}, {0x2b1b, 0x2b55, 1},
		{0x2e80, 0xa4cf, 1}, {0xa960, 0xa97f, 1}, {0xac00, 0xd7a3, 1}, {0xf900, 0xfaff, 1}, {0xfe30, 0xfe6f, 1}, {0xff00, 0xff60, 1}, {0xffe0, 0xffe6, 1}},
	R32: []unicode.Range32{{0x16fe0, 0x1b2ff, 1}, {0x1f004, 0x1f004, 1}, {0x1f0cf, 0x1f0cf, 1}, {0x1f18e, 0x1f19a, 1}, {0x1f200, 0x1faff, 1}, {0x20000, 0x3fffd, 1}},
}

func runeColumns(r rune) int {
	switch {
	case r < 0x7f:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case unicode.Is(wide, r):
		return 2
	}
	return 1
}

// took writes a time as people do: "0.4 s", "12 s", "2 min 5 s".
func took(seconds float64) string {
	switch {
	case seconds < 10:
		return fmt.Sprintf("%.1f s", seconds)
	case seconds < 60:
		return fmt.Sprintf("%.0f s", seconds)
	}
	whole := int(seconds + 0.5)
	return fmt.Sprintf("%d min %d s", whole/60, whole%60)
}

// size writes a number of bytes as people do: "850 kB", "43 MB", "1.2 GB".
func size(bytes int64) string {
	switch n := float64(bytes); {
	case n < 1e6:
		return fmt.Sprintf("%.0f kB", n/1e3)
	case n < 1e9:
		return fmt.Sprintf("%.0f MB", n/1e6)
	default:
		return fmt.Sprintf("%.1f GB", n/1e9)
	}
}

// amount writes how much of a whole is there, "" when nothing is known.
func amount(bytes, total int64) string {
	switch {
	case bytes <= 0 && total <= 0:
		return ""
	case total <= 0:
		return size(bytes)
	}
	return size(bytes) + " of " + size(total)
}
