package cli

import (
	"fmt"
	"os"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"tljh/edge"
	"tljh/internal/host"
	"tljh/internal/layout"
)

func newEdgeCommand() *cobra.Command {
	options := edge.Options{Upstream: layout.ProxyAddress, Hub: layout.HubAddress, Token: os.Getenv("TLJH_EDGE_TOKEN")}
	var (
		https edge.HTTPS
		acme  edge.ACME
		port  int

		public  string
		trusted []string
	)
	cmd := &cobra.Command{
		Use:    "edge",
		Short:  "Run the edge (started by systemd)",
		Hidden: true,
		Args:   noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			proxies, err := edge.ParseProxies(public, trusted)
			if err != nil {
				return &usageError{err}
			}
			options.Proxies = proxies
			if len(acme.Domains) > 0 {
				https.ACME = &acme
			}
			if https.Pair != "" || https.ACME != nil {
				options.HTTPS = &https
			}
			return edge.Run(cmd.Context(), options, port)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&options.BaseURL, "base-url", "/", "the hub's base_url")
	flags.StringVar(&options.Upstream, "upstream", options.Upstream, "address of the proxy")
	flags.IntVar(&port, "https-port", 0, "the port for HTTPS among those that systemd passes")
	flags.IntVar(&options.Origins.UserPort, "user-port", 0, "the port for single-user servers among those that systemd passes")
	flags.StringVar(&options.Origins.UserDomain, "user-domain", "", "the domain below which each single-user server has a name")
	flags.StringVar(&options.Origins.HubDomain, "hub-domain", "", "the hub's own name")
	flags.StringVar(&public, "public-url", "", "the origin that visitors have in their browsers")
	flags.StringArrayVar(&trusted, "trusted-proxy", nil, "address, network or unix socket of a proxy to trust")
	flags.StringVar(&https.Pair, "pair", "", "file with certificate and key, made by edge certificate")
	flags.BoolVar(&https.HSTS.Off, "no-hsts", false, "tell browsers to forget that this name needs HTTPS")
	flags.StringVar(&https.HSTS.State, "state", "", "folder for the time since which there is a trusted certificate")
	flags.StringArrayVar(&acme.Domains, "acme-domain", nil, "domain to get a certificate for")
	flags.StringVar(&acme.Email, "acme-email", "", "address for the authority")
	flags.StringVar(&acme.Directory, "acme-directory", "", "the authority's directory (Let's Encrypt's)")
	flags.BoolVar(&acme.Staging, "acme-staging", false, "use Let's Encrypt's staging authority")
	flags.StringVar(&acme.CA, "acme-ca", "", "certificates to verify the authority with")
	flags.StringVar(&acme.State, "acme-state", "", "folder to keep certificates in")
	cmd.MarkFlagsMutuallyExclusive("pair", "acme-domain")
	cmd.MarkFlagsRequiredTogether("acme-domain", "acme-state")
	cmd.AddCommand(newEdgeCertificateCommand())
	return cmd
}

func newEdgeCertificateCommand() *cobra.Command {
	var (
		sources edge.Sources
		folder  string
	)
	cmd := &cobra.Command{
		Use:   "certificate",
		Short: "Hand the certificate to the edge (started by systemd, as root)",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			return runEdgeCertificate(folder, sources, os.Getenv("MAINPID"))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&folder, "to", layout.EdgeRuntime, "the edge's folder")
	flags.StringVar(&sources.Cert, "cert", "", "file with the certificate")
	flags.StringVar(&sources.Key, "key", "", "file with its key")
	flags.StringVar(&sources.CA, "ca", "", "file with certificates to verify the authority with")
	return cmd
}

// runEdgeCertificate does nothing while the edge is stopped: it is called again before it starts. mainPID is the edge's process, as systemd tells it to
// what it runs for a reload.
func runEdgeCertificate(folder string, sources edge.Sources, mainPID string) error {
	if _, err := os.Stat(folder); os.IsNotExist(err) {
		return nil
	}
	if _, err := edge.Provide(folder, sources); err != nil {
		return host.Hint(err, "fix it, then run: systemctl reload %s", layout.EdgeUnit)
	}
	if mainPID == "" {
		return nil // the edge looks by itself every few seconds
	}
	pid, err := strconv.Atoi(mainPID)
	if err != nil || pid <= 1 {
		return fmt.Errorf("cannot notify the edge: %q is not a process ID", mainPID)
	}
	if err := syscall.Kill(pid, syscall.SIGUSR1); err != nil {
		return fmt.Errorf("cannot notify the edge: %w", err)
	}
	return nil
}
