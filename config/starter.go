package config

import (
	_ "embed"
	"strings"
)

//go:embed starter.yaml
var starter string

// proxyExample is the part of the starter that says how to name a proxy.
const proxyExample = "#network:\n#  http_proxy: http://proxy.example.org:3128\n#  https_proxy: http://proxy.example.org:3128\n#  no_proxy: [example.org]\n"

// Starter returns the first config of a hub: its admins, its network's proxy, and the common keys to be uncommented.
func Starter(admins []string, network Network) []byte {
	const marker, allowed = "\n  admin:\n", "\n#  allowed:\n"
	items := blockItems(4, admins, "\n")
	text := strings.Replace(starter, marker, marker+items, 1)
	if section := network.section(); section != "" {
		text = strings.Replace(text, proxyExample, section, 1)
	}
	return []byte(strings.Replace(text, allowed, allowed+strings.ReplaceAll(items, "    - ", "#    - "), 1))
}

// Keys are those of the config that hold something.
func (n Network) Keys() []string {
	keys := []string{}
	for _, each := range []struct {
		key string
		set bool
	}{{"network.http_proxy", n.HTTPProxy != ""}, {"network.https_proxy", n.HTTPSProxy != ""}, {"network.no_proxy", len(n.NoProxy) > 0}} {
		if each.set {
			keys = append(keys, each.key)
		}
	}
	return keys
}

// section writes what holds something as a section of the file; "" is nothing.
func (n Network) section() string {
	var b strings.Builder
	for _, key := range n.Keys() {
		switch key {
		case "network.http_proxy":
			b.WriteString("  http_proxy: " + scalarText(n.HTTPProxy) + "\n")
		case "network.https_proxy":
			b.WriteString("  https_proxy: " + scalarText(n.HTTPSProxy) + "\n")
		default:
			b.WriteString("  no_proxy:\n" + blockItems(4, n.NoProxy, "\n"))
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "network:\n" + b.String()
}
