package hosttest

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"tljh/internal/host"
)

// unitFolder is where units are written to on a machine, and transientFolder where those are that a command made; Systemd knows no others.
const (
	unitFolder      = "/etc/systemd/system"
	transientFolder = "/run/systemd/transient"
)

// Systemd is a service manager in memory, over real unit files below Files.Root. Units start and stop at once, unless told otherwise by Fail and
// Refuse. Transient ones run as soon as they are asked for.
type Systemd struct {
	Files host.Files

	mu     sync.Mutex
	loaded map[string]*unit
	fail   map[string]string
	refuse map[string]bool
	done   []string
	starts int
}

var _ host.Systemd = (*Systemd)(nil)

type unit struct {
	text       string // of its file when it was read
	active     string
	result     string
	invocation string
	pid        int
}

// Fail makes every start of a unit end with this result ("exit-code", "timeout" …) from now on; "" lets it start again.
func (s *Systemd) Fail(name, result string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail == nil {
		s.fail = map[string]string{}
	}
	s.fail[name] = result
}

// Refuse makes every stop of a unit fail from now on, as long as its file is there.
func (s *Systemd) Refuse(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse == nil {
		s.refuse = map[string]bool{}
	}
	s.refuse[name] = true
}

// Done returns what was asked of it, in order: "reload", "enable NAME", "start NAME" …
func (s *Systemd) Done() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.done)
}

func (s *Systemd) begin(ctx context.Context, what string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.done = append(s.done, what)
	return nil
}

func unitPath(name string) string { return path.Join(unitFolder, name) }

// unit returns a unit, read from its file when it is not known yet; nil when there is no such file.
func (s *Systemd) unit(name string) *unit {
	if known := s.loaded[name]; known != nil {
		return known
	}
	text, err := s.Files.Read(unitPath(name))
	active := "inactive"
	if err != nil {
		text, err = s.Files.Read(path.Join(transientFolder, name))
		active = "active"
	}
	if err != nil {
		return nil
	}
	if s.loaded == nil {
		s.loaded = map[string]*unit{}
	}
	read := &unit{text: string(text), active: active, result: "success"}
	s.loaded[name] = read
	return read
}

// Reload implements host.Systemd. Units whose file is gone and that don't run are forgotten.
func (s *Systemd) Reload(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx, "reload"); err != nil {
		return err
	}
	for name, known := range s.loaded {
		text, err := s.Files.Read(unitPath(name))
		if err != nil && known.active != "active" {
			delete(s.loaded, name)
		}
		if err == nil {
			known.text = string(text)
		}
	}
	return nil
}

// wants returns the links that enabling a unit makes: one for each WantedBy= of its file.
func wants(name, text string) (links []string) {
	for line := range strings.Lines(text) {
		targets, isWanted := strings.CutPrefix(strings.TrimSpace(line), "WantedBy=")
		if !isWanted {
			continue
		}
		for target := range strings.FieldsSeq(targets) {
			links = append(links, path.Join(unitFolder, target+".wants", name))
		}
	}
	return links
}

// Enable implements host.Systemd.
func (s *Systemd) Enable(ctx context.Context, units ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range units {
		if err := s.begin(ctx, "enable "+name); err != nil {
			return err
		}
		text, err := s.Files.Read(unitPath(name))
		if err != nil {
			return fmt.Errorf("unit %s does not exist", name)
		}
		for _, link := range wants(name, string(text)) {
			attr := host.Attr{Mode: 0o755}
			if info, err := s.Files.Lstat(unitFolder); err == nil {
				attr.UID, attr.GID = host.AttrOf(info).UID, host.AttrOf(info).GID
			}
			if err := errors.Join(s.Files.Mkdir(path.Dir(link), attr), s.Files.Link(unitPath(name), link)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Disable implements host.Systemd.
func (s *Systemd) Disable(ctx context.Context, units ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range units {
		if err := s.begin(ctx, "disable "+name); err != nil {
			return err
		}
		text, err := s.Files.Read(unitPath(name))
		if err != nil {
			return fmt.Errorf("unit %s does not exist", name)
		}
		for _, link := range wants(name, string(text)) {
			if err := s.Files.Remove(link); err != nil {
				return err
			}
			if names, err := s.Files.List(path.Dir(link)); err == nil && len(names) == 0 {
				if err := s.Files.Remove(path.Dir(link)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Do implements host.Systemd.
func (s *Systemd) Do(ctx context.Context, verb, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx, verb+" "+name); err != nil {
		return fmt.Errorf("cannot %s %s: %w", verb, name, err)
	}
	if !slices.Contains([]string{"start", "stop", "restart", "reset-failed"}, verb) {
		return fmt.Errorf("cannot %s %s: no such verb", verb, name)
	}
	known := s.unit(name)
	switch {
	case verb == "reset-failed":
		if known != nil && known.active == "failed" {
			known.active, known.result = "inactive", "success"
		}
		return nil
	case known == nil && verb == "stop":
		return nil
	case known == nil:
		return fmt.Errorf("cannot %s %s: there is no such unit", verb, name)
	case verb == "stop" && s.refuse[name] && s.Files.Exists(unitPath(name)):
		return fmt.Errorf("cannot %s %s: it is refused", verb, name)
	case verb == "stop":
		known.active, known.pid = "inactive", 0
		return s.Files.Remove(path.Join(transientFolder, name))
	case verb == "start" && known.active == "active":
		return nil
	}
	return s.start(verb, name, known)
}

func (s *Systemd) start(verb, name string, known *unit) error {
	s.starts++
	known.invocation = fmt.Sprintf("%032x", s.starts)
	known.active, known.result = "active", "success"
	if strings.HasSuffix(name, ".service") {
		known.pid = 1000 + s.starts
	}
	if result := s.fail[name]; result != "" {
		known.active, known.result, known.pid = "failed", result, 0
		return fmt.Errorf("cannot %s %s: systemd says %q", verb, name, "failed")
	}
	return nil
}

// Unit implements host.Systemd.
func (s *Systemd) Unit(ctx context.Context, name string) (host.UnitState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return host.UnitState{}, context.Cause(ctx)
	}
	known := s.unit(name)
	if known == nil {
		return host.UnitState{Load: "not-found", Active: "inactive"}, nil
	}
	text, err := s.Files.Read(unitPath(name))
	state := host.UnitState{
		Load: "loaded", Active: known.active, Result: known.result, MainPID: known.pid, Invocation: known.invocation, Enabled: s.enabled(name, string(text)),
		FragmentPath: unitPath(name), NeedsReload: err != nil || string(text) != known.text,
	}
	return state, nil
}

// Kill makes a running unit fail, as if its program had been killed.
func (s *Systemd) Kill(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.unit(name); known != nil && known.active == "active" {
		known.active, known.result, known.pid = "failed", "signal", 0
	}
}

func (s *Systemd) enabled(name, text string) string {
	links := wants(name, text)
	switch {
	case text == "":
		return ""
	case len(links) == 0:
		return "static"
	case s.Files.Exists(links[0]):
		return "enabled"
	}
	return "disabled"
}
