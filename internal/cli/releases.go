package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tljh/installer"
)

// versionsVerb is what releases was called in 0.1. It goes with the minor after the next.
const versionsVerb = "versions"

func newReleasesCommand(streams Streams) *cobra.Command {
	var o upgradeOptions
	cmd := &cobra.Command{
		Use:     "releases",
		Aliases: []string{versionsVerb},
		Short:   "Show the installed, previous and available releases",
		Long: "Show the installed release, the previous one (which rollback restores), the environments on this machine, and the\n" +
			"release that upgrade would find.",
		Example: "  tljh-install releases\n  tljh-install releases --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.CalledAs() == versionsVerb {
				fmt.Fprintf(streams.Err, "note: versions was renamed to releases; the old name will be removed in the next minor release\n")
			}
			return runReleases(cmd.Context(), streams, o)
		},
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	cmd.Flags().StringVar(&o.from, "from", "", "look for releases at this `URL|FOLDER`")
	return cmd
}

// availableTime is how long releases waits for the release's address: most of what it tells is here.
const availableTime = 15 * time.Second

func runReleases(ctx context.Context, streams Streams, o upgradeOptions) error {
	u, r := o.upgrader(streams)
	defer r.close()
	versions, err := installer.ListVersions(u.Installer.Host.Files)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeoutCause(ctx, availableTime, errors.New("the address does not answer"))
	defer cancel()
	offer, _, by, err := o.find(limited, u, &installer.Releases{Live: versions.Live})
	if err != nil {
		versions.Unavailable = err.Error()
	} else {
		versions.Available, versions.At, versions.Named = offer.Version.String(), offer.From, by.by
	}
	if o.json {
		return writeJSON(streams.Out, versions)
	}
	_, err = io.WriteString(streams.Out, releasesText(versions))
	return err
}

func releasesText(v *installer.Versions) string {
	var text strings.Builder
	for _, row := range []struct {
		what    string
		release *installer.Release
	}{{"installed", v.Live}, {"previous", v.Before}} {
		if row.release == nil {
			continue
		}
		r := row.release
		fmt.Fprintf(&text, "%-11s%s  (JupyterHub %s, proxy %s, Python %s) since %s", row.what, r.Version, r.JupyterHub, r.Proxy, r.Python, r.Since.Local().Format(time.DateTime))
		if r.From != "" {
			fmt.Fprintf(&text, ", from %s", r.From)
		}
		text.WriteString("\n")
	}
	for _, g := range v.Generations {
		live := ""
		if g.Live {
			live = "  in use"
		}
		fmt.Fprintf(&text, "%-11s%s-%d  built by %s on %s%s\n", "", g.Kind, g.Number, g.Version, g.Created.Local().Format(time.DateTime), live)
	}
	switch {
	case v.Available != "":
		fmt.Fprintf(&text, "%-11s%s  at %s\n", "available", v.Available, beside(v.At, v.Named))
	default:
		fmt.Fprintf(&text, "%-11sunknown: %s\n", "available", v.Unavailable)
	}
	if v.Before != nil {
		text.WriteString("\nTo roll back to " + v.Before.Version + ": sudo tljh-install rollback\n")
	}
	return text.String()
}
