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
	"strings"

	"tljh/internal/fetch"
	"tljh/internal/host"
)

const requirementsLimit = 1 << 20

// require brings the requirements: a file, or what has an address. Whoever installs them is another account that works in another folder, so what
// they include is taken in here, and what that account could not find is told before anything is changed.
func (in *Inputs) require(ctx context.Context, client *fetch.Client, source string) error {
	if source == "" {
		return nil
	}
	in.Source = source
	text, folder, err := readRequirements(ctx, client, source)
	if err == nil {
		text, err = flatten(text, folder, 0)
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
	_, err = file.Write(text)
	return errors.Join(err, file.Close())
}

// readRequirements returns the text and the folder that it lies in; "" for one that was fetched.
func readRequirements(ctx context.Context, client *fetch.Client, source string) (text []byte, folder string, err error) {
	if address, err := url.Parse(source); err == nil && (address.Scheme == "http" || address.Scheme == "https") {
		text, _, _, err := client.Page(ctx, source, "text/plain, */*;q=0.5", requirementsLimit)
		if err != nil {
			err = host.Hint(fmt.Errorf("cannot fetch the requirements: %w", err), "open the address in a browser, or download the file and give its name instead")
		}
		return text, "", err
	}
	text, err = readSmall(source)
	if err != nil {
		return nil, "", fmt.Errorf("cannot read the requirements %w", err)
	}
	folder, err = filepath.Abs(filepath.Dir(source))
	return text, folder, err
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

// flatten puts the files that a text includes in the place of the lines that name them.
func flatten(text []byte, folder string, depth int) ([]byte, error) {
	var whole bytes.Buffer
	for line := range strings.Lines(string(text)) {
		plain := strings.TrimSpace(remark.ReplaceAllString(strings.TrimSpace(line), ""))
		match := includes.FindStringSubmatch(plain)
		switch {
		case unusable.MatchString(plain), localPath.MatchString(plain):
			err := fmt.Errorf("the requirements cannot hold the line %q: files of this machine are closed to the account that installs them", plain)
			return nil, host.Hint(err, "write the versions beside the names, and name packages of an index or whole addresses")
		case match == nil || strings.Contains(match[1], "://"):
			whole.WriteString(strings.TrimRight(line, "\r\n") + "\n")
			continue
		case folder == "":
			return nil, host.Hint(fmt.Errorf("the requirements that were fetched include a file, %s", match[1]), "give the whole address of it, or one file that holds everything")
		case depth == deepestInclude:
			return nil, fmt.Errorf("the requirements include %s, and so on: do they include themselves?", match[1])
		}
		file := match[1]
		if !filepath.IsAbs(file) {
			file = filepath.Join(folder, file)
		}
		inner, err := readSmall(file)
		if err != nil {
			return nil, fmt.Errorf("cannot read what the requirements include, %w", err)
		}
		if inner, err = flatten(inner, filepath.Dir(file), depth+1); err != nil {
			return nil, err
		}
		if whole.Write(inner); whole.Len() > requirementsLimit {
			return nil, fmt.Errorf("the requirements are longer than %d bytes", requirementsLimit)
		}
	}
	return whole.Bytes(), nil
}
