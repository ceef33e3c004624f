package host

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Confine encloses a command that runs code of others. Where systemd runs the machine, the command gets a unit of its own: it sees a file system
// that it cannot change but for what is named here, it has no rights, and nothing that it started outlives it. Elsewhere it only runs as its account.
type Confine struct {
	Writable  []string // folders that it may change, as far as its account may
	Sealed    []string // folders below these that it may not change all the same
	Readable  []string // files and folders that it reads although they lie in /tmp or in a home, which it does not see otherwise
	Throwaway bool     // an account that exists only while the command runs takes the place of UID and GID
	Offline   bool     // no network
}

const (
	workPrefix = "tljh-work-"
	workFolder = "/run/tljh/work"
	workTime   = 6 * time.Hour
)

// sandbox is what every confined command gets.
var sandbox = []string{
	"NoNewPrivileges=yes", "CapabilityBoundingSet=", "ProtectSystem=strict", "ProtectHome=tmpfs", "PrivateTmp=yes", "PrivateDevices=yes",
	"ProtectProc=invisible", "ProtectKernelTunables=yes", "ProtectKernelModules=yes", "ProtectKernelLogs=yes", "ProtectControlGroups=yes",
	"ProtectClock=yes", "ProtectHostname=yes", "RestrictRealtime=yes", "RestrictNamespaces=yes", "LockPersonality=yes", "RemoveIPC=yes",
	"RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK", "KeyringMode=private", "UMask=0022", "LimitCORE=0", "OOMPolicy=continue",
	"KillMode=control-group", "KillSignal=SIGKILL", "TimeoutStopSec=30", fmt.Sprintf("RuntimeMaxSec=%d", int(workTime.Seconds())),
}

// Sandbox returns the properties of every confined command, as NAME=VALUE.
func Sandbox() []string { return slices.Clone(sandbox) }

// confines reports whether this machine can enclose commands.
func confines() bool {
	return os.Geteuid() == 0 && Files{}.IsRunning() && filepath.Dir(program("systemd-run")) != "/nonexistent"
}

// confined runs a command in a unit of its own and waits until the unit is empty.
func (e *Exec) confined(ctx context.Context, c Command) (Result, error) {
	name := program(c.Argv[0])
	if _, err := os.Stat(name); err != nil {
		return Result{}, startError(c, err)
	}
	unit := fmt.Sprintf("%s%d-%s.service", workPrefix, os.Getpid(), strings.ToLower(rand.Text()[:8]))
	settings := filepath.Join(workFolder, unit+".env")
	if err := (Files{}).MkdirAll(workFolder, Attr{Mode: 0o700}); err != nil {
		return Result{}, err
	}
	// Not as arguments or properties: these are for everybody to see, and there are addresses with passwords among the variables.
	if err := (Files{}).Write(settings, environmentText(c.Env), Attr{Mode: 0o600}); err != nil {
		return Result{}, err
	}
	defer func() { _ = os.Remove(settings) }()
	argv := []string{"systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--no-ask-password", "--service-type=exec", "--unit=" + unit,
		"--description=Work of tljh-install: " + filepath.Base(c.Argv[0])}
	for _, property := range c.properties(settings) {
		argv = append(argv, "--property="+property)
	}
	argv = append(argv, "--", escaped(name))
	for _, arg := range c.Argv[1:] {
		argv = append(argv, escaped(arg))
	}
	result, err := e.run(ctx, Command{Argv: argv, Stdin: c.Stdin, Stdout: c.Stdout, Quiet: c.Quiet})
	if ctx.Err() != nil {
		e.stop(context.WithoutCancel(ctx), unit)
	}
	var exit *ExitError
	if errors.As(err, &exit) {
		exit.Argv = c.Argv
	}
	return result, err
}

// stop asks a unit to end, and kills what is left of it.
func (e *Exec) stop(ctx context.Context, unit string) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, _ = e.run(ctx, Command{Argv: []string{"systemctl", "kill", "--signal=SIGTERM", unit}})
	asked, done := context.WithTimeout(ctx, endTime)
	defer done()
	_ = Poll(asked, 100*time.Millisecond, func(ctx context.Context) (bool, error) {
		_, err := e.run(ctx, Command{Argv: []string{"systemctl", "is-active", "--quiet", unit}})
		return err != nil, nil
	})
	_, _ = e.run(ctx, Command{Argv: []string{"systemctl", "stop", unit}})
}

// escaped keeps systemd from putting a variable in the place of a word.
func escaped(word string) string { return strings.ReplaceAll(word, "$", "$$") }

func (c Command) properties(settings string) []string {
	properties := append(slices.Clone(sandbox), "EnvironmentFile="+settings)
	if c.Dir != "" {
		properties = append(properties, "WorkingDirectory="+c.Dir)
	}
	if c.Confine.Throwaway {
		properties = append(properties, "DynamicUser=yes")
	} else {
		properties = append(properties, fmt.Sprintf("User=%d", c.UID), fmt.Sprintf("Group=%d", c.GID))
	}
	if c.Confine.Offline {
		properties = append(properties, "PrivateNetwork=yes")
	}
	for _, each := range []struct {
		key   string
		paths []string
	}{
		{"ReadWritePaths", c.Confine.Writable}, {"ReadOnlyPaths", c.Confine.Sealed},
		{"BindReadOnlyPaths", append(slices.Clone(c.Confine.Readable), hiddenIn(c.Env)...)},
	} {
		for _, p := range each.paths {
			properties = append(properties, each.key+"="+quotedPath(p))
		}
	}
	return properties
}

// quotedPath is a path in a property that holds a list of them; "-" lets one pass that is not there.
func quotedPath(p string) string {
	return `"-` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, ":", `\:`).Replace(p) + `"`
}

var hidden = regexp.MustCompile(`^(/tmp|/var/tmp|/home|/root|/run/user)/.`)

// hiddenIn returns files that variables name and that a confined command would not see: certificates, say.
func hiddenIn(env []string) []string {
	found := []string{}
	for _, pair := range env {
		key, value, _ := strings.Cut(pair, "=")
		if key != "HOME" && key != "TMPDIR" && hidden.MatchString(value) && (Files{}).Exists(value) {
			found = append(found, value)
		}
	}
	return found
}

// Hidden reports whether a confined command does not see a path unless it is named as Readable.
func Hidden(p string) bool { return hidden.MatchString(p) }

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// environmentText returns variables as systemd reads them from a file. A folder for temporary files is not among them: a confined command has its own.
func environmentText(env []string) []byte {
	if env == nil {
		env = []string{"PATH=" + Path, "LANG=C.UTF-8"}
	}
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "`", "\\`", "$", `\$`)
	var text strings.Builder
	for _, pair := range env {
		if key, value, _ := strings.Cut(pair, "="); variable.MatchString(key) && key != "TMPDIR" {
			text.WriteString(key + `="` + escape.Replace(value) + "\"\n")
		}
	}
	return []byte(text.String())
}

var workUnit = regexp.MustCompile(`/` + workPrefix + `(\d+)-[a-z0-9]+\.service`)

// EndLeftovers ends what runs as an account, and confined commands whose tljh-install was killed. No process of the account escapes by starting
// others: they are killed in one go.
func (h *Host) EndLeftovers(ctx context.Context, uid int) error {
	all := h.Files.Processes()
	alive := map[string]bool{}
	for _, process := range all {
		alive[strconv.Itoa(process.PID)] = true
	}
	orphan := func(p Process) bool {
		match := workUnit.FindStringSubmatch(p.Group)
		return match != nil && !alive[match[1]]
	}
	if slices.ContainsFunc(all, orphan) {
		if err := h.Files.End(ctx, orphan); err != nil {
			return err
		}
	}
	mine := func(p Process) bool { return p.UID == uid }
	if uid == 0 || !slices.ContainsFunc(all, mine) {
		return nil
	}
	_ = killAll(uid) // where it cannot be done in one go, they are ended one by one
	if err := h.Files.End(ctx, mine); err != nil {
		return fmt.Errorf("cannot end what runs as account %d: %w", uid, err)
	}
	return nil
}

// noAccount is a number that neither distributions nor systemd give to an account.
const noAccount = 65533

// killAll kills all processes of an account in one go, as the kernel does it for a process of that account that signals all that it may. A program that runs
// as the account could be killed or stopped by them before it does that. So a thread of this program does it: by its effective account it may signal them, and
// as its real and saved account are nobody's, they may not signal it.
func killAll(uid int) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		if unix.Gettid() == os.Getpid() {
			done <- killAll(uid) // the first thread does not end, so another one has to do it
			runtime.UnlockOSThread()
			return
		}
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, noAccount, uintptr(uid), noAccount); errno != 0 {
			done <- errno
			return
		}
		if _, _, errno := unix.RawSyscall(unix.SYS_KILL, ^uintptr(0), uintptr(unix.SIGKILL), 0); errno != 0 {
			done <- errno
			return
		}
		done <- nil
	}()
	return <-done
}
