package edge

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	"tljh/internal/keypair"
	"tljh/internal/layout"
)

// Sources are an admin's files that the door needs and that its account cannot read. Cert and Key go together; any may be "".
type Sources struct {
	Cert, Key string // the door's own certificate
	CA        string // certificates by which to know an authority
}

// Names of what Provide makes.
var (
	pairFile        = path.Base(layout.EdgePair)
	authoritiesFile = path.Base(layout.EdgeAuthorities)
)

// Provide copies files into the door's folder, readable by whom the folder belongs to and nobody else, and tells whether that changed anything. What is
// bad is not copied, so that what was there before stays. It is called as root, by nobody that visitors talk to, and relies on nothing in that folder.
func Provide(folder string, sources Sources) (changed bool, err error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return false, fmt.Errorf("cannot open the edge's folder: %w", err)
	}
	defer root.Close()
	if sources.Cert != "" || sources.Key != "" {
		pair, err := sources.pair()
		if err != nil {
			return false, err
		}
		if changed, err = replace(root, pairFile, pair); err != nil {
			return false, fmt.Errorf("cannot hand the certificate to the edge: %w", err)
		}
	}
	if sources.CA != "" {
		authorities, err := sources.authorities()
		if err != nil {
			return changed, err
		}
		another, err := replace(root, authoritiesFile, authorities)
		if err != nil {
			return changed, fmt.Errorf("cannot hand the authority's certificates to the edge: %w", err)
		}
		changed = changed || another
	}
	return changed, nil
}

// pair returns certificate and key as one text in one form: one file is never half old and half new.
func (s Sources) pair() ([]byte, error) {
	cert, err := readSmall(s.Cert)
	if err != nil {
		return nil, fmt.Errorf("cannot read the certificate (https.tls.cert): %w", err)
	}
	key, err := readSmall(s.Key)
	if err != nil {
		return nil, fmt.Errorf("cannot read the key (https.tls.key): %w", err)
	}
	pair, err := keypair.Read(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%w (https.tls.cert is %s, https.tls.key is %s)", err, s.Cert, s.Key)
	}
	return keypair.PEM(pair)
}

func (s Sources) authorities() ([]byte, error) {
	data, err := readSmall(s.CA)
	if err != nil {
		return nil, fmt.Errorf("cannot read the authority's certificates (https.letsencrypt.ca): %w", err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("there is no certificate in %s (https.letsencrypt.ca)", s.CA)
	}
	return data, nil
}

const small = 1 << 20

var errNoFile = errors.New("it is no ordinary file")

// readSmall reads a file that is not meant to be big.
func readSmall(name string) ([]byte, error) {
	file, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not hold anything up
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readOpen(file)
}

func readOpen(file *os.File) ([]byte, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: file.Name(), Err: errNoFile}
	}
	if info.Size() > small {
		return nil, &fs.PathError{Op: "read", Path: file.Name(), Err: errors.New("it is much too big")}
	}
	return io.ReadAll(io.LimitReader(file, small))
}

// replace writes a file with a mode for its folder's owner only, unless it is just so already.
func replace(root *os.Root, name string, data []byte) (bool, error) {
	owner, err := ownerOf(root)
	if err != nil {
		return false, err
	}
	if holds(root, name, owner, data) {
		return false, nil
	}
	draft := "." + name + ".new"
	if err := root.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	file, err := root.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return false, err
	}
	err = errors.Join(file.Chmod(0o400), file.Chown(int(owner.Uid), int(owner.Gid)), write(file, data), file.Close())
	if err == nil {
		err = root.Rename(draft, name)
	}
	if err != nil {
		_ = root.Remove(draft)
		return false, err
	}
	return true, syncFolder(root)
}

func write(file *os.File, data []byte) error {
	if _, err := file.Write(data); err != nil {
		return err
	}
	return file.Sync()
}

func syncFolder(root *os.Root) error {
	folder, err := root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

func ownerOf(root *os.Root) (*syscall.Stat_t, error) {
	info, err := root.Stat(".")
	if err != nil {
		return nil, err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, errors.New("this system does not tell who owns a folder")
	}
	return owner, nil
}

// holds tells whether a file is just as it should be.
func holds(root *os.Root, name string, owner *syscall.Stat_t, data []byte) bool {
	file, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || info.Mode() != 0o400 {
		return false
	}
	status, ok := info.Sys().(*syscall.Stat_t)
	if !ok || status.Uid != owner.Uid || status.Gid != owner.Gid {
		return false
	}
	there, err := readOpen(file)
	return err == nil && bytes.Equal(there, data)
}
