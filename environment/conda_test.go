package environment

import (
	"encoding/json"
	"errors"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/conda"
	"tljh/internal/host"
)

// condaPackage puts a package into an environment as conda leaves it. Files whose contents hold the prefix are noted as such.
func condaPackage(t *testing.T, files host.Files, dir, name, version string, contents map[string]string) {
	t.Helper()
	record := map[string]any{"name": name, "version": version, "build": "0", "url": "https://conda.example.org/noarch/" + name + "-" + version + "-0.conda", "md5": "m" + version}
	paths := []map[string]any{}
	for file, text := range contents {
		put(t, files, path.Join(dir, file), text)
		noted := map[string]any{"_path": file, "path_type": "hardlink", "sha256": host.SHA256([]byte("in the package")), "sha256_in_prefix": host.SHA256([]byte(text))}
		if strings.Contains(text, dir) {
			noted["prefix_placeholder"], noted["file_mode"] = "/placeholder", "text"
		}
		if strings.Contains(text, "\x00") {
			noted["file_mode"] = "binary"
		}
		paths = append(paths, noted)
	}
	record["paths_data"] = map[string]any{"paths": paths}
	data, err := json.Marshal(record)
	require.NoError(t, err)
	put(t, files, path.Join(dir, conda.Meta, name+"-"+version+"-0.json"), string(data))
}

func condaEnvironment(t *testing.T) (host.Files, Generation) {
	t.Helper()
	files := newFiles(t)
	live := liveUser(t, files, 1)
	dir := live.Path()
	put(t, files, path.Join(dir, conda.History), "==> 2026-11-01 <==\n# cmd: /opt/tljh/conda/bin/conda create -p x python\n# cmd: /opt/tljh/conda/bin/conda install cowsay\n")
	condaPackage(t, files, dir, "python", "3.14.1", map[string]string{"bin/python3.14": "\x7fELF" + dir + "/lib\x00\x00\x00\x00\x00\x00end"})
	condaPackage(t, files, dir, "jupyter_core", "5.0", map[string]string{
		"bin/jupyter": "#!" + dir + "/bin/python\n", "lib/python3.14/site-packages/jupyter_core.py": "x = 1\n",
	})
	put(t, files, sitePackages(dir)+"/jupyter_core-5.0.dist-info/INSTALLER", "conda\n")
	install(t, files, live, "rich", "13.0")
	return files, live
}

func TestPackagesOfBothKinds(t *testing.T) {
	files, live := condaEnvironment(t)
	packages, _, err := Packages(files, live.Path())
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"python": "3.14.1", "jupyter-core": "5.0", "rich": "13.0"}, packages)

	// What pip puts in the place of conda's is what is imported.
	require.NoError(t, files.RemoveTree(sitePackages(live.Path())+"/jupyter_core-5.0.dist-info"))
	install(t, files, live, "jupyter_core", "6.0")
	packages, _, err = Packages(files, live.Path())
	require.NoError(t, err)
	assert.Equal(t, "6.0", packages["jupyter-core"])
}

func TestSnapshotTellsWhereCondasPackagesCameFrom(t *testing.T) {
	files, live := condaEnvironment(t)
	snapshot := Snapshot{From: live.Path()}
	require.NoError(t, snapshot.describe(files))
	assert.Equal(t, map[string]string{"rich": "13.0"}, snapshot.Pip)
	assert.Equal(t, []string{
		"https://conda.example.org/noarch/jupyter_core-5.0-0.conda#m5.0", "https://conda.example.org/noarch/python-3.14.1-0.conda#m3.14.1",
	}, snapshot.Explicit)
	assert.Equal(t, "conda install cowsay", snapshot.Command)
}

func TestCondasRecordsTellWhatIsBroken(t *testing.T) {
	files, live := condaEnvironment(t)
	dir := live.Path()
	require.Empty(t, examineFiles(t, files, dir, true))

	core := path.Join(sitePackages(dir), "jupyter_core.py")
	from := "https://conda.example.org/noarch/jupyter_core-5.0-0.conda#m5.0"
	require.NoError(t, files.Remove(core))
	assert.Equal(t, []Trouble{{"jupyter_core", "5.0", from, "lib/python3.14/site-packages/jupyter_core.py is missing"}}, examineFiles(t, files, dir, true))
	put(t, files, core, "x = 2\n")
	assert.Equal(t, "lib/python3.14/site-packages/jupyter_core.py was changed", examineFiles(t, files, dir, true)[0].Words)
	put(t, files, path.Join(dir, conda.Meta, "jupyter_core-5.0-0.json"), "{")
	assert.Equal(t, []Trouble{{Package: "jupyter_core", Version: "5.0", Words: "conda's record of it is damaged"}}, examineFiles(t, files, dir, true))
	require.NoError(t, files.RemoveTree(path.Join(dir, conda.Meta)))
	assert.Equal(t, "conda's records of what it installed are missing", examineFiles(t, files, dir, true)[0].Words)
}

func TestCondaEnvironmentIsMoved(t *testing.T) {
	files, live := condaEnvironment(t)
	before := live.Path()
	dir := strings.TrimSuffix(before, "1") + "12"
	require.NoError(t, files.LinkTree(before, dir))
	b := New(Setup{Host: &host.Host{Files: files}})
	require.NoError(t, Conda{b}.Move(dir, before))

	program, err := files.Read(path.Join(dir, "bin/python3.14"))
	require.NoError(t, err)
	assert.Equal(t, "\x7fELF"+dir+"/lib\x00\x00\x00\x00\x00end", string(program))
	script, err := files.Read(path.Join(dir, "bin/jupyter"))
	require.NoError(t, err)
	assert.Equal(t, "#!"+dir+"/bin/python\n", string(script))
	assert.Empty(t, examineFiles(t, files, dir, true), "the records still speak of the files before")
	assert.Empty(t, examineFiles(t, files, before, true), "the environment that it came from was changed")
}

func TestMoveFollowsNoLinkOut(t *testing.T) {
	files, live := condaEnvironment(t)
	dir := live.Path()
	put(t, files, "/outside/jupyter", "#!"+dir+"/bin/python\n")
	require.NoError(t, files.RemoveTree(path.Join(dir, "bin")))
	require.NoError(t, os.Symlink(files.Path("/outside"), files.Path(path.Join(dir, "bin"))))
	_ = Conda{New(Setup{Host: &host.Host{Files: files}})}.Move(dir, dir)
	data, err := files.Read("/outside/jupyter")
	require.NoError(t, err)
	assert.Equal(t, "#!"+dir+"/bin/python\n", string(data))
	err = UV{New(Setup{Host: &host.Host{Files: files}})}.Move("/opt/tljh/generations/user-1", "/opt/tljh/generations/user-1")
	require.Error(t, err)
}

// A pin that keeps packages from being installed is named, with the file that it is in: those of an admin can be changed, ours cannot.
func TestPinsAreNamedWhereTheyStandInTheWay(t *testing.T) {
	files, live := condaEnvironment(t)
	b := New(Setup{Host: &host.Host{Files: files}})
	failed := errors.New("conda ended with 1")
	hint := func(output string) string { return host.HintOf(Conda{b}.explain(failed, live.Path(), output)) }
	const unsolved = "LibMambaUnsatisfiableError: Encountered problems while solving:\n  - pin on cowsay"

	assert.Equal(t, "these packages do not fit together: ask for other versions, or for fewer", hint(unsolved))
	file := path.Join(live.Path(), conda.Pinned)
	put(t, files, file, "# Made by tljh-install.\njupyterhub ==6.1.1\npython 3.14.*\n")
	assert.Equal(t, "these packages do not fit together: ask for other versions, or for fewer. "+
		"The pins in "+file+" count as well: this program keeps JupyterHub and Python as they are", hint(unsolved))
	put(t, files, file, "# Made by tljh-install.\njupyterhub ==6.1.1\npython 3.14.*\n\n# of the course\ncowsay ==6.0 # we teach this\nnumpy <3\n")
	for _, output := range []string{
		unsolved, "SpecsConfigurationConflictError: Requested specs conflict with configured specs.", "Pins seem to be involved in the conflict. Currently pinned specs:",
	} {
		assert.Equal(t, "these packages do not fit together: ask for other versions, or for fewer. The pins in "+file+" count as well: cowsay ==6.0, numpy <3 (an admin's, who may "+
			"change them); this program keeps JupyterHub and Python as they are", hint(output))
	}
	assert.Empty(t, hint("something else"))
	assert.Contains(t, hint("CondaHTTPError: HTTP 000 CONNECTION FAILED"), "reaches its conda channel")
}
