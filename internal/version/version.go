// Package version says which release this binary is. The linker stamps both values in (see the Makefile).
package version

// Version is MAJOR.MINOR.PATCH, or "0.0.0-dev" for a build that is no release.
var Version = "0.0.0-dev"

// ReleaseURL is the folder the release was published in, without a final slash; empty when it was not stamped in.
var ReleaseURL = ""
