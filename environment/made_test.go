package environment

import (
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
