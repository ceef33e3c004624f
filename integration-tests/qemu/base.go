package qemu

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tljh/integration-tests/guest"
)

// packages of a machine: a kernel, a way in for the tests, and else what a guest has too.
var packages = []string{"linux-image-cloud-amd64", "systemd", "systemd-sysv", "dbus", "sudo", "curl", "ca-certificates", "iproute2",
	"openssh-server"}

// baseFormat goes into the key of cached bases: raise it when what is done to one changes.
const baseFormat = 2

// Base is a booted machine, frozen, from which any number can be thawed.
type Base struct {
	cache  string
	folder string
	key    string // of ssh
	accel  string // what QEMU runs the machine's instructions by

	mu       sync.Mutex
	machines map[*Machine]struct{}
}

// CloseOnSignal ends all machines and then the process when it is interrupted or terminated. The returned function ends the watch.
func (b *Base) CloseOnSignal() (stop func()) {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		select {
		case <-ch:
			fmt.Fprintln(os.Stderr, "interrupted: ending the machines")
			b.mu.Lock() // never given back: nothing may be started any more
			for m := range b.machines {
				if m.cmd != nil {
					_ = m.cmd.Process.Kill() // it may have ended by itself
				}
				_ = os.RemoveAll(m.folder) // the next run looks again
			}
			os.Exit(130)
		case <-done:
		}
	}()
	return func() { signal.Stop(ch); close(done) }
}

// accelerator is KVM where QEMU starts with it; that /dev/kvm is there does not say so. A kernel may still not boot with it (seen where the
// host is a virtual machine itself), so a base that cannot be built with KVM is built without it.
func accelerator(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "kvm", "-cpu", "max", "-m", "64", "-S",
		"-display", "none", "-serial", "none", "-monitor", "stdio")
	cmd.Stdin = strings.NewReader("quit\n")
	if cmd.Run() == nil {
		return "kvm"
	}
	return emulated
}

// emulated is what runs everywhere, and ten times as long.
const emulated = "tcg,thread=multi"

// Open returns the base of a Debian suite. The first time it builds it, which takes some minutes.
func Open(ctx context.Context, suite string) (*Base, error) {
	if !noKVM.Load() && accelerator(ctx) == "kvm" {
		b, err := open(ctx, suite, "kvm")
		if err == nil || ctx.Err() != nil {
			return b, err
		}
		fmt.Fprintf(os.Stderr, "machines are emulated, as none was built with KVM: %v\n", err)
		noKVM.Store(true)
	}
	return open(ctx, suite, emulated)
}

// noKVM remembers, for the other tests of a run, that a kernel does not boot with KVM.
var noKVM atomic.Bool

func open(ctx context.Context, suite, accel string) (*Base, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("cannot build a machine: this needs root")
	}
	if err := guest.Need(Tools); err != nil {
		return nil, err
	}
	authorities, err := guest.Authorities()
	if err != nil {
		return nil, err
	}
	b := &Base{cache: filepath.Join(guest.CacheDir(), "qemu"), accel: accel, machines: map[*Machine]struct{}{}}
	sum := sha256.New()
	fmt.Fprintf(sum, "%d\n%s\n%s\n%d\n%s\n", baseFormat, suite, strings.Join(packages, ","), memory, b.accel)
	for _, block := range authorities {
		sum.Write(block)
	}
	b.folder = filepath.Join(b.cache, fmt.Sprintf("%s-%x", suite, sum.Sum(nil)[:6]))
	b.key = filepath.Join(b.folder, "key")
	if err := os.MkdirAll(filepath.Join(b.cache, "machines"), 0o700); err != nil {
		return nil, err
	}
	if err := sweepMachines(filepath.Join(b.cache, "machines")); err != nil {
		return nil, fmt.Errorf("cannot remove what an earlier run left: %w", err)
	}
	unlock, err := guest.Lock(ctx, filepath.Join(b.cache, suite+".lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	frozen := filepath.Join(b.folder, "frozen") // written last
	if _, err := os.Stat(frozen); err == nil {
		return b, nil
	}
	if err := b.build(ctx, suite, authorities); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot build a machine: %w", err), os.RemoveAll(b.folder))
	}
	return b, os.WriteFile(frozen, nil, 0o600)
}

func (b *Base) build(ctx context.Context, suite string, authorities [][]byte) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	if err := os.RemoveAll(b.folder); err != nil {
		return err
	}
	if err := os.MkdirAll(b.folder, 0o700); err != nil {
		return err
	}
	if err := run(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", b.key); err != nil {
		return err
	}
	root := filepath.Join(b.folder, "root")
	if err := run(ctx, "mmdebstrap", "--quiet", "--variant=minbase", "--include="+strings.Join(packages, ","), suite, root); err != nil {
		return err
	}
	if err := b.prepare(ctx, root, authorities); err != nil {
		return err
	}
	if err := b.image(ctx, root); err != nil {
		return err
	}
	return b.freeze(ctx)
}

// prepare writes into the root what the installer of an operating system would have written.
func (b *Base) prepare(ctx context.Context, root string, authorities [][]byte) error {
	if err := guest.PrepareRoot(ctx, root, authorities); err != nil {
		return err
	}
	key, err := os.ReadFile(b.key + ".pub")
	if err != nil {
		return err
	}
	files := map[string]string{
		"etc/resolv.conf": "nameserver 10.0.2.3\n",
		"etc/fstab":       "/dev/vda / ext4 rw 0 1\n",
		"etc/systemd/network/10-wire.network": "[Match]\nName=en* eth*\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\n" +
			"IPv6AcceptRA=no\nLinkLocalAddressing=no\n",
		"root/.ssh/authorized_keys": string(key),
	}
	if err := os.MkdirAll(filepath.Join(root, "root/.ssh"), 0o700); err != nil {
		return err
	}
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return run(ctx, "chroot", root, "systemctl", "--quiet", "enable", "systemd-networkd", "ssh")
}

// image makes a disk of the root, and puts the kernel beside it.
func (b *Base) image(ctx context.Context, root string) error {
	for pattern, name := range map[string]string{"vmlinuz-*": "vmlinuz", "initrd.img-*": "initrd"} {
		found, err := filepath.Glob(filepath.Join(root, "boot", pattern))
		if err != nil || len(found) != 1 {
			return fmt.Errorf("wanted one %s in the root, found %d: %w", name, len(found), err)
		}
		if err := run(ctx, "cp", found[0], filepath.Join(b.folder, name)); err != nil {
			return err
		}
	}
	raw := filepath.Join(b.folder, "base.img")
	if err := run(ctx, "mke2fs", "-q", "-t", "ext4", "-d", root, raw, "16G"); err != nil {
		return err
	}
	if err := os.RemoveAll(root); err != nil {
		return err
	}
	return run(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.img", "-F", "raw", filepath.Join(b.folder, "disk.qcow2"))
}

// freeze boots the disk and saves the whole machine as it then is.
func (b *Base) freeze(ctx context.Context) (err error) {
	m := &Machine{base: b, folder: b.folder}
	if err := m.power(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Cut()) }()
	limit := 10 * time.Minute
	if b.accel == "kvm" {
		limit = time.Minute // seconds are usual
	}
	if err := m.awaitSSH(ctx, limit); err != nil {
		return fmt.Errorf("%w\n%s", err, m.Console())
	}
	state, err := m.Sh(ctx, "systemctl is-system-running --wait; sync; echo 3 > /proc/sys/vm/drop_caches")
	if err != nil {
		return err
	}
	if word := strings.TrimSpace(state.Stdout); word != "running" {
		failed, err := m.Sh(ctx, "systemctl --failed --no-legend")
		return errors.Join(fmt.Errorf("it is %q after booting: %s", word, failed.Stdout), err)
	}
	saved := filepath.Join(b.folder, "state")
	return m.monitor(ctx, `migrate "exec:cat > `+saved+`"`, func() (bool, error) { return m.migrated(ctx) })
}

// monitor gives QEMU a command and waits until it is carried out.
func (m *Machine) monitor(ctx context.Context, command string, done func() (bool, error)) error {
	if _, err := m.ask(ctx, command, 10*time.Minute); err != nil {
		return err
	}
	return guest.Poll(ctx, 5*time.Minute, func(context.Context) error {
		ok, err := done()
		if err == nil && !ok {
			err = fmt.Errorf("QEMU has not carried out: %s", command)
		}
		return err
	})
}

func (m *Machine) migrated(ctx context.Context) (bool, error) {
	text, err := m.ask(ctx, "info migrate", time.Minute)
	if strings.Contains(text, "failed") {
		return false, errors.New("QEMU cannot save the machine")
	}
	return strings.Contains(text, "completed"), err
}

// ask gives QEMU's monitor one command and returns what it says up to its next prompt.
func (m *Machine) ask(ctx context.Context, command string, limit time.Duration) (string, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(m.folder, "monitor"))
	if err != nil {
		return "", fmt.Errorf("cannot reach QEMU's monitor: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return "", err
	}
	r := bufio.NewReader(conn)
	if _, err := untilPrompt(r); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintln(conn, command); err != nil {
		return "", err
	}
	return untilPrompt(r)
}

func untilPrompt(r *bufio.Reader) (string, error) {
	var text strings.Builder
	for !strings.HasSuffix(text.String(), "(qemu) ") {
		c, err := r.ReadByte()
		if err != nil {
			return text.String(), fmt.Errorf("QEMU's monitor does not answer: %w", err)
		}
		text.WriteByte(c)
	}
	return text.String(), nil
}
