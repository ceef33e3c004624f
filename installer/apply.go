package installer

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"tljh/config"
	"tljh/environment"
	"tljh/installer/journal"
	"tljh/installer/proof"
	"tljh/internal/check"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/report"
)

// Applier puts the config into effect: it does what the config's keys touch and no more, sees that the hub works, and goes back to the
// config before when it does not. Users' servers are never touched.
type Applier struct {
	Host    *host.Host
	Report  *report.Reporter
	Builder *environment.Builder
	Now     func() time.Time
	Who     string // for the history
	How     string
	Prove   func(ctx context.Context, cfg *config.Config) error // that the hub works; nil is Proof.Quick

	patience time.Duration // with a hub that does not come up; 0 is hubPatience
}

// Applied is what Apply did.
type Applied struct {
	Changed []string `json:"changed"`       // the steps that were needed
	Left    []string `json:"left"`          // keys whose effect is another command's business: tljh-install install
	Ended   bool     `json:"servers_ended"` // users' servers answer to a path that is the hub's no more
	Seconds float64  `json:"seconds"`
	Note    string   `json:"note,omitempty"` // what users will miss, and where it is
}

// RevertedError tells that a config could not be put into effect, and that the one before is in effect again.
type RevertedError struct {
	Err     error
	Version int    // that is in effect again
	Kept    string // where the config that failed lies
}

func (e *RevertedError) Error() string {
	return fmt.Sprintf("%v\nThe hub runs with version %d of the config again; yours is kept in %s", e.Err, e.Version, e.Kept)
}
func (e *RevertedError) Unwrap() error { return e.Err }

func rejectedConfig() string { return layout.Config + ".rejected" }

// Apply puts a config that was found valid into effect. It is in its place already.
func (a *Applier) Apply(ctx context.Context, text []byte, cfg *config.Config) (*Applied, error) {
	start := a.Now()
	if err := a.installed(); err != nil {
		return nil, err
	}
	if err := Complete(cfg); err != nil {
		return nil, err
	}
	history := History{Files: a.Host.Files, Now: a.Now}
	_, last, _ := history.Last()
	if err := keepWhatTheHubTook(history); err != nil {
		return nil, err
	}
	before := lastInEffect(history)
	if err := portsFree(ctx, a.Host, cfg, before); err != nil {
		return nil, err
	}
	if err := host.Reserve(a.Host.Files, layout.Room, configRoom); err != nil {
		return nil, host.Hint(err, "nothing was put into effect; make room on the disk of %s, then run: tljh-install config reload", layout.Root)
	}
	defer func() { _ = a.Host.Files.Remove(layout.Room) }()
	changed, err := a.enact(ctx, text, cfg)
	if err == nil {
		moved := before != nil && before.BaseURL != cfg.BaseURL
		applied := &Applied{Changed: changed, Left: leftToInstall(before, cfg), Ended: moved, Seconds: a.Now().Sub(start).Seconds(), Note: otherAccounts(before, cfg)}
		return applied, remember(a.Host.Files, a.Now, text, a.Who, a.How)
	}
	if ctx.Err() != nil {
		return nil, host.Hint(fmt.Errorf("the config was not put into effect as a whole: %w", context.Cause(ctx)), "run the same command again, or tljh-install config reload")
	}
	if bytes.Equal(last, text) {
		return nil, err // all of it was in effect before, so it is not the config that is to blame
	}
	return nil, a.goBack(ctx, history, text, err)
}

// otherAccounts says that users work in other accounts from now on: their files are not lost, but not in their homes either.
func otherAccounts(before, cfg *config.Config) string {
	if before == nil || before.Users.AccountPrefix == cfg.Users.AccountPrefix {
		return ""
	}
	return fmt.Sprintf("users.account_prefix has changed: from the next start of their servers, users work in the accounts %sNAME. "+
		"Their files stay in the homes of the accounts %sNAME.", cfg.Users.AccountPrefix, before.Users.AccountPrefix)
}

// Complete returns why a config that can be saved is not put into effect yet: keys are set one by one, and some mean nothing without another.
func Complete(cfg *config.Config) error {
	if err := completeHTTPS(cfg); err != nil {
		return err
	}
	if cfg.Auth.Type == config.FirstUse && cfg.Users.FirstLogin == config.FirstCode && cfg.Users.ClassCode == "" {
		return &BadInput{Err: host.Hint(errors.New("users.first_login is code, and there is no class code: no new user could log in"),
			"set users.class_code first: sudo tljh-install config set users.class_code CODE; or take users.first_login out: sudo tljh-install config unset users.first_login")}
	}
	return nil
}

// completeHTTPS is the error of HTTPS that is switched on and lacks something. Such a config can be saved, key by key. Put into effect, it would have passwords
// sent unencrypted.
func completeHTTPS(cfg *config.Config) error {
	if cfg.HTTPS.Missing == "" {
		return nil
	}
	return &BadInput{Err: host.Hint(fmt.Errorf("https.enabled is true, and %s", cfg.HTTPS.Missing), "tljh-install config validate shows what to set; or: tljh-install config set https.enabled false")}
}

// keepWhatTheHubTook puts a config into the history that the hub started with by itself, after an edit by hand or a reboot: it works, and is one to go back to.
func keepWhatTheHubTook(history History) error {
	applied, err := history.Files.Read(layout.Applied)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read the last config that the hub worked with: %w", err)
	}
	if cfg, _ := config.Parse("", applied); cfg == nil {
		return nil // of an older release, which took more than this one
	}
	return history.Add(applied, "the hub", "its own start")
}

// lastInEffect returns what the newest version says; nil if there is none.
func lastInEffect(history History) *config.Config {
	_, text, ok := history.Last()
	if !ok {
		return nil
	}
	cfg, _ := config.Parse("", text)
	return cfg
}

// Pending returns the changes of a config that are not in effect: the hub's own keys as of what it runs with, which may be a config that it took by itself, and
// all others as of the last reload or installation. It is false where that cannot be told. Documents that are known spare reading them again.
func Pending(files host.Files, cfg *config.Config, known ...*config.Document) ([]config.Change, bool) {
	read := func(data []byte) *config.Config {
		for _, d := range known {
			if bytes.Equal(d.Data, data) {
				return d.Config
			}
		}
		d := config.Read("", data)
		known = append(known, d)
		return d.Config
	}
	applied, err := files.Read(layout.Applied)
	if err != nil {
		return nil, false
	}
	running := read(applied)
	if running == nil {
		return nil, false
	}
	settled := running
	if _, text, ok := (History{Files: files}).Last(); ok {
		if last := read(text); last != nil {
			settled = last
		}
	}
	pending := slices.DeleteFunc(config.Changes(running, cfg), func(c config.Change) bool { return !c.Hub })
	for _, change := range config.Changes(settled, cfg) {
		told := slices.ContainsFunc(pending, func(c config.Change) bool { return c.Path == change.Path })
		if !change.OnlyHub && !told {
			pending = append(pending, change)
		}
	}
	return pending, true
}

// leftToInstall names the keys that were changed and that only an installation sees to.
func leftToInstall(before, now *config.Config) []string {
	left := []string{}
	if before == nil {
		return left
	}
	for _, change := range config.Changes(before, now) {
		if change.NeedsInstall {
			left = append(left, change.Path)
		}
	}
	return left
}

func (a *Applier) installed() error {
	if a.Host.Files.Exists(layout.Hub) && check.Ours(a.Host.Files) {
		return nil
	}
	return errNotInstalled
}

// enact brings the machine to what a config asks for, and proves that the hub works with just that.
func (a *Applier) enact(ctx context.Context, text []byte, cfg *config.Config) ([]string, error) {
	receipt, err := journal.LoadReceipt(a.Host.Files, a.Now)
	if err != nil {
		return nil, err
	}
	plan, err := applyPlan(&Inputs{Facts: a.Host.Facts(ctx), ConfigText: text, Config: cfg}, a.Builder, cmp.Or(a.patience, hubPatience))
	if err != nil {
		return nil, err
	}
	executor := &journal.Executor{Host: a.Host, Receipt: receipt, Report: a.Report}
	outcome, err := executor.Run(ctx, plan)
	if err != nil {
		return outcome.Changed, err
	}
	if !slices.Contains(outcome.Changed, idHubUnit) && !hubRunsWith(a.Host.Files, cfg) {
		// It was not this run that started the hub, and then it did not take the config. Perhaps what kept it from that is gone.
		if err := a.restartHub(ctx); err != nil {
			return outcome.Changed, err
		}
		outcome.Changed = append(outcome.Changed, idHubUnit)
	}
	if len(outcome.Changed) == 0 {
		return outcome.Changed, nil
	}
	prove := a.Prove
	if prove == nil {
		prove = func(ctx context.Context, cfg *config.Config) error {
			return proof.New(a.Host, a.Report, cfg).Quick(ctx)
		}
	}
	if err := prove(ctx, cfg); err != nil {
		return outcome.Changed, err
	}
	if err := taken(ctx, a.Host, text, cfg); err != nil {
		return outcome.Changed, err
	}
	return outcome.Changed, executor.Finish(true)
}

const idHubUnit = "unit " + layout.HubUnit

// restartHub starts the hub anew. Users' servers go on.
func (a *Applier) restartHub(ctx context.Context) error {
	run := a.Report.Step("restart hub", "restart the hub, which runs with another config", phaseServices)
	ctx, cancel := context.WithTimeoutCause(ctx, cmp.Or(a.patience, hubPatience), errHubPatience)
	defer cancel()
	if err := a.Host.Systemd.Do(ctx, "restart", layout.HubUnit); err != nil {
		run.Failed(err)
		return err
	}
	run.Done()
	return nil
}

// remember keeps a config that is in effect, in the history and as the one that the hub falls back to. The hub itself remembers only what it
// had to start for.
func remember(files host.Files, now func() time.Time, text []byte, who, how string) error {
	if applied, err := files.Read(layout.Applied); err != nil || !bytes.Equal(applied, text) {
		if err := files.Write(layout.Applied, text, secret); err != nil {
			return err
		}
	}
	if kept, err := files.Read(layout.AppliedValues); err != nil || !config.IsKeptForHub(kept, text) {
		values, err := config.KeepForHub(text)
		if err != nil {
			return err
		}
		if err := files.Write(layout.AppliedValues, values, secret); err != nil {
			return err
		}
	}
	return History{Files: files, Now: now}.Add(text, who, how)
}

// hubRunsWith tells whether the hub, which starts from the last config that worked when it can't use one, runs with this one as far as it reads it.
func hubRunsWith(files host.Files, cfg *config.Config) bool {
	got, err := files.Read(layout.Applied)
	if err != nil || files.Exists(layout.Problems) {
		return false
	}
	running, _ := config.Parse("", got)
	return running != nil && running.HubView() == cfg.HubView()
}

// taken is the error of a hub that did not take a config, with its own words.
func taken(ctx context.Context, h *host.Host, text []byte, cfg *config.Config) error {
	if got, err := h.Files.Read(layout.Applied); hubRunsWith(h.Files, cfg) || err == nil && bytes.Equal(got, text) && !h.Files.Exists(layout.Problems) {
		return nil
	}
	words := hubProblems(h.Files).Problems
	if len(words) == 0 {
		for line := range strings.Lines(h.Journal(ctx, layout.HubUnit, 100, time.Now().Add(-10*time.Minute))) {
			if strings.Contains(line, "CONFIG NOT USED") {
				words = append(words, strings.TrimSpace(line))
			}
		}
	}
	return fmt.Errorf("the hub did not take the config:\n%s", strings.Join(words, "\n"))
}

// HubProblems is what keeps the hub from running with the newest config, in its own words. It writes them at every start.
type HubProblems struct {
	Problems []string `json:"problems"`
	Using    string   `json:"using"` // what it runs with instead
}

func hubProblems(files host.Files) HubProblems {
	var told HubProblems
	data, err := files.Read(layout.Problems)
	if err != nil {
		return told
	}
	if json.Unmarshal(data, &told) != nil || len(told.Problems) == 0 {
		told = HubProblems{Problems: []string{"the hub did not use its newest config"}, Using: "another config"}
	}
	return told
}

// goBackTo returns the newest version that is another than a text and can still be used.
func goBackTo(history History, text []byte) (Version, []byte, *config.Config) {
	versions, err := history.Versions()
	if err != nil {
		return Version{}, nil, nil
	}
	for _, version := range slices.Backward(versions) {
		before, err := history.Text(version)
		if err != nil || bytes.Equal(before, text) {
			continue
		}
		if cfg, _ := config.Parse(layout.Config, before); cfg != nil {
			return version, before, cfg
		}
	}
	return Version{}, nil, nil
}

// goBack puts the last version that worked back, file and all.
func (a *Applier) goBack(ctx context.Context, history History, text []byte, cause error) error {
	last, before, cfg := goBackTo(history, text)
	if cfg == nil {
		return cause
	}
	a.Report.Note("it did not work: going back to version %d of the config", last.Number)
	files := a.Host.Files
	err := files.Remove(layout.Room)
	kept := files.Write(rejectedConfig(), text, secret) // which going back does not depend on
	if err == nil {
		err = files.Write(layout.Config, before, secret)
	}
	if err == nil {
		_, err = a.enact(ctx, before, cfg)
	}
	if kept != nil {
		kept = files.Write(rejectedConfig(), text, secret)
	}
	err = errors.Join(err, kept)
	if err != nil {
		return host.Hint(errors.Join(cause, fmt.Errorf("going back failed, too: %w", err)), "journalctl -u %s tells more; tljh-install config revert tries again", layout.HubUnit)
	}
	return &RevertedError{Err: cause, Version: last.Number, Kept: rejectedConfig()}
}
