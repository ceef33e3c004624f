package conda

import (
	_ "embed"
	"regexp"
	"slices"
	"strings"

	"tljh/internal/layout"
)

// Program is conda itself.
const Program = layout.Conda + "/bin/conda"

// Create returns the command that makes an environment.
func (s Settings) Create(prefix string, specs []string) []string {
	return s.command("create", prefix, specs)
}

// Install returns the command that adds packages to an environment, or changes them.
func (s Settings) Install(prefix string, specs []string) []string {
	return s.command("install", prefix, specs)
}

// Explicit returns the command that installs just the packages of an explicit list, anew where they are there, and asks no solver.
func Explicit(verb, prefix, file string) []string {
	return []string{Program, verb, "--yes", "--quiet", "--prefix", prefix, "--file", file}
}

func (s Settings) command(verb, prefix string, specs []string) []string {
	argv := []string{Program, verb, "--yes", "--quiet", "--prefix", prefix, "--override-channels"}
	channels := s.Channels
	if len(channels) == 0 {
		channels = []string{s.ChannelName()}
	}
	for _, channel := range channels {
		argv = append(argv, "--channel", channel)
	}
	return append(argv, specs...)
}

// Has reports whether all packages of an explicit list are in the channel of the settings, as far as their addresses show.
func (s Settings) Has(lines []string) bool {
	channel := s.ChannelName()
	if !strings.Contains(channel, "://") {
		if s.Alias == "" {
			return false
		}
		channel = strings.TrimRight(s.Alias, "/") + "/" + channel
	}
	elsewhere := func(line string) bool { return !strings.HasPrefix(line, strings.TrimRight(channel, "/")+"/") }
	return !slices.ContainsFunc(lines, elsewhere)
}

// Environ returns what conda's commands need in their environment, beside the person's own settings.
func (s Settings) Environ(cache, home string) []string {
	env := []string{"CONDA_PKGS_DIRS=" + cache, "HOME=" + home, "CONDA_NOTIFY_OUTDATED_CONDA=false", "CONDA_NUMBER_CHANNEL_NOTICES=0"}
	if s.Alias != "" {
		env = append(env, "CONDA_CHANNEL_ALIAS="+s.Alias)
	}
	if s.CA != "" {
		env = append(env, "CONDA_SSL_VERIFY="+s.CA)
	}
	return env
}

// notFound begins conda's words for packages that no channel has. Its name differs from version to version.
var notFound = regexp.MustCompile(`PackagesNotFound\w*Error|PackagesNotFoundInChannels|ResolvePackageNotFound`)

// Lacking returns those of the packages asked for that the channel does not have, as conda's own words tell; none when it failed for another reason.
func Lacking(output string, specs []string) []string {
	at := notFound.FindStringIndex(output)
	if at == nil {
		return nil
	}
	named, _, _ := strings.Cut(output[at[1]:], "\nCurrent channels:")
	lacking := []string{}
	for line := range strings.Lines(named) {
		word, listed := strings.CutPrefix(strings.TrimSpace(line), "- ")
		if !listed {
			continue
		}
		for _, spec := range specs {
			if Name(spec) == Name(word) && !slices.Contains(lacking, spec) {
				lacking = append(lacking, spec)
			}
		}
	}
	return lacking
}

var packageName = regexp.MustCompile(`^[A-Za-z0-9_.-]+`)

// Name returns the name in a spec such as "python=3.14" or "channel::name >=2".
func Name(spec string) string {
	if _, after, ok := strings.Cut(spec, "::"); ok {
		spec = after
	}
	return strings.ToLower(packageName.FindString(spec))
}

// networkWords are those of conda when it could not reach a channel.
var networkWords = regexp.MustCompile(`CondaHTTPError|ConnectionFailed|CondaSSLError|ProxyError|UnavailableInvalidChannel|Could not fetch|timed out|Temporary failure in name resolution`)

// Unreachable tells whether conda failed because the channel did not answer as a channel does.
func Unreachable(output string) bool { return networkWords.MatchString(output) }

// Shim is the program that terminals of the hub find as conda, and as mamba: Miniforge's conda asks the same solver.
//
//go:embed shim/conda.sh
var Shim []byte

// Shims are the names that it is found by.
var Shims = []string{"conda", "mamba"}
