package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"tljh/hub"
	"tljh/internal/host"
	"tljh/systemdunits"
)

// trial is a set of properties that a program has to start with.
type trial struct {
	of         string // whose they are
	properties []string
	err        error // what came of it
}

const (
	trialLimit   = 10 * time.Second
	trialsAtOnce = 8
)

// container is where systemd notes which kind of container this is.
const container = "/run/systemd/container"

// checkSandbox starts a program that does nothing in each sandbox that the installation uses. Where one is refused, each of its properties is tried alone,
// so that the finding can name them.
func checkSandbox(ctx context.Context, env *Env) Finding {
	switch {
	case env.Facts.UID != 0:
		return Skip("only root can try it: see root")
	case !env.Facts.Systemd:
		return Skip("systemd does not run: see systemd")
	}
	trials, err := env.trials()
	if err != nil {
		return Warn("", "%v", err)
	}
	env.try(ctx, trials)
	refused := slices.DeleteFunc(slices.Clone(trials), func(t *trial) bool { return t.err == nil })
	if len(refused) == 0 {
		return Fine("services and single-user servers start with all of their %d sandboxes", len(trials))
	}
	if finding, bad := env.nothingStarts(ctx); bad {
		return finding
	}
	return env.nameRefused(ctx, refused)
}

func (e *Env) trials() ([]*trial, error) {
	sandboxes, err := systemdunits.Sandboxes(e.Facts.SystemdVersion)
	if err != nil {
		return nil, err
	}
	trials := []*trial{{of: "single-user servers", properties: hub.ServerSandbox()}, {of: "the building of environments", properties: host.Sandbox()}}
	for _, sandbox := range sandboxes {
		trials = append(trials, &trial{of: sandbox.Unit, properties: sandbox.Properties})
	}
	return trials, nil
}

// try carries out trials side by side.
func (e *Env) try(ctx context.Context, trials []*trial) {
	var running sync.WaitGroup
	free := make(chan struct{}, trialsAtOnce)
	for _, t := range trials {
		running.Go(func() {
			free <- struct{}{}
			defer func() { <-free }()
			t.err = e.start(ctx, t.properties)
		})
	}
	running.Wait()
}

func (e *Env) start(ctx context.Context, properties []string) error {
	ctx, cancel := context.WithTimeout(ctx, trialLimit)
	defer cancel()
	argv := []string{"systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--no-ask-password", "--description=Trial of a sandbox by tljh-install"}
	for _, property := range properties {
		argv = append(argv, "--property="+property)
	}
	_, err := e.Host.Runner.Run(ctx, host.Command{Argv: append(argv, "--", "/bin/true")})
	return err
}

// nothingStarts tells whether a program does not start without a sandbox, either.
func (e *Env) nothingStarts(ctx context.Context) (Finding, bool) {
	plain := &trial{}
	e.try(ctx, []*trial{plain})
	var exit *host.ExitError
	switch {
	case plain.err == nil:
		return Finding{}, false
	case errors.As(plain.err, &exit):
		return Fail("see what this says: systemctl is-system-running; systemd-run --wait /bin/true", "systemd starts no program: %s", reason(exit)), true
	}
	return Warn("see what this says: systemd-run --wait /bin/true", "it could not be tried: %v", plain.err), true
}

// nameRefused finds which properties are refused.
func (e *Env) nameRefused(ctx context.Context, refused []*trial) Finding {
	whose, alone := []string{}, []*trial{}
	for _, t := range refused {
		whose = append(whose, t.of)
		for _, property := range t.properties {
			if !slices.ContainsFunc(alone, func(t *trial) bool { return t.of == property }) {
				alone = append(alone, &trial{of: property, properties: []string{property}})
			}
		}
	}
	e.try(ctx, alone)
	names, why := []string{}, refused[0].err
	for _, t := range alone {
		if t.err == nil {
			continue
		}
		why = t.err
		if name, _, _ := strings.Cut(t.of, "="); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	var exit *host.ExitError
	if !errors.As(why, &exit) {
		return Warn("see what this says: systemd-run --wait /bin/true", "it could not be tried: %v", why)
	}
	options := "their options together"
	if len(names) > 0 {
		options = strings.Join(firstFew(names, 8), ", ")
	}
	return Fail(e.sandboxHint(exit), "%s cannot start on this machine: systemd refuses %s: %s", strings.Join(firstFew(whose, 3), ", "), options, reason(exit))
}

// exitNames are the names that systemctl shows for what systemd could not do before it started a program (systemd.exec(5)).
var exitNames = map[int]string{
	216: "GROUP", 217: "USER", 218: "CAPABILITIES", 219: "CGROUP", 225: "NETWORK", 226: "NAMESPACE", 227: "NO_NEW_PRIVILEGES", 228: "SECCOMP", 230: "PERSONALITY",
	232: "ADDRESS_FAMILIES",
}

const exitNamespace, exitSeccomp = 226, 228

func reason(exit *host.ExitError) string {
	if name, known := exitNames[exit.Code]; known {
		return fmt.Sprintf("status %d/%s", exit.Code, name)
	}
	return cmp.Or(strings.Join(strings.Fields(exit.Tail), " "), fmt.Sprintf("exit code %d", exit.Code))
}

// nesting is how the host of a container lets it make namespaces.
const nesting = "on the container's host, allow nesting and start the container again: pct set ID --features nesting=1 (Proxmox), or incus config set NAME security.nesting=true " +
	"(lxc config set for LXD)"

func (e *Env) sandboxHint(exit *host.ExitError) string {
	kind, _ := e.Host.Files.Read(container)
	switch {
	case strings.Contains(strings.ToLower(exit.Tail), "unknown"):
		return oldSystemHint
	case strings.TrimSpace(string(kind)) == "lxc":
		return nesting
	case len(kind) > 0:
		return "take a virtual machine, or a container that may make namespaces and has a systemd of its own"
	case exit.Code == exitNamespace:
		return "start a kernel that has namespaces, such as that of your distribution; journalctl -b shows what was refused"
	case exit.Code == exitSeccomp:
		return "start a kernel with CONFIG_SECCOMP_FILTER, such as that of your distribution"
	}
	return "journalctl -b shows what was refused"
}
