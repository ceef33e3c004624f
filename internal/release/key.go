package release

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"

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

// Sign signs a release's checksums.
func Sign(key minisign.PrivateKey, version string, sums []byte) ([]byte, error) {
	if _, err := Parse(version); err != nil {
		return nil, err
	}
	return minisign.SignWithComments(key, sums, comment+version, "signature of "+Sums), nil
}

// ErrSignature tells that what was fetched is not signed by the key that this program trusts.
var ErrSignature = errors.New("the signature of " + Sums + " is not one of the key that this program trusts")

// Verify returns the version that a release's checksums are of, if they are signed.
func Verify(key minisign.PublicKey, sums, signature []byte) (Version, error) {
	var parsed minisign.Signature
	if err := parsed.UnmarshalText(signature); err != nil {
		return Version{}, host.Hint(fmt.Errorf("cannot read %s: it is no signature", Signature),
			"something may have answered in the server's place, such as a login page of the network")
	}
	if !minisign.Verify(key, sums, signature) {
		err := ErrSignature
		if parsed.KeyID != key.ID() {
			err = fmt.Errorf("%w (it is by the key %X, the trusted one is %X)", ErrSignature, parsed.KeyID, key.ID())
		}
		return Version{}, host.Hint(err, "nothing of it was run. If whoever publishes releases has a new key, they say how to go on; otherwise tell them")
	}
	text, ok := strings.CutPrefix(strings.TrimSpace(parsed.TrustedComment), comment)
	if !ok {
		return Version{}, fmt.Errorf("%s does not say which version it is of", Signature)
	}
	return Parse(text)
}
