// Command bench measures an installation against the bare floor: the same downloads and unpacking, done by curl, tar, pip, uv and npm
// alone and one after the other, from the same locks and in the same kind of guest. Both are measured in one run, by turns, so that
// the ratios hold on any machine and network.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"tljh/integration-tests/guest"
	"tljh/integration-tests/release"
)

func main() {
	rounds := flag.Int("rounds", 2, "how often both are measured; the best of each counts")
	suite := flag.String("suite", guest.Bookworm, "Debian `release` of the guests")
	strict := flag.Bool("strict", false, "fail when an aim is missed")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	missed, err := bench(ctx, *suite, *rounds)
	if err == nil && *strict && missed > 0 {
		err = fmt.Errorf("%d aims were missed", missed)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// figures are what is measured of one installation or of the floor.
type figures struct {
	install, second  time.Duration
	compiled         time.Duration // of the floor: with byte code
	received, disk   int64
	hub, proxy, edge int64 // bytes of memory
	packages         int   // of the distribution, that were added
	steps            []part
}

type part struct {
	name     string
	took     time.Duration
	received int64
}

func bench(ctx context.Context, suite string, rounds int) (missed int, err error) {
	dist := filepath.Join(guest.RepositoryRoot(), "dist")
	if err := release.Complete(dist); err != nil {
		return 0, fmt.Errorf("%w\nhint: run `make bench`, or `make dist` before", err)
	}
	lab, err := guest.OpenLab(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	kit, err := newKit(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, kit.Close()) }()
	var floors, installs []figures
	for round := range rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d: the floor\n", round+1, rounds)
		floor, err := in(ctx, lab, suite, dist, func(g *guest.Guest, url string) (figures, error) { return kit.floor(ctx, g, url) })
		if err != nil {
			return 0, fmt.Errorf("cannot measure the floor: %w", err)
		}
		fmt.Fprintf(os.Stderr, "round %d of %d: the installation\n", round+1, rounds)
		install, err := in(ctx, lab, suite, dist, func(g *guest.Guest, url string) (figures, error) { return install(ctx, g, url) })
		if err != nil {
			return 0, fmt.Errorf("cannot measure an installation: %w", err)
		}
		floors, installs = append(floors, floor), append(installs, install)
	}
	binary, err := os.Stat(filepath.Join(dist, release.AMD64))
	if err != nil {
		return 0, err
	}
	return show(best(floors), best(installs), binary.Size())
}

// in measures something in a fresh guest with a release within its reach. The guest is stopped, and removed only when all is measured: a file
// system that has just deleted tens of thousands of files makes new ones slowly for minutes.
func in(ctx context.Context, lab *guest.Lab, suite, dist string, measure func(*guest.Guest, string) (figures, error)) (f figures, err error) {
	g, err := lab.New(ctx, guest.Options{Name: "bench", Suite: suite})
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, g.Stop(ctx)) }()
	if err := g.Boot(ctx); err != nil {
		return f, err
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(g.Gateway(), "0"))
	if err != nil {
		return f, err
	}
	server := release.Serve(ln, dist)
	defer server.Close()
	return measure(g, server.URL())
}

// install measures the pasted line, what it costs, and a second run of it.
func install(ctx context.Context, g *guest.Guest, url string) (figures, error) {
	var f figures
	before, err := g.Received()
	if err != nil {
		return f, err
	}
	packages, err := countPackages(ctx, g)
	if err != nil {
		return f, err
	}
	line := release.Line(url, "", "--admin alice:bench-password")
	first, err := sh(ctx, g, line)
	if err != nil {
		return f, err
	}
	f.install = first.Took
	after, err := g.Received()
	if err != nil {
		return f, err
	}
	f.received = after - before
	if f.disk, err = g.DiskUsed(ctx, "/opt/tljh"); err != nil {
		return f, err
	}
	now, err := countPackages(ctx, g)
	if err != nil {
		return f, err
	}
	f.packages = now - packages
	for range 3 {
		again, err := sh(ctx, g, line)
		if err != nil {
			return f, err
		}
		if f.second == 0 || again.Took < f.second {
			f.second = again.Took
		}
	}
	return f, f.memory(ctx, g)
}

func (f *figures) memory(ctx context.Context, g *guest.Guest) error {
	for unit, to := range map[string]*int64{"jupyterhub.service": &f.hub, "configurable-http-proxy.service": &f.proxy, "tljh-edge.service": &f.edge} {
		r, err := sh(ctx, g, `c=$(systemctl show --value -p ControlGroup `+unit+`)
for base in /sys/fs/cgroup/systemd /sys/fs/cgroup; do
  [ -e $base$c/cgroup.procs ] || continue
  for p in $(cat $base$c/cgroup.procs); do awk '/^Pss:/ { print $2 }' /proc/$p/smaps_rollup; done; break
done | awk '{ s += $1 } END { print s + 0 }'`)
		if err != nil {
			return err
		}
		kilobytes, err := strconv.ParseInt(strings.TrimSpace(r.Stdout), 10, 64)
		if err != nil {
			return fmt.Errorf("cannot measure the memory of %s: %w", unit, err)
		}
		*to = kilobytes << 10
	}
	return nil
}

func countPackages(ctx context.Context, g *guest.Guest) (int, error) {
	r, err := sh(ctx, g, "dpkg-query --show | wc -l")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(r.Stdout))
}

// sh runs a script that must end well.
func sh(ctx context.Context, g *guest.Guest, script string) (guest.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	r, err := g.Sh(ctx, script)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("exit code %d of: %s\n%s", r.Code, script, r.Output())
	}
	return r, err
}

// best takes the round with the shortest time, and the shortest second run of all.
func best(rounds []figures) figures {
	chosen := slices.MinFunc(rounds, func(a, b figures) int { return int(a.install - b.install) })
	for _, round := range rounds {
		chosen.second = min(chosen.second, round.second)
	}
	return chosen
}

// aims of an installation on a quiet machine.
const (
	aimRatio    = 1.0
	aimInstall  = 15 * time.Second
	aimSecond   = time.Second
	aimReceived = 220e6
	aimDisk     = 750e6
	aimBinary   = 60e6
)

// show prints the figures and returns how many aims they miss.
func show(floor, install figures, binary int64) (missed int, err error) {
	ratio := install.install.Seconds() / floor.install.Seconds()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	row := func(met bool, what, figure, aim string) {
		mark := "ok"
		if !met {
			mark = "missed"
			missed++
		}
		if aim == "" {
			mark = ""
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", what, figure, aim, mark)
	}
	fmt.Fprintln(w, "what\tmeasured\taim\t")
	row(true, "floor (downloads and unpacking alone)", seconds(floor.install), "")
	for _, step := range floor.steps {
		row(true, "  "+step.name, seconds(step.took)+", "+megabytes(step.received), "")
	}
	row(true, "floor with byte code, as an installation has it", seconds(floor.compiled), "")
	row(install.install <= aimInstall, "installation, with its proof", seconds(install.install), "≤ "+seconds(aimInstall))
	row(ratio <= aimRatio, "installation / floor", fmt.Sprintf("%.2f", ratio), fmt.Sprintf("≤ %.1f", aimRatio))
	row(install.second <= aimSecond, "second run", seconds(install.second), "≤ "+seconds(aimSecond))
	row(install.received <= aimReceived, "downloaded", megabytes(install.received), "≤ "+megabytes(aimReceived))
	row(true, "  by the floor", megabytes(floor.received), "")
	row(install.disk <= aimDisk, "disk (/opt/tljh)", megabytes(install.disk), "≤ "+megabytes(aimDisk))
	row(true, "  of the floor", megabytes(floor.disk), "")
	row(binary <= aimBinary, "binary", megabytes(binary), "≤ "+megabytes(aimBinary))
	row(install.packages == 0, "packages of the distribution added", strconv.Itoa(install.packages), "0")
	row(true, "memory of the hub, idle (Pss)", megabytes(install.hub), "")
	row(true, "memory of the proxy, idle (Pss)", megabytes(install.proxy), "")
	row(true, "memory of the edge, idle (Pss)", megabytes(install.edge), "")
	return missed, w.Flush()
}

func seconds(d time.Duration) string            { return fmt.Sprintf("%.2f s", d.Seconds()) }
func megabytes[N ~int64 | ~float64](n N) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
