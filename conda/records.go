package conda

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"tljh/internal/host"
)

// Record is what conda noted of a package that it installed.
type Record struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Build   string `json:"build"`
	URL     string `json:"url"`
	MD5     string `json:"md5"`
	SHA256  string `json:"sha256"` // of the package's file
	Paths   struct {
		Paths []Path `json:"paths"`
	} `json:"paths_data"`
	Files []string `json:"files"`
}

// Path is a file of a package, by its name below the prefix.
type Path struct {
	Path        string `json:"_path"`
	Type        string `json:"path_type"`          // hardlink, softlink, directory; others for what was made when it was installed
	SHA256      string `json:"sha256"`             // of the file in the package
	InPrefix    string `json:"sha256_in_prefix"`   // of the file as it was installed
	Placeholder string `json:"prefix_placeholder"` // what stood for the prefix in the package; "" where there is none
	Mode        string `json:"file_mode"`          // text or binary, of a file with a placeholder
}

// Meta is the folder of an environment that its records are in, below its prefix.
const Meta = "conda-meta"

// History is the file that makes a folder an environment of conda's, below its prefix.
const History = Meta + "/history"

// Pinned is a file below the prefix that holds what conda is not to change.
const Pinned = Meta + "/pinned"

// Limits of what is read from an environment, which its admins may put anything into.
const (
	recordLimit  = 64 << 20
	historyLimit = 64 << 20
)

// Aside is what the name of a record ends with while its package is installed again: conda does not install what it has a record of.
const Aside = ".repair"

// recordFile matches NAME-VERSION-BUILD.json, also when it is set aside.
var recordFile = regexp.MustCompile(`^(.+)-([^-]+)-([^-]+)\.json(?:\` + Aside + `)?$`)

// Entry is a package by the name of its record alone.
type Entry struct {
	Name, Version, Build string
	File                 string // of the record, below the prefix
}

// Interrupted tells whether the package was to be installed again, and was not.
func (e Entry) Interrupted() bool { return strings.HasSuffix(e.File, Aside) }

// Entries returns all packages that conda installed, in order; none in an environment that conda did not make.
func Entries(env *host.Within) ([]Entry, error) {
	names, err := env.List(Meta)
	if err != nil {
		return nil, fmt.Errorf("cannot list the packages: %w", err)
	}
	found := []Entry{}
	for _, name := range names {
		if whole, aside := strings.CutSuffix(name, Aside); aside && slices.Contains(names, whole) {
			continue
		}
		if match := recordFile.FindStringSubmatch(name); match != nil {
			found = append(found, Entry{strings.ToLower(match[1]), match[2], match[3], path.Join(Meta, name)})
		}
	}
	return found, nil
}

// Read reads a record.
func (e Entry) Read(env *host.Within) (Record, error) {
	data, err := env.Read(e.File, recordLimit)
	if err != nil {
		return Record{}, err
	}
	return ParseRecord(data)
}

// ParseRecord reads a record.
func ParseRecord(data []byte) (Record, error) {
	var record Record
	if err := json.Unmarshal(data, &record); err != nil {
		return record, fmt.Errorf("the record cannot be read: %w", err)
	}
	if record.Name == "" || record.Version == "" {
		return record, errors.New("the record names no package")
	}
	record.place()
	return record, nil
}

// place gives each path its name below the prefix. For a package that works with any Python, conda notes the paths in the package: site-packages/X and
// python-scripts/X. Where they were installed, only the list of files says. mamba and rattler note paths below the prefix at once.
func (r *Record) place() {
	listed, site := make(map[string]bool, len(r.Files)), ""
	for _, file := range r.Files {
		listed[file] = true
		if match := sitePackages.FindString(file); match != "" && site == "" {
			site = match
		}
	}
	for i := range r.Paths.Paths {
		each := &r.Paths.Paths[i]
		if listed[each.Path] {
			continue
		}
		if rest, ok := strings.CutPrefix(each.Path, "site-packages/"); ok && site != "" {
			each.Path = site + rest
		} else if rest, ok := strings.CutPrefix(each.Path, "python-scripts/"); ok {
			each.Path = "bin/" + rest
		}
	}
}

// sitePackages is the folder below a prefix that a Python has its packages in.
var sitePackages = regexp.MustCompile(`^lib/python[^/]+/site-packages/`)

// Distributions returns the folders of metadata that a package brought for Python, below the prefix.
func (r Record) Distributions() []string {
	found := []string{}
	for _, file := range r.Files {
		folder, name := path.Split(file)
		if name == "METADATA" && strings.HasSuffix(folder, ".dist-info/") {
			found = append(found, strings.TrimSuffix(folder, "/"))
		}
	}
	return found
}

// Explicitly returns the record's line in an explicit list; "" where it does not say where it came from.
func (r Record) Explicitly() string {
	if r.URL == "" || strings.ContainsAny(r.URL, " \n\r") {
		return ""
	}
	if r.MD5 == "" {
		return r.URL
	}
	return r.URL + "#" + r.MD5
}

// packageFile matches NAME-VERSION-BUILD.conda at the end of an address.
var packageFile = regexp.MustCompile(`/([^/]+)-([^-/]+)-([^-/]+)\.(?:conda|tar\.bz2)(?:#.*)?$`)

// Specs returns what to ask a channel for to get the packages of an explicit list; those whose addresses end in no package are left out.
func Specs(lines []string) []string {
	specs := []string{}
	for _, line := range lines {
		if match := packageFile.FindStringSubmatch(line); match != nil {
			specs = append(specs, match[1]+"="+match[2]+"="+match[3])
		}
	}
	return specs
}

// ChannelOf returns the channel of a package's address: what comes before its platform and file.
func ChannelOf(address string) string {
	at := strings.LastIndexByte(address, '/')
	if at < 0 {
		return address
	}
	if folder := strings.LastIndexByte(address[:at], '/'); folder >= 0 {
		return address[:folder]
	}
	return address[:at]
}

// List returns an explicit list of packages.
func List(lines []string) []byte {
	return []byte("@EXPLICIT\n" + strings.Join(lines, "\n") + "\n")
}

// Locked returns the record's line in an explicit list whose files are verified; "" where it does not say enough for that.
func (r Record) Locked() string {
	switch line := r.Explicitly(); {
	case line == "":
		return ""
	case r.SHA256 != "":
		return r.URL + "#sha256:" + r.SHA256
	case r.MD5 != "":
		return line
	}
	return ""
}

var command = regexp.MustCompile(`(?m)^# cmd: (.+)$`)

// LastCommand returns what was typed to change the environment last, from its history; "" when that is not known.
func LastCommand(env *host.Within) string {
	data, err := env.Read(History, historyLimit)
	if err != nil {
		return ""
	}
	all := command.FindAllSubmatch(data, -1)
	if len(all) == 0 {
		return ""
	}
	program, arguments, _ := strings.Cut(string(all[len(all)-1][1]), " ")
	return strings.TrimSpace(path.Base(program) + " " + arguments)
}
