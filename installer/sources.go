package installer

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"tljh/conda"
	"tljh/config"
	"tljh/environment"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/step"
)

// systemAuthorities are where distributions keep the certificates that programs trust.
var systemAuthorities = []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"}

// UseSources lets all that is fetched come from where the config says, and by the network's proxy.
func UseSources(b *environment.Builder, cfg *config.Config) {
	sources := cfg.Sources
	b.Environ = withSources(withNetwork(b.Environ, cfg), sources)
	if b.Client != nil {
		b.Client.Environ = b.Environ
	}
	b.Conda = conda.Settings{Mirror: sources.Mirror, SHA256: sources.MiniforgeSHA256, Channel: sources.Channel, Alias: sources.Alias}
	if sources.CA != "" {
		b.Conda.CA = layout.Authorities
	}
}

// UseConfiguredSources does so with the config that is in effect. One that can't be read leaves everything to the tools' own settings.
func UseConfiguredSources(files host.Files, b *environment.Builder) {
	if cfg := inEffect(files); cfg != nil {
		UseSources(b, cfg)
	}
}

// ConfiguredRelease returns the address of releases that the config in effect names, or "". It is false where only root can tell.
func ConfiguredRelease(files host.Files) (address string, known bool) {
	if _, err := files.Read(layout.Applied); errors.Is(err, fs.ErrPermission) {
		return "", false
	}
	if cfg := inEffect(files); cfg != nil {
		address = cfg.Upgrade.URL
	}
	return address, true
}

// inEffect returns the config that the hub works with; nil if there is none, or none that this program reads.
func inEffect(files host.Files) *config.Config {
	data, err := files.Read(layout.Applied)
	if err != nil {
		return nil
	}
	cfg, _ := config.Parse(layout.Applied, data)
	return cfg
}

// withSources makes an environment say what the config says of package sources. What the config leaves open stays as the person set it.
func withSources(environ []string, sources config.Sources) []string {
	set := map[string]string{}
	if sources.Index != "" {
		set["PIP_INDEX_URL"], set["UV_DEFAULT_INDEX"], set["UV_INDEX_URL"] = sources.Index, sources.Index, sources.Index
	}
	if sources.CA != "" {
		set["PIP_CERT"], set["SSL_CERT_FILE"], set["NODE_EXTRA_CA_CERTS"] = layout.Authorities, layout.Authorities, sources.CA
	}
	kept := slices.DeleteFunc(slices.Clone(environ), func(pair string) bool {
		key, _, _ := strings.Cut(pair, "=")
		_, ours := set[key]
		return ours
	})
	for key, value := range set {
		kept = append(kept, key+"="+value)
	}
	return kept
}

// authoritiesStep writes the file of certificates for tools that take one file only: the system's, and those of the config.
func authoritiesStep(files host.Files, sources config.Sources) (step.File, error) {
	ours, err := files.Read(sources.CA)
	if err != nil {
		return step.File{}, badInput(fmt.Errorf("cannot read the certificates of sources.ca: %w", err))
	}
	for _, system := range systemAuthorities {
		data, err := files.Read(system)
		if err == nil {
			content := bytes.Join([][]byte{bytes.TrimSpace(data), bytes.TrimSpace(ours), nil}, []byte("\n"))
			return step.File{Path: layout.Authorities, What: "certificates to trust", Content: content, Attr: readable}, nil
		}
	}
	return step.File{}, errors.New("this machine has no file of trusted certificates: install the package ca-certificates")
}
