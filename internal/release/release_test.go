package release

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/fetch"
	"tljh/internal/host"
	"tljh/internal/version"
)

func TestVersions(t *testing.T) {
	for _, good := range []string{"0.7.2", "0.0.0", "10.20.30", "0.1.0-dev", "1.0.0-rc.1"} {
		v, err := Parse(good)
		require.NoError(t, err, good)
		assert.Equal(t, good, v.String())
	}
	for _, bad := range []string{"", "1.2", "v1.2.3", "1.2.3.4", "01.2.3", "1.2.x", "1.2.3-", "1.2.3 ", "9999999.0.0"} {
		_, err := Parse(bad)
		assert.Error(t, err, bad)
	}
}

// The policy: the same minor or the next one, and never back.
func TestSkew(t *testing.T) {
	tests := []struct {
		from, to string
		move     Move
		hint     string
	}{
		{"0.7.2", "0.7.2", Nowhere, ""},
		{"0.7.2", "0.7.3", Forward, ""},
		{"0.7.2", "0.8.0", Forward, ""},
		{"0.7.2", "0.8.14", Forward, ""},
		{"0.7.2", "0.9.0", TooFar, "go to 0.8 first: tljh-install upgrade --to 0.8"},
		{"0.7.2", "0.17.0", TooFar, "go to 0.8 first"},
		{"0.7.2", "0.7.1", Backward, "tljh-install rollback"},
		{"0.7.2", "0.6.9", Backward, "tljh-install rollback"},
		{"0.9.9", "1.0.0", Forward, ""},
		{"0.9.9", "1.0.3", Forward, ""},
		{"0.9.9", "1.1.0", TooFar, "go to 1.0 first: tljh-install upgrade --to 1.0"},
		{"0.9.9", "2.0.0", TooFar, "go to 1.0 first"},
		{"1.0.0", "0.9.9", Backward, "tljh-install rollback"},
		{"0.8.0-dev", "0.8.0", Forward, ""},
		{"0.8.0", "0.8.0-dev", Backward, "tljh-install rollback"},
		{"0.0.0-dev", "0.1.0", Forward, ""},
	}
	for _, test := range tests {
		from, err := Parse(test.from)
		require.NoError(t, err)
		to, err := Parse(test.to)
		require.NoError(t, err)
		name := test.from + " → " + test.to
		assert.Equal(t, test.move, from.MoveTo(to), name)
		err = Judge(from, to)
		assert.Equal(t, test.hint != "", err != nil, name)
		assert.Contains(t, host.HintOf(err), test.hint, name)
	}
}

func TestMatches(t *testing.T) {
	v, err := Parse("0.8.3")
	require.NoError(t, err)
	for wanted, fits := range map[string]bool{"": true, "0.8.3": true, "0.8": true, "0.8.1": false, "0.7": false, "0": false, "0.8.": false} {
		assert.Equal(t, fits, v.Matches(wanted), wanted)
	}
}

// shop is a folder with a signed release of a version, and who sells it.
type shop struct {
	*Shop
	folder string
	key    minisign.PrivateKey
}

func program(machine elf.Machine) []byte {
	data := make([]byte, 64)
	copy(data, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint16(data[16:], uint16(elf.ET_EXEC))
	binary.LittleEndian.PutUint16(data[18:], uint16(machine))
	binary.LittleEndian.PutUint32(data[20:], 1)
	binary.LittleEndian.PutUint16(data[52:], 64)
	return data
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err := w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return packed.Bytes()
}

func open(t *testing.T, version string) *shop {
	t.Helper()
	public, key, err := minisign.GenerateKey(rand.Reader)
	require.NoError(t, err)
	s := &shop{Shop: &Shop{Client: &fetch.Client{Tries: 1}, Key: public, Arch: "amd64"}, folder: t.TempDir(), key: key}
	s.stock(t, s.folder, version, map[string][]byte{"tljh-install-linux-amd64": program(elf.EM_X86_64), "tljh-install-linux-arm64": program(elf.EM_AARCH64)})
	return s
}

func (s *shop) stock(t *testing.T, folder, version string, files map[string][]byte) {
	t.Helper()
	require.NoError(t, os.MkdirAll(folder, 0o755))
	var sums strings.Builder
	for name, data := range files {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), data, 0o644))
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(data), name)
	}
	signature, err := Sign(s.key, version, []byte(sums.String()))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(folder, Sums), []byte(sums.String()), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(folder, Signature), signature, 0o644))
}

func TestFindAndFetch(t *testing.T) {
	s := open(t, "0.8.0")
	web := httptest.NewServer(http.FileServer(http.Dir(s.folder)))
	defer web.Close()
	whole := map[string][]byte{"tljh-install-linux-amd64": program(elf.EM_X86_64), "tljh-install-linux-amd64.gz": gzipped(t, program(elf.EM_X86_64))}
	t.Run("compressed", func(t *testing.T) {
		s := open(t, "0.8.0")
		s.stock(t, s.folder, "0.8.0", whole)
		require.NoError(t, os.Remove(filepath.Join(s.folder, "tljh-install-linux-amd64"))) // what is not fetched is not missed
		web := httptest.NewServer(http.FileServer(http.Dir(s.folder)))
		defer web.Close()
		offer, err := s.Find(context.Background(), web.URL, "")
		require.NoError(t, err)
		to := filepath.Join(t.TempDir(), "tljh-install")
		require.NoError(t, s.Fetch(context.Background(), offer, to))
		got, err := os.ReadFile(to)
		require.NoError(t, err)
		assert.Equal(t, program(elf.EM_X86_64), got)
		left, err := os.ReadDir(filepath.Dir(to))
		require.NoError(t, err)
		assert.Len(t, left, 1)

		whole["tljh-install-linux-amd64.gz"] = gzipped(t, program(elf.EM_AARCH64))
		s.stock(t, s.folder, "0.8.0", whole)
		offer, err = s.Find(context.Background(), web.URL, "")
		require.NoError(t, err)
		require.ErrorContains(t, s.Fetch(context.Background(), offer, to), "does not contain the program")
	})
	for _, from := range []string{s.folder, web.URL, web.URL + "/", filepath.Join(s.folder, "tljh-install-linux-amd64")} {
		offer, err := s.Find(context.Background(), from, "")
		require.NoError(t, err, from)
		assert.Equal(t, "0.8.0", offer.Version.String())
		to := filepath.Join(t.TempDir(), "tljh-install")
		require.NoError(t, s.Fetch(context.Background(), offer, to), from)
		info, err := os.Stat(to)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o755), info.Mode().Perm())
	}
}

// The newest lies in the folder itself, each release in one of its own below.
func TestWhereReleasesAreLookedFor(t *testing.T) {
	s := open(t, "0.9.0")
	for _, version := range []string{"0.8.0", "0.8.5", "0.9.0"} {
		s.stock(t, filepath.Join(s.folder, version), version, map[string][]byte{"tljh-install-linux-amd64": program(elf.EM_X86_64)})
	}
	s.stock(t, filepath.Join(s.folder, "0.8"), "0.8.5", map[string][]byte{"tljh-install-linux-amd64": program(elf.EM_X86_64)})
	tests := []struct{ from, wanted, found string }{
		{"", "", "0.9.0"},
		{"/0.8.0", "", "0.9.0"}, // the address stamped into a release may be its own folder
		{"", "0.8.0", "0.8.0"},
		{"", "0.8", "0.8.5"},
		{"/0.8.0", "0.8.5", "0.8.5"},
		{"", "0.9.0", "0.9.0"},
		{"", "0.7.0", "!contains 0.9.0, not 0.7.0"},
	}
	for _, test := range tests {
		offer, err := s.Find(context.Background(), s.folder+test.from, test.wanted)
		if words, bad := strings.CutPrefix(test.found, "!"); bad {
			assert.ErrorContains(t, err, words)
			continue
		}
		require.NoError(t, err, test)
		assert.Equal(t, test.found, offer.Version.String(), test)
	}
}

func TestWhatIsNotAsSignedIsRefused(t *testing.T) {
	change := func(name string, at int) func(t *testing.T, s *shop) {
		return func(t *testing.T, s *shop) {
			file := filepath.Join(s.folder, name)
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			if at < 0 {
				at += len(data)
			}
			data[at] ^= 1
			require.NoError(t, os.WriteFile(file, data, 0o644))
		}
	}
	replace := func(name, text string) func(t *testing.T, s *shop) {
		return func(t *testing.T, s *shop) {
			require.NoError(t, os.WriteFile(filepath.Join(s.folder, name), []byte(text), 0o644))
		}
	}
	tests := []struct {
		name  string
		do    func(t *testing.T, s *shop)
		words string
	}{
		{"a checksum", change(Sums, 3), "is not one of the key that this program trusts"},
		{"the program", change("tljh-install-linux-amd64", 40), "is not the file that"},
		{"no signature", func(t *testing.T, s *shop) { require.NoError(t, os.Remove(filepath.Join(s.folder, Signature))) }, "is not signed"},
		{"a login page", replace(Signature, "<html>log in"), "it is no signature"},
		{"a login page for the checksums", replace(Sums, "<html>log in"), "is not one of the key"},
		{"another key", func(t *testing.T, s *shop) {
			other := open(t, "0.8.0")
			data, err := os.ReadFile(filepath.Join(other.folder, Signature))
			require.NoError(t, err)
			replace(Signature, string(data))(t, s)
		}, "it is by the key"},
		{"the version", func(t *testing.T, s *shop) {
			data, err := os.ReadFile(filepath.Join(s.folder, Signature))
			require.NoError(t, err)
			replace(Signature, strings.Replace(string(data), "0.8.0", "0.8.1", 1))(t, s)
		}, "is not one of the key"},
		{"a signature of something else", func(t *testing.T, s *shop) {
			replace(Signature, string(minisign.SignWithComments(s.key, []byte(readFile(t, s.folder, Sums)), "another program 0.8.0", "")))(t, s)
		}, "does not say which version it is of"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t, "0.8.0")
			test.do(t, s)
			offer, err := s.Find(context.Background(), s.folder, "")
			if err == nil {
				err = s.Fetch(context.Background(), offer, filepath.Join(t.TempDir(), "x"))
			}
			require.ErrorContains(t, err, test.words)
			assert.NotEmpty(t, err.Error())
		})
	}
}

// A release says when it was signed in a way that programs of before can read: to them, a signature's own comment has one form only.
func TestWhenItWasSigned(t *testing.T) {
	s := open(t, "0.8.0")
	offer, err := s.Find(context.Background(), s.folder, "")
	require.NoError(t, err)
	assert.True(t, offer.Signed.IsZero(), "an old signature has no time")

	at := time.Date(2026, 11, 29, 6, 0, 0, 0, time.UTC)
	sums := Stamp(Stamp([]byte(readFile(t, s.folder, Sums)), at.Add(-time.Hour)), at)
	assert.Equal(t, 1, strings.Count(string(sums), "timestamp"))
	signature, err := Sign(s.key, "0.8.0", sums)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(s.folder, Sums), sums, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(s.folder, Signature), signature, 0o644))
	offer, err = s.Find(context.Background(), s.folder, "")
	require.NoError(t, err)
	assert.Equal(t, at, offer.Signed)
	require.NoError(t, s.Fetch(context.Background(), offer, filepath.Join(t.TempDir(), "x")))

	var parsed minisign.Signature
	require.NoError(t, parsed.UnmarshalText(signature))
	assert.Equal(t, "The Littlest JupyterHub 0.8.0", parsed.TrustedComment, "this is all that programs of before know")

	// Nobody on the way can change the time or take it away.
	for _, other := range []string{strings.Replace(string(sums), fmt.Sprint(at.Unix()), fmt.Sprint(at.Unix()+1), 1), strings.SplitAfter(string(sums), "#")[0]} {
		require.NoError(t, os.WriteFile(filepath.Join(s.folder, Sums), []byte(other), 0o644))
		_, err := s.Find(context.Background(), s.folder, "")
		require.ErrorIs(t, err, ErrSignature)
	}
}

func readFile(t *testing.T, path ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	require.NoError(t, err)
	return string(data)
}

func TestWrongArchitecture(t *testing.T) {
	s := open(t, "0.8.0")
	offer, err := s.Find(context.Background(), filepath.Join(s.folder, "tljh-install-linux-arm64"), "")
	require.NoError(t, err)
	err = s.Fetch(context.Background(), offer, filepath.Join(t.TempDir(), "x"))
	require.ErrorContains(t, err, "tljh-install-linux-arm64 is a program for arm64, and this machine is amd64")

	s.stock(t, s.folder, "0.8.0", map[string][]byte{"tljh-install-linux-arm64": program(elf.EM_AARCH64)})
	offer, err = s.Find(context.Background(), s.folder, "")
	require.NoError(t, err)
	err = s.Fetch(context.Background(), offer, filepath.Join(t.TempDir(), "x"))
	require.ErrorContains(t, err, "has no program tljh-install-linux-amd64")
}

func TestOddAddresses(t *testing.T) {
	s := open(t, "0.8.0")
	for from, words := range map[string]string{"ftp://example.org": "is no address", "/nowhere/at/all": "there is no /nowhere/at/all"} {
		_, err := s.Find(context.Background(), from, "")
		assert.ErrorContains(t, err, words)
	}
}

func TestTheKeyOfTheTreeAndTheStampedOne(t *testing.T) {
	_, err := Key()
	require.NoError(t, err)
	public, _, err := minisign.GenerateKey(rand.Reader)
	require.NoError(t, err)
	version.ReleaseKey = public.String()
	t.Cleanup(func() { version.ReleaseKey = "" })
	key, err := Key()
	require.NoError(t, err)
	assert.True(t, key.Equal(public))
}
