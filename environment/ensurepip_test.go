package environment

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
)

// The carried CPython is unpacked as the installer does it, and used as a student does.
func TestTheCarriedPythonMakesVirtualEnvironmentsWithPip(t *testing.T) {
	files := host.Files{Root: t.TempDir()}
	b := New(Setup{Host: &host.Host{Files: files}})
	require.NoError(t, b.UnpackPython())
	work := t.TempDir()
	// Settings of a user's own that would send pip elsewhere.
	require.NoError(t, os.WriteFile(filepath.Join(work, "pip.conf"), []byte("[install]\nuser = true\n"), 0o644))
	env := []string{"HOME=" + work, "PATH=/usr/bin:/bin", "PIP_CONFIG_FILE=" + filepath.Join(work, "pip.conf"), "PIP_TARGET=" + filepath.Join(work, "elsewhere")}
	run := func(argv ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
		cmd.Dir, cmd.Env = work, env
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}

	run(files.Path(pythonProgram()), "-m", "venv", "x")
	assert.Contains(t, run("x/bin/pip", "--version"), filepath.Join(work, "x/lib"))
	assert.Contains(t, run("x/bin/python", "-m", "ensurepip", "--version"), "pip ")
	env = env[:2]
	assert.Contains(t, run("x/bin/pip", "uninstall", "--yes", "pip"), "Successfully uninstalled pip")
	run("x/bin/python", "-m", "ensurepip")
	assert.FileExists(t, filepath.Join(work, "x/bin/pip3"))
	assert.NoFileExists(t, filepath.Join(work, "x/bin/pip"))

	left, err := filepath.Glob(files.Path(PythonPath()) + "/../*")
	require.NoError(t, err)
	assert.Len(t, left, 1, left)
}
