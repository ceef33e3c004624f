package hub

import (
	"fmt"
	"regexp"
	"strings"
)

// Of the tables in spawner.py: where one begins, and one line of it.
var (
	tableBegins = regexp.MustCompile(`^(COMMON|CONFINED) = \{$`)
	tableLine   = regexp.MustCompile(`^    "([A-Za-z]+)": "([^"\\]*)",(?:  # .*)?$`)
	tableRemark = regexp.MustCompile(`^    # `)
)

// ServerSandbox returns what users' servers are confined by, as NAME=VALUE: the tables COMMON and CONFINED of spawner.py, which Python reads there.
func ServerSandbox() []string {
	code, err := source.ReadFile("src/tljh/spawner.py")
	if err != nil {
		panic("spawner.py is not embedded")
	}
	found, err := sandboxIn(string(code))
	if err != nil {
		panic(err) // a test keeps this from being released
	}
	return found
}

// sandboxIn takes whole tables only: a line that it does not understand would be a property that nothing tries.
func sandboxIn(code string) ([]string, error) {
	found, table := []string{}, ""
	for line := range strings.Lines(code) {
		line = strings.TrimRight(line, "\n")
		if begins := tableBegins.FindStringSubmatch(line); begins != nil {
			table = begins[1]
			continue
		}
		match := tableLine.FindStringSubmatch(line)
		switch {
		case table == "" || tableRemark.MatchString(line):
		case line == "}":
			table = ""
		case match == nil:
			return nil, fmt.Errorf("spawner.py: a line of %s is not a name with a text: %s", table, line)
		default:
			found = append(found, match[1]+"="+match[2])
		}
	}
	return found, nil
}
