package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/manual"
	"tljh/internal/step"
)

const manualRoot = "../manual/root"

// What is installed for man and the shells is what the command line's tables say now.
func TestManual(t *testing.T) {
	files := manualFiles()
	if *update {
		require.NoError(t, os.RemoveAll(manualRoot))
		for name, content := range files {
			require.NoError(t, os.MkdirAll(filepath.Dir(manualRoot+name), 0o755))
			require.NoError(t, os.WriteFile(manualRoot+name, content, 0o644))
		}
		t.Skip("written anew")
	}
	held := manual.Files()
	assert.Len(t, held, len(files))
	for _, file := range held {
		assert.True(t, string(files[file.Path]) == string(file.Content), "%s is of another command line: go test ./internal/cli -run TestManual -update", file.Path)
	}
}

// Pages say that they are ours; none has a line that man takes for a command of its own, and man finds nothing wrong with them where there is one.
func TestManualPages(t *testing.T) {
	groff, _ := exec.LookPath("groff")
	for _, file := range manual.Files() {
		if filepath.Ext(file.Path) != ".1" {
			continue
		}
		text := string(file.Content)
		assert.True(t, step.Marked(file.Content), file.Path)
		for _, line := range strings.Split(text, "\n")[1:] {
			if command, _, is := strings.Cut(line, " "); is && strings.HasPrefix(line, ".") {
				assert.Contains(t, []string{".TH", ".SH", ".SS", ".TP", ".PP", ".B", ".I", ".BR", ".nf", ".fi", ".RS", ".RE"}, command, file.Path)
			}
			assert.False(t, strings.HasPrefix(line, "'"), "%s: %s", file.Path, line)
		}
		if groff != "" {
			cmd := exec.CommandContext(t.Context(), groff, "-man", "-Tutf8", "-wall", "-z")
			cmd.Stdin = strings.NewReader(text)
			out, err := cmd.CombinedOutput()
			require.NoError(t, err)
			assert.Empty(t, string(out), file.Path)
		}
	}
}
