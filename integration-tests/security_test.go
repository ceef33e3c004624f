package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tljh/integration-tests/guest"
	"tljh/integration-tests/want"
)

// TestExposures holds the table of docs/security.md to what systemd says on the machine.
func TestExposures(t *testing.T) {
	t.Parallel()
	installed(t).exposures(t)
}

var exposureRow = regexp.MustCompile("(?m)^\\| `([a-z-]+\\.service)` \\| ([0-9.]+)")

func (h *hub) exposures(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(guest.RepositoryRoot(), "docs/security.md"))
	want.OK(t, err)
	rows := exposureRow.FindAllStringSubmatch(string(page), -1)
	want.Equal(t, 5, len(rows), "units in the table")
	for _, row := range rows {
		got := h.MustSh(t, "systemd-analyze security --no-pager "+row[1]+" | grep -o 'Overall exposure level.*' || true")
		want.True(t, strings.Contains(got, ": "+row[2]+" "), "the page says "+row[2]+" of "+row[1]+", systemd: "+got)
	}
}
