package check

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tljh/internal/host"
	"tljh/internal/layout"
)

// listener is a socket that waits for connections.
type listener struct {
	Address netip.AddrPort
	Inode   string
}

const stateListen = "0A"

// parseTCP reads /proc/net/tcp or tcp6: one socket a line; its second field is the local address, the fourth its state, the
// tenth its inode. What it can't read it passes over.
func parseTCP(text string) []listener {
	var found []listener
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || fields[3] != stateListen {
			continue
		}
		if address, ok := parseAddress(fields[1]); ok {
			found = append(found, listener{address, fields[9]})
		}
	}
	return found
}

// parseAddress reads "0100007F:0050": 32-bit words in the machine's (little-endian) order, and the port.
func parseAddress(text string) (netip.AddrPort, bool) {
	digits, portDigits, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(digits)
	port, portErr := strconv.ParseUint(portDigits, 16, 16)
	if err != nil || portErr != nil || len(raw) != 4 && len(raw) != 16 {
		return netip.AddrPort{}, false
	}
	for word := 0; word < len(raw); word += 4 {
		slices.Reverse(raw[word : word+4])
	}
	address, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(address.Unmap(), uint16(port)), true
}

// clashes tells whether a socket at has keeps another from listening at want. One at :: takes IPv4's connections, too.
func clashes(has netip.AddrPort, want endpoint) bool {
	if int(has.Port()) != want.Port {
		return false
	}
	address, err := netip.ParseAddr(want.Address)
	if err != nil || address.IsUnspecified() || has.Addr() == netip.IPv6Unspecified() {
		return true
	}
	return has.Addr() == address.Unmap() || has.Addr().IsUnspecified() && address.Unmap().Is4()
}

// endpoint is where a unit of ours is to listen; an empty or unspecified address is all addresses.
type endpoint struct {
	Address string
	Port    int
}

func (e *Env) public() endpoint { return endpoint{e.Address, e.Port} }

func (e *Env) secure() endpoint { return endpoint{e.SecureAddress, e.SecurePort} }

func (e *Env) users() endpoint { return endpoint{e.UserAddress, e.UserPort} }

func (e *Env) endpoints() []endpoint {
	wanted := []endpoint{e.public()}
	if e.SecurePort != 0 {
		wanted = append(wanted, e.secure())
	}
	if e.UserPort != 0 {
		wanted = append(wanted, e.users())
	}
	for _, text := range layout.InternalAddresses {
		address := netip.MustParseAddrPort(text)
		wanted = append(wanted, endpoint{address.Addr().String(), int(address.Port())})
	}
	return wanted
}

// Lacks reports whether no network interface of this machine has an address. Without an address, and where it cannot be told, it is false.
func Lacks(address string) bool {
	wanted, err := netip.ParseAddr(address)
	if err != nil || wanted.IsUnspecified() || wanted.IsLoopback() {
		return false
	}
	addresses, err := net.InterfaceAddrs()
	return err == nil && !slices.ContainsFunc(addresses, func(each net.Addr) bool {
		has, err := netip.ParsePrefix(each.String())
		return err == nil && has.Addr().Unmap() == wanted.Unmap().WithZone("")
	})
}

// Missing says that the machine lacks the address of a key of the config, and what to do about it.
func Missing(key, address string) (words, hint string) {
	return "no network interface of this machine has the address " + address + " (" + key + " of the config)",
		"write one that ip address shows, or take it out for all of them: sudo tljh-install config unset " + key + " --reload"
}

// checkAddresses looks for addresses that the edge could not be reached at.
func checkAddresses(_ context.Context, env *Env) Finding {
	for _, each := range []struct {
		key, address string
		used         bool
	}{{"http.address", env.Address, true}, {"https.address", env.SecureAddress, env.SecurePort != 0}} {
		if !each.used || !Lacks(each.address) {
			continue
		}
		words, hint := Missing(each.key, each.address)
		if env.Installed {
			return Warn(hint, "%s", words)
		}
		return Fail("write one that ip address shows into the config, or take the key out for all of them", "%s", words)
	}
	return Fine("those of the config are this machine's")
}

func checkPorts(ctx context.Context, env *Env) Finding {
	listeners, err := env.listeners()
	if err != nil {
		return Warn("see what this says: ss -ltn", "cannot find out which ports are taken: %v", err)
	}
	taken := env.taken(listeners)
	if len(taken) == 0 {
		return Fine("%s", env.portList()+" are free")
	}
	owners := env.owners(ctx, taken)
	var texts []string
	hint := ""
	for _, t := range taken {
		who := owners[t.listener.Inode]
		if env.begun() && slices.Contains(ourUnits, who.unit) || env.Older && slices.Contains(OlderUnits, who.unit) {
			continue
		}
		texts = append(texts, fmt.Sprintf("port %d is taken by %s", t.want.Port, who))
		if hint == "" {
			hint = env.portHint(t.want, who)
		}
	}
	if len(texts) == 0 {
		if env.Older {
			return Fine("%s", env.portList()+" are free, or the legacy hub's")
		}
		return Fine("%s", env.portList()+" are ours")
	}
	return Fail(hint, "%s", strings.Join(slices.Compact(texts), "; "))
}

// Taken is a port that another program has.
type Taken struct {
	Port int
	By   string // the program, for people
	Free int    // a port that nobody has
}

// PortTaken finds a program, other than ours, that keeps the edge from listening at an address and port. It is nil where there is none, or where that cannot be
// found out. Ports that are named are not proposed.
func PortTaken(ctx context.Context, h *host.Host, address string, port int, named ...int) *Taken {
	env := &Env{Host: h, Address: address, Port: port}
	listeners, err := env.listeners()
	if err != nil {
		return nil
	}
	taken := slices.DeleteFunc(env.taken(listeners), func(c clash) bool { return c.want != env.public() })
	owners := env.owners(ctx, taken)
	for _, t := range taken {
		who := owners[t.listener.Inode]
		if slices.Contains(ourUnits, who.unit) {
			continue
		}
		found := &Taken{Port: port, By: who.String()}
		for _, free := range []int{8443, 8080, 8444, 8081, 8445} {
			if !slices.Contains(named, free) && !slices.ContainsFunc(listeners, func(l listener) bool { return int(l.Address.Port()) == free }) {
				found.Free = free
				break
			}
		}
		return found
	}
	return nil
}

// OlderProxyUnit is the proxy of an older TLJH.
const OlderProxyUnit = "traefik.service"

// OlderUnits are those of an older TLJH, which is stopped before ours are started.
var OlderUnits = []string{layout.HubUnit, OlderProxyUnit}

var ourUnits = []string{layout.EdgeSocket, layout.EdgeUnit, layout.HubUnit, layout.ProxyUnit}

func (e *Env) portList() string {
	var ports []string
	for _, want := range e.endpoints() {
		ports = append(ports, strconv.Itoa(want.Port))
	}
	return "ports " + strings.Join(ports, ", ")
}

func (e *Env) portHint(want endpoint, who owner) string {
	stop := "stop that program"
	switch {
	case strings.HasSuffix(who.unit, ".service") || strings.HasSuffix(who.unit, ".socket"):
		stop = "stop it and keep it from starting again: systemctl disable --now " + who.unit
	case who.program == "docker-proxy":
		stop = "stop the container that publishes this port: docker ps"
	case who.pid != 0:
		stop = fmt.Sprintf("stop it: kill %d", who.pid)
	}
	if want == e.public() {
		return stop + "; or give the hub another port (http.port in its config)"
	}
	if want == e.secure() {
		return stop + "; or give the hub another port (https.port in its config)"
	}
	if want == e.users() {
		return stop + "; or give single-user servers another port (hub.user_port in its config)"
	}
	return stop
}

func (e *Env) listeners() ([]listener, error) {
	v4, err := e.Host.Files.Read("/proc/net/tcp")
	if err != nil {
		return nil, err
	}
	// A machine without IPv6 has no second file.
	v6, _ := e.Host.Files.Read("/proc/net/tcp6")
	return append(parseTCP(string(v4)), parseTCP(string(v6))...), nil
}

type clash struct {
	want     endpoint
	listener listener
}

func (e *Env) taken(listeners []listener) []clash {
	var taken []clash
	for _, want := range e.endpoints() {
		for _, l := range listeners {
			if clashes(l.Address, want) {
				taken = append(taken, clash{want, l})
			}
		}
	}
	return taken
}

// owner is the process that holds a socket.
type owner struct {
	pid           int
	program, unit string
}

func (o owner) String() string {
	if o.pid == 0 {
		return "a program that can't be told"
	}
	text := o.program
	if text == "" {
		text = "a program"
	}
	text += fmt.Sprintf(" (process %d", o.pid)
	if o.unit != "" {
		text += ", " + o.unit
	}
	return text + ")"
}

// owners finds who holds the sockets. One that systemd itself holds belongs to the socket unit that it made it for. Several
// processes can hold the same: the one with the lowest number is the one that opened it, most likely.
func (e *Env) owners(ctx context.Context, taken []clash) map[string]owner {
	wanted := map[string]clash{}
	for _, t := range taken {
		wanted[t.listener.Inode] = t
	}
	owners := map[string]owner{}
	for _, pid := range e.pids() {
		for _, inode := range e.sockets(pid) {
			t, want := wanted[inode]
			if _, known := owners[inode]; !want || known {
				continue
			}
			who := owner{pid, e.comm(pid), e.unitOf(pid)}
			if pid == 1 {
				who.unit = e.socketUnit(ctx, t.listener.Address)
			}
			owners[inode] = who
		}
	}
	return owners
}

func (e *Env) pids() []int {
	var pids []int
	names, _ := e.Host.Files.List("/proc")
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// sockets returns the inodes of the sockets that a process has open; a process that ends meanwhile has none.
func (e *Env) sockets(pid int) []string {
	var inodes []string
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	names, _ := e.Host.Files.List(dir)
	for _, name := range names {
		target, err := e.Host.Files.Readlink(path.Join(dir, name))
		if inode, isSocket := strings.CutPrefix(target, "socket:["); err == nil && isSocket {
			inodes = append(inodes, strings.TrimSuffix(inode, "]"))
		}
	}
	return inodes
}

func (e *Env) comm(pid int) string {
	name, _ := e.Host.Files.Read(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(name))
}

// unitOf reads the unit from a process's control group: the innermost service, or else scope, of its path.
func (e *Env) unitOf(pid int) string {
	data, _ := e.Host.Files.Read(fmt.Sprintf("/proc/%d/cgroup", pid))
	scope := ""
	for line := range strings.Lines(string(data)) {
		for part := range strings.SplitSeq(strings.TrimSpace(line), "/") {
			if strings.HasSuffix(part, ".service") {
				return part
			}
			if strings.HasSuffix(part, ".scope") && part != "init.scope" {
				scope = part
			}
		}
	}
	return scope
}

// socketUnit asks systemd which of its socket units listens at an address.
func (e *Env) socketUnit(ctx context.Context, address netip.AddrPort) string {
	result, err := e.Host.Runner.Run(ctx, host.Command{Argv: []string{"systemctl", "list-sockets", "--no-legend", "--no-pager", "--full"}})
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(result.Stdout)) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && strings.HasSuffix(fields[0], fmt.Sprintf(":%d", address.Port())) {
			return fields[1]
		}
	}
	return ""
}

// checkLock only looks: taking the lock, be it for a moment, could make another command believe that we are at work.
func checkLock(_ context.Context, env *Env) Finding {
	inode, device := env.inode(layout.Lock)
	if inode == 0 {
		return Fine("none")
	}
	locks, err := env.Host.Files.Read("/proc/locks")
	if err != nil {
		return Warn("", "cannot find out whether another installation is running: %v", err)
	}
	for _, lock := range parseLocks(string(locks)) {
		if lock.inode != inode || lock.device != device && !env.hasOpen(lock.pid, layout.Lock) {
			continue
		}
		note, _ := env.Host.Files.Read(layout.Lock)
		if strings.HasPrefix(string(note), layout.SnapshotNote) {
			return Fine("%s is being taken, which will be waited for", layout.SnapshotNote)
		}
		return Fail("wait until it has ended, then run the same command again", "another command is changing this installation: %s",
			lockHolder(lock.pid, env.comm(lock.pid), strings.TrimSpace(string(note))))
	}
	return Fine("none")
}

func lockHolder(pid int, program, note string) string {
	text := fmt.Sprintf("process %d", pid)
	if program != "" {
		text += " (" + program + ")"
	}
	if _, since, told := strings.Cut(note, " since "); told && strings.Contains(note, strconv.Itoa(pid)) {
		text += " since " + since
	}
	return text
}

// hasOpen helps where a file system counts its devices differently in stat(2) than in /proc/locks.
func (e *Env) hasOpen(pid int, p string) bool {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	names, _ := e.Host.Files.List(dir)
	return slices.ContainsFunc(names, func(name string) bool {
		target, _ := e.Host.Files.Readlink(path.Join(dir, name))
		return target == e.Host.Files.Path(p)
	})
}

type fileLock struct {
	pid           int
	device, inode uint64
}

// parseLocks reads the flock(2) locks that are held from /proc/locks: "1: FLOCK  ADVISORY  WRITE 4711 00:1a:1234 0 EOF". Lines with
// "->" are of those who wait for one.
func parseLocks(text string) []fileLock {
	var locks []fileLock
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 6 || fields[1] != "FLOCK" {
			continue
		}
		pid, err := strconv.Atoi(fields[4])
		where := strings.Split(fields[5], ":")
		if err != nil || len(where) != 3 {
			continue
		}
		major, majorErr := strconv.ParseUint(where[0], 16, 32)
		minor, minorErr := strconv.ParseUint(where[1], 16, 32)
		inode, inodeErr := strconv.ParseUint(where[2], 10, 64)
		if majorErr != nil || minorErr != nil || inodeErr != nil {
			continue
		}
		locks = append(locks, fileLock{pid, unix.Mkdev(uint32(major), uint32(minor)), inode})
	}
	return locks
}
