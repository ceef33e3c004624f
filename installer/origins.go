package installer

import (
	"strconv"

	"tljh/config"
)

// Origins tell whether browsers keep the pages of single-user servers apart from the hub's.
type Origins struct {
	Separate bool   `json:"separate"`
	State    string `json:"state"`
	Hint     string `json:"hint,omitempty"`
}

// separateCommand is the shortest way to separate them, for a hub of any name.
const separateCommand = "sudo tljh-install config set hub.user_port 8443 --reload"

func originsOf(cfg *config.Config) Origins {
	switch hub := cfg.Hub; {
	case hub.UserDomain != "":
		return Origins{Separate: true, State: "separate: each single-user server has a name below " + hub.UserDomain}
	case hub.UserPort != 0:
		return Origins{Separate: true, State: "separate: single-user servers are on port " + strconv.Itoa(hub.UserPort)}
	}
	return Origins{
		State: "not separate: a page of a student's server can act on the hub as anyone who opens it",
		Hint:  "to separate them: " + separateCommand,
	}
}
