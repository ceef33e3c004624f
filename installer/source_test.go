package installer

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
)

func zipped(t *testing.T, contents map[string]string) []byte {
	t.Helper()
	var data bytes.Buffer
	w := zip.NewWriter(&data)
	for name, text := range contents {
		file, err := w.Create(name)
		require.NoError(t, err)
		_, err = file.Write([]byte(text))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return data.Bytes()
}

func tarred(t *testing.T, headers ...*tar.Header) []byte {
	t.Helper()
	var data bytes.Buffer
	gz := gzip.NewWriter(&data)
	w := tar.NewWriter(gz)
	for _, header := range headers {
		header.Size = int64(len(header.PAXRecords["text"]))
		text := header.PAXRecords["text"]
		header.PAXRecords = nil
		require.NoError(t, w.WriteHeader(header))
		_, err := w.Write([]byte(text))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, gz.Close())
	return data.Bytes()
}

func TestUnpack(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, unpack("course.zip", zipped(t, map[string]string{"course/requirements.txt": "rich\n", "course/a/b.txt": "x"}), dir))
	data, err := os.ReadFile(filepath.Join(dir, "course/requirements.txt"))
	require.NoError(t, err)
	assert.Equal(t, "rich\n", string(data))

	dir = t.TempDir()
	require.NoError(t, unpack("https://x/course.TGZ", tarred(t,
		&tar.Header{Name: "course/postBuild", Mode: 0o755, Typeflag: tar.TypeReg, PAXRecords: map[string]string{"text": "#!/bin/sh\n"}},
		&tar.Header{Name: "course/link", Linkname: "/etc/shadow", Typeflag: tar.TypeSymlink}), dir))
	info, err := os.Stat(filepath.Join(dir, "course/postBuild"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o755), info.Mode())
	_, err = os.Lstat(filepath.Join(dir, "course/link"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestUnpackKeepsWithinItsFolder(t *testing.T) {
	for _, name := range []string{"../out", "/out", "a/../../out"} {
		dir := filepath.Join(t.TempDir(), "in")
		require.NoError(t, os.Mkdir(dir, 0o755))
		err := unpack("x.zip", zipped(t, map[string]string{name: "x"}), dir)
		require.Error(t, err, name)
		_, err = os.Stat(filepath.Join(filepath.Dir(dir), "out"))
		require.ErrorIs(t, err, os.ErrNotExist)
	}
	require.ErrorContains(t, unpack("x.rar", nil, t.TempDir()), "no archive")
	require.Error(t, unpack("x.zip", []byte("not one"), t.TempDir()))
	require.Error(t, unpack("x.tar.gz", []byte("not one"), t.TempDir()))
}

func FuzzUnpack(f *testing.F) {
	f.Add("x.zip", []byte("PK\x03\x04"))
	f.Add("x.tar.gz", []byte("\x1f\x8b\x08"))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		outer := t.TempDir()
		dir := filepath.Join(outer, "in")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		_ = unpack(name, data, dir)
		if entries, err := os.ReadDir(outer); err != nil || len(entries) != 1 {
			t.Fatalf("something was written beside the folder: %v %v", entries, err)
		}
	})
}

func TestApplyOptions(t *testing.T) {
	for _, options := range []ApplyOptions{{Group: "g"}, {Kernel: "../x"}, {Kernel: "Big"}, {Kernel: "python3"}, {Manager: "apt"}} {
		var bad *BadInput
		require.ErrorAs(t, options.check(host.Files{Root: t.TempDir()}), &bad, "%+v", options)
	}
	require.NoError(t, ApplyOptions{Kernel: "stats-2", Manager: "uv"}.check(host.Files{Root: t.TempDir()}))
}
