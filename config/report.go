package config

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Severity is how bad a problem is.
type Severity string

// A file with an error is not used; a warning is advice.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Problem is one thing that is wrong.
type Problem struct {
	Severity Severity `json:"severity"`
	Path     string   `json:"path,omitempty"` // of the key, as users.admin[1]
	Line     int      `json:"line"`           // from 1
	Column   int      `json:"column"`         // from 1, in characters
	Message  string   `json:"message"`
	Hint     string   `json:"hint,omitempty"`

	// Unready is a warning for a config that is saved, as keys are set one by one, and an error for one that is put into effect.
	Unready bool `json:"-"`
	// Installs is of an unready config that an installation puts into effect all the same: it brings what is missing.
	Installs bool `json:"-"`

	width int // of what is meant, in characters
}

// Report is all that is wrong with a file, by place.
type Report struct {
	File     string
	Problems []Problem

	source *source
	walker *walker // which knows where everything stands
}

// more lets checks of the same file go on, and returns what they tell.
func (r Report) more(check func(w *walker)) []Problem {
	w := &walker{src: r.walker.src, keys: r.walker.keys, at: r.walker.at}
	check(w)
	return w.problems
}

func anyError(problems []Problem) bool {
	return slices.ContainsFunc(problems, func(p Problem) bool { return p.Severity == Error })
}

func sorted(problems []Problem) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return problems
}

// With returns the report with more problems of the same file.
func (r Report) With(problems []Problem) Report {
	r.Problems = sorted(slices.Concat(r.Problems, problems))
	return r
}

// Unready returns why a config that can be saved cannot be put into effect yet; nil if nothing is in the way.
func (r Report) Unready() *Problem {
	for n, problem := range r.Problems {
		if problem.Unready {
			return &r.Problems[n]
		}
	}
	return nil
}

// UnreadyToInstall returns why such a config can't be put into effect by an installation, either.
func (r Report) UnreadyToInstall() *Problem {
	r.Problems = slices.DeleteFunc(slices.Clone(r.Problems), func(p Problem) bool { return p.Installs })
	return r.Unready()
}

func (r Report) count(severity Severity) int {
	n := 0
	for _, problem := range r.Problems {
		if problem.Severity == severity {
			n++
		}
	}
	return n
}

// Err is nil when the file can be used. Warnings are no error.
func (r Report) Err() error {
	for _, problem := range r.Problems {
		if problem.Severity == Error {
			return fmt.Errorf("%s has %s; the first is in line %d: %s", r.File, counted(r.count(Error), "error"), problem.Line, problem.Message)
		}
	}
	return nil
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// MarshalJSON writes the report for programs.
func (r Report) MarshalJSON() ([]byte, error) {
	problems := r.Problems
	if problems == nil {
		problems = []Problem{}
	}
	return json.Marshal(struct {
		File     string    `json:"file"`
		Valid    bool      `json:"valid"`
		Problems []Problem `json:"problems"`
	}{r.File, !anyError(problems), problems})
}

// shown is how many problems a text shows in full.
const shown = 50

// Text writes the report for people, each problem with its line. It is empty when there is no problem. What may be a secret is
// left out.
func (r Report) Text() string {
	if len(r.Problems) == 0 {
		return ""
	}
	var b strings.Builder
	line, lineOf := []rune(nil), 0
	gutter := len(strconv.Itoa(r.Problems[min(len(r.Problems), shown)-1].Line)) + 2
	for i, problem := range r.Problems {
		if i == shown {
			fmt.Fprintf(&b, "… and %d more\n\n", len(r.Problems)-shown)
			break
		}
		fmt.Fprintf(&b, "%s:%d:%d: %s: %s\n", r.File, problem.Line, problem.Column, problem.Severity, printable(problem.Message))
		if problem.Line != lineOf && r.source != nil {
			line, lineOf = []rune(r.source.masked(problem.Line)), problem.Line
		}
		frame(&b, line, problem, gutter)
		if problem.Hint != "" {
			fmt.Fprintf(&b, "%*s hint: %s\n", gutter, "", printable(problem.Hint))
		}
		b.WriteByte('\n')
	}
	var counts []string
	for _, severity := range []Severity{Error, Warning} {
		if n := r.count(severity); n > 0 {
			counts = append(counts, counted(n, string(severity)))
		}
	}
	b.WriteString(strings.Join(counts, ", ") + "\n")
	return b.String()
}

// What is shown of a line: long ones are cut, about their problem.
const (
	frameWidth = 100
	frameLead  = 60
)

func frame(b *strings.Builder, line []rune, problem Problem, gutter int) {
	column, width := problem.Column-1, max(problem.width, 1)
	if column > len(line) {
		column = len(line)
	}
	prefix := ""
	if len(line) > frameWidth && column > frameLead {
		line, column, prefix = line[column-frameLead:], frameLead, "…"
	}
	suffix := ""
	if len(line) > frameWidth {
		line, suffix = line[:frameWidth], "…"
	}
	if strings.TrimSpace(string(line)) == "" {
		return
	}
	end := min(column+width, max(len(line), column+1))
	mark := strings.Repeat("^", cells(line[column:min(end, len(line))]))
	if mark == "" {
		mark = "^"
	}
	fmt.Fprintf(b, "%*d | %s%s%s\n", gutter, problem.Line, prefix, printable(string(line)), suffix)
	fmt.Fprintf(b, "%*s | %*s%s\n", gutter, "", cells([]rune(prefix))+cells(line[:column]), "", mark)
}

// printable keeps what is shown on one line, and control sequences from the terminal. It keeps the number of characters.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return '→'
		case !unicode.IsPrint(r):
			return '\ufffd'
		}
		return r
	}, text)
}

// wide are the characters that take two cells of a terminal; near enough for a caret.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{{Lo: 0x1100, Hi: 0x115f, Stride: 1}, {Lo: 0x2e80, Hi: 0xa4cf, Stride: 1}, {Lo: 0xac00, Hi: 0xd7a3, Stride: 1}, {Lo: 0xf900, Hi: 0xfaff, Stride: 1}, {Lo: 0xfe30, Hi: 0xfe6f, Stride: 1}, {Lo: 0xff00, Hi: 0xff60, Stride: 1}, {Lo: 0xffe0, Hi: 0xffe6, Stride: 1}},
	R32: []unicode.Range32{{Lo: 0x1f300, Hi: 0x1faff, Stride: 1}, {Lo: 0x20000, Hi: 0x3fffd, Stride: 1}},
}

func cells(text []rune) int {
	n := 0
	for _, r := range printable(string(text)) {
		switch {
		case unicode.Is(wide, r):
			n += 2
		case !unicode.In(r, unicode.Mn, unicode.Me):
			n++
		}
	}
	return n
}

// masked returns a line without what may be a secret. It goes by the text, so that it works where the YAML is broken.
func (s *source) masked(n int) string {
	line := withoutUserInfo(s.line(n))
	if value := afterSecret(line); value >= 0 {
		if blank(line[value:]) {
			return line
		}
		return line[:value] + " …"
	}
	if s.continuesSecret(n) {
		return line[:indentation(line)] + "…"
	}
	return line
}

// continuesSecret tells whether a line goes on with the value of a secret that began above: it is indented more, or is nothing but text.
func (s *source) continuesSecret(n int) bool {
	indent, onlyText := indentation(s.line(n)), !strings.Contains(s.line(n), ":")
	for above := n - 1; above >= max(1, n-200); above-- {
		line := s.line(above)
		if strings.TrimSpace(line) == "" {
			continue
		}
		if afterSecret(line) >= 0 && (indentation(line) < indent || onlyText) {
			return true
		}
		if indentation(line) < indent {
			return false
		}
		onlyText = onlyText && !strings.Contains(line, ":")
	}
	return false
}

func indentation(line string) int { return len(line) - len(strings.TrimLeft(line, " \t")) }
