package config

import (
	"bytes"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxSize is the size in bytes of the largest file that is read.
const MaxSize = 1 << 20

const bom = "\ufeff"

// source is a file by lines and columns. Both count from 1; columns count characters.
type source struct {
	data   []byte // without byte order mark
	starts []int  // of each line

	known struct{ line, column, offset int } // the place that was asked for last: many may be asked for in one long line
}

// newSource takes a file that is text in UTF-8. Otherwise an error is among the problems.
func newSource(data []byte) (*source, []Problem) {
	if len(data) > MaxSize {
		return &source{}, []Problem{{Severity: Error, Line: 1, Column: 1, Message: "the file is larger than 1 MiB, which no config needs"}}
	}
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return &source{}, []Problem{{Severity: Error, Line: 1, Column: 1, Message: "the file is written in UTF-16", Hint: "have your editor save it as UTF-8"}}
	}
	text, marked := bytes.CutPrefix(data, []byte(bom))
	s := &source{data: text, starts: lineStarts(text)}
	var problems []Problem
	if marked {
		problems = append(problems, Problem{
			Severity: Warning, Line: 1, Column: 1,
			Message: "the file begins with an invisible byte order mark", Hint: `have your editor save it as "UTF-8 without BOM"`,
		})
	}
	return s, append(problems, s.strangeCharacters()...)
}

func lineStarts(data []byte) []int {
	starts := []int{0}
	for i, c := range data {
		if c == '\n' || c == '\r' && (i+1 == len(data) || data[i+1] != '\n') {
			starts = append(starts, i+1)
		}
	}
	return starts
}

// line returns a line without its break.
func (s *source) line(n int) string {
	if n < 1 || n > len(s.starts) {
		return ""
	}
	end := len(s.data)
	if n < len(s.starts) {
		end = s.starts[n]
	}
	return strings.TrimRight(string(s.data[s.starts[n-1]:end]), "\r\n")
}

// offset returns where a place is in data.
func (s *source) offset(line, column int) int {
	if line < 1 || line > len(s.starts) {
		return len(s.data)
	}
	at, from := s.starts[line-1], 1
	if s.known.line == line && s.known.column <= column {
		at, from = s.known.offset, s.known.column
	}
	for ; from < column && at < len(s.data); from++ {
		_, size := utf8.DecodeRune(s.data[at:])
		at += size
	}
	s.known.line, s.known.column, s.known.offset = line, from, at
	return at
}

// place returns line and column of an offset in data.
func (s *source) place(offset int) (line, column int) {
	line = sort.SearchInts(s.starts, offset+1)
	return line, utf8.RuneCount(s.data[s.starts[line-1]:offset]) + 1
}

// repeats bounds how often strange characters are told of.
const repeats = 20

// strangeCharacters tells of what cannot be in a text, and of tabs, once a line. Tabs in comments do no harm.
func (s *source) strangeCharacters() []Problem {
	var problems []Problem
	for n, at := range s.starts {
		end := len(s.data)
		if n+1 < len(s.starts) {
			end = s.starts[n+1]
		}
		blank, quotes, comment, before := true, false, false, ' '
		for column := 1; at < end && len(problems) < repeats; column++ {
			r, size := utf8.DecodeRune(s.data[at:end])
			quotes = quotes || r == '"' || r == '\''
			comment = comment || r == '#' && before == ' ' && !quotes // or it may be part of a text
			if message, hint := strange(r, size); message != "" && (r != '\t' || !comment) {
				if r == '\t' && blank {
					message = "the line is indented with a tab"
				}
				problems = append(problems, Problem{Severity: Error, Line: n + 1, Column: column, Message: message, Hint: hint, width: 1})
				break
			}
			blank, before, at = blank && r == ' ', r, at+size
		}
	}
	return problems
}

func strange(r rune, size int) (message, hint string) {
	switch {
	case r == utf8.RuneError && size == 1:
		return "a byte here is not UTF-8", "have your editor save the file as UTF-8"
	case r == '\t':
		return "there is a tab here", `use spaces; inside a text, write \t between double quotes`
	case r == 0:
		return "there is a NUL byte here", "this does not look like a text file"
	case r == '\n' || r == '\r':
		return "", ""
	case unicode.IsControl(r), r == '\u2028', r == '\u2029', r == '\ufeff', r == '\ufffe', r == '\uffff':
		return "there is an invisible character here that YAML does not allow", "delete it and type the line anew"
	}
	return "", ""
}
