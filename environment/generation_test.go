package environment

import (
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
	"tljh/internal/layout"
)

func newFiles(t *testing.T) host.Files {
	t.Helper()
	files := host.Files{Root: t.TempDir()}
	require.NoError(t, os.MkdirAll(files.Path(layout.Generations), 0o755))
	return files
}

// put writes a file of a generation without any of the care that the real thing takes.
func put(t *testing.T, files host.Files, name, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(files.Path(name)), 0o755))
	require.NoError(t, os.WriteFile(files.Path(name), []byte(text), 0o644))
}

func complete(t *testing.T, files host.Files, kind Kind, number int) Generation {
	t.Helper()
	generation := Generation{Kind: kind, Number: number, Digest: "d", Manager: "uv", Created: time.Unix(0, 0).UTC()}
	put(t, files, path.Join(generation.Path(), "lib/module.py"), "x = 1\n")
	put(t, files, path.Join(generation.Path(), "lib/__pycache__/module.pyc"), "byte code")
	require.NoError(t, seal(files, generation))
	return generation
}

func TestGenerationsAreListedByNumberAndHalfBuiltOnesApart(t *testing.T) {
	files := newFiles(t)
	for _, number := range []int{10, 2, 1} {
		complete(t, files, Hub, number)
	}
	complete(t, files, User, 3)
	put(t, files, layout.Generations+"/hub-11/bin/python", "")
	put(t, files, layout.Generations+"/hub-notes.txt", "the admin's own")

	found, half, err := Generations(files, Hub)
	require.NoError(t, err)
	numbers := []int{}
	for _, generation := range found {
		numbers = append(numbers, generation.Number)
	}
	assert.Equal(t, []int{1, 2, 10}, numbers)
	assert.Equal(t, []string{layout.Generations + "/hub-11"}, half)

	next, err := Next(files, Hub)
	require.NoError(t, err)
	assert.Equal(t, 12, next, "a number is not used again while its folder is there")
}

func TestHalfBuiltGenerationsAreRemovedAndNothingElse(t *testing.T) {
	files := newFiles(t)
	kept := complete(t, files, Hub, 1)
	put(t, files, layout.Generations+"/hub-2/bin/python", "")
	put(t, files, layout.Generations+"/user-1/bin/python", "")
	put(t, files, layout.Generations+"/hub-notes.txt", "the admin's own")

	require.NoError(t, RemoveHalfBuilt(files, Hub))

	names, err := files.List(layout.Generations)
	require.NoError(t, err)
	assert.Equal(t, []string{"hub-1", "hub-notes.txt", "user-1"}, names)
	assert.Empty(t, Damaged(files, kept))
}

func TestCurrentIsWhatTheLinkLeadsTo(t *testing.T) {
	files := newFiles(t)
	_, ok := Current(files, Hub)
	assert.False(t, ok)

	one, two := complete(t, files, Hub, 1), complete(t, files, Hub, 2)
	require.NoError(t, Switch(files, one))
	require.NoError(t, Switch(files, two))
	live, ok := Current(files, Hub)
	require.True(t, ok)
	assert.Equal(t, 2, live.Number)

	require.NoError(t, files.RemoveTree(two.Path()))
	_, ok = Current(files, Hub)
	assert.False(t, ok, "a generation that is not there is never live")
}

func TestDamageIsNamed(t *testing.T) {
	for name, damage := range map[string]func(*testing.T, host.Files, string){
		"missing":     func(t *testing.T, files host.Files, p string) { require.NoError(t, files.Remove(p)) },
		"cut":         func(t *testing.T, files host.Files, p string) { put(t, files, p, "x") },
		"swapped for": func(t *testing.T, files host.Files, p string) { require.NoError(t, files.Link("/elsewhere/at/all", p)) },
	} {
		t.Run(name, func(t *testing.T) {
			files := newFiles(t)
			generation := complete(t, files, Hub, 1)
			file := path.Join(generation.Path(), "lib/module.py")
			damage(t, files, file)
			assert.Equal(t, file, Damaged(files, generation))
		})
	}
}

func TestByteCodeMayBeMadeAnew(t *testing.T) {
	files := newFiles(t)
	generation := complete(t, files, Hub, 1)
	put(t, files, path.Join(generation.Path(), "lib/__pycache__/module.pyc"), "other byte code")
	assert.Empty(t, Damaged(files, generation))
}

func TestADamagedUserEnvironmentIsThere(t *testing.T) {
	files := newFiles(t)
	assert.False(t, UserThere(files))
	generation := complete(t, files, User, 1)
	require.NoError(t, Switch(files, generation))
	assert.True(t, UserThere(files), "no program of it is there, and it is admins' work")
	require.NoError(t, files.RemoveTree(generation.Path()))
	assert.False(t, UserThere(files))
}

func TestPinsAreRead(t *testing.T) {
	assert.Equal(t, "6.1.1", pinned([]byte("# made\njupyter==1.0\njupyterhub==6.1.1 \\\n    --hash=sha256:00\n"), "jupyterhub"))
	assert.NotEmpty(t, JupyterHubVersion())
}

func TestDigestsTellTheirPartsApart(t *testing.T) {
	assert.NotEqual(t, digestOf([]byte("ab"), []byte("c")), digestOf([]byte("a"), []byte("bc")))
	assert.Len(t, HubDigest(nil), 64)
}

func FuzzReadMeta(f *testing.F) {
	seed, _ := json.Marshal(Generation{Kind: Hub, Number: 1})
	f.Add(seed)
	f.Fuzz(func(t *testing.T, data []byte) {
		files := host.Files{Root: t.TempDir()}
		dir := layout.Generations + "/hub-1"
		if err := os.MkdirAll(files.Path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(files.Path(path.Join(dir, metaName)), data, 0o644); err != nil {
			t.Fatal(err)
		}
		found, half, err := Generations(files, Hub)
		if err != nil || len(found)+len(half) != 1 {
			t.Fatalf("%v %v %v", found, half, err)
		}
	})
}

func TestGenerationsBeforeAreKept(t *testing.T) {
	files := newFiles(t)
	b := New(Setup{Host: &host.Host{Files: files}})
	for _, number := range []int{1, 2, 4, 5} {
		complete(t, files, Hub, number)
		complete(t, files, User, number)
	}
	none, err := b.Outdated()
	require.NoError(t, err)
	require.Empty(t, none, "nothing is live")
	require.NoError(t, Switch(files, Generation{Kind: Hub, Number: 4}))
	old, err := b.Outdated()
	require.NoError(t, err)
	assert.Equal(t, []string{layout.Generations + "/hub-1"}, old)

	require.NoError(t, Switch(files, Generation{Kind: User, Number: 5}))
	old, err = b.Outdated()
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{layout.Generations + "/hub-1", layout.Generations + "/user-1"}, old)
	put(t, files, "/proc/17/cmdline", layout.Generations+"/user-1/bin/python\x00-m\x00ipykernel\x00")
	old, err = b.Outdated()
	require.NoError(t, err)
	assert.Equal(t, []string{layout.Generations + "/hub-1"}, old, "a kernel runs in it")
}

func TestOldMiniforgesGo(t *testing.T) {
	files := newFiles(t)
	b := New(Setup{Host: &host.Host{Files: files}})
	for _, dir := range []string{"miniforge-aaa", "miniforge-bbb", "uv-ccc"} {
		put(t, files, layout.Tools+"/"+dir+"/x", "")
	}
	require.NoError(t, os.Symlink(layout.Tools+"/miniforge-bbb", files.Path(layout.Conda)))
	old, err := b.OldMiniforges()
	require.NoError(t, err)
	assert.Equal(t, []string{layout.Tools + "/miniforge-aaa"}, old)
}
