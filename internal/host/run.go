package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Command is a program to run. Secrets go to Stdin, never to Argv or Env: both can be seen by others or get logged.
type Command struct {
	Argv  []string
	Env   []string // the whole environment, as KEY=VALUE; none is inherited
	Dir   string   // "/" when empty, so that no child keeps a removed folder
	Stdin io.Reader

	// UID and GID, when not 0, are the account it runs as.
	UID, GID uint32

	// Confine, when set, encloses it: it runs code of others.
	Confine *Confine

	// Stdout, when set, gets the standard output in the place of Result: there may be much of it.
	Stdout io.Writer

	// Quiet keeps the output out of the log (it may hold secrets, or is data).
	Quiet bool

	// Whole lets the command end by itself once it has begun, whatever ends us: half of its work would be worse than all of it. It is for
	// programs that take moments.
	Whole bool
}

// Result is what a finished command left. Output is what it wrote to both streams as it came (what it writes to both in one breath may
// change places), its last part where it was long.
type Result struct {
	ExitCode int
	Stdout   []byte
	Output   []byte
	Took     time.Duration
}

// Runner runs commands.
type Runner interface {
	// Run waits for the command. A non-zero exit is an *ExitError. When ctx ends, the command and all it started are
	// told to end and, if they don't, are killed.
	Run(ctx context.Context, cmd Command) (Result, error)
}

// ExitError tells that a command ran and failed.
type ExitError struct {
	Argv   []string
	Code   int
	Signal string
	Tail   string // the last lines of its output
}

func (e *ExitError) Error() string {
	how := fmt.Sprintf("exit code %d", e.Code)
	if e.Signal != "" {
		how = e.Signal
	}
	text := fmt.Sprintf("%s failed (%s)", e.Argv[0], how)
	if e.Tail != "" {
		text += ":\n" + indent(e.Tail)
	}
	return text
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n    ")
}

// CommandLog is told of every command, and of every request over the network. A nil CommandLog is silent.
type CommandLog interface {
	Command(cmd Command, result Result, err error)
	Request(line string)
}

// Exec runs commands of this machine.
type Exec struct {
	Log CommandLog

	// Grace is how long a command may take to end after SIGTERM before it is killed; 5 s when zero.
	Grace time.Duration
}

const (
	wholeLimit  = 2 * time.Minute
	stdoutLimit = 16 << 20
	outputLimit = 1 << 20
	tailLines   = 12
)

// Run implements Runner. The command leads a process group of its own, so that a Ctrl-C at the terminal reaches it
// only through us, and so that we can end all of it.
func (e *Exec) Run(ctx context.Context, c Command) (Result, error) {
	run := e.run
	if c.Confine != nil && confines() {
		run = e.confined
	}
	result, err := run(ctx, c)
	if e.Log != nil {
		e.Log.Command(c, result, err)
	}
	return result, err
}

func (e *Exec) run(ctx context.Context, c Command) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, context.Cause(ctx)
	}
	if c.Whole {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(context.WithoutCancel(ctx), wholeLimit, fmt.Errorf("%s does not end", c.Argv[0]))
		defer cancel()
	}
	both := &tail{limit: outputLimit}
	stdout := &tail{limit: stdoutLimit}
	out := io.MultiWriter(stdout, both)
	if c.Stdout != nil {
		out = c.Stdout
	}
	cmd := e.command(c, out, both)
	start := time.Now()
	// The command dies with the thread that started it (Pdeathsig): this one stays ours until the command has ended.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return Result{}, startError(c, err)
	}
	err := e.wait(ctx, cmd)
	result := Result{ExitCode: cmd.ProcessState.ExitCode(), Stdout: stdout.Bytes(), Output: both.Bytes(), Took: time.Since(start)}
	if ctx.Err() != nil {
		return result, context.Cause(ctx)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return result, newExitError(c, exit, result.Output)
	}
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return result, fmt.Errorf("cannot run %s: %w", c.Argv[0], err)
	}
	return result, nil
}

func (e *Exec) command(c Command, stdout, stderr io.Writer) *exec.Cmd {
	cmd := &exec.Cmd{Path: program(c.Argv[0]), Args: c.Argv, Env: c.Env, Dir: c.Dir, Stdin: c.Stdin}
	if cmd.Env == nil {
		cmd.Env = []string{"PATH=" + Path, "LANG=C.UTF-8"}
	}
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	// When we are killed outright, the command must not go on behind the next run's back.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if !c.Whole {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	if c.UID != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: c.UID, Gid: c.GID}
	}
	// A grandchild that keeps our pipe open must not hold us for ever.
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// program finds a program by its name where all commands of ours are looked for: the caller's own search path may lack the programs for
// administrators, as after a plain su.
func program(name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	for dir := range strings.SplitSeq(Path, ":") {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file
		}
	}
	return filepath.Join("/", "nonexistent", name)
}

// wait reaps cmd; when ctx ends first it sends SIGTERM, and after the grace time SIGKILL, to the whole group.
func (e *Exec) wait(ctx context.Context, cmd *exec.Cmd) error {
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	grace := e.Grace
	if grace == 0 {
		grace = 5 * time.Second
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case err := <-done:
		// The leader has gone; what it left behind in its group goes now.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		return err
	case <-timer.C:
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		return <-done
	}
}

func startError(c Command, err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot run %s: no such program", c.Argv[0])
	}
	return fmt.Errorf("cannot run %s: %w", c.Argv[0], err)
}

func newExitError(c Command, exit *exec.ExitError, output []byte) *ExitError {
	failed := &ExitError{Argv: c.Argv, Code: exit.ExitCode()}
	if st, ok := exit.Sys().(syscall.WaitStatus); ok && st.Signaled() {
		failed.Signal = st.Signal().String()
	}
	if !c.Quiet {
		failed.Tail = lastLines(string(output), tailLines)
	}
	return failed
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}

// tail keeps the last bytes written to it.
type tail struct {
	mu    sync.Mutex
	limit int
	buf   bytes.Buffer
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(p)
	if over := t.buf.Len() - t.limit; over > t.limit/2 {
		t.buf.Next(over)
	}
	return len(p), nil
}

func (t *tail) Bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	if over := t.buf.Len() - t.limit; over > 0 {
		t.buf.Next(over)
	}
	return bytes.Clone(t.buf.Bytes())
}

// Path is the search path that commands run with.
const Path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// CommandLogs tells each of several logs.
type CommandLogs []CommandLog

// Command implements CommandLog.
func (logs CommandLogs) Command(cmd Command, result Result, err error) {
	for _, log := range logs {
		log.Command(cmd, result, err)
	}
}

// Request implements CommandLog.
func (logs CommandLogs) Request(line string) {
	for _, log := range logs {
		log.Request(line)
	}
}
