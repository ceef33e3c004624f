package step

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"unicode"
	"unicode/utf8"

	"tljh/internal/host"
)

// File makes Path a regular file with this content, owner and mode.
type File struct {
	Path    string
	What    string // what the file is, for people: "sudo rules"
	Content []byte
	Attr    host.Attr

	// Vet, when set, judges the content before it goes live (visudo -c, for one).
	Vet func(ctx context.Context, c *Context, content []byte) error
}

// ID implements Step.
func (f File) ID() string { return "file " + f.Path }

// Title implements Step.
func (f File) Title() string { return "write the " + f.What }

// Check implements Step.
func (f File) Check(_ context.Context, c *Context) (State, error) {
	return checkPath(c, f.Path, f.Attr, 0, func() (bool, error) {
		data, err := c.Host.Files.Read(f.Path)
		return bytes.Equal(data, f.Content), err
	})
}

// Before implements Step.
func (f File) Before(_ context.Context, c *Context) (Before, error) {
	return fileBefore(c, f.ID(), f.Path)
}

// Leaves implements Leaver.
func (f File) Leaves() Left { return Left{SHA256: host.SHA256(f.Content)} }

// Apply implements Step.
func (f File) Apply(ctx context.Context, c *Context) error {
	if f.Vet != nil {
		if err := f.Vet(ctx, c, f.Content); err != nil {
			return err
		}
	}
	return c.Host.Files.Write(f.Path, f.Content, f.Attr)
}

// Secret makes Path a file with content that is generated once and kept from then on.
type Secret struct {
	Path     string
	What     string
	Variable string // the content is an assignment to it; "" where it is the secret alone
	Generate func() ([]byte, error)
	Attr     host.Attr
}

// usable reports whether a file can hold the secret: an empty one cannot, which a full disk may have left, nor one that a disk has damaged. A service that
// reads it would not start.
func (s Secret) usable(data []byte) bool {
	if !utf8.Valid(data) || bytes.ContainsFunc(data, func(r rune) bool { return unicode.IsControl(r) && !unicode.IsSpace(r) }) {
		return false
	}
	if s.Variable == "" {
		return len(bytes.Fields(data)) == 1
	}
	for line := range bytes.Lines(data) {
		if value, ok := bytes.CutPrefix(line, []byte(s.Variable+"=")); ok && len(bytes.TrimSpace(value)) > 0 {
			return true
		}
	}
	return false
}

// ID implements Step.
func (s Secret) ID() string { return "secret " + s.Path }

// Title implements Step.
func (s Secret) Title() string { return "make the " + s.What }

// Check implements Step.
func (s Secret) Check(_ context.Context, c *Context) (State, error) {
	return checkPath(c, s.Path, s.Attr, 0, func() (bool, error) {
		data, err := c.Host.Files.Read(s.Path)
		return s.usable(data), err
	})
}

// Before implements Step. The old secret is not copied: Apply keeps one that is there.
func (s Secret) Before(_ context.Context, c *Context) (Before, error) { return pathBefore(c, s.Path) }

// Apply implements Step.
func (s Secret) Apply(_ context.Context, c *Context) error {
	data, err := c.Host.Files.Read(s.Path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !s.usable(data) {
		data, err = s.Generate()
	}
	if err != nil {
		return fmt.Errorf("cannot make the %s: %w", s.What, err)
	}
	return c.Host.Files.Write(s.Path, data, s.Attr)
}

// Gone takes a file of ours away.
type Gone struct {
	Path string
	What string
}

// ID implements Step.
func (g Gone) ID() string { return "no file " + g.Path }

// Title implements Step.
func (g Gone) Title() string { return "remove the " + g.What }

// Check implements Step.
func (g Gone) Check(_ context.Context, c *Context) (State, error) {
	if c.Host.Files.Exists(g.Path) {
		return Different, nil
	}
	return Same, nil
}

// Before implements Step.
func (g Gone) Before(_ context.Context, c *Context) (Before, error) {
	return fileBefore(c, g.ID(), g.Path)
}

// Apply implements Step.
func (g Gone) Apply(_ context.Context, c *Context) error { return c.Host.Files.Remove(g.Path) }

// Dir makes Path a folder with this owner and mode. Its parent is there already, or another Dir's work.
type Dir struct {
	Path string
	Attr host.Attr
}

// ID implements Step.
func (d Dir) ID() string { return "folder " + d.Path }

// Title implements Step.
func (d Dir) Title() string { return "make the folder " + d.Path }

// Check implements Step.
func (d Dir) Check(_ context.Context, c *Context) (State, error) {
	return checkPath(c, d.Path, d.Attr, fs.ModeDir, func() (bool, error) { return true, nil })
}

// Before implements Step.
func (d Dir) Before(_ context.Context, c *Context) (Before, error) { return pathBefore(c, d.Path) }

// Apply implements Step.
func (d Dir) Apply(_ context.Context, c *Context) error { return c.Host.Files.Mkdir(d.Path, d.Attr) }

// Link makes Path a symbolic link to Target.
type Link struct {
	Path, Target string
	What         string
}

// ID implements Step.
func (l Link) ID() string { return "link " + l.Path }

// Title implements Step.
func (l Link) Title() string { return "point " + l.What + " to " + l.Target }

// Check implements Step.
func (l Link) Check(_ context.Context, c *Context) (State, error) {
	target, err := c.Host.Files.Readlink(l.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Absent, nil
	case err != nil || target != l.Target:
		return Different, nil
	}
	return Same, nil
}

// Before implements Step.
func (l Link) Before(_ context.Context, c *Context) (Before, error) {
	return fileBefore(c, l.ID(), l.Path)
}

// Leaves implements Leaver.
func (l Link) Leaves() Left { return Left{Target: l.Target} }

// Apply implements Step.
func (l Link) Apply(_ context.Context, c *Context) error { return c.Host.Files.Link(l.Target, l.Path) }

func (b Before) attr() host.Attr {
	return host.Attr{Mode: host.ModeOf(b.Mode), UID: b.UID, GID: b.GID}
}

func checkPath(c *Context, path string, want host.Attr, kind fs.FileMode, content func() (bool, error)) (State, error) {
	info, err := c.Host.Files.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Absent, nil
	}
	if err != nil {
		return Absent, err
	}
	if info.Mode().Type() != kind || host.AttrOf(info) != want {
		return Different, nil
	}
	if same, err := content(); err != nil || !same {
		return Different, err
	}
	return Same, nil
}

func pathBefore(c *Context, path string) (Before, error) {
	info, err := c.Host.Files.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Before{}, nil
	}
	if err != nil {
		return Before{}, err
	}
	if info.Mode().Type() == fs.ModeSymlink {
		target, err := c.Host.Files.Readlink(path)
		return Before{Existed: true, Target: target}, err
	}
	attr := host.AttrOf(info)
	return Before{Existed: true, Mode: host.BitsOf(attr.Mode), UID: attr.UID, GID: attr.GID}, nil
}

// fileBefore keeps a copy of a file, unless it is what this step left itself.
func fileBefore(c *Context, id, path string) (Before, error) {
	before, err := pathBefore(c, path)
	if err != nil || !before.Existed || before.Target != "" {
		return before, err
	}
	data, err := c.Host.Files.Read(path)
	if err != nil {
		return before, err
	}
	before.SHA256 = host.SHA256(data)
	if slices.Contains(c.Left(id), Left{SHA256: before.SHA256}) {
		return before, nil
	}
	before.Copy, err = c.Save(path, data)
	return before, err
}

func restore(c *Context, path string, before Before) error {
	if before.Target != "" {
		return c.Host.Files.Link(before.Target, path)
	}
	data, err := c.Host.Files.Read(before.Copy)
	if err != nil {
		return fmt.Errorf("cannot put back %s: %w", path, err)
	}
	return c.Host.Files.Write(path, data, before.attr())
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
