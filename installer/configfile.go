package installer

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"time"

	"tljh/config"
	"tljh/environment"
	"tljh/installer/journal"
	"tljh/internal/host"
	"tljh/internal/layout"
)

// ConfigFile is a config file on its machine: usually that of the hub.
type ConfigFile struct {
	Host *host.Host
	Path string
	Name string // in messages, when the text is another file's; "" is Path
	Now  func() time.Time
	Who  string // for those who find the file locked
	// Thorough has the hub environment asked about the authenticator even where that is the one that the hub works with: half a second.
	Thorough bool
}

// hubs tells whether this is the file that the hub reads.
func (f ConfigFile) hubs() bool { return f.Path == layout.Config }

// Read returns what the file holds; a file that is not there holds nothing, unless one was in effect.
func (f ConfigFile) Read() ([]byte, error) {
	if f.hubs() {
		if err := configLost(f.Host.Files); err != nil {
			return nil, err
		}
	}
	return f.ReadAny()
}

// configLost is the error of a config of the hub that is not there, or empty, although one was put into effect. A default one in its place would take its admins,
// limits and authenticator away.
func configLost(files host.Files) error {
	how := lostHow(files)
	if how == "" {
		return nil
	}
	lost := fmt.Errorf("%s is %s, and nothing was changed", layout.Config, how)
	if versions, err := (History{Files: files}).Versions(); err != nil || len(versions) > 0 {
		return badInput(host.Hint(lost, "sudo tljh-install config revert brings back the last one that worked"))
	}
	if files.Exists(layout.Applied) {
		return badInput(host.Hint(lost, "sudo cp %s %s brings back the last one that worked; then: sudo tljh-install config reload", layout.Applied, layout.Config))
	}
	return nil
}

// lostHow tells how the hub's config was lost; "" if it was not. An empty file is what a full disk or a cut copy leaves: {} is a config that says nothing.
func lostHow(files host.Files) string {
	text, err := files.Read(layout.Config)
	switch {
	case !files.Exists(layout.Hub):
	case errors.Is(err, fs.ErrNotExist):
		return "missing"
	case err == nil && len(bytes.TrimSpace(text)) == 0 && hadConfig(files):
		return "empty"
	}
	return ""
}

// hadConfig reports whether the config that was put into effect last says anything.
func hadConfig(files host.Files) bool {
	_, text, ok := History{Files: files}.Last()
	if !ok {
		text, _ = files.Read(layout.Applied)
	}
	return len(bytes.TrimSpace(text)) > 0
}

// ReadAny returns what the file holds; one that is not there holds nothing.
func (f ConfigFile) ReadAny() ([]byte, error) {
	data, err := f.Host.Files.Read(f.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, host.Hint(fmt.Errorf("only root can read %s: it contains secrets", f.Path), "put sudo in front")
	case err != nil:
		return nil, fmt.Errorf("cannot read the config: %w", err)
	}
	return data, nil
}

// Save replaces the file, which only root can read before and after. It was found valid.
func (f ConfigFile) Save(data []byte) error {
	attr := secret
	if !f.hubs() {
		attr.UID, attr.GID = os.Getuid(), os.Getgid()
	}
	return f.Host.Files.Write(f.Path, data, attr)
}

// WaitForEver is the patience of who wants the lock, however long somebody else is editing.
const WaitForEver time.Duration = -1

// Lock keeps others from editing the hub's file at the same time. Who holds it is told through busy once a second has gone by, and in the error when patience is
// at its end.
func (f ConfigFile) Lock(ctx context.Context, patience time.Duration, busy func(holder string)) (func(), error) {
	if !f.hubs() {
		return func() {}, nil
	}
	note := fmt.Sprintf("%s, process %d, since %s", f.Who, os.Getpid(), f.Now().Format(time.DateTime))
	var unlock func()
	begin := f.Now()
	told := false
	try := func(context.Context) (bool, error) {
		got, holder, ok, err := f.Host.Files.Lock(layout.ConfigLock, note)
		waited := f.Now().Sub(begin)
		switch {
		case err != nil || ok:
		case patience != WaitForEver && waited >= patience:
			err = host.Hint(&journal.BusyError{Holder: "somebody is editing the config: " + holder}, "wait until they have ended, then run the same command again")
		case waited >= time.Second && !told:
			told = true
			busy(holder)
		}
		unlock = got
		return ok, err
	}
	if err := host.Poll(ctx, 100*time.Millisecond, try); err != nil {
		return nil, err
	}
	return unlock, nil
}

// Check judges a text as a whole: by itself, by what it names on this machine, and by what the hub environment says of its authenticator. The config is nil
// when it can't be used.
func (f ConfigFile) Check(ctx context.Context, text []byte) (*config.Config, config.Report, error) {
	return f.CheckRead(ctx, config.Read(cmp.Or(f.Name, f.Path), text))
}

// CheckRead is Check of what was read already.
func (f ConfigFile) CheckRead(ctx context.Context, d *config.Document) (*config.Config, config.Report, error) {
	cfg, report := d.Config, d.Report
	if cfg == nil || !f.hubs() {
		return cfg, report, nil
	}
	checked := report.With(config.CheckMachine(cfg, report, f.Host.Files, f.resources(), f.Now(), f.InEffect))
	if f.mustAsk(cfg) {
		answer, err := askHub(ctx, f.Host, layout.Hub, cfg)
		if err != nil {
			return nil, checked, err
		}
		answer.Pending = !environment.HoldsPackages(f.Host.Files, cfg.Hub.Packages)
		checked = checked.With(config.CheckAuthenticator(cfg, report, answer))
	}
	if checked.Err() != nil {
		return nil, checked, nil
	}
	return cfg, checked, nil
}

// resources are what this machine has.
func (f ConfigFile) resources() config.Resources {
	return config.Resources{Memory: config.Bytes(f.Host.Memory()), CPUs: processors()}
}

// InEffect returns the config that was put into effect last; nil if none can be told.
func (f ConfigFile) InEffect() *config.Config {
	_, text, ok := History{Files: f.Host.Files, Now: f.Now}.Last()
	if !ok {
		return nil
	}
	cfg, _ := config.Parse("", text)
	return cfg
}

// mustAsk tells whether the hub environment has to be asked about the authenticator.
func (f ConfigFile) mustAsk(cfg *config.Config) bool {
	if !f.Host.Files.Exists(layout.Hub+"/bin/python") || isOlderHub(f.Host.Files) {
		return false // it can't be asked yet, or is an older TLJH's
	}
	if cfg.Auth.Type == config.FirstUse && len(cfg.Auth.Options) == 0 {
		return false
	}
	applied, err := f.Host.Files.Read(layout.Applied)
	if err != nil || f.Thorough {
		return true
	}
	before, _ := config.Parse("", applied)
	return before == nil || !reflect.DeepEqual(before.Auth, cfg.Auth)
}

// askHub lets a hub environment say what it knows of the authenticator and of the classes whose options are set.
func askHub(ctx context.Context, h *host.Host, dir string, cfg *config.Config) (config.AuthenticatorAnswer, error) {
	var answer config.AuthenticatorAnswer
	question, err := cfg.AuthenticatorQuestion()
	if err != nil {
		return answer, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("the hub environment gives no answer"))
	defer cancel()
	result, err := h.Runner.Run(ctx, host.Command{
		Argv: []string{dir + "/bin/python", "-m", "tljh.check_authenticator"}, Stdin: bytes.NewReader(question),
	})
	if err != nil {
		return answer, fmt.Errorf("cannot ask the hub environment about the authenticator: %w", err)
	}
	if err := json.Unmarshal(result.Stdout, &answer); err != nil {
		return answer, fmt.Errorf("cannot read what the hub environment says of the authenticator: %w", err)
	}
	return answer, nil
}
