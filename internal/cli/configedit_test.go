package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"golang.org/x/sys/unix"
	"tljh/internal/host"
	"tljh/internal/layout"
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
		code, left  int
	}{
		"edits again":          {"what\ne\n", "limits:\n  memory: 2G\n", exitOK, 0},
		"gives up":             {"x\n", "base_url: /\n", exitBadInput, 0},
		"ends the input":       {"\x04", "base_url: /\n", exitBadInput, 1},
		"presses Return, only": {"\n", "limits:\n  memory: 2G\n", exitOK, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file, editor := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "editor")
			require.NoError(t, os.WriteFile(file, []byte("base_url: /\n"), 0o600))
			// The first time it makes a mistake, the second time it puts it right.
			script := "#!/bin/sh\nif [ -e " + dir + "/once ]; then sed -i s/lots/2G/ \"$1\"; else touch " + dir + "/once; printf 'limits:\\n  memory: lots\\n' > \"$1\"; fi\n"
			require.NoError(t, os.WriteFile(editor, []byte(script), 0o755))
			t.Setenv("SUDO_EDITOR", editor)
			t.Setenv("TMPDIR", dir)
			person, program := terminal(t)
			_, err := person.WriteString(test.typed)
			require.NoError(t, err)

			var out, errors bytes.Buffer
			c := &configCommand{streams: Streams{In: program, Out: &out, Err: &errors}, path: file}
			code := tell(c.runEdit(t.Context(), false), &errors)
			assert.Equal(t, test.code, code, errors.String())
			assert.Contains(t, errors.String(), "limits.memory must be a size, auto or null, not lots")
			assert.Contains(t, errors.String(), "(e)dit again")
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Equal(t, test.want, string(data))
			info, err := os.Stat(file)
			require.NoError(t, err)
			assert.Equal(t, os.FileMode(0o600), info.Mode())
			left, err := filepath.Glob(filepath.Join(dir, "tljh-config-*", "config.yaml"))
			require.NoError(t, err)
			assert.Len(t, left, test.left, "copies of the config")
			for _, path := range left { // nobody gave it up
				assert.Contains(t, errors.String(), "Your edit is kept in "+path)
			}
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
	assert.Contains(t, errors.String(), "the config was changed by someone else")
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, "base_url: /other/\n", string(data))
	kept, err := filepath.Glob(filepath.Join(dir, "tljh-config-*", "config.yaml"))
	require.NoError(t, err)
	assert.Len(t, kept, 1)
}

// What an editor left is not lost when it fails, and an edit that changed nothing leaves nothing.
func TestEditKeepsWhatAnEditorLeftThatFailed(t *testing.T) {
	for script, kept := range map[string]int{"echo 'limits: {}' > \"$1\"; exit 1": 1, "exit 1": 0} {
		dir := t.TempDir()
		file, editor := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "editor")
		require.NoError(t, os.WriteFile(file, []byte("base_url: /\n"), 0o600))
		require.NoError(t, os.WriteFile(editor, []byte("#!/bin/sh\n"+script+"\n"), 0o755))
		t.Setenv("SUDO_EDITOR", editor)
		t.Setenv("TMPDIR", dir)
		var out, errors bytes.Buffer
		c := &configCommand{streams: Streams{In: &bytes.Buffer{}, Out: &out, Err: &errors}, path: file}
		assert.Equal(t, exitFailed, tell(c.runEdit(t.Context(), false), &errors))
		assert.Contains(t, errors.String(), "the editor failed")
		left, err := filepath.Glob(filepath.Join(dir, "tljh-config-*", "config.yaml"))
		require.NoError(t, err)
		assert.Len(t, left, kept)
		assert.Equal(t, kept, strings.Count(errors.String(), "your edit is kept in"))
	}
}

// Ctrl-C at a terminal with an editor is for the editor alone; whoever ends this program finds the draft.
func TestSignalsWhileEditing(t *testing.T) {
	for signal, code := range map[syscall.Signal]int{syscall.SIGINT: exitOK, syscall.SIGHUP: exitInterrupted, syscall.SIGTERM: exitInterrupted} {
		dir := t.TempDir()
		file, editor := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "editor")
		require.NoError(t, os.WriteFile(file, []byte("base_url: /\n"), 0o600))
		// It sends its parent's parent, which is this program, a signal, and is told to tidy up or goes on.
		script := fmt.Sprintf("#!/bin/sh\ntrap 'touch %[1]s/tidied; exit 1' TERM\necho 'limits: {}' > \"$1\"\nkill -%[2]d %[3]d\n"+
			"[ %[2]d = 2 ] || while :; do sleep 0.1; done\n", dir, int(signal), os.Getpid())
		require.NoError(t, os.WriteFile(editor, []byte(script), 0o755))
		t.Setenv("SUDO_EDITOR", "exec "+editor)
		t.Setenv("TMPDIR", dir)
		var out, errors bytes.Buffer
		assert.Equal(t, code, Main("tljh-install", []string{"config", "edit", "--config-path", file}, Streams{In: &bytes.Buffer{}, Out: &out, Err: &errors}), errors.String())
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		if code == exitOK {
			assert.Equal(t, "limits: {}\n", string(data))
			continue
		}
		assert.Equal(t, "base_url: /\n", string(data))
		assert.Contains(t, errors.String(), "your edit is kept in")
		assert.FileExists(t, dir+"/tidied")
	}
}

func TestWhichEditor(t *testing.T) {
	for _, key := range []string{"SUDO_EDITOR", "VISUAL", "EDITOR"} {
		t.Setenv(key, "")
	}
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	add := func(name string) {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"), 0o755))
	}
	add("sensible-editor")
	assert.Empty(t, editor(), "sensible-editor only starts another")
	err := (&draft{}).open(t.Context())
	require.ErrorContains(t, err, "there is no editor on this machine")
	assert.Contains(t, host.HintOf(err), "nano")
	require.NoError(t, os.Remove(filepath.Join(bin, "sensible-editor")))
	for _, name := range []string{"vim", "vi", "nano", "editor", "sensible-editor"} {
		add(name)
		assert.Equal(t, name, editor())
	}
	for _, key := range []string{"EDITOR", "VISUAL", "SUDO_EDITOR"} {
		t.Setenv(key, "of "+key)
		assert.Equal(t, "of "+key, editor())
	}
}

// sudo's secure_path ends with the user environment, into which a course may have put an editor of its own.
func TestRootTakesNoEditorOfTheUserEnvironment(t *testing.T) {
	system := t.TempDir()
	t.Setenv("PATH", system+":"+layout.Shims+":"+layout.User+"/bin::relative:"+layout.Generations+"/user-3/bin")
	assert.Equal(t, []string{"PATH=" + system, "HOME=/root"}, editorEnv([]string{"PATH=" + os.Getenv("PATH"), "HOME=/root"}))
	for _, key := range []string{"SUDO_EDITOR", "VISUAL", "EDITOR"} {
		t.Setenv(key, "")
	}
	require.NoError(t, os.WriteFile(filepath.Join(system, "vi"), []byte("#!/bin/sh\n"), 0o755))
	assert.Equal(t, "vi", editor())
}
