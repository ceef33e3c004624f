package integration

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"tljh/integration-tests/client"
	"tljh/integration-tests/guest"
	"tljh/integration-tests/release"
	"tljh/integration-tests/want"
)

// fault is something that goes wrong while a command is at work.
type fault struct {
	name  string
	begin func(t *testing.T, h *hub) (end func())
	lasts time.Duration                                // it ends before the command does
	words string                                       // that a command which fails by it says
	ends  func(t *testing.T, h *hub, p *guest.Process) // what ends the command itself
}

const (
	faultKill = "kill -9"
	faultCut  = "power cut"
)

// within is what one script in the guest begins, and another ends.
func within(begin, end string) func(t *testing.T, h *hub) func() {
	return func(t *testing.T, h *hub) func() {
		h.MustSh(t, begin)
		return func() { h.MustSh(t, end) }
	}
}

// covers puts a file of the guest over others.
func covers(file string, paths ...string) func(t *testing.T, h *hub) func() {
	begin, end := "", ""
	for _, path := range paths {
		begin += "mount --bind " + file + " " + path + "; "
		end += "umount " + path + "; "
	}
	return within(begin, end)
}

var faults = []fault{
	{name: faultKill, ends: func(t *testing.T, _ *hub, p *guest.Process) { want.OK(t, p.Signal(syscall.SIGKILL)) }},
	{name: faultCut, ends: func(t *testing.T, h *hub, _ *guest.Process) { want.OK(t, h.Cut(t.Context())) }},
	{name: "full disk", begin: within(fillDisk, "rm -f /var/fill? /var/more"), words: "disk"},
	{name: "no network", begin: noNetwork},
	{name: "slow network", begin: slowNetwork, lasts: 10 * time.Second},
	{name: "captive portal", begin: captivePortal},
	{name: "wrong bytes", begin: wrongBytes},
	// A service that was started meanwhile keeps the mount in its own view of the machine.
	{name: "/etc read-only", begin: within(etcReadOnly, "umount /etc; systemctl try-restart jupyterhub 2>/dev/null || true")},
	{name: "useradd and groupadd fail", begin: covers("/bin/false", "/usr/sbin/useradd", "/usr/sbin/groupadd")},
	{name: "visudo fails", begin: covers("/bin/false", "/usr/sbin/visudo")},
	{name: "systemd does not answer", begin: covers("/etc/hostname", "/run/systemd/private", "/run/dbus/system_bus_socket")},
}

// networkFaults are those that a command without a network does not meet.
var networkFaults = []string{"no network", "slow network", "captive portal", "wrong bytes"}

// fillDisk leaves nothing for what goes on writing meanwhile, either.
const fillDisk = `for i in 1 2 3; do fallocate -l $(df --output=avail -B1 /var | tail -1) /var/fill$i 2>/dev/null; done; head -c 10M /dev/zero >/var/more 2>/dev/null; true`

// etcReadOnly comes to it as soon as nobody writes a file there: until then, the mount is busy.
const etcReadOnly = `mount --bind /etc /etc; for i in $(seq 200); do said=$(mount -o remount,bind,ro /etc 2>&1) && exit; sleep 0.02; done; echo "$said"; exit 1`

// matrix is what was injected, and what came of it.
var matrix struct {
	sync.Mutex
	rows []string
}

// note counts a fault of a command.
func note(command string, f fault, moment string, struck bool, code int) {
	matrix.Lock()
	defer matrix.Unlock()
	result := "the command was done before"
	if struck {
		result = fmt.Sprintf("exit code %d", code)
	}
	matrix.rows = append(matrix.rows, strings.Join([]string{command, f.name, moment, result}, "\t"))
}

// TestMain's last word: the matrix with its count, as an artefact.
func writeMatrix() error {
	matrix.Lock()
	defer matrix.Unlock()
	if len(matrix.rows) == 0 {
		return nil
	}
	slices.Sort(matrix.rows)
	if err := os.MkdirAll(guest.ArtefactsDir(), 0o755); err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(guest.ArtefactsDir(), "faults.txt"))
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(file, 0, 0, 2, ' ', 0)
	for _, row := range matrix.rows {
		fmt.Fprintln(w, row)
	}
	fmt.Fprintf(w, "%d faults were injected\n", len(matrix.rows))
	fmt.Printf("%d faults were injected: %s\n", len(matrix.rows), file.Name())
	return errors.Join(w.Flush(), file.Close())
}

// faultRounds is how often each fault is injected into each command, and ten times as often the first: TLJH_FAULTS says so. Without it, each
// command meets some of them once.
func faultRounds() int {
	n, _ := strconv.Atoi(os.Getenv("TLJH_FAULTS"))
	return n
}

// thorough leaves out the tests that are for finding what nobody thought of.
func thorough(t *testing.T) {
	t.Helper()
	if faultRounds() == 0 {
		t.Skip("takes long: make test-faults")
	}
}

// inject runs a command and lets a fault happen after so many of its steps, and a little later. What is left of the command is over afterwards, and the
// fault as well. The result is false when the command was done before.
func (h *hub) inject(t *testing.T, command, line string, f fault, steps int, pause time.Duration) (struck bool, r guest.Result) {
	t.Helper()
	far := func(p *guest.Process) bool {
		return p.Output() != "" && progress(p, "done")+progress(p, "unchanged") >= steps
	}
	p := h.begun(t, later(far, pause), "bash", "-c", "exec "+line)
	r = h.strike(t, f, p)
	struck = r.Code != 0
	note(command, f, fmt.Sprintf("after %d steps and %d ms", steps, pause.Milliseconds()), struck, r.Code)
	t.Logf("%s, %s after %d steps and %s: exit code %d\n%s", command, f.name, steps, pause, r.Code, lastLines(r.Output(), 12))
	if struck && f.ends == nil {
		want.True(t, r.Code == exitFailed || r.Code == exitIncomplete || r.Code == exitRefused, fmt.Sprintf("%s ended with %d by %s:\n%s", command, r.Code, f.name, r.Output()))
		want.Contains(t, strings.ToLower(r.Output()), f.words)
	}
	return struck, r
}

// strike lets a fault happen to a command at work, and returns how that ended.
func (h *hub) strike(t *testing.T, f fault, p *guest.Process) guest.Result {
	t.Helper()
	end := func() {}
	if f.ends != nil {
		f.ends(t, h, p)
	} else {
		end = f.begin(t, h)
	}
	if f.lasts > 0 {
		select {
		case <-p.Done():
		case <-time.After(f.lasts):
		}
		end()
		end = func() {}
	}
	r, err := p.Wait()
	want.OK(t, err)
	if f.name == faultCut {
		want.OK(t, h.Boot(t.Context()))
	}
	end()
	return r
}

// The faults that every run injects. Of the others a run without TLJH_FAULTS takes so many, which its seed chooses.
var (
	alwaysInjected = []string{faultKill, faultCut, "full disk"}
	sampledFaults  = 3
)

// faultSeed chooses faults and their moments: TLJH_SEED, or the week's; more than one round, which is for finding what nobody thought of, has another
// each time.
func faultSeed(t *testing.T) uint64 {
	t.Helper()
	seed := seedOf(time.Now())
	if faultRounds() > 0 && os.Getenv("TLJH_SEED") == "" {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("faults and moments are those of TLJH_SEED=%d", seed)
	return seed
}

// chosenFaults are those that a round injects.
func chosenFaults(random *rand.Rand, without []string) []fault {
	chosen, others := []fault{}, []fault{}
	for _, f := range faults {
		switch {
		case slices.Contains(without, f.name):
		case faultRounds() > 0 || slices.Contains(alwaysInjected, f.name):
			chosen = append(chosen, f)
		default:
			others = append(others, f)
		}
	}
	random.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	return append(chosen, others[:min(sampledFaults, len(others))]...)
}

// eachFault goes through faults as often as is asked for, each at a moment of its own.
func eachFault(t *testing.T, without []string, mostSteps int, do func(f fault, steps int, pause time.Duration)) {
	t.Helper()
	random := rand.New(rand.NewPCG(faultSeed(t), uint64(mostSteps)))
	kills := 1
	if faultRounds() > 0 {
		kills = 10
	}
	if !guest.PowerCuts() {
		without = append(without, faultCut)
	}
	for range max(1, faultRounds()) {
		for _, f := range chosenFaults(random, without) {
			times := 1
			if f.name == faultKill {
				times = kills
			}
			for range times {
				do(f, random.IntN(mostSteps), time.Duration(random.IntN(400))*time.Millisecond)
			}
		}
	}
}

func TestFaultsOfAnInstallation(t *testing.T) {
	inTurn(t)
	t.Parallel()
	h := bare(t, guest.Options{})
	h.MustSh(t, "sync")
	line := h.line("--admin " + admin + ":" + adminPassword)
	eachFault(t, nil, 55, func(f fault, steps int, pause time.Duration) {
		if struck, _ := h.inject(t, "install", line, f, steps, pause); !struck {
			h.uninstall(t, 0, "--yes --remove-users --purge") // and from the start
		}
	})
	h.paste(t, "--admin "+admin+":"+adminPassword)
	want.Equal(t, "", h.halfGenerations(t), "half a generation is left")
	h.looksInstalled(t)
	h.usable(t, adminPassword)
	h.noProbeUser(t)
}

// student is bob at work: he has a notebook, a password, and a kernel as long as nobody pulls the plug.
type student struct {
	h *hub
	b *client.Browser
	k *client.Kernel
}

func (h *hub) atWorkInAll(t *testing.T) *student {
	t.Helper()
	s := &student{h: h, b: h.student(t, h.admin(t), "bob")}
	compute(t, kernel(t, s.b), "import os; f = open('thesis', 'w'); f.write('years of work'); f.flush(); os.fsync(f.fileno())")
	s.begin(t)
	h.MustSh(t, "sync")
	return s
}

// atWorkBefore is a hub of the release before with bob at work, and the line that upgrades it.
func atWorkBefore(t *testing.T) (h *hub, s *student, line string) {
	t.Helper()
	h = before(t)
	server := h.serve(t, variant(t, release.Next(newVersion)))
	return h, h.atWorkInAll(t), "tljh-install upgrade --yes --from " + server.URL()
}

func (s *student) begin(t *testing.T) {
	t.Helper()
	s.k = kernel(t, s.b)
	compute(t, s.k, "x = 42")
}

// unharmed wants all that bob has. After a power cut he starts his server anew. Only a kill may leave no hub.
func (s *student) unharmed(t *testing.T, f fault) {
	t.Helper()
	if f.name == faultKill && s.h.midSwitch(t) {
		t.Log("there is no hub until the same command completes it")
		want.Contains(t, s.h.MustSh(t, "pgrep -f "+s.k.ID+"; cat /home/jupyter-bob/thesis"), "years of work")
		return
	}
	s.h.awaitHub(t, 90*time.Second) // within which systemd starts one that was left stopped
	if f.name == faultCut {
		s.b = s.h.login(t, "bob", passwordOf("bob"))
		start(t, s.b)
		s.begin(t)
	} else {
		guest.Until(t, 20*time.Second, reaches(s.b)) // the hub that was started just now may still be looking around
		s.k = reconnected(t, s.b, s.k)
		s.h.stillAtWork(t, s.b, s.k.ID)
	}
	want.Equal(t, "years of work", compute(t, s.k, "print(open('thesis').read())"))
}

// midSwitch tells whether a command was killed in the second in which the hub is stopped for the switch. The same command brings it back, and systemd after a minute.
func (h *hub) midSwitch(t *testing.T) bool {
	t.Helper()
	return h.MustSh(t, `grep -qs -e '"phase":"switching"' -e '"phase":"back"' -e '"phase":"restored"' /opt/tljh/state/upgrade.json &&
systemctl is-active jupyterhub | grep -e inactive -e deactivating || true`) != ""
}

func TestFaultsOfAnUpgrade(t *testing.T) {
	inTurn(t)
	t.Parallel()
	h, s, line := atWorkBefore(t)
	left := []string{}
	if faultRounds() == 0 { // each takes a minute
		left = append(networkFaults[:4:4], "/etc read-only", "useradd and groupadd fail", "visudo fails")
	}
	t.Run("upgrade", func(t *testing.T) {
		eachFault(t, left, 60, func(f fault, steps int, pause time.Duration) {
			struck, _ := h.inject(t, "upgrade", line, f, steps, pause)
			if f.name == faultCut { // the server that bob starts anew must be one that the release before knows
				h.run(t, line)
				struck = h.version(t) == oldVersion
			}
			if !struck {
				h.must(t, "tljh-install rollback --yes")
			}
			s.unharmed(t, f)
		})
	})
	h.upgradeAtLast(t, line)
	s.unharmed(t, fault{})
	h.looksInstalled(t)

	// What a rollback does not need goes on without it.
	unneeded := append(networkFaults[:4:4], "useradd and groupadd fail", "visudo fails")
	if faultRounds() == 0 {
		unneeded = append(unneeded, faultCut, "/etc read-only", "systemd does not answer")
	}
	back := "tljh-install rollback --yes"
	t.Run("rollback", func(t *testing.T) {
		eachFault(t, unneeded, 1, func(f fault, steps int, pause time.Duration) {
			// The old release's program does most of it, and its steps are not seen.
			struck, _ := h.inject(t, "rollback", back, f, steps, 20*pause)
			if f.name == faultCut { // the server that bob starts anew must be one that the release before knows
				h.run(t, back)
				s.unharmed(t, f)
				f, struck = fault{}, false
			}
			if !struck {
				h.must(t, line)
			}
			s.unharmed(t, f)
		})
	})
	r := h.run(t, back)
	want.Equal(t, 0, r.Code, r.Output())
	want.Equal(t, oldVersion, h.version(t))
	s.unharmed(t, fault{})
	h.looksInstalled(t)
}

// TestHubComesBackByItself kills an upgrade and a rollback while the hub is stopped for them.
func TestHubComesBackByItself(t *testing.T) {
	inTurn(t)
	t.Parallel()
	h, s, line := atWorkBefore(t)
	timer := "systemctl is-active tljh-start-hub.timer || true"
	slow := "/run/systemd/system/jupyterhub.service.d"
	killed := func(command, line string) {
		t.Helper()
		h.MustSh(t, "mkdir "+slow+"; printf '[Service]\\nExecStop=/bin/sleep 3\\n' > "+slow+"/slow.conf; systemctl daemon-reload")
		p := h.begun(t, func(p *guest.Process) bool { return p.Output() != "" }, "bash", "-c", "exec "+line)
		h.MustSh(t, "timeout 300 bash -c 'while systemctl is-active --quiet jupyterhub; do sleep 0.1; done'")
		note(command, faults[0], "while the hub is stopped", true, h.strike(t, faults[0], p).Code)
		want.Equal(t, "active", h.MustSh(t, timer))
		h.MustSh(t, "rm -r "+slow+"; systemctl daemon-reload; timeout 30 bash -c 'while systemctl is-active jupyterhub | grep -q deactivating; do sleep 0.1; done'")
		want.True(t, h.midSwitch(t), "there is a hub")
		h.awaitHub(t, 90*time.Second)
		s.unharmed(t, fault{})
	}
	killed("upgrade", line)
	h.upgradeAtLast(t, line)
	want.Equal(t, "inactive", h.MustSh(t, timer))
	s.unharmed(t, fault{})
	h.looksInstalled(t)
	if faultRounds() == 0 { // it takes another minute
		return
	}
	killed("rollback", "tljh-install rollback --yes")
	h.must(t, "tljh-install rollback --yes")
	want.Equal(t, oldVersion, h.version(t))
	want.Equal(t, "inactive", h.MustSh(t, timer))
	s.unharmed(t, fault{})
	h.looksInstalled(t)
}

// TestUpgradeWhileTheDiskFills wants a hub whatever the upgrade could not do any more.
func TestUpgradeWhileTheDiskFills(t *testing.T) {
	inTurn(t)
	t.Parallel()
	h, s, line := atWorkBefore(t)
	full := faults[slices.IndexFunc(faults, func(f fault) bool { return f.name == "full disk" })]
	for _, moment := range []string{"done +switch to the new environments", "start +start a server for a probe user"} {
		far := regexp.MustCompile(moment)
		p := h.begun(t, func(p *guest.Process) bool { return far.MatchString(p.Output()) }, "bash", "-c", "exec "+line)
		r := h.strike(t, full, p)
		note("upgrade", full, "after "+moment, r.Code != 0, r.Code)
		t.Logf("exit code %d\n%s", r.Code, lastLines(r.Output(), 12))
		if r.Code == 0 {
			h.must(t, "tljh-install rollback --yes")
		}
		s.unharmed(t, full)
	}
	h.upgradeAtLast(t, line)
	s.unharmed(t, fault{})
	h.looksInstalled(t)
}

// upgradeAtLast is the same command again, twice if the first completes the way back.
func (h *hub) upgradeAtLast(t *testing.T, line string) {
	t.Helper()
	r := h.run(t, line)
	if strings.Contains(r.Output(), "going back to 0.0.9 was interrupted: completing it") {
		r = h.run(t, line)
	}
	want.Equal(t, 0, r.Code, r.Output())
	want.Equal(t, newVersion, h.version(t))
}

func TestFaultsOfAnUninstallation(t *testing.T) {
	inTurn(t)
	t.Parallel()
	h := installed(t)
	h.atWorkWith(t, "bob")
	h.MustSh(t, "cp /opt/tljh/bin/tljh-install /root/; sync")
	line := "/root/tljh-install uninstall --yes"
	eachFault(t, append(networkFaults[:4:4], "useradd and groupadd fail"), 30, func(f fault, steps int, pause time.Duration) {
		if struck, _ := h.inject(t, "uninstall", line, f, steps, pause/4); !struck {
			h.nothingOfOurs(t)
			h.paste(t, "")
			h.MustSh(t, "sync")
		}
	})
	h.must(t, line)
	h.nothingOfOurs(t)
	h.paste(t, "")
	h.looksInstalled(t)
	h.admin(t)
	h.login(t, "bob", passwordOf("bob"))
	want.Equal(t, "years of work", h.MustSh(t, "cat /home/jupyter-bob/thesis.ipynb"))
}

// TestFaultsOfAnAdoption wants, after each of them, the older hub to work as it did or the new one to come with the same command.
func TestFaultsOfAnAdoption(t *testing.T) {
	thorough(t)
	t.Parallel()
	h := older(t)
	eachFault(t, nil, 65, func(f fault, steps int, pause time.Duration) {
		if struck, _ := h.inject(t, "adopt", h.adoptLine(), f, steps, pause); struck {
			h.stillOlder(t)
			return
		}
		h.adopted(t)
		want.OK(t, h.Close())
		h = older(t)
	})
	h.adoptAtLast(t)
	h.adopted(t)
}

// stillOlder wants the older hub to work, unless it was stopped already.
func (h *hub) stillOlder(t *testing.T) {
	t.Helper()
	want.Contains(t, h.MustSh(t, "cat /home/jupyter-bob/thesis.ipynb"), bobsNotebook)
	phase := h.adoptionPhase(t)
	if phase != "" && !strings.Contains(phase, "preparing") {
		return
	}
	h.awaitHub(t, time.Minute)
	b := h.login(t, "bob", passwordOf("bob"))
	start(t, b)
	var file struct{ Content string }
	_, err := b.ServerAPI(t.Context(), "bob", http.MethodGet, "contents/thesis.ipynb?type=file&format=text", nil, &file)
	want.OK(t, err)
	want.Equal(t, bobsNotebook, file.Content)
}

// adoptAtLast is the same command again, twice if the first completes the way back.
func (h *hub) adoptAtLast(t *testing.T) {
	t.Helper()
	r := h.run(t, h.adoptLine())
	if strings.Contains(r.Output(), "Everything is as it was") {
		h.stillOlder(t)
		r = h.run(t, h.adoptLine())
	}
	want.Equal(t, 0, r.Code, r.Output())
}

// killedAtEveryStep kills a command before each of its steps and after it, beginning it again each time, until it ends by itself.
func (h *hub) killedAtEveryStep(t *testing.T, command, line string, afterwards func()) guest.Result {
	t.Helper()
	kill, met := faults[0], map[string]bool{}
	for range 300 {
		moment := ""
		p := h.begun(t, func(p *guest.Process) bool {
			moment = unmet(p.Output(), met)
			return moment != ""
		}, "bash", "-c", "exec "+line)
		if moment == "" {
			r, err := p.Wait()
			want.OK(t, err)
			return r
		}
		met[moment] = true
		r := h.strike(t, kill, p)
		note(command, kill, moment, r.Code != 0, r.Code)
		afterwards()
	}
	t.Fatalf("%s has no end: %d moments", command, len(met))
	return guest.Result{}
}

var stepLine = regexp.MustCompile(`(?m)^(start|done|unchanged) +(.*?)(?: \([0-9.]+ s\))?$`)

// unmet is the first beginning or end of a step in what a command said that was not met yet.
func unmet(output string, met map[string]bool) string {
	for _, line := range stepLine.FindAllStringSubmatch(output, -1) {
		moment := "after " + line[2]
		if line[1] == "start" {
			moment = "before " + line[2]
		}
		if !met[moment] {
			return moment
		}
	}
	return ""
}

func TestInstallationKilledAtEveryStep(t *testing.T) {
	inTurn(t)
	t.Parallel()
	h := bare(t, guest.Options{})
	r := h.killedAtEveryStep(t, "install", h.line("--admin "+admin+":"+adminPassword), func() {})
	want.Equal(t, 0, r.Code, r.Output())
	want.Equal(t, "", h.halfGenerations(t), "half a generation is left")
	h.looksInstalled(t)
	h.usable(t, adminPassword)
	h.noProbeUser(t)
	h.must(t, "cp /opt/tljh/bin/tljh-install /root/")
	r = h.killedAtEveryStep(t, "uninstall", "/root/tljh-install uninstall --remove-users --purge --yes", func() {})
	want.Equal(t, 0, r.Code, r.Output())
	h.MustSh(t, "rm /root/tljh-install")
	h.nothingOfOurs(t)
	h.asNew(t)
}

func TestUpgradeKilledAtEveryStep(t *testing.T) {
	thorough(t)
	t.Parallel()
	h, s, line := atWorkBefore(t)
	unharmed := func() { s.unharmed(t, faults[0]) }
	for _, c := range []struct{ command, line, version string }{
		{"upgrade", line, newVersion},
		{"rollback", "tljh-install rollback --yes", oldVersion},
	} {
		r := h.killedAtEveryStep(t, c.command, c.line, unharmed)
		if h.version(t) != c.version { // the last run completed the way back of one before
			r = h.run(t, c.line)
		}
		want.Equal(t, 0, r.Code, r.Output())
		want.Equal(t, c.version, h.version(t))
		h.looksInstalled(t)
	}
}

func TestAdoptionKilledAtEveryStep(t *testing.T) {
	thorough(t)
	t.Parallel()
	h := older(t)
	h.killedAtEveryStep(t, "adopt", h.adoptLine(), func() { h.stillOlder(t) })
	h.adoptAtLast(t)
	h.adopted(t)
}
