package installer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"tljh/config"
	"tljh/internal/layout"
	"tljh/internal/step"
)

// withNetwork makes an environment say what the config says of the network's proxy. What the person's own shell says wins: be it that there is none, which
// an empty variable says.
func withNetwork(environ []string, cfg *config.Config) []string {
	said := func(name string) bool {
		return slices.ContainsFunc(environ, func(pair string) bool { return strings.HasPrefix(strings.ToLower(pair), strings.ToLower(name)+"=") })
	}
	added := slices.Clone(environ)
	for _, v := range cfg.ProxyVariables() {
		proxy := !strings.EqualFold(v.Name, "no_proxy")
		if !said(v.Name) && !(proxy && said("all_proxy")) {
			added = append(added, v.Pair())
		}
	}
	return added
}

// networkEnv is the file by which systemd tells hub and edge of the proxy and of certificates to trust. It may hold a password, which properties of units, for everybody to see, may not.
func networkEnv(cfg *config.Config) []byte {
	var text strings.Builder
	text.WriteString("# Made by tljh-install from network.* and sources.ca of " + layout.Config + ", and replaced by it.\n")
	for _, v := range cfg.ServiceVariables() {
		text.WriteString(v.Pair() + "\n")
	}
	return []byte(text.String())
}

// serversEnv is the file from which the hub takes the variables of a server that it starts.
func serversEnv(cfg *config.Config) ([]byte, error) {
	variables := map[string]string{}
	for _, v := range cfg.ServerVariables() {
		variables[v.Name] = v.Value
	}
	data, err := json.MarshalIndent(variables, "", "  ")
	return append(data, '\n'), err
}

// network adds the files by which the proxy, and package sources, are handed on.
func (p *planner) network() error {
	servers, err := serversEnv(p.in.Config)
	if err != nil {
		return err
	}
	p.then(phaseServices, step.File{Path: layout.NetworkEnv, What: "network's proxy for hub and edge", Content: networkEnv(p.in.Config), Attr: secret})
	p.then(phaseServices, step.File{Path: layout.ServersEnv, What: "network's variables for single-user servers", Content: servers, Attr: secret})
	return nil
}

// proposeNetwork returns what the first config says of the network: what the shell of this installation says. The notes tell a person of it.
func proposeNetwork(environ []string) (config.Network, []string) {
	network, beyond := config.NetworkOf(environ)
	notes := []string{}
	if keys := network.Keys(); len(keys) > 0 {
		notes = append(notes, "the proxy of this shell is written into the config, for the hub, the edge, single-user servers and later commands: "+strings.Join(keys, ", "))
	}
	if len(beyond) > 0 {
		notes = append(notes, fmt.Sprintf("not written into the config, which cannot have it: %s. This installation uses it; see network.* in the manual", strings.Join(beyond, "; ")))
	}
	return network, notes
}

// notHandedOn tells of a proxy of the shell that a config, which is there already, does not name: nothing but this command would use it.
func notHandedOn(environ []string, cfg *config.Config) []string {
	network, _ := config.NetworkOf(environ)
	if network.HTTPProxy+network.HTTPSProxy == "" || cfg.Network.HTTPProxy+cfg.Network.HTTPSProxy != "" {
		return nil
	}
	return []string{"only this command uses the proxy of this shell: the config names none. For the hub and its servers: sudo tljh-install config set network.https_proxy ADDRESS --reload"}
}
