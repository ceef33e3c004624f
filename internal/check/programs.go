package check

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"tljh/internal/fetch"
	"tljh/internal/host"
	"tljh/internal/layout"
)

// loaders are what the kernel starts every program for glibc by. musl's are in muslLoaders.
var loaders = map[string]string{"amd64": "/lib64/ld-linux-x86-64.so.2", "arm64": "/lib/ld-linux-aarch64.so.1"}

var muslLoaders = []string{"/lib/ld-musl-x86_64.so.1", "/lib/ld-musl-aarch64.so.1"}

// checkPrograms runs the carried Python where it is unpacked, and what it would be loaded by where it is not. This program itself needs no C library: it runs
// also where the system is for 32 bits and only the kernel for 64.
func checkPrograms(ctx context.Context, env *Env) Finding {
	loader, known := loaders[env.Facts.Arch]
	program := env.Python
	if program == "" {
		program = loader
	}
	switch {
	case !known:
		return Skip("see architecture")
	case env.any(muslLoaders...):
		return Skip("see glibc")
	case !env.Host.Files.Exists(loader):
		return env.noLoader(loader)
	}
	result, err := env.Host.Runner.Run(ctx, host.Command{Argv: []string{program, "--version"}})
	var exit *host.ExitError
	switch {
	case err == nil:
		first, _, _ := strings.Cut(strings.TrimSpace(string(result.Stdout)), "\n")
		return Fine("%s", first)
	case errors.As(err, &exit) && env.Python != "":
		return Fail(oldSystemHint, "the Python of this program does not run: %s", reason(exit))
	}
	return Warn("see what this says: "+program+" --version", "it could not be tried whether 64-bit programs run: %v", err)
}

func (e *Env) noLoader(loader string) Finding {
	if elfBits(e.Host.Files, "/bin/sh") == 32 {
		return Fail("install the 64-bit edition of the operating system: there, getconf LONG_BIT says 64",
			"the kernel is for 64 bits and the system for 32 (/bin/sh is): the programs to install need a 64-bit system")
	}
	return Fail("take a machine whose system rests on glibc, as most do", "64-bit programs cannot run: %s is missing", loader)
}

// elfBits returns for how many bits a program is made; 0 when it is none.
func elfBits(files host.Files, program string) int {
	data, err := files.Read(program)
	if err != nil || len(data) < 5 || string(data[:4]) != "\x7fELF" {
		return 0
	}
	return map[byte]int{1: 32, 2: 64}[data[4]]
}

// packageManagers are how a person adds a program, by the program that does it.
var packageManagers = []struct{ program, command string }{
	{"apt-get", "sudo apt install"}, {"dnf", "sudo dnf install"}, {"zypper", "sudo zypper install"}, {"pacman", "sudo pacman -S"},
}

// InstallHint is how a person adds a program of that package.
func InstallHint(files host.Files, name string) string {
	for _, manager := range packageManagers {
		if hasProgram(files, manager.program) {
			return manager.command + " " + name
		}
	}
	return "install " + name + " with the system's package manager"
}

func checkGit(_ context.Context, env *Env) Finding { return Git(env.Host.Files) }

// Git tells whether links for nbgitpuller work: they need git. A user environment that is there may be without nbgitpuller, or have a git of its own.
func Git(files host.Files) Finding {
	switch {
	case hasProgram(files, "git"), files.Exists(layout.User + "/bin/git"):
		return Fine("it is there")
	case files.Exists(layout.User) && !files.Exists(layout.User+"/site-packages/nbgitpuller"):
		return Fine("nothing needs it: nbgitpuller is not installed")
	}
	return Warn(InstallHint(files, "git"), "git is not installed: links for nbgitpuller, which bring course material to students, do not work without it")
}

// Editors are the programs that config edit takes where no variable names another. EditorChooser starts one of them.
var Editors = []string{"editor", "nano", "vi", "vim"}

// EditorChooser is Debian's program that starts the editor which a person has chosen; it is no editor.
const EditorChooser = "sensible-editor"

// EditorVariables name a person's editor; the first that is set counts.
var EditorVariables = []string{"SUDO_EDITOR", "VISUAL", "EDITOR"}

func checkEditor(_ context.Context, env *Env) Finding {
	for _, variable := range EditorVariables {
		if named := fetch.Env(env.Environ, variable); named != "" {
			return Fine("%s, by %s", named, variable)
		}
	}
	for _, name := range Editors {
		if hasProgram(env.Host.Files, name) {
			return Fine("%s", name)
		}
	}
	return Warn(InstallHint(env.Host.Files, "nano"), "there is no editor for tljh-install config edit; config set works without one")
}

// hasProgram tells whether one can be run. A link may be absolute, which a test's root does not know: that it is there must do.
func hasProgram(files host.Files, name string) bool {
	return slices.ContainsFunc(strings.Split(host.Path, ":"), func(dir string) bool {
		info, err := files.Lstat(path.Join(dir, name))
		return err == nil && (info.Mode().Type() == fs.ModeSymlink || info.Mode().IsRegular() && info.Mode()&0o111 != 0)
	})
}

// mainSudoers are where sudo finds its main file: the first that is there.
var mainSudoers = []string{"/etc/sudoers", "/usr/etc/sudoers"}

// sudoInclude is a line that includes a file or a folder; older versions write # for @.
var sudoInclude = regexp.MustCompile(`(?m)^[ \t]*[@#](include|includedir)[ \t]+"?([^"\s]+)"?[ \t]*$`)

// checkSudoers looks whether the rules for admins would be read.
func checkSudoers(_ context.Context, env *Env) Finding {
	folder := path.Dir(layout.Sudoers)
	at := slices.IndexFunc(mainSudoers, env.Host.Files.Exists)
	if at < 0 {
		return Warn("reinstall sudo with the system's package manager", "sudo has no %s: admins could not use it", mainSudoers[0])
	}
	if !includesFolder(env.Host.Files, mainSudoers[at], folder, 3) {
		return Warn("add this line at its end, with sudo visudo: @includedir "+folder,
			"%s does not include %s: admins of the hub could not use sudo", mainSudoers[at], folder)
	}
	return Fine("%s includes %s", mainSudoers[at], folder)
}

// includesFolder reports whether a file of sudo's, or one that it includes, includes a folder.
func includesFolder(files host.Files, file, folder string, depth int) bool {
	text, err := files.Read(file)
	if err != nil || depth == 0 {
		return false
	}
	for _, found := range sudoInclude.FindAllStringSubmatch(string(text), -1) {
		target := found[2]
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(file), target)
		}
		if found[1] == "includedir" && path.Clean(target) == folder || found[1] == "include" && includesFolder(files, target, folder, depth-1) {
			return true
		}
	}
	return false
}
