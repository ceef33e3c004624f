package release

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"aead.dev/minisign"

	"tljh/internal/fetch"
	"tljh/internal/host"
)

// Shop is where releases are looked for, and by what they are known.
type Shop struct {
	Client *fetch.Client
	Key    minisign.PublicKey
	Arch   string // of this machine, as Go names it
}

// Offer is a release whose checksums have proved to be signed.
type Offer struct {
	Version Version
	Signed  time.Time // zero where the signature does not say
	From    string    // the folder or file that it comes from, without a password

	place     place
	file      string // the program for this machine
	sum       string // of it
	packedSum string // of it compressed, where it is there so, too
}

// place is a folder of a release: one of the web or one of this machine.
type place struct {
	base string
	web  bool
	file string // the program that was named, where one was
}

// placeOf reads what a person gave: a web address, a folder, or a program with its checksums and their signature beside it.
func placeOf(from string) (place, error) {
	if address, err := url.Parse(from); err == nil && (address.Scheme == "http" || address.Scheme == "https") && address.Host != "" {
		return place{base: strings.TrimRight(from, "/"), web: true}, nil
	}
	if strings.Contains(from, "://") {
		return place{}, fmt.Errorf("%s is no address that a release can be fetched from: give one with https://, a folder or a file", fetch.Plain(from))
	}
	whole, err := filepath.Abs(from)
	if err != nil {
		return place{}, err
	}
	info, err := os.Stat(whole)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return place{}, fmt.Errorf("there is no %s", whole)
	case err != nil:
		return place{}, fmt.Errorf("cannot look at %s: %w", whole, err)
	case info.IsDir():
		return place{base: whole}, nil
	}
	return place{base: filepath.Dir(whole), file: filepath.Base(whole)}, nil
}

func (p place) plain() string {
	if p.web {
		return fetch.Plain(p.base)
	}
	return filepath.Join(p.base, p.file)
}

// below returns the folder of that name in this one.
func (p place) below(name string) place {
	p.base += "/" + name
	return p
}

// candidates are the folders that may hold what is wanted. A release's address is either a folder that always holds the newest, with the others in
// folders named by their versions below it, or one of those.
func (p place) candidates(wanted string) []place {
	if p.file != "" {
		return []place{p}
	}
	top := p
	if base := path.Base(p.base); versionForm.MatchString(base) && path.Dir(p.base) != "." {
		top.base = strings.TrimSuffix(p.base, "/"+base)
		if wanted == "" {
			return []place{top, p}
		}
	}
	if wanted == "" {
		return []place{p}
	}
	found := []place{top.below(wanted), top}
	if top.base != p.base {
		found = append(found, p)
	}
	return found
}

// notSignedError is of a place that holds checksums and no signature.
type notSignedError struct{ error }

// signedLimit bounds what is read of checksums and signatures.
const signedLimit = 1 << 20

// read returns a small file of the place.
func (s *Shop) read(ctx context.Context, p place, name string) ([]byte, error) {
	if p.web {
		data, _, _, err := s.Client.Page(ctx, p.base+"/"+name, "*/*", signedLimit)
		return data, err
	}
	return os.ReadFile(filepath.Join(p.base, name))
}

func missing(err error) bool {
	var status *fetch.StatusError
	return errors.Is(err, fs.ErrNotExist) || errors.As(err, &status) && (status.Status == 404 || status.Status == 410 || status.Status == 403)
}

// Find looks for a release at an address: the one that is wanted, by its version or its minor, or else whichever is there.
func (s *Shop) Find(ctx context.Context, from, wanted string) (*Offer, error) {
	first, err := placeOf(from)
	if err != nil {
		return nil, err
	}
	var last error
	for _, p := range first.candidates(wanted) {
		offer, err := s.offer(ctx, p)
		switch {
		case err == nil && offer.Version.Matches(wanted):
			return offer, nil
		case err == nil:
			last = host.Hint(fmt.Errorf("%s contains %s, not %s", p.plain(), offer.Version, wanted), "ask the publisher of the releases where %s is, and give its address with --from", wanted)
		case errors.As(err, new(*notSignedError)):
			last = err
		case !missing(err):
			return nil, err
		case last == nil:
			last = host.Hint(fmt.Errorf("there is no signed release at %s: %w", first.plain(), err), "a release is a folder with %s and %s in it; --from names another", Sums, Signature)
		}
	}
	return nil, last
}

// offer reads what a place offers, and believes nothing that is not signed.
func (s *Shop) offer(ctx context.Context, p place) (*Offer, error) {
	sums, err := s.read(ctx, p, Sums)
	if err != nil {
		return nil, err
	}
	signature, err := s.read(ctx, p, Signature)
	if missing(err) {
		return nil, host.Hint(&notSignedError{NotSigned(p.plain())}, "ask its publisher. A build of your own is signed with a key of your own: CONTRIBUTING.md says how")
	}
	if err != nil {
		return nil, err
	}
	signed, err := Verify(s.Key, sums, signature)
	if err != nil {
		return nil, err
	}
	offer := &Offer{Version: signed.Version, Signed: signed.Time, From: p.plain(), place: p, file: "tljh-install-linux-" + s.Arch}
	if p.file != "" {
		offer.file = p.file
	}
	offer.sum, offer.packedSum = sumOf(sums, offer.file), sumOf(sums, offer.file+packed)
	return offer, nil
}

func sumOf(sums []byte, name string) string {
	for line := range strings.Lines(string(sums)) {
		fields := strings.Fields(line)
		if len(fields) == 2 && strings.TrimPrefix(fields[1], "*") == name && len(fields[0]) == 2*sha256.Size {
			return fields[0]
		}
	}
	return ""
}

var machines = map[elf.Machine]string{elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64"}

// Fetch brings the release's program for this machine to a path, checked against the signed checksum. What an earlier attempt left of it is
// continued.
func (s *Shop) Fetch(ctx context.Context, offer *Offer, to string) error {
	if offer.sum == "" {
		return host.Hint(fmt.Errorf("the release %s at %s has no program %s", offer.Version, offer.From, offer.file), "this machine is %s: ask the publisher of the releases for one", s.Arch)
	}
	files := s.Client.Files
	var err error
	switch {
	case !offer.place.web:
		err = copyFile(files, filepath.Join(offer.place.base, offer.file), to, offer.sum)
	case offer.packedSum != "":
		err = s.fetchPacked(ctx, offer, to)
	default:
		err = s.Client.File(ctx, offer.place.base+"/"+offer.file, to, offer.sum)
	}
	if err != nil {
		return err
	}
	return s.check(files, offer, to)
}

// packed is what the name of a compressed program ends with.
const packed = ".gz"

// fetchPacked fetches the program compressed.
func (s *Shop) fetchPacked(ctx context.Context, offer *Offer, to string) error {
	files := s.Client.Files
	if err := s.Client.File(ctx, offer.place.base+"/"+offer.file+packed, to+packed, offer.packedSum); err != nil {
		return err
	}
	data, err := unpack(files, to+packed)
	if err != nil {
		return fmt.Errorf("cannot unpack %s: %w", offer.file+packed, err)
	}
	if host.SHA256(data) != offer.sum {
		return host.Hint(fmt.Errorf("%s does not contain the program that %s names", offer.file+packed, Sums), "tell the publisher of the release")
	}
	if err := files.Write(to, data, host.Attr{Mode: 0o755}); err != nil {
		return err
	}
	return files.Remove(to + packed)
}

func unpack(files host.Files, name string) ([]byte, error) {
	data, err := files.Read(name)
	if err != nil {
		return nil, err
	}
	reader, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(reader) // the sum of what is packed is signed
}

func copyFile(files host.Files, from, to, sum string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("cannot read the release: %w", err)
	}
	if got := host.SHA256(data); got != sum {
		return host.Hint(fmt.Errorf("%s is not the file that %s names: its sha256 is %s instead of %s", from, Sums, got, sum), "copy all of the release again")
	}
	return files.Write(to, data, host.Attr{Mode: 0o755})
}

// check refuses a program that this machine could not run, and makes the one that it can run one.
func (s *Shop) check(files host.Files, offer *Offer, to string) error {
	data, err := files.Read(to)
	if err != nil {
		return err
	}
	program, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("%s is no program for Linux", offer.file)
	}
	if arch := machines[program.Machine]; arch != s.Arch {
		return host.Hint(fmt.Errorf("%s is a program for %s, and this machine is %s", offer.file, archWords(arch), s.Arch), "take tljh-install-linux-%s", s.Arch)
	}
	file, err := os.Open(files.Path(to))
	if err != nil {
		return err
	}
	defer file.Close()
	if err := file.Chmod(0o755); err != nil {
		return err
	}
	return file.Sync()
}

func archWords(arch string) string {
	if arch == "" {
		return "another kind of machine"
	}
	return arch
}
