package installer

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"tljh/config"
	"tljh/environment"
	"tljh/installer/hubnotes"
	"tljh/installer/journal"
	"tljh/installer/proof"
	"tljh/internal/check"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/manual"
	"tljh/internal/report"
	"tljh/internal/step"
	"tljh/systemdunits"
)

// Result is what install has to tell at its end.
type Result struct {
	Changed   bool          `json:"changed"`
	Addresses []string      `json:"addresses"`
	Origins   Origins       `json:"origins"`
	Admins    []AdminResult `json:"admins"`
	Seconds   float64       `json:"seconds"`
	Received  int64         `json:"received_bytes"`
	Advice    []string      `json:"advice,omitempty"` // what its admin should know or do next
	Next      []Next        `json:"next,omitempty"`   // what comes after an installation
	Memory    Memory        `json:"memory_limit"`

	// Failed holds what could not be done although the hub is up: exit code 6.
	Failed []string `json:"failed,omitempty"`
}

// Memory is the memory limit of each server.
type Memory struct {
	Limit string `json:"limit"` // as the config has it; "" is none
	Auto  bool   `json:"auto"`  // derived from the machine
	All   string `json:"all"`   // what all servers may take together
}

func memoryOf(cfg *config.Config, machine uint64) Memory {
	found := Memory{Auto: cfg.Limits.MemoryAuto, All: config.Bytes(systemdunits.UsersMemory(machine)).String()}
	limit := cfg.Limits.Memory
	if derived := config.Bytes(systemdunits.ServerMemory(machine)); found.Auto && derived > 0 {
		limit = &derived
	}
	if limit != nil {
		found.Limit = limit.String()
	}
	return found
}

// AdminResult is an admin; Password is set only when it was generated just now.
type AdminResult struct {
	Name     string `json:"name"`
	Password string `json:"password,omitempty"`
	Kept     bool   `json:"kept,omitempty"` // a password was there already and stays
}

// RefusedError tells that the preflight found reasons not to begin. Nothing has been changed.
type RefusedError struct {
	Findings []check.Finding
}

func (e *RefusedError) Error() string {
	names := []string{}
	for _, finding := range e.Findings {
		names = append(names, finding.Name)
	}
	return fmt.Sprintf("this machine is not ready: %s. Nothing has been changed", strings.Join(names, ", "))
}

// UnprovedError tells that everything was installed and yet the hub does not work, or not with its config.
type UnprovedError struct {
	Err error

	but string // what is wrong, before Err says why
}

func (e *UnprovedError) Error() string {
	return "everything is installed, but " + e.but + e.Err.Error()
}
func (e *UnprovedError) Unwrap() error { return e.Err }

func unproved(err error) error { return &UnprovedError{Err: err, but: "the hub does not work: "} }

// Installer installs.
type Installer struct {
	Host    *host.Host
	Report  *report.Reporter
	Builder *environment.Builder
	Now     func() time.Time
	Ignore  []string // preflight checks that may fail
	Redact  func(secret string)
	Who     string // for the config's history
	Begin   func() // called when the preflight has passed: from now on the machine is changed

	// Show shows what taking over an older TLJH is about to do; Ask does, too, and an error of it keeps everything as it is. Both may be nil.
	Show func(*Takeover)
	Ask  func(takeover *Takeover, question string) error
}

// Plan tells what Install would do, and what keeps it from it.
func (i *Installer) Plan(ctx context.Context, options Options) error {
	in, err := Gather(ctx, i.Host, options)
	if err != nil {
		return err
	}
	defer in.Close()
	UseSources(i.Builder, in.Config)
	if err := in.require(ctx, i.Builder.Client, options.Requirements); err != nil {
		return err
	}
	if err := i.judgeConfig(ctx, in, options); err != nil {
		return err
	}
	if err := i.resume(ctx, in); err != nil {
		return err
	}
	refused := i.preflight(ctx, installing(in), in, options.PackageManager)
	i.tell(in)
	if in.older != nil && len(in.older.missing) == 0 && i.Show != nil {
		i.Show(takeoverOf(i.Host.Files, in))
	}
	plan, err := i.plan(in)
	if err != nil {
		return err
	}
	receipt, err := journal.LoadReceipt(i.Host.Files, i.Now)
	if err != nil && !errors.Is(err, os.ErrPermission) {
		return err
	}
	if receipt == nil {
		receipt = journal.NewReceipt(i.Host.Files, i.Now)
	}
	executor := &journal.Executor{Host: i.Host, Receipt: receipt, Report: i.Report}
	if _, err := executor.DryRun(ctx, plan); err != nil {
		return err
	}
	return refused
}

// Install brings the machine to what options and config ask for, proves it, and says how to get in. A result that comes with an error holds the
// passwords that were generated until then: they are shown nowhere else.
func (i *Installer) Install(ctx context.Context, options Options) (*Result, error) {
	start, received := i.Now(), report.Received(i.Host.Files)
	in, unlock, err := i.prepare(ctx, options)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	defer unlock()
	i.Begin()
	i.tell(in)
	if err := sweep(i.Host.Files); err != nil {
		return nil, err
	}
	do := i.change
	if in.older != nil || in.adoption != nil {
		do = i.adopt
	}
	outcome, err := do(ctx, in)
	if err != nil {
		return nil, err
	}
	result := &Result{
		Changed: len(outcome.Changed) > 0, Addresses: addresses(i.Host.Files, in.Config), Origins: originsOf(in.Config),
		Memory: memoryOf(in.Config, in.Facts.MemoryBytes),
	}
	for _, failed := range outcome.Failed {
		result.Failed = append(result.Failed, failed.Error())
	}
	plain, err := i.noPlugins(options.Plugins)
	if err != nil {
		return nil, err
	}
	for _, name := range plain {
		i.Report.Note("%s is installed into the hub environment, and is no plugin: it has no entry point of the group tljh, so the hub calls none of its hooks. "+
			"To take it out: sudo tljh-install config remove hub.packages %s, then sudo tljh-install install", name, name)
	}
	failed, err := i.servePlugins(ctx)
	if err != nil {
		return nil, err
	}
	for _, each := range failed {
		result.Failed = append(result.Failed, each.Error())
	}
	if result.Admins, err = i.passwords(ctx, in.Admins, ShortestPassword(in.Config)); err != nil {
		return result, err
	}
	result.Changed = result.Changed || slices.ContainsFunc(result.Admins, func(a AdminResult) bool { return !a.Kept })
	result.Seconds, result.Received = i.Now().Sub(start).Seconds(), received()
	result.Advice = adviceFor(i.Host.Files, in.Config)
	if result.Changed && len(result.Addresses) > 0 {
		result.Next = nextSteps(in.Config, result.Addresses[0], processors())
	}
	return result, damaged(i.Host.Files)
}

// tell passes on what was noticed while the inputs were read.
func (i *Installer) tell(in *Inputs) {
	for _, note := range in.notes {
		i.Report.Note("%s", note)
	}
}

// damaged is the error of a user environment that is damaged: an installation leaves one that is there alone.
func damaged(files host.Files) error {
	part := lookAtUserEnvironment(files)
	if !part.Problem {
		return nil
	}
	return host.Hint(&UnprovedError{Err: errors.New(part.State), but: "not all of it works: the user environment is "}, "%s", part.Hint)
}

// prepare reads what is asked for, finds that it can be done, and keeps others from changing anything. A config that somebody changed while the
// machine was being looked at is read again.
func (i *Installer) prepare(ctx context.Context, options Options) (*Inputs, func(), error) {
	for {
		in, err := Gather(ctx, i.Host, options)
		if err != nil {
			return nil, nil, err
		}
		unlock, err := i.ready(ctx, in, options)
		if err != nil {
			in.Close()
			return nil, nil, err
		}
		stale, err := in.stale(i.Host.Files, options)
		if err == nil && !stale {
			return in, unlock, nil
		}
		unlock()
		in.Close()
		if err != nil {
			return nil, nil, err
		}
		i.Report.Note("the config was changed meanwhile: it is read again")
	}
}

// ready judges config and machine, and locks both the installation and its config.
func (i *Installer) ready(ctx context.Context, in *Inputs, options Options) (func(), error) {
	UseSources(i.Builder, in.Config)
	if err := interrupted(i.Host.Files); err != nil {
		return nil, err
	}
	if err := rightRelease(i.Host.Files); err != nil {
		return nil, err
	}
	if err := in.require(ctx, i.Builder.Client, options.Requirements); err != nil {
		return nil, err
	}
	if err := i.judgeConfig(ctx, in, options); err != nil {
		return nil, err
	}
	if err := i.resume(ctx, in); err != nil {
		return nil, err
	}
	if err := i.preflight(ctx, installing(in), in, options.PackageManager); err != nil {
		return nil, err
	}
	if err := i.agree(in); err != nil {
		return nil, err
	}
	return i.lockAll(ctx)
}

// plan is what Install is going to do.
func (i *Installer) plan(in *Inputs) (journal.Plan, error) {
	if in.older == nil {
		return InstallPlan(in, i.Builder)
	}
	return aheadOfAdoption(in, i.Builder)
}

// lockAll keeps others from changing the installation, and from editing its config.
func (i *Installer) lockAll(ctx context.Context) (func(), error) {
	unlock, err := journal.Lock(ctx, i.Host.Files, i.Now())
	if err != nil {
		return nil, err
	}
	unlockConfig, err := ConfigFile{Host: i.Host, Path: layout.Config, Now: i.Now, Who: i.Who}.Lock(ctx, 0, nil)
	if err != nil {
		unlock()
		return nil, err
	}
	return func() { unlockConfig(); unlock() }, nil
}

// judgeConfig judges the config as config edit does. What only the hub environment can tell is found out at the end where there is none yet, or
// none that works: to mend it is what install is for.
func (i *Installer) judgeConfig(ctx context.Context, in *Inputs, options Options) error {
	file := ConfigFile{Host: i.Host, Path: layout.Config, Name: options.ConfigFile, Now: i.Now}
	_, problems, err := file.Check(ctx, in.ConfigText)
	if problems.Err() != nil {
		return invalid(cmp.Or(options.ConfigFile, layout.Config), problems)
	}
	if problem := problems.UnreadyToInstall(); problem != nil {
		return &BadInput{Err: host.Hint(errors.New(problem.Message), "%s", problem.Hint)}
	}
	if err != nil && ctx.Err() == nil {
		i.Report.Note("%v", err)
		return nil
	}
	return err
}

// sweep removes what killed runs were writing, 55 MB at most, and never finished. Nobody else writes there while both locks are held.
func sweep(files host.Files) error {
	var errs []error
	dirs := []string{path.Dir(layout.Binary), layout.Root, layout.State, layout.ConfigDir, layout.Units, path.Dir(layout.Sudoers), path.Dir(layout.Profile), path.Dir(layout.SSHRule), path.Dir(layout.NeedRestart)}
	for _, dir := range append(dirs, manual.Folders()...) {
		errs = append(errs, files.Sweep(dir))
	}
	return errors.Join(errs...)
}

// change runs the plan and the proof. A hub that does not work with other hub.packages runs without them again.
func (i *Installer) change(ctx context.Context, in *Inputs) (journal.Outcome, error) {
	before, had := environment.Current(i.Host.Files, environment.Hub)
	outcome, err := i.enact(ctx, in)
	live, _ := environment.Current(i.Host.Files, environment.Hub)
	if err == nil || ctx.Err() != nil || !had || slices.Equal(before.Packages, live.Packages) {
		return outcome, err
	}
	i.Report.Note("it did not work: going back to the hub environment before")
	if failed := i.backToHub(ctx, in, before); failed != nil {
		return outcome, errors.Join(err, fmt.Errorf("going back to the hub environment before failed, too: %w", failed))
	}
	return outcome, host.Hint(fmt.Errorf("%w\nThe hub runs in the environment before, without the change of hub.packages", err),
		"change hub.packages or what needs them (sudo tljh-install config edit), then run the same command again")
}

// backToHub lets the hub run in an environment that was live before, with its packages.
func (i *Installer) backToHub(ctx context.Context, in *Inputs, before environment.Generation) error {
	cfg, back := *in.Config, *in
	cfg.Hub.Packages, back.Config, back.goingBack = before.Packages, &cfg, true
	receipt, err := journal.LoadReceipt(i.Host.Files, i.Now)
	if err != nil {
		return err
	}
	plan, err := InstallPlan(&back, i.Builder)
	if err != nil {
		return err
	}
	_, err = (&journal.Executor{Host: i.Host, Receipt: receipt, Report: i.Report}).Run(ctx, plan)
	return err
}

func (i *Installer) enact(ctx context.Context, in *Inputs) (journal.Outcome, error) {
	receipt, err := journal.LoadReceipt(i.Host.Files, i.Now)
	if err != nil {
		return journal.Outcome{}, err
	}
	plan, err := InstallPlan(in, i.Builder)
	if err != nil {
		return journal.Outcome{}, err
	}
	proved := receipt.Finished()
	executor := &journal.Executor{Host: i.Host, Receipt: receipt, Report: i.Report}
	outcome, err := executor.Run(ctx, plan)
	if start := new(step.StartError); errors.As(err, &start) && start.Unit == layout.HubUnit {
		return outcome, unproved(err)
	}
	if err != nil {
		return outcome, err
	}
	changed := len(outcome.Changed) > 0
	hub := proof.New(i.Host, i.Report, in.Config)
	prove := hub.Whole
	if told, err := hubnotes.ReadRescue(i.Host.Files); proved && !changed && err == nil && told == nil {
		prove = hub.Quick
	}
	if err := prove(ctx); err != nil {
		if ctx.Err() != nil {
			return outcome, context.Cause(ctx)
		}
		return outcome, unproved(err)
	}
	if err := taken(ctx, i.Host, in.ConfigText, in.Config); err != nil {
		return outcome, host.Hint(&UnprovedError{Err: err}, "it runs with the last config that it could use. Correct the config: tljh-install config edit; then run the same command again")
	}
	if err := remember(i.Host.Files, i.Now, in.ConfigText, i.Who, "install"); err != nil {
		return outcome, err
	}
	if err := executor.Finish(changed); err != nil {
		return outcome, err
	}
	return outcome, noteInstalled(i.Host.Files, i.Now())
}

// passwords gives every admin without a password the one that was given, or a new one. One that is there is never changed:
// the pasted line may be run again long after.
func (i *Installer) passwords(ctx context.Context, admins []Admin, least int) ([]AdminResult, error) {
	results := []AdminResult{}
	for _, admin := range admins {
		result := AdminResult{Name: admin.Name}
		password := admin.Password
		if password == "" {
			password = GeneratePassword(least)
			result.Password = password
		}
		i.Redact(password)
		set, err := SetPassword(ctx, i.Host, admin.Name, password, true)
		if err != nil {
			return results, fmt.Errorf("cannot set the password of %s: %w", admin.Name, err)
		}
		if !set {
			result.Password, result.Kept = "", true
		}
		results = append(results, result)
	}
	return results, nil
}

// passwordKept is the exit code of tljh.passwords when --if-absent found a password.
const passwordKept = 4

// SetPassword stores a password for a hub user, through the hub's own code. With ifAbsent, one that is there stays, and set is false.
func SetPassword(ctx context.Context, h *host.Host, name, password string, ifAbsent bool) (set bool, err error) {
	how := []string{}
	if ifAbsent {
		how = append(how, "--if-absent")
		if TooShort(name, password) != nil {
			how = append(how, "--short")
		}
	}
	err = setPassword(ctx, h, name, password, how...)
	var exit *host.ExitError
	if errors.As(err, &exit) && exit.Code == passwordKept {
		return false, nil
	}
	return err == nil, err
}

// SetOneTimePassword sets a password in whose place the user has to choose another at the next login.
func SetOneTimePassword(ctx context.Context, h *host.Host, name, password string) error {
	return setPassword(ctx, h, name, password, "--one-time")
}

func setPassword(ctx context.Context, h *host.Host, name, password string, how ...string) error {
	argv := slices.Concat([]string{layout.Hub + "/bin/python", "-m", "tljh.passwords", "set"}, how, []string{name})
	_, err := h.Runner.Run(ctx, host.Command{Argv: argv, Stdin: strings.NewReader(password + "\n")})
	return err
}

// WithoutPassword returns the users of the hub, admins aside, who have no password.
func WithoutPassword(ctx context.Context, h *host.Host) ([]string, error) {
	result, err := h.Runner.Run(ctx, host.Command{Argv: []string{layout.Hub + "/bin/python", "-m", "tljh.passwords", "without"}})
	return strings.Fields(string(result.Stdout)), err
}

// WithUnusedPassword returns the users whose one-time password was not used yet.
func WithUnusedPassword(ctx context.Context, h *host.Host) ([]string, error) {
	result, err := h.Runner.Run(ctx, host.Command{Argv: []string{layout.Hub + "/bin/python", "-m", "tljh.passwords", "unused"}})
	return strings.Fields(string(result.Stdout)), err
}

// passwordOfNobody is the exit code of tljh.passwords when the hub does not know a name.
const passwordOfNobody = 5

// KnownUser reports whether the hub has, had or would take a user of that name.
func KnownUser(ctx context.Context, h *host.Host, name string) (bool, error) {
	_, err := h.Runner.Run(ctx, host.Command{Argv: []string{layout.Hub + "/bin/python", "-m", "tljh.passwords", "known", name}})
	var exit *host.ExitError
	if errors.As(err, &exit) && exit.Code == passwordOfNobody {
		return false, nil
	}
	return err == nil, err
}

// Letters that cannot be mistaken for one another when copied from a screen.
const passwordLetters = "abcdefghijkmnpqrstuvwxyz23456789"

// GeneratePassword returns at least 80 random bits in groups of four letters: four groups, or as many more as it takes to have the characters that
// are asked for.
func GeneratePassword(least int) string {
	groups := min(max(4, (least+5)/5), passwordMax/5)
	random := make([]byte, 4*groups)
	_, _ = rand.Read(random) // never fails: the program would end instead
	var text strings.Builder
	for n, b := range random {
		if n > 0 && n%4 == 0 {
			text.WriteByte('-')
		}
		text.WriteByte(passwordLetters[int(b)%len(passwordLetters)])
	}
	return text.String()
}

// ShortestPassword is how many characters the config asks for at least; 0 where it says nothing.
func ShortestPassword(cfg *config.Config) int {
	least, _ := cfg.Auth.Options["FirstUseAuthenticator"]["min_password_length"].(int64)
	return int(least)
}

// addresses lists where users may open the hub: its own name where the config has one, names that a certificate holds, or else this machine's addresses, those
// reachable from elsewhere first.
func addresses(files host.Files, cfg *config.Config) []string {
	if cfg.HTTP.PublicURL != "" {
		return []string{cfg.HTTP.PublicURL + cfg.BaseURL}
	}
	scheme, port, usual, names := "http", cfg.HTTP.Port, 80, listenedAt(cfg.HTTP.Address)
	if https := cfg.HTTPS; https.Enabled {
		scheme, port, usual, names = "https", https.Port, 443, listenedAt(https.Address)
		if held := slices.Concat(https.LetsEncrypt.Domains, certificateNames(files, https.TLS.Cert)); len(held) > 0 {
			names = held
		}
	}
	if cfg.Hub.Domain != "" || cfg.Hub.UserDomain != "" {
		names = []string{cfg.HubDomain()}
	}
	for n, name := range names {
		switch {
		case port != usual:
			name = net.JoinHostPort(name, strconv.Itoa(port))
		case strings.Contains(name, ":"):
			name = "[" + name + "]"
		}
		names[n] = scheme + "://" + name + cfg.BaseURL
	}
	return names
}

// listenedAt returns the addresses at which the edge answers: the one of the config, or else all of the machine's.
func listenedAt(address string) []string {
	if ip := net.ParseIP(address); ip != nil && !ip.IsUnspecified() {
		return []string{address}
	}
	return machineAddresses()
}

func machineAddresses() []string {
	found := []string{}
	interfaces, _ := net.InterfaceAddrs()
	for _, address := range interfaces {
		ip, ok := address.(*net.IPNet)
		if !ok || ip.IP.IsLoopback() || ip.IP.IsLinkLocalUnicast() {
			continue
		}
		found = append(found, ip.IP.String())
	}
	slices.SortStableFunc(found, func(a, b string) int { return strings.Count(a, ":") - strings.Count(b, ":") })
	if len(found) == 0 {
		found = []string{"127.0.0.1"}
	}
	return found
}

// certificateNames returns the hosts that a certificate names; none when it can't be read, which is found elsewhere.
func certificateNames(files host.Files, file string) []string {
	if file == "" {
		return nil
	}
	data, _ := files.Read(file)
	block, _ := pem.Decode(data)
	if block == nil {
		return nil
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(certificate.DNSNames), func(name string) bool { return strings.Contains(name, "*") })
}
