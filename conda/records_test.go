package conda

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// recorded returns a record as conda 26.7.1 wrote it into a prefix.
func recorded(t *testing.T, name string) Record {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata/records", name+".json"))
	require.NoError(t, err)
	record, err := ParseRecord(data)
	require.NoError(t, err)
	return record
}

func TestPathsOfRecordsAreThoseBelowThePrefix(t *testing.T) {
	for _, name := range []string{"jsonpointer", "six", "tqdm"} {
		record := recorded(t, name)
		require.NotEmpty(t, record.Paths.Paths)
		for _, each := range record.Paths.Paths {
			if name == "tqdm" && each.Type != "hardlink" {
				continue // the recorded list of files was cut short there
			}
			assert.Contains(t, record.Files, each.Path, name)
		}
	}
	paths := recorded(t, "jsonpointer").Paths.Paths
	script := paths[slices.IndexFunc(paths, func(p Path) bool { return p.Placeholder != "" })]
	assert.Equal(t, "bin/jsonpointer", script.Path)
	assert.Equal(t, []string{"lib/python3.14/site-packages/six-1.17.0.dist-info"}, recorded(t, "six").Distributions())
}

func TestPathsOfOtherRecordsStay(t *testing.T) {
	for name, text := range map[string]string{
		"mamba's, of a package for any Python": `{"name": "a", "version": "1", "noarch": "python", "files": ["lib/python3.14/site-packages/a.py"],
			"paths_data": {"paths": [{"_path": "lib/python3.14/site-packages/a.py"}]}}`,
		"a package with a folder of that name": `{"name": "a", "version": "1", "files": ["site-packages/a.py"], "paths_data": {"paths": [{"_path": "site-packages/a.py"}]}}`,
		"no list of files":                     `{"name": "a", "version": "1", "paths_data": {"paths": [{"_path": "site-packages/a.py"}]}}`,
	} {
		record, err := ParseRecord([]byte(text))
		require.NoError(t, err, name)
		assert.Contains(t, []string{"lib/python3.14/site-packages/a.py", "site-packages/a.py"}, record.Paths.Paths[0].Path, name)
	}
	free := `{"name": "a", "version": "1", "noarch": "python", "files": ["lib/python3.14t/site-packages/a.py"], "paths_data": {"paths": [{"_path": "site-packages/a.py"}]}}`
	record, err := ParseRecord([]byte(free))
	require.NoError(t, err)
	assert.Equal(t, "lib/python3.14t/site-packages/a.py", record.Paths.Paths[0].Path, "a Python without the lock has a folder of its own")
}
