package config

import "strings"

// migrations of a release that knows the app of old notebooks by its other name only.
var migrations = []migration{{
	why: "user_environment.default_app classic is called notebook",
	change: func(text []byte) ([]byte, error) {
		app, err := Get(text, "user_environment.default_app")
		if err != nil || strings.TrimSpace(app) != "classic" {
			return text, err
		}
		return Set(text, "user_environment.default_app", "notebook")
	},
}}
