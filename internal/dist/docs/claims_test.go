package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	// named is the comment at the end of a claim that names the tests which would catch it being false.
	named = regexp.MustCompile(`<!-- tests?: ([A-Za-z0-9_,\s]+) -->`)
	// mark ends a claim, or what is no promise: advice, a definition, or what is not protected.
	mark       = regexp.MustCompile(`<!-- (?:tests?: [A-Za-z0-9_,\s]+|no promise) -->`)
	definition = regexp.MustCompile(`(?m)^(?:func|def|    def|async def) ((?:Test|Fuzz|test_)\w+)\(`)
	fenced     = regexp.MustCompile("(?ms)^[ ]*```.*?^[ ]*```$")
)

// proved are the pages on which every sentence is a claim with its test, or marked as no promise.
var proved = []string{"docs/security.md", "docs/logins.md", "docs/origins.md", "docs/servers.md"}

// testNames returns the names of all tests of the tree, Go's and pytest's.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch base := entry.Name(); {
		case entry.IsDir() && strings.HasPrefix(base, ".") && base != ".." && path != root:
			return filepath.SkipDir
		case entry.IsDir() && (base == "dist" && filepath.Dir(path) == root || base == "node_modules"):
			return filepath.SkipDir
		case strings.HasSuffix(base, "_test.go"), strings.HasPrefix(base, "test_") && strings.HasSuffix(base, ".py"):
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, match := range definition.FindAllStringSubmatch(string(data), -1) {
				names[match[1]] = true
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.Contains(t, names, "TestNamedTestsExist")
	require.Contains(t, names, "test_nobody_else_gets_in", "pytest's tests are not found")
	return names
}

// TestNamedTestsExist holds every page to the tests that its comments name.
func TestNamedTestsExist(t *testing.T) {
	names := testNames(t)
	for page, text := range pages(t) {
		for _, match := range named.FindAllStringSubmatch(text, -1) {
			for _, name := range strings.Split(match[1], ",") {
				assert.True(t, names[strings.TrimSpace(name)], "%s names the test %s, which does not exist", page, name)
			}
		}
	}
}

// unmarked returns the parts of a page that no mark follows before the end of their paragraph or bullet. A mark holds for all sentences since the one before.
func unmarked(page string) []string {
	found := []string{}
	for _, block := range paragraphs(page) {
		rest := block
		if marks := mark.FindAllStringIndex(block, -1); marks != nil {
			rest = block[marks[len(marks)-1][1]:]
		}
		if rest = strings.TrimSpace(rest); rest != "" {
			found = append(found, rest)
		}
	}
	return found
}

// paragraphs returns the paragraphs, bullets and tables of a page. What a text that ends in a colon introduces belongs to it, and so does a mark below a table.
func paragraphs(page string) []string {
	found, open := []string{}, false
	for _, part := range regexp.MustCompile(`\n\s*\n|\n+(?:- |\d\. )`).Split("\n"+fenced.ReplaceAllString(page, ""), -1) {
		part = strings.TrimSpace(part)
		switch {
		case part == "" || strings.HasPrefix(part, "#") && !strings.Contains(part, "\n"):
			continue
		case open || strings.HasPrefix(part, "<!--") && len(found) > 0:
			found[len(found)-1] += "\n" + part
		default:
			found = append(found, part)
		}
		open = strings.HasSuffix(part, ":")
	}
	return found
}

// TestEveryClaimNamesItsTest holds the pages about security to a test for each claim.
func TestEveryClaimNamesItsTest(t *testing.T) {
	all := pages(t)
	for _, page := range proved {
		text, ok := all[page]
		require.True(t, ok, page)
		for _, claim := range unmarked(text) {
			t.Errorf("%s: no test is named for this (or <!-- no promise -->, where it is advice, a definition, or says what is not protected):\n%s", page, claim)
		}
		t.Logf("%s: %d claims with tests, %d parts that are no promise", page, len(named.FindAllString(text, -1)), strings.Count(text, "<!-- no promise -->"))
	}
}

func TestUnmarkedClaimsAreFound(t *testing.T) {
	const tested = " <!-- test: TestX -->"
	for text, want := range map[string][]string{
		"# Title\n\nA claim." + tested + "\n\nAnother one.\n":         {"Another one."},
		"One." + tested + " Two.\n":                                   {"Two."},
		"- One." + tested + "\n- Two.\n  More.\n- Three." + tested:    {"Two.\n  More."},
		"One. <!-- no promise -->\n- Two." + tested + "\n":            {},
		"This runs:\n\n```shell\na\n\nb\n```\n\nIt works." + tested:   {},
		"| a | b |\n| --- | --- |\n| c | d |\n\n<!-- test: TestX -->": {},
		"| a | b |\n| --- | --- |\n| c | d |\n\nText." + tested:       {"| a | b |\n| --- | --- |\n| c | d |"},
		"One. <!-- tests: TestX, test_y -->\nTwo." + tested:           {},
		"One. <!-- tests: TestX,\ntest_y -->\n\nTwo." + tested:        {},
		"One. <!-- a remark -->":                                      {"One. <!-- a remark -->"},
	} {
		assert.Equal(t, want, unmarked(text), text)
	}
}
