package config

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// maker makes values that a JSON Schema describes, and some that are nearly such.
type maker struct {
	*rand.Rand
	spoil int // of 100 texts and numbers, how many are not what is asked for
}

func (m *maker) pick(list ...string) string { return list[m.IntN(len(list))] }

// value makes one for a part of the schema.
func (m *maker) value(schema map[string]any, depth int) any {
	if choices, ok := schema["anyOf"].([]any); ok {
		return m.value(choices[m.IntN(len(choices))].(map[string]any), depth)
	}
	if m.IntN(100) < m.spoil/4 {
		return []any{nil, true, "x", 1, 2.5, []any{}, map[string]any{}, []any{"x"}}[m.IntN(8)]
	}
	kind, _ := schema["type"].(string)
	if kinds, ok := schema["type"].([]any); ok {
		kind = kinds[m.IntN(len(kinds))].(string)
	}
	switch kind {
	case "boolean":
		return m.IntN(2) == 0
	case "integer", "number":
		return m.number(schema, kind == "integer")
	case "string":
		return m.text(schema)
	case "array":
		items, _ := schema["items"].(map[string]any)
		list := []any{}
		for range m.IntN(4) {
			list = append(list, m.value(items, depth+1))
		}
		return list
	case "object":
		return m.section(schema, depth)
	}
	return nil
}

func (m *maker) number(schema map[string]any, whole bool) any {
	least, _ := schema["minimum"].(float64)
	if above, ok := schema["exclusiveMinimum"].(float64); ok {
		least = above
	}
	greatest, ok := schema["maximum"].(float64)
	if !ok {
		greatest = least + 1<<31
	}
	n := []float64{least, greatest, least + 1, greatest - 1, least - 1, greatest + 1, 971, 80, float64(int64(least + m.Float64()*(greatest-least)))}[m.IntN(9)]
	if !whole && m.IntN(2) == 0 {
		return n + 0.5
	}
	return int64(n)
}

func (m *maker) text(schema map[string]any) string {
	pattern, _ := schema["pattern"].(string)
	if pattern == "" {
		return m.pick("", "a", "a b", "é", "1", "yes", "x\ny")
	}
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		panic(err)
	}
	var b strings.Builder
	m.match(&b, parsed, 0)
	text := b.String()
	if m.IntN(100) >= m.spoil {
		return text
	}
	runes := []rune(text)
	at := m.IntN(len(runes) + 1)
	switch m.IntN(3) {
	case 0:
		runes = slices.Insert(runes, at, []rune(m.pick("/", ".", "..", "//", "-", " ", "A", "0", ":", "é", "@", "x", "K", "%", "\t"))...)
	case 1:
		runes = runes[:at]
	default:
		runes = slices.Concat(runes[at:], runes[:at])
	}
	return string(runes)
}

// match writes a text that an expression matches.
func (m *maker) match(b *strings.Builder, re *syntax.Regexp, depth int) {
	repeat := func(least, most int) {
		if most < 0 || most > least+4 {
			most = least + 4
		}
		for range least + m.IntN(most-least+1) {
			m.match(b, re.Sub[0], depth+1)
		}
	}
	switch re.Op {
	case syntax.OpLiteral:
		b.WriteString(string(re.Rune))
	case syntax.OpCharClass:
		b.WriteRune(m.oneOf(re.Rune))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteString(m.pick("a", "Z", "0", "/", ".", "-", "é", "#"))
	case syntax.OpStar:
		repeat(0, -1)
	case syntax.OpPlus:
		repeat(1, -1)
	case syntax.OpQuest:
		repeat(0, 1)
	case syntax.OpRepeat:
		repeat(re.Min, re.Max)
	case syntax.OpAlternate:
		m.match(b, re.Sub[m.IntN(len(re.Sub))], depth+1)
	case syntax.OpConcat, syntax.OpCapture:
		for _, sub := range re.Sub {
			m.match(b, sub, depth+1)
		}
	}
}

// oneOf takes a character of a class, one that can be typed if there is any.
func (m *maker) oneOf(ranges []rune) rune {
	usual := []rune{}
	for i := 0; i+1 < len(ranges); i += 2 {
		for r := max(ranges[i], ' '); r <= min(ranges[i+1], '~'); r++ {
			usual = append(usual, r)
		}
	}
	if len(usual) > 0 && m.IntN(20) > 0 {
		return usual[m.IntN(len(usual))]
	}
	i := 2 * m.IntN(len(ranges)/2)
	return min(ranges[i+1], ranges[i]+rune(m.IntN(60)))
}

func (m *maker) section(schema map[string]any, depth int) map[string]any {
	found := map[string]any{}
	properties, _ := schema["properties"].(map[string]any)
	names := make([]string, 0, len(properties))
	for name := range properties {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if m.IntN(len(names)+2) < 2 {
			found[name] = m.value(properties[name].(map[string]any), depth+1)
		}
	}
	free, isFree := schema["additionalProperties"].(map[string]any)
	if patterns, ok := schema["patternProperties"].(map[string]any); ok && m.IntN(2) == 0 {
		for _, inner := range patterns {
			found[m.pick("FirstUseAuthenticator", "GitHubOAuthenticator", "LDAPAuthenticator")] = m.value(inner.(map[string]any), depth+1)
		}
	}
	for range m.IntN(3) {
		name := "x"
		if form, ok := schema["propertyNames"].(map[string]any); ok && (isFree || schema["additionalProperties"] == nil) {
			name = m.text(form)
		} else if isFree {
			name = m.pick("a", "b", "bob")
		}
		switch {
		case isFree:
			found[name] = m.value(free, depth+1)
		case schema["additionalProperties"] == nil: // options of an authenticator: anything
			found[name] = []any{"x", 1, true, nil, []any{"a"}, map[string]any{"b": 1}}[m.IntN(6)]
		case m.IntN(100) < m.spoil/3:
			found[name] = "x"
		}
	}
	if m.IntN(100) < m.spoil/4 {
		found["nosuch"] = 1
	}
	return found
}

// beyondForms is what the decoder refuses and a form cannot tell: what keys mean together, and the few values that no expression of reasonable length describes.
var beyondForms = regexp.MustCompile(strings.Join([]string{
	`there is no group`, `HTTPS needs`, `is missing$`, `cannot both have`, `only one can be used`, `account of the system's`, `given a second time`, `is banned, and an admin`,
	`contains the capital letter`, `that cannot be shown`, `contains a space`, // letters of all alphabets
	`must be at least 1M`, `must be a size(, auto)? or null, not [0-9.]+[KMGT]$`, // 1K, 0.5K, 99999999T
	`is too long: at most`, // bytes against characters
	`is neither an address nor a network`, `is no name, address or network`, `is the whole internet`, `has no valid port`, `must be the beginning of a web address`, `is one without`,
	`is no IP address`,                                                         // IPv6
	`is no e-mail address`,                                                     // quoted and odd ones
	`must be a web address`,                                                    // ports and escapes
	`of a channel$`,                                                            // the same
	`is no domain name`,                                                        // 253 characters
	`is below hub.user_domain`, `cannot have both`, `must be one line of text`, // soft hyphens and the like
	`an authenticator's class`, // the class of auth.type may have any name
}, "|"))

// judged tells whether the decoder has an error that a form can tell.
func judged(report Report) bool {
	for _, problem := range report.Problems {
		if problem.Severity == Error && !beyondForms.MatchString(problem.Message) {
			return true
		}
	}
	return false
}

// typed writes what no keyboard has as an escape.
func typed(data []byte) []byte {
	var b strings.Builder
	for _, r := range string(data) {
		if r < 0x7f {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return []byte(b.String())
}

// The decoder and the schema have the same verdict on files that are generated from the schema itself, whole and spoilt. What YAML allows to write beside JSON (yes
// and on for true, anchors, tags) is the decoder's business: the files are written as JSON, which is YAML.
func TestDecoderAndSchemaAgreeOnGeneratedFiles(t *testing.T) {
	schema := compiled(t)
	var described map[string]any
	require.NoError(t, json.Unmarshal(JSONSchema(), &described))
	accepted := 0
	for _, spoil := range []int{0, 25} {
		m := &maker{Rand: rand.New(rand.NewPCG(uint64(*seed), uint64(spoil))), spoil: spoil}
		for range *rounds {
			data, err := json.Marshal(m.section(described, 0))
			require.NoError(t, err)
			data = typed(data)
			_, report := Parse("", data)
			err = schema.Validate(asJSON(t, string(data)))
			if err == nil && report.Err() == nil {
				accepted++
			}
			if beyond := report.Err() != nil && !judged(report); beyond {
				continue // the decoder says more than a form can
			}
			if !assert.Equal(t, report.Err() != nil, err != nil, "%s\ndecoder: %v\nschema: %v", data, report.Err(), err) {
				return
			}
		}
	}
	t.Logf("%d of %d files were accepted by both", accepted, 2**rounds)
	assert.Greater(t, accepted, *rounds/20)
}
