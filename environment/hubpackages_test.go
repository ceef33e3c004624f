package environment

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
	"tljh/internal/host/hosttest"
	"tljh/internal/layout"
)

// A hub environment is another one with other packages, and the same whatever their order.
func TestPackagesArePartOfAHubEnvironment(t *testing.T) {
	assert.Equal(t, HubDigest(nil), HubDigest([]string{}))
	assert.NotEqual(t, HubDigest(nil), HubDigest([]string{"a"}))
	assert.NotEqual(t, HubDigest([]string{"a"}), HubDigest([]string{"a==1"}))
	assert.Equal(t, HubDigest([]string{"a", "b"}), HubDigest([]string{"b", "a", "b"}))

	files := newFiles(t)
	assert.False(t, HoldsPackages(files, []string{"a"}), "there is no hub environment")
	generation := complete(t, files, Hub, 1)
	require.NoError(t, Switch(files, generation))
	assert.True(t, HoldsPackages(files, nil))
	assert.False(t, HoldsPackages(files, []string{"a"}))
	generation.Packages = []string{"a", "b"}
	require.NoError(t, seal(files, generation))
	assert.True(t, HoldsPackages(files, []string{"b", "a"}))
	assert.False(t, HoldsPackages(files, nil))
}

// archiveOf returns a tar of files with these names, the last of which is of a type.
func archiveOf(t *testing.T, kind byte, names ...string) *bytes.Buffer {
	t.Helper()
	var archive bytes.Buffer
	to := tar.NewWriter(&archive)
	for n, name := range names {
		header := &tar.Header{Name: name, Mode: 0o4755, Size: 2, Typeflag: tar.TypeReg}
		if n == len(names)-1 && kind != tar.TypeReg {
			header = &tar.Header{Name: name, Mode: 0o777, Linkname: "/etc/shadow", Typeflag: kind}
		}
		require.NoError(t, to.WriteHeader(header))
		if header.Size > 0 {
			_, err := to.Write([]byte("x\n"))
			require.NoError(t, err)
		}
	}
	require.NoError(t, to.Close())
	return &archive
}

// What was built by code of others adds files to the hub environment and does nothing else there.
func TestWhatIsBuiltForTheHubReplacesNothing(t *testing.T) {
	const dir = layout.Generations + "/hub-1"
	site := sitePackages("")
	for name, c := range map[string]struct {
		kind  byte
		names []string
		words string
	}{
		"a package":         {tar.TypeReg, []string{site + "/lti/__init__.py", "bin/lti", "share/lti/x.html"}, ""},
		"a module":          {tar.TypeReg, []string{site + "/lti.py"}, ""},
		"the hub's own":     {tar.TypeReg, []string{site + "/lti.py", site + "/tljh/configure.py"}, "a file of the hub's own: " + site + "/tljh/configure.py"},
		"a program":         {tar.TypeReg, []string{"bin/python"}, "a file of the hub's own"},
		"twice":             {tar.TypeReg, []string{"bin/x", "bin/x"}, "a file of the hub's own"},
		"outside":           {tar.TypeReg, []string{"../../../etc/cron.d/x"}, "no place"},
		"outside by detour": {tar.TypeReg, []string{"bin/../../x"}, "no place"},
		"the proxy's":       {tar.TypeReg, []string{"node/bin/x"}, "no place"},
		"the rescue's":      {tar.TypeReg, []string{"rescue/x"}, "no place"},
		"a link":            {tar.TypeSymlink, []string{site + "/x"}, "no place"},
		"a hard link":       {tar.TypeLink, []string{"bin/x"}, "no place"},
		"a device":          {tar.TypeChar, []string{"bin/x"}, "no place"},
		"below a file":      {tar.TypeReg, []string{"bin/python/x"}, ""},
		"through a link":    {tar.TypeReg, []string{"share/away/x"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			files := newFiles(t)
			put(t, files, dir+"/bin/python", "python")
			put(t, files, dir+"/share/kept", "")
			put(t, files, path.Join(sitePackages(dir), "tljh/configure.py"), "ours")
			require.NoError(t, files.Link("/etc", dir+"/share/away"))
			modules, err := unpackForHub(files, dir, archiveOf(t, c.kind, c.names...))
			if name == "a package" || name == "a module" {
				require.NoError(t, err)
				for _, each := range c.names {
					info, err := files.Lstat(path.Join(dir, each))
					require.NoError(t, err)
					assert.Equal(t, host.Attr{Mode: 0o755}.Mode, info.Mode(), "no more than a program")
				}
				if name == "a package" {
					assert.Equal(t, []string{path.Join(sitePackages(dir), "lti")}, modules)
				}
				return
			}
			require.ErrorContains(t, err, c.words)
			data, err := files.Read(path.Join(sitePackages(dir), "tljh/configure.py"))
			require.NoError(t, err)
			assert.Equal(t, "ours", string(data))
			assert.NoFileExists(t, files.Path("/etc/x"))
		})
	}
}

// Packages are built by an account that exists for nothing else, and that can write nowhere.
func TestPackagesForTheHubAreBuiltEnclosed(t *testing.T) {
	const dir = layout.Generations + "/hub-1"
	files := newFiles(t)
	python := dir + "/bin/python"
	put(t, files, python, "")
	runner := &hosttest.Runner{}
	runner.On(hosttest.Answer{Do: func(_ context.Context, call hosttest.Call) error {
		_, err := call.Stdout.Write(archiveOf(t, tar.TypeReg, sitePackages("")+"/lti/__init__.py").Bytes())
		return err
	}}, python, "-I", path.Join(sitePackages(dir), "tljh/hub_packages.py"))
	runner.On(hosttest.Answer{}, python, "-I", "-W")
	b := New(Setup{Host: &host.Host{Files: files, Runner: runner}, Environ: []string{"TMPDIR=" + t.TempDir()}})

	require.NoError(t, b.addToHub(t.Context(), dir, nil))
	assert.Empty(t, runner.Calls(), "there is nothing to add")
	require.NoError(t, b.addToHub(t.Context(), dir, []string{"lti"}))
	call := runner.Calls()[0]
	assert.Equal(t, &host.Confine{Throwaway: true, Readable: []string{}}, call.Confine)
	assert.NotZero(t, call.UID)
	var asked addition
	require.NoError(t, json.Unmarshal([]byte(call.Input), &asked))
	assert.Equal(t, []string{"lti"}, asked.Requirements)
	assert.Contains(t, asked.Pinned, "jupyterhub=="+JupyterHubVersion())
	for _, pin := range asked.Pinned {
		assert.NotContains(t, pin, " ", "a name and a version, no more")
	}
	assert.True(t, files.Exists(path.Join(sitePackages(dir), "lti/__init__.py")))
	assert.Contains(t, runner.Lines()[1], path.Join(sitePackages(dir), "lti"), "it has byte code")
}

// The words are those of the program that resolves packages, and what to do.
func TestPackagesThatDoNotGoWithTheHub(t *testing.T) {
	files := newFiles(t)
	runner := &hosttest.Runner{}
	runner.On(hosttest.Answer{Code: 1, Stderr: "error: you require jupyterhub==4.0 and jupyterhub==" + JupyterHubVersion()})
	b := New(Setup{Host: &host.Host{Files: files, Runner: runner}})
	err := b.addToHub(t.Context(), layout.Generations+"/hub-1", []string{"jupyterhub==4.0"})
	var exit *host.ExitError
	require.ErrorAs(t, err, &exit, "what tells a full disk is still there")
	require.ErrorContains(t, err, "cannot add hub.packages to the hub environment, which stays as it is: error: you require jupyterhub==4.0 and jupyterhub=="+JupyterHubVersion())
	assert.True(t, strings.Contains(host.HintOf(err), "config remove"), host.HintOf(err))
}
