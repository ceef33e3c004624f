package environment

import (
	"encoding/json"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/conda"
	"tljh/internal/host"
)

const (
	aSHA256 = "24101c4692e449351a1f7b6a9efef2a2a3e258cd7e621dee7776bacc7ac85e7c"
	aMD5    = "0123456789abcdef0123456789abcdef"
	pythons = "https://conda.example.org/linux-64/python-3.14.1-h1_0_cp314.conda#sha256:" + aSHA256
)

// Every line of a lock has the checksum that conda verifies, whatever its form.
func TestReadLock(t *testing.T) {
	head := "# a remark\n@EXPLICIT\n" + pythons + "\n"
	good := head + "https://conda.example.org/noarch/six-1.17-pyhd8ed1ab_0.conda#" + aMD5 + "\nhttp://mirror.example.org:81/t/x/noarch/ca-certificates-2026.1-h0_0.tar.bz2#" + aSHA256 + "\n"
	lines, err := readLock([]byte(good))
	require.NoError(t, err)
	names := []string{}
	for _, line := range lines {
		names = append(names, lockedName(line))
	}
	assert.Equal(t, []string{"python", "six", "ca-certificates"}, names)
	for name, test := range map[string]struct{ text, words string }{
		"no checksum":       {head + "https://conda.example.org/noarch/six-1.17-0.conda\n", "line 4 is no address of a package with its checksum"},
		"half a checksum":   {head + "https://conda.example.org/noarch/six-1.17-0.conda#abc\n", "line 4"},
		"a spec":            {head + "six=1.17\n", "line 4"},
		"a file":            {head + "file:///tmp/six-1.17-0.conda#" + aMD5 + "\n", "line 4"},
		"an option":         {head + "--channel=x\n", "line 4"},
		"not explicit":      {strings.Replace(good, "@EXPLICIT\n", "", 1), "no line @EXPLICIT"},
		"no python":         {strings.Replace(good, pythons+"\n", "", 1), "it has no python"},
		"no checksum again": {strings.Replace(good, "#sha256:"+aSHA256, "", 1), "line 3"},
	} {
		_, err := readLock([]byte(test.text))
		assert.ErrorContains(t, err, test.words, name)
	}
}

// What export --lock writes is what apply reads, and it says of every package what its file must be.
func TestLockOfWhatIsInstalled(t *testing.T) {
	files, live := condaEnvironment(t)
	_, err := Export(files, true)
	require.ErrorContains(t, err, "only an environment that conda made")
	note := metaOf(live.Path())
	data, err := files.Read(note)
	require.NoError(t, err)
	var noted map[string]any
	require.NoError(t, json.Unmarshal(data, &noted))
	noted["manager"] = "conda"
	data, err = json.Marshal(noted)
	require.NoError(t, err)
	put(t, files, note, string(data))
	_, err = Export(files, true)
	require.ErrorContains(t, err, "cannot lock", "these records hold no checksum")

	for _, record := range []string{"python-3.14.1-0", "jupyter_core-5.0-0"} {
		name := path.Join(live.Path(), conda.Meta, record+".json")
		data, err := files.Read(name)
		require.NoError(t, err)
		checksum := `"sha256":"` + aSHA256 + `",`
		if strings.HasPrefix(record, "jupyter") {
			checksum = `"md5":"` + aMD5 + `",`
			data = []byte(strings.Replace(string(data), `"md5":"m5.0",`, "", 1))
		}
		put(t, files, name, "{"+checksum+strings.TrimPrefix(string(data), "{"))
	}
	described, err := Export(files, true)
	require.NoError(t, err)
	assert.Equal(t, "rich==13.0\n", described["requirements.txt"])
	assert.NotContains(t, described, "environment.yml")
	for name, text := range described {
		put(t, files, "/locked/"+name, text)
	}
	source, err := readSource(files, "/locked")
	require.NoError(t, err)
	assert.Equal(t, []string{
		"https://conda.example.org/noarch/jupyter_core-5.0-0.conda#" + aMD5, "https://conda.example.org/noarch/python-3.14.1-0.conda#sha256:" + aSHA256,
	}, source.Locked)
	assert.True(t, source.Requirements)
	assert.Contains(t, source.Beyond("uv")[0], "--package-manager conda")
	assert.Empty(t, source.Beyond("conda"))
	assert.Equal(t, []string{LockFile(), "requirements.txt"}, source.Names())
}

func TestALockForOtherMachines(t *testing.T) {
	files := host.Files{Root: t.TempDir()}
	for _, name := range lockFiles {
		if name != LockFile() {
			put(t, files, "/source/"+name, "@EXPLICIT\n"+pythons+"\n")
		}
	}
	put(t, files, "/source/environment.yml", "dependencies: [python]\n")
	_, err := readSource(files, "/source")
	require.ErrorContains(t, err, "is for another kind of machine")
}
