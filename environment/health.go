package environment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"tljh/internal/host"
	"tljh/internal/layout"
)

// Health is what an examination of a user environment found.
type Health struct {
	Troubles []Trouble `json:"troubles"`
	Notes    []Trouble `json:"notes,omitempty"` // worth knowing, and no damage
}

// Healthy reports whether nothing is wrong.
func (h Health) Healthy() bool { return len(h.Troubles) == 0 }

// Examine checks the live user environment: its files against their records, whose they are, what a server needs, and JupyterHub's version. Nothing in it
// runs with any rights.
func (b *examiner) Examine(ctx context.Context) (Health, error) {
	live, ok := Current(b.Host.Files, User)
	if !ok {
		return Health{}, errNoUserEnvironment
	}
	return b.examine(ctx, live.Path(), live.Manager)
}

// examine checks the user environment in a folder, whether it is live or not.
func (b *examiner) examine(ctx context.Context, dir, manager string) (Health, error) {
	env, err := b.Host.Files.Within(dir)
	if err != nil {
		return Health{}, err
	}
	defer env.Close()
	x := examinationOf(b.Host.Files, env, dir)
	defer x.close()
	// It takes as long as reading all files: side by side, and stopped where these show what is wrong.
	trying, giveUp := context.WithCancel(ctx)
	defer giveUp()
	tried := make(chan error, 1)
	go func() { tried <- b.tryServer(trying, dir) }()
	if err := b.lookAtAll(ctx, x, dir, manager); err != nil {
		return Health{}, err
	}
	if len(x.found) == 0 { // else, why an import fails is known
		err := <-tried
		if err != nil && ctx.Err() != nil {
			return Health{}, err
		}
		if err != nil {
			x.tell(Trouble{Words: "a server would not start: " + lastLine(err)})
		}
	}
	return x.health(), nil
}

// lookAtAll looks at all that can be told without running anything.
func (b *examiner) lookAtAll(ctx context.Context, x *examination, dir, manager string) error {
	if err := x.all(ctx, manager == "conda"); err != nil {
		return err
	}
	if err := x.whose(b.Host.Files); err != nil {
		return err
	}
	if manager == "conda" {
		if damaged := b.BaseDamaged(); damaged != "" {
			x.tell(Trouble{Words: "conda itself is damaged: " + damaged})
		}
	}
	return x.jupyterHub(b.Host.Files, dir)
}

// ExamineFiles is Examine without a try to start a server: nothing in the environment is run.
func (b *examiner) ExamineFiles(ctx context.Context) (Health, error) {
	return b.verify(func(x *examination, live Generation) error { return b.lookAtAll(ctx, x, live.Path(), live.Manager) })
}

// Verify checks the files of the live user environment against their records, and JupyterHub's version. Nothing in it is run.
func (b *examiner) Verify(ctx context.Context) (Health, error) {
	return b.verify(func(x *examination, live Generation) error {
		if err := x.all(ctx, live.Manager == "conda"); err != nil {
			return err
		}
		return x.jupyterHub(b.Host.Files, live.Path())
	})
}

func (b *examiner) verify(look func(*examination, Generation) error) (Health, error) {
	live, ok := Current(b.Host.Files, User)
	if !ok {
		return Health{}, errNoUserEnvironment
	}
	env, err := b.Host.Files.Within(live.Path())
	if err != nil {
		return Health{}, err
	}
	defer env.Close()
	x := examinationOf(b.Host.Files, env, live.Path())
	defer x.close()
	if err := look(x, live); err != nil {
		return Health{}, err
	}
	return x.health(), nil
}

// jupyterHub compares JupyterHub's version with the hub's, and looks for the program that the hub runs.
func (x *examination) jupyterHub(files host.Files, dir string) error {
	packages, _, err := Packages(files, dir)
	if err != nil {
		return err
	}
	version := packages["jupyterhub"]
	if version == JupyterHubVersion() {
		x.program()
		return nil
	}
	x.tell(Trouble{Package: "jupyterhub", Version: JupyterHubVersion(), Words: wrongJupyterHub(version)})
	return nil
}

// wrongJupyterHub returns what is wrong with a version of JupyterHub in the user environment, where "" is none; "" for nothing.
func wrongJupyterHub(version string) string {
	switch version {
	case JupyterHubVersion():
		return ""
	case "":
		return "JupyterHub is missing: no server starts without it"
	}
	return fmt.Sprintf("it has JupyterHub %s; the hub's is %s, and servers of another version do not start", version, JupyterHubVersion())
}

// NothingToKeep reports whether the live user environment is that of the last snapshot and was healthy then, is its account's own, and nobody changes it. One that
// was not is looked at again: what has the same packages may have been repaired.
func NothingToKeep(files host.Files) bool {
	live, there := Current(files, User)
	kept, err := KeptHealthy(files)
	if err != nil || !there || !kept || len(Changers(files)) > 0 {
		return false
	}
	settled, err := Settled(files)
	return err == nil && settled && handedOver(files, live.Path())
}

// handedOver reports whether all files of an environment belong to its account, or to root.
func handedOver(files host.Files, dir string) bool {
	uid, _, err := files.AccountIDs(layout.EnvironmentUser)
	if err != nil {
		return false
	}
	env, err := files.Within(dir)
	if err != nil {
		return false
	}
	defer env.Close()
	others := errors.New("another's")
	err = fs.WalkDir(env.FS(), ".", func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if owner := host.AttrOf(info).UID; owner != 0 && owner != uid {
			return others
		}
		return nil
	})
	return err == nil
}

// owners are the accounts that may own files of the user environment: its own, root, and the admins, who change it with conda and pip. What an admin leaves
// is handed over to the environment's account with the next snapshot.
func owners(files host.Files) (map[int]bool, error) {
	uid, _, err := files.AccountIDs(layout.EnvironmentUser)
	if err != nil {
		return nil, err
	}
	may := map[int]bool{0: true, uid: true}
	admins, err := files.Members(layout.AdminsGroup)
	if err != nil {
		return nil, err
	}
	for _, name := range admins {
		if uid, _, err := files.AccountIDs(name); err == nil {
			may[uid] = true
		}
	}
	return may, nil
}
