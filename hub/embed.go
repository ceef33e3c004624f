// Package hub holds the Python side of the product and the locks of what the environments are built from, embedded.
package hub

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
)

//go:embed all:src/tljh
var source embed.FS

//go:embed locks/*.txt
var locks embed.FS

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

// Sizes returns the bytes that installing a lock downloads on an architecture; 0 when unknown.
func Sizes(lock, arch string) int64 {
	var sizes map[string]map[string]int64
	_ = json.Unmarshal(nil, &sizes)
	return sizes[lock][arch]
}

func sub(tree embed.FS, dir string) fs.FS {
	below, err := fs.Sub(tree, dir)
	if err != nil {
		panic(err)
	}
	return below
}
