// Package hub carries the Python side of the product: the package tljh that runs inside JupyterHub, and the locks that say
// by hash what the environments are built from. It gives out bytes; building environments from them belongs to package
// environment.
package hub

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"
)

// Only named kinds of file: a developer's folder also holds byte code and tests.
//
//go:embed src/tljh/*.py src/tljh/singleuser/*.py src/tljh/singleuser/always src/tljh/templates/*.html
var source embed.FS

//go:embed locks/hub.txt locks/user.txt locks/uv.txt locks/node.txt
var locks embed.FS

//go:embed locks/overrides.txt
var overrides []byte

//go:embed locks/sizes.json
var sizesJSON []byte

//go:embed locks/places.txt
var places string

//go:embed proxy/package.json proxy/package-lock.json
var proxy embed.FS

// PackageFS returns the tree of the Python package tljh.
func PackageFS() fs.FS { return sub(source, "src/tljh") }

// ProxyFS returns package.json and package-lock.json of the proxy.
func ProxyFS() fs.FS { return sub(proxy, "proxy") }

// Lock returns a hash-pinned requirements file: hub, user, uv or node.
func Lock(name string) []byte {
	data, err := locks.ReadFile("locks/" + name + ".txt")
	if err != nil {
		panic(fmt.Sprintf("no lock %q is embedded", name))
	}
	return data
}

// Overrides returns what the locks were made with in the place of packages' own wishes, as a requirements file.
func Overrides() []byte { return overrides }

// Sizes returns the bytes that installing a lock downloads on an architecture (amd64, arm64), 0 when unknown. What the hub's
// lock brings already is not counted again for the user's.
func Sizes(lock, arch string) int64 {
	var sizes map[string]map[string]int64
	if err := json.Unmarshal(sizesJSON, &sizes); err != nil {
		panic(fmt.Sprintf("sizes.json is damaged: %v", err))
	}
	return sizes[lock][arch]
}

// Places tells by a wheel's SHA-256 where package indexes keep it: the end of its address, which is the same on every index that keeps files below
// a digest of their contents.
func Places() map[string]string {
	found := map[string]string{}
	for line := range strings.Lines(places) {
		sum, place, _ := strings.Cut(strings.TrimSpace(line), " ")
		found[sum] = place
	}
	return found
}

func sub(tree embed.FS, dir string) fs.FS {
	below, err := fs.Sub(tree, dir)
	if err != nil {
		panic(err)
	}
	return below
}
