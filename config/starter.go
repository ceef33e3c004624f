package config

import (
	_ "embed"
	"strings"
)

//go:embed starter.yaml
var starter string

// Starter returns the first config of a hub: its admins, and the common keys to be uncommented.
func Starter(admins []string) []byte {
	const marker = "\n  admin:\n"
	return []byte(strings.Replace(starter, marker, marker+blockItems(4, admins, "\n"), 1))
}
