// Package dist tests what makes a release (the Makefile) and what may stand in the tree that a release is made of.
package dist

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/release"
)

const (
	root       = "../.."
	releaseURL = "https://hub.example.org/tljh/9.8.7"
)

// makeIn runs make in a source tree and returns what it prints.
func makeIn(t *testing.T, tree string, env []string, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("make is not installed (integration-tests/install-tools installs it)")
	}
	cmd := exec.CommandContext(t.Context(), "make", append([]string{"--no-print-directory", "-C", tree}, args...)...)
	// Those of the make that may have started this test are not for this one.
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if name != "MAKEFLAGS" && name != "MFLAGS" && name != "MAKELEVEL" && name != "VERSION" && name != "BASE_URL" && name != "SIGNING_KEY" && name != "RELEASE_KEY" {
			cmd.Env = append(cmd.Env, pair)
		}
	}
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	require.NoError(t, err)
	return data
}

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

func TestRelease(t *testing.T) {
	dir := t.TempDir()
	key, public := newKey(t)
	out, err := makeIn(t, root, []string{"SIGNING_PASSWORD=" + keyPassword}, "release", "VERSION=9.8.7", "BASE_URL="+releaseURL+"/", "DIST="+dir, "SIGNING_KEY="+key, "RELEASE_KEY="+public)
	require.NoError(t, err, out)

	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, file := range files {
		names = append(names, file.Name())
	}
	assert.Equal(t, []string{"SHA256SUMS", "SHA256SUMS.minisig", "bootstrap.sh", "tljh-install-linux-amd64", "tljh-install-linux-amd64.gz", "tljh-install-linux-arm64", "tljh-install-linux-arm64.gz"}, names)

	trusted, err := minisign.PublicKeyFromFile(public)
	require.NoError(t, err)
	begun := time.Now()
	signed, err := release.Verify(trusted, read(t, dir, release.Sums), read(t, dir, release.Signature))
	require.NoError(t, err)
	assert.Equal(t, "9.8.7", signed.Version.String())
	assert.WithinDuration(t, begun, signed.Time, time.Hour)

	var sums strings.Builder
	for _, name := range names[2:] {
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(read(t, dir, name)), name)
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(0o755), info.Mode().Perm(), name)
	}
	fmt.Fprintf(&sums, "# timestamp:%d\n", signed.Time.Unix())
	assert.Equal(t, sums.String(), string(read(t, dir, "SHA256SUMS")))
	checked := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS")
	checked.Dir = dir
	said, err := checked.CombinedOutput()
	assert.NoError(t, err, "people check it by hand: %s", said)
	assert.Empty(t, string(said))

	for arch, machine := range machines {
		name := filepath.Join(dir, "tljh-install-linux-"+arch)
		data := read(t, name)
		assert.LessOrEqual(t, len(data), 60_000_000, "the size of %s", name)
		assert.Contains(t, string(data), releaseURL)
		assert.Contains(t, string(data), trusted.String(), "the key that upgrades are judged by")
		program, err := elf.NewFile(bytes.NewReader(data))
		require.NoError(t, err)
		assert.Equal(t, machine, program.Machine)
		for _, segment := range program.Progs {
			assert.NotEqual(t, elf.PT_INTERP, segment.Type, "%s is static", name)
		}
	}

	source := string(read(t, root, "bootstrap.sh"))
	want := strings.NewReplacer("'@RELEASE_URL@'", "'"+releaseURL+"'", "'@VERSION@'", "'9.8.7'").Replace(source)
	assert.Equal(t, want, string(read(t, dir, "bootstrap.sh")))

	if runtime.GOOS == "linux" && machines[runtime.GOARCH] != 0 {
		printed, err := exec.CommandContext(t.Context(), filepath.Join(dir, "tljh-install-linux-"+runtime.GOARCH), "version").Output()
		require.NoError(t, err)
		assert.Contains(t, string(printed), "9.8.7")
	}
}

const keyPassword = "a password for tests"

// newKey makes a key as CONTRIBUTING.md says, and returns the files of both halves.
func newKey(t *testing.T) (secret, public string) {
	t.Helper()
	dir := t.TempDir()
	secret, public = filepath.Join(dir, "release.key"), filepath.Join(dir, "release.pub")
	cmd := exec.CommandContext(t.Context(), "go", "run", "./internal/dist/sign", "-new", "-key", secret, "-public", public)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "SIGNING_PASSWORD="+keyPassword)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	info, err := os.Stat(secret)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	return secret, public
}

// A release that its own program would refuse is not made.
func TestSigningWithAnotherKey(t *testing.T) {
	key, _ := newKey(t)
	sums := filepath.Join(t.TempDir(), "SHA256SUMS")
	require.NoError(t, os.WriteFile(sums, []byte("sums\n"), 0o644))
	sign := func(password string) string {
		cmd := exec.CommandContext(t.Context(), "go", "run", "./internal/dist/sign", "-key", key, "-version", "1.2.3", sums)
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "SIGNING_PASSWORD="+password)
		out, err := cmd.CombinedOutput()
		assert.Error(t, err)
		return string(out)
	}
	assert.Contains(t, sign(keyPassword), "is not the other half of")
	assert.Contains(t, sign("wrong"), "cannot open the signing key")
	assert.NoFileExists(t, sums+".minisig")
}

// Without an address the script is to ask for one, whatever was made before.
func TestDistWithoutAddress(t *testing.T) {
	dir := t.TempDir()
	out, err := makeIn(t, root, nil, "dist", "VERSION=9.8.7", "DIST="+dir)
	require.NoError(t, err, out)
	assert.Contains(t, string(read(t, dir, "bootstrap.sh")), "STAMPED_URL='@RELEASE_URL@'")
	printed, err := exec.CommandContext(t.Context(), "sh", "-c", "cd "+dir+" && sha256sum --check --quiet SHA256SUMS").CombinedOutput()
	assert.NoError(t, err, string(printed))
}

func TestWrongReleaseIsRefused(t *testing.T) {
	tests := map[string][]string{
		"MAJOR.MINOR.PATCH":    {"release", "BASE_URL=" + releaseURL, "VERSION=1.2"},
		"needs BASE_URL":       {"release", "VERSION=1.2.3"},
		"needs BASE_URL=":      {"release", "VERSION=1.2.3", "BASE_URL=ftp://x"},
		"needs SIGNING_KEY":    {"release", "VERSION=1.2.3", "BASE_URL=" + releaseURL},
		"is no web address":    {"dist", "VERSION=1.2.3", `BASE_URL=https://x"y`},
		"VERSION is MAJOR":     {"dist", "VERSION=latest"},
		"not '1.2.3; echo ha'": {"dist", "VERSION=1.2.3; echo ha"},
	}
	for words, args := range tests {
		out, err := makeIn(t, root, nil, append(args, "DIST="+t.TempDir())...)
		assert.Error(t, err, args)
		assert.Contains(t, out, words)
	}
}

// The same sources give the same bytes: in another folder, with another builder's settings, and compiled anew.
func TestReproducible(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles everything anew")
	}
	tree := filepath.Join(t.TempDir(), "elsewhere")
	for _, name := range sourceFiles(t) {
		from, to := filepath.Join(root, name), filepath.Join(tree, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
		info, err := os.Stat(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(to, read(t, from), info.Mode().Perm()))
	}
	first, second := t.TempDir(), t.TempDir()
	out, err := makeIn(t, root, nil, "dist", "VERSION=9.8.7", "DIST="+first)
	require.NoError(t, err, out)
	other := []string{"GOCACHE=" + t.TempDir(), "GOFLAGS=-v", "GOAMD64=v3", "CGO_ENABLED=1", "HOME=" + t.TempDir(), "TZ=Asia/Tokyo"}
	out, err = makeIn(t, tree, append(other, "GOPATH="+goEnv(t, "GOPATH")), "dist", "VERSION=9.8.7", "DIST="+second)
	require.NoError(t, err, out)
	assert.Equal(t, string(read(t, first, "SHA256SUMS")), string(read(t, second, "SHA256SUMS")))
}

func goEnv(t *testing.T, name string) string {
	out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}
