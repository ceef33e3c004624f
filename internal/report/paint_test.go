package report

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestColoursAreWanted(t *testing.T) {
	for name, c := range map[string]struct {
		environ map[string]string
		wanted  Paint
	}{
		"a terminal":        {map[string]string{"TERM": "xterm-256color"}, true},
		"NO_COLOR":          {map[string]string{"TERM": "xterm", "NO_COLOR": "1"}, false},
		"NO_COLOR is empty": {map[string]string{"TERM": "xterm", "NO_COLOR": ""}, true},
		"a dumb terminal":   {map[string]string{"TERM": "dumb"}, false},
		"nothing is known":  {nil, false},
	} {
		assert.Equal(t, c.wanted, coloursWanted(func(key string) string { return c.environ[key] }), name)
	}
	assert.False(t, bool(PaintFor(&bytes.Buffer{})), "it is no terminal")
}

func TestPaint(t *testing.T) {
	assert.Equal(t, "\x1b[31mno\x1b[0m", Paint(true).Bad("no"))
	assert.Equal(t, "no", Paint(false).Bad("no"))
	assert.Equal(t, "", Paint(true).Strong(""))
	assert.Equal(t, "\x1b[32m+a\x1b[0m\n\x1b[31m-b\x1b[0m\n c\n", Paint(true).Diff("+a\n-b\n c\n"))
}

func TestWrap(t *testing.T) {
	assert.Equal(t, "one two\nthree\n\nfour\n  a line\n  of its\n  own", Wrap("one two\nthree\n\nfour\n  a line of its own", 8, ""))
	assert.Equal(t, "averylongword\nthat", Wrap("averylongword that", 8, ""), "a word is never broken")
	assert.Equal(t, "日本 日本\n日本", Wrap("日本 日本 日本", 9, ""), "by columns")
	assert.Equal(t, "a  b", WrapLines("a  b", 8, ""), "what fits stays")
	assert.Equal(t, "hint: a\n  b c\nnext", WrapLines("hint: a b c\nnext", 8, "  "))
}
