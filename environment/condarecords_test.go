package environment

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/conda"
	"tljh/internal/host"
)

// realRecord puts a package into an environment by a record that conda itself wrote (conda/testdata/records). What the files hold is ours, so the
// record's checksums are brought to match.
func realRecord(t *testing.T, files host.Files, dir, name string) {
	t.Helper()
	data, err := os.ReadFile("../conda/testdata/records/" + name + ".json")
	require.NoError(t, err)
	record, err := conda.ParseRecord(data)
	require.NoError(t, err)
	noted := map[string]any{}
	require.NoError(t, json.Unmarshal(data, &noted))
	paths := noted["paths_data"].(map[string]any)["paths"].([]any)
	for i, each := range record.Paths.Paths {
		text := "made for " + each.Path + "\n"
		if each.Placeholder != "" {
			text = "#!" + dir + "/bin/python\n"
		}
		if strings.HasSuffix(each.Path, "/INSTALLER") {
			text = "conda\n"
		}
		put(t, files, path.Join(dir, each.Path), text)
		if entry := paths[i].(map[string]any); entry["sha256_in_prefix"] != nil {
			entry["sha256_in_prefix"] = host.SHA256([]byte(text))
		}
	}
	data, err = json.Marshal(noted)
	require.NoError(t, err)
	put(t, files, path.Join(dir, conda.Meta, fmt.Sprintf("%s-%s-%s.json", record.Name, record.Version, record.Build)), string(data))
}

// realEnvironment has packages as conda 26.7.1 leaves them.
func realEnvironment(t *testing.T) (host.Files, Generation) {
	t.Helper()
	files := newFiles(t)
	live := liveUser(t, files, 1)
	put(t, files, path.Join(live.Path(), conda.History), "==> 2026-11-01 <==\n")
	for _, name := range []string{"jsonpointer", "six", "tqdm"} {
		realRecord(t, files, live.Path(), name)
	}
	return files, live
}

func examineHealth(t *testing.T, files host.Files, dir string) Health {
	t.Helper()
	env, err := files.Within(dir)
	require.NoError(t, err)
	defer env.Close()
	x := &examination{env: env, site: siteWithin(env), found: []Trouble{}}
	require.NoError(t, x.all(t.Context(), true))
	return x.health()
}

func TestRealRecordsAreUnderstood(t *testing.T) {
	files, live := realEnvironment(t)
	dir := live.Path()
	require.Empty(t, examineFiles(t, files, dir, true), "a healthy environment is called broken")

	for file, words := range map[string]string{
		"bin/jsonpointer":                     "bin/jsonpointer is missing",
		"bin/tqdm":                            "bin/tqdm is missing",
		"lib/python3.14/site-packages/six.py": "lib/python3.14/site-packages/six.py is missing",
		"lib/python3.14/site-packages/tqdm/__main__.py": "lib/python3.14/site-packages/tqdm/__main__.py is missing",
	} {
		data, err := files.Read(path.Join(dir, file))
		require.NoError(t, err)
		require.NoError(t, files.Remove(path.Join(dir, file)))
		found := examineFiles(t, files, dir, true)
		require.Len(t, found, 1, file)
		assert.Equal(t, words, found[0].Words)
		assert.Contains(t, found[0].Explicit, "https://mirror.example.org/conda-forge/noarch/")
		put(t, files, path.Join(dir, file), string(data))
	}
	require.NoError(t, files.Remove(path.Join(dir, "lib/python3.14/site-packages/__pycache__/six.cpython-314.pyc")))
	assert.Empty(t, examineFiles(t, files, dir, true), "byte code comes and goes")
}

func TestEnvironmentOfRealRecordsIsMoved(t *testing.T) {
	files, live := realEnvironment(t)
	before := live.Path()
	dir := strings.TrimSuffix(before, "1") + "12"
	require.NoError(t, files.LinkTree(before, dir))
	require.NoError(t, Conda{New(Setup{Host: &host.Host{Files: files}})}.Move(dir, before))
	script, err := files.Read(path.Join(dir, "bin/jsonpointer"))
	require.NoError(t, err)
	assert.Equal(t, "#!"+dir+"/bin/python\n", string(script))
	assert.Empty(t, examineFiles(t, files, dir, true), "the record still speaks of the file before")
	assert.Empty(t, examineFiles(t, files, before, true), "the environment that it came from was changed")
}

func TestPipOverConda(t *testing.T) {
	files, live := realEnvironment(t)
	site := sitePackages(live.Path())
	require.NoError(t, files.RemoveTree(site+"/six-1.17.0.dist-info")) // pip removes what it replaces
	install(t, files, live, "six", "1.18.0")
	health := examineHealth(t, files, live.Path())
	assert.Empty(t, health.Troubles, "what an admin did with pip is called damage")
	assert.Equal(t, []Trouble{{Package: "six", Words: "pip installed six 1.18.0 over conda's 1.17.0"}}, health.Notes)

	put(t, files, site+"/six.py", "broken")
	assert.Equal(t, []Trouble{{Package: "six", Version: "1.18.0", Words: "six.py was changed"}}, examineHealth(t, files, live.Path()).Troubles, "it comes from the index again")
}

// A conda that was killed leaves metadata without the mark of its installer. It is no package from the index.
func TestMetadataWithoutAMarkIsCondasOwn(t *testing.T) {
	files, live := realEnvironment(t)
	require.NoError(t, files.Remove(sitePackages(live.Path())+"/six-1.17.0.dist-info/INSTALLER"))
	health := examineHealth(t, files, live.Path())
	assert.Empty(t, health.Notes)
	require.Len(t, health.Troubles, 1)
	assert.Contains(t, health.Troubles[0].Explicit, "six-1.17.0", "it comes from conda's channel again")
}

func TestTheSameVersionFromTheIndexIsNotWorthANote(t *testing.T) {
	files, live := realEnvironment(t)
	require.NoError(t, files.RemoveTree(sitePackages(live.Path())+"/six-1.17.0.dist-info"))
	install(t, files, live, "six", "1.17.0")
	put(t, files, sitePackages(live.Path())+"/six-1.17.0.dist-info/INSTALLER", "pip\n")
	health := examineHealth(t, files, live.Path())
	assert.Empty(t, health.Troubles)
	assert.Empty(t, health.Notes)
}

func TestCondaOverPip(t *testing.T) {
	files := newFiles(t)
	live := liveUser(t, files, 1)
	put(t, files, path.Join(live.Path(), conda.History), "==> 2026-11-01 <==\n")
	install(t, files, live, "six", "1.16.0")
	past := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(files.Path(sitePackages(live.Path())+"/six-1.16.0.dist-info/RECORD"), past, past))
	realRecord(t, files, live.Path(), "six") // conda overwrites the module, and leaves what pip noted
	health := examineHealth(t, files, live.Path())
	assert.Empty(t, health.Troubles)
	assert.Equal(t, []Trouble{{Package: "six", Words: "conda installed six 1.17.0 over pip's 1.16.0"}}, health.Notes)
	packages, _, err := Packages(files, live.Path())
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"six": "1.17.0"}, packages, "the last one to install it has won")

	put(t, files, sitePackages(live.Path())+"/six.py", "broken")
	found := examineHealth(t, files, live.Path()).Troubles
	require.Len(t, found, 1)
	assert.Contains(t, found[0].Explicit, "six-1.17.0", "it comes from conda's channel again")
}

func TestAFileOfTwoPackagesMayBeOfEither(t *testing.T) {
	files, live := condaEnvironment(t)
	condaPackage(t, files, live.Path(), "one", "1", map[string]string{"share/both": "one\n"})
	condaPackage(t, files, live.Path(), "two", "1", map[string]string{"share/both": "two\n"})
	assert.Empty(t, examineFiles(t, files, live.Path(), true))
	require.NoError(t, files.Remove(path.Join(live.Path(), "share/both")))
	assert.Len(t, examineFiles(t, files, live.Path(), true), 2)
}
