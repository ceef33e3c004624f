package integration

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"tljh/integration-tests/guest"
	"tljh/integration-tests/want"
)

// TestAsAScriptWould installs with JSON, and then with all that people type: several admins, requirements by their address, every command shown.
func TestAsAScriptWould(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := bare(t, guest.Options{Suite: guest.Trixie})
	h.copyProgram(t)
	r := h.run(t, "/root/tljh-install install --yes --json --admin alice --admin zoe:"+adminPassword+" 2>/root/errors")
	want.Equal(t, 0, r.Code, r.Output()+h.MustSh(t, "cat /root/errors"))
	want.Equal(t, "", h.MustSh(t, "cat /root/errors"), "beside the JSON")
	result := lastResult(t, r.Stdout)
	want.True(t, result.Changed && result.Received > 100e6 && result.Seconds > 1, fmt.Sprintf("the result is %+v", result))
	want.Equal(t, 2, len(result.Admins))
	want.Equal(t, "", result.Admins[1].Password, "a password that was given is not told")
	want.Contains(t, strings.Join(result.Addresses, " "), "http://"+h.Address())
	h.looksInstalled(t)
	h.usable(t, result.Admins[0].Password)
	h.login(t, "zoe", adminPassword)

	t.Run("again, nothing changed", func(t *testing.T) {
		result := lastResult(t, h.run(t, "tljh-install install --json --admin alice").Stdout)
		want.True(t, !result.Changed && result.Admins[0].Kept && result.Admins[0].Password == "", fmt.Sprintf("the result is %+v", result))
	})
	t.Run("a failure is the last line", func(t *testing.T) {
		r := h.run(t, "tljh-install install --json --ignore-preflight nonsense")
		want.Equal(t, exitBadInput, r.Code)
		lines := strings.Split(strings.TrimSpace(r.Stdout), "\n")
		want.Contains(t, lines[len(lines)-1], `"error"`, "nonsense")
	})
	t.Run("requirements by their address, with every command shown", func(t *testing.T) {
		ln, err := net.Listen("tcp", net.JoinHostPort(h.Gateway(), "0"))
		want.OK(t, err)
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "cowsay") }), ReadHeaderTimeout: time.Minute}
		t.Cleanup(func() { _ = server.Close() })
		go func() { _ = server.Serve(ln) }()
		r := h.run(t, "tljh-install install -v --package-manager uv --admin erin:"+passwordOf("erin")+" --user-requirements http://"+ln.Addr().String()+"/course.txt")
		want.Equal(t, 0, r.Code, r.Output())
		want.Contains(t, r.Output(), "uv pip install", "course.txt", "erin")
		want.Lacks(t, r.Output(), passwordOf("erin"), "CONFIGPROXY_AUTH_TOKEN=")
		b := h.login(t, "erin", passwordOf("erin"))
		start(t, b)
		want.Equal(t, "moo tljh-env", compute(t, kernel(t, b), "import cowsay, os, pwd; print('moo', pwd.getpwuid(os.stat(cowsay.__file__).st_uid).pw_name)"))
	})
}

type scriptResult struct {
	Changed   bool
	Seconds   float64
	Received  int64 `json:"received_bytes"`
	Addresses []string
	Admins    []struct {
		Name, Password string
		Kept           bool
	}
}

// lastResult wants every line to be an object, and the last the result.
func lastResult(t *testing.T, output string) scriptResult {
	t.Helper()
	var last struct {
		Kind string
		Data scriptResult
	}
	for line := range strings.Lines(output) {
		last.Kind = ""
		want.OK(t, json.Unmarshal([]byte(line), &last), line)
	}
	want.Equal(t, "result", last.Kind, "the kind of the last line")
	return last.Data
}

// TestToldToEnd ends installations as a service manager does, and as a terminal that is lost.
func TestToldToEnd(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := bare(t, guest.Options{})
	h.copyProgram(t)
	for _, moment := range []struct {
		path string
		sig  syscall.Signal
	}{
		{"/opt/tljh/cache/wheels/*", syscall.SIGTERM},
		{"/opt/tljh/generations/hub-*/lib/python3.*/site-packages/*", syscall.SIGHUP},
	} {
		p, err := h.Start(t.Context(), "/root/tljh-install", "install", "--admin", admin+":"+adminPassword)
		want.OK(t, err)
		h.awaitPath(t, p, moment.path, 5*time.Minute)
		n, err := h.SignalAll("tljh-install", moment.sig)
		want.OK(t, err)
		want.True(t, n >= 1, "no installer was at work")
		r, err := p.Wait()
		want.OK(t, err)
		want.Equal(t, exitInterrupted, r.Code, moment.path+": "+r.Output())
		want.Contains(t, r.Output(), "same command")
		want.Equal(t, "", h.atWork(t), "left running")
		want.Equal(t, "", h.halfGenerations(t), "half a generation is left")
	}
	h.must(t, "/root/tljh-install install --admin "+admin+":"+adminPassword)
	h.looksInstalled(t)
	h.usable(t, adminPassword)
}
