// Package manual holds what is installed beside the program for people at a shell: manual pages, and completion for bash, zsh and fish. The files are written from
// the command line's own tables by a test of internal/cli (go test ./internal/cli -run TestManual -update), which also fails when they differ from these.
package manual

import (
	"embed"
	"io/fs"
	"path"
)

// The files stand below root as they do on a machine: where man, bash and zsh look for what does not come from the distribution, and where fish does. fish looks
// into /usr/local only where XDG_DATA_DIRS is set, which it is not in a shell on a server.
//
//go:embed all:root
var root embed.FS

// File is one of them.
type File struct {
	Path    string // where it is installed
	Content []byte
}

// Files returns all of them, in the order of their paths.
func Files() []File {
	found := []File{}
	walk(func(name string, entry fs.DirEntry) {
		if !entry.IsDir() {
			content, _ := root.ReadFile(name) // what is embedded can be read
			found = append(found, File{installed(name), content})
		}
	})
	return found
}

// Folders returns the folders that the files are in, each behind those that it is in.
func Folders() []string {
	found := []string{}
	walk(func(name string, entry fs.DirEntry) {
		if entry.IsDir() && name != "root" {
			found = append(found, installed(name))
		}
	})
	return found
}

func installed(name string) string { return path.Join("/", name[len("root"):]) }

func walk(do func(name string, entry fs.DirEntry)) {
	_ = fs.WalkDir(root, "root", func(name string, entry fs.DirEntry, err error) error {
		if err == nil {
			do(name, entry)
		}
		return err
	})
}
