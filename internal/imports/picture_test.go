package imports

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "draw the picture in architecture.md anew")

const (
	pictureBegins = "<!-- picture: go test ./internal/imports -run TestPicture -update -->\n"
	pictureEnds   = "<!-- end of picture -->"
)

// TestPicture holds the picture of the packages against the code.
func TestPicture(t *testing.T) {
	const file = "../../docs/contributing/architecture.md"
	page, err := os.ReadFile(file)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(page), pictureBegins)
	require.True(t, found)
	_, after, found := strings.Cut(rest, pictureEnds)
	require.True(t, found)
	want := before + pictureBegins + draw(edges(sources(t, "../.."))) + pictureEnds + after
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(want), 0o644))
		return
	}
	assert.True(t, want == string(page), "%s shows other imports: go test ./internal/imports -run TestPicture -update", file)
}

// edges are the imports between packages of the layers.
func edges(all []source) map[string]map[string]bool {
	found := map[string]map[string]bool{}
	for _, source := range all {
		from, level := entry(source.folder), 0
		if level, _ = layer(source.folder); level < 0 || strings.HasSuffix(source.folder, "test") {
			continue
		}
		for _, imported := range source.imports {
			ours, isOurs := strings.CutPrefix(imported, module+"/")
			if !isOurs || samePackage(source.folder, ours) {
				continue
			}
			if found[from] == nil {
				found[from] = map[string]bool{}
			}
			found[from][entry(ours)] = true
		}
	}
	return found
}

// everywhere are packages of names, which nearly all others use: arrows to them would hide the rest.
var everywhere = []string{"internal/layout", "internal/version"}

// draw leaves out arrows that follow from others.
func draw(edges map[string]map[string]bool) string {
	var text strings.Builder
	text.WriteString("\n```mermaid\nflowchart TD\n")
	for _, from := range slices.Sorted(maps.Keys(edges)) {
		for _, to := range slices.Sorted(maps.Keys(edges[from])) {
			if !slices.Contains(everywhere, to) && !reaches(edges, from, to, true) {
				fmt.Fprintf(&text, "    %s --> %s\n", node(from), node(to))
			}
		}
	}
	text.WriteString("```\n\n")
	return text.String()
}

// node is a package with its name, in the language of the picture.
func node(folder string) string {
	return strings.NewReplacer("/", "_", "-", "_").Replace(folder) + `["` + folder + `"]`
}

// reaches reports whether one package imports another by way of others.
func reaches(edges map[string]map[string]bool, from, to string, indirectly bool) bool {
	for next := range edges[from] {
		if next == to && !indirectly || next != to && reaches(edges, next, to, false) {
			return true
		}
	}
	return false
}

// What the page sends people to is there.
func TestArchitectureNamesRealPlaces(t *testing.T) {
	page, err := os.ReadFile("../../docs/contributing/architecture.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(page), "## Where do I")
	require.True(t, found)
	places := regexp.MustCompile("`([a-z][A-Za-z_./-]+)`").FindAllStringSubmatch(table, -1)
	require.Greater(t, len(places), 10)
	for _, place := range places {
		if place[1] != "uninstall" {
			_, err := os.Stat("../../" + place[1])
			assert.NoError(t, err)
		}
	}
}
