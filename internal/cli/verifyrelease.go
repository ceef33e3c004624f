package cli

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"tljh/installer"
	"tljh/internal/host"
	"tljh/internal/release"
	"tljh/internal/version"
)

// newVerifyReleaseCommand is for bootstrap.sh, of this release and later ones: it stays as it is. Exit code 2 means to it that a program does not
// know this verb.
func newVerifyReleaseCommand(streams Streams) *cobra.Command {
	var (
		from string
		self bool
	)
	cmd := &cobra.Command{
		Use:    "verify-release DIR",
		Short:  "Check whether a release may take this program's place (for bootstrap.sh)",
		Long:   "Check that the release whose checksums and signature are in DIR is signed by the key of this program, is no older than one seen before, and is one that install goes on with.",
		Hidden: true,
		Args:   cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			files := host.Local(nil).Files
			if self {
				return installer.MayReplace(files, version.Version, from, os.Getenv("TLJH_UNSIGNED") != "")
			}
			if len(args) == 0 {
				return &usageError{fmt.Errorf("usage: tljh-install verify-release DIR")}
			}
			key, err := release.Key()
			if err != nil {
				return err
			}
			offer, err := installer.Replacement{Dir: args[0], From: from}.Verify(files, key, time.Now())
			if err != nil {
				return err
			}
			age, _ := installer.Age(time.Now(), offer.Signed)
			_, err = fmt.Fprintf(streams.Out, "  the release %s is signed by the key that the installed program trusts (%s)\n", offer.Version, age)
			return err
		},
	}
	cmd.Flags().StringVar(&from, "from", os.Getenv("TLJH_RELEASE_URL"), "the `ADDRESS` that it comes from")
	cmd.Flags().BoolVar(&self, "self", false, "only report whether this very program may take the place of the installed one")
	return cmd
}
