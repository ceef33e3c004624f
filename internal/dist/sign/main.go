// Command sign signs the checksums of a release, and makes the key that does it. It is for whoever publishes releases; nothing of it is installed.
package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"aead.dev/minisign"

	"tljh/internal/host"
	"tljh/internal/release"
)

func main() {
	if err := run(os.Args[1:], os.Getenv("SIGNING_PASSWORD")); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		if hint := host.HintOf(err); hint != "" {
			fmt.Fprintln(os.Stderr, "hint:", hint)
		}
		os.Exit(1)
	}
}

// The password comes from the environment: arguments can be seen by others.
func run(args []string, password string) error {
	flags := flag.NewFlagSet("sign", flag.ContinueOnError)
	key := flags.String("key", "", "`FILE` with the secret key")
	public := flags.String("public", "internal/release/release.pub", "`FILE` with the public key that the release trusts")
	version := flags.String("version", "", "`VERSION` of the release")
	create := flags.Bool("new", false, "make a new key: the secret half in -key, the public one in -public")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case *key == "":
		return errors.New("-key FILE is missing")
	case *create:
		return newKey(*key, *public, password)
	case flags.NArg() != 1:
		return errors.New("give the file to sign: sign -key FILE -version VERSION SHA256SUMS")
	}
	return sign(*key, *public, *version, flags.Arg(0), password)
}

func newKey(key, public, password string) error {
	if password == "" {
		return errors.New("a key needs a password: set SIGNING_PASSWORD")
	}
	publicKey, secret, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	locked, err := minisign.EncryptKey(password, secret)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(key, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("cannot make the key: %w", err)
	}
	_, err = file.Write(append(bytes.TrimSpace(locked), '\n'))
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	text, err := publicKey.MarshalText()
	if err != nil {
		return err
	}
	return os.WriteFile(public, append(bytes.TrimSpace(text), '\n'), 0o644)
}

func sign(key, public, version, file, password string) error {
	text, err := os.ReadFile(key)
	if err != nil {
		return fmt.Errorf("cannot read the signing key: %w", err)
	}
	secret, err := unlock(text, password)
	if err != nil {
		return err
	}
	trusted, err := minisign.PublicKeyFromFile(public)
	if err != nil {
		return fmt.Errorf("cannot read the public key: %w", err)
	}
	sums, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	sums = release.Stamp(sums, time.Now())
	signature, err := release.Sign(secret, version, sums)
	if err != nil {
		return err
	}
	// A release that its own program would refuse must never be published.
	if _, err := release.Verify(trusted, sums, signature); err != nil {
		return host.Hint(fmt.Errorf("the key %s is not the other half of %s, which the release trusts", key, public), "CONTRIBUTING.md says how a key is changed")
	}
	return errors.Join(os.WriteFile(file, sums, 0o644), os.WriteFile(file+".minisig", signature, 0o644))
}

func unlock(text []byte, password string) (minisign.PrivateKey, error) {
	var key minisign.PrivateKey
	if !minisign.IsEncrypted(text) {
		return key, key.UnmarshalText(text)
	}
	key, err := minisign.DecryptKey(password, text)
	if err != nil {
		return key, host.Hint(errors.New("cannot open the signing key"), "its password is taken from SIGNING_PASSWORD")
	}
	return key, nil
}
