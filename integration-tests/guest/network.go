package guest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// names derived from a guest's number, so that they can be removed knowing nothing else.
func namespaceName(n int) string { return fmt.Sprintf("tljh-guest-%d", n) }
func vethName(n int) string      { return fmt.Sprintf("tljhg%d", n) }
func tableName(n int) string     { return fmt.Sprintf("tljh_guest_%d", n) }
func hostAddress(n int) string   { return fmt.Sprintf("10.99.%d.1", n) }
func guestAddress(n int) string  { return fmt.Sprintf("10.99.%d.2", n) }

// addressTaken says whether this machine already has an address in the network of guest n.
func addressTaken(n int) (bool, error) {
	ours := netip.MustParsePrefix(fmt.Sprintf("10.99.%d.0/24", n))
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false, fmt.Errorf("cannot list this machine's addresses: %w", err)
	}
	for _, addr := range addrs {
		if prefix, err := netip.ParsePrefix(addr.String()); err == nil && prefix.Overlaps(ours) {
			return true, nil
		}
	}
	return false, nil
}

// networkUp makes the namespace and the wire to it; unless the guest is to be offline, also the way out through this machine.
func networkUp(ctx context.Context, n int, offline bool) error {
	ns, veth := namespaceName(n), vethName(n)
	steps := [][]string{
		{"ip", "netns", "add", ns},
		{"ip", "link", "add", veth, "type", "veth", "peer", "name", "host0", "netns", ns},
		{"ip", "addr", "add", hostAddress(n) + "/24", "dev", veth},
		{"ip", "link", "set", veth, "up"},
		{"ip", "-n", ns, "addr", "add", guestAddress(n) + "/24", "dev", "host0"},
		{"ip", "-n", ns, "link", "set", "host0", "up"},
		{"ip", "-n", ns, "link", "set", "lo", "up"},
	}
	if !offline {
		steps = append(steps, []string{"ip", "-n", ns, "route", "add", "default", "via", hostAddress(n)})
	}
	for _, step := range steps {
		if err := run(ctx, nil, step...); err != nil {
			return fmt.Errorf("cannot make the guest's network: %w", err)
		}
	}
	if offline {
		return nil
	}
	upstream, err := defaultInterface()
	if err != nil {
		return err
	}
	if err := forward(ctx, upstream, veth); err != nil {
		return err
	}
	rules := fmt.Sprintf("table ip %s {\n chain post {\n  type nat hook postrouting priority 100;\n  ip saddr 10.99.%d.0/24 oifname %q masquerade\n }\n}\n",
		tableName(n), n, upstream)
	if err := run(ctx, []byte(rules), "nft", "-f", "-"); err != nil {
		return fmt.Errorf("cannot let the guest out: %w", err)
	}
	return nil
}

// networkDown removes what networkUp made, as far as it got.
func networkDown(ctx context.Context, n int) error {
	var errs []error
	if exists(ctx, "nft", "list", "table", "ip", tableName(n)) {
		errs = append(errs, run(ctx, nil, "nft", "delete", "table", "ip", tableName(n)))
	}
	if _, err := net.InterfaceByName(vethName(n)); err == nil {
		errs = append(errs, run(ctx, nil, "ip", "link", "del", vethName(n)))
	}
	if _, err := os.Stat(filepath.Join("/run/netns", namespaceName(n))); err == nil {
		errs = append(errs, run(ctx, nil, "ip", "netns", "del", namespaceName(n)))
	}
	errs = append(errs, restoreForwarding(ctx, n))
	return errors.Join(errs...)
}

// defaultInterface finds the interface of the default route with the lowest metric.
func defaultInterface() (string, error) {
	f, err := os.Open("/proc/thread-self/net/route") // the first thread may be one that entered a guest's network
	if err != nil {
		return "", fmt.Errorf("cannot read the routes: %w", err)
	}
	defer f.Close()
	best, bestMetric := "", 0
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		fields := strings.Fields(scanner.Text())
		if len(fields) < 8 || fields[1] != "00000000" || fields[7] != "00000000" {
			continue
		}
		metric, err := strconv.Atoi(fields[6])
		if err != nil {
			continue
		}
		if best == "" || metric < bestMetric {
			best, bestMetric = fields[0], metric
		}
	}
	if best == "" {
		return "", errors.New("cannot let guests out: this machine has no default route")
	}
	return best, scanner.Err()
}

func forwardingSetting(iface string) string {
	return filepath.Join("/proc/sys/net/ipv4/conf", iface, "forwarding")
}

const forwardRecords = "forward-" // + interface: what its setting was before the first guest

// forward lets packets pass between the guest's wire and the way out, and remembers what the machine's own setting was.
func forward(ctx context.Context, upstream, veth string) error {
	lock, err := lockWait(ctx, filepath.Join(runDir, "forward.lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	setting := forwardingSetting(upstream)
	saved := filepath.Join(runDir, forwardRecords+upstream)
	if _, err := os.Stat(saved); errors.Is(err, os.ErrNotExist) {
		if err := copyFile(setting, saved); err != nil {
			return fmt.Errorf("cannot save the forwarding setting: %w", err)
		}
	}
	for _, path := range []string{setting, forwardingSetting(veth)} {
		if err := os.WriteFile(path, []byte("1"), 0o644); err != nil {
			return fmt.Errorf("cannot forward packets of guests: %w", err)
		}
	}
	return nil
}

// restoreForwarding puts the machine's setting back when guest n was the last one.
func restoreForwarding(ctx context.Context, n int) error {
	lock, err := lockWait(ctx, filepath.Join(runDir, "forward.lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	records, err := filepath.Glob(filepath.Join(runDir, "*.json"))
	if err != nil {
		return err
	}
	for _, path := range records {
		if path != recordPath(n) {
			return nil // another guest still needs it
		}
	}
	saved, err := filepath.Glob(filepath.Join(runDir, forwardRecords+"*"))
	if err != nil {
		return err
	}
	for _, path := range saved {
		iface := strings.TrimPrefix(filepath.Base(path), forwardRecords)
		if iface == "lock" || strings.HasSuffix(path, ".lock") {
			continue
		}
		if _, err := net.InterfaceByName(iface); err == nil {
			if err := copyFile(path, forwardingSetting(iface)); err != nil {
				return fmt.Errorf("cannot restore the forwarding setting: %w", err)
			}
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

// hostResolvConf is a resolv.conf that also works in another network namespace: not the one of a resolver on loopback.
func hostResolvConf() ([]byte, error) {
	for _, path := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		data, err := os.ReadFile(path)
		if err == nil && !bytes.Contains(data, []byte("nameserver 127.")) {
			return data, nil
		}
	}
	return nil, errors.New("cannot find a name server that guests can reach: /etc/resolv.conf names one on loopback")
}

// inNamespace runs f on a thread that is in the guest's network namespace. Sockets made there stay there.
func inNamespace(n int, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: a thread that could not be brought back must end with this goroutine
		done <- func() error {
			ns, err := os.Open(filepath.Join("/run/netns", namespaceName(n)))
			if err != nil {
				return err
			}
			defer ns.Close()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("cannot enter the guest's network: %w", err)
			}
			return f()
		}()
	}()
	return <-done
}

// Address is the guest's address, reachable from this machine.
func (g *Guest) Address() string { return guestAddress(g.number) }

// Gateway is this machine's address on the guest's wire: a server that listens there is reachable from the guest.
func (g *Guest) Gateway() string { return hostAddress(g.number) }

// Interface is this machine's end of the guest's wire.
func (g *Guest) Interface() string { return vethName(g.number) }

// DialContext connects from inside the guest's network, so that the guest's own loopback can be reached too.
func (g *Guest) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := inNamespace(g.number, func() (err error) {
		conn, err = (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, network, address) // one attempt, on this very thread
		return err
	})
	return conn, err
}

// Listen opens a server socket inside the guest's network, for instance on its loopback.
func (g *Guest) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	var ln net.Listener
	err := inNamespace(g.number, func() (err error) {
		ln, err = (&net.ListenConfig{}).Listen(ctx, network, address)
		return err
	})
	return ln, err
}

// Received is how many bytes have come over the guest's wire since it was made.
func (g *Guest) Received() (int64, error) {
	data, err := os.ReadFile(filepath.Join("/sys/class/net", vethName(g.number), "statistics/tx_bytes")) // what this end sends
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
}

// run runs a command of this machine and puts what it said into the error.
func run(ctx context.Context, stdin []byte, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func exists(ctx context.Context, argv ...string) bool {
	return exec.CommandContext(ctx, argv[0], argv[1:]...).Run() == nil
}
