package firewall

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// namespace is a network of its own, on a thread of its own.
type namespace struct {
	work chan func()
	tid  int
}

func newNamespace(t *testing.T) *namespace {
	t.Helper()
	n := &namespace{work: make(chan func())}
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this function
		n.tid = unix.Gettid()
		failed <- unix.Unshare(unix.CLONE_NEWNET)
		for work := range n.work {
			work()
		}
	}()
	if err := <-failed; err != nil {
		t.Skipf("no network of its own for this test: %v", err)
	}
	t.Cleanup(func() { close(n.work) })
	return n
}

func (n *namespace) do(work func()) {
	done := make(chan struct{})
	n.work <- func() { defer close(done); work() }
	<-done
}

func (n *namespace) ip(t *testing.T, line string) {
	t.Helper()
	n.do(func() {
		out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput()
		require.NoError(t, err, "%s: %s", line, out)
	})
}

// as runs work with sockets that belong to a user.
func (n *namespace) as(user int, work func()) {
	n.do(func() {
		_ = unix.Setfsuid(user)
		defer func() { _ = unix.Setfsuid(0) }()
		work()
	})
}

func (n *namespace) listen(t *testing.T, user int, address string, backlog int) *net.TCPListener {
	t.Helper()
	var listener net.Listener
	n.as(user, func() {
		wanted, err := net.ResolveTCPAddr("tcp", address)
		require.NoError(t, err)
		family, place := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: wanted.Port})
		if ip := wanted.IP.To4(); ip != nil {
			family, place = unix.AF_INET, &unix.SockaddrInet4{Port: wanted.Port, Addr: [4]byte(ip)}
		}
		socket, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		require.NoError(t, unix.Bind(socket, place))
		require.NoError(t, unix.Listen(socket, backlog))
		file := os.NewFile(uintptr(socket), address)
		defer file.Close()
		listener, err = net.FileListener(file)
		require.NoError(t, err)
	})
	t.Cleanup(func() { _ = listener.Close() })
	return listener.(*net.TCPListener)
}

func (n *namespace) reaches(user int, address string, patience time.Duration) (reached bool) {
	n.as(user, func() {
		wanted, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			return
		}
		family, place := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: wanted.Port, Addr: [16]byte(wanted.IP.To16())})
		if ip := wanted.IP.To4(); ip != nil {
			family, place = unix.AF_INET, &unix.SockaddrInet4{Port: wanted.Port, Addr: [4]byte(ip)}
		}
		socket, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return
		}
		defer unix.Close(socket)
		if err = unix.Connect(socket, place); err != nil && err != unix.EINPROGRESS {
			return
		}
		poll := []unix.PollFd{{Fd: int32(socket), Events: unix.POLLOUT}}
		if ready, _ := unix.Poll(poll, int(patience.Milliseconds())); ready == 1 {
			code, _ := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_ERROR)
			reached = code == 0
		}
	})
	return reached
}

// connected returns two machines with a line between them: 10.77.0.1 and .2, fd77::1 and ::2.
func connected(t *testing.T) (machine, visitor *namespace) {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil || os.Getuid() != 0 {
		t.Skip("needs root and ip")
	}
	machine, visitor = newNamespace(t), newNamespace(t)
	machine.ip(t, "link set lo up")
	machine.ip(t, "link add out type veth peer name in netns "+strconv.Itoa(visitor.tid))
	for side, name := range map[*namespace]string{machine: "out", visitor: "in"} {
		number := map[string]int{"out": 1, "in": 2}[name]
		side.ip(t, fmt.Sprintf("addr add 10.77.0.%d/24 dev %s", number, name))
		side.ip(t, fmt.Sprintf("addr add fd77::%d/64 dev %s nodad", number, name))
		side.ip(t, "link set "+name+" up")
	}
	return machine, visitor
}

func TestUsersAreNotReachedFromOutside(t *testing.T) {
	const student, long, short = 12345, 5 * time.Second, 300 * time.Millisecond
	machine, visitor := connected(t)
	other := &nftables.Table{Family: nftables.TableFamilyINet, Name: "admins"}
	enter := func() (plan Plan) {
		machine.do(func() {
			var err error
			plan, err = Apply(Plan{Users: []uint32{student, student, 7}})
			require.NoError(t, err)
		})
		return plan
	}
	machine.do(func() {
		conn, err := nftables.New()
		require.NoError(t, err)
		conn.AddTable(other)
		if err := conn.Flush(); err != nil {
			t.Skipf("this kernel has no nf_tables: %v", err)
		}
	})
	before := machine.listen(t, student, "0.0.0.0:18998", 8)
	require.True(t, visitor.reaches(0, "10.77.0.1:18998", long))
	_ = before.Close()

	require.Equal(t, []uint32{7, student}, enter().Users)
	enter() // as often as one likes
	machine.listen(t, student, "0.0.0.0:18999", 8)
	machine.listen(t, student, "[::]:18997", 8)
	machine.listen(t, 0, "0.0.0.0:19000", 8)
	visitor.listen(t, 0, "0.0.0.0:80", 8)
	for address, want := range map[string]bool{"10.77.0.1:18999": false, "[fd77::1]:18997": false, "10.77.0.1:18997": false, "10.77.0.1:19000": true} {
		patience := short
		if want {
			patience = long
		}
		require.Equal(t, want, visitor.reaches(0, address, patience), address)
	}
	for _, address := range []string{"127.0.0.1:18999", "10.77.0.1:18999", "[::1]:18997"} {
		require.True(t, machine.reaches(student, address, long), "%s, from the machine itself", address)
	}
	require.True(t, machine.reaches(student, "10.77.0.2:80", long), "the way out")

	t.Run("a flooded port takes no connection either", func(t *testing.T) {
		// Once a port has more half-open connections than it can hold, the kernel answers with cookies, by which nobody can tell whose port it is.
		flooded := machine.listen(t, student, "0.0.0.0:18996", 1)
		for n := range 40 {
			require.False(t, visitor.reaches(0, "10.77.0.1:18996", 20*time.Millisecond), "attempt %d", n)
			if n == 20 {
				enter() // what is known of ports stays
			}
		}
		require.NoError(t, flooded.SetDeadline(time.Now().Add(short)))
		_, err := flooded.Accept()
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	})
	machine.do(func() {
		require.NoError(t, Remove())
		require.NoError(t, Remove(), "there is none any more")
		conn, err := nftables.New()
		require.NoError(t, err)
		tables, err := conn.ListTables()
		require.NoError(t, err)
		require.Len(t, tables, 1, "the tables of others stay")
		require.Equal(t, other.Name, tables[0].Name)
	})
	require.True(t, visitor.reaches(0, "10.77.0.1:18999", long))
}
