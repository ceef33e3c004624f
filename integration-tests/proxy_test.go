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
	plain   map[string]int
	forward httputil.ReverseProxy
}

// far is a host that nobody knows but the proxy, which answers for it.
const far = "far.invalid"

func serveCampusProxy(t *testing.T, ln net.Listener) *campusProxy {
	p := &campusProxy{tunnels: map[string]int{}, plain: map[string]int{}}
	p.forward = httputil.ReverseProxy{Rewrite: func(*httputil.ProxyRequest) {}, Transport: &http.Transport{}}
	server := &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	t.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve(ln) }()
	return p
}

func (p *campusProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		p.mu.Lock()
		p.plain[r.URL.Hostname()]++
		p.mu.Unlock()
		if r.URL.Hostname() == far {
			_, _ = io.WriteString(w, "from far away")
			return
		}
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

// asked returns how many requests and tunnels came, and forgets them; it fails if any was for the guest itself.
func (p *campusProxy) asked(t *testing.T) (plain, tunnels map[string]int) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	plain, tunnels = p.plain, p.tunnels
	p.plain, p.tunnels = map[string]int{}, map[string]int{}
	for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
		want.Equal(t, 0, plain[name]+tunnels[name], "the proxy was asked for "+name)
	}
	return plain, tunnels
}

// TestBehindAProxy installs where there is no other way out, and not even a name server. From then on nobody sets a variable.
func TestBehindAProxy(t *testing.T) {
	t.Parallel()
	inTurn(t)
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
	want.Contains(t, r.Output(), "written into the config", "network.http_proxy, network.https_proxy")
	plain, tunnels := proxy.asked(t)
	t.Logf("requests to %v, tunnels to %v", plain, tunnels)
	want.True(t, len(plain) > 0 && len(tunnels) > 1, "not all of it came through the proxy")
	h.looksInstalled(t)
	for _, unit := range []string{"jupyterhub.service", "tljh-edge.service"} {
		want.Contains(t, h.environOf(t, unit), "\nhttps_proxy="+address+"\n", "\nno_proxy=localhost,127.0.0.1,")
	}
	b := h.login(t, admin, adminPassword)
	start(t, b)
	k := kernel(t, b)
	want.Equal(t, "ok", compute(t, k, "import cowsay; print('ok')"))

	proxy.asked(t)
	want.OK(t, h.Write(t.Context(), "/srv/far.py", 0o644, strings.NewReader("import urllib.request\nprint(urllib.request.urlopen('http://"+far+"/', timeout=20).read().decode())\n")))
	want.Equal(t, "from far away", compute(t, k, "exec(open('/srv/far.py').read())"))
	want.Equal(t, "from far away", compute(t, k, "import subprocess\nprint(subprocess.run(['bash', '-lc', 'python /srv/far.py'], capture_output=True, text=True).stdout.strip())"))
	plain, _ = proxy.asked(t)
	want.Equal(t, 2, plain[far], "what a notebook and a terminal asked for")
	compute(t, k, "import urllib.error\ntry: urllib.request.urlopen('http://127.0.0.1:9/', timeout=5)\nexcept urllib.error.URLError: pass")
	proxy.asked(t) // which fails if it was for the guest itself

	want.Equal(t, "0", compute(t, k, "print(subprocess.run(['pip', 'install', '--quiet', 'six'], capture_output=True).returncode)"))
	_, tunnels = proxy.asked(t)
	want.True(t, len(tunnels) > 0, "an admin's pip did not come through the proxy")
	h.must(t, "env -u http_proxy -u https_proxy tljh-install env install toolz")
	_, tunnels = proxy.asked(t)
	want.True(t, len(tunnels) > 0, "env install did not come through the proxy")
	want.Contains(t, h.must(t, "tljh-install config explain "+admin), "variable https_proxy", "network.https_proxy")

	h.must(t, "tljh-install config unset network --reload")
	for _, unit := range []string{"jupyterhub.service", "tljh-edge.service"} {
		want.True(t, !strings.Contains(h.environOf(t, unit), "proxy="), unit+" has the proxy still")
	}
	h.must(t, "tljh-install config set network.https_proxy http://me:hu93shed@"+ln.Addr().String()+" --reload")
	want.Contains(t, h.environOf(t, "jupyterhub.service"), "hu93shed")
	for _, place := range []string{"find /etc /run /opt/tljh/state /opt/tljh/config /opt/tljh/tools/*.pem /opt/tljh/*.log /usr/local -xdev -type f -perm /044 -exec grep -ls 'hu93[s]hed' {} + 2>/dev/null; true", "systemctl show jupyterhub tljh-edge | grep 'hu93[s]hed'; true", "ps axww | grep 'hu93[s]hed'; true"} {
		want.Equal(t, "", strings.TrimSpace(h.MustSh(t, place)), "the proxy's password is for everybody to read: "+place)
	}
}

// environOf returns the variables that a unit's process was started with, a line each.
func (h *hub) environOf(t *testing.T, unit string) string {
	t.Helper()
	return "\n" + h.MustSh(t, "tr '\\0' '\\n' </proc/"+h.property(t, unit, "MainPID")+"/environ") + "\n"
}
