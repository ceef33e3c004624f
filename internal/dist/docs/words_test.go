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

// dialect returns words and phrases that a reader stumbles over, each with what to write instead. They crept into the manual once; a text
// that uses one of them fails. The hub's tests read the same file.
func dialect(t *testing.T) [][2]string {
	t.Helper()
	text, err := os.ReadFile("dialect.tsv")
	require.NoError(t, err)
	var found [][2]string
	for line := range strings.Lines(string(text)) {
		words, instead, two := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		require.True(t, two, line)
		found = append(found, [2]string{words, instead})
	}
	return found
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
	for _, folder := range speaking {
		for place, text := range messages(t, filepath.Join(root, folder)) {
			found[place] = text
		}
	}
	return found
}

// speaking are the packages whose messages people read.
var speaking = []string{
	"internal/cli", "internal/check", "internal/host", "internal/release", "internal/fetch", "internal/report", "internal/step", "internal/keypair",
	"config", "conda", "edge", "environment", "firewall", "installer", "installer/hubnotes", "installer/journal", "installer/proof",
	"installer/switchover", "installer/uninstall", "systemdunits",
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
	for _, entry := range dialect(t) {
		pattern := regexp.MustCompile(`(?i)(?:^|[^\w-])(?:` + strings.ReplaceAll(entry[0], " ", `\s+`) + `)(?:[^\w-]|$)`)
		for place, text := range all {
			for _, at := range pattern.FindAllStringIndex(text, -1) {
				from, to := max(0, at[0]-40), min(len(text), at[1]+40)
				t.Errorf("%s: …%s… (write: %s)", place, strings.Join(strings.Fields(text[from:to]), " "), entry[1])
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
