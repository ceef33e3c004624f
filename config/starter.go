package config

import (
	_ "embed"
	"strings"
)

//go:embed starter.yaml
var starter string

// Starter returns the first config of a hub: its admins, and the common keys to be uncommented.
func Starter(admins []string) []byte {
	const marker, allowed = "\n  admin:\n", "\n#  allowed:\n"
	items := blockItems(4, admins, "\n")
	text := strings.Replace(starter, marker, marker+items, 1)
	return []byte(strings.Replace(text, allowed, allowed+strings.ReplaceAll(items, "    - ", "#    - "), 1))
}
