package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

// Systemd is the machine's service manager. Methods that start or stop a unit wait until systemd has done it.
type Systemd interface {
	// Reload makes systemd read its unit files again.
	Reload(ctx context.Context) error
	// Enable makes the units start at boot.
	Enable(ctx context.Context, units ...string) error
	// Disable undoes Enable.
	Disable(ctx context.Context, units ...string) error
	// Do starts, stops or restarts a unit ("start", "stop", "restart") and waits for the result; "reset-failed" makes systemd forget that a
	// unit failed. To stop or to forget what is not there is no error.
	Do(ctx context.Context, verb, unit string) error
	// Unit describes a unit; one that does not exist has Load "not-found".
	Unit(ctx context.Context, unit string) (UnitState, error)
}

// UnitState is what systemd says of a unit.
type UnitState struct {
	Load         string // loaded, not-found, masked …
	Active       string // active, inactive, failed, activating …
	Enabled      string // enabled, disabled, static … or empty
	Result       string // success, exit-code, signal, oom-kill, timeout … (services)
	MainPID      int
	Restarts     int    // how often systemd started it again in a row (services)
	Invocation   string // changes with every start
	NeedsReload  bool   // the unit file changed since systemd read it
	FragmentPath string
}

// SystemdBus talks to systemd over its private socket (root), which works without a D-Bus daemon, or else over the system bus.
type SystemdBus struct{}

// IsRunning tells whether systemd is the service manager of this machine, as sd_booted(3) does.
func (f Files) IsRunning() bool {
	info, err := os.Lstat(f.Path("/run/systemd/system"))
	return err == nil && info.IsDir()
}

func (s *SystemdBus) with(ctx context.Context, do func(*dbus.Conn) error) error {
	conn, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		conn, err = dbus.NewSystemConnectionContext(ctx)
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx) // the library's own error would tell of a closed connection
	}
	if err != nil {
		return fmt.Errorf("cannot reach systemd: %w", err)
	}
	defer conn.Close()
	return do(conn)
}

// Reload implements Systemd.
func (s *SystemdBus) Reload(ctx context.Context) error {
	return s.with(ctx, func(c *dbus.Conn) error { return c.ReloadContext(ctx) })
}

// Enable implements Systemd.
func (s *SystemdBus) Enable(ctx context.Context, units ...string) error {
	return s.with(ctx, func(c *dbus.Conn) error {
		_, changes, err := c.EnableUnitFilesContext(ctx, units, false, true)
		if err != nil || len(changes) == 0 {
			return err
		}
		return c.ReloadContext(ctx) // as systemctl does: units that are loaded keep their old state otherwise
	})
}

// Disable implements Systemd.
func (s *SystemdBus) Disable(ctx context.Context, units ...string) error {
	return s.with(ctx, func(c *dbus.Conn) error {
		changes, err := c.DisableUnitFilesContext(ctx, units, false)
		if err != nil || len(changes) == 0 {
			return err
		}
		return c.ReloadContext(ctx)
	})
}

// Do implements Systemd.
func (s *SystemdBus) Do(ctx context.Context, verb, unit string) error {
	return s.with(ctx, func(c *dbus.Conn) error {
		if verb == "reset-failed" {
			return resetFailed(ctx, c, unit)
		}
		jobs := map[string]func(context.Context, string, string, chan<- string) (int, error){
			"start": c.StartUnitContext, "stop": c.StopUnitContext, "restart": c.RestartUnitContext,
		}
		job, ok := jobs[verb]
		if !ok {
			return fmt.Errorf("cannot %s %s: no such verb", verb, unit)
		}
		done := make(chan string, 1)
		if _, err := job(ctx, unit, "replace", done); err != nil {
			if verb == "stop" && isGone(err) {
				return nil
			}
			return fmt.Errorf("cannot %s %s: %w", verb, unit, err)
		}
		select {
		case result := <-done:
			if result != "done" {
				return fmt.Errorf("cannot %s %s: systemd says %q", verb, unit, result)
			}
			return nil
		case <-ctx.Done():
			return fmt.Errorf("cannot %s %s: %w", verb, unit, context.Cause(ctx))
		}
	})
}

func resetFailed(ctx context.Context, c *dbus.Conn, unit string) error {
	err := c.ResetFailedUnitContext(ctx, unit)
	if err != nil && !isGone(err) {
		return fmt.Errorf("cannot reset-failed %s: %w", unit, err)
	}
	return nil
}

// isGone reports whether systemd knows no such unit. A server's unit is gone when the server has ended by itself.
func isGone(err error) bool {
	return strings.Contains(err.Error(), "not loaded") // systemd's messages on the bus are not translated
}

// Unit implements Systemd.
func (s *SystemdBus) Unit(ctx context.Context, unit string) (UnitState, error) {
	var state UnitState
	err := s.with(ctx, func(c *dbus.Conn) error {
		props, err := c.GetAllPropertiesContext(ctx, unit)
		if err != nil {
			return fmt.Errorf("cannot ask systemd about %s: %w", unit, err)
		}
		state = unitState(props)
		return nil
	})
	return state, err
}

func unitState(props map[string]any) UnitState {
	text := func(key string) string { s, _ := props[key].(string); return s }
	state := UnitState{
		Load: text("LoadState"), Active: text("ActiveState"), Enabled: text("UnitFileState"),
		Result: text("Result"), FragmentPath: text("FragmentPath"),
	}
	if pid, ok := props["MainPID"].(uint32); ok {
		state.MainPID = int(pid)
	}
	if restarts, ok := props["NRestarts"].(uint32); ok {
		state.Restarts = int(restarts)
	}
	state.NeedsReload, _ = props["NeedDaemonReload"].(bool)
	if id, ok := props["InvocationID"].([]byte); ok {
		state.Invocation = fmt.Sprintf("%x", id)
	}
	return state
}

// Journal returns the last lines that a unit wrote to the journal in this boot and since a time, oldest first; empty when it cannot be read.
func (h *Host) Journal(ctx context.Context, unit string, lines int, since time.Time) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	result, err := h.Runner.Run(ctx, Command{
		// With a limit on the lines as well, journalctl would show the first.
		Argv: []string{"journalctl", "--quiet", "--no-pager", "--boot", "--output=cat", fmt.Sprintf("--since=@%d", max(0, since.Unix())), "--unit=" + unit},
	})
	if err != nil {
		return ""
	}
	all := []string{}
	for line := range strings.Lines(string(result.Stdout)) {
		// An old journalctl says that there is nothing, where it should say nothing.
		if line = strings.TrimRight(line, " \t\r\n"); line != "" && line != "-- No entries --" {
			all = append(all, line)
		}
	}
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// LastWords adds what a unit wrote last to an error; that it wrote nothing is said, too.
func LastWords(err error, unit, words string) error {
	if strings.TrimSpace(words) == "" {
		return fmt.Errorf("%w; %s wrote nothing into the journal", err, unit)
	}
	return fmt.Errorf("%w; the last words of %s:\n%s", err, unit, strings.TrimRight(words, "\n"))
}

// ErrNoGroup tells that a group does not exist.
var ErrNoGroup = errors.New("no such group")

// ErrNoAccount tells that there is no such account.
var ErrNoAccount = errors.New("there is no such account")

// AccountName returns the name of a local account, or its number where it has none.
func (f Files) AccountName(uid int) string {
	data, _ := f.Read("/etc/passwd")
	for line := range strings.Lines(string(data)) {
		if fields := strings.Split(line, ":"); len(fields) > 2 && fields[2] == strconv.Itoa(uid) {
			return fields[0]
		}
	}
	return strconv.Itoa(uid)
}

// AccountIDs returns the numbers of a local account and of its own group.
func (f Files) AccountIDs(name string) (uid, gid int, err error) {
	data, err := f.Read("/etc/passwd")
	if err != nil {
		return 0, 0, fmt.Errorf("cannot read the accounts: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) < 4 || fields[0] != name {
			continue
		}
		if _, err := fmt.Sscanf(fields[2]+" "+fields[3], "%d %d", &uid, &gid); err != nil {
			return 0, 0, fmt.Errorf("cannot read the numbers of account %s: %w", name, err)
		}
		return uid, gid, nil
	}
	return 0, 0, fmt.Errorf("account %s: %w", name, ErrNoAccount)
}

// GroupID returns the number of the group name.
func (f Files) GroupID(name string) (int, error) {
	data, err := f.Read("/etc/group")
	if err != nil {
		return 0, fmt.Errorf("cannot read the groups: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) < 3 || fields[0] != name {
			continue
		}
		var id int
		if _, err := fmt.Sscanf(fields[2], "%d", &id); err != nil {
			return 0, fmt.Errorf("cannot read the number of group %s: %w", name, err)
		}
		return id, nil
	}
	return 0, fmt.Errorf("group %s: %w", name, ErrNoGroup)
}
