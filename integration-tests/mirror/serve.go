package mirror

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Fault is what goes wrong with some files. The zero value is nothing.
type Fault struct {
	Status    int    // answer with this status instead
	HangUp    bool   // end the connection without an answer, as a host does that can't be reached
	CutAfter  int64  // promise the whole file and end the connection after so many bytes; one that resumes gets as many more
	Corrupt   bool   // change one byte in the middle
	Body      []byte // answer with these bytes instead, as a captive portal does
	PerSecond int64  // bytes a second
	Times     int    // how many requests it happens to; 0 is all
}

// Server serves a mirror.
type Server struct {
	mirror *Mirror
	http   *http.Server
	ln     net.Listener

	mu     sync.Mutex
	faults []broken
	asked  map[string]tally
}

type broken struct {
	pattern string
	fault   Fault
}

type tally struct {
	requests int
	bytes    int64
}

// Serve serves a mirror on a listener until it is closed. On a listener at guest.Gateway a guest reaches it.
func Serve(ln net.Listener, m *Mirror) *Server {
	s := &Server{mirror: m, ln: ln, asked: map[string]tally{}}
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.http.Serve(ln) }() // it ends when it is closed
	return s
}

// URL is the mirror's address: what a channel_alias is to be.
func (s *Server) URL() string { return "http://" + s.ln.Addr().String() }

// ChannelURL is the channel's address.
func (s *Server) ChannelURL() string { return s.URL() + "/" + Channel }

// MiniforgeURL is the address of the installer that stands for Miniforge's.
func (s *Server) MiniforgeURL() string { return s.URL() + "/" + s.mirror.Miniforge.Path }

// Close stops serving: from then on connections are refused.
func (s *Server) Close() error { return s.http.Close() }

// Break makes requests for some files go wrong from now on, until the zero Fault mends them. The pattern is that of path.Match, below the
// mirror's address ("conda-forge/noarch/cowsay-6.0-*"); one that ends in "/" is everything below that folder, and "/" is everything.
// Where several patterns fit, the one that was broken last counts.
func (s *Server) Break(pattern string, fault Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.faults[:0:0]
	for _, each := range s.faults {
		if each.pattern != pattern {
			kept = append(kept, each)
		}
	}
	if !fault.none() {
		kept = append(kept, broken{pattern, fault})
	}
	s.faults = kept
}

// Mend ends all faults.
func (s *Server) Mend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Requests is how often files of a pattern were asked for.
func (s *Server) Requests(pattern string) int { return s.sum(pattern).requests }

// Bytes is how much was sent of files of a pattern.
func (s *Server) Bytes(pattern string) int64 { return s.sum(pattern).bytes }

func (s *Server) sum(pattern string) (total tally) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, each := range s.asked {
		if matches(pattern, name) {
			total.requests += each.requests
			total.bytes += each.bytes
		}
	}
	return total
}

func matches(pattern, name string) bool {
	if folder, ok := strings.CutSuffix(pattern, "/"); ok {
		return folder == "" || strings.HasPrefix(name, folder+"/")
	}
	fits, err := path.Match(pattern, name)
	return err == nil && fits
}

func (f Fault) none() bool {
	return f.Status == 0 && !f.HangUp && f.CutAfter == 0 && !f.Corrupt && f.Body == nil && f.PerSecond == 0
}

// fault counts a request and returns what is to go wrong with it.
func (s *Server) fault(name string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	each := s.asked[name]
	each.requests++
	s.asked[name] = each
	for i := len(s.faults) - 1; i >= 0; i-- {
		if !matches(s.faults[i].pattern, name) {
			continue
		}
		fault := s.faults[i].fault
		switch fault.Times {
		case 0:
		case 1:
			s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
		default:
			s.faults[i].fault.Times--
		}
		return fault
	}
	return Fault{}
}

func (s *Server) sent(name string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	each := s.asked[name]
	each.bytes += int64(n)
	s.asked[name] = each
}

// ServeHTTP answers with a file of the mirror, or with what is wrong with it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
	fault := s.fault(name)
	out := &writer{ResponseWriter: w, ctx: r.Context(), sent: func(n int) { s.sent(name, n) }, left: -1, perSecond: fault.PerSecond}
	switch {
	case fault.HangUp:
		panic(http.ErrAbortHandler) // net/http's way to end a connection
	case fault.Status != 0:
		http.Error(out, http.StatusText(fault.Status), fault.Status)
		return
	case fault.Body != nil:
		_, _ = out.Write(fault.Body)
		return
	case fault.CutAfter > 0:
		out.left = fault.CutAfter
	}
	f, err := os.Open(filepath.Join(s.mirror.Folder, filepath.FromSlash(name)))
	if err != nil {
		http.NotFound(out, r)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.IsDir() {
		http.NotFound(out, r)
		return
	}
	var content io.ReadSeeker = f
	if fault.Corrupt {
		content = &corrupt{ReadSeeker: f, at: info.Size() / 2}
	}
	http.ServeContent(out, r, name, info.ModTime(), content)
}

// corrupt reads one byte wrong.
type corrupt struct {
	io.ReadSeeker
	at, offset int64
}

func (c *corrupt) Seek(offset int64, whence int) (int64, error) {
	at, err := c.ReadSeeker.Seek(offset, whence)
	c.offset = at
	return at, err
}

func (c *corrupt) Read(p []byte) (int, error) {
	n, err := c.ReadSeeker.Read(p)
	if c.offset <= c.at && c.at < c.offset+int64(n) {
		p[c.at-c.offset] ^= 1
	}
	c.offset += int64(n)
	return n, err
}

// writer counts what is sent, slows it down and ends the connection in the middle.
type writer struct {
	http.ResponseWriter
	ctx       context.Context
	sent      func(n int)
	left      int64 // until the connection ends; -1 is forever
	perSecond int64
}

func (w *writer) Write(p []byte) (done int, err error) {
	for len(p) > 0 {
		n := len(p)
		if w.perSecond > 0 {
			n = int(min(int64(n), max(1, w.perSecond/10)))
		}
		if w.left >= 0 {
			n = int(min(int64(n), w.left))
		}
		w.sent(n) // before: whoever got all bytes is to find them counted
		n, err = w.ResponseWriter.Write(p[:n])
		done += n
		if err != nil {
			return done, err
		}
		p = p[n:]
		if w.left >= 0 {
			if w.left -= int64(n); w.left == 0 && len(p) > 0 {
				w.flush()
				panic(http.ErrAbortHandler)
			}
		}
		if w.perSecond > 0 && !w.pause(time.Duration(int64(time.Second)*int64(n)/w.perSecond)) {
			return done, w.ctx.Err()
		}
	}
	return done, nil
}

func (w *writer) flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

func (w *writer) pause(d time.Duration) bool {
	w.flush()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-w.ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
