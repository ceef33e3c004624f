package installer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"tljh/config"
	"tljh/internal/host"
	"tljh/internal/layout"
)

// Options is what a person asked install for.
type Options struct {
	Admins         []Admin
	ConfigFile     string   // a file to take the config from; "" keeps what is there
	PackageManager string   // auto, conda or uv
	Requirements   string   // a file or an address
	Plugins        []string // packages to add to hub.packages
	NewEnvironment bool     // of an older TLJH, the user environment becomes a kernel

	Environ []string // of this process: the first config takes the network's proxy from there
}

// Admin is an admin to be, with the password that was given; "" lets one be generated.
type Admin struct {
	Name     string
	Password string
}

// BadInput is an error in what a person gave: nothing has been changed.
type BadInput struct {
	Err error
}

func (e *BadInput) Error() string { return e.Err.Error() }
func (e *BadInput) Unwrap() error { return e.Err }

func badInput(err error) error {
	if err == nil {
		return nil
	}
	return &BadInput{Err: err}
}

// ParseAdmin reads NAME or NAME:PASSWORD. A password may hold colons; a name can't.
func ParseAdmin(text string) (Admin, error) {
	name, password, given := strings.Cut(text, ":")
	if given && password == "" {
		return Admin{}, badInput(fmt.Errorf("--admin %s: the password after the colon is empty", name))
	}
	if err := config.CheckUserName(name); err != nil {
		return Admin{}, badInput(host.Hint(fmt.Errorf("--admin: %w", err), "give a name such as --admin alice"))
	}
	return Admin{Name: strings.ToLower(name), Password: password}, checkPassword(name, password)
}

// TooShort returns an error for a password that users could not choose. An admin's first one may be shorter, with a warning.
func TooShort(name, password string) error {
	if len([]rune(password)) >= passwordMin {
		return nil
	}
	return badInput(fmt.Errorf("the password for %s is too short: it needs at least %d characters", name, passwordMin))
}

// Limits of a password: bcrypt takes no more than 72 bytes, and the hub's log-in form refuses fewer than 7 characters.
const (
	passwordMin = 7
	passwordMax = 72
)

func checkPassword(name, password string) error {
	switch {
	case password == "":
		return nil
	case len(password) > passwordMax:
		return badInput(fmt.Errorf("the password for %s is too long: at most %d bytes can be used", name, passwordMax))
	case strings.ContainsAny(password, "\x00\n\r"):
		return badInput(fmt.Errorf("the password for %s contains a line break or a NUL", name))
	}
	return nil
}

// Inputs is everything a plan is made from.
type Inputs struct {
	Facts        host.Facts
	ConfigText   []byte // what config.yaml is to hold
	Config       *config.Config
	Manager      ManagerChoice // set by the preflight
	Admins       []Admin       // those whose password this installation sees to
	Requirements string        // a path or ""
	Source       string        // where the requirements come from, for people

	older    *Older    // that is to be taken over; nil when there is none
	adoption *Adoption // of one that was begun
	fresh    bool      // its user environment becomes a kernel, and a new one is built

	taker     *migration // waits for it to be stopped, to take over what it knows; nil in a run that goes on with an adoption
	switching bool       // it was stopped: until our hub answers there is none

	notes     []string // for whoever watches
	goingBack bool     // to the hub environment that was live before, whatever the config says of its packages

	found   []byte // what config.yaml held, where it is what ConfigText comes from
	cleanup func()
}

// Close removes temporary files.
func (in *Inputs) Close() {
	if in.cleanup != nil {
		in.cleanup()
	}
}

// DefaultAdmin is the admin of an installation that was told of none.
const DefaultAdmin = "admin"

// Gather reads what a plan is made from, but for the requirements. It changes nothing.
func Gather(ctx context.Context, h *host.Host, options Options) (*Inputs, error) {
	in := &Inputs{fresh: options.NewEnvironment, Manager: ManagerChoice{Name: managerOf(h.Files)}, Facts: h.Facts(ctx)}
	text, err := configText(h.Files, options)
	if err != nil {
		return nil, err
	}
	if options.ConfigFile == "" {
		in.found = text
	}
	var network config.Network
	if text == nil {
		network, in.notes = proposeNetwork(options.Environ)
	}
	if in.ConfigText, in.Config, err = withAdmins(text, options.Admins, network); err != nil {
		return nil, err
	}
	if in.ConfigText, in.Config, err = withPlugins(in.ConfigText, in.Config, options.Plugins); err != nil {
		return nil, err
	}
	if text != nil {
		in.notes = notHandedOn(options.Environ, in.Config)
	}
	if err := Complete(in.Config); err != nil {
		return nil, err
	}
	in.Admins = adminsToSee(in.Config, options.Admins)
	return in, nil
}

// configText returns the config to start from: the file named, or the one that is there, or none (nil).
func configText(files host.Files, options Options) ([]byte, error) {
	if options.ConfigFile != "" {
		data, err := os.ReadFile(options.ConfigFile)
		if err != nil {
			return nil, badInput(fmt.Errorf("cannot read the config: %w", err))
		}
		return data, judge(options.ConfigFile, data)
	}
	data, err := files.Read(layout.Config)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, configLost(files)
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, nil // not root: the preflight says so
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the config: %w", err)
	}
	return data, judge(layout.Config, data)
}

// stale tells whether the config that is there has changed since it was read.
func (in *Inputs) stale(files host.Files, options Options) (bool, error) {
	if options.ConfigFile != "" {
		return false, nil // it is to be replaced, whatever it says
	}
	found, err := files.Read(layout.Config)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot read the config: %w", err)
	}
	return in.found == nil || !bytes.Equal(found, in.found), nil
}

func judge(name string, data []byte) error {
	_, problems := config.Parse(name, data)
	if problems.Err() == nil {
		return nil
	}
	return invalid(name, problems)
}

func invalid(name string, problems config.Report) error {
	return badInput(host.Hint(fmt.Errorf("the config is not valid:\n%s", strings.TrimRight(problems.Text(), "\n")), "correct %s, then run the same command again", name))
}

func withAdmins(text []byte, admins []Admin, network config.Network) ([]byte, *config.Config, error) {
	names := []string{}
	for _, admin := range admins {
		names = append(names, admin.Name)
	}
	if text == nil {
		if len(names) == 0 {
			names = []string{DefaultAdmin}
		}
		text = config.Starter(names, network)
	} else if missing := missingAdmins(text, names); len(missing) > 0 {
		var err error
		if text, err = config.AddToList(text, "users.admin", missing); err != nil {
			return nil, nil, badInput(fmt.Errorf("cannot add to users.admin: %w", err))
		}
	}
	cfg, problems := config.Parse(layout.Config, text)
	if err := problems.Err(); err != nil {
		return nil, nil, badInput(fmt.Errorf("the config with the admins added is not valid:\n%s", strings.TrimRight(problems.Text(), "\n")))
	}
	return text, cfg, nil
}

// withPlugins adds packages to hub.packages, where upgrades and later installations find them.
func withPlugins(text []byte, cfg *config.Config, packages []string) ([]byte, *config.Config, error) {
	if len(packages) == 0 {
		return text, cfg, nil
	}
	missing := slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values(packages))), func(each string) bool {
		return slices.Contains(cfg.Hub.Packages, each)
	})
	if len(missing) == 0 {
		return text, cfg, nil
	}
	text, err := config.Add(text, "hub.packages", missing...)
	if err != nil {
		return nil, nil, badInput(fmt.Errorf("--plugin: cannot add to hub.packages: %w", err))
	}
	cfg, problems := config.Parse(layout.Config, text)
	if err := problems.Err(); err != nil {
		return nil, nil, badInput(fmt.Errorf("--plugin: the config with the plugins added is not valid:\n%s", strings.TrimRight(problems.Text(), "\n")))
	}
	return text, cfg, nil
}

func missingAdmins(text []byte, names []string) []string {
	cfg, problems := config.Parse(layout.Config, text)
	if problems.Err() != nil {
		return names
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(cfg.Users.Admin, name) })
}

// adminsToSee returns the admins that log in with a password of the hub's own: those given, or else those of the config.
func adminsToSee(cfg *config.Config, given []Admin) []Admin {
	if cfg.Auth.Type != config.FirstUse {
		return nil
	}
	if len(given) > 0 {
		return given
	}
	admins := []Admin{}
	for _, name := range cfg.Users.Admin {
		admins = append(admins, Admin{Name: strings.ToLower(name)})
	}
	return admins
}
