package edge

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"

	"tljh/internal/layout"
)

// schemes are the names (FileDescriptorName) of the sockets that systemd may pass, and what clients speak on them.
var schemes = map[string]string{"http": schemeHTTP, "https": schemeHTTPS}

// Run serves on the sockets that systemd passed, until ctx or a signal ends it; SIGUSR1 makes it read its certificate again. A socket with the port
// secure is for HTTPS, and one with Origins.UserPort for single-user servers: all that are in one unit have the same name.
func Run(ctx context.Context, options Options, secure int) error {
	doors, err := passedDoors(secure, options.Origins.UserPort)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	server := New(options)
	server.listenForReload(ctx)
	told := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		defer close(told)
		_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	})
	defer func() {
		if !unhook() { // it has begun: the process must not end before
			<-told
		}
	}()
	// The ports have been listening since before this process began: it is ready when it is about to accept.
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		return fmt.Errorf("cannot tell systemd that the edge listens: %w", err)
	}
	return server.Serve(ctx, doors...)
}

func (s *Server) listenForReload(ctx context.Context) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	go func() {
		defer signal.Stop(signals)
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
				if s.keeper != nil {
					s.keeper.again()
				}
			}
		}
	}()
}

func passedDoors(secure, users int) ([]Door, error) {
	named, err := activation.ListenersWithNames()
	if err != nil {
		return nil, fmt.Errorf("cannot take the ports from systemd: %w", err)
	}
	doors := []Door{}
	for name, listeners := range named {
		scheme, known := schemes[name]
		if !known {
			return nil, fmt.Errorf("systemd passed a socket named %q, which has no meaning here: set FileDescriptorName=http in %s", name, layout.EdgeSocket)
		}
		for _, listener := range listeners {
			if listener == nil {
				return nil, fmt.Errorf("a socket that systemd passed is no listening stream: see %s", layout.EdgeSocket)
			}
			door := Door{Listener: listener, Scheme: scheme}
			port := portOf(listener.Addr())
			door.Users = users != 0 && port == users
			if secure != 0 && (port == secure || door.Users) {
				door.Scheme = schemeHTTPS
			}
			doors = append(doors, door)
		}
	}
	if len(doors) == 0 {
		return nil, errors.New("systemd passed no port: this command is started by it, with systemctl start " + layout.EdgeSocket)
	}
	return doors, nil
}
