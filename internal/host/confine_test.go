package host

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPropertiesOfAConfinedCommand(t *testing.T) {
	c := Command{UID: 7, GID: 8, Dir: "/d", Confine: &Confine{Writable: []string{`/a "b`}, Offline: true}}
	got := strings.Join(c.properties("/run/x.env"), "\n")
	for _, property := range []string{"User=7", "Group=8", "WorkingDirectory=/d", `ReadWritePaths="-/a \"b"`, "PrivateNetwork=yes", "EnvironmentFile=/run/x.env", "NoNewPrivileges=yes"} {
		assert.Contains(t, got, property)
	}
	c.Confine = &Confine{Throwaway: true}
	got = strings.Join(c.properties("/run/x.env"), "\n")
	assert.Contains(t, got, "DynamicUser=yes")
	assert.NotContains(t, got, "User=7")
}

func TestVariablesForSystemd(t *testing.T) {
	text := string(environmentText([]string{`A=x"y\z$v` + "`", "TMPDIR=/t", "not a name=1"}))
	assert.Equal(t, `A="x\"y\\z\$v`+"\\`"+`"`+"\n", text)
}

func TestOpenNamed(t *testing.T) {
	root := t.TempDir()
	f := Files{Root: root}
	require.NoError(t, os.MkdirAll(filepath.Join(root, "a/b"), 0o755))
	require.NoError(t, os.Symlink("/a/b", filepath.Join(root, "ours")))
	require.NoError(t, os.Symlink("loop", filepath.Join(root, "loop")))
	opened, err := f.OpenNamed("/ours")
	require.NoError(t, err)
	defer opened.Close()
	info, err := opened.Stat()
	require.NoError(t, err)
	assert.True(t, info.IsDir())
	_, err = f.OpenNamed("/loop")
	require.ErrorContains(t, err, "too many links")
	if os.Geteuid() != 0 {
		t.Skip("only root can make links of other accounts")
	}
	require.NoError(t, os.Symlink("/a/b", filepath.Join(root, "theirs")))
	require.NoError(t, os.Lchown(filepath.Join(root, "theirs"), 65534, 65534))
	_, err = f.OpenNamed("/theirs")
	require.ErrorContains(t, err, "another account can change")
}

func TestWithinWritesNoFurther(t *testing.T) {
	root := t.TempDir()
	f := Files{Root: root}
	require.NoError(t, os.MkdirAll(filepath.Join(root, "in"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "out"), 0o755))
	require.NoError(t, os.Symlink("../out", filepath.Join(root, "in/trap")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(root, "in/pipe"), 0o600))
	w, err := f.Within("/in")
	require.NoError(t, err)
	defer w.Close()
	attr := Attr{Mode: 0o640, UID: os.Getuid(), GID: os.Getgid()}
	require.Error(t, w.Write("trap/x", []byte("x"), attr))
	require.Error(t, w.Mkdir("trap", 0o755))
	require.Error(t, w.Link("x", "trap/y"))
	_, err = w.Read("pipe", 10)
	require.ErrorContains(t, err, "not a regular file")
	require.NoError(t, w.Write("pipe", []byte("now a file"), attr))
	data, err := w.Read("pipe", 100)
	require.NoError(t, err)
	assert.Equal(t, "now a file", string(data))
	left, err := os.ReadDir(filepath.Join(root, "out"))
	require.NoError(t, err)
	assert.Empty(t, left)
}
