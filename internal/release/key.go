package release

import (
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"aead.dev/minisign"

	"tljh/internal/host"
	"tljh/internal/version"
)

// Files of a release beside its programs.
const (
	Sums      = "SHA256SUMS"
	Signature = Sums + ".minisig"
)

// keyFile is the public half of the key that releases are signed with, in minisign's own form.
//
//go:embed release.pub
var keyFile []byte

// Key is what signatures are judged by: the key that was stamped in when this program was built, or else the one of its source tree.
func Key() (minisign.PublicKey, error) {
	text := keyFile
	if version.ReleaseKey != "" {
		text = []byte(version.ReleaseKey)
	}
	var key minisign.PublicKey
	if err := key.UnmarshalText(text); err != nil {
		return key, fmt.Errorf("this program was built with a release key that can't be read: %w", err)
	}
	return key, nil
}

// comment is what a signature says of what it signs. It is signed, too, so the version is known by as much as the files are.
const comment = "The Littlest JupyterHub "

// stamp begins the line of the checksums that says when they were signed. sha256sum passes over it, and so do programs of before there were such lines,
// which know a signature's own comment in one form only.
const stamp = "# timestamp:"

// Stamp puts the time of signing into checksums, in the place of one that is there.
func Stamp(sums []byte, now time.Time) []byte {
	var text strings.Builder
	for line := range strings.Lines(string(sums)) {
		if !strings.HasPrefix(line, stamp) {
			text.WriteString(line)
		}
	}
	fmt.Fprintf(&text, "%s%d\n", stamp, now.Unix())
	return []byte(text.String())
}

// stamped returns when checksums were signed; zero where they do not say.
func stamped(sums []byte) time.Time {
	for line := range strings.Lines(string(sums)) {
		if digits, ok := strings.CutPrefix(strings.TrimSpace(line), stamp); ok {
			if seconds, err := strconv.ParseInt(digits, 10, 64); err == nil && seconds > 0 {
				return time.Unix(seconds, 0).UTC()
			}
		}
	}
	return time.Time{}
}

// Sign signs a release's checksums. They should be stamped.
func Sign(key minisign.PrivateKey, version string, sums []byte) ([]byte, error) {
	if _, err := Parse(version); err != nil {
		return nil, err
	}
	return minisign.SignWithComments(key, sums, comment+version, "signature of "+Sums), nil
}

// ErrSignature reports that what was fetched is not signed by the key that this program trusts.
var ErrSignature = errors.New("the signature of " + Sums + " is not one of the key that this program trusts")

// NotSigned says that a release has no signature at all.
func NotSigned(from string) error {
	return fmt.Errorf("the release at %s is not signed: it has no %s", from, Signature)
}

// Signed is what a signature proves of a release.
type Signed struct {
	Version Version
	Time    time.Time // zero for an old signature, which has none
}

// Verify returns what release checksums are of, if they are signed.
func Verify(key minisign.PublicKey, sums, signature []byte) (Signed, error) {
	var parsed minisign.Signature
	if err := parsed.UnmarshalText(signature); err != nil {
		return Signed{}, host.Hint(fmt.Errorf("cannot read %s: it is no signature", Signature),
			"something may have answered in the server's place, such as a login page of the network")
	}
	if !minisign.Verify(key, sums, signature) {
		err := ErrSignature
		if parsed.KeyID != key.ID() {
			err = fmt.Errorf("%w (it is by the key %X, the trusted one is %X)", ErrSignature, parsed.KeyID, key.ID())
		}
		return Signed{}, host.Hint(err, "nothing of it was run. If the publisher of the releases has a new key, they say how to go on; otherwise tell them")
	}
	text, ok := strings.CutPrefix(strings.TrimSpace(parsed.TrustedComment), comment)
	if !ok {
		return Signed{}, fmt.Errorf("%s does not say which version it is of", Signature)
	}
	version, err := Parse(text)
	return Signed{Version: version, Time: stamped(sums)}, err
}
