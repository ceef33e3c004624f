package report

import (
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// Paint colours words where colours are shown; its zero value leaves them as they are.
type Paint bool

// PaintFor says whether what is written to w is coloured: on a terminal that knows colours, unless NO_COLOR is set.
func PaintFor(w io.Writer) Paint {
	file, ok := w.(*os.File)
	return Paint(ok && term.IsTerminal(int(file.Fd()))) && coloursWanted(os.Getenv)
}

func coloursWanted(getenv func(string) string) Paint {
	return Paint(getenv("NO_COLOR") == "" && getenv("TERM") != "" && getenv("TERM") != "dumb")
}

// The colours are those of every terminal, whose theme makes them readable. None is the only sign of what it says.
func (p Paint) in(code, text string) string {
	if !p || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// Strong is for titles, and for what is to be copied.
func (p Paint) Strong(text string) string { return p.in("1", text) }

// Good is for what is done and works.
func (p Paint) Good(text string) string { return p.in("32", text) }

// Warn is for what a person should look at.
func (p Paint) Warn(text string) string { return p.in("33", text) }

// Bad is for what failed.
func (p Paint) Bad(text string) string { return p.in("31", text) }

// Diff colours the lines that were added and taken out.
func (p Paint) Diff(text string) string {
	if !p {
		return text
	}
	lines := strings.Split(text, "\n")
	for n, line := range lines {
		switch {
		case strings.HasPrefix(line, "+"):
			lines[n] = p.Good(line)
		case strings.HasPrefix(line, "-"):
			lines[n] = p.Bad(line)
		}
	}
	return strings.Join(lines, "\n")
}
