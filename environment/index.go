package environment

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path"
	"regexp"
	"strings"
)

// indexVariables name a package index, the first that is set wins.
var indexVariables = []string{"PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"}

// pipConfigs are where pip keeps a machine's and root's settings; the later ones win.
var pipConfigs = []string{"/etc/pip.conf", "/etc/xdg/pip/pip.conf", "/root/.pip/pip.conf", "/root/.config/pip/pip.conf"}

var (
	indexSetting = regexp.MustCompile(`^\s*index[-_]url\s*[=:]\s*(\S+)`)
	pipsOwnIndex = regexp.MustCompile(`(?m)^PyPI = PackageIndex\(\s*"([^"]+)"`)
)

// Index returns the address of the Python package index in use: the one that is set, or else the one that the carried pip
// takes by itself.
func (b *Builder) Index() (string, error) {
	for _, variable := range indexVariables {
		for _, pair := range b.Environ {
			if value, ok := strings.CutPrefix(pair, variable+"="); ok && value != "" {
				return value, nil
			}
		}
	}
	found := ""
	for _, config := range pipConfigs {
		data, err := b.Host.Files.Read(config)
		if err != nil {
			continue
		}
		lines := bufio.NewScanner(bytes.NewReader(data))
		for lines.Scan() {
			if match := indexSetting.FindStringSubmatch(lines.Text()); match != nil {
				found = match[1]
			}
		}
	}
	if found != "" {
		return found, nil
	}
	return b.pipIndex()
}

func (b *Builder) pipIndex() (index string, err error) {
	err = b.withPip(func(lib string) error {
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
}
