package installer

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"tljh/environment"
	"tljh/installer/journal"
	"tljh/installer/proof"
	"tljh/internal/check"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/report"
)

// before is what is about to begin. Each check says before which of them it runs.
type before int

const (
	beforeInstallation before = 1 << iota
	beforeUpgrade
	beforeAdoption

	forInstall = beforeInstallation | beforeAdoption // one command does either
	always     = forInstall | beforeUpgrade
)

// installing is what a run of install is about to begin: a new hub, or one that replaces a legacy hub.
func installing(in *Inputs) before {
	if in.older != nil {
		return beforeAdoption
	}
	return beforeInstallation
}

// preflight is what its checks look at: the machine, and what is about to begin on it.
type preflight struct {
	*check.Env
	installer *Installer
	in        *Inputs
}

// preflightCheck is a row of the table of checks.
type preflightCheck struct {
	check.Check[*preflight]
	before before
	fixed  bool // no option passes over it: without what it looks at, nothing can be adopted
	whole  bool // it looks into a legacy hub, which must be complete
}

// preflightChecks is every check that runs before an installation, an upgrade or an adoption, in the order of the report. Those of the machine
// are in the package check.
var preflightChecks = slices.Concat(ofMachine(), []preflightCheck{
	{of("upgrade-disk", "space for a second hub environment", checkUpgradeDisk), beforeUpgrade, false, false},
	{of("health", "the hub that is there", checkHealth), beforeUpgrade, false, false},
	{of("older-tljh", "the legacy hub", checkOlder), beforeAdoption, true, false},
	{of("older-hub", "the hub that is there", checkOlderHub), beforeAdoption, true, true},
	{of("older-environment", "its user environment", checkOlderEnvironment), beforeAdoption, true, true},
	{of("hooks", "code in "+layout.ConfigD, checkHooks), beforeAdoption, false, true},
	{of("ssh-keys", "users' keys for ssh", checkSSHKeys), beforeAdoption, false, true},
})

func of(name, title string, run func(ctx context.Context, about *preflight) check.Finding) check.Check[*preflight] {
	return check.Check[*preflight]{Name: name, Title: title, Run: run}
}

// ofMachine is the part of the table that looks at the machine only.
func ofMachine() []preflightCheck {
	rows := make([]preflightCheck, 0, len(check.Machine))
	for _, row := range check.Machine {
		run := func(ctx context.Context, about *preflight) check.Finding { return row.Run(ctx, about.Env) }
		rows = append(rows, preflightCheck{Check: of(row.Name, row.Title, run), before: always})
	}
	return rows
}

// CheckNames returns the names of the checks that --ignore-preflight of install passes over.
func CheckNames() []string { return forInstall.ignorable() }

// UpgradeCheckNames returns those of upgrade.
func UpgradeCheckNames() []string { return beforeUpgrade.ignorable() }

// KnownChecks returns the error of a name that is no check which an installation may pass over.
func KnownChecks(names []string) error { return check.Known(names, CheckNames()) }

func (b before) ignorable() []string {
	names := []string{}
	for _, row := range preflightChecks {
		if row.before&b != 0 && !row.fixed {
			names = append(names, row.Name)
		}
	}
	return names
}

// checksOf are the rows of the table that run before something.
func checksOf(before before, older *Older) []preflightCheck {
	rows, broken := []preflightCheck{}, older != nil && len(older.missing) > 0
	for _, row := range preflightChecks {
		if row.before&before != 0 && !(row.whole && broken) {
			rows = append(rows, row)
		}
	}
	return rows
}

// preflight looks for what keeps something from beginning, and finds out meanwhile what builds the user environment.
func (i *Installer) preflight(ctx context.Context, before before, in *Inputs, manager string) error {
	ignorable := CheckNames()
	if before == beforeUpgrade {
		ignorable = UpgradeCheckNames()
	}
	if err := check.Known(i.Ignore, ignorable); err != nil {
		return badInput(err)
	}
	chosen := i.managerFor(ctx, in, manager)
	rows := checksOf(before, in.older)
	checks := make([]check.Check[*preflight], len(rows))
	for n, row := range rows {
		checks[n] = row.Check
	}
	findings, err := check.All(ctx, &preflight{Env: i.checkEnv(in), installer: i, in: in}, checks)
	if err != nil {
		return badInput(err)
	}
	in.Manager = <-chosen
	refused := &RefusedError{}
	for n, finding := range findings {
		if finding.Severity == check.Failed && !rows[n].fixed && slices.Contains(i.Ignore, finding.Name) {
			finding.Severity = check.Warning
			finding.Message += " (ignored, as asked)"
		}
		i.Report.Emit(report.Event{
			Kind: report.KindCheck, Step: finding.Name, Title: finding.Title, Status: report.Status(finding.Severity),
			Message: finding.Message, Hint: finding.Hint,
		})
		if finding.Severity == check.Failed {
			refused.Findings = append(refused.Findings, finding)
		}
	}
	return refused.withWay(ignorable)
}

// withWay says what to do about a refusal; nil where there is none.
func (e *RefusedError) withWay(ignorable []string) error {
	if len(e.Findings) == 0 {
		return nil
	}
	const see = "fix what is named above and run the same command again"
	first := e.Findings[0]
	if len(e.Findings) == 1 && first.Name == "lock" {
		holder := strings.TrimPrefix(first.Message, (&journal.BusyError{}).Error()) // both say so
		return host.Hint(&journal.BusyError{Holder: holder}, "%s", first.Hint)
	}
	if !slices.Contains(ignorable, first.Name) {
		return host.Hint(e, see)
	}
	return host.Hint(e, see+"; who knows better goes on with --ignore-preflight %s", first.Name)
}

// built is a moment that no right clock is before.
var built = time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)

func (i *Installer) checkEnv(in *Inputs) *check.Env {
	files := i.Host.Files
	hub, _ := environment.Current(files, environment.Hub)
	whole := environment.UserThere(files) && files.Exists(layout.Hub)
	secure := 0
	if in.Config.HTTPS.Enabled {
		secure = in.Config.HTTPS.Port
	}
	var copied uint64
	if in.older != nil {
		copied = uint64(max(0, in.older.Environment.Bytes))
	}
	return &check.Env{
		Older: in.older != nil || in.adoption != nil, Copied: copied,
		SecureAddress: in.Config.HTTPS.Address, SecurePort: secure,
		UserAddress: userAddress(in.Config), UserPort: in.Config.Hub.UserPort,
		Host: i.Host, Facts: in.Facts, Address: in.Config.HTTP.Address, Port: in.Config.HTTP.Port, Environ: i.Builder.Environ,
		Now: i.Now(), Built: built,
		Installed: whole && check.Ours(files),
		Online:    !whole || hub.Digest != environment.HubDigest(in.Config.Hub.Packages) || in.Requirements != "" || len(in.Config.UserEnvironment.Packages) > 0,
		Index:     sync.OnceValues(i.Builder.Index),
		Python:    environment.PythonProgram(files),
		HomeRoots: homeRoots(in.Config.Users.HomeRoot),
	}
}

// upgradeDisk is what a second hub environment, its downloads and a program take while they are built.
const upgradeDisk = 900 << 20

func checkUpgradeDisk(_ context.Context, about *preflight) check.Finding {
	free, _, err := about.Host.Files.FreeSpace(layout.Root)
	switch {
	case err != nil:
		return check.Warn("see what this says: df -h /opt", "%v", err)
	case free < upgradeDisk:
		return check.Fail("see what takes the space: df -h /opt", "%d MB is free; %d MB is needed while the new environments are built", free>>20, upgradeDisk>>20)
	}
	return check.Fine("%d MB is free", free>>20)
}

// healthTime is how long a hub that works may take to answer before an upgrade.
const healthTime = 15 * time.Second

// checkHealth wants a hub that works: whether the new one does could not be told otherwise.
func checkHealth(ctx context.Context, about *preflight) check.Finding {
	ctx, cancel := context.WithTimeoutCause(ctx, healthTime, errors.New("it does not answer"))
	defer cancel()
	if err := proof.New(about.Host, report.New(), about.in.Config).Quick(ctx); err != nil {
		return check.Fail("tljh-install status tells more, tljh-install install repairs what is missing", "it does not work: %v", err)
	}
	return check.Fine("it works")
}
