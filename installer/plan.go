package installer

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"tljh/conda"
	"tljh/config"
	"tljh/environment"
	"tljh/installer/journal"
	"tljh/installer/proof"
	"tljh/installer/uninstall"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/manual"
	"tljh/internal/step"
	"tljh/internal/version"
	"tljh/sudoers"
	"tljh/systemdunits"
)

// Phases, in the order they are shown.
const (
	phaseFolders      = "folders and config"
	phaseEnvironments = "environments"
	phaseServices     = "services"
)

// InstallPlan makes the plan that brings a machine to what the inputs ask for. It looks at nothing but the inputs.
func InstallPlan(in *Inputs, builder *environment.Builder) (journal.Plan, error) {
	p := &planner{in: in, builder: builder}
	return p.whole()
}

func (p *planner) whole() (journal.Plan, error) {
	if err := p.folders(); err != nil {
		return journal.Plan{}, err
	}
	p.environments()
	later := p.match || p.in.switching // as many files as it has are not looked at while the hub is away
	if !later {
		p.userEnvironment()
	}
	if err := p.services(idHub); err != nil {
		return journal.Plan{}, err
	}
	if later {
		p.userDone = append(p.userDone, idHubUnit)
	}
	if p.match {
		p.finally(matchStep(p.builder))
	}
	if later {
		p.userEnvironment()
	}
	p.watch()
	p.cleaning()
	return p.plan, p.plan.Valid()
}

// applyPlan makes the plan that puts another config into effect on a machine with an installation.
func applyPlan(in *Inputs, builder *environment.Builder, patience time.Duration) (journal.Plan, error) {
	p := &planner{in: in, builder: builder, patience: patience}
	// Whatever it was written by, it is root's alone afterwards.
	p.then(phaseServices, step.File{Path: layout.Config, What: "config", Content: in.ConfigText, Attr: secret})
	if err := p.authorities(phaseServices); err != nil {
		return journal.Plan{}, err
	}
	if err := p.services(); err != nil {
		return journal.Plan{}, err
	}
	p.watch()
	return p.plan, p.plan.Valid()
}

type planner struct {
	in       *Inputs
	builder  *environment.Builder
	plan     journal.Plan
	userDone []string  // the steps after which nobody changes the user environment any more
	match    bool      // the user environment is to have the hub's JupyterHub, whatever was done to it
	follow   step.Step // of an upgrade: what makes the new environments, which are there, the live ones
	last     string    // of the steps whose order is fixed

	watchStamp string // of the units that watch the user environment
	checkStamp string // of the timer that checks it
	patience   time.Duration
}

// hubPatience is how long a hub may take to come up with another config before that is taken back. It takes seconds, on a busy machine some more.
const hubPatience = 90 * time.Second

var errHubPatience = fmt.Errorf("it did not come up within %.0f seconds", hubPatience.Seconds())

// then adds a step that comes after the one added by then before it, and after the others named.
func (p *planner) then(phase string, s step.Step, after ...string) {
	if p.last != "" {
		after = append(after, p.last)
	}
	p.last = s.ID()
	p.beside(phase, s, after...)
}

// beside adds a step that waits for those named and no others.
func (p *planner) beside(phase string, s step.Step, after ...string) {
	p.plan.Nodes = append(p.plan.Nodes, journal.Node{Step: s, Phase: phase, After: after})
}

var (
	rootDir  = host.Attr{Mode: 0o755}
	private  = host.Attr{Mode: 0o700}
	secret   = host.Attr{Mode: 0o600}
	readable = host.Attr{Mode: 0o644}
)

// The folders of an installation; state comes early, for the receipt lies in it.
var folders = []step.Dir{
	{Path: layout.Root, Attr: rootDir},
	{Path: layout.State, Attr: private},
	{Path: path.Dir(layout.Binary), Attr: rootDir},
	{Path: layout.Python, Attr: rootDir},
	{Path: layout.Tools, Attr: rootDir},
	{Path: layout.Generations, Attr: rootDir},
	{Path: layout.ConfigDir, Attr: private},
	{Path: layout.ConfigD, Attr: private},
	{Path: layout.Releases, Attr: rootDir},
	{Path: layout.Environments, Attr: rootDir},
}

func (p *planner) folders() error {
	for _, dir := range folders {
		p.then(phaseFolders, dir)
	}
	p.then(phaseFolders, programStep())
	p.then(phaseFolders, step.Link{Path: layout.BinaryLink, Target: layout.Binary, What: layout.BinaryLink})
	p.then(phaseFolders, step.Link{Path: layout.ConfigLink, Target: layout.Binary, What: layout.ConfigLink})
	for _, link := range systemLinks(p.builder.Host.Files, p.in) {
		p.then(phaseFolders, step.Link{Path: link, Target: layout.Binary, What: link})
	}
	p.then(phaseFolders, step.File{Path: layout.Config, What: "config", Content: p.in.ConfigText, Attr: secret})
	p.then(phaseFolders, step.Secret{Path: layout.ProxyEnv, What: "proxy's token", Variable: layout.ProxyTokenVariable, Attr: secret, Generate: proxyEnv})
	p.then(phaseFolders, step.Secret{Path: layout.EdgeEnv, What: "token by which the hub knows the edge", Variable: edgeTokenVariable, Attr: secret, Generate: edgeEnv})
	p.then(phaseFolders, step.Secret{Path: layout.Token, What: "installer's token for the hub", Attr: secret, Generate: token})
	for _, group := range []string{layout.AdminsGroup, layout.UsersGroup, layout.ProxyGroup} {
		p.then(phaseFolders, step.Group{Name: group})
	}
	p.then(phaseFolders, step.Account{Name: layout.EnvironmentUser})
	p.then(phaseFolders, step.File{Path: layout.Profile, What: "users' shell profile", Content: []byte(profile), Attr: readable})
	p.needRestart()
	p.manual()
	p.then(phaseFolders, step.Dir{Path: layout.Shims, Attr: rootDir})
	for _, name := range conda.Shims {
		p.then(phaseFolders, step.File{Path: path.Join(layout.Shims, name), What: "program " + name + " of users' terminals", Content: conda.Shim, Attr: rootDir})
	}
	return p.authorities(phaseFolders)
}

// needRestart keeps needrestart, which restarts what uses a library that was updated, from users' servers: their work would be gone. It may be installed
// later, so the file is written in any case.
func (p *planner) needRestart() {
	p.ownFolders(phaseFolders, path.Dir(path.Dir(layout.NeedRestart)), path.Dir(layout.NeedRestart))
	p.then(phaseFolders, step.File{Path: layout.NeedRestart, What: "rule for needrestart", Content: []byte(needRestart), Attr: readable})
}

// ownFolders adds folders that are not there yet. One that is there is somebody's, and stays as it is.
func (p *planner) ownFolders(phase string, folders ...string) {
	for _, folder := range folders {
		if !p.builder.Host.Files.Exists(folder) {
			p.then(phase, step.Dir{Path: folder, Attr: rootDir})
		}
	}
}

// manual adds what man and the shells find.
func (p *planner) manual() {
	p.ownFolders(phaseFolders, manual.Folders()...)
	for _, file := range manual.Files() {
		p.then(phaseFolders, step.File{Path: file.Path, What: manualWords(file.Path), Content: file.Content, Attr: readable})
	}
}

func manualWords(file string) string {
	if path.Ext(file) == ".1" {
		return "manual page " + path.Base(file)
	}
	return "completion " + file
}

// sudoPath is what sudo --version says to root of the folders that it finds programs in.
var sudoPath = regexp.MustCompile(`(?m)^Value to override user's \$PATH with: (.*)$`)

// systemLinks are the links to this program in /usr/bin: where sudo looks for none in /usr/local/bin, and where scripts know legacy TLJH's command. What is
// another's stays.
func systemLinks(files host.Files, in *Inputs) []string {
	hidden := false
	if found := sudoPath.FindStringSubmatch(in.Facts.Sudo); found != nil {
		hidden = !slices.Contains(strings.Split(found[1], ":"), path.Dir(layout.BinaryLink))
	}
	links := []string{}
	for link, wanted := range map[string]bool{layout.SystemBinary: hidden, layout.SystemConfig: hidden || in.switching} {
		target, err := files.Readlink(link)
		_, absent := files.Lstat(link)
		if err == nil && target == layout.Binary || wanted && errors.Is(absent, fs.ErrNotExist) && !files.ReadOnly(path.Dir(link)) {
			links = append(links, link)
		}
	}
	slices.Sort(links)
	return links
}

// authorities keeps what the config says is to be trusted: all that fetches goes by it as soon as the config is in effect.
func (p *planner) authorities(phase string) error {
	if p.in.Config.Sources.CA == "" {
		return nil
	}
	authorities, err := authoritiesStep(p.builder.Host.Files, p.in.Config.Sources)
	if err == nil {
		p.then(phase, authorities)
	}
	return err
}

func token() ([]byte, error) { return []byte(rand.Text() + rand.Text()), nil }

func proxyEnv() ([]byte, error) {
	return []byte(layout.ProxyTokenVariable + "=" + rand.Text() + rand.Text() + "\n"), nil
}

// edgeTokenVariable is what edge and hub read the edge's token from.
const edgeTokenVariable = "TLJH_EDGE_TOKEN"

func edgeEnv() ([]byte, error) {
	return []byte(edgeTokenVariable + "=" + rand.Text() + rand.Text() + "\n"), nil
}

// programStep keeps this very program in the installation.
func programStep() step.Step {
	return step.Task{
		Name: "program " + layout.Binary, What: "keep this program at " + layout.Binary,
		Look: func(_ context.Context, c *step.Context) (step.State, error) {
			if !c.Host.Files.Exists(layout.Binary) {
				return step.Absent, nil
			}
			if isThisProgram(c.Host.Files, layout.Binary) {
				return step.Same, nil
			}
			return step.Different, nil
		},
		Do: func(_ context.Context, c *step.Context) error { return keepThisProgram(c.Host.Files) },
	}
}

// keepThisProgram takes no disk when it is one that is kept already: going back to it must be possible on a disk that is full.
func keepThisProgram(files host.Files) error {
	if kept := program(version.Version); isThisProgram(files, kept) && files.HardLink(kept, layout.Binary) == nil {
		return nil
	}
	data, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	return files.Write(layout.Binary, data, rootDir)
}

// isThisProgram tells whether a file is this very program, as it is to be kept.
func isThisProgram(files host.Files, p string) bool {
	ours, err := os.Stat("/proc/self/exe")
	if err != nil {
		return false
	}
	kept, err := files.Lstat(p)
	switch {
	case err != nil || host.AttrOf(kept) != rootDir || ours.Size() != kept.Size():
		return false
	case os.SameFile(ours, kept):
		return true
	}
	a, aErr := os.ReadFile("/proc/self/exe")
	b, bErr := files.Read(p)
	return aErr == nil && bErr == nil && bytes.Equal(a, b)
}

// The environments' steps, which run side by side as far as they can.
const (
	idPython         = "python"
	idCompile        = "python-library"
	idUV             = "uv"
	idHub            = "hub-environment"
	idFetchMiniforge = "fetch-miniforge"
	idMiniforge      = "miniforge"
	idUser           = "user-environment"
	idRequirements   = "user-requirements"
	idPackages       = "user-packages"
	idOwner          = "user-environment-owner"
)

// pythonAndUV adds what both environments are built with.
func (p *planner) pythonAndUV() {
	b := p.builder
	p.beside(phaseEnvironments, step.Task{
		Name: idPython, What: "unpack Python " + environment.PythonRelease,
		Look: present(environment.PythonThere),
		Do:   func(context.Context, *step.Context) error { return b.UnpackPython() },
	}, p.foldersDone()...)
	p.beside(phaseEnvironments, step.Task{
		Name: idCompile, What: "compile Python's library",
		Look: present(environment.PythonCompiled),
		Do:   func(ctx context.Context, _ *step.Context) error { return b.CompilePython(ctx) },
	}, idPython)
	p.beside(phaseEnvironments, fetchStep(b, environment.UVWheel, "fetch uv", present(environment.UVThere)), p.foldersDone()...)
	p.beside(phaseEnvironments, step.Task{
		Name: idUV, What: "unpack uv",
		Look: present(environment.UVThere),
		Do:   func(ctx context.Context, _ *step.Context) error { return b.InstallUV(ctx) },
	}, idFetch(environment.UVWheel))
}

// foldersDone names what the environments' steps come after: nothing where the folders are there already.
func (p *planner) foldersDone() []string {
	if p.last == "" {
		return nil
	}
	return []string{p.last}
}

func (p *planner) environments() {
	b := p.builder
	hubNode, user := hubStep(b, p.in), userStep(b, p.in.Manager)
	users := user.Look
	if p.match {
		users = matchStep(b).Look
	}
	p.pythonAndUV()
	p.beside(phaseEnvironments, fetchStep(b, environment.HubWheels, "fetch the hub's packages", hubNode.Look), p.last)
	p.beside(phaseEnvironments, fetchStep(b, environment.NodeWheel, "fetch Node", hubNode.Look), p.last)
	byConda := p.in.Manager.Name == "conda"
	if p.match || !byConda {
		p.beside(phaseEnvironments, fetchStep(b, environment.UserWheels, "fetch the users' packages", users), p.last)
	}
	p.beside(phaseEnvironments, hubNode, idUV, idCompile, idFetch(environment.HubWheels), idFetch(environment.NodeWheel))
	if byConda {
		p.conda(user)
	} else {
		p.beside(phaseEnvironments, user, idUV, idCompile, idFetch(environment.UserWheels))
	}
	p.beside(phaseEnvironments, managerStep(), idUser)
	p.userDone = []string{idUser}
	if p.match && byConda {
		p.userDone = append(p.userDone, idFetch(environment.UserWheels))
	}
}

// userEnvironment adds what comes after the user environment was made.
func (p *planner) userEnvironment() {
	b := p.builder
	p.finally(ownerStep()) // before anything is added that is not of a lock: it comes in as the environment's account, not as root
	if packages := p.in.Config.UserEnvironment.Packages; len(packages) > 0 {
		p.extra(addStep(b, packages))
	}
	if p.in.Requirements != "" {
		p.extra(requirementsStep(b, p.in.Requirements, p.in.Source))
	}
	p.finally(snapshotStep(b))
}

// packagesText is a list of packages as a file of requirements.
func packagesText(packages []string) []byte { return []byte(strings.Join(packages, "\n") + "\n") }

// finally adds a step that comes after all that changes the user environment.
func (p *planner) finally(s step.Step) {
	p.beside(phaseEnvironments, s, p.userDone...)
	p.userDone = append(p.userDone, s.ID())
}

// snapshotStep keeps the user environment as it is, where it has not been yet.
func snapshotStep(b *environment.Builder) step.Task {
	return step.Task{
		Name: "user-environment-snapshot", What: "keep a snapshot of the user environment",
		Look: func(_ context.Context, c *step.Context) (step.State, error) {
			same, err := environment.Kept(c.Host.Files)
			if same {
				return step.Same, err
			}
			return step.Different, err
		},
		Do: func(ctx context.Context, c *step.Context) error {
			why := environment.Occasion{Title: "install"}
			if all, err := environment.Snapshots(c.Host.Files); err == nil && len(all) > 0 { // the first is of what was just built and tried
				health, err := b.Verify(ctx)
				if err != nil {
					return err
				}
				why.Broken = health.Words()
			}
			_, _, err := environment.TakeSnapshot(c.Host.Files, b.Now(), why)
			return err
		},
	}
}

// extra adds a step that changes the user environment, after all those before it. That it fails does not keep the hub from coming up.
func (p *planner) extra(s step.Step) {
	p.beside(phaseEnvironments, s, p.userDone...)
	p.plan.Nodes[len(p.plan.Nodes)-1].Optional = true
	p.userDone = append(p.userDone, s.ID())
}

// ownerStep hands the user environment to its account: admins may change it without being root, all others may read it. The program never runs
// anything in it as root from then on.
func ownerStep() step.Task {
	return step.Task{
		Name: idOwner, What: "let admins change the user environment",
		Look: func(_ context.Context, c *step.Context) (step.State, error) {
			o, err := ownership(c.Host.Files)
			if o.dir == "" || errors.Is(err, host.ErrNoAccount) || errors.Is(err, host.ErrNoGroup) {
				return step.Different, nil // a plan on a fresh machine
			}
			if err != nil {
				return step.Absent, err
			}
			info, err := c.Host.Files.Lstat(o.dir)
			if err != nil {
				return step.Absent, err
			}
			right, err := c.Host.Files.HasACL(o.dir, o.acl)
			if errors.Is(err, host.ErrNoACL) {
				right, err = host.AttrOf(info).Mode == host.HandedOver, nil
			}
			if attr := host.AttrOf(info); err != nil || !right || attr.UID != o.uid || attr.GID != o.gid {
				return step.Different, err
			}
			return step.Same, nil
		},
		Do: func(_ context.Context, c *step.Context) error { return handOver(c.Host.Files) },
	}
}

// owned is whose the live user environment is to be.
type owned struct {
	dir      string // "" when there is none
	uid, gid int
	acl      host.ACL
}

func ownership(files host.Files) (o owned, err error) {
	live, ok := environment.Current(files, environment.User)
	if !ok {
		return o, nil
	}
	o.dir = live.Path()
	o.uid, o.gid, o.acl, err = environmentOwner(files)
	return o, err
}

// environmentOwner is whose user environments are, and who else may what.
func environmentOwner(files host.Files) (uid, gid int, acl host.ACL, err error) {
	if uid, _, err = files.AccountIDs(layout.EnvironmentUser); err != nil {
		return uid, gid, acl, err
	}
	gid, err = files.GroupID(layout.AdminsGroup)
	return uid, gid, host.ACL{gid: host.Writer, host.Others: host.Reader}, err
}

func handOver(files host.Files) error {
	o, err := ownership(files)
	if err == nil && o.dir == "" {
		err = errors.New("there is no user environment")
	}
	if err != nil {
		return err
	}
	return files.HandOver(o.dir, o.uid, o.gid, o.acl)
}

// handOverDir does so with a generation that is not live yet.
func handOverDir(files host.Files, dir string) error {
	uid, gid, acl, err := environmentOwner(files)
	if err != nil {
		return err
	}
	return files.HandOver(dir, uid, gid, acl)
}

func idFetch(bundle environment.Bundle) string { return "fetch-" + string(bundle) }

// fetchStep brings wheels, unless they are there or what they are for is.
func fetchStep(b *environment.Builder, bundle environment.Bundle, what string, needed func(context.Context, *step.Context) (step.State, error)) step.Task {
	return step.Task{
		Name: idFetch(bundle), What: what,
		Look: func(ctx context.Context, c *step.Context) (step.State, error) {
			if bundle.Fetched(c.Host.Files) {
				return step.Same, nil
			}
			return needed(ctx, c)
		},
		Do: func(ctx context.Context, c *step.Context) error {
			return b.Fetch(ctx, bundle, func(bytes int64) { c.Progress("fetching", bytes, bundle.Bytes(runtime.GOARCH)) })
		},
	}
}

func present(there func(host.Files) bool) func(context.Context, *step.Context) (step.State, error) {
	return func(_ context.Context, c *step.Context) (step.State, error) {
		if there(c.Host.Files) {
			return step.Same, nil
		}
		return step.Absent, nil
	}
}

// hubStep builds and switches to a hub environment of this program's lock and the config's packages, unless the live one is just that and undamaged.
func hubStep(b *environment.Builder, in *Inputs) step.Task {
	return step.Task{
		Name: idHub, What: "build the hub environment (JupyterHub " + environment.JupyterHubVersion() + " and the proxy)",
		Look: func(_ context.Context, c *step.Context) (step.State, error) {
			live, ok := environment.Current(c.Host.Files, environment.Hub)
			switch {
			case !ok:
				return step.Absent, nil
			case live.Digest != environment.HubDigest(in.Config.Hub.Packages) || environment.Damaged(c.Host.Files, live) != "":
				return step.Different, nil
			}
			return step.Same, nil
		},
		Do: func(ctx context.Context, c *step.Context) error {
			generation, err := readyHub(ctx, b, in)
			if err != nil {
				return err
			}
			return environment.Switch(c.Host.Files, generation)
		},
		Had: hadLink(environment.Hub),
	}
}

// conda brings Miniforge, which the user environment is built with.
func (p *planner) conda(user step.Task) {
	b := p.builder
	p.beside(phaseEnvironments, step.Task{
		Name: idFetchMiniforge, What: "fetch Miniforge " + conda.Version,
		Look: unless(func() bool { return b.MiniforgeFetched() || b.MiniforgeWorks() }),
		Do: func(ctx context.Context, c *step.Context) error {
			return b.FetchMiniforge(ctx, func(bytes, total int64) { c.Progress("fetching", bytes, total) })
		},
	}, p.last)
	p.beside(phaseEnvironments, step.Task{
		Name: idMiniforge, What: "install Miniforge", Look: unless(b.MiniforgeWorks),
		Do: func(ctx context.Context, _ *step.Context) error { return b.InstallMiniforge(ctx) },
	}, idFetchMiniforge)
	p.beside(phaseEnvironments, step.File{Path: layout.Conda + "/.condarc", What: "conda's settings", Content: b.Conda.Condarc(), Attr: readable}, idMiniforge)
	p.beside(phaseEnvironments, user, idUV, idCompile, "file "+layout.Conda+"/.condarc")
}

// unless is the check of what is there or not.
func unless(there func() bool) func(context.Context, *step.Context) (step.State, error) {
	return func(context.Context, *step.Context) (step.State, error) {
		if there() {
			return step.Same, nil
		}
		return step.Absent, nil
	}
}

// readyHub returns a hub environment of this program's with the config's packages, which it builds unless one is there.
func readyHub(ctx context.Context, b *environment.Builder, in *Inputs) (generation environment.Generation, err error) {
	packages := in.Config.Hub.Packages
	generation, ok := environment.ReadyHub(b.Host.Files, packages)
	if !ok {
		generation, err = b.BuildHub(ctx, packages)
	}
	if err != nil || in.goingBack {
		return generation, err
	}
	return generation, knowsAuthenticator(ctx, b.Host, in.Config, generation)
}

// knowsAuthenticator asks a hub environment that is to take the place of another, where one of them holds packages of the config: without the class of auth.type,
// nobody could log in anew.
func knowsAuthenticator(ctx context.Context, h *host.Host, cfg *config.Config, next environment.Generation) error {
	live, ok := environment.Current(h.Files, environment.Hub)
	if !ok || len(live.Packages)+len(next.Packages) == 0 {
		return nil
	}
	answer, err := askHub(ctx, h, next.Path(), cfg)
	if err != nil || answer.OK {
		return err
	}
	return host.Hint(fmt.Errorf("the hub environment with these hub.packages cannot use auth.type %s, and the one before stays: %s", cfg.Auth.Type, answer.Error),
		"change auth.type or hub.packages (sudo tljh-install config edit), then run the same command again")
}

// userStep brings a user environment where there is none. One that is there is the admins' work: where it is damaged, that is reported, and env repair keeps what
// they installed.
func userStep(b *environment.Builder, choice ManagerChoice) step.Task {
	return step.Task{
		Name: idUser, What: "build the user environment with " + choice.Name,
		Look: present(environment.UserThere),
		Do: func(ctx context.Context, c *step.Context) error {
			generation, err := restoreUser(ctx, c, b, choice)
			if err != nil {
				return err
			}
			return environment.Switch(c.Host.Files, generation)
		},
		Had: hadLink(environment.User),
	}
}

// restoreUser restores the newest healthy snapshot, or builds a new environment where there is none.
func restoreUser(ctx context.Context, c *step.Context, b *environment.Builder, choice ManagerChoice) (environment.Generation, error) {
	own := func(dir string) error { return handOverDir(c.Host.Files, dir) }
	if restored, ok, err := (environment.Repairer{Builder: b}).Restore(ctx, own, c.Tell); ok || err != nil {
		return restored, err
	}
	return buildUser(ctx, c, b, choice)
}

func buildUser(ctx context.Context, c *step.Context, b *environment.Builder, choice ManagerChoice) (environment.Generation, error) {
	generation, err := b.BuildUser(ctx, b.Manager(choice.Name))
	if err != nil && choice.Fallback && ctx.Err() == nil && !host.DiskFull(err) {
		generation, err = buildInstead(ctx, c, b, err)
	}
	return generation, err
}

// buildInstead builds the user environment with uv after conda has failed.
func buildInstead(ctx context.Context, c *step.Context, b *environment.Builder, failed error) (environment.Generation, error) {
	c.Tell("conda failed, so the user environment is made by uv: %v", failed)
	err := b.Fetch(ctx, environment.UserWheels, func(bytes int64) { c.Progress("fetching", bytes, environment.UserWheels.Bytes(runtime.GOARCH)) })
	if err != nil {
		return environment.Generation{}, err
	}
	return b.BuildUser(ctx, environment.UV{Builder: b})
}

// managerStep remembers what the user environment was made by: when it has to be made anew, it is made in the same way.
func managerStep() step.Task {
	made := func(files host.Files) string {
		live, _ := environment.Current(files, environment.User)
		return live.Manager
	}
	return step.Task{
		Name: "package manager", What: "remember the package manager",
		Look: func(_ context.Context, c *step.Context) (step.State, error) {
			data, err := c.Host.Files.Read(layout.Manager)
			if err == nil && string(data) == made(c.Host.Files)+"\n" {
				return step.Same, nil
			}
			return step.Different, nil
		},
		Do: func(_ context.Context, c *step.Context) error {
			return rememberManager(c.Host.Files, made(c.Host.Files))
		},
	}
}

func hadLink(kind environment.Kind) func(context.Context, *step.Context) (any, error) {
	return func(_ context.Context, c *step.Context) (any, error) {
		if live, ok := environment.Current(c.Host.Files, kind); ok {
			return live, nil
		}
		return nil, nil
	}
}

// requirementsStep installs what a list asks for, when it is another list than the last time.
func requirementsStep(b *environment.Builder, file, source string) step.Task {
	data, err := os.ReadFile(file)
	return changeStep(b, idRequirements, "install the requirements of "+source+" for all users", host.SHA256(data), func(ctx context.Context, m environment.Manager, dir string) error {
		if err != nil {
			return err
		}
		return m.Install(ctx, dir, data)
	})
}

// addStep installs the packages of the config.
func addStep(b *environment.Builder, packages []string) step.Task {
	stamp := host.SHA256(packagesText(packages))
	return changeStep(b, idPackages, "install the packages of user_environment.packages for all users", stamp, func(ctx context.Context, m environment.Manager, dir string) error {
		return m.Add(ctx, dir, packages)
	})
}

// changeStep changes the user environment, unless that was done.
func changeStep(b *environment.Builder, id, what, stamp string, change func(ctx context.Context, m environment.Manager, dir string) error) step.Task {
	return step.Task{
		Name: id, What: what, Stamp: stamp,
		Look: func(_ context.Context, c *step.Context) (step.State, error) {
			if c.Recorded(id) == stamp && environment.UserThere(c.Host.Files) {
				return step.Same, nil
			}
			return step.Different, nil
		},
		Do: func(ctx context.Context, c *step.Context) error {
			live, ok := environment.Current(c.Host.Files, environment.User)
			if !ok {
				return errors.New("there is no user environment")
			}
			if err := change(ctx, b.Manager(live.Manager), live.Path()); err != nil {
				return err
			}
			return c.Host.Files.Sync(live.Path()) // what is recorded as done is on disk
		},
	}
}

// services come once the hub's environment is there; the user environment may still be being built.
func (p *planner) services(after ...string) error {
	units, err := systemdunits.Render(p.unitParams())
	if err != nil {
		return fmt.Errorf("cannot render the units: %w", err)
	}
	p.access()
	if err := p.network(); err != nil {
		return fmt.Errorf("cannot write the network's variables: %w", err)
	}
	content := map[string][]byte{}
	for _, unit := range units {
		content[unit.Name] = unit.Content
		p.then(phaseServices, step.File{Path: path.Join(layout.Units, unit.Name), What: unit.Name, Content: unit.Content, Attr: readable})
	}
	running := p.running(content)
	if p.follow != nil {
		// The hub is away from here until it is started: that comes first.
		p.then(phaseServices, p.follow)
		for n := range running {
			running[n].Fresh = running[n].Name == layout.HubUnit
		}
		slices.SortStableFunc(running, func(a, b step.Unit) int { return rank(a) - rank(b) })
	}
	if p.in.switching { // the hub comes first, and the edge beside it: what visitors need is up while the rest is started
		slices.SortStableFunc(running, func(a, b step.Unit) int { return rank(a) - rank(b) })
	}
	files := p.last
	for i, unit := range running {
		switch {
		case i == 0:
			p.then(phaseServices, unit, after...)
		case p.in.switching && unit.Name == layout.EdgeSocket:
			p.beside(phaseServices, unit, append(after, files)...)
		case p.in.switching && unit.Name == layout.EdgeUnit:
			p.beside(phaseServices, unit, "unit "+layout.EdgeSocket)
		default:
			p.then(phaseServices, unit)
		}
	}
	p.watchStamp = stampOf(string(content[layout.WatchPath]), string(content[layout.WatchUnit]), string(content[layout.WatchTimer]))
	p.checkStamp = stampOf(string(content[layout.CheckTimer]))
	return nil
}

// watch starts the watch on the user environment: only what happens after all is in place is a change worth keeping.
func (p *planner) watch() {
	stamp := p.watchStamp
	stamped := func(*step.Context) string { return stamp }
	after := slices.Clip(append(slices.Clone(p.userDone), p.last)) // each appends to a copy
	p.beside(phaseServices, step.Unit{
		Name: layout.WatchPath, What: "the watch on the user environment", Enable: isResident(layout.WatchPath), Stamp: stamped, Spare: "the timer looks every 5 minutes; " + watchHint,
	}, after...)
	timer := step.Unit{Name: layout.WatchTimer, What: "the timer that looks after the user environment", Enable: isResident(layout.WatchTimer), Stamp: stamped}
	p.beside(phaseServices, timer, append(after, "unit "+layout.WatchPath)...)
	check := p.checkStamp
	p.beside(phaseServices, step.Unit{
		Name: layout.CheckTimer, What: "the timer that checks the user environment", Enable: isResident(layout.CheckTimer), Stamp: func(*step.Context) string { return check },
	}, append(after, "unit "+layout.WatchTimer)...)
}

// cleaning comes only when nobody fetches any more.
func (p *planner) cleaning() {
	p.beside(phaseServices, p.cacheStep(), append(slices.Clone(p.userDone), idHub)...)
	p.beside(phaseServices, outdatedStep(p.builder), append(slices.Clone(p.userDone), p.last)...) // the hub runs in its new environment by then
}

// access is who may do what: groups and their shared folders, and sudo rules.
func (p *planner) access() {
	if root := p.in.Config.Users.HomeRoot; root != layout.Homes {
		p.then(phaseServices, homeRootStep(root))
	}
	groups, shared := sharedFolders(p.in.Config)
	if len(shared) > 0 {
		p.then(phaseServices, step.Dir{Path: layout.Shared, Attr: rootDir})
	}
	for _, group := range groups {
		p.then(phaseServices, step.Group{Name: group})
	}
	for _, folder := range shared {
		p.then(phaseServices, folder)
	}
	p.then(phaseServices, closeFolders(p.in.Config))
	p.ownFolders(phaseServices, path.Dir(path.Dir(layout.SSHRule)), path.Dir(layout.SSHRule))
	p.then(phaseServices, sshStep(p.in.Config))
	if p.in.Config.Users.AdminSudo == config.SudoNone {
		p.then(phaseServices, step.Gone{Path: layout.Sudoers, What: "sudo rules"})
		return
	}
	p.then(phaseServices, step.File{
		Path: layout.Sudoers, What: "sudo rules", Attr: host.Attr{Mode: 0o440}, Vet: vetSudoers,
		Content: sudoers.Render(sudoers.Params{Classic: sudoers.IsClassic(p.in.Facts.Sudo), Environment: p.in.Config.Users.AdminSudo == config.SudoEnvironment}),
	})
}

// running returns the units in the order they are started. The proxy is no part of the hub's stamp, nor the hub of the proxy's: each
// is restarted for its own sake only.
func (p *planner) running(content map[string][]byte) []step.Unit {
	fixed := func(parts ...string) func(*step.Context) string {
		return func(*step.Context) string { return stampOf(parts...) }
	}
	unit := func(name string) string { return string(content[name]) }
	proxy := string(networkEnv(p.in.Config))
	units := []step.Unit{
		{Name: layout.UsersSlice, What: "the users' slice", Stamp: fixed(unit(layout.UsersSlice))},
		{Name: layout.FirewallUnit, What: "the packet filter for users' ports", OnDemand: true, Stamp: fixed(unit(layout.FirewallUnit), version.Version)},
		{Name: layout.FirewallTimer, What: "the watch on the packet filter", Stamp: fixed(unit(layout.FirewallTimer))},
		{Name: layout.ProxyUnit, What: "the proxy", Stamp: fixed(unit(layout.ProxyUnit), environment.ProxyDigest()), Carry: proof.CarryRoutes(p.builder.Host)},
		{Name: layout.HubUnit, What: "the hub", Stamp: p.hubStamp(unit(layout.HubUnit), proxy), Patience: p.patience, TooLong: errHubPatience},
		{
			Name: layout.EdgeSocket, What: "the edge's socket", Holds: []string{layout.EdgeUnit},
			Stamp: fixed(unit(layout.EdgeSocket)),
		},
		{Name: layout.EdgeUnit, What: "the edge", OnDemand: true, Stamp: fixed(unit(layout.EdgeUnit), proxy, version.Version)},
	}
	for n := range units {
		units[n].Enable = isResident(units[n].Name)
	}
	return units
}

// rank puts the hub before all others.
func rank(unit step.Unit) int {
	if unit.Name == layout.HubUnit {
		return 0
	}
	return 1
}

func (p *planner) unitParams() systemdunits.Params {
	return systemdunits.Params{
		HTTP:          []systemdunits.Address{{IP: p.in.Config.HTTP.Address, Port: p.in.Config.HTTP.Port}},
		HTTPS:         httpsParams(p.in.Config.HTTPS),
		Origins:       originParams(p.in.Config),
		Proxies:       systemdunits.Proxies{PublicURL: p.in.Config.HTTP.PublicURL, Trusted: p.in.Config.HTTP.TrustedProxies},
		BaseURL:       p.in.Config.BaseURL,
		HomeRoots:     withTarget(homeRoots(p.in.Config.Users.HomeRoot), p.in.Facts.Homes),
		WritablePaths: p.in.Config.Hub.WritablePaths,
		MayListen:     p.in.Config.Users.MayListen,
		MemoryBytes:   p.in.Facts.MemoryBytes,
		// A plan can be made where no systemd is, too; the preflight sees to it that none is carried out there.
		SystemdVersion: max(p.in.Facts.SystemdVersion, systemdunits.MinimumSystemd),
	}
}

// originParams has users' port at the addresses of the hub.
func originParams(cfg *config.Config) systemdunits.Origins {
	if cfg.Hub.UserDomain != "" {
		return systemdunits.Origins{UserDomain: cfg.Hub.UserDomain, HubDomain: cfg.HubDomain()}
	}
	if cfg.Hub.UserPort == 0 {
		return systemdunits.Origins{}
	}
	return systemdunits.Origins{Listen: []systemdunits.Address{{IP: userAddress(cfg), Port: cfg.Hub.UserPort}}}
}

// userAddress is the address at which single-user servers with a port of their own are served: that of the hub.
func userAddress(cfg *config.Config) string {
	if cfg.HTTPS.Enabled {
		return cfg.HTTPS.Address
	}
	return cfg.HTTP.Address
}

func httpsParams(https config.HTTPS) *systemdunits.HTTPS {
	if !https.Enabled {
		return nil
	}
	letsEncrypt := https.LetsEncrypt
	return &systemdunits.HTTPS{
		Listen: []systemdunits.Address{{IP: https.Address, Port: https.Port}}, NoHSTS: !https.HSTS,
		Cert: https.TLS.Cert, Key: https.TLS.Key,
		Domains: letsEncrypt.Domains, Email: letsEncrypt.Email, Staging: letsEncrypt.Staging, Directory: letsEncrypt.Directory, CA: letsEncrypt.CA,
	}
}

// homeRoots are the folders that the hub makes homes in. Users whose homes were made before another was set keep them.
func homeRoots(root string) []string {
	if root == layout.Homes {
		return []string{layout.Homes}
	}
	return []string{layout.Homes, root}
}

// withTarget adds the folder that a linked /home leads to: what has to be mounted before the hub starts is there. systemd looks at the name alone.
func withTarget(roots []string, target string) []string {
	if target == "" || target == "/" || slices.Contains(roots, target) || !systemdunits.IsPlainPath(target) {
		return roots
	}
	return append(roots, target)
}

// homeRootStep makes the folder of homes where there is none. One that is there is the site's.
func homeRootStep(root string) step.Task {
	return step.Task{
		Name: uninstall.HomesTask + root, What: "make the folder for homes " + root,
		Look: present(func(files host.Files) bool { return files.Exists(root) }),
		Had:  func(_ context.Context, c *step.Context) (any, error) { return missingFolders(c.Host.Files, root), nil },
		Do: func(_ context.Context, c *step.Context) error {
			for _, dir := range slices.Backward(missingFolders(c.Host.Files, root)) {
				if err := c.Host.Files.Mkdir(dir, rootDir); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// missingFolders returns which of a folder and those above it are not there, the deepest first.
func missingFolders(files host.Files, dir string) []string {
	missing := []string{}
	for ; !files.Exists(dir); dir = path.Dir(dir) {
		missing = append(missing, dir)
	}
	return missing
}

func (p *planner) hubStamp(unit, proxy string) func(*step.Context) string {
	return func(c *step.Context) string {
		live, _ := environment.Current(c.Host.Files, environment.Hub)
		return stampOf(unit, proxy, live.Path(), live.Digest, p.in.Config.HubView(), extraConfig(c.Host.Files))
	}
}

// extraConfig returns all of jupyterhub_config.d as one text.
func extraConfig(files host.Files) string {
	var all bytes.Buffer
	names, _ := files.List(layout.ConfigD)
	for _, name := range names {
		data, _ := files.Read(path.Join(layout.ConfigD, name))
		fmt.Fprintf(&all, "%s\n%s\n", name, data)
	}
	return all.String()
}

func (p *planner) cacheStep() step.Task {
	return step.Task{
		Name: "cache", What: "remove the downloads",
		Look: func(_ context.Context, c *step.Context) (step.State, error) {
			if c.Host.Files.Exists(layout.Cache) {
				return step.Different, nil
			}
			return step.Same, nil
		},
		Do: func(context.Context, *step.Context) error { return p.builder.RemoveCache() },
	}
}

// outdatedStep removes what nobody needs any more: environments that stood before the ones before, and conda's of other releases.
func outdatedStep(b *environment.Builder) step.Task {
	return step.Task{
		Name: "old-environments", What: "remove old environments",
		Look: func(_ context.Context, c *step.Context) (step.State, error) {
			old, err := outdated(b)
			if len(old) > 0 {
				return step.Different, err
			}
			return step.Same, err
		},
		Do: func(context.Context, *step.Context) error { return removeOutdated(b) },
	}
}

func removeOutdated(b *environment.Builder) error {
	old, err := outdated(b)
	for _, dir := range old {
		err = errors.Join(err, environment.RemoveGeneration(b.Host.Files, dir))
	}
	return err
}

// outdated leaves out what a rollback or an upgrade under way needs.
func outdated(b *environment.Builder) ([]string, error) {
	old, err := b.Outdated()
	if err != nil {
		return nil, err
	}
	needed, err := neededHubs(b.Host.Files)
	return slices.DeleteFunc(old, func(dir string) bool {
		return slices.ContainsFunc(needed, func(number int) bool {
			return environment.Generation{Kind: environment.Hub, Number: number}.Path() == dir
		})
	}), err
}

func vetSudoers(ctx context.Context, c *step.Context, content []byte) error {
	return vetDraft(ctx, c, path.Join(layout.State, "sudoers.draft"), content, host.Attr{Mode: 0o440}, "visudo", "--check", "--quiet", "--file")
}

// vetDraft has a program, whose last argument is the draft, judge a file before it goes live.
func vetDraft(ctx context.Context, c *step.Context, draft string, content []byte, attr host.Attr, argv ...string) error {
	if err := c.Host.Files.Write(draft, content, attr); err != nil {
		return err
	}
	defer func() { _ = c.Host.Files.Remove(draft) }()
	_, err := c.Host.Runner.Run(ctx, host.Command{Argv: append(argv, c.Host.Files.Path(draft))})
	return err
}

func stampOf(parts ...string) string {
	var all bytes.Buffer
	for _, part := range parts {
		fmt.Fprintf(&all, "%d\n%s", len(part), part)
	}
	return host.SHA256(all.Bytes())
}
