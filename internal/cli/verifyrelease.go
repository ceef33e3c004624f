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
		Use:   "verify-release DIR",
		Short: "Check whether a release may replace this program (for bootstrap.sh)",
		Long: "Check that the release whose checksums and signature are in DIR is signed by the key of this program, is no older\n" +
			"than one seen before, and can be installed here.",
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
			_, err = fmt.Fprintf(streams.Out, "  release %s is signed by the key that the installed program trusts (%s)\n", offer.Version, age)
			return err
		},
	}
	cmd.Flags().StringVar(&from, "from", os.Getenv("TLJH_RELEASE_URL"), "`ADDRESS` of the release")
	cmd.Flags().BoolVar(&self, "self", false, "only check whether this program may replace the installed one")
	return cmd
}
