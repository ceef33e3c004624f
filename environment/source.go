package environment

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"tljh/conda"
	"tljh/internal/host"
)

// Source is a folder that describes an environment by the files that repo2docker knows.
type Source struct {
	Dir string // where these files are, an absolute path

	Apt          []string // packages of the distribution
	Channels     []string // of environment.yml, in order
	Conda        []string // specs of environment.yml
	Locked       []string // conda's packages by address and checksum, which take the place of Conda
	Pip          []string // requirements of environment.yml's pip section
	Requirements bool     // there is a requirements.txt that counts
	Python       string   // its minor version, as 3.12; "" for any
	PostBuild    bool
	Start        bool
	start        []byte // its text: the folder may change from now on

	Unsupported []string // files that mean something to repo2docker and nothing here, each with what is said about it
}

// Files of a source.
const (
	fileEnvironment  = "environment.yml"
	fileRequirements = "requirements.txt"
	fileApt          = "apt.txt"
	fileRuntime      = "runtime.txt"
	filePostBuild    = "postBuild"
	fileStart        = "start"
)

// unsupported are files that make another environment than one of Python packages.
var unsupported = map[string]string{
	"Dockerfile":        "there are no containers here",
	"default.nix":       "Nix is not supported",
	"install.R":         "R scripts are not supported: name R's packages in environment.yml (r-base, r-…)",
	"DESCRIPTION":       "R packages are not supported: name them in environment.yml (r-base, r-…)",
	"Project.toml":      "Julia projects are not supported",
	"JuliaProject.toml": "Julia projects are not supported",
	"REQUIRE":           "Julia projects are not supported",
	"Pipfile":           "Pipfile is not supported: write a requirements.txt (pipenv requirements > requirements.txt)",
	"Pipfile.lock":      "Pipfile.lock is not supported: write a requirements.txt (pipenv requirements > requirements.txt)",
	"setup.py":          "a package of its own is not installed automatically: do it in postBuild (pip install .)",
	"environment.yaml":  "the name has to be environment.yml",
}

// sourceLimit is for one of a source's files.
const sourceLimit = 4 << 20

// ReadSourceWithin reads a folder, of which dir is the path. As with repo2docker, a folder binder or .binder in it takes the place of the files beside it.
func ReadSourceWithin(env *host.Within, dir string) (*Source, error) {
	below, err := binderFolder(env)
	if err != nil {
		return nil, err
	}
	if below != "" {
		dir = path.Join(dir, below)
		if env, err = env.Within(below); err != nil {
			return nil, err
		}
		defer env.Close()
	}
	s := &Source{Dir: dir}
	return s, s.read(env)
}

func binderFolder(env *host.Within) (string, error) {
	found := ""
	for _, name := range []string{"binder", ".binder"} {
		info, err := env.Lstat(name)
		if err != nil || !info.IsDir() {
			continue
		}
		if found != "" {
			return "", errors.New("it has both a folder binder and a folder .binder: keep one of them")
		}
		found = name
	}
	return found, nil
}

func (s *Source) read(env *host.Within) error {
	names, err := env.List(".")
	if err != nil {
		return err
	}
	has := func(name string) bool { return slices.Contains(names, name) }
	for _, name := range names {
		if why, known := unsupported[name]; known {
			s.Unsupported = append(s.Unsupported, name+": "+why)
		}
	}
	s.PostBuild, s.Start = has(filePostBuild), has(fileStart)
	// Where there is an environment.yml, repo2docker leaves requirements.txt and runtime.txt to it.
	s.Requirements = has(fileRequirements) && !has(fileEnvironment)
	for name, read := range map[string]func([]byte) error{LockFile(): s.readLocked, fileApt: s.readApt, fileEnvironment: s.readEnvironment, fileRuntime: s.readRuntime} {
		if !has(name) || name == fileRuntime && has(fileEnvironment) {
			continue
		}
		data, err := env.Read(name, sourceLimit)
		if err == nil {
			err = read(data)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, plainPath(err))
		}
	}
	if s.Start {
		if s.start, err = env.Read(fileStart, sourceLimit); err != nil {
			return fmt.Errorf("%s: %w", fileStart, plainPath(err))
		}
	}
	if err := s.lockOfOthers(has); err != nil {
		return err
	}
	if !s.Requirements && !has(fileEnvironment) && len(s.Locked) == 0 && len(s.Apt) == 0 && s.Python == "" && !s.PostBuild && !s.Start && len(s.Unsupported) == 0 {
		return errors.New("it has none of the files that describe an environment: environment.yml, requirements.txt, apt.txt, runtime.txt, postBuild, start")
	}
	return nil
}

func (s *Source) readLocked(data []byte) (err error) {
	s.Locked, err = readLock(data)
	return err
}

// lockOfOthers refuses a lock that is for other machines only: what it verifies would be chosen by a solver here.
func (s *Source) lockOfOthers(has func(string) bool) error {
	if len(s.Locked) > 0 {
		return nil
	}
	for _, name := range lockFiles {
		if has(name) {
			return fmt.Errorf("%s is for another kind of machine; this one needs %s", name, LockFile())
		}
	}
	return nil
}

// plainPath leaves out the operation and path that a file's error repeats.
func plainPath(err error) error {
	var inner *fs.PathError
	if errors.As(err, &inner) {
		return inner.Err
	}
	return err
}

var aptName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]*(:[a-z0-9]+)?(=[A-Za-z0-9.+:~-]+)?$`)

func (s *Source) readApt(data []byte) error {
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		for _, name := range strings.Fields(line) {
			if !aptName.MatchString(name) {
				return fmt.Errorf("%q is no name of a package", name)
			}
			s.Apt = append(s.Apt, name)
		}
	}
	return nil
}

var runtimePython = regexp.MustCompile(`^python-(3\.\d+)(\.\d+)?$`)

func (s *Source) readRuntime(data []byte) error {
	text := strings.TrimSpace(string(data))
	match := runtimePython.FindStringSubmatch(text)
	if match == nil {
		s.Unsupported = append(s.Unsupported, fileRuntime+": "+text+" is not supported: only python-3.N is")
		return nil
	}
	s.Python = match[1]
	return nil
}

// specForm is what conda's specs are made of. One that began with a dash would be an option.
var specForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:/*=<>!,|~\[\]'" +-]*$`)

var channelForm = regexp.MustCompile(`^(https?://\S+|[A-Za-z0-9][A-Za-z0-9._/-]*)$`)

func (s *Source) readEnvironment(data []byte) error {
	var file struct {
		Channels     []string    `yaml:"channels"`
		Dependencies []yaml.Node `yaml:"dependencies"`
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		return fmt.Errorf("it cannot be read: %w", err)
	}
	for _, name := range file.Channels {
		switch {
		case name == "nodefaults":
		case !channelForm.MatchString(name):
			return fmt.Errorf("%q is no channel", name)
		default:
			s.Channels = append(s.Channels, name)
		}
	}
	for _, node := range file.Dependencies {
		var spec string
		if node.Decode(&spec) == nil && node.Kind == yaml.ScalarNode {
			if !specForm.MatchString(spec) {
				return fmt.Errorf("line %d: %q is no package", node.Line, spec)
			}
			s.Conda = append(s.Conda, strings.TrimSpace(spec))
			continue
		}
		var pip struct {
			Pip []string `yaml:"pip"`
		}
		if err := node.Decode(&pip); err != nil || len(node.Content) != 2 || node.Content[0].Value != "pip" {
			return fmt.Errorf("line %d: a dependency is a package, or a section pip with a list of them", node.Line)
		}
		s.Pip = append(s.Pip, pip.Pip...)
	}
	return nil
}

// Names is what the source holds, for people, in the order in which it is done.
func (s *Source) Names() []string {
	var names []string
	for _, each := range []struct {
		name  string
		there bool
	}{
		{fileApt, len(s.Apt) > 0}, {fileRuntime, s.Python != ""}, {LockFile(), len(s.Locked) > 0}, {fileEnvironment, len(s.Conda)+len(s.Pip) > 0}, {fileRequirements, s.Requirements},
		{filePostBuild, s.PostBuild}, {fileStart, s.Start},
	} {
		if each.there {
			names = append(names, each.name)
		}
	}
	return names
}

// Beyond returns what a manager cannot do of a source; nothing of it has been done then.
func (s *Source) Beyond(manager string) []string {
	beyond := slices.Clone(s.Unsupported)
	if manager == "conda" {
		return beyond
	}
	if len(s.Locked) > 0 {
		beyond = append(beyond, LockFile()+": its packages are conda's, and this hub's environments are made by uv (--package-manager conda makes this one with conda)")
	}
	for _, spec := range s.Conda {
		if name := conda.Name(spec); name != "python" && name != "pip" {
			beyond = append(beyond, fileEnvironment+": "+spec+" is conda's, and this hub's environments are made by uv (--package-manager conda makes this one with conda)")
			break
		}
	}
	if s.Python != "" && s.Python != pythonMinor {
		beyond = append(beyond, fmt.Sprintf("%s: Python %s is not the one that uv's environments have, %s (--package-manager conda makes this one with conda)", fileRuntime, s.Python, pythonMinor))
	}
	return beyond
}
