package installer

import (
	"tljh/config"
	"tljh/firewall"
	"tljh/internal/host"
)

// What an installation says in the end, beside its addresses and admins: a row for each thing, shown where it applies.
var lastWords = []func(host.Files, *config.Config) string{openPorts}

// adviceFor returns what applies.
func adviceFor(files host.Files, cfg *config.Config) []string {
	advice := []string{}
	for _, words := range lastWords {
		if line := words(files, cfg); line != "" {
			advice = append(advice, line)
		}
	}
	return advice
}

// openPorts says why users' processes can be reached although they should not be.
func openPorts(files host.Files, cfg *config.Config) string {
	state, known := firewall.Read(files)
	if cfg.Users.MayListen || !known || state.Closed {
		return ""
	}
	return "Ports that students' processes open can be reached from other machines: " + state.Why + "."
}

// lookAtFirewall says whether users' processes can be reached.
func lookAtFirewall(files host.Files) (PartStatus, bool) {
	state, known := firewall.Read(files)
	if !known {
		return PartStatus{}, false
	}
	part := PartStatus{Name: "students' ports", State: state.Words()}
	if !state.Closed && !state.MayListen {
		part.Hint = "students could open a page on a port of this machine that gets the hub's cookies; serve the hub over HTTPS, or keep other ports closed in a firewall in front"
	}
	return part, true
}
