package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Severity tells whether a file with this problem can be used.
type Severity string

// The severities.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Problem is one thing that is wrong with a file.
type Problem struct {
	Severity Severity `json:"severity"`
	Path     string   `json:"path,omitempty"` // of the key: users.admin[1]
	Line     int      `json:"line,omitempty"` // from 1; 0 is the file as a whole
	Column   int      `json:"column,omitempty"`
	Message  string   `json:"message"`
	Hint     string   `json:"hint,omitempty"`
}

// Report is all that is wrong with a file, in the order of the file.
type Report struct {
	Name     string    `json:"name"`
	Problems []Problem `json:"problems"`
	lines    []string
}

// Err returns an error when the file cannot be used.
func (r Report) Err() error {
	found := 0
	for _, problem := range r.Problems {
		if problem.Severity == Error {
			found++
		}
	}
	if found == 0 {
		return nil
	}
	return errors.New(strings.TrimRight(r.Text(), "\n"))
}

// Text shows every problem with the line it is about.
func (r Report) Text() string {
	var text strings.Builder
	for _, p := range r.Problems {
		where := r.Name
		if p.Line > 0 {
			where = fmt.Sprintf("%s:%d:%d", r.Name, p.Line, p.Column)
		}
		fmt.Fprintf(&text, "%s: %s: %s\n", where, p.Severity, p.Message)
		if p.Line > 0 && p.Line <= len(r.lines) {
			line := []rune(printable(r.lines[p.Line-1]))
			column := min(max(p.Column, 1), len(line)+1)
			fmt.Fprintf(&text, "    %s\n    %s^\n", string(line), strings.Repeat(" ", column-1))
		}
		if p.Hint != "" {
			fmt.Fprintf(&text, "  hint: %s\n", p.Hint)
		}
	}
	return text.String()
}

// printable keeps a line's columns and takes out what a terminal would not just show.
func printable(line string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(line, "?"))
}

func (r *Report) add(p Problem) {
	if p.Severity == "" {
		p.Severity = Error
	}
	r.Problems = append(r.Problems, p)
}

func (r *Report) sort() {
	slices.SortStableFunc(r.Problems, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
}
