// Package config is the file config.yaml: what may stand in it, what it means, what is wrong with one that does not work, and how
// to change one without touching the rest of it. It is pure: bytes in, values and problems out.
package config

// FirstUse is the authenticator of an installation that names none.
const FirstUse = "firstuseauthenticator.FirstUseAuthenticator"

// Config is what a valid file says, with the defaults for what it leaves out.
type Config struct {
	BaseURL string // begins and ends with a slash
	Auth    struct {
		Type    string
		Classes map[string]map[string]any // options by class
	}
	Users struct {
		Allowed, Banned, Admin []string
		ExtraUserGroups        map[string][]string
	}
	Limits struct {
		Memory *int64 // bytes; nil is no limit
		CPU    *float64
	}
	HTTP struct {
		Address string // "" is every address
		Port    int
	}
	UserEnvironment struct{ DefaultApp string }
	Services        struct {
		Cull struct {
			Enabled, Users, RemoveNamedServers  bool
			Timeout, Every, Concurrency, MaxAge int
		}
	}
}

// Default returns what an empty file means.
func Default() *Config {
	c := &Config{BaseURL: "/"}
	c.Auth.Type = FirstUse
	c.Auth.Classes = map[string]map[string]any{}
	c.Users.ExtraUserGroups = map[string][]string{}
	c.HTTP.Port = 80
	c.UserEnvironment.DefaultApp = "jupyterlab"
	cull := &c.Services.Cull
	cull.Enabled, cull.Timeout, cull.Every, cull.Concurrency = true, 600, 60, 5
	return c
}
