package hosttest

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// ClosedPort returns a port of loopback that refuses connections until the test ends: it is taken, so that nobody else gets it, and nobody listens.
func ClosedPort(t testing.TB) (port int) {
	t.Helper()
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(socket) })
	if err := unix.Bind(socket, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(socket)
	if err != nil {
		t.Fatal(err)
	}
	address, _ := name.(*unix.SockaddrInet4)
	return address.Port
}

// ClosedAddress is an address of such a port.
func ClosedAddress(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", ClosedPort(t))
}
