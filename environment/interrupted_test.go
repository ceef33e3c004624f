package environment

import (
	"os"
	"path"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
)

func verified(t *testing.T, files host.Files, dir string) Health {
	t.Helper()
	env, err := files.Within(dir)
	require.NoError(t, err)
	defer env.Close()
	x := examinationOf(files, env, dir)
	defer x.close()
	require.NoError(t, x.all(t.Context(), false))
	return x.health()
}

// pip renames what it replaces, writes the record of what it installs at the very end, and forgets what it was doing when it is killed.
func TestWhatAKilledPipLeavesIsDamage(t *testing.T) {
	const site = "lib/python3.14/site-packages"
	remove := func(names ...string) func(t *testing.T, files host.Files, dir string) {
		return func(t *testing.T, files host.Files, dir string) {
			for _, name := range names {
				require.NoError(t, files.RemoveTree(path.Join(dir, site, name)))
			}
		}
	}
	for name, test := range map[string]struct {
		happens func(t *testing.T, files host.Files, dir string)
		found   []Trouble
	}{
		"nothing": {func(*testing.T, host.Files, string) {}, []Trouble{}},
		"names of its own": {func(t *testing.T, files host.Files, dir string) {
			put(t, files, path.Join(dir, site, "~ich/__init__.py"), "")
			put(t, files, path.Join(dir, site, "~~ch-1.dist-info/METADATA"), "Name: rich\nVersion: 1\n\nName: other\n")
		}, []Trouble{{Words: site + "/~ich is left of a pip that was interrupted, and 1 more files"}}},
		"a package put aside": {func(t *testing.T, files host.Files, dir string) {
			remove("rich.py")(t, files, dir)
			put(t, files, path.Join(dir, site, "rich-13.0.dist-info/METADATA"), "Metadata-Version: 2.1\nName: Rich\nVersion: 13.0\n")
			require.NoError(t, files.Rename(path.Join(dir, site, "rich-13.0.dist-info"), path.Join(dir, site, "~ich-13.0.dist-info")))
		}, []Trouble{
			{Words: site + "/~ich-13.0.dist-info is left of a pip that was interrupted"},
			{Package: "rich", Version: "13.0", Words: "a pip that was interrupted has put it aside"},
		}},
		"half a package": {remove("rich-13.0.dist-info"), []Trouble{
			{Package: "rich", Version: "13.0", Words: "rich.py is there, and its record is not: a pip was interrupted"},
		}},
		"a package removed as it should be": {remove("rich-13.0.dist-info", "rich.py"), []Trouble{}},
		"byte code of a removed package": {func(t *testing.T, files host.Files, dir string) {
			remove("rich-13.0.dist-info", "rich.py")(t, files, dir)
			put(t, files, path.Join(dir, site, "__pycache__/rich.cpython-314.pyc"), "")
		}, []Trouble{}},
		"a folder put there by hand": {func(t *testing.T, files host.Files, dir string) {
			put(t, files, path.Join(dir, site, "ours/__init__.py"), "")
		}, []Trouble{}},
		"a package of which another has the modules now": {func(t *testing.T, files host.Files, dir string) {
			remove("rich-13.0.dist-info")(t, files, dir)
			put(t, files, path.Join(dir, site, "other-1.dist-info/RECORD"), "rich.py,,\n")
		}, []Trouble{}},
	} {
		t.Run(name, func(t *testing.T) {
			files := newFiles(t)
			live := liveUser(t, files, 1)
			install(t, files, live, "rich", "13.0")
			install(t, files, live, "cowsay", "6.0")
			_, _, err := TakeSnapshot(files, time.Unix(1, 0), Occasion{})
			require.NoError(t, err)
			test.happens(t, files, live.Path())
			assert.Equal(t, test.found, verified(t, files, live.Path()).Troubles)
		})
	}
}

func TestOnlyTheLastHealthySnapshotOfTheSameEnvironmentCounts(t *testing.T) {
	files := newFiles(t)
	live := liveUser(t, files, 1)
	install(t, files, live, "rich", "13.0")
	take := func(n int64, broken string) {
		_, taken, err := TakeSnapshot(files, time.Unix(n, 0), Occasion{Broken: broken})
		require.NoError(t, err)
		require.True(t, taken)
	}
	take(1, "")
	require.NoError(t, files.RemoveTree(sitePackages(live.Path())+"/rich-13.0.dist-info"))
	take(2, "rich: half of it is gone")
	assert.Len(t, verified(t, files, live.Path()).Troubles, 1, "a broken snapshot says nothing")

	take(3, "")
	assert.Empty(t, verified(t, files, live.Path()).Troubles, "somebody found it good")
	other := liveUser(t, files, 2)
	put(t, files, sitePackages(other.Path())+"/rich.py", "")
	assert.Empty(t, verified(t, files, other.Path()).Troubles)
}

func TestLeftoversAreRemovedAndNothingElse(t *testing.T) {
	files := newFiles(t)
	live := liveUser(t, files, 1)
	install(t, files, live, "rich", "13.0")
	put(t, files, sitePackages(live.Path())+"/~ich/__init__.py", "")
	put(t, files, "/elsewhere/file", "")
	require.NoError(t, os.Symlink(files.Path("/elsewhere"), files.Path(sitePackages(live.Path())+"/~link")))
	require.NoError(t, removeLeftovers(files, live.Path()))
	names, err := files.List(sitePackages(live.Path()))
	require.NoError(t, err)
	assert.Equal(t, []string{"rich-13.0.dist-info", "rich.py"}, names)
	assert.True(t, files.Exists("/elsewhere/file"))
	require.NoError(t, removeLeftovers(files, "/opt/tljh/generations/user-9"))
}
