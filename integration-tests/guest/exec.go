package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Result is what a command in the guest said and how it ended.
type Result struct {
	Stdout string
	Stderr string
	Code   int // 128 + the signal's number when one ended it
	Took   time.Duration
}

// Output is both streams together, for messages.
func (r Result) Output() string { return r.Stdout + r.Stderr }

// Process is a command that runs in the guest.
type Process struct {
	cmd    *exec.Cmd
	out    lockedBuffer
	err    lockedBuffer
	stdin  io.WriteCloser
	start  time.Time
	done   chan struct{}
	result Result
	failed error
}

// lockedBuffer may be read while a process still writes to it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// environment of every command: what a login shell of root has, and no more.
func (g *Guest) environment() []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"}
	return append(env, g.opts.Env...)
}

// Start runs a command as root in the guest and does not wait for it. It is the head of a process group of its own. It is not in the
// guest's cgroup: what must be under a limit of the guest is started there with systemd-run.
func (g *Guest) Start(ctx context.Context, argv ...string) (*Process, error) {
	g.mu.Lock()
	leader := g.leader
	g.mu.Unlock()
	if leader <= 1 {
		return nil, errors.New("cannot run a command in the guest: it is switched off")
	}
	full := append([]string{"-t", strconv.Itoa(leader), "-a", "env", "-C", "/", "-i"}, g.environment()...)
	p := &Process{start: time.Now(), done: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, "nsenter", append(full, argv...)...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	p.cmd.Cancel = func() error { return unix.Kill(-p.cmd.Process.Pid, unix.SIGKILL) }
	p.cmd.WaitDelay = 2 * time.Second // for what it left behind that holds its output open
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.stdin = stdin
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot run a command in the guest: %w", err)
	}
	go p.wait(ctx)
	return p, nil
}

func (p *Process) wait(ctx context.Context) {
	err := p.cmd.Wait()
	p.result = Result{Stdout: p.out.String(), Stderr: p.err.String(), Took: time.Since(p.start)}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		p.failed = fmt.Errorf("command in the guest did not end: %w", ctx.Err())
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
	case errors.As(err, &exit):
		p.result.Code = exit.ExitCode()
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			p.result.Code = 128 + int(status.Signal())
		}
	default:
		p.failed = fmt.Errorf("cannot run a command in the guest: %w", err)
	}
	close(p.done)
}

// Stdin is the process's input. Closing it ends the input.
func (p *Process) Stdin() io.WriteCloser { return p.stdin }

// Output is what the process has written so far.
func (p *Process) Output() string { return p.out.String() + p.err.String() }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends a signal to the process and all of its group, as a terminal does on Ctrl-C.
//
// nsenter heads the group and waits outside the guest: it would die instead of passing the command's exit code on, so it gets none.
func (p *Process) Signal(sig syscall.Signal) error {
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	head := p.cmd.Process.Pid
	for _, folder := range folders {
		pid, err := strconv.Atoi(filepath.Base(folder))
		if err != nil || pid == head {
			continue
		}
		if group, err := unix.Getpgid(pid); err != nil || group != head {
			continue
		}
		if err := unix.Kill(pid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("cannot signal a command in the guest: %w", err)
		}
	}
	return nil
}

// Wait returns when the process has ended.
func (p *Process) Wait() (Result, error) {
	<-p.done
	return p.result, p.failed
}

// Exec runs a command as root in the guest. The error says only that it could not be run or did not end in time.
func (g *Guest) Exec(ctx context.Context, argv ...string) (Result, error) {
	p, err := g.Start(ctx, argv...)
	if err != nil {
		return Result{}, err
	}
	// Who waits for a command that has ended already has closed its input.
	if err := p.stdin.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return Result{}, err
	}
	return p.Wait()
}

// Sh runs a shell script as root in the guest.
func (g *Guest) Sh(ctx context.Context, script string) (Result, error) {
	return g.Exec(ctx, "bash", "-c", script)
}

// As returns the words that run a command as another user of the guest, with that user's groups and nothing of root's environment.
func As(user string, argv ...string) []string {
	return append([]string{"runuser", "-u", user, "--", "env", "HOME=/home/" + user, "USER=" + user, "LOGNAME=" + user}, argv...)
}

// Write puts a file into the guest.
func (g *Guest) Write(ctx context.Context, path string, mode os.FileMode, content io.Reader) error {
	script := `mkdir -p "$(dirname "$1")" && cat > "$1" && chmod "$2" "$1"`
	p, err := g.Start(ctx, "sh", "-c", script, "sh", path, fmt.Sprintf("%o", mode))
	if err != nil {
		return err
	}
	_, err = io.Copy(p.stdin, content)
	err = errors.Join(err, p.stdin.Close())
	r, werr := p.Wait()
	if err = errors.Join(werr, err); err == nil && r.Code != 0 {
		err = errors.New(strings.TrimSpace(r.Stderr))
	}
	if err != nil {
		return fmt.Errorf("cannot write %s in the guest: %w", path, err)
	}
	return nil
}

// Read returns a file of the guest.
func (g *Guest) Read(ctx context.Context, path string) ([]byte, error) {
	r, err := g.Exec(ctx, "cat", path)
	if err != nil {
		return nil, err
	}
	if r.Code != 0 {
		return nil, fmt.Errorf("cannot read %s in the guest: %s", path, strings.TrimSpace(r.Stderr))
	}
	return []byte(r.Stdout), nil
}

// DiskUsed is how many bytes a folder of the guest takes, counting hard links once.
func (g *Guest) DiskUsed(ctx context.Context, folder string) (int64, error) {
	r, err := g.Exec(ctx, "du", "-sx", "--block-size=1", folder)
	if err != nil {
		return 0, err
	}
	word, _, _ := strings.Cut(r.Stdout, "\t")
	n, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("cannot measure %s in the guest: %s", folder, strings.TrimSpace(r.Output()))
	}
	return n, nil
}

// Running finds the guest's processes whose program has this name, as this machine numbers them.
func (g *Guest) Running(name string) ([]int, error) {
	g.mu.Lock()
	leader := g.leader
	g.mu.Unlock()
	if leader <= 1 {
		return nil, nil
	}
	ours, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", leader))
	if err != nil {
		return nil, err
	}
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, folder := range folders {
		if ns, err := os.Readlink(folder + "/ns/pid"); err != nil || ns != ours {
			continue // another guest's, or gone meanwhile
		}
		exe, err := os.Readlink(folder + "/exe")
		if err != nil || strings.TrimSuffix(filepath.Base(exe), " (deleted)") != name {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(folder)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// SignalAll sends a signal to every process of the guest whose program has this name, and says how many those were.
func (g *Guest) SignalAll(name string, sig syscall.Signal) (int, error) {
	pids, err := g.Running(name)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, pid := range pids {
		err := unix.Kill(pid, sig)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return n, err
		}
		if err == nil {
			n++
		}
	}
	return n, nil
}

// Journal returns the guest's journal of this boot, or the console's text where there is none to ask.
func (g *Guest) Journal(ctx context.Context, args ...string) string {
	r, err := g.Exec(ctx, append([]string{"journalctl", "--no-pager", "-b"}, args...)...)
	if err != nil || r.Code != 0 {
		return g.consoleTail()
	}
	return r.Stdout
}

// Path is where this machine sees a file of the guest. It holds for what is on the guest's own disk, not for what it has mounted
// (/run, /tmp, small file systems); symbolic links are not to be followed from here.
func (g *Guest) Path(path string) string { return filepath.Join(g.folder, "root", path) }

// Follow copies what the process writes to both streams, as it comes, until it has ended.
func (p *Process) Follow(w io.Writer) error {
	seen := [2]int{}
	for {
		ended := false
		select {
		case <-p.done:
			ended = true
		case <-time.After(100 * time.Millisecond):
		}
		for n, text := range []string{p.out.String(), p.err.String()} {
			if _, err := io.WriteString(w, text[seen[n]:]); err != nil {
				return err
			}
			seen[n] = len(text)
		}
		if ended {
			return nil
		}
	}
}
