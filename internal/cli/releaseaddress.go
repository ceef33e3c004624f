package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"tljh/installer"
	"tljh/internal/fetch"
	"tljh/internal/host"
	"tljh/internal/release"
	"tljh/internal/version"
)

// releaseAddress is where releases are looked for, and who says so.
type releaseAddress struct {
	url string
	by  string // for people
}

// askedNow is what says so when the person does; they need not be told.
const askedNow = "--from"

// releaseAddress returns the first that there is: what was said now, then what the config in effect says, and else where the program or the installed release
// came from.
func (o upgradeOptions) releaseAddress(files host.Files, releases *installer.Releases) (releaseAddress, error) {
	configured, known := installer.ConfiguredRelease(files)
	unless := ""
	if !known {
		unless = "; only root can read upgrade.url in the config"
	}
	candidates := []releaseAddress{
		{o.from, askedNow},
		{os.Getenv("TLJH_RELEASE_URL"), "by TLJH_RELEASE_URL"},
		{configured, "by upgrade.url in the config"},
		{version.ReleaseURL, "built into this program" + unless},
	}
	if releases != nil && releases.Live != nil {
		candidates = append(candidates, releaseAddress{releases.Live.From, "where the installed release came from" + unless})
	}
	for _, candidate := range candidates {
		if candidate.url != "" {
			return candidate, nil
		}
	}
	return releaseAddress{}, host.Hint(errors.New("no release address is set"+unless), "give it with --from, or permanently: sudo tljh-install config set upgrade.url ADDRESS --reload")
}

// explain lets an error say whose address it was that did not work.
func (a releaseAddress) explain(err error) error {
	if a.by == askedNow {
		return err
	}
	return fmt.Errorf("%w (the address is set %s)", err, a.by)
}

// beside puts who gave an address behind it.
func beside(address, by string) string {
	if by == "" || by == askedNow {
		return address
	}
	return address + " (" + by + ")"
}

// find looks for a release where one is to be looked for, with the certificates of the config.
func (o upgradeOptions) find(ctx context.Context, u *installer.Upgrader, releases *installer.Releases) (*release.Offer, *release.Shop, releaseAddress, error) {
	from, err := o.releaseAddress(u.Installer.Host.Files, releases)
	if err != nil {
		return nil, nil, from, &usageError{err}
	}
	key, err := release.Key()
	if err != nil {
		return nil, nil, from, err
	}
	installer.UseConfiguredSources(u.Installer.Host.Files, u.Installer.Builder)
	client := &fetch.Client{Files: u.Installer.Host.Files, Environ: u.Installer.Builder.Environ, Log: u.Installer.Builder.Client.Log}
	shop := &release.Shop{Client: client, Key: key, Arch: runtime.GOARCH}
	offer, err := shop.Find(ctx, from.url, o.to)
	if err != nil && ctx.Err() == nil {
		err = &installer.BadInput{Err: from.explain(err)}
	}
	if err == nil {
		err = installer.Consider(u.Installer.Host.Files, time.Now(), offer, o.to != "")
	}
	return offer, shop, from, err
}
