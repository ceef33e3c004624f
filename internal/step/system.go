package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"tljh/internal/host"
)

// Group makes a system group.
type Group struct {
	Name string
}

// ID implements Step.
func (g Group) ID() string { return "group " + g.Name }

// Title implements Step.
func (g Group) Title() string { return "make the group " + g.Name }

// Check implements Step.
func (g Group) Check(_ context.Context, c *Context) (State, error) {
	_, err := c.Host.Files.GroupID(g.Name)
	if errors.Is(err, host.ErrNoGroup) {
		return Absent, nil
	}
	return Same, err
}

// Before implements Step.
func (g Group) Before(ctx context.Context, c *Context) (Before, error) {
	state, err := g.Check(ctx, c)
	return Before{Existed: state == Same}, err
}

// Apply implements Step.
func (g Group) Apply(ctx context.Context, c *Context) error {
	return run(ctx, c, "groupadd", "--system", g.Name)
}

// run runs one of the programs for accounts. Killed on their way they leave locks, and accounts without groups.
func run(ctx context.Context, c *Context, argv ...string) error {
	_, err := c.Host.Runner.Run(ctx, host.Command{Argv: argv, Whole: true})
	return err
}

// Account makes a system account that nobody logs in with, with a group of its own.
type Account struct {
	Name string
}

// ID implements Step.
func (a Account) ID() string { return "account " + a.Name }

// Title implements Step.
func (a Account) Title() string { return "make the account " + a.Name }

// Check implements Step.
func (a Account) Check(_ context.Context, c *Context) (State, error) {
	_, _, err := c.Host.Files.AccountIDs(a.Name)
	if errors.Is(err, host.ErrNoAccount) {
		return Absent, nil
	}
	return Same, err
}

// Before implements Step.
func (a Account) Before(ctx context.Context, c *Context) (Before, error) {
	state, err := a.Check(ctx, c)
	return Before{Existed: state == Same}, err
}

// Apply implements Step.
func (a Account) Apply(ctx context.Context, c *Context) error {
	return run(ctx, c, "useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", a.Name)
}

// Unit makes a unit, whose file is another step's work, run and start at boot.
type Unit struct {
	Name   string
	What   string
	Enable bool

	// OnDemand units are started by their socket: one that nobody needed yet is in order.
	OnDemand bool

	// Stamp says what the unit runs: its file, its program's version, its settings. When it differs from the one journalled
	// at the last good start, the unit is restarted.
	Stamp func(c *Context) string

	// Carry, when set, is asked before a restart for what the unit would forget by it; what it returns gives that back afterwards. It may be nil.
	Carry func(ctx context.Context) func(ctx context.Context) error

	// Fresh tells that systemd has read its files a moment ago, in a step before: where that is enough, the unit is away for less long.
	Fresh bool

	// Holds names units that must be stopped while this one restarts: the service that has a socket's file descriptors.
	Holds []string

	// Spare, when set, says what follows where the unit does not start, and what an admin can do. That is told, and no failure.
	Spare string

	// Patience is how long a restart may take, with a cause to tell when that is over; 0 leaves it to the unit's own limit.
	Patience time.Duration
	TooLong  error
}

// ID implements Step.
func (u Unit) ID() string { return "unit " + u.Name }

// Title implements Step.
func (u Unit) Title() string { return "start " + u.What }

// Fingerprint implements Fingerprinter.
func (u Unit) Fingerprint(c *Context) string { return u.Stamp(c) }

// Check implements Step.
func (u Unit) Check(ctx context.Context, c *Context) (State, error) {
	if !c.Host.Files.IsRunning() {
		return Absent, nil
	}
	unit, err := u.settled(ctx, c.Host.Systemd)
	if err != nil {
		return Absent, err
	}
	switch {
	case u.OnDemand && unit.Load == "loaded" && unit.Active == "inactive" && !unit.NeedsReload && c.Recorded(u.ID()) == u.Stamp(c):
		return Same, nil
	case unit.Load == "not-found" || unit.Active != "active" && unit.Active != "activating":
		return Absent, nil
	case unit.Active == "activating" || unit.NeedsReload || u.Enable && unit.Enabled != "enabled" || c.Recorded(u.ID()) != u.Stamp(c):
		return Different, nil
	}
	return Same, nil
}

// How long a unit that something else starts may take to be up, or to have ended, and how often it is asked.
const settleTime, settlePause = 2 * time.Second, 50 * time.Millisecond

// settled is the unit's state. A unit that a timer or a socket is starting at this moment is waited for: it would look like one that does not run.
func (u Unit) settled(ctx context.Context, systemd host.Systemd) (unit host.UnitState, err error) {
	for end := time.Now().Add(settleTime); ; {
		unit, err = systemd.Unit(ctx, u.Name)
		if err != nil || !u.OnDemand || unit.Active != "activating" || time.Now().After(end) {
			return unit, err
		}
		select {
		case <-ctx.Done():
			return unit, context.Cause(ctx)
		case <-time.After(settlePause):
		}
	}
}

// Before implements Step.
func (u Unit) Before(ctx context.Context, c *Context) (Before, error) {
	unit, err := c.Host.Systemd.Unit(ctx, u.Name)
	return Before{Existed: unit.Load != "not-found", Active: unit.Active == "active", Enabled: unit.Enabled == "enabled"}, err
}

// Apply implements Step.
func (u Unit) Apply(ctx context.Context, c *Context) error {
	if err := u.reload(ctx, c); err != nil {
		return err
	}
	if u.Enable {
		if err := c.Host.Systemd.Enable(ctx, u.Name); err != nil {
			return fmt.Errorf("cannot enable %s: %w", u.Name, err)
		}
	}
	unit, err := c.Host.Systemd.Unit(ctx, u.Name)
	if err == nil && unit.Active == "active" && (u.isSlice() || c.Recorded(u.ID()) == u.Stamp(c)) {
		return nil // it runs what it should: only the unit's file or enabling had to be seen to
	}
	for _, holder := range u.Holds {
		if err := c.Host.Systemd.Do(ctx, "stop", holder); err != nil {
			return err
		}
	}
	var giveBack func(context.Context) error
	if u.Carry != nil && unit.Active == "active" {
		giveBack = u.Carry(ctx)
	}
	bounded, cancel := ctx, func() {}
	if u.Patience > 0 {
		bounded, cancel = context.WithTimeoutCause(ctx, u.Patience, u.TooLong)
	}
	defer cancel()
	began := time.Now()
	if err := u.restart(bounded, c.Host.Systemd); err != nil {
		if u.Spare != "" && ctx.Err() == nil {
			c.Tell("%s does not start: %s", u.What, u.Spare)
			return nil
		}
		return u.explain(ctx, c, began, err)
	}
	if giveBack != nil {
		return giveBack(ctx)
	}
	return nil
}

// How often a socket is tried again: now and then the kernel keeps a port for a moment after whoever held it has ended. systemd gives up on a unit that is
// started five times in ten seconds.
const socketTries, socketPause = 2, time.Second

func (u Unit) restart(ctx context.Context, systemd host.Systemd) error {
	err := systemd.Do(ctx, "restart", u.Name)
	for try := 0; err != nil && try < socketTries && strings.HasSuffix(u.Name, ".socket"); try++ {
		select {
		case <-ctx.Done():
			return err
		case <-time.After(socketPause):
			err = systemd.Do(ctx, "restart", u.Name)
		}
	}
	return err
}

// isSlice reports whether the unit only holds others. A restart would end all of them, and is not needed: systemd gives a slice its new limits when it reads
// its file.
func (u Unit) isSlice() bool { return strings.HasSuffix(u.Name, ".slice") }

// StartError is a unit that does not start.
type StartError struct {
	Unit string
	Err  error
}

func (e *StartError) Error() string { return e.Err.Error() }
func (e *StartError) Unwrap() error { return e.Err }

func (u Unit) reload(ctx context.Context, c *Context) error {
	if u.Fresh {
		unit, err := c.Host.Systemd.Unit(ctx, u.Name)
		if err == nil && unit.Load == "loaded" && !unit.NeedsReload && (!u.Enable || unit.Enabled == "enabled") {
			return nil
		}
	}
	return c.Host.Systemd.Reload(ctx)
}

// explain adds the unit's own words to an error.
func (u Unit) explain(ctx context.Context, c *Context, since time.Time, err error) error {
	if ctx.Err() != nil {
		return err
	}
	err = &StartError{Unit: u.Name, Err: err}
	return host.Hint(host.LastWords(err, u.Name, c.Host.Journal(ctx, u.Name, 15, since)), "see all of it: journalctl -u %s; then run the same command again", u.Name)
}

// Task is a step made of functions, for work that is no file, link, account or unit.
type Task struct {
	Name string // the ID
	What string // the title
	// Look tells whether there is anything to do.
	Look func(ctx context.Context, c *Context) (State, error)
	// Do does it.
	Do func(ctx context.Context, c *Context) error
	// Stamp, when set, is journalled at a good end.
	Stamp string
	// Had, when set, describes what was there.
	Had func(ctx context.Context, c *Context) (any, error)
}

// ID implements Step.
func (t Task) ID() string { return t.Name }

// Title implements Step.
func (t Task) Title() string { return t.What }

// Fingerprint implements Fingerprinter.
func (t Task) Fingerprint(*Context) string { return t.Stamp }

// Check implements Step.
func (t Task) Check(ctx context.Context, c *Context) (State, error) { return t.Look(ctx, c) }

// Before implements Step.
func (t Task) Before(ctx context.Context, c *Context) (Before, error) {
	if t.Had == nil {
		return Before{}, nil
	}
	had, err := t.Had(ctx, c)
	if err != nil {
		return Before{}, err
	}
	more, err := json.Marshal(had)
	return Before{Existed: had != nil, More: more}, err
}

// Apply implements Step.
func (t Task) Apply(ctx context.Context, c *Context) error { return t.Do(ctx, c) }
