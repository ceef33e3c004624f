package environment

import (
	"os"
	"path"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/conda"
	"tljh/internal/host"
	"tljh/internal/layout"
)

func TestEnvironmentsOfAdminsOutliveTheirMiniforge(t *testing.T) {
	files := newFiles(t)
	b := New(Setup{Host: &host.Host{Files: files}})
	old := layout.Tools + "/miniforge-aaa"
	put(t, files, old+"/bin/conda", "")
	put(t, files, old+"/pkgs/x", "")
	put(t, files, old+"/envs/geo/conda-meta/history", "")
	put(t, files, old+"/envs/half/bin/x", "")
	put(t, files, layout.Tools+"/miniforge-bbb/bin/conda", "")
	require.NoError(t, os.Symlink(layout.Tools+"/miniforge-bbb", files.Path(layout.Conda)))
	require.NoError(t, files.Mkdir(layout.Environments, host.Attr{Mode: 0o755}))
	require.NoError(t, b.linkNamed())
	gone, err := b.OldMiniforges()
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{old + "/bin", old + "/pkgs"}, gone)
	for _, dir := range gone {
		require.NoError(t, files.RemoveTree(dir))
	}
	gone, err = b.OldMiniforges()
	require.NoError(t, err)
	assert.Empty(t, gone)
	assert.True(t, files.Exists(old+"/envs/geo/conda-meta/history"))
	target, err := files.Readlink(layout.Environments + "/geo")
	require.NoError(t, err)
	assert.Equal(t, old+"/envs/geo", target, "it is found by its name")
	assert.False(t, files.Exists(layout.Environments+"/half"))
}

func TestEnvironmentsOfAdminsStayWhenMiniforgeIsInstalledAgain(t *testing.T) {
	files := newFiles(t)
	b := New(Setup{Host: &host.Host{Files: files}})
	m := conda.Miniforge{SHA256: "0123456789abcdef"}
	put(t, files, path.Join(m.Folder(), "envs/geo/conda-meta/history"), "x")
	for range 2 { // the first try is interrupted
		require.NoError(t, b.keepNamed(m))
		require.NoError(t, files.RemoveTree(m.Folder()))
		put(t, files, path.Join(m.Folder(), "bin/conda"), "")
		require.NoError(t, os.MkdirAll(files.Path(path.Join(m.Folder(), "envs")), 0o755))
	}
	require.NoError(t, b.giveNamedBack(m))
	require.NoError(t, b.giveNamedBack(m))
	assert.True(t, files.Exists(path.Join(m.Folder(), "envs/geo/conda-meta/history")))
	assert.False(t, files.Exists(m.Folder()+namedAside))
}

// Admins of an older TLJH made environments in the user environment. They stay, by their names and by their paths.
func TestEnvironmentsThatAdminsMadeInAnOlderTLJHStay(t *testing.T) {
	files := newFiles(t)
	older := layout.Older + layout.User
	put(t, files, older+"/envs/geo/conda-meta/history", "theirs")
	put(t, files, older+"/envs/bio/bin/python", "a virtual environment")
	put(t, files, older+"/envs/.conda_envs_dir_test", "")
	put(t, files, layout.Environments+"/bio/conda-meta/history", "another")
	user := Generation{Kind: User, Number: 1}
	put(t, files, user.Path()+"/bin/python", "")
	assert.Equal(t, []string{"bio", "geo"}, NamedIn(files, older))
	require.NoError(t, files.MkdirAll(layout.Generations+"/.made", host.Attr{Mode: 0o700}))
	require.NoError(t, describe(files, user, []byte(`{"digest": "x", "manager": "conda"}`)))
	require.NoError(t, Switch(files, user))
	for range 2 { // it may be done again
		require.NoError(t, TakeNamed(files, older))
		for name, want := range map[string]string{"/geo/conda-meta/history": "theirs", "/bio/conda-meta/history": "another", "/bio-older/bin/python": "a virtual environment"} {
			data, err := files.Read(layout.Environments + name)
			require.NoError(t, err)
			assert.Equal(t, want, string(data))
		}
	}
	// The next user environment has the old paths, too; a folder of that name is left alone.
	next := Generation{Kind: User, Number: 2}
	put(t, files, next.Path()+"/bin/python", "")
	own := Generation{Kind: User, Number: 3}
	put(t, files, own.Path()+"/envs/x", "")
	for _, generation := range []Generation{user, next} {
		require.NoError(t, Switch(files, generation))
		target, err := files.Readlink(generation.Path() + "/envs")
		require.NoError(t, err)
		assert.Equal(t, layout.Environments, target)
	}
	require.NoError(t, Switch(files, own))
	assert.True(t, files.Exists(own.Path()+"/envs/x"))
}

func TestAUserEnvironmentWithoutNamedOnesHasNoSuchLink(t *testing.T) {
	files := newFiles(t)
	user := Generation{Kind: User, Number: 1}
	put(t, files, user.Path()+"/bin/python", "")
	require.NoError(t, files.MkdirAll(layout.Environments, host.Attr{Mode: 0o755}))
	require.NoError(t, Switch(files, user))
	_, err := files.Lstat(user.Path() + "/envs")
	assert.ErrorIs(t, err, os.ErrNotExist)
}
