package edge

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
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMain makes this program an edge when a test starts it as one.
func TestMain(m *testing.M) {
	if upstream := os.Getenv("EDGE_TEST_UPSTREAM"); upstream != "" {
		options := Options{Upstream: upstream}
		if pair := os.Getenv("EDGE_TEST_PAIR"); pair != "" {
			options.HTTPS = &HTTPS{Pair: pair, Look: time.Hour}
		}
		secure, _ := strconv.Atoi(os.Getenv("EDGE_TEST_PORT"))
		options.Origins.UserPort, _ = strconv.Atoi(os.Getenv("EDGE_TEST_USERS"))
		if err := Run(context.Background(), options, secure); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// startAsSystemdDoes starts an edge with sockets of the given names.
func startAsSystemdDoes(t *testing.T, upstream, names string, sockets ...net.Listener) (*exec.Cmd, *notes, func() string) {
	t.Helper()
	// /run of a test may lie deeper than a socket's path may be long.
	dir, err := os.MkdirTemp("", "edge")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "n"), Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = notify.Close() })
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0"`, os.Args[0])
	cmd.Env = append(os.Environ(), "EDGE_TEST_UPSTREAM="+upstream, "LISTEN_FDNAMES="+names, fmt.Sprint("LISTEN_FDS=", len(sockets)), "NOTIFY_SOCKET="+notify.LocalAddr().String())
	for _, socket := range sockets {
		file, err := socket.(*net.TCPListener).File()
		require.NoError(t, err)
		defer file.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
	}
	words := &notes{}
	cmd.Stderr = words
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, words, func() string {
		t.Helper()
		buffer := make([]byte, 100)
		require.NoError(t, notify.SetReadDeadline(time.Now().Add(soon)))
		n, err := notify.Read(buffer)
		require.NoError(t, err, "%q", words.lines())
		return string(buffer[:n])
	}
}

func TestRunUnderSystemd(t *testing.T) {
	first, second := newListener(t), newListener(t)
	cmd, words, notified := startAsSystemdDoes(t, newBehind(t, hello).start().address, "http:http", first, second)
	require.Equal(t, "READY=1", notified())
	for _, listener := range []net.Listener{first, second} {
		response, err := client(t).Get("http://" + listener.Addr().String())
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		require.NoError(t, err)
		require.Equal(t, "hello", string(body))
		require.Equal(t, http.StatusOK, response.StatusCode)
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.Equal(t, "STOPPING=1", notified())
	require.NoError(t, cmd.Wait(), "%q", words.lines())
	require.Empty(t, words.lines())
}

// One unit's sockets have one name: the port says which of them is for HTTPS.
func TestRunHTTPSUnderSystemd(t *testing.T) {
	plain, secure := newListener(t), newListener(t)
	old, renewed := certify(t, -time.Hour, year), certify(t, -time.Hour, year)
	https := old.https(t)
	t.Setenv("EDGE_TEST_PAIR", https.Pair)
	t.Setenv("EDGE_TEST_PORT", strconv.Itoa(portOf(secure.Addr())))
	cmd, words, notified := startAsSystemdDoes(t, newBehind(t, hello).start().address, "http:http", plain, secure)
	require.Equal(t, "READY=1", notified())
	client := trusting(t, old, renewed)
	response, err := client.Get("http://" + plain.Addr().String() + "/x")
	require.NoError(t, err)
	_ = response.Body.Close()
	require.Equal(t, "https://"+secure.Addr().String()+"/x", response.Header.Get("Location"))
	response, err = client.Get(response.Header.Get("Location"))
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	require.NoError(t, err)
	require.Equal(t, "hello", string(body))

	renewed.provide(t, filepath.Dir(https.Pair))
	require.NoError(t, cmd.Process.Signal(syscall.SIGUSR1))
	require.Eventually(t, func() bool { return len(words.lines()) == 2 }, soon, time.Millisecond)
	require.Equal(t, renewed.leaf.SerialNumber.String(), serial(t, &door{secure: secure.Addr().String()}))
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.Equal(t, "STOPPING=1", notified())
	require.NoError(t, cmd.Wait(), "%q", words.lines())
}

func TestServersHaveTheSchemeAndCertificateOfTheHub(t *testing.T) {
	plain, secure, users := newListener(t), newListener(t), newListener(t)
	c := certify(t, -time.Hour, year)
	upstream := newBehind(t, hello).start().address
	t.Setenv("EDGE_TEST_USERS", strconv.Itoa(portOf(users.Addr())))
	ask := func(address string) (int, string) {
		t.Helper()
		response, err := trusting(t, c).Get(address)
		require.NoError(t, err)
		defer response.Body.Close()
		return response.StatusCode, response.Header.Get("Location")
	}
	end := func(cmd *exec.Cmd) {
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(t, cmd.Wait())
	}
	cmd, _, notified := startAsSystemdDoes(t, upstream, "http:http", plain, users)
	notified()
	status, to := ask("http://" + plain.Addr().String() + "/user/alice/lab")
	require.Equal(t, 302, status)
	require.Equal(t, "http://"+users.Addr().String()+"/user/alice/lab", to)
	status, _ = ask(to)
	require.Equal(t, 200, status)
	end(cmd)

	t.Setenv("EDGE_TEST_PAIR", c.https(t).Pair)
	t.Setenv("EDGE_TEST_PORT", strconv.Itoa(portOf(secure.Addr())))
	cmd, _, notified = startAsSystemdDoes(t, upstream, "http:http:http", plain, secure, users)
	notified()
	status, to = ask("https://" + secure.Addr().String() + "/user/alice/lab")
	require.Equal(t, 302, status)
	require.Equal(t, "https://"+users.Addr().String()+"/user/alice/lab", to)
	status, _ = ask(to)
	require.Equal(t, 200, status)
	end(cmd)
}

// A new process takes up where the old one ended: what came in between waited in the socket.
func TestNobodyIsRefusedBetweenTwoEdges(t *testing.T) {
	socket, upstream := newListener(t), newBehind(t, hello).start().address
	cmd, _, notified := startAsSystemdDoes(t, upstream, "http", socket)
	notified()
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait())
	answer := make(chan error, 1)
	go func() {
		response, err := client(t).Get("http://" + socket.Addr().String())
		if err == nil {
			_ = response.Body.Close()
		}
		answer <- err
	}()
	_, _, notified = startAsSystemdDoes(t, upstream, "http", socket)
	notified()
	require.NoError(t, <-answer)
}

func TestRunWithoutTheRightSockets(t *testing.T) {
	cases := map[string]struct {
		names   string
		sockets []net.Listener
		says    string
	}{
		"none":    {"", nil, "systemctl start tljh-edge.socket"},
		"unknown": {"gopher", []net.Listener{newListener(t)}, `"gopher"`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			cmd, words, _ := startAsSystemdDoes(t, "127.0.0.1:1", c.names, c.sockets...)
			require.Error(t, cmd.Wait())
			require.Len(t, words.lines(), 1)
			require.Contains(t, words.lines()[0], c.says)
		})
	}
}

// BenchmarkOverhead asks for the same page through the door and without it, in turns, and reports the ratio.
func BenchmarkOverhead(b *testing.B) {
	for name, size := range map[string]int{"1KiB": 1 << 10, "1MiB": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			page := make([]byte, size)
			behind := newBehind(b, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(page) }).start()
			door := open(b, Options{Upstream: behind.address})
			client := client(b)
			ask := func(url string) time.Duration {
				start := time.Now()
				response, err := client.Get(url)
				if err != nil {
					b.Fatal(err)
				}
				n, err := io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
				if err != nil || n != int64(size) {
					b.Fatal(n, err)
				}
				return time.Since(start)
			}
			var through, direct time.Duration
			for b.Loop() {
				through += ask(door.url)
				direct += ask("http://" + behind.address)
			}
			b.ReportMetric(float64(through)/float64(direct), "through/direct")
			b.ReportMetric(float64(through.Microseconds()-direct.Microseconds())/float64(b.N), "µs-added/op")
			b.ReportMetric(0, "ns/op")
		})
	}
}
