package integration

import (
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"testing"
	"time"

	"tljh/integration-tests/guest"
	"tljh/integration-tests/want"
)

// campusProxy is the only way out: it takes requests for http, and CONNECT for https.
type campusProxy struct {
	mu      sync.Mutex
	tunnels map[string]int // by host
	plain   int
	forward httputil.ReverseProxy
}

func serveCampusProxy(t *testing.T, ln net.Listener) *campusProxy {
	p := &campusProxy{tunnels: map[string]int{}}
	p.forward = httputil.ReverseProxy{Rewrite: func(*httputil.ProxyRequest) {}, Transport: &http.Transport{}}
	server := &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	t.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve(ln) }()
	return p
}

func (p *campusProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		p.mu.Lock()
		p.plain++
		p.mu.Unlock()
		p.forward.ServeHTTP(w, r)
		return
	}
	name, _, _ := net.SplitHostPort(r.Host)
	p.mu.Lock()
	p.tunnels[name]++
	p.mu.Unlock()
	far, err := net.DialTimeout("tcp", r.Host, 20*time.Second)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer far.Close()
	near, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer near.Close()
	if _, err := io.WriteString(near, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(far, buffered)
		_ = far.Close()
	}()
	_, _ = io.Copy(near, far)
}

// TestBehindAProxy installs where there is no other way out, and not even a name server.
func TestBehindAProxy(t *testing.T) {
	t.Parallel()
	h := bare(t, guest.Options{Offline: true})
	ln, err := net.Listen("tcp", net.JoinHostPort(h.Gateway(), "0"))
	want.OK(t, err)
	proxy := serveCampusProxy(t, ln)
	want.OK(t, h.Write(t.Context(), "/root/course.txt", 0o644, strings.NewReader("cowsay\n")))
	address := "http://" + ln.Addr().String()
	r := h.run(t, "export http_proxy="+address+" https_proxy="+address+"; "+h.line("--admin "+admin+":"+adminPassword+" --user-requirements /root/course.txt"))
	if r.Code != 0 {
		t.Fatalf("the pasted line ended with %d:\n%s", r.Code, r.Output())
	}
	proxy.mu.Lock()
	t.Logf("%d requests, tunnels to %v", proxy.plain, proxy.tunnels)
	want.True(t, proxy.plain > 0 && len(proxy.tunnels) > 1, "not all of it came through the proxy")
	proxy.mu.Unlock()
	h.looksInstalled(t)
	b := h.login(t, admin, adminPassword)
	start(t, b)
	want.Equal(t, "ok", compute(t, kernel(t, b), "import cowsay; print('ok')"))
}
