// Package imports holds the directions in which the project's packages may depend on each other, as
// docs/contributing/architecture.md describes them. It reads source files only and has no code of its own.
package imports

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "tljh"

// layers are from the bottom up: a package may import those of lower layers, never its neighbours.
var layers = [][]string{
	{"internal/layout", "internal/version", "internal/text", "internal/manual"},
	{"internal/keypair"},
	{"config", "internal/host"},
	{"internal/report", "internal/fetch"},
	{"internal/release"}, // fetches releases
	{"hub", "conda", "edge", "firewall", "systemdunits", "sudoers"},
	{"environment"}, // hub and user environments are built from what hub and conda give
	{"internal/step", "internal/check"},
	{"installer/journal", "installer/hubnotes", "installer/switchover"},
	{"installer/proof", "installer/uninstall"}, // what the hub notes; what the journal tells
	{"installer"},
	{"internal/cli"},
	{"cmd/tljh-install"},
}

// apart are folders of tools and tests. They may import what is below internal/cli; nothing that is installed may import them.
var apart = []string{"integration-tests", "internal/dist", "internal/imports", "bootstrap_test"}

// forTests are modules that only tests may use: they are not to be part of what runs as root.
var forTests = []string{"github.com/stretchr/testify", "github.com/rogpeppe/go-internal", "github.com/letsencrypt/pebble", "github.com/letsencrypt/challtestsrv"}

type source struct {
	file    string
	folder  string // of the package, below the root of the module
	imports []string
}

// sources returns the imports of every Go file of the module but its tests.
func sources(t *testing.T, root string) []source {
	t.Helper()
	var found []source
	require.NoError(t, filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && file != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "dist" && filepath.Dir(file) == root) {
			return filepath.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		s := source{file: relative, folder: path.Dir(filepath.ToSlash(relative))}
		for _, spec := range parsed.Imports {
			value, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			s.imports = append(s.imports, value)
		}
		found = append(found, s)
		return nil
	}))
	return found
}

// layer returns the layer that a folder belongs to, -1 for one of those apart, and false when it is in no table.
func layer(folder string) (int, bool) {
	own := entry(folder)
	for i, folders := range layers {
		if slices.Contains(folders, own) {
			return i, true
		}
	}
	return -1, own != ""
}

// entry returns the entry of the tables that a folder belongs to, the longest where there are several; "" when it is in no table.
func entry(folder string) string {
	found := ""
	for _, each := range slices.Concat(append(layers, apart)...) {
		if below(folder, each) && len(each) > len(found) {
			found = each
		}
	}
	return found
}

func below(folder, ancestor string) bool {
	return folder == ancestor || strings.HasPrefix(folder, ancestor+"/")
}

// samePackage reports whether two folders belong to one entry of the tables.
func samePackage(a, b string) bool { return entry(a) != "" && entry(a) == entry(b) }

// wrong says why a folder may not import a package, or nothing.
func wrong(folder, imported string) string {
	ours, isOurs := strings.CutPrefix(imported, module+"/")
	from, known := layer(folder)
	switch {
	case !known:
		return "name the layer of " + folder + " in this test and in docs/contributing/architecture.md"
	case !isOurs:
		for _, each := range forTests {
			if from >= 0 && below(imported, each) {
				return imported + " is for tests only"
			}
		}
		return ""
	case samePackage(folder, ours):
		return ""
	}
	to, known := layer(ours)
	cli, _ := layer("internal/cli")
	switch {
	case !known:
		return ours + " is no package of the tables"
	case to < 0:
		return ours + " is for tests and tools only"
	case from < 0 && to >= cli:
		return "tools and tests run the program as people do and do not import " + ours
	case from >= 0 && to >= from:
		return "dependencies point one way, and " + ours + " is not below " + folder
	}
	return ""
}

func TestDirections(t *testing.T) {
	all := sources(t, "../..")
	require.Greater(t, len(all), 20, "the sources were found")
	for _, source := range all {
		for _, imported := range source.imports {
			assert.Empty(t, wrong(source.folder, imported), source.file)
		}
	}
}

func TestWrongImportsAreFound(t *testing.T) {
	tests := []struct{ folder, imported, want string }{
		{"config", "tljh/installer", "dependencies point one way"},
		{"config", "tljh/internal/host", "dependencies point one way"},
		{"installer", "tljh/internal/cli", "dependencies point one way"},
		{"hub", "tljh/environment", "dependencies point one way"},
		{"installer/journal", "tljh/installer", "dependencies point one way"},
		{"installer", "tljh/integration-tests/guest", "for tests and tools only"},
		{"installer", "github.com/stretchr/testify/require", "for tests only"},
		{"integration-tests/cmd/try", "tljh/internal/cli", "as people do"},
		{"surprise", "fmt", "name the layer of surprise"},
		{"installer", "tljh/surprise", "no package of the tables"},
		{"installer", "tljh/config", ""},
		{"installer", "tljh/installer/journal", ""},
		{"installer/statetest", "tljh/installer", ""},
		{"environment", "tljh/hub", ""},
		{"installer", "fmt", ""},
		{"internal/host/hosttest", "tljh/internal/host", ""},
		{"integration-tests/cmd/try", "tljh/integration-tests/guest", ""},
		{"integration-tests/cmd/try", "github.com/letsencrypt/pebble/v2/wfe", ""},
	}
	for _, test := range tests {
		got := wrong(test.folder, test.imported)
		if test.want == "" {
			assert.Empty(t, got, "%s imports %s", test.folder, test.imported)
		} else {
			assert.Contains(t, got, test.want, "%s imports %s", test.folder, test.imported)
		}
	}
}

// The page that people read names every package of the tables.
func TestArchitectureNamesThePackages(t *testing.T) {
	page, err := os.ReadFile("../../docs/contributing/architecture.md")
	require.NoError(t, err)
	for _, folders := range layers {
		for _, folder := range folders {
			assert.Contains(t, string(page), "\n"+folder+"/", "docs/contributing/architecture.md, code map")
		}
	}
}
