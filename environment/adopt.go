package environment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"tljh/conda"
	"tljh/internal/host"
)

// MinimumPython is the minor of the oldest Python 3 that this program's JupyterHub runs on.
const MinimumPython = 10

// serverPackages are those that a user's server needs. An environment of others' may lack some.
var serverPackages = []string{"jupyterlab", "notebook", "ipykernel"}

// Foreign is an environment that somebody else made, as far as it matters for taking it over.
type Foreign struct {
	Dir        string
	Conda      bool
	Python     int    // its minor; 0 when there is no Python 3
	JupyterHub string // its version; "" when it has none
	Packages   int
	Bytes      int64 // of all that would be copied
}

// LookAt describes an environment of others'.
func LookAt(files host.Files, dir string) (Foreign, error) {
	found := Foreign{Dir: dir}
	env, err := files.Within(dir)
	if err != nil {
		return found, err
	}
	defer env.Close()
	entries, err := conda.Entries(env)
	if err != nil {
		return found, err
	}
	found.Conda = len(entries) > 0
	if minor, ok := strings.CutPrefix(filepath.Base(filepath.Dir(siteWithin(env))), "python3."); ok {
		found.Python, _ = strconv.Atoi(minor)
	}
	packages, _, err := Packages(files, dir)
	if err != nil {
		return found, err
	}
	found.Packages, found.JupyterHub = len(packages), packages["jupyterhub"]
	found.Bytes, err = treeSize(files, dir)
	return found, err
}

// notTaken are folders at the top of an environment that are not copied: conda's cache of packages, which may be larger than all the rest, and environments
// that admins made by name, which are moved in the end.
var notTaken = []string{"pkgs", namedFolder}

func treeSize(files host.Files, dir string) (int64, error) {
	root, err := files.Within(dir)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	var total int64
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if slices.Contains(notTaken, name) {
				return fs.SkipDir
			}
			return nil
		}
		if info, err := entry.Info(); err == nil {
			total += info.Size()
		}
		return nil
	})
	return total, err
}

// AdoptedUser returns the user environment that was made of an environment of others', as that is now.
func AdoptedUser(files host.Files, dir string) (Generation, bool) { return adopted(files, User, dir) }

// AdoptedKernel returns the environment of a kernel that was made of an environment of others', as that is now.
func AdoptedKernel(files host.Files, dir, name string) (Generation, bool) {
	return adopted(files, KernelOf(name), dir)
}

func adopted(files host.Files, kind Kind, dir string) (Generation, bool) {
	digest, err := adoptDigest(files, dir)
	if err != nil {
		return Generation{}, false
	}
	return ready(files, kind, digest, func(Generation) bool { return true })
}

// NewestUser returns the newest user environment that is whole, be it live or not.
func NewestUser(files host.Files) (Generation, bool) {
	all, _, err := Generations(files, User)
	if err != nil || len(all) == 0 {
		return Generation{}, false
	}
	return all[len(all)-1], true
}

func adoptDigest(files host.Files, dir string) (string, error) {
	packages, _, err := Packages(files, dir)
	return digestOf([]byte("adopt"), []byte(dir), []byte(strings.Join(Pins(packages), "\n")), []byte(JupyterHubVersion())), err
}

// AdoptUser makes a generation of an environment of conda's that somebody else made and that goes on being used: all is copied. It gets this program's
// JupyterHub, and what a server needs and it lacks; every other package stays as it is. own hands the folder over; what is installed from then
// on runs as its owner.
func (b *Builder) AdoptUser(ctx context.Context, dir string, own func(dir string) error) (Generation, error) {
	return b.adopt(ctx, User, dir, Conda{b}, own, b.fit, b.testUser)
}

// AdoptKernel makes the environment of an extra kernel of one that somebody else made and that goes on being used. It stays what it is.
func (b *Builder) AdoptKernel(ctx context.Context, from Foreign, name string, own func(dir string) error) (Generation, error) {
	manager := b.Manager("uv")
	if from.Conda {
		manager = Conda{b}
	}
	test := func(ctx context.Context, dir string) error {
		return host.Hint(b.testKernel(ctx, dir), "give it what a kernel needs first: sudo %s/bin/python -m pip install ipykernel", from.Dir)
	}
	return b.adopt(ctx, KernelOf(name), from.Dir, manager, own, func(context.Context, string) error { return nil }, test)
}

func (b *Builder) adopt(
	ctx context.Context, kind Kind, dir string, manager Manager, own func(dir string) error, fit, test func(ctx context.Context, dir string) error,
) (Generation, error) {
	digest, err := adoptDigest(b.Host.Files, dir)
	if err != nil {
		return Generation{}, err
	}
	fill := func(ctx context.Context, to string) error {
		if err := b.Host.Files.CopyTree(dir, to, notTaken...); err != nil {
			return err
		}
		if err := manager.Move(to, dir); err != nil {
			return fmt.Errorf("cannot write the new folder's name into the copy of %s: %w", dir, err)
		}
		if err := own(to); err != nil {
			return err
		}
		return fit(ctx, to)
	}
	generation, err := b.build(ctx, Generation{Kind: kind, Digest: digest, Manager: manager.Name()}, fill, test)
	if err == nil {
		err = own(generation.Path()) // what describes it, too
	}
	return generation, err
}

// fit gives an environment what servers of this program's hub need.
func (b *Builder) fit(ctx context.Context, dir string) error {
	packages, _, err := Packages(b.Host.Files, dir)
	if err != nil {
		return err
	}
	if err := removeLeftovers(b.Host.Files, dir); err != nil {
		return err
	}
	lacking := []string{}
	for _, name := range serverPackages {
		if _, there := packages[name]; !there {
			lacking = append(lacking, name)
		}
	}
	if err := b.makeCache(); err != nil {
		return err
	}
	c := Conda{b}
	owner, err := c.owner()
	if err != nil {
		return err
	}
	if err := b.Host.Files.Mkdir(condaHome(), host.Attr{Mode: 0o700, UID: owner.UID, GID: owner.GID}); err != nil {
		return err
	}
	if err := c.complete(ctx, dir, lacking); err != nil {
		return err
	}
	return b.forgetConda(dir, "jupyterhub")
}

// forgetConda removes conda's record of a package whose place one from the index has taken: by it, all of its files would be damaged.
func (b *Builder) forgetConda(dir, name string) error {
	env, err := b.Host.Files.Within(dir)
	if err != nil {
		return err
	}
	defer env.Close()
	all, err := installed(env)
	if err != nil {
		return err
	}
	for _, each := range all {
		byIndex := func(c contents) bool { return c.name == name && !c.byConda && c.version != each.version }
		if each.byConda && each.entry.Name == name && slices.ContainsFunc(all, byIndex) {
			err = errors.Join(err, env.Remove(each.entry.File))
		}
	}
	return err
}
