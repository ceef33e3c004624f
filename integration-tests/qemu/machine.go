// Package qemu makes throwaway machines with a kernel of their own, by QEMU: cgroup version 2, real reboots and power cuts. They are what a
// server is; without KVM they are also ten times slower than the guests of package guest, so they are for what only a real kernel can show.
package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tljh/integration-tests/guest"
)

// Tools are the programs this package calls, with the Debian package each comes from.
var Tools = map[string]string{
	"mmdebstrap":         "mmdebstrap",
	"mke2fs":             "e2fsprogs",
	"qemu-system-x86_64": "qemu-system-x86",
	"qemu-img":           "qemu-utils",
	"ssh":                "openssh-client",
	"ssh-keygen":         "openssh-client",
}

// Host is this machine's loopback as a machine sees it: what listens on 127.0.0.1 here is reachable at Host there.
const Host = "10.0.2.2"

// memory is in MiB, and part of what a frozen machine remembers.
const memory = 3072

// Machine is one of them. It is thawed from a frozen boot, and can be cut off and booted again from the same disk.
type Machine struct {
	base   *Base
	folder string
	ssh    int
	http   int
	cmd    *exec.Cmd
	exited chan struct{}
}

// Thaw makes a machine from a base: seconds after, it is booted.
func (b *Base) Thaw(ctx context.Context) (*Machine, error) {
	folder, err := os.MkdirTemp(filepath.Join(b.cache, "machines"), "machine-")
	if err != nil {
		return nil, fmt.Errorf("cannot make a machine: %w", err)
	}
	m := &Machine{base: b, folder: folder}
	b.mu.Lock()
	b.machines[m] = struct{}{}
	b.mu.Unlock()
	if err := m.thaw(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot thaw a machine: %w", err), m.Close())
	}
	return m, nil
}

func (m *Machine) thaw(ctx context.Context) error {
	// The owner's number tells a later run whether this folder is a leftover.
	if err := os.WriteFile(filepath.Join(m.folder, "owner"), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		return err
	}
	if err := run(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-b", filepath.Join(m.base.folder, "disk.qcow2"), "-F", "qcow2", m.disk()); err != nil {
		return err
	}
	if err := m.power("-incoming", "exec:cat "+filepath.Join(m.base.folder, "state")); err != nil {
		return err
	}
	if err := m.awaitSSH(ctx, 2*time.Minute); err != nil {
		return err
	}
	// Its clock still shows the moment it was frozen.
	err := m.must(ctx, fmt.Sprintf("date -s @%d", time.Now().Unix()))
	return err
}

func (m *Machine) disk() string { return filepath.Join(m.folder, "disk.qcow2") }

// power starts QEMU. What the machine flushed reaches the disk's file; what it did not is lost with QEMU, as in a power cut.
func (m *Machine) power(extra ...string) error {
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	m.ssh, m.http = ports[0], ports[1]
	args := []string{"-accel", m.base.accel, "-cpu", "max", "-smp", "2", "-m", strconv.Itoa(memory), "-nographic",
		"-monitor", "unix:" + filepath.Join(m.folder, "monitor") + ",server,nowait", "-serial", "file:" + filepath.Join(m.folder, "console.log"),
		"-kernel", filepath.Join(m.base.folder, "vmlinuz"), "-initrd", filepath.Join(m.base.folder, "initrd"),
		"-append", "root=/dev/vda rw console=ttyS0 quiet panic=1", "-drive", "file=" + m.disk() + ",if=virtio,cache=writeback",
		"-netdev", fmt.Sprintf("user,id=n0,hostfwd=tcp:127.0.0.1:%d-:22,hostfwd=tcp:127.0.0.1:%d-:80", m.ssh, m.http),
		"-device", "virtio-net-pci,netdev=n0,romfile=", "-device", "virtio-rng-pci", "-no-reboot"}
	out, err := os.OpenFile(filepath.Join(m.folder, "qemu.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command("qemu-system-x86_64", append(args, extra...)...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	m.base.mu.Lock()
	err = cmd.Start()
	exited := make(chan struct{})
	if err == nil {
		m.cmd, m.exited = cmd, exited
	}
	m.base.mu.Unlock()
	if err != nil {
		return err
	}
	go func() {
		_ = cmd.Wait() // it is killed, or its machine powers off
		close(exited)
	}()
	return nil
}

func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer ln.Close()
		ports[i] = ln.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

// URL leads to the machine's port 80.
func (m *Machine) URL() string { return fmt.Sprintf("http://127.0.0.1:%d", m.http) }

func (m *Machine) sshArgs(option string) []string {
	return []string{"-i", m.base.key, option, strconv.Itoa(m.ssh), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-o", "LogLevel=ERROR", "-o", "ConnectTimeout=15", "-o", "BatchMode=yes"}
}

// sshFailed is ssh's own exit code.
const sshFailed = 255

// Sh runs a script as root in the machine. The error says only that it could not be run or did not end in time.
func (m *Machine) Sh(ctx context.Context, script string) (guest.Result, error) {
	return m.pipe(ctx, script, nil)
}

func (m *Machine) pipe(ctx context.Context, script string, stdin io.Reader) (guest.Result, error) {
	start := time.Now()
	cmd := exec.CommandContext(ctx, "ssh", append(m.sshArgs("-p"), "root@127.0.0.1", script)...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	err := cmd.Run()
	r := guest.Result{Stdout: out.String(), Stderr: errs.String(), Took: time.Since(start)}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return r, fmt.Errorf("command in the machine did not end: %w", ctx.Err())
	case errors.As(err, &exit):
		r.Code = exit.ExitCode()
		if r.Code == sshFailed || r.Code < 0 {
			return r, fmt.Errorf("cannot reach the machine: %w: %s", err, strings.TrimSpace(r.Stderr))
		}
		return r, nil
	}
	return r, err
}

// Put writes a file into the machine.
func (m *Machine) Put(ctx context.Context, path string, content io.Reader) error {
	r, err := m.pipe(ctx, "cat > '"+path+"'", content)
	if err == nil && r.Code != 0 {
		err = errors.New(strings.TrimSpace(r.Stderr))
	}
	if err != nil {
		return fmt.Errorf("cannot write %s in the machine: %w", path, err)
	}
	return nil
}

func (m *Machine) must(ctx context.Context, script string) error {
	r, err := m.Sh(ctx, script)
	if err != nil {
		return err
	}
	if r.Code != 0 {
		return fmt.Errorf("%s: exit %d: %s", script, r.Code, r.Output())
	}
	return nil
}

func (m *Machine) awaitSSH(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	exited := m.exited
	go func() {
		select {
		case <-exited: // there is nothing more to wait for
			cancel()
		case <-ctx.Done():
		}
	}()
	err := guest.Poll(ctx, limit, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		err := m.must(ctx, "true")
		return err
	})
	select {
	case <-exited: // a kernel that panics reboots at once, which ends QEMU
		return fmt.Errorf("QEMU ended: %s", m.tail("qemu.log"))
	default:
		return err
	}
}

func (m *Machine) tail(name string) string {
	data, err := os.ReadFile(filepath.Join(m.folder, name))
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-2000):])
}

// Console is what the machine's kernel and systemd wrote last.
func (m *Machine) Console() string { return m.tail("console.log") }

// Cut is a power cut: what the machine had not written to its disk is gone.
func (m *Machine) Cut() error {
	if m.cmd == nil {
		return nil
	}
	if err := m.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("cannot cut the power: %w", err)
	}
	<-m.exited
	m.cmd = nil
	return nil
}

// Boot boots the machine's disk cold. The ports that lead to it are new ones.
func (m *Machine) Boot(ctx context.Context) error {
	var err error
	for range 3 {
		if err = m.power(); err != nil {
			break
		}
		if err = m.awaitSSH(ctx, 5*time.Minute); err == nil {
			return nil
		}
		err = fmt.Errorf("%w\n%s", err, m.Console())
		if !strings.Contains(err.Error(), emulatorPanic) {
			break
		}
		err = errors.Join(err, m.Cut())
	}
	return fmt.Errorf("cannot boot the machine: %w", err)
}

// emulatorPanic is what a kernel says when one processor runs an instruction that the other is changing, which QEMU's emulation does not
// always get right while a kernel boots. It is no fault of what is tested, so the machine is booted again.
const emulatorPanic = "Kernel panic - not syncing: Fatal exception"

// Reboot restarts the machine in order.
func (m *Machine) Reboot(ctx context.Context) error {
	if _, err := m.Sh(ctx, "systemctl reboot"); err != nil && ctx.Err() != nil {
		return err // otherwise the connection may have ended before the answer came
	}
	select { // told not to reboot, QEMU ends instead
	case <-m.exited:
		m.cmd = nil
	case <-time.After(3 * time.Minute):
		return errors.New("cannot reboot the machine: it does not shut down")
	case <-ctx.Done():
		return fmt.Errorf("cannot reboot the machine: %w", ctx.Err())
	}
	return m.Boot(ctx)
}

// Close ends the machine and removes its disk.
func (m *Machine) Close() error {
	err := errors.Join(m.Cut(), os.RemoveAll(m.folder))
	m.base.mu.Lock()
	delete(m.base.machines, m)
	m.base.mu.Unlock()
	return err
}

// sweepMachines removes the machines of runs that were killed.
func sweepMachines(dir string) error {
	owners, err := filepath.Glob(filepath.Join(dir, "*", "owner"))
	if err != nil {
		return err
	}
	for _, path := range owners {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // another run was faster
		}
		pid, err := strconv.Atoi(string(data))
		if err == nil && unix.Kill(pid, 0) == nil {
			continue
		}
		folder := filepath.Dir(path)
		if err := endQEMU(folder); err != nil {
			return err
		}
		if err := os.RemoveAll(folder); err != nil {
			return err
		}
	}
	return nil
}

// endQEMU kills the QEMU whose command line names a disk in our folder.
func endQEMU(folder string) error {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, path := range lines {
		data, err := os.ReadFile(path)
		if err != nil || !bytes.HasPrefix(data, []byte("qemu-system")) || !bytes.Contains(data, []byte("file="+folder+"/disk.qcow2")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

func run(ctx context.Context, argv ...string) error {
	if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
