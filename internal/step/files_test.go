package step

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
)

func newContext(t *testing.T) *Context {
	t.Helper()
	root := t.TempDir()
	h := &host.Host{Files: host.Files{Root: root}}
	return &Context{
		Host: h, Progress: func(string, int64, int64) {}, Recorded: func(string) string { return "" }, Left: func(string) []Left { return nil },
		Aside: func(path string, _ []byte) string { return "/aside" + path }, Deleted: func(string) bool { return false },
		Save: func(path string, data []byte) (string, error) {
			copied := "/" + filepath.Base(path) + ".before"
			return copied, h.Files.Write(copied, data, attr(0o600))
		},
	}
}

func attr(mode os.FileMode) host.Attr {
	return host.Attr{Mode: mode, UID: os.Getuid(), GID: os.Getgid()}
}

// settle does to a step what the executor does, and returns what Undo needs.
func settle(t *testing.T, s Step, c *Context) Before {
	t.Helper()
	before, err := s.Before(context.Background(), c)
	require.NoError(t, err)
	require.NoError(t, s.Apply(context.Background(), c))
	assertState(t, Same, s, c)
	return before
}

func assertState(t *testing.T, want State, s Step, c *Context) {
	t.Helper()
	got, err := s.Check(context.Background(), c)
	require.NoError(t, err)
	assert.Equal(t, want.String(), got.String(), s.ID())
}

func TestFileThatIsNotVettedIsNotWritten(t *testing.T) {
	c := newContext(t)
	require.NoError(t, c.Host.Files.Write("/rules", []byte("good\n"), attr(0o440)))
	refused := errors.New("syntax error")
	file := File{Path: "/rules", What: "rules", Content: []byte("bad\n"), Attr: attr(0o440),
		Vet: func(context.Context, *Context, []byte) error { return refused }}

	require.ErrorIs(t, file.Apply(context.Background(), c), refused)
	data, err := c.Host.Files.Read("/rules")
	require.NoError(t, err)
	assert.Equal(t, "good\n", string(data))
}

func TestFileWithAWrongModeIsDifferent(t *testing.T) {
	c := newContext(t)
	require.NoError(t, c.Host.Files.Write("/key", []byte("k"), attr(0o644)))
	assertState(t, Different, File{Path: "/key", Content: []byte("k"), Attr: attr(0o600)}, c)
}

func TestFileReplacesALinkInsteadOfFollowingIt(t *testing.T) {
	c := newContext(t)
	require.NoError(t, c.Host.Files.Write("/target", []byte("precious"), attr(0o600)))
	require.NoError(t, os.Symlink(c.Host.Files.Path("/target"), c.Host.Files.Path("/file")))
	file := File{Path: "/file", Content: []byte("ours"), Attr: attr(0o600)}
	assertState(t, Different, file, c)
	require.NoError(t, file.Apply(context.Background(), c))
	data, err := c.Host.Files.Read("/target")
	require.NoError(t, err)
	assert.Equal(t, "precious", string(data))
	assertState(t, Same, file, c)
}

func TestSecretIsGeneratedOnceAndKept(t *testing.T) {
	c := newContext(t)
	calls := 0
	secret := Secret{Path: "/token", What: "token", Attr: attr(0o600), Generate: func() ([]byte, error) {
		calls++
		return []byte("s3cret"), nil
	}}
	settle(t, secret, c)
	require.NoError(t, os.Chmod(c.Host.Files.Path("/token"), 0o644))
	assertState(t, Different, secret, c)
	settle(t, secret, c)
	assert.Equal(t, 1, calls)
}

func TestEmptySecretIsMadeAnew(t *testing.T) {
	c := newContext(t)
	require.NoError(t, c.Host.Files.Write("/token", nil, attr(0o600)))
	secret := Secret{Path: "/token", What: "token", Attr: attr(0o600), Generate: func() ([]byte, error) { return []byte("s3cret"), nil }}
	assertState(t, Different, secret, c)
	settle(t, secret, c)
}

// A service that reads a damaged one does not start, and nothing but a new one helps.
func TestDamagedSecretIsMadeAnew(t *testing.T) {
	variable := Secret{Path: "/token", Variable: "TOKEN", Attr: attr(0o600), Generate: func() ([]byte, error) { return []byte("TOKEN=s3cret\n"), nil }}
	plain := Secret{Path: "/token", Attr: attr(0o600), Generate: func() ([]byte, error) { return []byte("s3cret"), nil }}
	for _, c := range []struct {
		text   string
		secret Secret
		kept   bool
	}{
		{"\x00}{\n\xff", plain, false}, {"s3\x00cret", plain, false}, {"two words", plain, false}, {"another\n", plain, true},
		{"s3cret", variable, false}, {"TOKEN=\n", variable, false}, {"\x00\x00TOKEN=x\n", variable, false}, {"# mine\nTOKEN=another\n", variable, true},
	} {
		x := newContext(t)
		require.NoError(t, x.Host.Files.Write("/token", []byte(c.text), attr(0o600)))
		if c.kept {
			assertState(t, Same, c.secret, x)
			continue
		}
		assertState(t, Different, c.secret, x)
		settle(t, c.secret, x)
	}
}

func TestDirThatIsALinkIsRefused(t *testing.T) {
	c := newContext(t)
	require.NoError(t, os.Mkdir(c.Host.Files.Path("/elsewhere"), 0o755))
	require.NoError(t, os.Symlink(c.Host.Files.Path("/elsewhere"), c.Host.Files.Path("/data")))
	dir := Dir{Path: "/data", Attr: attr(0o700)}
	assertState(t, Different, dir, c)
	require.Error(t, dir.Apply(context.Background(), c))
}

func TestSharedFolder(t *testing.T) {
	c := newContext(t)
	require.NoError(t, os.MkdirAll(c.Host.Files.Path("/etc"), 0o755))
	require.NoError(t, os.WriteFile(c.Host.Files.Path("/etc/group"), []byte("class:x:40001:\n"), 0o644))
	folder := Shared{Path: "/data", Groups: map[string]host.Access{"class": host.Writer}}
	assertState(t, Absent, folder, c)
	if err := folder.Apply(t.Context(), c); errors.Is(err, host.ErrNoACL) {
		t.Skip(err)
	} else {
		require.NoError(t, err)
	}
	assertState(t, Same, folder, c)

	narrower := Shared{Path: "/data", Groups: map[string]host.Access{"class": host.Reader}}
	assertState(t, Different, narrower, c)
	settle(t, narrower, c)
	assertState(t, Different, Shared{Path: "/data", Groups: map[string]host.Access{"still-to-be-made": host.Reader}}, c)
}
