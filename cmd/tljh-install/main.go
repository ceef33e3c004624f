// Command tljh-install installs and looks after The Littlest JupyterHub.
package main

import (
	"os"

	"tljh/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[0], os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
