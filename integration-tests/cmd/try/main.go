// Command try opens a hub to try out: a throwaway guest, the line of the README pasted into it, and a port of localhost that leads to
// it. Ctrl-C ends it and leaves nothing behind.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"tljh/integration-tests/guest"
	"tljh/integration-tests/release"
)

func main() {
	suite := flag.String("suite", guest.Bookworm, "Debian `release` of the guest: bookworm or trixie")
	port := flag.Int("port", 8000, "`port` of localhost that leads to the hub; 0 takes a free one")
	admin := flag.String("admin", "alice", "`name` of the admin")
	flag.Parse()
	// Ctrl-C ends what reads this through a pipe, too: the guest has to be ended all the same.
	signal.Ignore(syscall.SIGPIPE)
	back := foreground()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := try(ctx, *suite, *port, *admin)
	back()
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func try(ctx context.Context, suite string, port int, admin string) (err error) {
	door, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return fmt.Errorf("cannot open the port: %w\nhint: choose another: go run ./integration-tests/cmd/try -port 0", err)
	}
	defer door.Close()
	dist := filepath.Join(guest.RepositoryRoot(), "dist")
	if err := release.Complete(dist); err != nil {
		return fmt.Errorf("%w\nhint: run `make try`, or `make dist` before", err)
	}
	lab, err := guest.OpenLab(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	fmt.Printf("Booting a throwaway Debian (%s); its root is built the first time.\n", suite)
	g, err := lab.New(ctx, guest.Options{Name: "try", Suite: suite})
	if err != nil {
		return err
	}
	if err := g.Boot(ctx); err != nil {
		return err
	}
	password := strings.ToLower(rand.Text()[:16])
	if err := install(ctx, g, dist, admin+":"+password); err != nil {
		return err
	}
	fmt.Printf("\nOpen     http://%s/\nName     %s\nPassword %s\n\nA shell in it: sudo nsenter -t %d -a bash -l\nCtrl-C ends it and removes everything.\n",
		door.Addr(), admin, password, g.Leader())
	forward(ctx, door, g)
	fmt.Println("\nEnding the guest.")
	return nil
}

func install(ctx context.Context, g *guest.Guest, dist, admin string) error {
	ln, err := net.Listen("tcp", net.JoinHostPort(g.Gateway(), "0"))
	if err != nil {
		return err
	}
	server := release.Serve(ln, dist)
	defer server.Close()
	line := release.Line(server.URL(), "", "--admin "+admin)
	fmt.Printf("Pasting into it:\n\n  # %s\n\n", line)
	p, err := g.Start(ctx, "bash", "-c", line)
	if err != nil {
		return err
	}
	if err := p.Follow(&untilUp{to: os.Stdout}); err != nil {
		return err
	}
	r, err := p.Wait()
	if err != nil {
		return err
	}
	if r.Code != 0 {
		return fmt.Errorf("the line ended with exit code %d", r.Code)
	}
	return nil
}

// untilUp passes on what an installation says up to its last words, which name an address that nobody outside of the guest's network can open.
type untilUp struct {
	to   io.Writer
	line []byte
	over bool
}

func (u *untilUp) Write(data []byte) (int, error) {
	for _, b := range data {
		u.line = append(u.line, b)
		if b != '\n' {
			continue
		}
		u.over = u.over || strings.HasPrefix(string(u.line), "The hub is up")
		if !u.over {
			_, _ = u.to.Write(u.line) // whoever read it may have gone
		}
		u.line = u.line[:0]
	}
	return len(data), nil
}

// forward carries connections from the port of localhost to the guest's port 80 until the context ends.
func forward(ctx context.Context, door net.Listener, g *guest.Guest) {
	go func() {
		<-ctx.Done()
		_ = door.Close() // Accept then says that it is closed
	}()
	for {
		conn, err := door.Accept()
		if err != nil {
			return
		}
		go carry(ctx, conn, g)
	}
}

func carry(ctx context.Context, conn net.Conn, g *guest.Guest) {
	defer conn.Close()
	inside, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(g.Address(), "80"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return
	}
	defer inside.Close()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{inside, conn}, {conn, inside}} {
		both.Add(1)
		go func() {
			defer both.Done()
			_, _ = io.Copy(way[0], way[1]) // either side may hang up at any time
			if half, ok := way[0].(*net.TCPConn); ok {
				_ = half.CloseWrite()
			}
		}()
	}
	both.Wait()
}
