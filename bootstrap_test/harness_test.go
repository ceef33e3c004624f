// Package bootstrap tests bootstrap.sh as people run it: piped into dash, bash and busybox's shell, with a real server on
// loopback, and with /opt and /run of its own in a mount namespace. In the place of the release's binary stands a small
// shell script that prints what it was given; the real one is tested by integration-tests.
package bootstrap

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Nearly all of these tests wait (for a second try, for a stall): many at once, however few cores there are.
func TestMain(m *testing.M) {
	flag.Parse()
	if value := flag.Lookup("test.parallel"); value.Value.String() == fmt.Sprint(runtime.GOMAXPROCS(0)) {
		_ = flag.Set("test.parallel", "12")
	}
	os.Exit(m.Run())
}

// standIn prints its arguments and ends with the exit code that the test asked for. The filler makes it as large as a
// download that can be cut, slow or too big.
func standIn(arch string, filler int) []byte {
	script := `#!/bin/sh
if [ "$1" = verify-release ]; then
	[ "$2" = --self ] && echo "judges itself, unsigned: ${TLJH_UNSIGNED:-no}" && exit "${STAND_IN_JUDGES_ITSELF:-0}"
	echo "verified: $(ls "$4" | grep SUMS | tr '\n' ' ')by ` + arch + `"
	exit "${STAND_IN_VERIFIES:-0}"
fi
echo "stand-in for tljh-install, ` + arch + `"
for argument in "$@"; do printf '<%s>\n' "$argument"; done
echo "url $TLJH_RELEASE_URL"
exit "${STAND_IN_EXIT:-0}"
`
	return append([]byte(script), bytes.Repeat([]byte("# filler\n"), filler/9)...)
}

const ordinary = 400_000 // bytes of the stand-in

// A handler may answer in the place of a release's server; it returns false to let the release answer.
type handler func(w http.ResponseWriter, r *http.Request, attempt int) bool

// release is a folder served over HTTP. It counts what is asked for.
type release struct {
	*httptest.Server
	mutex    sync.Mutex
	files    map[string][]byte
	requests map[string]int
	ranges   []string
	handle   handler
}

func newRelease(t *testing.T, handle handler) *release {
	r := unstarted(handle)
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.close)
	return r
}

func unstarted(handle handler) *release {
	r := &release{files: map[string][]byte{}, requests: map[string]int{}, handle: handle}
	for _, arch := range []string{"amd64", "arm64"} {
		r.put("tljh-install-linux-"+arch, standIn(arch, ordinary))
	}
	return r
}

// A handler that hangs must not keep the server from closing.
func (r *release) close() {
	r.CloseClientConnections()
	r.Close()
}

func (r *release) put(name string, data []byte) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.files[name] = data
	var sums bytes.Buffer
	for name, data := range r.files {
		if !strings.HasPrefix(name, "SHA256SUMS") {
			_, _ = fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(data), name)
		}
	}
	r.files["SHA256SUMS"] = sums.Bytes()
}

// sign puts a signature there, which the stand-in takes for good.
func (r *release) sign() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.files["SHA256SUMS.minisig"] = []byte("untrusted comment: a stand-in\n")
}

// ServeHTTP answers as the handler wants it, else with the file.
func (r *release) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	name := filepath.Base(request.URL.Path)
	r.mutex.Lock()
	r.requests[name]++
	attempt := r.requests[name]
	if value := request.Header.Get("Range"); value != "" {
		r.ranges = append(r.ranges, value)
	}
	data, ok := r.files[name]
	handle := r.handle
	r.mutex.Unlock()
	if handle != nil && handle(w, request, attempt) {
		return
	}
	if !ok {
		http.NotFound(w, request)
		return
	}
	http.ServeContent(w, request, name, time.Time{}, bytes.NewReader(data))
}

func (r *release) count(name string) int {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.requests[name]
}

// isBinary tells whether a request asks for a binary and not for the checksums.
func isBinary(r *http.Request) bool {
	return strings.HasPrefix(filepath.Base(r.URL.Path), "tljh-install-")
}

// half sends the first half of what was announced.
func half(w http.ResponseWriter) {
	data := standIn("amd64", ordinary)
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	_, _ = w.Write(data[:len(data)/2])
	if flusher, ok := w.(http.Flusher); ok {
		flusher.Flush()
	}
}

// shells are the programs that people pipe the script into.
var shells = map[string][]string{"bash": {"bash"}, "dash": {"dash"}, "busybox": {"busybox", "sh"}}

// tools are the programs that the script may need; a machine of the test has these and no others.
var tools = []string{
	"awk", "busybox", "cat", "chmod", "chown", "cut", "bash", "dash", "df", "dirname", "grep", "gzip", "id", "ls", "mkdir", "mktemp", "mount", "mv", "rm",
	"rmdir", "sed", "setpriv", "sh", "sha256sum", "sleep", "stat", "sync", "tail", "tr", "uname",
}

// downloaders are the programs that the script downloads with.
var downloaders = []string{"curl", "wget", "busybox-wget"}

// machine is what one run of the script finds.
type machine struct {
	t          *testing.T
	shell      []string
	downloader string // none when empty
	opt        string // stands at /opt
	tmp        string
	bin        string // the only folder of PATH
	optMount   string // how /opt is mounted, when not a plain folder
	systemd    bool
	asNobody   bool
	env        []string
	script     []byte
}

func newMachine(t *testing.T, shell, downloader string) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("bootstrap.sh has to be root in a mount namespace: run this test as root")
	}
	program := shells[shell][0]
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is not installed (integration-tests/install-tools installs it)", program)
	}
	dir := t.TempDir()
	m := &machine{t: t, shell: shells[shell], downloader: downloader, systemd: true,
		opt: filepath.Join(dir, "opt"), tmp: filepath.Join(dir, "tmp"), bin: filepath.Join(dir, "bin")}
	for path := dir; path != os.TempDir() && path != "/"; path = filepath.Dir(path) {
		require.NoError(t, os.Chmod(path, 0o755)) // nobody has to reach the tools
	}
	for _, folder := range []string{m.opt, m.tmp, m.bin} {
		require.NoError(t, os.Mkdir(folder, 0o755))
	}
	var err error
	m.script, err = os.ReadFile("../bootstrap.sh")
	require.NoError(t, err)
	for _, tool := range tools {
		m.link(tool, tool)
	}
	switch downloader {
	case "":
	case "busybox-wget":
		m.link("wget", "busybox")
	default:
		m.link(downloader, downloader)
	}
	return m
}

// link puts a program of the machine that runs the test on PATH under a name. One that is absent is left out.
func (m *machine) link(name, program string) {
	path, err := exec.LookPath(program)
	if err != nil {
		if program == m.downloader || name == "wget" {
			m.t.Skipf("%s is not installed (integration-tests/install-tools installs it)", program)
		}
		return
	}
	require.NoError(m.t, os.Symlink(path, filepath.Join(m.bin, name)))
}

// fake puts a shell script on PATH in a program's place.
func (m *machine) fake(name, body string) {
	path := filepath.Join(m.bin, name)
	_ = os.Remove(path)
	require.NoError(m.t, os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755))
}

// prelude makes the namespace into the machine.
func (m *machine) prelude() string {
	lines := []string{"set -e"}
	if m.optMount != "" {
		lines = append(lines, "mount -t tmpfs -o "+m.optMount+" tmpfs /opt")
	} else {
		lines = append(lines, "mount --bind '"+m.opt+"' /opt")
	}
	lines = append(lines, "mount -t tmpfs tmpfs /run")
	if m.systemd {
		lines = append(lines, "mkdir -p /run/systemd/system")
	}
	start := `exec "$@"`
	if m.asNobody {
		start = `exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"`
	}
	return strings.Join(append(lines, start), "\n")
}

func (m *machine) command(args ...string) *exec.Cmd {
	argv := append([]string{"-c", m.prelude(), "prelude"}, m.shell...)
	argv = append(argv, "-s", "--")
	cmd := exec.CommandContext(m.t.Context(), "/bin/sh", append(argv, args...)...)
	cmd.Env = append([]string{"PATH=" + m.bin, "TMPDIR=" + m.tmp, "HOME=/root"}, m.env...)
	cmd.Stdin = bytes.NewReader(m.script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// run pipes the script into the shell and returns the exit code, the standard output and the standard error.
func (m *machine) run(args ...string) (int, string, string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := m.command(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(m.t, cmd.Start())
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	err := cmd.Wait()
	require.NoError(m.t, ctx.Err(), "the script did not end\n%s", stderr.String())
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		require.NoError(m.t, err)
	}
	return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

func (m *machine) from(r *release) *machine {
	m.env = append(m.env, "TLJH_RELEASE_URL="+r.URL)
	return m
}

// tree lists what lies in the machine's /opt and in its folder for temporary files, with modes and content.
func (m *machine) tree() []string {
	var found []string
	for _, root := range []string{m.opt, m.tmp} {
		require.NoError(m.t, filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
			if err != nil || path == root {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			line := fmt.Sprintf("%s %s %d", strings.TrimPrefix(path, filepath.Dir(root)), info.Mode(), info.Sys().(*syscall.Stat_t).Uid)
			if info.Mode().IsRegular() {
				data, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				line += fmt.Sprintf(" %x", sha256.Sum256(data))
			}
			found = append(found, line)
			return nil
		}))
	}
	return found
}

// installed is what an installation leaves: the binary alone.
func installed(binary []byte) []string {
	return []string{
		"/opt/tljh drwxr-xr-x 0",
		"/opt/tljh/bin drwxr-xr-x 0",
		fmt.Sprintf("/opt/tljh/bin/tljh-install -rwxr-xr-x 0 %x", sha256.Sum256(binary)),
	}
}

func eachShell(t *testing.T, test func(t *testing.T, shell string)) {
	t.Parallel()
	for shell := range shells {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			test(t, shell)
		})
	}
}

func eachDownloader(t *testing.T, test func(t *testing.T, shell, downloader string)) {
	eachShell(t, func(t *testing.T, shell string) {
		for _, downloader := range downloaders {
			t.Run(downloader, func(t *testing.T) {
				t.Parallel()
				test(t, shell, downloader)
			})
		}
	})
}

func drain(r io.Reader) string {
	data, _ := io.ReadAll(r)
	return string(data)
}
