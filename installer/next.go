package installer

import (
	"fmt"
	"runtime"
	"strings"

	"tljh/config"
)

// Next is one of the things that an admin does after an installation.
type Next struct {
	What    string `json:"what"`
	Command string `json:"command,omitempty"` // to be typed as it is
	Words   string `json:"words"`
}

// nextSteps are what comes after an installation, in the order in which most need it.
func nextSteps(cfg *config.Config, address string, processors int) []Next {
	next := []Next{studentsNext(cfg, address), {
		What: "Packages", Command: "sudo tljh-install env install numpy",
		Words: "installs for all users; so does pip install, typed by an admin in a terminal of the hub",
	}, limitsNext(cfg, processors)}
	if !cfg.HTTPS.Enabled && !strings.HasPrefix(cfg.HTTP.PublicURL, "https://") {
		next = append(next, Next{
			What: "HTTPS", Command: "sudo tljh-install config edit",
			Words: "section https: a certificate of your own, or Let's Encrypt. Until then passwords cross the network unencrypted",
		})
	}
	return append(next,
		Next{What: "Status", Command: "sudo tljh-install status", Words: "shows whether all parts work, and what to do where one does not"},
		Next{What: "Manual", Command: "man tljh-install", Words: "and tljh-install help COMMAND"})
}

func studentsNext(cfg *config.Config, address string) Next {
	if cfg.Auth.Type != config.FirstUse {
		return Next{What: "Students", Command: "sudo tljh-install config edit", Words: "sections auth and users say who may log in"}
	}
	words := fmt.Sprintf("add their names at %shub/admin, one a line; ", strings.TrimSuffix(address, "/")+"/")
	return Next{What: "Students", Words: words + firstLoginWords[cfg.Users.FirstLogin]}
}

var firstLoginWords = map[string]string{
	config.FirstOpen:     "each chooses a password at the first login",
	config.FirstCode:     "each chooses a password at the first login, with the class code",
	config.FirstPassword: "then sudo tljh-install password --one-time --all makes a one-time password for each",
}

// limitsNext proposes what one user's server may take. Of memory, auto is a fair share already; of processors nothing is, unless somebody says so.
func limitsNext(cfg *config.Config, processors int) Next {
	if cfg.Limits.CPU != nil || processors < 2 {
		return Next{What: "Limits", Command: "sudo tljh-install config get limits", Words: "shows what each server may take"}
	}
	share := max(1, processors/2)
	return Next{
		What: "Limits", Command: fmt.Sprintf("sudo tljh-install config set limits.cpu %d --reload", share),
		Words: fmt.Sprintf("keeps one server from taking all %d processors of this machine", processors),
	}
}

func processors() int { return runtime.NumCPU() }
