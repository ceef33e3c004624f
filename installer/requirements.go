package installer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"tljh/internal/fetch"
	"tljh/internal/host"
	"tljh/internal/text"
)

const requirementsLimit = 1 << 20

// require brings the requirements: a file, or what has an address. Whoever installs them is another account that works in another folder, so what
// they include is taken in here, and what that account could not find is told before anything is changed.
func (in *Inputs) require(ctx context.Context, client *fetch.Client, source string) error {
	if source == "" {
		return nil
	}
	in.Source = source
	content, folder, err := readRequirements(ctx, client, source)
	if err == nil {
		content, err = flattenAll(content, folder, filepath.Join(folder, filepath.Base(source)))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return badInput(err)
	}
	file, err := os.CreateTemp("", "requirements-*.txt")
	if err != nil {
		return fmt.Errorf("cannot keep the requirements: %w", err)
	}
	in.Requirements, in.cleanup = file.Name(), func() { _ = os.Remove(file.Name()) }
	_, err = file.Write(content)
	return errors.Join(err, file.Close())
}

// readRequirements returns the text and the folder that it lies in; "" for one that was fetched.
func readRequirements(ctx context.Context, client *fetch.Client, source string) (content []byte, folder string, err error) {
	if address, err := url.Parse(source); err == nil && (address.Scheme == "http" || address.Scheme == "https") {
		page, _, _, err := client.Page(ctx, source, "text/plain, */*;q=0.5", requirementsLimit)
		if err != nil {
			err = host.Hint(fmt.Errorf("cannot fetch the requirements: %w", err), "open the address in a browser, or download the file and give its name instead")
		}
		return page, "", err
	}
	content, err = readSmall(source)
	if err != nil {
		return nil, "", fmt.Errorf("cannot read the requirements %w", err)
	}
	folder, err = filepath.Abs(filepath.Dir(source))
	return content, folder, err
}

// readSmall reads a file; the error begins with its name.
func readSmall(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is no file")
	}
	if err == nil && info.Size() > requirementsLimit {
		err = fmt.Errorf("it is longer than %d bytes", requirementsLimit)
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(file)
	}
	if inner := new(fs.PathError); errors.As(err, &inner) {
		err = inner.Err
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return data, nil
}

var (
	includes  = regexp.MustCompile(`^(?:-r\s*|--requirement(?:\s+|\s*=\s*))(.+)$`)
	unusable  = regexp.MustCompile(`^(?:-c\b|--constraint\b|-e\b|--editable\b)`)
	localPath = regexp.MustCompile(`^\.{0,2}/|@\s*(?:file:)?\.{0,2}/|^(?:[A-Za-z]+\+)?file:|@\s*(?:[A-Za-z]+\+)?file:`)
	overSSH   = regexp.MustCompile(`^(?:[^@]*@\s*)?(?:[A-Za-z]+\+)?ssh://|^(?:[^@]*@\s*)?(?:git\+)?git@`)
	notGit    = regexp.MustCompile(`^(?:[^@]*@\s*)?(?:hg|svn|bzr)\+`)
	address   = regexp.MustCompile(`^(?:git\+)?[A-Za-z]+://\S+`)
	remark    = regexp.MustCompile(`\s+#.*$`)

	// named is a package as pip reads it: extras, versions, perhaps in parentheses, or an address, a condition, and options for it.
	named = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\s*(\[[^\]]*\])?\s*` +
		`(\(?\s*` + aVersion + `(\s*,\s*` + aVersion + `)*\s*,?\s*\)?|@\s*[A-Za-z+]+://\S+)?\s*(;[^#]*?)?(\s+--[a-z].*)?$`)
)

const aVersion = `(===|==|~=|!=|<=|>=|<|>)\s*[A-Za-z0-9.*+!_-]+`

const deepestInclude = 8

// A reason is why lines cannot be used, and what to do.
type reason struct{ why, hint string }

var (
	closedFile    = reason{"files of this machine are closed to the account that installs them", "write the versions next to the names, and name packages of an index or whole addresses"}
	builtThere    = reason{closedFile.why, "conda and pip write file: addresses for what they built themselves; list plain names and versions with: pip list --format=freeze"}
	noKey         = reason{"the account that installs them has no key for SSH", "write the address with git+https://, perhaps with a token that may only read"}
	anotherTool   = reason{"repositories are fetched by git only", "write an address with git+https://, or that of an archive (.whl, .tar.gz, .zip)"}
	notAPackage   = reason{"that is not the way to name a package", "write one package a line: numpy, numpy==2.1, pandas>=2 or NAME @ URL"}
	notAnArgument = reason{notAPackage.why, "write each package as an argument of its own: numpy, numpy==2.1, 'pandas>=2' or 'NAME @ URL'"}
	endless       = reason{"do the requirements include themselves?", "take that line out"}
	fromAnywhere  = reason{"the requirements were fetched, and the files that they include were not", "give the whole address of what is included, or one file with everything"}
)

// unusableLine is a line that cannot be used.
type unusableLine struct {
	line string
	reason
}

// flattened is requirements with what they include in the place of the lines that name it, and the lines that cannot be used.
type flattened struct {
	whole bytes.Buffer
	bad   []unusableLine
	open  []string // the files that include one another, down to the one that is read
}

// flattenAll returns the requirements as one text. Every line that cannot be used is named in the error, not only the first.
func flattenAll(content []byte, folder, source string) ([]byte, error) {
	f := flattened{open: []string{source}}
	if err := f.add(content, folder); err != nil {
		return nil, err
	}
	if len(f.bad) == 0 {
		return f.whole.Bytes(), nil
	}
	return nil, unusableLines(f.bad, "the requirements cannot have the line", "the requirements cannot have %d of their lines")
}

// condaSpec is a package as conda alone reads it: a channel before its name, or a version after a single =, perhaps with a build.
var condaSpec = regexp.MustCompile(`^([A-Za-z0-9._/-]+::)?[A-Za-z0-9_][A-Za-z0-9._-]*(=[A-Za-z0-9._*]+){0,2}$`)

// usablePackages returns an error that names every one of the packages that cannot be installed, by a user environment's package manager.
func usablePackages(packages []string, manager string) error {
	bad := []unusableLine{}
	for _, name := range packages {
		if manager == "conda" && condaSpec.MatchString(name) {
			continue
		}
		switch why := faultOf(name); {
		case strings.HasPrefix(name, "-") || strings.TrimSpace(name) == "" || name[0] == '#' || strings.ContainsAny(name, "\n\r") || why == &notAPackage:
			bad = append(bad, unusableLine{strconv.Quote(name), notAnArgument})
		case why != nil:
			bad = append(bad, unusableLine{strconv.Quote(name), *why})
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return badInput(unusableLines(bad, "cannot install", "cannot install %d of the packages"))
}

// unusableLines is one error about all lines that cannot be used, with each reason once.
func unusableLines(bad []unusableLine, one, several string) error {
	hints := []string{}
	var list strings.Builder
	for i, each := range bad {
		fmt.Fprintf(&list, "\n  %s", each.line)
		if i+1 == len(bad) || bad[i+1].why != each.why {
			fmt.Fprintf(&list, ": %s", each.why)
		}
		if each.hint != "" && !slices.Contains(hints, each.hint) {
			hints = append(hints, each.hint)
		}
	}
	hint := strings.Join(hints, "; ")
	if len(bad) == 1 {
		return host.Hint(fmt.Errorf("%s %s: %s", one, bad[0].line, bad[0].why), "%s", hint)
	}
	return host.Hint(fmt.Errorf(several+":%s", len(bad), list.String()), "%s", hint)
}

// faultOf returns why a line cannot be used, nil for one that can be.
func faultOf(plain string) *reason {
	switch {
	case overSSH.MatchString(plain):
		return &noKey
	case notGit.MatchString(plain):
		return &anotherTool
	case unusable.MatchString(plain):
		return &closedFile
	case localPath.MatchString(plain) && strings.Contains(plain, "file:"):
		return &builtThere
	case localPath.MatchString(plain):
		return &closedFile
	case plain == "" || plain[0] == '#' || plain[0] == '-' || strings.Contains(plain, "${") || address.MatchString(plain) || named.MatchString(plain):
		return nil
	}
	return &notAPackage
}

func (f *flattened) add(content []byte, folder string) error {
	readable, err := text.Decode(content)
	if err != nil {
		return fmt.Errorf("cannot read the requirements: %w", err)
	}
	for line := range joinedLines(string(readable)) {
		plain := strings.TrimSpace(remark.ReplaceAllString(strings.TrimSpace(continued.ReplaceAllString(line, "")), ""))
		match := includes.FindStringSubmatch(plain)
		why := faultOf(plain)
		if match != nil && !strings.Contains(match[1], "://") {
			why, err = f.include(match[1], folder)
			if err != nil {
				return err
			}
		} else if why == nil {
			f.whole.WriteString(strings.TrimRight(line, "\n") + "\n")
		}
		if why != nil {
			f.bad = append(f.bad, unusableLine{strconv.Quote(plain), *why})
		}
		if f.whole.Len() > requirementsLimit {
			return fmt.Errorf("the requirements are longer than %d bytes", requirementsLimit)
		}
	}
	return nil
}

// continued is the end of a line that goes on in the next one.
var continued = regexp.MustCompile(`\\\r?\n`)

// joinedLines are the lines of requirements, each with those that continue it.
func joinedLines(all string) iter.Seq[string] {
	return func(yield func(string) bool) {
		whole := ""
		for line := range strings.Lines(all) {
			whole += line
			if continued.MatchString(line) {
				continue
			}
			if !yield(whole) {
				return
			}
			whole = ""
		}
		if whole != "" {
			yield(whole)
		}
	}
}

// include adds the lines of a file that is included. It returns why that cannot be done, and an error where reading has to end.
func (f *flattened) include(file, folder string) (*reason, error) {
	if folder == "" {
		return &fromAnywhere, nil
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(folder, file)
	}
	if slices.Contains(f.open, file) || len(f.open) == deepestInclude {
		return &endless, nil
	}
	inner, err := readSmall(file)
	if err != nil {
		return &reason{"what is included cannot be read, " + err.Error(), ""}, nil //nolint:nilerr // it is part of the one report
	}
	f.open = append(f.open, file)
	defer func() { f.open = f.open[:len(f.open)-1] }()
	return nil, f.add(inner, filepath.Dir(file))
}
