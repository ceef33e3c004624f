package cli

import (
	"fmt"
	"os"

	"tljh/installer"
	"tljh/internal/host"
	"tljh/internal/version"
)

// handedBack is set for a program that another release's has handed over to: it does not hand over again.
const handedBack = "TLJH_HANDED_BACK"

// handBack lets the program of the hub's own release take its place again, where one of another release stands in it. To go to that other release is
// what upgrade is for. It returns only when there is nothing to hand over.
func handBack(streams Streams) error {
	if os.Getenv(handedBack) != "" {
		return nil
	}
	kept, release, err := installer.KeptProgram(host.Files{})
	if err != nil || kept == "" {
		return err
	}
	fmt.Fprintf(streams.Err, "The hub is release %s, but this program is %s: switching back to the program of %s.\nTo upgrade instead: sudo tljh-install upgrade\n", release, version.Version, release)
	if err := os.Setenv(handedBack, version.Version); err != nil {
		return err
	}
	return become(kept, os.Args[1:], "")
}
