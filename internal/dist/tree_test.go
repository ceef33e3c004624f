package dist

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sourceFiles returns the files of the tree: those git knows and those it would take.
func sourceFiles(t *testing.T) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "-c", "safe.directory=*", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Skipf("this is no checkout, so what belongs to the tree cannot be told: %v", err)
	}
	var files []string
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		if _, err := os.Lstat(filepath.Join(root, name)); err == nil { // one that was removed is known to git until the next commit
			files = append(files, name)
		}
	}
	require.NotEmpty(t, files)
	return files
}

// forbidden is what no file of the tree may say. The names are put together here, so that this file does not say them.
var forbidden = map[string]*regexp.Regexp{
	// People have mirrors and proxies, and their clients' own settings say where packages come from.
	"the host of a package registry": regexp.MustCompile(`(?i)\b(` + strings.Join([]string{
		`pypi\.` + `org`, `python` + `hosted\.org`, `registry\.npm` + `js\.org`, `npm` + `js\.com`, `proxy\.go` + `lang\.org`, `sum\.go` + `lang\.org`,
		`deb\.` + `debian\.org`, `security\.` + `debian\.org`, `archive\.` + `ubuntu\.com`, `conda\.` + `anaconda\.org`, `repo\.` + `anaconda\.com`, `crates\.` + `io`,
	}, "|") + `)\b`),
	"a path of somebody's own machine": regexp.MustCompile(`(^|[^\w.])/` + `(work|root/\.pyenv|Users|home/(user|ubuntu))/`),
}

func offences(name string, data []byte) []string {
	var found []string
	for what, pattern := range forbidden {
		for number, line := range strings.Split(string(data), "\n") {
			if match := pattern.FindString(line); match != "" {
				found = append(found, fmt.Sprintf("%s:%d names %s: %s", name, number+1, what, match))
			}
		}
	}
	return found
}

func TestTheTreeNamesNoRegistryAndNoMachine(t *testing.T) {
	for _, name := range sourceFiles(t) {
		data := read(t, root, name)
		if bytes.IndexByte(data, 0) >= 0 { // no text
			continue
		}
		assert.Empty(t, offences(name, data))
	}
}

func TestOffencesAreFound(t *testing.T) {
	for _, text := range []string{
		"curl https://pypi." + "org/simple/uv/", `"resolved": "https://registry.npm` + `js.org/x.tgz"`, "GOPROXY=https://proxy.go" + "lang.org",
		"cd /wo" + "rk/main", "in /root/.py" + "env/shims",
	} {
		assert.Len(t, offences("file", []byte("first line\n"+text)), 1, text)
	}
	for _, text := range []string{"https://example.org/simple", "the network/home page", "cd framework/main", "/home/jupyter-alice/work/"} {
		assert.Empty(t, offences("file", []byte(text)), text)
	}
}
