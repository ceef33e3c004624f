package cli

import (
	"encoding/json"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"tljh/environment"
	"tljh/internal/version"
)

func newVersionCommand(streams Streams) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program and of the software it installs",
		Args:  noArgs,
		RunE:  func(*cobra.Command, []string) error { return runVersion(streams, asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func runVersion(streams Streams, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(streams.Out).Encode(map[string]string{
			"version": version.Version, "jupyterhub": environment.JupyterHubVersion(), "python": environment.PythonRelease,
			"arch": runtime.GOARCH, "release_url": version.ReleaseURL,
		})
	}
	_, err := fmt.Fprintln(streams.Out, versionText())
	return err
}

func versionText() string {
	return fmt.Sprintf("tljh-install %s (JupyterHub %s, Python %s, %s)", version.Version, environment.JupyterHubVersion(), environment.PythonRelease, runtime.GOARCH)
}
