package installer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
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
		content, err = flattenAll(content, folder)
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
	localPath = regexp.MustCompile(`^\.{0,2}/|@\s*(?:file:)?\.{0,2}/`)
	remark    = regexp.MustCompile(`\s+#.*$`)
)

const deepestInclude = 8

// flattened is requirements with what they include in the place of the lines that name it, and the lines that cannot be used.
type flattened struct {
	whole  bytes.Buffer
	closed []string
}

// flattenAll returns the requirements as one text. Every line that cannot be used is named in the error, not only the first.
func flattenAll(content []byte, folder string) ([]byte, error) {
	var f flattened
	if err := f.add(content, folder, 0); err != nil {
		return nil, err
	}
	if len(f.closed) == 0 {
		return f.whole.Bytes(), nil
	}
	return nil, closedLines(f.closed)
}

// closedLines is the error about lines that name files of this machine, which the account that installs them cannot read.
func closedLines(lines []string) error {
	hint := "write the versions beside the names, and name packages of an index or whole addresses"
	if slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, "file:") }) {
		hint = "conda and pip write file: addresses for what they built themselves; list plain names and versions with: pip list --format=freeze"
	}
	named := "the line " + lines[0]
	if len(lines) > 1 {
		named = fmt.Sprintf("%d of their lines:\n  %s\n ", len(lines), strings.Join(lines, "\n  "))
	}
	return host.Hint(fmt.Errorf("the requirements cannot hold %s: files of this machine are closed to the account that installs them", named), "%s", hint)
}

func (f *flattened) add(content []byte, folder string, depth int) error {
	readable, err := text.Decode(content)
	if err != nil {
		return fmt.Errorf("cannot read the requirements: %w", err)
	}
	for line := range strings.Lines(string(readable)) {
		plain := strings.TrimSpace(remark.ReplaceAllString(strings.TrimSpace(line), ""))
		match := includes.FindStringSubmatch(plain)
		switch {
		case unusable.MatchString(plain), localPath.MatchString(plain):
			f.closed = append(f.closed, strconv.Quote(plain))
		case match == nil || strings.Contains(match[1], "://"):
			f.whole.WriteString(strings.TrimRight(line, "\n") + "\n")
		default:
			if err := f.include(match[1], folder, depth); err != nil {
				return err
			}
		}
		if f.whole.Len() > requirementsLimit {
			return fmt.Errorf("the requirements are longer than %d bytes", requirementsLimit)
		}
	}
	return nil
}

func (f *flattened) include(file, folder string, depth int) error {
	switch {
	case folder == "":
		return host.Hint(fmt.Errorf("the requirements that were fetched include a file, %s", file), "give the whole address of it, or one file that holds everything")
	case depth == deepestInclude:
		return fmt.Errorf("the requirements include %s, and so on: do they include themselves?", file)
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(folder, file)
	}
	inner, err := readSmall(file)
	if err != nil {
		return fmt.Errorf("cannot read what the requirements include, %w", err)
	}
	return f.add(inner, filepath.Dir(file), depth+1)
}
