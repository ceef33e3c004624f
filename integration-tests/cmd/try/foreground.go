package main

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// foreground gives the terminal to this process alone, where it has one: Ctrl-C then ends neither make, which would call it an error, nor what reads our output
// through a pipe. The function that it returns gives the terminal back.
func foreground() func() {
	nothing := func() {}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nothing
	}
	fd := int(tty.Fd())
	before, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	if err != nil || before != unix.Getpgrp() || syscall.Setpgid(0, 0) != nil {
		_ = tty.Close()
		return nothing
	}
	signal.Ignore(syscall.SIGTTOU) // which a process gets that takes the terminal from behind
	_ = unix.IoctlSetPointerInt(fd, unix.TIOCSPGRP, os.Getpid())
	return func() {
		_ = unix.IoctlSetPointerInt(fd, unix.TIOCSPGRP, before)
		_ = tty.Close()
	}
}
