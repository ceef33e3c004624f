package installer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"tljh/config"
	"tljh/environment"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/step"
)

// Steps of an upgrade.
const (
	idFollow    = "follow"
	idHubAhead  = "hub-environment-ahead"
	idUserAhead = "user-environment-ahead"
)

// ahead adds the steps that build environments and leave alone those that are live.
func (p *planner) ahead() {
	b := p.builder
	userThere := present(func(files host.Files) bool { _, ok := environment.FollowedUser(files); return ok })
	p.pythonAndUV()
	p.hubAhead(p.foldersDone()...)
	p.beside(phaseEnvironments, fetchStep(b, environment.UserWheels, "fetch the users' packages", userThere))
	p.beside(phaseEnvironments, step.Task{
		Name: idUserAhead, What: "give a copy of the user environment JupyterHub " + environment.JupyterHubVersion(),
		Look: userThere,
		Do:   func(ctx context.Context, _ *step.Context) error { _, err := followedUser(ctx, b); return err },
	}, idUV, idCompile, idFetch(environment.UserWheels))
}

// hubAhead builds the hub environment next to the live one.
func (p *planner) hubAhead(after ...string) {
	b, in := p.builder, p.in
	there := present(func(files host.Files) bool { _, ok := environment.ReadyHub(files, in.Config.Hub.Packages); return ok })
	p.beside(phaseEnvironments, fetchStep(b, environment.HubWheels, "fetch the hub's packages", there), after...)
	p.beside(phaseEnvironments, fetchStep(b, environment.NodeWheel, "fetch Node", there), after...)
	p.beside(phaseEnvironments, step.Task{
		Name: idHubAhead, What: "build the hub environment (JupyterHub " + environment.JupyterHubVersion() + " and the proxy) next to the live one",
		Look: there,
		Do:   func(ctx context.Context, _ *step.Context) error { _, err := readyHub(ctx, b, in); return err },
	}, idUV, idCompile, idFetch(environment.HubWheels), idFetch(environment.NodeWheel))
}

// followedUser returns a user environment that goes with this program's hub environment, which it makes unless one is there.
func followedUser(ctx context.Context, b *environment.Builder) (environment.Generation, error) {
	if generation, ok := environment.FollowedUser(b.Host.Files); ok {
		return generation, nil
	}
	return b.FollowUser(ctx, func(dir string) error { return handOverDir(b.Host.Files, dir) })
}

// matchStep lets the live user environment follow the hub's.
func matchStep(b *environment.Builder) step.Task {
	return step.Task{
		Name: "user-environment-jupyterhub", What: "give the user environment JupyterHub " + environment.JupyterHubVersion(),
		Look: func(_ context.Context, c *step.Context) (step.State, error) {
			live, _ := environment.Current(c.Host.Files, environment.User)
			if followed, ok := environment.FollowedUser(c.Host.Files); ok && followed.Number == live.Number {
				return step.Same, nil
			}
			return step.Different, nil
		},
		Do: func(ctx context.Context, c *step.Context) error {
			generation, err := followedUser(ctx, b)
			if err != nil {
				return err
			}
			return environment.Switch(c.Host.Files, generation)
		},
	}
}

// followStep makes the new environments the live ones and brings the database to the new format. The hub is stopped by it and not started: that is
// the next step's.
func (u *Upgrader) followStep(cfg *config.Config, old Release) step.Task {
	return step.Task{
		Name: idFollow, What: "switch to the new environments, with a copy of the database",
		Look: func(_ context.Context, c *step.Context) (step.State, error) {
			hub, hubThere := environment.ReadyHub(c.Host.Files, cfg.Hub.Packages)
			user, userThere := environment.FollowedUser(c.Host.Files)
			liveHub, _ := environment.Current(c.Host.Files, environment.Hub)
			liveUser, _ := environment.Current(c.Host.Files, environment.User)
			if hubThere && userThere && hub.Number == liveHub.Number && user.Number == liveUser.Number {
				return step.Same, nil
			}
			return step.Different, nil
		},
		Do: func(ctx context.Context, _ *step.Context) error { return u.follow(ctx, cfg, old) },
	}
}

func (u *Upgrader) follow(ctx context.Context, cfg *config.Config, old Release) error {
	hub, ok := environment.ReadyHub(u.Installer.Host.Files, cfg.Hub.Packages)
	if !ok {
		return errors.New("the new hub environment is not there")
	}
	// Usually it was made before; not if somebody has installed something since.
	user, err := followedUser(ctx, u.Installer.Builder)
	if err != nil {
		return err
	}
	migration, err := u.beginDatabase(ctx, path.Join(hub.Path(), "bin/python"), old)
	if err != nil {
		return err
	}
	defer migration.end()
	if err := u.Installer.Host.Systemd.Reload(ctx); err != nil {
		return err
	}
	if err := u.stopHub(ctx); err != nil {
		return err
	}
	if err := migration.finish(); err != nil {
		return fmt.Errorf("cannot bring the database to the new format: %w", err)
	}
	if err := environment.Switch(u.Installer.Host.Files, hub); err != nil {
		return err
	}
	return environment.Switch(u.Installer.Host.Files, user)
}

// Should this program be killed while the hub is stopped, systemd starts it again: by then, whatever was being done has ended with us.
const returnTime = time.Minute

// stopHub stops the hub for a moment.
func (u *Upgrader) stopHub(ctx context.Context) error {
	u.hubIsBack(ctx) // which another run may not have come to say
	// Where that can't be had, it is a reboot or the same command that starts the hub.
	_, _ = u.Installer.Host.Runner.Run(ctx, host.Command{Argv: []string{
		"systemd-run", "--quiet", "--no-ask-password", "--collect", "--unit=" + layout.ReturnUnit, fmt.Sprintf("--on-active=%d", returnTime/time.Second),
		"--timer-property=AccuracySec=1s", "systemctl", "start", "--no-block", layout.HubUnit,
	}})
	return u.Installer.Host.Systemd.Do(ctx, "stop", layout.HubUnit)
}

func (u *Upgrader) hubIsBack(ctx context.Context) {
	_ = u.Installer.Host.Systemd.Do(context.WithoutCancel(ctx), "stop", layout.ReturnUnit+".timer")
}

// databaseTime is far more than the largest database takes.
const databaseTime = 10 * time.Minute

// migration is a process that has tried the database's new format on a copy and waits for the hub to be stopped.
type migration struct {
	cancel context.CancelFunc
	input  *os.File
	done   chan error
}

// beginDatabase returns when the process is ready: what it could fail in has been tried by then.
func (u *Upgrader) beginDatabase(ctx context.Context, python string, old Release) (*migration, error) {
	files := u.Installer.Host.Files
	ready := path.Join(keptDir(old.Version), "ready")
	m, err := beginMigration(ctx, u.Installer.Host, ready, python, "-m", "tljh.database", "follow", files.Path(liveDatabase), files.Path(keptDatabase(old.Version)), files.Path(ready))
	if err != nil {
		return nil, fmt.Errorf("cannot bring a copy of the database to the new format: %w", err)
	}
	return m, nil
}

// beginMigration starts a process that makes the file ready when it has all it needs in memory, and goes on when it reads a line.
func beginMigration(ctx context.Context, h *host.Host, ready string, argv ...string) (*migration, error) {
	if err := h.Files.Remove(ready); err != nil {
		return nil, err
	}
	// One of the system's, which the process gets itself: what feeds any other would be waited for after the process has failed.
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, databaseTime, errors.New("the database is not ready after "+databaseTime.String()))
	m := &migration{cancel: cancel, input: writer, done: make(chan error, 1)}
	go func() {
		_, err := h.Runner.Run(ctx, host.Command{Argv: argv, Stdin: reader})
		_ = reader.Close()
		m.done <- err
	}()
	err = host.Poll(ctx, 20*time.Millisecond, func(context.Context) (bool, error) {
		select {
		case err := <-m.done:
			if err == nil {
				err = errors.New("it ended too early")
			}
			return false, err
		default:
			return h.Files.Exists(ready), nil
		}
	})
	if err != nil {
		m.end()
		return nil, err
	}
	return m, h.Files.Remove(ready)
}

func (m *migration) finish() error {
	if _, err := io.WriteString(m.input, "\n"); err != nil {
		return err
	}
	_ = m.input.Close()
	return <-m.done
}

func (m *migration) end() {
	_ = m.input.Close()
	m.cancel()
}

// Lost is what the hub knows now and a copy of its database does not: by names.
type Lost struct {
	Changed bool     `json:"changed"` // the copy has another format: only then is it needed
	Users   []string `json:"users"`
	Admins  []string `json:"admins"`
	Groups  []string `json:"groups"`
	Members []string `json:"members"`
	Servers []string `json:"servers"` // that run now
	Shares  []string `json:"shares"`
	Back    []string `json:"back"` // users that were removed since and would be there again
}

// lost compares the database with a copy. Without a copy there is nothing to go back to, nor to lose.
func (u *Upgrader) lost(ctx context.Context, kept string) (Lost, error) {
	var lost Lost
	if !u.Installer.Host.Files.Exists(kept) {
		return lost, nil
	}
	result, err := u.database(ctx, "lost", kept, liveDatabase)
	if err == nil {
		err = json.Unmarshal(result.Stdout, &lost)
	}
	if err != nil {
		return lost, fmt.Errorf("cannot compare the database with its copy: %w", err)
	}
	return lost, nil
}

// database runs the hub environment's own code for the database.
func (u *Upgrader) database(ctx context.Context, verb, from, to string) (host.Result, error) {
	dir := layout.Hub
	live, _ := environment.Current(u.Installer.Host.Files, environment.Hub)
	if hub, ok := environment.ReadyHub(u.Installer.Host.Files, live.Packages); ok {
		dir = hub.Path()
	}
	files := u.Installer.Host.Files
	return u.Installer.Host.Runner.Run(ctx, host.Command{Argv: []string{path.Join(dir, "bin/python"), "-m", "tljh.database", verb, files.Path(from), files.Path(to)}})
}

// text is what people read of it; "" when nothing would be lost.
func (l Lost) text() string {
	if !l.Changed {
		return ""
	}
	var text strings.Builder
	for _, row := range []struct {
		what  string
		names []string
	}{
		{"users added since", l.Users}, {"admins made since", l.Admins}, {"groups added since", l.Groups}, {"members added to groups", l.Members},
		{"servers started since (they keep running, the hub forgets them)", l.Servers}, {"shares", l.Shares}, {"users removed since, who come back", l.Back},
	} {
		if len(row.names) > 0 {
			fmt.Fprintf(&text, "  %s: %s\n", row.what, strings.Join(row.names, ", "))
		}
	}
	return text.String()
}
