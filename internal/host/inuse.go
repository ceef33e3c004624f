package host

import (
	"bytes"
	"os"
	"path/filepath"
)

// InUse tells whether a process that runs was started from the folder p, as its command line tells.
func (f Files) InUse(p string) bool {
	lines, _ := filepath.Glob(f.Path("/proc/[0-9]*/cmdline"))
	for _, file := range lines {
		if data, err := os.ReadFile(file); err == nil && bytes.Contains(data, []byte(p+"/")) {
			return true
		}
	}
	return false
}
