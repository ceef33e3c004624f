package environment

import (
	"os"
	"path"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
)

// foreign is an environment of conda's that somebody else made.
func foreign(t *testing.T, files host.Files) string {
	t.Helper()
	const dir = "/srv/env"
	for name, text := range map[string]string{
		"conda-meta/numpy-1.26.0-py312_0.json":                              `{"name": "numpy", "version": "1.26.0", "build": "py312_0"}`,
		"conda-meta/jupyterhub-5.1.0-pyh_0.json":                            `{"name": "jupyterhub", "version": "5.1.0", "build": "pyh_0"}`,
		"lib/python3.12/site-packages/jupyterhub-5.1.0.dist-info/INSTALLER": "conda\n",
		"lib/python3.12/site-packages/jupyterhub-5.1.0.dist-info/METADATA":  "",
		"lib/python3.12/site-packages/toolz-1.0.dist-info/METADATA":         "",
		"pkgs/large": "0123456789", "bin/python": "python",
	} {
		put(t, files, path.Join(dir, name), text)
	}
	return dir
}

func TestAnEnvironmentOfOthersIsDescribed(t *testing.T) {
	files := newFiles(t)
	dir := foreign(t, files)
	found, err := LookAt(files, dir)
	require.NoError(t, err)
	assert.True(t, found.Conda)
	assert.Equal(t, 12, found.Python)
	assert.Equal(t, "5.1.0", found.JupyterHub)
	assert.Equal(t, 3, found.Packages)
	require.NoError(t, os.RemoveAll(files.Path(dir+"/conda-meta")))
	without, err := LookAt(files, dir)
	require.NoError(t, err)
	assert.False(t, without.Conda)
	assert.Less(t, without.Bytes, found.Bytes)
	put(t, files, dir+"/pkgs/larger", "0123456789")
	again, err := LookAt(files, dir)
	require.NoError(t, err)
	assert.Equal(t, without.Bytes, again.Bytes, "conda's cache is not copied")
	_, ok := AdoptedUser(files, dir)
	assert.False(t, ok)
}

func TestCondaForgetsWhatTheIndexReplaced(t *testing.T) {
	files := newFiles(t)
	dir := foreign(t, files)
	b := New(Setup{Host: &host.Host{Files: files}})
	require.NoError(t, b.forgetConda(dir, "jupyterhub"))
	assert.True(t, files.Exists(dir+"/conda-meta/jupyterhub-5.1.0-pyh_0.json"), "it is conda's still")
	require.NoError(t, os.RemoveAll(files.Path(dir+"/lib/python3.12/site-packages/jupyterhub-5.1.0.dist-info")))
	put(t, files, dir+"/lib/python3.12/site-packages/jupyterhub-6.1.1.dist-info/INSTALLER", "uv\n")
	require.NoError(t, b.forgetConda(dir, "jupyterhub"))
	assert.False(t, files.Exists(dir+"/conda-meta/jupyterhub-5.1.0-pyh_0.json"))
	assert.True(t, files.Exists(dir+"/conda-meta/numpy-1.26.0-py312_0.json"))
}

func TestPinsOfAdminsStay(t *testing.T) {
	files := newFiles(t)
	dir := foreign(t, files)
	b := New(Setup{Host: &host.Host{Files: files}})
	put(t, files, dir+"/conda-meta/pinned", "numpy ==1.26.0\njupyterhub ==5.1.0\n# mine\n")
	text, err := Conda{b}.withPins(dir, "# ours\njupyterhub ==6.1.1\n")
	require.NoError(t, err)
	assert.Equal(t, "# ours\njupyterhub ==6.1.1\nnumpy ==1.26.0\n# mine\n", text)
}
