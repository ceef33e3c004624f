package integration

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"tljh/integration-tests/client"
	"tljh/integration-tests/want"
)

//go:embed testdata/flood.py
var flood string

// TestStrangersAttackTheEdge has strangers and a student attack what stands between everybody and the hub.
func TestStrangersAttackTheEdge(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := attacked(t)
	teacher := h.admin(t)
	bob := h.student(t, teacher, "bob")
	work := kernel(t, bob)
	compute(t, work, "kept = 41")

	t.Run("thousands of slow headers", func(t *testing.T) { h.slowHeaders(t, work) })
	t.Run("cookies of any size", h.bigCookies)
	t.Run("a page that looks like an outage", func(t *testing.T) { h.fakeOutage(t) })
	t.Run("a port of a student's", func(t *testing.T) { h.studentListens(t, teacher, work) })
	t.Run("the edge is killed", func(t *testing.T) {
		h.MustSh(t, "kill -9 $(systemctl show --value -p MainPID tljh-edge.service)")
		page, _ := h.ask(t, "/hub/login", "")
		want.Equal(t, http.StatusOK, page)
	})
}

// ask opens a page with a cookie, as somebody new.
func (h *hub) ask(t *testing.T, path, cookie string) (status int, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url()+path, nil)
	want.OK(t, err)
	if cookie != "" {
		request.Header.Set("Cookie", cookie)
	}
	request.Header.Set("Accept", "text/html")
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	want.OK(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	want.OK(t, err)
	return response.StatusCode, string(text)
}

// slowHeaders opens 6,000 connections that send 60 KB of a header each and never end it: the edge's memory stays bounded and others notice nothing.
func (h *hub) slowHeaders(t *testing.T, work *client.Kernel) {
	const visitors, size = 6000, 60000
	ceiling, err := strconv.Atoi(h.property(t, "tljh-edge.service", "MemoryMax"))
	want.OK(t, err)
	want.OK(t, h.Guest.Write(t.Context(), "/root/flood.py", 0o600, strings.NewReader(flood)))
	edge := h.property(t, "tljh-edge.service", "MainPID")
	attack, err := h.Guest.Start(t.Context(), "/opt/tljh/hub/bin/python", "/root/flood.py", strconv.Itoa(visitors), strconv.Itoa(size))
	want.OK(t, err)
	slowest := time.Duration(0)
	for range 5 {
		begin := time.Now()
		status, _ := h.ask(t, "/hub/login", "")
		want.Equal(t, http.StatusOK, status)
		slowest = max(slowest, time.Since(begin))
		want.Equal(t, "42", compute(t, work, "print(kept + 1)"))
	}
	want.True(t, guestAwait(t, time.Minute, func() bool { return strings.Contains(attack.Output(), "sent") }), "the attack does not get going: "+attack.Output())
	loaded := time.Minute
	for range 5 { // other tests keep this machine busy, too
		begin := time.Now()
		status, _ := h.ask(t, "/hub/login", "")
		want.Equal(t, http.StatusOK, status)
		loaded = min(loaded, time.Since(begin))
	}
	peak, err := strconv.Atoi(strings.TrimSpace(h.MustSh(t, "awk '/VmHWM/ {print $2}' /proc/"+edge+"/status")))
	want.OK(t, err)
	_ = attack.Stdin().Close()
	_, _ = attack.Wait()
	t.Logf("%s; the edge took %d MB at most; a page took %s after it, %s at most meanwhile", strings.Join(strings.Fields(attack.Output()), " "), peak>>10, loaded, slowest)
	want.True(t, peak < ceiling>>10, fmt.Sprintf("the edge took %d KB, and may take %d", peak, ceiling>>10))
	want.True(t, loaded < time.Second, "a page took "+loaded.String())
	want.Equal(t, edge, h.property(t, "tljh-edge.service", "MainPID"))
	want.True(t, strings.Contains(h.Guest.Journal(t.Context(), "-u", "tljh-edge"), "headers of unfinished requests take"), "nothing about it in the journal")
}

func guestAwait(t *testing.T, limit time.Duration, there func() bool) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if there() {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

// bigCookies: what the edge lets through, proxy and hub take, too. What is too big gets words.
func (h *hub) bigCookies(t *testing.T) {
	for _, size := range []int{17 << 10, 55 << 10} {
		status, _ := h.ask(t, "/hub/login", "pile="+strings.Repeat("x", size))
		want.Equal(t, http.StatusOK, status)
	}
	status, body := h.ask(t, "/hub/login", "pile="+strings.Repeat("x", 62<<10))
	want.Equal(t, http.StatusRequestHeaderFieldsTooLarge, status)
	want.True(t, strings.Contains(body, "Remove the cookies of this site"), body)
}

// fakeOutage has a user's server answer as the proxy does when it has no route.
func (h *hub) fakeOutage(t *testing.T) {
	page := `<html><body><h1>404</h1><p>configurable-http-proxy</p></body></html>`
	h.MustSh(t, `cat > /root/fake.py <<'END'
import http.server

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print("asked", flush=True)
        body = b"`+page+`"
        self.send_response_only(404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.HTTPServer(("127.0.0.1", 18080), Page).serve_forever()
END
systemd-run --quiet --unit=fake -p DynamicUser=no /opt/tljh/hub/bin/python -u /root/fake.py
. /opt/tljh/state/proxy.env
curl -sf --retry 20 --retry-all-errors --retry-delay 1 -o /dev/null -w '' http://127.0.0.1:18080/ || true
curl -sf -H "Authorization: token $CONFIGPROXY_AUTH_TOKEN" -d '{"target": "http://127.0.0.1:18080"}' http://127.0.0.1:973/api/routes/user/bob/outage`)
	defer h.MustSh(t, `systemctl stop fake; . /opt/tljh/state/proxy.env
curl -s -X DELETE -H "Authorization: token $CONFIGPROXY_AUTH_TOKEN" http://127.0.0.1:973/api/routes/user/bob/outage`)
	for _, path := range []string{"/user/bob/outage/x", "/%75ser/bob/outage/x"} {
		begin := time.Now()
		status, body := h.ask(t, path, "")
		want.Equal(t, http.StatusNotFound, status)
		want.Equal(t, page, body)
		want.True(t, time.Since(begin) < 5*time.Second, "the edge waited as if the hub were away: "+time.Since(begin).String())
	}
	journal := h.Guest.Journal(t.Context(), "-u", "tljh-edge")
	want.True(t, !strings.Contains(journal, "the hub does not answer"), journal)
}

// studentListens has a student open a port for a page that would get the hub's cookies.
func (h *hub) studentListens(t *testing.T, teacher *client.Browser, work *client.Kernel) {
	compute(t, work, `import subprocess, sys
serving = [subprocess.Popen([sys.executable, "-m", "http.server", "--bind", address, port]) for address, port in (("0.0.0.0", "18999"), ("127.0.0.1", "18998"))]`)
	inside := func(port string) bool {
		result, err := h.Guest.Sh(t.Context(), "curl -s -o /dev/null --max-time 2 http://127.0.0.1:"+port+"/")
		return err == nil && result.Code == 0
	}
	want.True(t, guestAwait(t, 20*time.Second, func() bool { return inside("18999") && inside("18998") }), "the student's own machine does not reach the port")
	outside := func(limit time.Duration) bool {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(h.Address(), "18999"), limit)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}
	status := h.MustSh(t, "tljh-install status")
	want.True(t, strings.Contains(status, "closed to other machines"), status)
	want.True(t, !outside(2*time.Second), "other machines reach a student's port")
	want.Equal(t, "200", compute(t, work, "import urllib.request; print(urllib.request.urlopen('"+h.release.URL()+"/SHA256SUMS', timeout=20).status)"))

	t.Run("somebody empties the packet filter", func(t *testing.T) {
		h.MustSh(t, "tljh-install firewall remove")
		want.True(t, outside(10*time.Second), "there is no filter any more, and the port is closed")
		want.Equal(t, "active", h.property(t, "tljh-firewall.timer", "ActiveState"))
		h.MustSh(t, "systemctl stop tljh-firewall.timer")
		defer h.MustSh(t, "systemctl start tljh-firewall.timer")
		start(t, teacher)
		want.True(t, !outside(2*time.Second), "the port stays open when another server starts")
	})
	t.Run("where it is allowed", func(t *testing.T) {
		h.set(t, "set users.may_listen true")
		want.True(t, outside(10*time.Second), "the port is closed")
		h.set(t, "set users.may_listen false")
		want.True(t, !outside(2*time.Second), "the port stays open")
	})
}
