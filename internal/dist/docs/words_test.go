package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/manual"
)

// dialect are words and phrases that a reader stumbles over, each with what to write instead. They crept into the manual
// once; a text that uses one of them fails.
var dialect = []struct{ words, instead string }{
	{`whoever|whomever|whom`, "anyone who, users who"},
	{`tells? (?:whether|what|which|how|why|whom)`, "reports whether, shows"},
	{`sees? to (?:it|its|the|what|that)|seen to`, "check, fix"},
	{`rid of`, "remove, delete"},
	{`one's own`, "your own"},
	{`(?:is|are|was|were|be) told(?:[.,;:]| [^t]| t[^o])`, "is reported, sees"},
	{`comes from where`, "its source"},
	{`doors?`, "edge"},
	{`be it`, "whether"},
	{`(?:to|can|could) be had`, "available"},
	{`puts? right|sets? right`, "fix, repair"},
	{`(?:takes?|took|taken|taking) over|takeovers?`, "adopt, replace"},
	{`older (?:TLJH|hub)`, "The Littlest JupyterHub 1.x/2.x (Python), the legacy hub"},
	{`(?:is|are) at work`, "is running"},
	{`by (?:itself|themselves)`, "automatically"},
	{`(?:runs?|ran|goes?|went) on[.,;]`, "keeps running, continues"},
	{`users' servers?`, "single-user servers"},
	{`judges?|judged|judging`, "check"},
	{`mends?|mended`, "fix, correct"},
	{`as it should be`, "healthy, OK"},
	{`(?:is|are) to be`, "must be, will be"},
	{`(?:is|are) in order`, "is healthy"},
	{`holds?`, "contains, applies, keeps"},
	{`beside`, "next to, in addition to"},
	{`nobody (?:is|was) there`, "no terminal"},
	{`(?:lies?|stands?) (?:in|on|at|below|there)`, "is in, is at"},
	{`for ever`, "always"},
}

var (
	remark    = regexp.MustCompile(`(?s)<!--.*?-->`)
	markup    = regexp.MustCompile(`(?s)\{[{%#].*?[%}#]\}|<script>.*?</script>|<[^>]*>`)
	shellNote = regexp.MustCompile(`(?m)^\s*#.*$`)
)

// texts returns what users read, by its place: the manual without its code, help as it is installed for man, the
// messages of the command line and of bootstrap.sh, and the hub's pages.
func texts(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for name, page := range pages(t) {
		if name != "CHANGELOG.md" { // it speaks of what was
			found[name] = inline.ReplaceAllString(remark.ReplaceAllString(fenced.ReplaceAllString(page, ""), ""), "CODE")
		}
	}
	for _, file := range manual.Files() {
		if strings.HasSuffix(file.Path, ".1") {
			found[file.Path] = strings.ReplaceAll(string(file.Content), `\(aq`, "'")
		}
	}
	script, err := os.ReadFile(filepath.Join(root, "bootstrap.sh"))
	require.NoError(t, err)
	found["bootstrap.sh"] = shellNote.ReplaceAllString(string(script), "")
	templates, err := filepath.Glob(filepath.Join(root, "hub/src/tljh/templates/*.html"))
	require.NoError(t, err)
	for _, name := range templates {
		page, err := os.ReadFile(name)
		require.NoError(t, err)
		found[name] = markup.ReplaceAllString(string(page), " ")
	}
	for place, text := range messages(t, filepath.Join(root, "internal/cli")) {
		found[place] = text
	}
	return found
}

// messages returns the strings with spaces of a package, by file and line.
func messages(t *testing.T, folder string) map[string]string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(folder, "*.go"))
	require.NoError(t, err)
	found, files := map[string]string{}, token.NewFileSet()
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(files, name, nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(node ast.Node) bool {
			literal, is := node.(*ast.BasicLit)
			if !is || literal.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(literal.Value)
			require.NoError(t, err)
			if strings.Contains(text, " ") {
				found[files.Position(literal.Pos()).String()] = text
			}
			return true
		})
	}
	return found
}

func TestPlainWords(t *testing.T) {
	all := texts(t)
	require.Greater(t, len(all), 100)
	for _, entry := range dialect {
		pattern := regexp.MustCompile(`(?i)(?:^|[^\w-])(?:` + strings.ReplaceAll(entry.words, " ", `\s+`) + `)(?:[^\w-]|$)`)
		for place, text := range all {
			for _, at := range pattern.FindAllStringIndex(text, -1) {
				from, to := max(0, at[0]-40), min(len(text), at[1]+40)
				t.Errorf("%s: …%s… (write: %s)", place, strings.Join(strings.Fields(text[from:to]), " "), entry.instead)
			}
		}
	}
}

// TestLinesFit keeps the manual readable in an editor. Tables and code cannot be broken.
func TestLinesFit(t *testing.T) {
	const columns = 120
	for name, page := range pages(t) {
		if name == "CHANGELOG.md" {
			continue
		}
		for _, line := range strings.Split(fenced.ReplaceAllString(page, ""), "\n") {
			if strings.HasPrefix(line, "|") || !strings.Contains(strings.TrimSpace(line), " ") {
				continue
			}
			assert.LessOrEqual(t, utf8.RuneCountInString(line), columns, "%s: %s", name, line)
		}
	}
}
