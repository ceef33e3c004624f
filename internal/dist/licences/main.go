// Command licences writes the tables of docs/licences.md: every package that an installation downloads, with the licence
// that the package itself declares. It reads installed packages (site-packages) and the lock of the proxy; it decides
// nothing about what is installed.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	page  = "docs/licences.md"
	begin = "<!-- tables: made by make licences -->\n"
	end   = "<!-- end of tables -->\n"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// A part is one table.
type part struct {
	title    string
	packages []entry
}

type entry struct{ name, licence string }

func run(args []string) error {
	if len(args) != 3 {
		return errors.New("give the environments of the hub, of the users and of node: licences HUB USER NODE")
	}
	parts := []part{{title: "Hub environment"}, {title: "User environment"}, {title: "Node and uv"}}
	for i := range parts {
		var err error
		if parts[i].packages, err = installed(args[i]); err != nil {
			return err
		}
	}
	proxy, err := locked("hub/proxy/package-lock.json")
	if err != nil {
		return err
	}
	return write(append(parts, part{"Proxy", proxy}))
}

// installed reads the metadata of the packages in a virtual environment.
func installed(environment string) ([]entry, error) {
	files, err := filepath.Glob(filepath.Join(environment, "lib/python3*/site-packages/*.dist-info/METADATA"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s holds no packages", environment)
	}
	var found []entry
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		e, err := metadata(data)
		if err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", file, err)
		}
		found = append(found, e)
	}
	return sorted(found), nil
}

// metadata reads what a wheel says of itself, in the shape of a mail's header.
func metadata(data []byte) (entry, error) {
	message, err := mail.ReadMessage(bufio.NewReader(bytes.NewReader(data)))
	if err != nil {
		return entry{}, err
	}
	header := message.Header
	e := entry{name: normal(header.Get("Name")), licence: header.Get("License-Expression")}
	if e.licence == "" {
		e.licence = named(header.Get("License"))
	}
	for _, classifier := range header["Classifier"] {
		if e.licence == "" && strings.HasPrefix(classifier, "License :: ") {
			e.licence = named(classifier[strings.LastIndex(classifier, ":")+2:])
		}
	}
	if e.licence == "" {
		e.licence = "see the package"
	}
	return e, nil
}

// known are the words for licences that packages without an expression use. "BSD License" alone leaves the clauses open.
var known = map[string]string{
	"mit": "MIT", "mit license": "MIT", "apache-2.0": "Apache-2.0", "apache 2.0": "Apache-2.0", "apache software license": "Apache-2.0",
	"bsd-2-clause": "BSD-2-Clause", "bsd 2-clause license": "BSD-2-Clause", "bsd-3-clause": "BSD-3-Clause", "bsd 3-clause license": "BSD-3-Clause",
	"3 clause bsd": "BSD-3-Clause", "3-clause bsd": "BSD-3-Clause", "bsd": "BSD", "bsd license": "BSD", "isc license": "ISC", "isc license (iscl)": "ISC",
	"psf-2.0": "PSF-2.0", "psfl": "PSF-2.0", "python software foundation license": "PSF-2.0", "mpl-2.0": "MPL-2.0", "lgpl v3": "LGPL-3.0",
	"mozilla public license 2.0 (mpl 2.0)": "MPL-2.0", "gnu lesser general public license v3 (lgplv3)": "LGPL-3.0",
}

// named finds the licence that a text begins with: some packages give all of it.
func named(text string) string {
	text = strings.ToLower(strings.TrimSpace(text)) + " "
	longest := ""
	for words := range known {
		if strings.HasPrefix(text, words+" ") && len(words) > len(longest) {
			longest = words
		}
	}
	return known[longest]
}

// normal is a Python package's name as locks write it.
func normal(name string) string {
	return strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(name))
}

// locked reads the packages of the proxy from their lock, which holds the licences.
func locked(file string) ([]entry, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var lock struct {
		Packages map[string]struct{ License string }
	}
	if err := json.Unmarshal(data, &lock); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", file, err)
	}
	var found []entry
	for place, p := range lock.Packages {
		if _, name, ok := strings.Cut(place, "node_modules/"); ok {
			name = name[strings.LastIndex("/node_modules/"+name, "/node_modules/"):]
			found = append(found, entry{name, cmp.Or(p.License, "see the package")})
		}
	}
	return sorted(found), nil
}

func sorted(entries []entry) []entry {
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.licence, b.licence))
	})
	return slices.Compact(entries)
}

// write puts the tables between the page's marks.
func write(parts []part) error {
	data, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(data), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no place for the tables: %s… %s", page, begin, end)
	}
	var text strings.Builder
	for _, p := range parts {
		fmt.Fprintf(&text, "\n### %s\n\n| package | licence |\n| --- | --- |\n", p.title)
		for _, e := range p.packages {
			fmt.Fprintf(&text, "| %s | %s |\n", e.name, e.licence)
		}
	}
	return os.WriteFile(page, []byte(before+begin+text.String()+"\n"+end+after), 0o644)
}
