// Package docs holds the documentation to the program: its YAML is valid config, its commands and options exist, its links
// lead somewhere.
package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/config"
)

const root = "../../.."

// pages returns the documentation by its path below the root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		require.NoError(t, err)
		for _, file := range files {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			name, err := filepath.Rel(root, file)
			require.NoError(t, err)
			found[name] = string(data)
		}
	}
	require.Contains(t, found, "docs/install.md")
	return found
}

var fence = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

// blocks returns a page's code blocks in a language.
func blocks(page, language string) []string {
	var found []string
	for _, match := range fence.FindAllStringSubmatch(page, -1) {
		if match[1] == language {
			found = append(found, match[2])
		}
	}
	return found
}

func TestYAMLIsValidConfig(t *testing.T) {
	count := 0
	for name, page := range pages(t) {
		for _, block := range blocks(page, "yaml") {
			count++
			_, report := config.Parse(name, []byte(block))
			assert.NoError(t, report.Err(), "%s:\n%s", name, block)
		}
	}
	assert.Positive(t, count)
}

// built is the folder of the binary, once one has been built.
var built string

// program builds the binary once for all tests.
var program = sync.OnceValues(func() (string, error) {
	var err error
	if built, err = os.MkdirTemp("", "tljh-docs-"); err != nil {
		return "", err
	}
	path := filepath.Join(built, "tljh-install")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/tljh-install")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	return path, cmd.Run()
})

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built)
	}
	os.Exit(code)
}

// families are verbs that have verbs of their own.
var families = regexp.MustCompile(`^(config|env) ([a-z][a-z-]*)`)

// help returns what a verb says of itself. What follows it on the line tells which of a family it is.
func help(t *testing.T, verb, rest string) string {
	t.Helper()
	path, err := program()
	require.NoError(t, err)
	if member := families.FindString(verb + rest); member != "" {
		verb = member
	}
	out, err := exec.CommandContext(t.Context(), path, append(strings.Fields(verb), "--help")...).CombinedOutput()
	require.NoError(t, err, "tljh-install %s --help: %s", verb, out)
	require.Contains(t, string(out), "tljh-install "+verb, "there is no verb %q", verb)
	return string(out)
}

var (
	inline  = regexp.MustCompile("`[^`\n]+`")
	command = regexp.MustCompile(`(?:^|[\s/])tljh-install ([a-z][a-z-]*)([^|;&\n]*)`)
	pasted  = regexp.MustCompile(`bash -s -- ([^|;&\n]*)`)
	option  = regexp.MustCompile(`(?:^|\s)(--?[a-z][a-z-]*)`)
)

// code returns all code of a page: blocks and what stands between backquotes.
func code(page string) []string {
	var found []string
	for _, language := range []string{"shell", "sh", "bash", "console"} {
		for _, block := range blocks(page, language) {
			found = append(found, strings.Split(block, "\n")...)
		}
	}
	for _, match := range inline.FindAllString(fence.ReplaceAllString(page, ""), -1) {
		found = append(found, strings.Trim(match, "`"))
	}
	return found
}

func hasOption(help, name string) bool {
	return regexp.MustCompile(`(?m)(^|[\s,])` + regexp.QuoteMeta(name) + `([\s,=]|$)`).MatchString(help)
}

func TestCommandsExist(t *testing.T) {
	count := 0
	check := func(name, line, verb, rest string) {
		count++
		text := help(t, verb, rest)
		for _, match := range option.FindAllStringSubmatch(rest, -1) {
			assert.True(t, hasOption(text, match[1]), "%s: %s: tljh-install %s has no %s", name, line, verb, match[1])
		}
	}
	for name, page := range pages(t) {
		for _, line := range code(page) {
			for _, match := range command.FindAllStringSubmatch(line, -1) {
				check(name, line, match[1], match[2])
			}
			for _, match := range pasted.FindAllStringSubmatch(line, -1) {
				check(name, line, "install", match[1])
			}
		}
	}
	assert.Greater(t, count, 5)
}

// The table of options is that of the program.
func TestOptionsAreDocumented(t *testing.T) {
	page := pages(t)["docs/install.md"]
	for _, match := range regexp.MustCompile(`(?m)^ +(?:-\w, )?(--[a-z-]+)`).FindAllStringSubmatch(help(t, "install", ""), -1) {
		if match[1] != "--help" {
			assert.Contains(t, page, "`"+match[1], "docs/install.md, options")
		}
	}
	table := regexp.MustCompile("(?m)^\\| `(?:-\\w`, `)?(--[a-z-]+)").FindAllStringSubmatch(page, -1)
	require.Greater(t, len(table), 5)
	for _, match := range table {
		assert.True(t, hasOption(help(t, "install", ""), match[1]), "docs/install.md: there is no %s", match[1])
	}
}

// Every check that can refuse a machine has a paragraph of its own.
func TestChecksAreDocumented(t *testing.T) {
	for _, command := range []string{"install", "upgrade"} {
		match := regexp.MustCompile(`(?s)--ignore-preflight.*?\(([^)]*)\)`).FindStringSubmatch(help(t, command, ""))
		require.NotNil(t, match, "the help of --ignore-preflight lists the checks")
		names := strings.FieldsFunc(match[1], func(r rune) bool { return strings.ContainsRune(", \n\t", r) })
		require.Greater(t, len(names), 5)
		for _, name := range names {
			assert.True(t, strings.Contains(pages(t)["docs/troubleshooting.md"], "\n### "+name+"\n"), "docs/troubleshooting.md has nothing on %s", name)
		}
	}
}

// The help and the manual tell the same exit codes.
func TestExitCodesAreDocumented(t *testing.T) {
	_, table, ok := strings.Cut(pages(t)["docs/install.md"], "## Exit codes")
	require.True(t, ok)
	table, _, _ = strings.Cut(table, "\n## ")
	var documented []string
	for _, match := range regexp.MustCompile(`(?m)^\| (\d+) \|`).FindAllStringSubmatch(table, -1) {
		documented = append(documented, match[1])
	}
	_, told, ok := strings.Cut(help(t, "install", ""), "Exit codes:")
	require.True(t, ok)
	told, _, _ = strings.Cut(told, "\n\n")
	var codes []string
	for _, match := range regexp.MustCompile(`(?m)^ +(\d+) `).FindAllStringSubmatch(told, -1) {
		codes = append(codes, match[1])
	}
	assert.Equal(t, codes, documented)
}

var (
	link   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	target = regexp.MustCompile("`make ([a-z-]+)")
)

func TestLinksLeadSomewhere(t *testing.T) {
	for name, page := range pages(t) {
		for _, match := range link.FindAllStringSubmatch(page, -1) {
			to, _, _ := strings.Cut(match[1], "#")
			if to == "" || strings.Contains(to, "://") {
				continue
			}
			_, err := os.Stat(filepath.Join(root, filepath.Dir(name), to))
			assert.NoError(t, err, name)
		}
	}
}

func TestMakeTargetsExist(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	require.NoError(t, err)
	for name, page := range pages(t) {
		for _, match := range target.FindAllStringSubmatch(page, -1) {
			assert.Regexp(t, `(?m)^`+match[1]+`:`, string(makefile), name)
		}
	}
}
