package environment

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"tljh/internal/fetch"
)

// pipConfigs are where pip keeps a machine's and root's settings; the later ones win, and the one that PIP_CONFIG_FILE names over all.
var pipConfigs = []string{"/etc/pip.conf", "/etc/xdg/pip/pip.conf", "/root/.pip/pip.conf", "/root/.config/pip/pip.conf"}

var (
	pipOption    = regexp.MustCompile(`^([A-Za-z][A-Za-z_-]*)\s*[=:]\s*(.*)$`)
	pipsOwnIndex = regexp.MustCompile(`(?m)^PyPI = PackageIndex\(\s*"([^"]+)"`)
)

// pipSetting returns what a person set for pip, by a variable or in a file; "" when nothing. The name is that of an option, as index-url.
func (b *Setup) pipSetting(name string) string {
	if value := fetch.Env(b.Environ, "PIP_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))); value != "" {
		return value
	}
	files := slices.Clone(pipConfigs)
	if named := fetch.Env(b.Environ, "PIP_CONFIG_FILE"); named != "" {
		files = append(files, named)
	}
	found := ""
	for _, file := range files {
		if data, err := b.Host.Files.Read(file); err == nil {
			found = cmp.Or(optionOf(data, name), found)
		}
	}
	return found
}

// optionOf reads an option of a file of pip's. Values may go on in lines that begin with a space; comments are lines of their own.
func optionOf(config []byte, name string) string {
	found, inside := "", false
	for line := range strings.Lines(string(bytes.TrimSpace(config))) {
		text := strings.TrimSpace(line)
		match := pipOption.FindStringSubmatch(text)
		switch {
		case text == "" || strings.HasPrefix(text, "#") || strings.HasPrefix(text, ";"):
		case strings.HasPrefix(text, "["):
			inside = false
		case inside && line[0] <= ' ' && (match == nil || strings.Contains(match[1]+":", "http")):
			found += " " + text
		case match != nil:
			if inside = strings.ReplaceAll(match[1], "_", "-") == name; inside {
				found = match[2]
			}
		}
	}
	return strings.TrimSpace(found)
}

// uvIndexes are the variables by which uv is told of the index.
var uvIndexes = []string{"UV_DEFAULT_INDEX", "UV_INDEX_URL"}

func (b *Setup) anyOf(variables ...string) string {
	for _, variable := range variables {
		if value := fetch.Env(b.Environ, variable); value != "" {
			return value
		}
	}
	return ""
}

// Index returns the address of the Python package index in use: the one that is set, or else the one that the carried pip
// takes by itself.
func (b *Setup) Index() (string, error) {
	if set := cmp.Or(b.anyOf(append([]string{"PIP_INDEX_URL"}, uvIndexes...)...), b.pipSetting("index-url")); set != "" {
		return set, nil
	}
	return pipIndex()
}

// forUV returns the environment and the arguments with which uv looks where a person told pip to look: uv itself reads none of pip's settings.
// What it was told by its own variables holds.
func (b *Setup) forUV() (env, args []string) {
	env = b.env()
	tell := func(value, variable string, instead ...string) bool {
		if value == "" || b.anyOf(append(instead, variable)...) != "" {
			return false
		}
		env = append(env, variable+"="+value)
		return true
	}
	list := func(option, between string) string {
		return strings.Join(strings.Fields(b.pipSetting(option)), between)
	}
	tell(b.pipSetting("index-url"), uvIndexes[0], uvIndexes...)
	if tell(list("extra-index-url", " "), "UV_EXTRA_INDEX_URL", "UV_INDEX") {
		env = append(env, "UV_INDEX_STRATEGY=unsafe-best-match") // to pip, all indexes are equal
	}
	tell(list("find-links", ","), "UV_FIND_LINKS")
	tell(list("trusted-host", " "), "UV_INSECURE_HOST")
	if slices.Contains([]string{"1", "true", "yes", "on"}, strings.ToLower(b.pipSetting("no-index"))) {
		args = append(args, "--no-index")
	}
	return env, args
}

// pipIndex is the index that the carried pip takes by itself. A preflight asks first, before anything of ours may be there.
var pipIndex = sync.OnceValues(func() (index string, err error) {
	err = withPip(os.TempDir(), func(lib string) error {
		source, err := os.ReadFile(path.Join(lib, "pip/_internal/models/index.py"))
		if err != nil {
			return err
		}
		match := pipsOwnIndex.FindSubmatch(source)
		if match == nil {
			return fmt.Errorf("pip names none")
		}
		index = strings.TrimRight(string(match[1]), "/") + "/simple/"
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("cannot tell the package index: %w", err)
	}
	return index, nil
})
