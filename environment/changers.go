package environment

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"tljh/conda"
	"tljh/internal/host"
	"tljh/internal/layout"
)

// Changer is a command that changes the user environment right now.
type Changer struct {
	Command string // as somebody typed it
	Who     string // the account that it runs as
}

var (
	interpreter = regexp.MustCompile(`^python[0-9.]*$`)
	pipProgram  = regexp.MustCompile(`^pip[0-9.]*$`)
)

// changingVerbs are those by which package managers change an environment.
var changingVerbs = map[string][]string{
	"pip":   {"install", "uninstall"},
	"uv":    {"pip"},
	"conda": {"install", "update", "upgrade", "remove", "uninstall", "env"},
}

// Changers returns the commands that change the user environment right now. Only those count that run as an account that may: a student's process holds
// nothing up. Everybody may read command lines; more of a process, as its open files, only its owner and a privilege that this needs nowhere else.
func Changers(files host.Files) []Changer {
	may, err := owners(files)
	if err != nil {
		return nil
	}
	live, _ := Current(files, User)
	found := []Changer{}
	lines, _ := filepath.Glob(files.Path("/proc/[0-9]*/cmdline"))
	for _, file := range lines {
		data, err := os.ReadFile(file)
		if err != nil || len(data) == 0 {
			continue
		}
		info, err := os.Stat(filepath.Dir(file))
		if err != nil || !may[host.AttrOf(info).UID] {
			continue
		}
		argv := strings.Split(strings.TrimRight(string(data), "\x00"), "\x00")
		if text := changingCommand(argv, []string{layout.Root + "/user", live.Path()}); text != "" {
			found = append(found, Changer{text, files.AccountName(host.AttrOf(info).UID)})
		}
	}
	return found
}

// changingCommand returns what somebody typed, where a process is a package manager that changes one of some folders, as far as its command line shows;
// or else "".
func changingCommand(argv, ours []string) string {
	argv, from := stripInterpreter(argv)
	if len(argv) == 0 {
		return ""
	}
	program := path.Base(argv[0])
	manager := program
	switch {
	case pipProgram.MatchString(program):
		manager = "pip"
	case program == "mamba":
		manager = "conda"
	}
	words := slices.DeleteFunc(slices.Clone(argv[1:]), func(word string) bool { return strings.HasPrefix(word, "-") })
	if len(words) == 0 || !slices.Contains(changingVerbs[manager], words[0]) || !means(manager, from, argv[1:], ours) {
		return ""
	}
	return Presentable(manager + " " + strings.Join(argv[1:], " "))
}

// stripInterpreter returns a command without the Python that runs it, and the path by which it was found; "" where only a name was given.
func stripInterpreter(argv []string) (command []string, from string) {
	if len(argv) == 0 || !interpreter.MatchString(path.Base(argv[0])) {
		if len(argv) > 0 && path.IsAbs(argv[0]) {
			from = argv[0]
		}
		return argv, from
	}
	if path.IsAbs(argv[0]) {
		from = argv[0]
	}
	for n := 1; n < len(argv); n++ {
		switch {
		case argv[n] == "-m" && n+1 < len(argv):
			return argv[n+1:], from
		case argv[n] == "-c":
			return nil, from
		case strings.HasPrefix(argv[n], "-"):
			continue
		}
		return argv[n:], from
	}
	return nil, from
}

// elsewhere are options of pip by which it installs into no environment, or into another one.
var elsewhere = []string{"--user", "--target", "-t", "--prefix", "--root", "--python", "-p"}

// means reports whether a package manager's command is about one of our folders.
func means(manager, from string, args, ours []string) bool {
	within := func(p string) bool {
		return slices.ContainsFunc(ours, func(dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") })
	}
	if manager != "conda" {
		for _, arg := range args {
			name, value, _ := strings.Cut(arg, "=")
			if slices.Contains(elsewhere, name) && !(name == "--python" && within(value)) {
				return manager == "uv" && slices.ContainsFunc(args, within)
			}
		}
		return from == "" || manager == "uv" || within(from)
	}
	for n, arg := range args {
		name, value, joined := strings.Cut(arg, "=")
		if !joined && n+1 < len(args) {
			value = args[n+1]
		}
		switch name {
		case "-n", "--name":
			return false
		case "-p", "--prefix":
			return within(path.Clean(value))
		}
	}
	return true
}

var userinfo = regexp.MustCompile(`//[^/@\s]+@`)

// Presentable makes a command line fit to be kept and shown: without passwords in addresses and without control characters, and not too long.
func Presentable(text string) string {
	text = userinfo.ReplaceAllString(text, "//…@")
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	if runes := []rune(text); len(runes) > 200 {
		text = string(runes[:200]) + "…"
	}
	return strings.TrimSpace(text)
}

// Settled reports whether conda has ended what it began in the live user environment: it writes its history last, after all records.
func Settled(files host.Files) (bool, error) {
	live, ok := Current(files, User)
	if !ok {
		return false, errNoUserEnvironment
	}
	env, err := files.Within(live.Path())
	if err != nil {
		return false, err
	}
	defer env.Close()
	history, err := env.Lstat(conda.History)
	if err != nil {
		return true, nil // no environment of conda's
	}
	entries, err := conda.Entries(env)
	if err != nil {
		return false, err
	}
	var newest time.Time
	for _, entry := range entries {
		if info, err := env.Lstat(entry.File); err == nil && info.ModTime().After(newest) {
			newest = info.ModTime()
		}
	}
	return !newest.After(history.ModTime()), nil
}
