package mirror

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const sample = "conda-forge/noarch/sample-1.0-0.conda"

func serveSample(t *testing.T, content []byte) *Server {
	t.Helper()
	folder := t.TempDir()
	file := filepath.Join(folder, sample)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, content, 0o644))
	return serve(t, &Mirror{Folder: folder, Miniforge: Installer{Path: "miniforge/M.sh"}})
}

func serve(t *testing.T, m *Mirror) *Server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := Serve(ln, m)
	t.Cleanup(func() { s.Close() })
	return s
}

func get(s *Server, name string, from int) (int, []byte, error) {
	req, err := http.NewRequest(http.MethodGet, s.URL()+"/"+name, nil)
	if err != nil {
		return 0, nil, err
	}
	if from > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, data, err
}

func TestFaults(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 30_000)
	s := serveSample(t, content)
	status, data, err := get(s, sample, 0)
	assert.True(t, status == 200 && bytes.Equal(data, content) && err == nil, "in order: status %d, %d bytes, %v", status, len(data), err)
	assert.Equal(t, 1, s.Requests(sample))
	assert.Equal(t, int64(len(content)), s.Bytes("conda-forge/noarch/"))

	s.Break("conda-forge/noarch/", Fault{Status: 404, Times: 1})
	status, _, _ = get(s, sample, 0)
	assert.Equal(t, 404, status)
	status, _, _ = get(s, sample, 0)
	assert.Equal(t, 200, status, "it was to happen once")

	s.Break("conda-forge/*/sample-*", Fault{CutAfter: 100_000})
	_, data, err = get(s, sample, 0)
	assert.Error(t, err)
	assert.Equal(t, content[:100_000], data)
	_, data, err = get(s, sample, 100_000)
	assert.Error(t, err)
	assert.Equal(t, content[100_000:200_000], data, "one that resumes gets on")
	status, data, err = get(s, sample, 200_000)
	assert.NoError(t, err)
	assert.Equal(t, 206, status)
	assert.Equal(t, content[200_000:], data)

	s.Break("conda-forge/*/sample-*", Fault{Corrupt: true})
	_, data, err = get(s, sample, 0)
	assert.NoError(t, err)
	assert.Len(t, data, len(content))
	assert.NotEqual(t, content, data)
	assert.Equal(t, content[:len(content)/2], data[:len(content)/2])
	assert.Equal(t, content[len(content)/2+1:], data[len(content)/2+1:])

	s.Break("/", Fault{Body: []byte("<html>please log in")})
	_, data, _ = get(s, sample, 0)
	assert.Equal(t, "<html>please log in", string(data), "the last one counts")

	s.Break("/", Fault{HangUp: true})
	_, _, err = get(s, sample, 0)
	assert.Error(t, err)

	s.Mend()
	s.Break(sample, Fault{PerSecond: 1_000_000})
	start := time.Now()
	_, data, err = get(s, sample, 0)
	assert.NoError(t, err)
	assert.Equal(t, content, data)
	assert.GreaterOrEqual(t, time.Since(start), 250*time.Millisecond)

	s.Break(sample, Fault{})
	status, _, _ = get(s, "../../etc/passwd", 0)
	assert.Equal(t, 404, status)
	status, _, _ = get(s, "conda-forge", 0)
	assert.Equal(t, 404, status, "folders are not listed")
}

func TestAddresses(t *testing.T) {
	s := serveSample(t, nil)
	assert.Equal(t, s.URL()+"/conda-forge", s.ChannelURL())
	assert.Equal(t, s.URL()+"/miniforge/M.sh", s.MiniforgeURL())
	m := Mirror{Packages: []string{"noarch/cowsay-6.0-pyhd8ed1ab_0.conda", "noarch/cowsay-6.1-pyhd8ed1ab_0.conda"}}
	assert.Equal(t, "conda-forge/noarch/cowsay-6.1-pyhd8ed1ab_0.conda", m.File("cowsay", "6.1"))
	assert.Empty(t, m.File("cowsay", "6"))
}
