package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// terminal returns both ends of one: what a person types at, and what a program reads from.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("there are no terminals here: ", err)
	}
	t.Cleanup(func() { _ = person.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("there are no terminals here: ", err)
	}
	t.Cleanup(func() { _ = program.Close() })
	return person, program
}

// Who made a mistake is asked, and either puts it right or gives up. An invalid file is never saved.
func TestEditAsksAfterAMistake(t *testing.T) {
	for name, test := range map[string]struct {
		typed, want string
		code        int
	}{
		"edits again":          {"what\ne\n", "limits:\n  memory: 2G\n", exitOK},
		"gives up":             {"x\n", "base_url: /\n", exitBadInput},
		"ends the input":       {"\x04", "base_url: /\n", exitBadInput},
		"presses Return, only": {"\n", "limits:\n  memory: 2G\n", exitOK},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file, editor := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "editor")
			require.NoError(t, os.WriteFile(file, []byte("base_url: /\n"), 0o600))
			// The first time it makes a mistake, the second time it puts it right.
			script := "#!/bin/sh\nif [ -e " + dir + "/once ]; then sed -i s/lots/2G/ \"$1\"; else touch " + dir + "/once; printf 'limits:\\n  memory: lots\\n' > \"$1\"; fi\n"
			require.NoError(t, os.WriteFile(editor, []byte(script), 0o755))
			t.Setenv("SUDO_EDITOR", editor)
			person, program := terminal(t)
			_, err := person.WriteString(test.typed)
			require.NoError(t, err)

			var out, errors bytes.Buffer
			c := &configCommand{streams: Streams{In: program, Out: &out, Err: &errors}, path: file}
			code := tell(c.runEdit(t.Context(), false), &errors)
			assert.Equal(t, test.code, code, errors.String())
			assert.Contains(t, errors.String(), "limits.memory must be a size or null, not lots")
			assert.Contains(t, errors.String(), "(e)dit again")
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Equal(t, test.want, string(data))
			info, err := os.Stat(file)
			require.NoError(t, err)
			assert.Equal(t, os.FileMode(0o600), info.Mode())
			left, err := filepath.Glob(filepath.Join(os.TempDir(), "tljh-config-*"))
			require.NoError(t, err)
			assert.Empty(t, left, "copies of the config were left")
		})
	}
}

// Whoever writes the file meanwhile does not lose it, and neither does who edits.
func TestEditSeesThatAnotherOneWrote(t *testing.T) {
	dir := t.TempDir()
	file, editor := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "editor")
	require.NoError(t, os.WriteFile(file, []byte("base_url: /\n"), 0o600))
	script := "#!/bin/sh\nprintf 'limits: {memory: 2G}\\n' > \"$1\"; printf 'base_url: /other/\\n' > " + file + "\n"
	require.NoError(t, os.WriteFile(editor, []byte(script), 0o755))
	t.Setenv("SUDO_EDITOR", editor)
	t.Setenv("TMPDIR", dir)
	var out, errors bytes.Buffer
	c := &configCommand{streams: Streams{In: &bytes.Buffer{}, Out: &out, Err: &errors}, path: file}
	assert.Equal(t, exitFailed, tell(c.runEdit(t.Context(), false), &errors))
	assert.Contains(t, errors.String(), "somebody changed the config")
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, "base_url: /other/\n", string(data))
	kept, err := filepath.Glob(filepath.Join(dir, "tljh-config-*", "config.yaml"))
	require.NoError(t, err)
	assert.Len(t, kept, 1)
}
