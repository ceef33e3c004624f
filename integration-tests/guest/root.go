package guest

import (
	"context"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// packages is what is on "a fresh Debian server with nothing but systemd, sudo, curl and CA certificates". The variant minbase adds
// what is essential or of priority "required", and apt.
var packages = []string{"systemd", "systemd-sysv", "dbus", "sudo", "curl", "ca-certificates"}

// rootFormat goes into the key of cached roots: raise it when what PrepareRoot does changes.
const rootFormat = 1

// Root returns the folder of a suite's base root, built on first use. It must not be changed: guests lie over it.
func (l *Lab) Root(ctx context.Context, suite string) (string, error) {
	authorities, err := Authorities()
	if err != nil {
		return "", err
	}
	key := sha256.New()
	fmt.Fprintf(key, "%d\n%s\n%s\n", rootFormat, suite, strings.Join(packages, ","))
	for _, block := range authorities {
		key.Write(block)
	}
	dir := filepath.Join(l.cache, "roots", fmt.Sprintf("%s-%x", suite, key.Sum(nil)[:6]))
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	lock, err := lockWait(ctx, filepath.Join(l.cache, "roots", suite+".lock"))
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	building := dir + ".building" // a rest of an interrupted build, if it is there: we hold the lock
	if err := os.RemoveAll(building); err != nil {
		return "", err
	}
	if err := run(ctx, nil, "mmdebstrap", "--quiet", "--variant=minbase", "--include="+strings.Join(packages, ","), suite, building); err != nil {
		return "", errors.Join(fmt.Errorf("cannot build the root of %s: %w", suite, err), os.RemoveAll(building))
	}
	if err := PrepareRoot(ctx, building, authorities); err != nil {
		return "", errors.Join(fmt.Errorf("cannot prepare the root of %s: %w", suite, err), os.RemoveAll(building))
	}
	return dir, os.Rename(building, dir)
}

// PrepareRoot adds what a server's installer would have written, and the certificate authorities this machine trusts.
func PrepareRoot(ctx context.Context, root string, authorities [][]byte) error {
	files := map[string]string{
		"etc/hostname": "hub\n",
		"etc/hosts":    "127.0.0.1\tlocalhost\n127.0.1.1\thub\n::1\tlocalhost ip6-localhost ip6-loopback\n",
	}
	for i, block := range authorities {
		files[fmt.Sprintf("usr/local/share/ca-certificates/host-%03d.crt", i)] = string(block)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := run(ctx, nil, "chroot", root, "update-ca-certificates"); err != nil {
		return err
	}
	// They would fetch package lists while a test measures.
	for _, timer := range []string{"apt-daily.timer", "apt-daily-upgrade.timer"} {
		if err := os.Symlink("/dev/null", filepath.Join(root, "etc/systemd/system", timer)); err != nil {
			return err
		}
	}
	return nil
}

// Authorities returns the certificates this machine trusts, as single PEM blocks.
func Authorities() ([][]byte, error) {
	path := os.Getenv("SSL_CERT_FILE")
	if path == "" {
		path = "/etc/ssl/certs/ca-certificates.crt"
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // guests trust what their own package brings
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the certificates this machine trusts: %w", err)
	}
	var blocks [][]byte
	for {
		var block *pem.Block
		block, data = pem.Decode(data)
		if block == nil {
			return blocks, nil
		}
		if block.Type == "CERTIFICATE" {
			blocks = append(blocks, pem.EncodeToMemory(block))
		}
	}
}
