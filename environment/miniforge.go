package environment

import (
	"context"
	"errors"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	"tljh/conda"
	"tljh/internal/host"
	"tljh/internal/layout"
)

// miniforge returns the Miniforge that this machine is to have.
func (b *miniforges) miniforge() (conda.Miniforge, error) { return b.Conda.Pick(runtime.GOARCH) }

func installerFile(m conda.Miniforge) string { return path.Join(layout.Cache, m.File) }

// MiniforgeFetched tells whether the installer of Miniforge is here.
func (b *miniforges) MiniforgeFetched() bool {
	m, err := b.miniforge()
	if err != nil {
		return false
	}
	sum, err := b.Host.Files.SHA256(installerFile(m))
	return err == nil && sum == m.SHA256
}

// MiniforgeWorks tells whether conda's base is there, undamaged as far as a glance at its files tells.
func (b *miniforges) MiniforgeWorks() bool {
	m, err := b.miniforge()
	return err == nil && b.Host.Files.Exists(m.Complete()) && b.BaseDamaged() == ""
}

// BaseDamaged returns the first file of conda's base that is missing or has another size than when it was installed; "" when there is none.
func (b *miniforges) BaseDamaged() string {
	m, err := b.miniforge()
	if err != nil || !b.Host.Files.Exists(m.Folder()) {
		return ""
	}
	return differs(b.Host.Files, m.Folder(), m.Complete())
}

// FetchMiniforge brings the installer of Miniforge, and goes on where an earlier attempt ended.
func (b *miniforges) FetchMiniforge(ctx context.Context, progress func(bytes, total int64)) error {
	m, err := b.miniforge()
	if err != nil {
		return err
	}
	if err := b.makeCache(); err != nil {
		return err
	}
	ctx, done := context.WithCancel(ctx)
	defer done()
	go func() {
		_ = host.Poll(ctx, 200*time.Millisecond, func(context.Context) (bool, error) {
			progress(b.sizeOf(installerFile(m)+".part"), m.Bytes)
			return false, nil
		})
	}()
	err = b.Client.File(ctx, m.Address, installerFile(m), m.SHA256)
	return host.Hint(err, "check that this machine reaches it, or name a mirror in sources.mirror of %s; --package-manager uv does without conda", layout.Config)
}

// InstallMiniforge makes conda's base, root's own, from the installer that was fetched. What an interruption left of it is removed first.
func (b *miniforges) InstallMiniforge(ctx context.Context) error {
	m, err := b.miniforge()
	if err != nil {
		return err
	}
	files := b.Host.Files
	if err := foreignConda(files); err != nil {
		return err
	}
	if err := b.keepNamed(m); err != nil {
		return err
	}
	if err := files.RemoveTree(m.Folder()); err != nil {
		return err
	}
	// It is run from the folder that commands have here, "/": it writes into the one it is started in.
	_, err = b.Host.Runner.Run(ctx, host.Command{Argv: m.Install(files.Path(installerFile(m))), Env: b.condaEnv()})
	if err != nil {
		return host.Hint(err, "run the same command again: the half-made folder is removed first")
	}
	manifest, err := listFiles(files, m.Folder(), changing)
	if err != nil {
		return err
	}
	if err := files.Write(path.Join(m.Folder(), condarc), b.Conda.Condarc(), host.Attr{Mode: 0o644}); err != nil {
		return err
	}
	if err := b.giveNamedBack(m); err != nil {
		return err
	}
	if err := files.Sync(m.Folder()); err != nil {
		return err
	}
	if err := files.Write(m.Complete(), manifest, host.Attr{Mode: 0o644}); err != nil {
		return err
	}
	return errors.Join(files.Link(m.Folder(), layout.Conda), b.linkNamed())
}

// EnsureMiniforge brings and installs it where it is not there, or damaged.
func (b *miniforges) EnsureMiniforge(ctx context.Context) error {
	if b.MiniforgeWorks() {
		return nil
	}
	if err := b.FetchMiniforge(ctx, func(int64, int64) {}); err != nil {
		return err
	}
	return b.InstallMiniforge(ctx)
}

// condarc is the file of conda's settings, in its base.
const condarc = ".condarc"

// changing are files of conda's base that conda, or this program, writes anew.
func changing(name string) bool {
	return name == condarc || strings.HasPrefix(name, "pkgs/") || strings.HasPrefix(name, namedFolder+"/")
}

// foreignConda tells of a conda that somebody else put where ours is to be.
func foreignConda(files host.Files) error {
	if !files.Exists(layout.Conda) {
		return nil
	}
	if _, err := files.Readlink(layout.Conda); err == nil {
		return nil
	}
	return host.Hint(errors.New(layout.Conda+" is there and was not made by this program"), "move it away, or use --package-manager uv, then run the same command again")
}

// ChannelAnswers tells, within a short time, whether Miniforge's installer can be fetched and, where the channel is named by an address, the channel,
// too.
func (b *miniforges) ChannelAnswers(ctx context.Context) error {
	m, err := b.miniforge()
	if err != nil {
		return err
	}
	addresses := []string{m.Address}
	if channel := b.Conda.ChannelName(); strings.Contains(channel, "://") {
		addresses = append(addresses, strings.TrimRight(channel, "/")+"/noarch/repodata.json")
	} else if b.Conda.Alias != "" {
		addresses = append(addresses, strings.TrimRight(b.Conda.Alias, "/")+"/"+channel+"/noarch/repodata.json")
	}
	for _, address := range addresses {
		if err := b.Client.Answers(ctx, address); err != nil {
			return err
		}
	}
	return nil
}

func (b *Setup) condaEnv() []string {
	env := slices.DeleteFunc(b.env(), func(pair string) bool { return strings.HasPrefix(pair, "HOME=") })
	// Certificates for conda's requests library, as pip and uv have them.
	for _, pair := range env {
		if file, ok := strings.CutPrefix(pair, "SSL_CERT_FILE="); ok && !slices.ContainsFunc(env, hasPrefix("REQUESTS_CA_BUNDLE=")) {
			env = append(env, "REQUESTS_CA_BUNDLE="+file)
			break
		}
	}
	return append(env, b.Conda.Environ(condaCache(), condaHome())...)
}

func hasPrefix(prefix string) func(string) bool {
	return func(text string) bool { return strings.HasPrefix(text, prefix) }
}

// Conda runs as the account of the user environment. What it downloads and notes lies in a folder of that account.
func condaCache() string { return path.Join(condaHome(), "pkgs") }
func condaHome() string  { return path.Join(layout.Cache, "conda") }
