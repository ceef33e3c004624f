package environment

import (
	"errors"
	"path"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDescriptionsLieWhereOnlyRootWrites(t *testing.T) {
	files := newFiles(t)
	g := complete(t, files, User, 1)
	inner := path.Join(g.Path(), metaName)
	put(t, files, inner, `{"kind":"user","number":1,"manager":"conda"}`)
	got, err := readMeta(files, g.Path())
	require.NoError(t, err)
	assert.Equal(t, "uv", got.Manager, "what the owner of the environment writes there counts for nothing")

	require.NoError(t, files.Remove(metaOf(g.Path())))
	got, err = readMeta(files, g.Path())
	require.NoError(t, err, "the release before knew no other place")
	assert.Equal(t, "conda", got.Manager)

	require.NoError(t, RemoveHalfBuilt(files, User))
	assert.True(t, files.Exists(metaOf(g.Path())), "from now on it lies where only root writes")
}

func TestABuildThatSaysItIsComplete(t *testing.T) {
	files := newFiles(t)
	g := complete(t, files, User, 1)
	require.NoError(t, begin(files, g.Path()))
	_, half, err := Generations(files, User)
	require.NoError(t, err)
	assert.Equal(t, []string{g.Path()}, half)
	require.NoError(t, RemoveHalfBuilt(files, User))
	left, err := files.List(madeFolder())
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestNothingIsLeftOfARemovedGeneration(t *testing.T) {
	files := newFiles(t)
	g := complete(t, files, User, 1)
	require.NoError(t, RemoveGeneration(files, g.Path()))
	assert.False(t, files.Exists(g.Path()))
	left, err := files.List(madeFolder())
	require.NoError(t, err)
	assert.Empty(t, left)
	// Another folder is only removed.
	put(t, files, "/opt/tljh/tools/miniforge-1/x", "")
	require.NoError(t, RemoveGeneration(files, "/opt/tljh/tools/miniforge-1"))
}

// What is live was completed: a damaged description makes it neither missing nor half-built.
func TestADamagedDescriptionLosesNoLiveEnvironment(t *testing.T) {
	for what, damage := range map[string]string{"empty": "", "torn": `{"kind":"us`, "another's": `{"kind":"user","number":7,"manager":"uv"}`} {
		t.Run(what, func(t *testing.T) {
			files := newFiles(t)
			user, hub := complete(t, files, User, 1), complete(t, files, Hub, 1)
			put(t, files, path.Join(user.Path(), "conda-meta/rich-13.0-0.json"), "{}")
			put(t, files, path.Join(user.Path(), "conda-meta/history"), "")
			require.NoError(t, errors.Join(Switch(files, user), Switch(files, hub)))
			put(t, files, metaOf(user.Path()), damage)
			got, ok := Current(files, User)
			require.True(t, ok)
			assert.Equal(t, user, got, "the copy in the environment tells all")

			for _, g := range []Generation{user, hub} {
				put(t, files, path.Join(g.Path(), metaName), damage)
				put(t, files, metaOf(g.Path()), damage)
			}
			got, ok = Current(files, User)
			require.True(t, ok)
			assert.Equal(t, "conda", got.Manager)
			got, ok = Current(files, Hub)
			require.True(t, ok)
			assert.Empty(t, got.Digest, "an installation builds it anew, beside it")

			require.NoError(t, errors.Join(RemoveHalfBuilt(files, User), RemoveHalfBuilt(files, Hub)))
			assert.True(t, files.Exists(user.Path()), "what people work in was deleted")
			assert.True(t, files.Exists(hub.Path()), "what people work in was deleted")
			next, err := Next(files, Hub)
			require.NoError(t, err)
			assert.Equal(t, 2, next)
			_, err = described(user.Path(), func() ([]byte, error) { return files.Read(metaOf(user.Path())) })
			assert.NoError(t, err, "its description was not written anew")
		})
	}
}

func TestWhatIsBeingBuiltIsNeverLive(t *testing.T) {
	files := newFiles(t)
	g := complete(t, files, User, 1)
	require.NoError(t, Switch(files, g))
	require.NoError(t, begin(files, g.Path()))
	_, ok := Current(files, User)
	assert.False(t, ok)
	require.NoError(t, RemoveHalfBuilt(files, User))
	assert.True(t, files.Exists(g.Path()), "a folder that the link leads to is deleted by nobody but who takes the link away")
}
