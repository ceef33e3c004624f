package step

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"tljh/internal/host"
)

// Shared is a folder that groups of users share. Which groups, other steps have made.
type Shared struct {
	Path   string
	Groups map[string]host.Access
}

// ID implements Step.
func (s Shared) ID() string { return "shared folder " + s.Path }

// Title implements Step.
func (s Shared) Title() string { return "open the shared folder " + s.Path }

// acl is false while a group is still to be made.
func (s Shared) acl(c *Context) (host.ACL, bool, error) {
	acl := host.ACL{}
	for name, access := range s.Groups {
		gid, err := c.Host.Files.GroupID(name)
		if errors.Is(err, host.ErrNoGroup) {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, err
		}
		acl[gid] = max(acl[gid], access)
	}
	return acl, true, nil
}

// Check implements Step.
func (s Shared) Check(_ context.Context, c *Context) (State, error) {
	info, err := c.Host.Files.Lstat(s.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return Absent, nil
	}
	if err != nil {
		return Absent, err
	}
	if !info.IsDir() {
		return Absent, host.Hint(fmt.Errorf("%s is no folder", s.Path), "move it away, or give the shared folder another name")
	}
	acl, known, err := s.acl(c)
	if err != nil || !known {
		return Different, err
	}
	right, err := c.Host.Files.HasACL(s.Path, acl)
	switch {
	case errors.Is(err, host.ErrNoACL):
		return Different, nil // Apply says what to do
	case err != nil || !right:
		return Different, err
	}
	return Same, nil
}

// Before implements Step.
func (s Shared) Before(_ context.Context, c *Context) (Before, error) { return pathBefore(c, s.Path) }

// Apply implements Step.
func (s Shared) Apply(_ context.Context, c *Context) error {
	if !c.Host.Files.Exists(s.Path) {
		if err := c.Host.Files.Mkdir(s.Path, host.Attr{Mode: 0o700}); err != nil {
			return err
		}
	}
	acl, known, err := s.acl(c)
	if err != nil {
		return err
	}
	if !known {
		return errors.New("a group that is to share it is not there")
	}
	closed, err := c.Host.Files.SetACL(s.Path, acl)
	if len(closed) > 0 {
		c.Tell("in %s, only the owners can use %s: attributes that they set leave no room for the folder's permissions", s.Path, strings.Join(closed, ", "))
	}
	if errors.Is(err, host.ErrNoACL) {
		return host.Hint(err, "mount the file system of %s with ACLs, or make it a link to a folder that has them", path.Dir(s.Path))
	}
	return err
}
