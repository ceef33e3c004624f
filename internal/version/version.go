// Package version says which release this binary is. The linker stamps the values in (see the Makefile).
package version

// Version is MAJOR.MINOR.PATCH, or "0.0.0-dev" for a build that is no release.
var Version = "0.0.0-dev"

// ReleaseURL is the folder the release was published in, without a final slash; empty when it was not stamped in.
var ReleaseURL = ""

// ReleaseKey is the public key that releases are signed with; empty for the one of the source tree (internal/release/release.pub).
var ReleaseKey = ""
