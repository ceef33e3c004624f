package installer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tljh/config"
	"tljh/environment"
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
}

// Applied is what Apply did.
type Applied struct {
	Changed []string `json:"changed"` // the steps that were needed
	Seconds float64  `json:"seconds"`
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
	history := History{Files: a.Host.Files, Now: a.Now}
	changed, err := a.enact(ctx, text, cfg)
	if err == nil {
		return &Applied{Changed: changed, Seconds: a.Now().Sub(start).Seconds()}, remember(a.Host.Files, a.Now, text, a.Who, a.How)
	}
	if ctx.Err() != nil {
		return nil, host.Hint(fmt.Errorf("the config was not put into effect as a whole: %w", context.Cause(ctx)), "run the same command again, or tljh-install config reload")
	}
	return nil, a.goBack(ctx, history, text, err)
}

func (a *Applier) installed() error {
	if a.Host.Files.Exists(layout.Hub) && a.Host.Files.Exists(layout.Receipt) {
		return nil
	}
	return host.Hint(errors.New("there is no hub on this machine yet"), "install it first: tljh-install install")
}

// enact brings the machine to what a config asks for, and proves that the hub works with just that.
func (a *Applier) enact(ctx context.Context, text []byte, cfg *config.Config) ([]string, error) {
	receipt, err := LoadReceipt(a.Host.Files, a.Now)
	if err != nil {
		return nil, err
	}
	plan, err := ApplyPlan(&Inputs{Facts: a.Host.Facts(ctx), ConfigText: text, Config: cfg}, a.Builder)
	if err != nil {
		return nil, err
	}
	executor := &Executor{Host: a.Host, Receipt: receipt, Report: a.Report}
	outcome, err := executor.Run(ctx, plan)
	if err != nil || len(outcome.Changed) == 0 {
		return outcome.Changed, err
	}
	proof := NewProof(a.Host, a.Report, cfg)
	if err := proof.Quick(ctx); err != nil {
		return outcome.Changed, err
	}
	if slices.Contains(outcome.Changed, "unit "+layout.HubUnit) {
		if err := taken(ctx, a.Host, text, cfg); err != nil {
			return outcome.Changed, err
		}
	}
	return outcome.Changed, executor.Finish(true)
}

// remember keeps a config that is in effect, in the history and as the one that the hub falls back to. The hub itself remembers only what it
// had to start for.
func remember(files host.Files, now func() time.Time, text []byte, who, how string) error {
	if applied, err := files.Read(layout.Applied); err != nil || !bytes.Equal(applied, text) {
		if err := files.Write(layout.Applied, text, secret); err != nil {
			return err
		}
	}
	return History{Files: files, Now: now}.Add(text, who, how)
}

// taken tells whether the hub, which starts from the last config that worked when it can't use one, runs with this one: it keeps what it started with.
func taken(ctx context.Context, h *host.Host, text []byte, cfg *config.Config) error {
	got, err := h.Files.Read(layout.Applied)
	if err == nil && bytes.Equal(got, text) {
		return nil
	}
	// It was not started anew for what it does not read.
	if before, _ := config.Parse(layout.Applied, got); err == nil && before != nil && before.HubView() == cfg.HubView() {
		return nil
	}
	words := []string{}
	for line := range strings.Lines(h.Journal(ctx, layout.HubUnit, 100)) {
		if strings.Contains(line, layout.Config) {
			words = append(words, strings.TrimSpace(line))
		}
	}
	return fmt.Errorf("the hub did not take the config:\n%s", strings.Join(words, "\n"))
}

// goBack puts the last version that worked back, file and all.
func (a *Applier) goBack(ctx context.Context, history History, text []byte, cause error) error {
	last, before, ok := history.Last()
	if !ok || bytes.Equal(before, text) {
		return cause
	}
	cfg, problems := config.Parse(layout.Config, before)
	if problems.Err() != nil {
		return cause
	}
	a.Report.Note("it did not work: going back to version %d of the config", last.Number)
	files := a.Host.Files
	err := files.Write(rejectedConfig(), text, secret)
	if err == nil {
		err = files.Write(layout.Config, before, secret)
	}
	if err == nil {
		_, err = a.enact(ctx, before, cfg)
	}
	if err != nil {
		return host.Hint(errors.Join(cause, fmt.Errorf("going back failed, too: %w", err)), "journalctl -u %s tells more; tljh-install config revert tries again", layout.HubUnit)
	}
	return &RevertedError{Err: cause, Version: last.Number, Kept: rejectedConfig()}
}
