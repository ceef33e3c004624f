package config

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// reading is what a scalar is read as. Hub and editors may follow different versions of YAML: what is not the same in both is odd.
type reading int

const (
	asText reading = iota
	asNull
	asBool
	asYesNo // a truth value for the hub (YAML 1.1), a text for others
	asWhole
	asFraction
	asOdd
)

var (
	nulls     = regexp.MustCompile(`^(~|null|Null|NULL|)$`)
	truths    = regexp.MustCompile(`^(true|True|TRUE|false|False|FALSE)$`)
	yesNo     = regexp.MustCompile(`^(yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF)$`)
	decimals  = regexp.MustCompile(`^[-+]?(0|[1-9][0-9]*)$`)
	fractions = regexp.MustCompile(`^([-+]?[0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?$`)
)

// What YAML 1.1 takes for something else than text: numbers with underscores, of other bases or of base 60, not-a-number, dates,
// the merge key and the default key. What YAML 1.2 takes so is known to the library.
var oddities = regexp.MustCompile(`^([-+]?0b[01_]+|[-+]?0[0-7_]+|[-+]?[1-9][0-9_]*|[-+]?0x[0-9a-fA-F_]+|[-+]?[1-9][0-9_]*(:[0-5]?[0-9])+` +
	`|[-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+][0-9]+)?|\.[0-9][0-9_]*([eE][-+][0-9]+)?|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+\.[0-9_]*` +
	`|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)` +
	`|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(([Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(\.[0-9]*)?([ \t]*(Z|[-+][0-9]{1,2}(:[0-9]{2})?))?)?` +
	`|<<|=)$`)

var dates = regexp.MustCompile(`^[0-9]{4}-[0-9]`)

func read(node *yaml.Node) reading {
	const quoted = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	if node.Style&quoted != 0 {
		return asText
	}
	return readPlain(node.Value, node.ShortTag())
}

// readPlain tells how a scalar without quotes is read; tag is what the library takes it for.
func readPlain(text, tag string) reading {
	if tag == "!!str" && isWord(text) {
		return asText // nearly all of a large file: lists of names
	}
	switch {
	case nulls.MatchString(text):
		return asNull
	case truths.MatchString(text):
		return asBool
	case yesNo.MatchString(text):
		return asYesNo
	case decimals.MatchString(text):
		if _, err := strconv.ParseInt(text, 10, 64); err != nil {
			return asOdd
		}
		return asWhole
	case fractions.MatchString(text):
		if _, err := strconv.ParseFloat(text, 64); err != nil {
			return asOdd
		}
		return asFraction
	case oddities.MatchString(text) || tag != "!!str":
		return asOdd
	}
	return asText
}

// isWord tells whether a text begins like none of what is not a text: numbers and signs, and the few short words for nothing, true and false.
func isWord(text string) bool {
	if text == "" {
		return false
	}
	c := text[0]
	letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= utf8.RuneSelf
	return letter && (len(text) > len("false") || !strings.ContainsRune("tTfFnNyYoO", rune(c)))
}

// isPlainText tells whether a text stays itself when it is written without quotes.
func isPlainText(text string) bool {
	return readPlain(text, (&yaml.Node{Kind: yaml.ScalarNode, Value: text}).ShortTag()) == asText
}

// nouns says what a scalar is, where text was wanted.
var nouns = map[reading]string{
	asText: "text", asNull: "nothing", asBool: "true or false", asYesNo: "true or false", asWhole: "a number", asFraction: "a number",
	asOdd: "a number",
}

// oddNoun says what a scalar is read as.
func oddNoun(node *yaml.Node) string {
	switch what := read(node); {
	case what != asOdd:
		return nouns[what]
	case dates.MatchString(node.Value):
		return "a date"
	case node.Value == "=" || node.Value == "<<":
		return "a sign of YAML's own"
	}
	return nouns[asOdd]
}

func truth(text string) bool {
	switch text[0] {
	case 't', 'T', 'y', 'Y':
		return true
	}
	return text == "on" || text == "On" || text == "ON"
}
