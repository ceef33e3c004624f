package installer

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
	"tljh/internal/host/hosttest"

	"tljh/internal/fetch"
)

// required returns the text that is installed of a source.
func required(t *testing.T, source string) (string, error) {
	t.Helper()
	in := &Inputs{}
	defer in.Close()
	client := &fetch.Client{Tries: 2, Pause: time.Millisecond}
	if err := in.require(t.Context(), client, source); err != nil {
		var bad *BadInput
		require.ErrorAs(t, err, &bad)
		return "", err
	}
	text, err := os.ReadFile(in.Requirements)
	require.NoError(t, err)
	in.Close()
	require.NoFileExists(t, in.Requirements)
	return string(text), nil
}

func TestRequirementsFromAnAddress(t *testing.T) {
	failing := true
	mux := http.NewServeMux()
	mux.HandleFunc("/course.txt", func(w http.ResponseWriter, _ *http.Request) {
		if failing {
			failing = false
			http.Error(w, "later", http.StatusBadGateway)
			return
		}
		_, _ = w.Write([]byte("numpy\ncowsay==6.1"))
	})
	mux.HandleFunc("/long.txt", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(strings.Repeat("numpy\n", 200_000)))
	})
	mux.HandleFunc("/more.txt", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("-r others.txt\n")) })
	server := httptest.NewServer(mux)
	defer server.Close()

	text, err := required(t, server.URL+"/course.txt")
	require.NoError(t, err)
	assert.Equal(t, "numpy\ncowsay==6.1\n", text)
	for path, words := range map[string]string{"/nosuch.txt": "404", "/long.txt": "longer than", "/more.txt": "others.txt"} {
		_, err := required(t, server.URL+path)
		assert.ErrorContains(t, err, words)
	}
	_, err = required(t, "http://"+hosttest.ClosedAddress(t)+"/course.txt")
	assert.ErrorContains(t, err, "cannot fetch the requirements")
}

func TestRequirementsTakeInWhatTheyInclude(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"course.txt": "# the course\n-r week/one.txt  # first\nscipy\r\n--requirement=last.txt", "week/one.txt": "-r two.txt\nnumpy # fast", "week/two.txt": "pandas>=2\n",
		"last.txt": "rich @ https://example.org/rich.whl\n", "circle.txt": "-r circle.txt\n", "missing.txt": "-r nosuch.txt\n",
		"bound.txt": "numpy\n-c limits.txt\n", "ours.txt": "./our-package\n", "wheel.txt": "ours @ file:///root/ours.whl\n", "edit.txt": "-e .\n",
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	text, err := required(t, filepath.Join(dir, "course.txt"))
	require.NoError(t, err)
	assert.Equal(t, "# the course\npandas>=2\nnumpy # fast\nscipy\nrich @ https://example.org/rich.whl\n", text)
	for name, words := range map[string]string{
		"circle.txt": "include themselves", "missing.txt": "nosuch.txt", "bound.txt": "-c limits.txt", "ours.txt": "./our-package", "wheel.txt": "ours.whl", "edit.txt": "-e .",
		"nothing-here.txt": "no such file", ".": "no file",
	} {
		_, err := required(t, filepath.Join(dir, name))
		assert.ErrorContains(t, err, words, name)
	}
}

func TestRequirementsAsWindowsWritesThem(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "freeze.txt")
	for name, content := range map[string]string{
		"PowerShell":        "\xff\xfen\x00u\x00m\x00p\x00y\x00=\x00=\x002\x00\r\x00\n\x00",
		"a byte order mark": "\xef\xbb\xbfnumpy==2\r\n",
		"UTF-8":             "numpy==2\n",
	} {
		require.NoError(t, os.WriteFile(file, []byte(content), 0o644))
		text, err := required(t, file)
		require.NoError(t, err, name)
		assert.Equal(t, "numpy==2\n", text, name)
	}
	require.NoError(t, os.WriteFile(file, []byte("\x7fELF\x00\x00"), 0o644))
	_, err := required(t, file)
	assert.ErrorContains(t, err, "it is no text")
}

func TestAllUnusableRequirementsAreNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "freeze.txt")
	var freeze strings.Builder
	for i := range 20 {
		fmt.Fprintf(&freeze, "package-%d @ file:///croot/package-%d\n", i, i)
	}
	require.NoError(t, os.WriteFile(file, []byte("numpy==2\n"+freeze.String()), 0o644))
	_, err := required(t, file)
	require.ErrorContains(t, err, "20 of their lines")
	for i := range 20 {
		assert.ErrorContains(t, err, fmt.Sprintf("package-%d @", i))
	}
	assert.Contains(t, host.HintOf(err), "pip list --format=freeze")
}

func TestAllKindsOfUnusableRequirementsAreInOneReport(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "course.txt")
	bad := []string{
		"foo bar", "numpy 2.1", "numpy=2.1", "numpy==", "pip install scipy", "ours @ file:///srv/ours.whl", "ours @ git+ssh://git@example.org/ours.git", "git+ssh://git@example.org/ours.git",
		"git@example.org:ours.git", "hg+https://example.org/ours", "theirs @ svn+https://example.org/theirs", "git+file:///srv/ours.git", "-r nosuch.txt", "-r course.txt", "-c limits.txt", "!pip install x",
		"{\"cells\": []}", "<html>",
	}
	good := "numpy\nscipy>=1,<2 ; python_version > '3.8'\npandas [excel] (>=2)\nrich @ https://example.org/rich.whl # here\ngit+https://example.org/x.git@v1#egg=x\nhttps://example.org/y.zip\n" +
		"--extra-index-url https://example.org/simple\na==1 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\nb==2 --hash=sha256:00\n--pre\nc\\\n==3\n"
	require.NoError(t, os.WriteFile(file, []byte(good+strings.Join(bad, "\n")+"\n"), 0o644))
	_, err := required(t, file)
	require.ErrorContains(t, err, fmt.Sprintf("%d of their lines", len(bad)))
	for _, line := range bad {
		assert.ErrorContains(t, err, strconv.Quote(line))
	}
	for _, words := range []string{"not the way to name a package", "no key for SSH", "git only", "no such file", "include themselves"} {
		assert.ErrorContains(t, err, words)
	}
	for line, hint := range map[string]string{"foo bar": "one package a line", "git+ssh://git@example.org/ours.git": "git+https://", "hg+https://example.org/x": "git+https://"} {
		require.NoError(t, os.WriteFile(file, []byte(line), 0o644))
		_, err := required(t, file)
		require.Error(t, err, line)
		assert.Contains(t, host.HintOf(err), hint)
	}
	require.NoError(t, os.WriteFile(file, []byte(good), 0o644))
	text, err := required(t, file)
	require.NoError(t, err)
	assert.Equal(t, good, text)
}

func TestAllUnusablePackagesAreNamed(t *testing.T) {
	require.NoError(t, usablePackages([]string{"numpy", "numpy==2.1", "pandas>=2", "a[b]~=1", "x @ https://example.org/x.whl", "git+https://example.org/x"}, "uv"))
	require.NoError(t, usablePackages([]string{"numpy=2.1", "conda-forge::scipy", "r-base=4.*=h1_0"}, "conda"))

	err := usablePackages([]string{"numpy", "foo bar", "git+ssh://git@example.org/x", "", "-r", "a\nb", "./x.whl", "numpy=2.1", "# x"}, "uv")
	var bad *BadInput
	require.ErrorAs(t, err, &bad)
	for _, word := range []string{
		"cannot install 8 of the packages", `"foo bar"`, `"git+ssh://git@example.org/x": the account that installs them has no key for SSH`,
		`""`, `"-r"`, `"a\nb"`, `"./x.whl": files of this machine`, `"numpy=2.1"`, `"# x"`,
	} {
		assert.Contains(t, err.Error(), word)
	}
	assert.Contains(t, host.HintOf(err), "as an argument of its own")
	assert.Contains(t, host.HintOf(err), "git+https://")
	assert.EqualError(t, usablePackages([]string{"foo bar"}, "conda"), `cannot install "foo bar": that is not the way to name a package`)
}
