// Command bench-env measures the work on user environments against the bare tools: the same packages by conda and by uv alone, in the same guest and
// from the same channel, a moment before. All is measured in one run, so that the ratios hold on any machine.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"tljh/integration-tests/guest"
	"tljh/integration-tests/mirror"
	"tljh/integration-tests/release"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := bench(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// steps are run in this order, in a guest with a hub whose environment is conda's.
var steps = []struct{ name, script string }{
	{"bare conda", `rm -rf /opt/bare /opt/bare-pkgs; export CONDA_PKGS_DIRS=/opt/bare-pkgs
/opt/tljh/conda/bin/conda create --yes --quiet -p /opt/bare --override-channels -c conda-forge python=3.14 pip jupyterlab notebook ipykernel ipywidgets jupyter-resource-usage
$(echo /opt/tljh/tools/uv-*/bin/uv) pip install --quiet --no-cache --compile-bytecode --python /opt/bare/bin/python jupyterhub=="$hub" nbgitpuller
/opt/bare/bin/jupyterhub-singleuser --version`},
	{"env apply, conda", "tljh-install env apply /root/nothing --package-manager conda"},
	{"bare uv", `rm -rf /opt/bare; uv=$(echo /opt/tljh/tools/uv-*/bin/uv)
$uv venv --quiet --python /opt/tljh/python/cpython-*/bin/python3.14 /opt/bare
$uv pip install --quiet --no-cache --compile-bytecode --python /opt/bare/bin/python --no-deps --require-hashes -r "$lock"
/opt/bare/bin/jupyterhub-singleuser --version`},
	{"env apply, uv", "tljh-install env apply /root/nothing --package-manager uv"},
	{"env rollback, the generation is still there", "tljh-install env rollback --yes"},
	{"env check, first", "tljh-install env check"},
	{"env check, warm", "tljh-install env check"},
	{"env repair of one package", "rm /opt/tljh/user/lib/python3.14/site-packages/jupyter_server/serverapp.py; tljh-install env repair"},
	{"env install of one package", "tljh-install env install cowsay=4.0"},
	{"env rollback, from a snapshot", "tljh-install env rollback --yes"},
}

func bench(ctx context.Context) error {
	dist := filepath.Join(guest.RepositoryRoot(), "dist")
	if err := release.Complete(dist); err != nil {
		return fmt.Errorf("%w\nhint: run `make bench-env`, or `make dist` before", err)
	}
	m, err := mirror.Build(ctx, guest.RepositoryRoot(), guest.CacheDir())
	if err != nil {
		return err
	}
	lab, err := guest.OpenLab(ctx)
	if err != nil {
		return err
	}
	took, err := measure(ctx, lab, m, dist)
	if err = errors.Join(err, lab.Close()); err != nil {
		return err
	}
	return show(took)
}

func measure(ctx context.Context, lab *guest.Lab, m *mirror.Mirror, dist string) (map[string]time.Duration, error) {
	g, err := lab.New(ctx, guest.Options{Name: "bench-env"})
	if err != nil {
		return nil, err
	}
	if err := g.Boot(ctx); err != nil {
		return nil, err
	}
	var listeners [2]net.Listener
	for n := range listeners {
		if listeners[n], err = net.Listen("tcp", net.JoinHostPort(g.Gateway(), "0")); err != nil {
			return nil, err
		}
	}
	files, channel := release.Serve(listeners[0], dist), mirror.Serve(listeners[1], m)
	defer files.Close()
	defer channel.Close()
	sources := fmt.Sprintf("sources:\n  alias: %[1]s\n  mirror: %[1]s/%[2]s\n  miniforge_sha256: %[3]s\n", channel.URL(), path.Dir(m.Miniforge.Path), m.Miniforge.SHA256)
	if err := g.Write(ctx, "/root/config.yaml", 0o600, strings.NewReader(sources)); err != nil {
		return nil, err
	}
	lock, err := os.ReadFile(filepath.Join(guest.RepositoryRoot(), "hub/locks/user.txt"))
	if err != nil {
		return nil, err
	}
	if err := g.Write(ctx, "/root/user.txt", 0o644, strings.NewReader(string(lock))); err != nil {
		return nil, err
	}
	// postBuild alone: what a new environment begins with, and nothing else.
	prepare := release.Line(files.URL(), "", "--package-manager conda --config /root/config.yaml --admin alice:bench-password") +
		" && mkdir -p /root/nothing && printf '#!/bin/sh\\n' >/root/nothing/postBuild"
	if _, err := sh(ctx, g, prepare); err != nil {
		return nil, err
	}
	took := map[string]time.Duration{}
	for _, step := range steps {
		fmt.Fprintln(os.Stderr, step.name)
		r, err := sh(ctx, g, "set -e; cd /; export SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt; lock=/root/user.txt; hub=$(/opt/tljh/hub/bin/jupyterhub --version); "+step.script)
		if err != nil {
			return nil, err
		}
		took[step.name] = r.Took
	}
	return took, nil
}

// sh runs a script that must end well.
func sh(ctx context.Context, g *guest.Guest, script string) (guest.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	r, err := g.Sh(ctx, script)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("exit code %d of: %s\n%s", r.Code, script, r.Output())
	}
	return r, err
}

func show(took map[string]time.Duration) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "what\tmeasured\taim")
	for _, step := range steps {
		aim := map[string]string{"env check, warm": "≤ 2 s", "env rollback, the generation is still there": "≤ 1 s"}[step.name]
		fmt.Fprintf(w, "%s\t%.2f s\t%s\n", step.name, took[step.name].Seconds(), aim)
	}
	for _, ratio := range []struct{ what, of, to, aim string }{
		{"conda: ours / bare", "env apply, conda", "bare conda", "≤ 1.05"},
		{"uv: ours / bare", "env apply, uv", "bare uv", "≤ 1.05"},
		{"repair of one package / a new environment", "env repair of one package", "env apply, conda", "≤ 0.1"},
	} {
		fmt.Fprintf(w, "%s\t%.2f\t%s\n", ratio.what, took[ratio.of].Seconds()/took[ratio.to].Seconds(), ratio.aim)
	}
	return w.Flush()
}
