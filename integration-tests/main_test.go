// Package integration holds what a person does with a hub, done to real ones: each is installed in a throwaway guest by pasting the
// line of the README, and then used over the network. What a single package does is tested there, not here.
package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"tljh/integration-tests/guest"
	"tljh/integration-tests/release"
)

// What all tests share; TestMain sets it before any of them runs.
var (
	lab  *guest.Lab
	dist string // the folder of a release built from this source tree
)

func TestMain(m *testing.M) {
	if !guest.Enabled() {
		os.Exit(m.Run()) // each test says why it is left out
	}
	code, err := runAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

func runAll(m *testing.M) (code int, err error) {
	if lab, err = guest.OpenLab(context.Background()); err != nil {
		return 1, err
	}
	stop := lab.CloseOnSignal()
	defer func() {
		stop()
		err = errors.Join(err, lab.Close())
	}()
	folder, err := os.MkdirTemp("", "tljh-dist-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	if dist, err = release.Build(context.Background(), guest.RepositoryRoot(), filepath.Join(folder, "dist")); err != nil {
		return 1, err
	}
	code = m.Run()
	return code, errors.Join(tellSlowest(10), writeMatrix())
}
