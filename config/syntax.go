package config

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// parse returns the file's one document; nil when it is empty.
func (s *source) parse() (*yaml.Node, []Problem) {
	if problem := s.directive(); problem != nil {
		return nil, []Problem{*problem}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(s.data))
	var document, second yaml.Node
	err := decode(decoder, &document)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err == nil {
		switch err = decode(decoder, &second); {
		case errors.Is(err, io.EOF):
			return document.Content[0], nil
		case err == nil:
			return nil, []Problem{{
				Severity: Error, Line: second.Line, Column: second.Column, Message: "a second document begins here",
				Hint: "a config is one document: delete the line with ---", width: 3,
			}}
		}
	}
	return nil, []Problem{s.explain(err.Error())}
}

// errBroken stands for a fault of the library.
var errBroken = errors.New("cannot be read")

func decode(decoder *yaml.Decoder, node *yaml.Node) (err error) {
	defer func() {
		if recover() != nil {
			err = errBroken
		}
	}()
	return decoder.Decode(node)
}

// directive finds a %YAML or %TAG, which the hub and others do not understand alike.
func (s *source) directive() *Problem {
	for n := range s.starts {
		line := s.line(n + 1)
		if strings.HasPrefix(line, "%") {
			return &Problem{Severity: Error, Line: n + 1, Column: 1, Message: "a line cannot begin with % here", Hint: "delete the line, or put a # before it"}
		}
		if trimmed := strings.TrimSpace(line); trimmed != "" && trimmed[0] != '#' {
			return nil
		}
	}
	return nil
}

// spot says where a fault of the syntax is shown.
type spot int

const (
	reached    spot = iota // where the parser gave up, at the sign named if it is near
	lineStart              // the first character of the line where what is wrong began
	lineSign               // the last such sign in that line
	reachedRow             // the first character of the line where the parser gave up
)

// faults puts what the library says into words. Its own words may hold what stands in the file, and so are never shown.
var faults = []struct {
	says          string
	spot          spot
	signs         string
	message, hint string
}{
	{"mapping values are not allowed", reached, ":", "there is a colon where no key can be",
		"begin the keys of one section in the same column; a text with a colon and a space in it needs quotes"},
	{"block sequence entries are not allowed", reached, "-", "a list cannot begin here", "begin it on the next line, or write [a, b]"},
	{"found character that cannot start any token", reached, "%@`\t|>", "no value can begin with this character", "put the text in quotes"},
	{"could not find expected ':'", lineStart, "", "a colon is missing in this line, or quotes around a text of several lines", "write key: value"},
	{"found unexpected end of stream", lineSign, `"'`, "the quotes that begin here are not closed", "close them, or double the quote that is part of the text"},
	{"found unexpected document indicator", lineSign, `"'`, "the quotes that begin here are not closed", "close them, or double the quote that is part of the text"},
	{"found unknown escape character", reached, `\`, `between double quotes, \ and the character after it do not fit together`, `write \\ for one \, or use single quotes`},
	{"did not find expected hexdecimal", reached, `\`, `between double quotes, a code of a character must follow here`, `write \\ for one \, or use single quotes`},
	{"did not find expected ',' or ']'", lineSign, "[", "the list that begins here is not closed, or a comma is missing in it", "write [a, b]"},
	{"did not find expected ',' or '}'", lineSign, "{", "the { that stands here is not closed, or a comma is missing after it", "write {key: value, other: value}"},
	{"did not find expected key", reachedRow, "", "the indentation of this line fits none of those above", "begin the keys of one section in the same column"},
	{"did not find expected '-' indicator", reachedRow, "", "this line belongs neither to the list above nor to the section around it", "begin all entries of a list with a - in the same column"},
	{"did not find expected node content", reached, ",]}:", "a value is missing here", "an empty text is \"\"; a text that ends with a colon needs quotes"},
	{"did not find expected <document start>", reachedRow, "", "this cannot follow what is above", "begin all top keys in the first column"},
	{"unknown anchor", reached, "*", "no value can begin with * here", "put the text in quotes"},
	{"mapping keys are not allowed", reached, "?", "a key cannot begin with ? here", "put the text in quotes"},
	{"did not find expected comment or line break", reached, "|>", "a | or > must be the last in its line", "put the text in quotes"},
	{"did not find expected alphabetic or numeric character", reached, "*&", "no value can begin with this character", "put the text in quotes"},
	{"exceeded max depth", reached, "[{-:", "this is nested too deeply", ""},
}

var saidLine = regexp.MustCompile(`^yaml: line (\d+): `)

// explain turns an error of the library into a problem.
func (s *source) explain(said string) Problem {
	problem := Problem{Severity: Error, Message: "this is not YAML", Hint: "compare the line and the one above with an example of the documentation", width: 1}
	end, line := s.readUntil()
	spot, signs := reachedRow, ""
	for _, fault := range faults {
		if strings.Contains(said, fault.says) {
			problem.Message, problem.Hint, spot, signs = fault.message, fault.hint, fault.spot, fault.signs
			break
		}
	}
	at := s.lookBack(end)
	if signs == ":" {
		if told := s.colonAbove(at); told != nil {
			return *told
		}
	}
	switch spot {
	case reached:
		if found := s.missingValue(at, end); signs == ",]}:" && found >= 0 {
			at = found
		} else if found := bytes.LastIndexAny(s.data[:end], signs); found >= 0 && (found >= at-8 || found >= s.starts[s.row(at)-1]) {
			at = found
		}
		problem.Line, problem.Column = s.place(at)
	case reachedRow:
		problem.Line = s.row(at)
		problem.Column = indentation(s.line(problem.Line)) + 1
	case lineStart, lineSign:
		problem.Line = line
		problem.Column = indentation(s.line(line)) + 1
		if spot == lineSign {
			problem.Line, problem.Column = s.opening(line, end, signs)
		}
	}
	if problem.Column == indentation(s.line(problem.Line))+1 && spot != reached && spot != lineSign {
		problem.width = len([]rune(strings.TrimSpace(s.line(problem.Line))))
	}
	return problem
}

var valueMissing = regexp.MustCompile(`[\[{,:]\s*[,\]}]`)

// missingValue finds the sign before which a value is missing, in the line of an offset; -1 if there is none.
func (s *source) missingValue(offset, end int) int {
	start := s.starts[s.row(offset)-1]
	if found := valueMissing.FindAllIndex(s.data[start:end], -1); len(found) > 0 {
		return start + found[len(found)-1][1] - 1
	}
	return -1
}

var (
	hasKey = regexp.MustCompile(`:( |$)`)
	joined = regexp.MustCompile(`^\s*[\w-]+:\S`)
)

// colonAbove finds the usual reason for a colon in the wrong place: the line above has none, or no space after it, so that the two are one.
func (s *source) colonAbove(offset int) *Problem {
	for n := s.row(offset) - 1; n >= 1; n-- {
		line := s.line(n)
		trimmed := strings.TrimSpace(line)
		if trimmed == "" || trimmed[0] == '#' {
			continue
		}
		problem := &Problem{Severity: Error, Line: n, Column: indentation(line) + 1, width: len([]rune(trimmed))}
		switch {
		case joined.MatchString(line) && !hasKey.MatchString(line):
			problem.Message, problem.Hint = "a space is missing after the colon in this line", "write key: value"
		case !hasKey.MatchString(line) && !strings.HasPrefix(trimmed, "-"):
			problem.Message, problem.Hint = "a colon is missing in this line", "write key: value, or key: with its own keys in the lines below"
		default:
			return nil
		}
		return problem
	}
	return nil
}

func (s *source) row(offset int) int {
	line, _ := s.place(offset)
	return line
}

// opening finds the sign that opened what was not closed: the last one in the line.
func (s *source) opening(line, end int, signs string) (int, int) {
	start := s.offset(line, 1)
	stop := start + len(s.line(line))
	if found := bytes.LastIndexAny(s.data[start:min(stop, max(end, start))], signs); found >= 0 {
		return s.place(start + found)
	}
	return line, indentation(s.line(line)) + 1
}

// readUntil runs the parser again to see how far it gets: it looks no more than a few characters ahead. It also returns the line that the
// library names, where what is wrong began.
func (s *source) readUntil() (end, line int) {
	// The library names no first line; one more before it helps.
	reader := &slowReader{data: append([]byte("\n"), s.data...)}
	decoder := yaml.NewDecoder(reader)
	var err error
	for err == nil {
		var node yaml.Node
		err = decode(decoder, &node)
	}
	end = min(max(reader.at-1, 0), len(s.data))
	line = s.row(end)
	if match := saidLine.FindStringSubmatch(err.Error()); match != nil {
		line, _ = strconv.Atoi(match[1])
		if !strings.Contains(err.Error(), "did not find expected ") && !strings.Contains(err.Error(), "found undefined") {
			line-- // the scanner counts one more than the parser
		}
	}
	return end, min(max(line, 1), len(s.starts))
}

// lookBack goes from where the parser has read to where it was: a few characters, and the space before them.
func (s *source) lookBack(end int) int {
	const ahead = 4
	at := end - 1
	for n := 1; n < ahead && at > 0; n++ {
		at--
	}
	for at > 0 && at < len(s.data) && bytes.IndexByte([]byte(" \r\n"), s.data[at]) >= 0 {
		at--
	}
	return max(at, 0)
}

// slowReader gives one byte at a time, and knows how many it gave.
type slowReader struct {
	data []byte
	at   int
}

func (r *slowReader) Read(p []byte) (int, error) {
	if r.at >= len(r.data) {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	p[0] = r.data[r.at]
	r.at++
	return 1, nil
}
