package check

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host/hosttest"
	"tljh/internal/layout"
)

const (
	tcpHeader = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	any80     = "   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0\n"
	local971  = "   1: 0100007F:03CB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000000000000000 100 0 0 10 0\n"
	open80    = "   2: 0100007F:0050 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4713 1 0000000000000000 100 0 0 10 0\n"
	any6      = "   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4714 1\n"
	local6    = "   1: 00000000000000000000000001000000:03CB 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4715 1\n"
)

// process makes a process that holds a socket.
func (m *machine) process(pid, name, cgroup, inode string) {
	m.put("/proc/"+pid+"/comm", name+"\n")
	m.put("/proc/"+pid+"/cgroup", cgroup+"\n")
	m.link("socket:["+inode+"]", "/proc/"+pid+"/fd/6")
	m.link("/dev/null", "/proc/"+pid+"/fd/0")
}

func TestPortHeldByAService(t *testing.T) {
	m := newMachine(t)
	m.put("/proc/net/tcp", tcpHeader+any80+open80)
	m.put("/proc/net/tcp6", tcpHeader+any6)
	m.process("812", "nginx", "0::/system.slice/nginx.service", "4711")
	m.link("socket:[4714]", "/proc/812/fd/7")
	finding := m.finds("ports", Failed)
	assert.Equal(t, "port 80 is taken by nginx (process 812, nginx.service)", finding.Message)
	assert.Equal(t, "stop it and keep it from starting again: systemctl disable --now nginx.service; or give the hub another port (http.port in its config)", finding.Hint)
}

func TestPortHeldByOthers(t *testing.T) {
	for _, test := range []struct {
		name, program, cgroup, words string
	}{
		{"version 1 groups", "apache2", "2:memory:/\n1:name=systemd:/system.slice/apache2.service", "apache2.service"},
		{"a container", "docker-proxy", "0::/", "docker ps"},
		{"a session", "python3", "0::/user.slice/user-0.slice/session-3.scope", "kill 812"},
		{"nothing known", "", "", "a program (process 812)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			m.put("/proc/net/tcp", tcpHeader+any80)
			m.process("812", test.program, test.cgroup, "4711")
			m.finds("ports", Failed, test.words)
		})
	}
	m := newMachine(t)
	m.put("/proc/net/tcp", tcpHeader+any80)
	m.finds("ports", Failed, "a program that can't be told")
}

func TestInternalPorts(t *testing.T) {
	m := newMachine(t)
	m.put("/proc/net/tcp", tcpHeader+local971)
	finding := m.finds("ports", Failed, "port 971 is taken")
	assert.NotContains(t, finding.Hint, "another port", "those can't be changed")

	m = newMachine(t)
	m.put("/proc/net/tcp6", tcpHeader+local6)
	m.finds("ports", OK, "80, 971, 972, 973 are free") // ::1 is none of ours
}

func TestOurOwnUnitsMayHoldTheirPorts(t *testing.T) {
	socket := func(t *testing.T, unit string) *machine {
		m := newMachine(t)
		m.put("/proc/net/tcp", tcpHeader+any80+local971)
		m.process("1", "systemd", "0::/init.scope", "4711")
		m.process("900", "python3", "0::/system.slice/jupyterhub.service", "4712")
		m.runner.On(hosttest.Answer{Stdout: "[::]:22 ssh.socket ssh.service\n0.0.0.0:80 " + unit + " x.service\n/run/dbus/system_bus_socket dbus.socket dbus.service\n"},
			"systemctl", "list-sockets")
		return m
	}
	m := socket(t, layout.EdgeSocket)
	m.finds("ports", Failed, layout.EdgeSocket) // named as ours, but there is no installation
	m.put(layout.Receipt, "{}\n")
	m.finds("ports", OK, "are ours")

	m = socket(t, layout.EdgeSocket)
	m.mkdir(layout.Generations) // its receipt is lost
	m.finds("ports", OK, "are ours")

	m = socket(t, "other.socket")
	m.put(layout.Receipt, "{}\n")
	finding := m.finds("ports", Failed, "systemctl disable --now other.socket")
	assert.Equal(t, "port 80 is taken by systemd (process 1, other.socket)", finding.Message)
}

func TestPortsThatCannotBeRead(t *testing.T) {
	m := newMachine(t)
	require.NoError(t, os.Remove(m.path("/proc/net/tcp")))
	m.finds("ports", Warning, "ss -ltn")
}

func TestClashes(t *testing.T) {
	for _, test := range []struct {
		has     string
		address string
		want    bool
	}{
		{"0.0.0.0:80", "", true}, {"0.0.0.0:80", "0.0.0.0", true}, {"0.0.0.0:80", "10.0.0.1", true}, {"10.0.0.1:80", "10.0.0.1", true},
		{"10.0.0.2:80", "10.0.0.1", false}, {"10.0.0.2:80", "", true}, {"10.0.0.2:80", "::", true}, {"[::]:80", "127.0.0.1", true}, {"[::1]:80", "127.0.0.1", false},
		{"0.0.0.0:80", "::1", false}, {"0.0.0.0:81", "", false}, {"127.0.0.1:80", "::ffff:127.0.0.1", true},
	} {
		assert.Equal(t, test.want, clashes(netip.MustParseAddrPort(test.has), endpoint{test.address, 80}), "%s and %q", test.has, test.address)
	}
}

func TestParseTCP(t *testing.T) {
	assert.Equal(t, []listener{{netip.MustParseAddrPort("0.0.0.0:80"), "4711"}, {netip.MustParseAddrPort("127.0.0.1:971"), "4712"}},
		parseTCP(tcpHeader+any80+open80+local971))
	assert.Equal(t, []listener{{netip.MustParseAddrPort("[::]:80"), "4714"}, {netip.MustParseAddrPort("[::1]:971"), "4715"}}, parseTCP(tcpHeader+any6+local6))
}

func FuzzParseTCP(f *testing.F) {
	for _, seed := range []string{"", tcpHeader, tcpHeader + any80 + open80, any6 + local6, "0: 0:50 0 0A 0 0 0 0 0 1", ": :::: 0A\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		found := parseTCP(text)
		if len(found) > strings.Count(text, stateListen) {
			t.Errorf("%d listeners from %d lines of listeners", len(found), strings.Count(text, stateListen))
		}
		for _, l := range found {
			if !l.Address.IsValid() || l.Inode == "" || l.Address.Addr().Is4In6() {
				t.Errorf("made up %v", l)
			}
			if again := parseTCP(text + "\n" + any80); len(again) < len(found) {
				t.Errorf("a line more made it fewer: %d, %d", len(again), len(found))
			}
		}
	})
}

func TestParseLocks(t *testing.T) {
	text := "1: POSIX  ADVISORY  WRITE 300 00:1a:10 0 EOF\n2: FLOCK  ADVISORY  WRITE 4711 00:1a:1234 0 EOF\n2: -> FLOCK  ADVISORY  WRITE 4712 00:1a:1234 0 EOF\n" +
		"3: FLOCK  ADVISORY  READ  5 fd:01:77 0 EOF\n4: FLOCK ADVISORY WRITE x 00:zz:1 0 EOF\n"
	assert.Equal(t, []fileLock{{4711, 0x1a, 1234}, {5, 0xfd01, 77}}, parseLocks(text))
}

func FuzzParseLocks(f *testing.F) {
	f.Add("2: FLOCK  ADVISORY  WRITE 4711 00:1a:1234 0 EOF\n")
	f.Add("2: -> FLOCK\n: FLOCK 1 2 3 4:5\n")
	f.Fuzz(func(t *testing.T, text string) {
		if found := parseLocks(text); len(found) > strings.Count(text, "FLOCK") {
			t.Errorf("made up locks: %v", found)
		}
	})
}

func TestAPortThatAnotherProgramHas(t *testing.T) {
	m := newMachine(t)
	const ssh = "   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0\n"
	m.put("/proc/net/tcp", tcpHeader+ssh+local971)
	m.process("812", "sshd", "0::/system.slice/ssh.service", "4711")
	m.process("813", "python3", "0::/system.slice/"+layout.HubUnit, "4712")
	assert.Equal(t, &Taken{Port: 22, By: "sshd (process 812, ssh.service)", Free: 8080}, PortTaken(t.Context(), m.Host, "", 22, 8443))
	assert.Nil(t, PortTaken(t.Context(), m.Host, "", 8443))
	m.put("/proc/812/cgroup", "0::/system.slice/"+layout.EdgeUnit+"\n")
	assert.Nil(t, PortTaken(t.Context(), m.Host, "", 22), "it is the edge's already")
}

func TestAddressesOfOtherMachines(t *testing.T) {
	own := ""
	addresses, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for _, each := range addresses {
		if ip, ok := each.(*net.IPNet); ok && !ip.IP.IsLoopback() {
			own = ip.IP.String()
		}
	}
	for _, address := range []string{"", "0.0.0.0", "::", "127.0.0.1", "127.0.0.9", "::1", own} {
		assert.False(t, Lacks(address), address)
	}
	m := newMachine(t)
	m.Address, m.SecureAddress = own, "203.0.113.9"
	m.finds("addresses", OK, "this machine's")
	m.SecurePort = 443
	m.finds("addresses", Failed, "no network interface of this machine has the address 203.0.113.9 (https.address", "ip address")
	m.Address, m.Installed = "2001:db8::9", true
	m.finds("addresses", Warning, "2001:db8::9 (http.address", "config unset http.address --reload")
}
