package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if os.Getenv("TLJH_TRY_HELPER") == "" {
		os.Exit(m.Run())
	}
	signal.Ignore(syscall.SIGPIPE)
	back := foreground()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	fmt.Println("ready")
	<-ctx.Done()
	stop()
	fmt.Println("ending")
	back()
	fmt.Fprintln(os.Stderr, "ended")
	os.Exit(0)
}

// terminal opens a new one.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("there are no terminals here: %v", err)
	}
	t.Cleanup(func() { _ = master.Close() })
	fd := int(master.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// Ctrl-C at a terminal ends what is tried and nothing around it: make would say that it failed.
func TestInterruptedIsNoFailure(t *testing.T) {
	for name, line := range map[string]string{
		"alone":              `"$TLJH_TRY_HELPER"; echo "code $?"`,
		"through a pipe":     `set -o pipefail; "$TLJH_TRY_HELPER" | cat; echo "code $?"`,
		"the reader is gone": `set -o pipefail; "$TLJH_TRY_HELPER" | head -n 1; echo "code $?"`,
	} {
		t.Run(name, func(t *testing.T) {
			master, slave := terminal(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, "bash", "-c", line)
			cmd.Env = append(os.Environ(), "TLJH_TRY_HELPER="+os.Args[0])
			cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			_ = slave.Close()
			said, pressed := bytes.Buffer{}, false
			for buffer := make([]byte, 1024); ; {
				n, err := master.Read(buffer)
				said.Write(buffer[:n])
				if !pressed && strings.Contains(said.String(), "ready") {
					pressed = true
					_, _ = master.WriteString("\x03")
				}
				if err != nil {
					break // the terminal is nobody's any more
				}
			}
			if err := cmd.Wait(); err != nil || !strings.Contains(said.String(), "code 0") || !strings.Contains(said.String(), "ended") {
				t.Errorf("it ended with %v and said:\n%s", err, said.String())
			}
		})
	}
}

func TestOnlyTheAddressOfThisMachineIsShown(t *testing.T) {
	var shown bytes.Buffer
	u := &untilUp{to: &shown}
	for _, part := range []string{"done   start th", "e hub\n\nThe hub is up (24 s).\n\n  Open  http://10.99.1.2/\n"} {
		_, _ = u.Write([]byte(part))
	}
	if shown.String() != "done   start the hub\n\n" {
		t.Errorf("%q", shown.String())
	}
}
