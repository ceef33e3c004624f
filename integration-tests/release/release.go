// Package release builds a release as `make dist` does and serves it to guests, also in the ways in which downloads go wrong.
package release

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Version is what a release built for tests calls itself.
const Version = "0.1.0"

// Names of the files of a release.
const (
	Bootstrap = "bootstrap.sh"
	AMD64     = "tljh-install-linux-amd64"
	ARM64     = "tljh-install-linux-arm64"
	Sums      = "SHA256SUMS"

	// Download is what most machines fetch: AMD64, compressed.
	Download = AMD64 + ".gz"
)

// Build makes a release of the source tree in a folder. TLJH_DIST names one that is to be used as it is instead.
func Build(ctx context.Context, repository, folder string) (string, error) {
	if ready := os.Getenv("TLJH_DIST"); ready != "" {
		return ready, Complete(ready)
	}
	cmd := exec.CommandContext(ctx, "make", "--no-print-directory", "dist", "VERSION="+Version, "DIST="+folder)
	cmd.Dir = repository
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build a release: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return folder, Complete(folder)
}

// Complete looks whether a folder holds a whole release.
func Complete(folder string) error {
	for _, name := range []string{Bootstrap, AMD64, Download, ARM64, ARM64 + ".gz", Sums} {
		if _, err := os.Stat(filepath.Join(folder, name)); err != nil {
			return fmt.Errorf("the release is not complete: %w", err)
		}
	}
	return nil
}

// Fault is what goes wrong with one file. The zero value is nothing.
type Fault struct {
	Status    int   // answer with this status instead
	CutAfter  int64 // promise the whole file and end the connection after so many bytes
	Corrupt   bool  // change one byte in the middle
	PerSecond int64 // bytes a second
	Times     int   // how many requests it happens to; 0 is all
}

// Server serves a release.
type Server struct {
	folder string
	http   *http.Server
	ln     net.Listener

	mu       sync.Mutex
	faults   map[string]Fault
	requests map[string]int
}

// Serve serves a release's folder on a listener until it is closed.
func Serve(ln net.Listener, folder string) *Server {
	s := &Server{folder: folder, ln: ln, faults: map[string]Fault{}, requests: map[string]int{}}
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.http.Serve(ln) }() // it ends when it is closed
	return s
}

// URL is the address of the release's folder.
func (s *Server) URL() string { return "http://" + s.ln.Addr().String() }

// Close stops serving.
func (s *Server) Close() error { return s.http.Close() }

// Break makes the downloads of a file go wrong from now on; the zero Fault mends it.
func (s *Server) Break(name string, fault Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[name] = fault
}

// Requests is how often a file was asked for.
func (s *Server) Requests(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[name]
}

func (s *Server) fault(name string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests[name]++
	fault := s.faults[name]
	switch fault.Times {
	case 0:
	case 1:
		delete(s.faults, name)
	default:
		fault.Times--
		s.faults[name] = fault
	}
	return fault
}

// ServeHTTP answers with a file of the release, or with what is wrong with it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	fault := s.fault(name)
	switch {
	case fault.Status != 0:
		http.Error(w, http.StatusText(fault.Status), fault.Status)
	case name != filepath.Base(name):
		http.NotFound(w, r)
	case fault == Fault{}:
		http.ServeFile(w, r, filepath.Join(s.folder, name))
	default:
		s.serveBroken(w, r, name, fault)
	}
}

func (s *Server) serveBroken(w http.ResponseWriter, r *http.Request, name string, fault Fault) {
	f, err := os.Open(filepath.Join(s.folder, name))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	size := info.Size()
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	limit := size
	if fault.CutAfter > 0 {
		limit = min(size, fault.CutAfter)
	}
	s.copy(r.Context(), w, io.LimitReader(f, limit), size, fault)
	if limit < size {
		panic(http.ErrAbortHandler) // net/http's way to end a connection in the middle
	}
}

func (s *Server) copy(ctx context.Context, w http.ResponseWriter, r io.Reader, size int64, fault Fault) {
	chunk := make([]byte, 64<<10)
	if fault.PerSecond > 0 {
		chunk = chunk[:max(1, min(int64(len(chunk)), fault.PerSecond/10))]
	}
	var done int64
	for {
		n, err := r.Read(chunk)
		if n > 0 {
			if at := size / 2; fault.Corrupt && done <= at && at < done+int64(n) {
				chunk[at-done] ^= 1
			}
			if _, werr := w.Write(chunk[:n]); werr != nil {
				return
			}
			done += int64(n)
		}
		if err != nil {
			return
		}
		if fault.PerSecond > 0 {
			if f, ok := w.(http.Flusher); ok {
				f.Flush()
			}
			timer := time.NewTimer(time.Duration(int64(time.Second) * int64(n) / fault.PerSecond))
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-timer.C:
			}
		}
	}
}

// Line is what a person pastes: root with an empty sudo, others with "sudo". A release built for tests has no address stamped in.
func Line(url, sudo, args string) string {
	if sudo != "" {
		sudo += " "
	}
	return fmt.Sprintf("curl -fsSL %[1]s/%[2]s | %[3]sTLJH_RELEASE_URL=%[1]s bash -s -- %[4]s", url, Bootstrap, sudo, args)
}
