package environment

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"tljh/conda"
	"tljh/internal/host"
)

// lockFiles hold conda's packages by their addresses and checksums, for a kind of machine each: no solver chooses anything then, and conda verifies
// what it downloads. The names are those that conda-lock gives them.
var lockFiles = map[string]string{"amd64": "conda-linux-64.lock", "arm64": "conda-linux-aarch64.lock"}

// LockFile is the one for this machine.
func LockFile() string { return lockFiles[runtime.GOARCH] }

// lockedLine is an address with the checksum of its file, in the forms that conda knows.
var lockedLine = regexp.MustCompile(`^https?://[^\s#]+/([^\s/#]+)-[^\s/#-]+-[^\s/#-]+\.(?:conda|tar\.bz2)#(?:[0-9a-f]{32}|(?:sha256:)?[0-9a-f]{64})$`)

// readLock reads an explicit list. A line without a checksum would not be verified, and is refused.
func readLock(data []byte) ([]string, error) {
	lines, explicit := []string{}, false
	for number, line := range slices.Collect(strings.Lines(string(data))) {
		switch line = strings.TrimSpace(line); {
		case line == "" || strings.HasPrefix(line, "#"):
		case line == "@EXPLICIT":
			explicit = true
		case lockedLine.MatchString(line):
			lines = append(lines, line)
		default:
			return nil, host.Hint(fmt.Errorf("line %d is no address of a package with its checksum", number+1), "tljh-install env export --lock FOLDER writes such a file")
		}
	}
	switch {
	case !explicit:
		return nil, errors.New("it has no line @EXPLICIT")
	case !slices.ContainsFunc(lines, func(line string) bool { return lockedName(line) == "python" }):
		return nil, errors.New("it has no python")
	}
	return lines, nil
}

func lockedName(line string) string {
	match := lockedLine.FindStringSubmatch(line)
	if match == nil {
		return ""
	}
	return strings.ToLower(match[1])
}

// lock describes an environment of conda's by its packages' addresses and checksums, and what came from the index by versions.
func lock(env *host.Within, all []contents) (map[string]string, error) {
	lines, pip := []string{}, map[string]string{}
	for _, each := range all {
		if !each.byConda {
			pip[each.name] = each.version
			continue
		}
		record, err := each.entry.Read(env)
		if err != nil {
			return nil, fmt.Errorf("cannot lock %s: %w", each.name, err)
		}
		line := record.Locked()
		if !lockedLine.MatchString(line) {
			return nil, host.Hint(fmt.Errorf("cannot lock %s: conda does not know from where it came, or the checksum of its file", each.name), "install it from a channel: conda install --force-reinstall %s", each.name)
		}
		lines = append(lines, line)
	}
	described := map[string]string{LockFile(): "# Made by tljh-install env export --lock: each package with the checksum that conda verifies.\n" + string(conda.List(lines))}
	if len(pip) > 0 {
		described[fileRequirements] = strings.Join(Pins(pip), "\n") + "\n"
	}
	return described, nil
}

// locked makes an environment of the packages of a lock. What servers need besides, and the lock has not, comes from the index.
func (c Conda) locked(ctx context.Context, dir string, source *Source, kernel bool) error {
	if err := c.explicit(ctx, "create", dir, source.Locked); err != nil {
		return err
	}
	if !kernel {
		lacking := slices.DeleteFunc(slices.Clone(byConda), func(spec string) bool {
			return slices.ContainsFunc(source.Locked, func(line string) bool { return lockedName(line) == conda.Name(spec) })
		})
		if err := c.complete(ctx, dir, lacking); err != nil {
			return err
		}
	}
	return UV(c).fromIndex(ctx, dir, source)
}
