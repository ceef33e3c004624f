package release

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func serve(t *testing.T, content []byte) *Server {
	t.Helper()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, AMD64), content, 0o644); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := Serve(ln, folder)
	t.Cleanup(func() { s.Close() })
	return s
}

func fetch(t *testing.T, s *Server) (int, []byte, error) {
	t.Helper()
	resp, err := http.Get(s.URL() + "/" + AMD64)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, data, err
}

func TestFaults(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 30_000)
	s := serve(t, content)
	if status, data, err := fetch(t, s); status != 200 || !bytes.Equal(data, content) || err != nil {
		t.Errorf("in order: status %d, %d bytes, %v", status, len(data), err)
	}
	s.Break(AMD64, Fault{Status: 404, Times: 1})
	if status, _, _ := fetch(t, s); status != 404 {
		t.Errorf("missing: status %d", status)
	}
	s.Break(AMD64, Fault{CutAfter: 100_000})
	if _, data, err := fetch(t, s); err == nil || len(data) != 100_000 {
		t.Errorf("cut: %d bytes, %v", len(data), err)
	}
	s.Break(AMD64, Fault{Corrupt: true})
	if _, data, err := fetch(t, s); err != nil || len(data) != len(content) || differences(data, content) != 1 {
		t.Errorf("corrupt: %d bytes, %d differ, %v", len(data), differences(data, content), err)
	}
	s.Break(AMD64, Fault{PerSecond: 1_000_000})
	start := time.Now()
	if _, data, err := fetch(t, s); err != nil || !bytes.Equal(data, content) || time.Since(start) < 200*time.Millisecond {
		t.Errorf("slow: %d bytes in %s, %v", len(data), time.Since(start), err)
	}
	s.Break(AMD64, Fault{})
	if _, data, err := fetch(t, s); !bytes.Equal(data, content) || err != nil {
		t.Errorf("mended: %d bytes, %v", len(data), err)
	}
	if n := s.Requests(AMD64); n != 6 {
		t.Errorf("counted %d requests of 6", n)
	}
}

func differences(a, b []byte) int {
	n := 0
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}
