package host_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
	"tljh/internal/host/hosttest"
)

const patience = 20 * time.Second

// eventually polls until good says yes.
func eventually(t *testing.T, what string, good func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, fmt.Errorf("not so after %s: %s", patience, what))
	defer cancel()
	require.NoError(t, host.Poll(ctx, 5*time.Millisecond, func(context.Context) (bool, error) { return good(), nil }))
}

// The script of the stand-in says what the real commands do.
func scripted() *hosttest.Runner {
	r := &hosttest.Runner{}
	r.On(hosttest.Answer{Stdout: "out\n", Stderr: "err\n"}, "sh", "-c", "echo out; echo err >&2")
	r.On(hosttest.Answer{Stdout: "words\n", Code: 3}, "sh", "-c", "echo words; exit 3")
	r.On(hosttest.Answer{Signal: "killed"}, "sh", "-c", "kill -9 $$")
	r.On(hosttest.Answer{Stdout: "from stdin"}, "cat")
	return r
}

func TestRunnersKeepTheContract(t *testing.T) {
	for name, runner := range map[string]host.Runner{"real": &host.Exec{}, "stand-in": scripted()} {
		t.Run(name, func(t *testing.T) { testRunner(t, runner) })
	}
}

func testRunner(t *testing.T, runner host.Runner) {
	sh := func(script string) host.Command { return host.Command{Argv: []string{"sh", "-c", script}} }

	t.Run("output", func(t *testing.T) {
		result, err := runner.Run(t.Context(), sh("echo out; echo err >&2"))
		require.NoError(t, err)
		assert.Equal(t, "out\n", string(result.Stdout))
		assert.ElementsMatch(t, []string{"out", "err"}, strings.Fields(string(result.Output)))
		assert.Zero(t, result.ExitCode)
	})
	t.Run("output that goes elsewhere", func(t *testing.T) {
		var out strings.Builder
		command := sh("echo out; echo err >&2")
		command.Stdout = &out
		result, err := runner.Run(t.Context(), command)
		require.NoError(t, err)
		assert.Equal(t, "out\n", out.String())
		assert.Empty(t, result.Stdout)
		assert.Equal(t, "err\n", string(result.Output))
	})
	t.Run("exit code", func(t *testing.T) {
		result, err := runner.Run(t.Context(), sh("echo words; exit 3"))
		var exit *host.ExitError
		require.ErrorAs(t, err, &exit)
		assert.Equal(t, 3, exit.Code)
		assert.Equal(t, 3, result.ExitCode)
		assert.Equal(t, "sh failed (exit code 3):\n    words", err.Error())
	})
	t.Run("quiet", func(t *testing.T) {
		cmd := sh("echo words; exit 3")
		cmd.Quiet = true
		result, err := runner.Run(t.Context(), cmd)
		require.Error(t, err)
		assert.NotContains(t, err.Error(), "words")
		assert.Equal(t, "words\n", string(result.Stdout))
	})
	t.Run("signal", func(t *testing.T) {
		result, err := runner.Run(t.Context(), sh("kill -9 $$"))
		var exit *host.ExitError
		require.ErrorAs(t, err, &exit)
		assert.Equal(t, "killed", exit.Signal)
		assert.Equal(t, -1, result.ExitCode)
	})
	t.Run("no such program", func(t *testing.T) {
		_, err := runner.Run(t.Context(), host.Command{Argv: []string{"tljh-no-such-program"}})
		require.EqualError(t, err, "cannot run tljh-no-such-program: no such program")
	})
	t.Run("input", func(t *testing.T) {
		result, err := runner.Run(t.Context(), host.Command{Argv: []string{"cat"}, Stdin: strings.NewReader("from stdin")})
		require.NoError(t, err)
		assert.Equal(t, "from stdin", string(result.Stdout))
	})
	t.Run("ended before it began", func(t *testing.T) {
		cause := errors.New("the reason")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		_, err := runner.Run(ctx, sh("echo words; exit 3"))
		require.ErrorIs(t, err, cause)
	})
}

func TestStandInRemembersAndPrefers(t *testing.T) {
	r := &hosttest.Runner{}
	r.On(hosttest.Answer{Stdout: "any"}, "systemctl")
	r.On(hosttest.Answer{Stdout: "version"}, "systemctl", "--version")
	r.On(hosttest.Answer{Stdout: "first time", Times: 1}, "systemctl", "--version")
	ask := func(argv ...string) string {
		result, err := r.Run(t.Context(), host.Command{Argv: argv, Stdin: strings.NewReader("x")})
		require.NoError(t, err)
		return string(result.Stdout)
	}
	assert.Equal(t, "first time", ask("systemctl", "--version"))
	assert.Equal(t, "version", ask("systemctl", "--version"))
	assert.Equal(t, "any", ask("systemctl", "status"))
	assert.Equal(t, []string{"systemctl --version", "systemctl --version", "systemctl status"}, r.Lines())
	assert.Equal(t, "x", r.Calls()[0].Input)
}

func TestEachStreamKeepsItsOrder(t *testing.T) {
	result, err := (&host.Exec{}).Run(t.Context(), host.Command{Argv: []string{"sh", "-c", "for i in 1 2 3 4 5; do echo o$i; echo e$i >&2; done"}})
	require.NoError(t, err)
	var out, errs []string
	for _, word := range strings.Fields(string(result.Output)) {
		if strings.HasPrefix(word, "o") {
			out = append(out, word)
		} else {
			errs = append(errs, word)
		}
	}
	assert.Equal(t, []string{"o1", "o2", "o3", "o4", "o5"}, out)
	assert.Equal(t, []string{"e1", "e2", "e3", "e4", "e5"}, errs)
}

func TestLongOutputKeepsItsEnd(t *testing.T) {
	result, err := (&host.Exec{}).Run(t.Context(), host.Command{Argv: []string{"sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo the end"}})
	require.NoError(t, err)
	assert.LessOrEqual(t, len(result.Output), 1<<20)
	assert.True(t, strings.HasSuffix(string(result.Output), "x\nthe end\n"))
	assert.Len(t, result.Stdout, 3000000+len("\nthe end\n"))
}

func TestNothingIsInherited(t *testing.T) {
	t.Setenv("TLJH_SECRET", "hidden")
	t.Setenv("PATH", "/nowhere")
	t.Chdir(t.TempDir())
	result, err := (&host.Exec{}).Run(t.Context(), host.Command{Argv: []string{"sh", "-c", "env | sort; pwd; ls -l /proc/self/fd | grep -c socket"}})
	var exit *host.ExitError // grep counted none
	require.ErrorAs(t, err, &exit)
	lines := strings.Split(strings.TrimSpace(string(result.Stdout)), "\n")
	assert.Contains(t, lines, "PATH="+host.Path)
	assert.Contains(t, lines, "/")
	assert.NotContains(t, string(result.Stdout), "hidden")
	assert.Equal(t, "0", lines[len(lines)-1], "open sockets")
}

func TestOnlyTheGivenEnvironment(t *testing.T) {
	result, err := (&host.Exec{}).Run(t.Context(), host.Command{Argv: []string{"env"}, Env: []string{"A=1"}, Dir: "/tmp"})
	require.NoError(t, err)
	assert.Equal(t, "A=1\n", string(result.Stdout))
}

func TestRunsAsAnAccount(t *testing.T) {
	needRoot(t)
	result, err := (&host.Exec{}).Run(t.Context(), host.Command{Argv: []string{"sh", "-c", "id -u; id -g; id -G"}, UID: 65534, GID: 65534})
	require.NoError(t, err)
	assert.Equal(t, "65534\n65534\n65534\n", string(result.Stdout))
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can do this")
	}
}

// alive tells whether a process is there and no zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}

// pidIn returns the number that a command wrote to a file; 0 while it has not.
func pidIn(file string) int {
	data, _ := os.ReadFile(file)
	if !strings.HasSuffix(string(data), "\n") {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(data)))
	return pid
}

// start runs a shell script until cancel is called, and waits until it and the process that it starts have written their numbers.
func start(t *testing.T, runner *host.Exec, script string) (leader, child int, cancel func(error), done <-chan error) {
	t.Helper()
	dir := t.TempDir()
	ctx, cancelCause := context.WithCancelCause(context.Background())
	t.Cleanup(func() { cancelCause(nil) })
	ended := make(chan error, 1)
	go func() {
		_, err := runner.Run(ctx, host.Command{Argv: []string{"sh", "-c", script}, Dir: dir})
		ended <- err
	}()
	eventually(t, "both processes run", func() bool {
		leader, child = pidIn(filepath.Join(dir, "leader")), pidIn(filepath.Join(dir, "child"))
		return leader > 0 && child > 0
	})
	return leader, child, cancelCause, ended
}

func TestCancelTellsTheWholeGroupToEnd(t *testing.T) {
	leader, child, cancel, done := start(t, &host.Exec{Grace: patience}, "sleep 300 & echo $! >child; echo $$ >leader; wait")
	pgid, err := syscall.Getpgid(child)
	require.NoError(t, err)
	assert.Equal(t, leader, pgid, "a group of its own")
	cause := errors.New("the reason")
	begin := time.Now()
	cancel(cause)
	require.ErrorIs(t, <-done, cause)
	assert.Less(t, time.Since(begin), patience/2, "SIGTERM was enough")
	eventually(t, "both have ended", func() bool { return !alive(leader) && !alive(child) })
}

func TestSIGTERMLeavesTimeToTidyUp(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tidied")
	_, _, cancel, done := start(t, &host.Exec{Grace: patience},
		`trap "echo >`+file+`; exit 0" TERM; sleep 300 & echo $! >child; echo $$ >leader; wait`)
	cancel(errors.New("the reason"))
	require.Error(t, <-done)
	assert.FileExists(t, file)
}

func TestWhoIgnoresSIGTERMIsKilled(t *testing.T) {
	leader, child, cancel, done := start(t, &host.Exec{Grace: 100 * time.Millisecond},
		`trap "" TERM; sleep 300 & echo $! >child; echo $$ >leader; while :; do wait; done`)
	cause := errors.New("the reason")
	cancel(cause)
	require.ErrorIs(t, <-done, cause)
	eventually(t, "both are killed", func() bool { return !alive(leader) && !alive(child) })
}

func TestWhatTheLeaderLeavesBehindIsKilled(t *testing.T) {
	// The leader ends at once; its child, which ignores the signal, has let go of our pipe.
	leader, child, cancel, done := start(t, &host.Exec{Grace: patience},
		`(trap "" TERM; exec sleep 300) >/dev/null 2>&1 & echo $! >child; echo $$ >leader; wait`)
	cancel(errors.New("the reason"))
	require.Error(t, <-done)
	eventually(t, "both have ended", func() bool { return !alive(leader) && !alive(child) })
}

func TestBackgroundProcessDoesNotHoldUs(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pid")
	result, err := (&host.Exec{}).Run(t.Context(), host.Command{Argv: []string{"sh", "-c", "setsid sleep 300 & echo $! >" + file + "; echo done"}})
	require.NoError(t, err)
	assert.Equal(t, "done\n", string(result.Stdout))
	assert.Less(t, result.Took, patience)
	require.NoError(t, syscall.Kill(pidIn(file), syscall.SIGKILL))
}

// TestMain lets the test binary play a program of ours that gets killed.
func TestMain(m *testing.M) {
	switch os.Getenv("TLJH_TEST_ROLE") {
	case "runner":
		_, _ = (&host.Exec{}).Run(context.Background(), host.Command{Argv: []string{"sh", "-c", os.Getenv("TLJH_TEST_SCRIPT")}, Whole: os.Getenv("TLJH_TEST_WHOLE") != ""})
	case "locker":
		playLocker(host.Files{Root: os.Getenv("TLJH_TEST_ROOT")})
	default:
		os.Exit(m.Run())
	}
}

// play starts the test binary in a role.
func play(t *testing.T, role string, env ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(append(os.Environ(), "TLJH_TEST_ROLE="+role), env...)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func TestCommandDiesWithUs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	us := play(t, "runner", "TLJH_TEST_SCRIPT=echo $$ >"+file+"; exec sleep 300")
	eventually(t, "the command runs", func() bool { return pidIn(file) > 0 })
	require.NoError(t, us.Process.Kill())
	eventually(t, "the command is gone", func() bool { return !alive(pidIn(file)) })
}

// Programs that must not be left half-way go on, when we are killed as well as when we are told to end.
func TestWholeCommandsEndByThemselves(t *testing.T) {
	dir := t.TempDir()
	begun, goOn, done := filepath.Join(dir, "begun"), filepath.Join(dir, "go-on"), filepath.Join(dir, "done")
	script := "touch " + begun + "; while ! [ -e " + goOn + " ]; do sleep 0.02; done; touch " + done
	us := play(t, "runner", "TLJH_TEST_WHOLE=1", "TLJH_TEST_SCRIPT="+script)
	there := func(file string) bool { _, err := os.Stat(file); return err == nil }
	eventually(t, "the command runs", func() bool { return there(begun) })
	require.NoError(t, us.Process.Kill())
	_ = us.Wait()
	require.NoError(t, os.WriteFile(goOn, nil, 0o600))
	eventually(t, "it has done its work", func() bool { return there(done) })

	ctx, cancel := context.WithCancel(t.Context())
	require.NoError(t, errors.Join(os.Remove(goOn), os.Remove(done), os.Remove(begun)))
	go func() {
		for !there(begun) {
			time.Sleep(time.Millisecond)
		}
		cancel()
		_ = os.WriteFile(goOn, nil, 0o600)
	}()
	_, err := (&host.Exec{}).Run(ctx, host.Command{Argv: []string{"sh", "-c", script}, Whole: true})
	require.NoError(t, err)
	assert.True(t, there(done))
	_, err = (&host.Exec{}).Run(ctx, host.Command{Argv: []string{"sh", "-c", script}, Whole: true})
	require.ErrorIs(t, err, context.Canceled, "it has not begun yet")
}

type commands struct {
	mu    sync.Mutex
	lines []string
}

func (c *commands) Command(cmd host.Command, result host.Result, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, fmt.Sprintf("%s %d %t", strings.Join(cmd.Argv, " "), result.ExitCode, err == nil))
}

func (c *commands) Request(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, line)
}

func TestEveryCommandIsLogged(t *testing.T) {
	first, second := &commands{}, &commands{}
	runner := &host.Exec{Log: host.CommandLogs{first, second}}
	_, _ = runner.Run(t.Context(), host.Command{Argv: []string{"true"}})
	_, _ = runner.Run(t.Context(), host.Command{Argv: []string{"false"}})
	host.CommandLogs{first, second}.Request("GET x: 200")
	assert.Equal(t, []string{"true 0 true", "false 1 false", "GET x: 200"}, first.lines)
	assert.Equal(t, first.lines, second.lines)
}
