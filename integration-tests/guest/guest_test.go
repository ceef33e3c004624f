package guest_test

import (
	"context"
	"errors"
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
	"testing"
	"time"

	"tljh/integration-tests/guest"
	"tljh/integration-tests/want"
)

var lab *guest.Lab

func TestMain(m *testing.M) {
	if !guest.Enabled() {
		os.Exit(m.Run())
	}
	var err error
	if lab, err = guest.OpenLab(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	stop := lab.CloseOnSignal()
	code := m.Run()
	stop()
	if err := lab.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		code = 1
	}
	os.Exit(code)
}

var suites = []string{guest.Bookworm, guest.Trixie}

func TestGuestIsABareDebianServer(t *testing.T) {
	guest.Require(t)
	for _, suite := range suites {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			g := lab.Up(t, guest.Options{Suite: suite})
			want.Contains(t, g.MustSh(t, "cat /etc/os-release"), "VERSION_CODENAME="+suite)
			want.Equal(t, "systemd", g.MustSh(t, "cat /proc/1/comm"))
			want.Equal(t, "running", g.MustSh(t, "systemctl is-system-running || systemctl --failed >&2"))
			for _, absent := range []string{"python3", "gcc", "node", "git", "wget"} {
				r, err := g.Sh(t.Context(), "command -v "+absent)
				want.OK(t, err)
				want.Differ(t, 0, r.Code, absent)
			}
			g.MustSh(t, "getent ahosts "+packageServer(t, g))
		})
	}
}

// packageServer is a name that a guest with a network can look up: where its packages come from.
func packageServer(t *testing.T, g *guest.Guest) string {
	t.Helper()
	return g.MustSh(t, `grep -rhoE 'https?://[^/ ]+' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | head -1 | cut -d/ -f3`)
}

func TestLimitsAreEnforced(t *testing.T) {
	guest.Require(t)
	for _, suite := range suites {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			g := lab.Up(t, guest.Options{Suite: suite})
			// tail holds in memory what has no line end.
			r, err := g.Sh(t.Context(), `systemd-run --quiet --wait --pipe -p MemoryMax=64M -p MemorySwapMax=0 sh -c 'head -c 300M /dev/zero | tail -c 250M | wc -c; exit ${PIPESTATUS:-0}'`)
			want.OK(t, err)
			want.Differ(t, strconv.Itoa(250<<20), strings.TrimSpace(r.Stdout), "250 MB were held under a limit of 64 MB")
			r, err = g.Sh(t.Context(), `systemd-run --quiet --wait --pipe sh -c 'head -c 300M /dev/zero | tail -c 250M | wc -c'`)
			want.OK(t, err)
			want.Equal(t, strconv.Itoa(250<<20), strings.TrimSpace(r.Stdout), "without a limit it must work, or the test above proves nothing")

			out := g.MustSh(t, `systemd-run --quiet --wait --pipe -p CPUQuota=50% bash -c 'end=$((SECONDS+3)); while [ $SECONDS -lt $end ]; do :; done; times' | tail -2 | head -1`)
			var minutes int
			var seconds float64
			_, err = fmt.Sscanf(out, "%dm%fs", &minutes, &seconds)
			want.OK(t, err, out)
			want.True(t, seconds > 0.65 && seconds < 1.85, fmt.Sprintf("%.2f CPU seconds burnt in 2 to 3 s at half a CPU", seconds))

			r, err = g.Sh(t.Context(), `systemd-run --quiet --wait --pipe -p TasksMax=5 bash -c 'for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait'`)
			want.OK(t, err)
			want.Contains(t, r.Output(), "fork")
		})
	}
}

func TestGuestsRunSideBySide(t *testing.T) {
	guest.Require(t)
	const n = 3
	guests := make([]*guest.Guest, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			g, err := lab.New(t.Context(), guest.Options{Name: fmt.Sprintf("side%d", i)})
			if err != nil {
				t.Error(err)
				return
			}
			guests[i] = g
			if err := g.Boot(t.Context()); err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	t.Cleanup(func() {
		for _, g := range guests {
			if g != nil {
				want.OK(t, g.Close())
			}
		}
	})
	if t.Failed() {
		return
	}
	for i, g := range guests { // all serve the same port, each on its own address and loopback
		ln, err := g.Listen(t.Context(), "tcp", ":80")
		want.OK(t, err)
		go func() {
			_ = http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, "guest %d", i) }))
		}()
		t.Cleanup(func() { ln.Close() })
	}
	for i, g := range guests {
		want.Equal(t, fmt.Sprintf("guest %d", i), get(t, http.DefaultTransport, "http://"+g.Address()))
		inside := &http.Transport{DialContext: g.DialContext}
		want.Equal(t, fmt.Sprintf("guest %d", i), get(t, inside, "http://127.0.0.1"))
	}
	g := guests[0]
	g.MustSh(t, "echo one > /root/file")
	r, err := guests[1].Sh(t.Context(), "cat /root/file")
	want.OK(t, err)
	want.Differ(t, 0, r.Code, "a guest sees the other's disk")
}

func get(t *testing.T, rt http.RoundTripper, url string) string {
	t.Helper()
	client := &http.Client{Transport: rt, Timeout: 5 * time.Second}
	resp, err := client.Get(url)
	want.OK(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	want.OK(t, err)
	return string(body)
}

func TestCommandsInAGuest(t *testing.T) {
	guest.Require(t)
	g := lab.Up(t, guest.Options{Env: []string{"COLOUR=blue"}, Tmpfs: map[string]string{"/opt": "3M"}})
	r, err := g.Sh(t.Context(), "echo out; echo err >&2; echo $COLOUR; exit 7")
	want.OK(t, err)
	want.Equal(t, 7, r.Code)
	want.Equal(t, "out\nblue\n", r.Stdout)
	want.Equal(t, "err\n", r.Stderr)

	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = g.Sh(short, "sleep 600")
	want.True(t, errors.Is(err, context.DeadlineExceeded), fmt.Sprint("wanted a time-out, got ", err))
	guest.Until(t, 5*time.Second, func(context.Context) error {
		if pids, err := g.Running("sleep"); err != nil || len(pids) > 0 {
			return fmt.Errorf("the timed-out command still runs: %v %w", pids, err)
		}
		return nil
	})

	want.OK(t, g.Write(t.Context(), "/srv/a/b", 0o640, strings.NewReader("hello")))
	data, err := g.Read(t.Context(), "/srv/a/b")
	want.OK(t, err)
	want.Equal(t, "hello", string(data))
	want.Equal(t, "640", g.MustSh(t, "stat -c %a /srv/a/b"))
	want.Contains(t, must(g.Sh(t.Context(), "head -c 9M /dev/zero > /opt/x")).Stderr, "No space left")

	p, err := g.Start(t.Context(), "bash", "-c", "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.05; done")
	want.OK(t, err)
	guest.Until(t, 5*time.Second, func(context.Context) error {
		if !strings.Contains(p.Output(), "ready") {
			return errors.New("it does not start")
		}
		return nil
	})
	want.OK(t, p.Signal(2))
	r, err = p.Wait()
	want.OK(t, err)
	want.Equal(t, 3, r.Code)
	want.Contains(t, r.Stdout, "caught")

	before, err := g.Received()
	want.OK(t, err)
	ln, err := net.Listen("tcp", g.Gateway()+":0")
	want.OK(t, err)
	defer ln.Close()
	go func() {
		_ = http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) }))
	}()
	g.MustSh(t, "curl -fsS -o /dev/null http://"+ln.Addr().String())
	after, err := g.Received()
	want.OK(t, err)
	want.True(t, after-before > 1<<20, fmt.Sprintf("%d bytes counted of a download of 1 MB", after-before))
}

func stat(path string) error {
	_, err := os.Stat(path)
	return err
}

func must(r guest.Result, err error) guest.Result {
	if err != nil {
		panic(err)
	}
	return r
}

func TestRebootKillAndSnapshot(t *testing.T) {
	guest.Require(t)
	g, err := lab.New(t.Context(), guest.Options{Suite: guest.Trixie})
	want.OK(t, err)
	defer g.Close()
	want.OK(t, g.Boot(t.Context()))
	g.MustSh(t, "echo kept > /root/file; echo gone > /run/file")
	boot := g.MustSh(t, "cat /proc/sys/kernel/random/boot_id /proc/1/stat | tail -1 | cut -d' ' -f22")
	want.OK(t, g.Reboot(t.Context()))
	want.Equal(t, "kept", g.MustSh(t, "cat /root/file"))
	want.Differ(t, boot, g.MustSh(t, "cut -d' ' -f22 /proc/1/stat"))
	want.Differ(t, 0, must(g.Sh(t.Context(), "cat /run/file")).Code)
	want.OK(t, g.Kill(t.Context()))
	want.OK(t, g.Boot(t.Context()))
	want.Equal(t, "kept", g.MustSh(t, "cat /root/file"))

	snap, err := g.Snapshot(t.Context())
	want.OK(t, err)
	one := lab.Up(t, guest.Options{From: snap})
	two := lab.Up(t, guest.Options{From: snap})
	one.MustSh(t, "echo one > /root/file")
	want.Equal(t, "kept", two.MustSh(t, "cat /root/file"))
	want.Equal(t, guest.Trixie, one.Suite())
}

func TestAPowerCutTakesWhatWasNotSynced(t *testing.T) {
	guest.Require(t)
	if !guest.PowerCuts() {
		t.Skip("this machine has no loop devices")
	}
	g := lab.Up(t, guest.Options{})
	g.MustSh(t, "echo kept > /root/kept; sync; echo lost > /root/lost; cp /bin/bash /root/big")
	want.OK(t, g.Cut(t.Context()))
	want.OK(t, g.Boot(t.Context()))
	want.Equal(t, "kept", g.MustSh(t, "cat /root/kept"))
	want.Equal(t, "", g.MustSh(t, "cat /root/lost 2>/dev/null || true"))
	want.Differ(t, 0, must(g.Sh(t.Context(), "cmp /bin/bash /root/big")).Code)
	g.MustSh(t, "getent ahosts "+packageServer(t, g))
}

func TestOfflineGuestReachesThisMachineOnly(t *testing.T) {
	guest.Require(t)
	g := lab.Up(t, guest.Options{Offline: true})
	ln, err := net.Listen("tcp", g.Gateway()+":0")
	want.OK(t, err)
	defer ln.Close()
	go func() { _ = http.Serve(ln, http.NotFoundHandler()) }()
	want.Equal(t, 0, must(g.Sh(t.Context(), "curl -sS -m 5 http://"+ln.Addr().String())).Code)
	want.Differ(t, 0, must(g.Sh(t.Context(), "curl -sS -m 5 http://192.0.2.77")).Code)
	want.Differ(t, 0, must(g.Sh(t.Context(), "timeout 10 getent ahosts "+packageServer(t, g))).Code)
}

func TestGuestWithoutSystemd(t *testing.T) {
	guest.Require(t)
	g := lab.Up(t, guest.Options{NoSystemd: true})
	want.Equal(t, "sh", g.MustSh(t, "cat /proc/1/comm"))
	want.Differ(t, 0, must(g.Sh(t.Context(), "test -d /run/systemd/system")).Code)
}

// TestNothingIsLeftBehind kills a process that owns a running guest, the way a crash or an impatient person would.
func TestNothingIsLeftBehind(t *testing.T) {
	guest.Require(t)
	if os.Getenv("TLJH_TEST_OWNER") != "" {
		g := lab.Up(t, guest.Options{Name: "orphan"})
		fmt.Println("address", g.Address())
		<-t.Context().Done() // until killed
		return
	}
	forwarding := func() string {
		data, err := os.ReadFile("/proc/sys/net/ipv4/conf/all/forwarding")
		want.OK(t, err)
		return string(data)
	}
	before := forwarding()
	for _, sig := range []string{"INT", "KILL"} {
		t.Run(sig, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestNothingIsLeftBehind$", "-test.timeout=60s")
			cmd.Env = append(os.Environ(), "TLJH_TEST_OWNER=1")
			out, err := cmd.StdoutPipe()
			want.OK(t, err)
			want.OK(t, cmd.Start())
			var address string
			_, err = fmt.Fscanf(out, "address %s\n", &address)
			want.OK(t, err)
			number := strings.Split(address, ".")[2]
			want.OK(t, stat("/sys/class/net/tljhg"+number))
			want.OK(t, exec.Command("kill", "-"+sig, strconv.Itoa(cmd.Process.Pid)).Run())
			go func() { _, _ = io.Copy(io.Discard, out) }()
			_ = cmd.Wait() // it ends by the signal
			if sig == "KILL" {
				again, err := guest.OpenLab(t.Context())
				want.OK(t, err)
				defer again.Close()
			}
			want.True(t, os.IsNotExist(stat("/sys/class/net/tljhg"+number)), "its wire is left")
			want.True(t, os.IsNotExist(stat("/run/netns/tljh-guest-"+number)), "its network namespace is left")
			mounts, err := os.ReadFile("/proc/self/mountinfo")
			want.OK(t, err)
			want.Lacks(t, string(mounts), "/guests/"+number+"/")
			left, err := filepath.Glob(filepath.Join(guest.CacheDir(), "guests", number))
			want.OK(t, err)
			want.Equal(t, 0, len(left), "folders left")
			tables, err := exec.Command("nft", "list", "tables").Output()
			want.OK(t, err)
			want.Lacks(t, string(tables), "tljh_guest_"+number+"\n")
			cgroups, err := exec.Command("find", "/sys/fs/cgroup", "-ignore_readdir_race", "-name", "tljh-guest-"+number+"*").Output()
			want.OK(t, err)
			want.Equal(t, "", string(cgroups), "cgroups left")
		})
	}
	want.Equal(t, before, forwarding())
}
