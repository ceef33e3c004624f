package installer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"aead.dev/minisign"

	"tljh/internal/host"
	"tljh/internal/release"
	"tljh/internal/version"
)

// Replacement is a release whose program would take the place of the installed one.
type Replacement struct {
	Dir  string // holds its checksums and their signature
	From string // where they come from, for people
}

// sumsLimit bounds what is read of checksums and signatures.
const sumsLimit = 1 << 20

// Verify refuses a release that is not signed by the key of this program, that is older than one that was seen, or that install would not go on with.
func (r Replacement) Verify(files host.Files, key minisign.PublicKey, now time.Time) (*release.Offer, error) {
	sums, err := r.read(release.Sums)
	if err != nil {
		return nil, err
	}
	signature, err := r.read(release.Signature)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, badInput(host.Hint(release.NotSigned(r.From), "ask its publisher. To take a build of your own, put --unsigned at the end of the pasted line"))
	}
	if err != nil {
		return nil, err
	}
	signed, err := release.Verify(key, sums, signature)
	if err != nil {
		return nil, badInput(err)
	}
	offer := &release.Offer{Version: signed.Version, Signed: signed.Time, From: r.From}
	if err := MayReplace(files, offer.Version.String(), r.From, false); err != nil {
		return nil, err
	}
	return offer, Consider(files, now, offer, r.ofTheHub(files, offer))
}

// ofTheHub reports whether an offer is of the release that is here already: nobody is kept from a newer one by taking it.
func (r Replacement) ofTheHub(files host.Files, offer *release.Offer) bool {
	releases, err := LoadReleases(files)
	return err == nil && releases.Live != nil && releases.Live.Version == offer.Version.String()
}

func (r Replacement) read(name string) ([]byte, error) {
	file, err := os.Open(filepath.Join(r.Dir, name))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > sumsLimit {
		return nil, badInput(fmt.Errorf("%s of the release at %s is no file of checksums", name, r.From))
	}
	return os.ReadFile(filepath.Join(r.Dir, name))
}

// MayReplace refuses a program of another release than that of the hub: install would not go on with it. A build that nobody has signed can only upgrade by
// its own program: upgrade takes signed releases.
func MayReplace(files host.Files, offered, from string, unsigned bool) error {
	if err := interrupted(files); err != nil {
		return &SkewRefused{err}
	}
	if a, err := loadAdoption(files); err != nil || a.begun() && offered != version.Version {
		return &SkewRefused{errors.Join(err, host.Hint(errors.New("the adoption of the legacy hub was interrupted, and this program has to complete it"), "sudo tljh-install install"))}
	}
	releases, err := LoadReleases(files)
	if err != nil || releases.Live == nil || releases.Live.Version == offered {
		return err
	}
	live, liveErr := release.Parse(releases.Live.Version)
	to, toErr := release.Parse(offered)
	if liveErr != nil || toErr != nil {
		return nil
	}
	if unsigned {
		if live.MoveTo(to) != release.Forward {
			return &SkewRefused{otherRelease(live, to, "")}
		}
		program := "tljh-install-linux-" + runtime.GOARCH
		return &SkewRefused{host.Hint(notInstalled(live, to), "curl -fLO %s/%s && chmod +x %s && sudo ./%[2]s upgrade", from, program, program)}
	}
	return &SkewRefused{otherRelease(live, to, from)}
}

func notInstalled(live, to release.Version) error {
	return fmt.Errorf("%s is installed on this machine, and this is %s: install does not go from one to the other", live, to)
}

// otherRelease says that install does not go from one release to another, and what does.
func otherRelease(live, to release.Version, from string) error {
	address := ""
	if from != "" {
		address = " --from " + from
	}
	switch live.MoveTo(to) {
	case release.Backward:
		return host.Hint(fmt.Errorf("%s is installed on this machine, and this is the older %s: install does not go back", live, to),
			"to check and repair what is installed: sudo tljh-install install; to go back to the release before: sudo tljh-install rollback")
	case release.TooFar:
		return host.Hint(&release.SkewError{From: live, To: to, Move: release.TooFar}, "go to %[1]s first: sudo tljh-install upgrade --to %[1]s%[2]s; then: sudo tljh-install upgrade%[2]s", live.Next(to), address)
	}
	return host.Hint(notInstalled(live, to), "sudo tljh-install upgrade%s does", address)
}
