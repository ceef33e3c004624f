package environment

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"tljh/hub"
	"tljh/internal/fetch"
	"tljh/internal/host"
	"tljh/internal/layout"
)

// Bundle is the wheels that one of this program's locks asks for: what is installed from them needs no network.
type Bundle string

// The bundles. Those of the hub and of the users' environment share many wheels; each is fetched once.
const (
	UVWheel    Bundle = "uv"
	NodeWheel  Bundle = "node"
	HubWheels  Bundle = "hub"
	UserWheels Bundle = "user"
)

// Bundles are all that make up an installation.
var Bundles = []Bundle{UVWheel, HubWheels, NodeWheel, UserWheels}

func wheelsDir() string { return path.Join(layout.Cache, "wheels") }

// partsDir holds wheels on their way.
func partsDir() string { return path.Join(layout.Cache, "parts") }

func (w Bundle) lock() []byte {
	if w == RescueWheels {
		return rescueLock()
	}
	return hub.Lock(string(w))
}

// Bytes returns what fetching the bundle takes on an architecture, 0 when unknown. What the hub's brings already is not counted
// again for the users', and nothing of theirs again for the rescue's.
func (w Bundle) Bytes(arch string) int64 { return hub.Sizes(string(w), arch) }

// mark stands for all wheels of a bundle: it holds the digest of what they were asked for by, and of the boot they were fetched in.
func (w Bundle) mark() string { return path.Join(layout.Cache, "fetched-"+string(w)) }

func (w Bundle) digest(files host.Files) string {
	return digestOf(w.lock(), platform(), []byte(files.Boot()))
}

// Fetched tells whether all wheels of a bundle are there. What was fetched in an earlier boot is looked at once more: nothing waits until a
// wheel is on disk, so a power cut may have left short ones.
func (w Bundle) Fetched(files host.Files) bool {
	data, err := files.Read(w.mark())
	return err == nil && string(data) == w.digest(files)
}

// forgetWheels lets the next run look at every wheel again.
func forgetWheels(files host.Files) error {
	var errs []error
	for _, bundle := range append(slices.Clone(Bundles), RescueWheels) {
		errs = append(errs, files.Remove(bundle.mark()))
	}
	return errors.Join(errs...)
}

// atOnce is how many wheels of a bundle are fetched side by side.
const atOnce = 10

// Fetch brings the wheels of a bundle from the Python package index of this machine's settings, and tells how many bytes are there. Where
// that can't be done as simply as this program does it (passwords in files, several indexes, folders of wheels), the carried pip does it:
// slower, but it knows all of that.
func (b *downloads) Fetch(ctx context.Context, w Bundle, progress func(bytes int64)) error {
	files := b.Host.Files
	if err := errors.Join(b.makeCache(), files.Mkdir(wheelsDir(), host.Attr{Mode: 0o700})); err != nil {
		return err
	}
	if err := b.fetchSimply(ctx, w, progress); err != nil {
		if ctx.Err() != nil {
			return err
		}
		b.note("the wheels of %s are left to pip: %v", w, err)
		if err := b.fetchByPip(ctx, w); err != nil {
			return err
		}
	}
	return files.Write(w.mark(), []byte(w.digest(files)), host.Attr{Mode: 0o644})
}

func (b *Setup) note(format string, args ...any) {
	if b.Client.Log != nil {
		b.Client.Log(fmt.Sprintf(format, args...))
	}
}

// beyond names settings that only pip itself understands.
var beyond = []string{"PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CONFIG_FILE", "PIP_CLIENT_CERT", "PIP_PROXY"}

func (b *downloads) fetchSimply(ctx context.Context, w Bundle, progress func(bytes int64)) error {
	for _, key := range beyond {
		if fetch.Env(b.Environ, key) != "" {
			return fmt.Errorf("%s is set", key)
		}
	}
	index, err := b.Index()
	if err != nil {
		return err
	}
	b.base.learn.Do(func() { b.learnBase(ctx, index) })
	var there atomic.Int64
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(atOnce)
	for _, wanted := range parseLock(w.lock()) {
		all.Go(func() error {
			size, err := b.fetchWheel(ctx, index, wanted)
			progress(there.Add(size))
			return err
		})
	}
	return all.Wait()
}

// pageLimit is far more than the longest page of a package.
const pageLimit = 64 << 20

// fetchWheel returns the size of the wheel.
func (b *downloads) fetchWheel(ctx context.Context, index string, wanted pin) (int64, error) {
	// What two bundles hold is fetched by one of them.
	lock, _ := b.wheels.LoadOrStore(wanted.name, new(sync.Mutex))
	lock.(*sync.Mutex).Lock()
	defer lock.(*sync.Mutex).Unlock()
	if file, ok := b.wheelHere(wanted); ok {
		return b.sizeOf(file), nil
	}
	if size, ok := b.fetchPlaced(ctx, wanted); ok || ctx.Err() != nil {
		return size, context.Cause(ctx)
	}
	wheel, address, err := b.findWheel(ctx, index, wanted)
	if err != nil {
		return 0, err
	}
	return b.bringWheel(ctx, address.String(), wheel)
}

// bringWheel lets a wheel appear among the others when it is whole: uv, which may be reading that folder, ends when a name in it vanishes.
func (b *downloads) bringWheel(ctx context.Context, address string, wheel link) (bytes int64, err error) {
	if err := b.Host.Files.Mkdir(partsDir(), host.Attr{Mode: 0o700}); err != nil {
		return 0, err
	}
	part, to := path.Join(partsDir(), wheel.Name), path.Join(wheelsDir(), wheel.Name)
	if err := b.Client.File(ctx, address, part, wheel.Hashes["sha256"]); err != nil {
		return 0, err
	}
	return b.sizeOf(part), os.Rename(b.Host.Files.Path(part), b.Host.Files.Path(to))
}

// findWheel looks for a package's wheel on its page of an index.
func (b *downloads) findWheel(ctx context.Context, index string, wanted pin) (wheel link, address *url.URL, err error) {
	page, err := url.JoinPath(index, wanted.name, "/")
	if err != nil {
		return wheel, nil, errors.New("the package index is no web address")
	}
	body, mediaType, from, err := b.Client.Page(ctx, page, "application/vnd.pypi.simple.v1+json, text/html;q=0.5", pageLimit)
	if err != nil {
		return wheel, nil, err
	}
	links, err := parseIndex(body, mediaType)
	if err != nil {
		return wheel, nil, fmt.Errorf("%s: %w", fetch.Plain(page), err)
	}
	wheel, ok := choose(links, wanted, runtime.GOARCH)
	if !ok {
		return wheel, nil, fmt.Errorf("%s has no wheel of %s %s for this machine with a checksum that is expected", fetch.Plain(page), wanted.name, wanted.version)
	}
	address, err = from.Parse(wheel.URL)
	if err != nil {
		return wheel, nil, fmt.Errorf("%s names an odd address for %s", fetch.Plain(page), wheel.Name)
	}
	if asked, err := url.Parse(page); err == nil && address.Host == asked.Host && address.User == nil {
		address.User = asked.User
	}
	address.Fragment = ""
	return wheel, address, nil
}

// base is where an index keeps its files, when that is known. Pages of packages list all that was ever released: those of a hub's packages are 40 MB
// together, a fifth of what is fetched. Where one of them shows that the index keeps files by their digests, the others need not be asked for.
type base struct {
	learn sync.Once
	mu    sync.Mutex
	url   string // of the folder that all places are below; "" when files have to be looked for
}

// learnBase asks for one page, a short one: it is of a package that is one file for all machines. That there is nothing to learn is no error.
func (b *downloads) learnBase(ctx context.Context, index string) {
	places := hub.Places()
	for _, wanted := range parseLock(HubWheels.lock()) {
		if len(wanted.hashes) > 1 || places[wanted.hashes[0]] == "" {
			continue
		}
		_, address, err := b.findWheel(ctx, index, wanted)
		if err != nil || address.RawQuery != "" {
			return
		}
		if found, ok := strings.CutSuffix(address.String(), places[wanted.hashes[0]]); ok {
			b.base.set(found)
		}
		return
	}
}

func (b *base) set(url string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.url = url
}

func (b *base) get() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.url
}

// fetchPlaced brings a wheel from where the index keeps it. Where it is not, nothing is known of the index any more.
func (b *downloads) fetchPlaced(ctx context.Context, wanted pin) (int64, bool) {
	from := b.base.get()
	if from == "" {
		return 0, false
	}
	var links []link
	places := hub.Places()
	for _, sum := range wanted.hashes {
		if place := places[sum]; place != "" {
			links = append(links, link{Name: path.Base(place), URL: from + place, Hashes: map[string]string{"sha256": sum}})
		}
	}
	wheel, ok := choose(links, wanted, runtime.GOARCH)
	if !ok {
		return 0, false
	}
	size, err := b.bringWheel(ctx, wheel.URL, wheel)
	if err != nil {
		if ctx.Err() == nil {
			b.note("%s is looked for on its page: %v", wheel.Name, err)
			b.base.set("")
		}
		return 0, false
	}
	return size, true
}

func (b *downloads) sizeOf(file string) int64 {
	info, err := b.Host.Files.Lstat(file)
	if err != nil {
		return 0
	}
	return info.Size()
}

func (b *downloads) fetchByPip(ctx context.Context, w Bundle) error {
	if err := b.UnpackPython(); err != nil {
		return err
	}
	env := b.env()
	// Its own settings it reads itself, better than we do.
	if index := b.anyOf(uvIndexes...); index != "" && b.pipSetting("index-url") == "" {
		env = append(env, "PIP_INDEX_URL="+index)
	}
	if w == RescueWheels {
		b.pips.Lock()
		defer b.pips.Unlock()
	} else {
		b.pips.RLock()
		defer b.pips.RUnlock()
	}
	tmp, err := b.tmp()
	if err != nil {
		return err
	}
	return withPip(tmp, func(pythonPath string) error {
		lock := path.Join(layout.Cache, string(w)+".txt")
		if err := b.Host.Files.Write(lock, w.lock(), host.Attr{Mode: 0o644}); err != nil {
			return err
		}
		argv := []string{pythonProgram(), "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:",
			"--dest=" + wheelsDir(), "--requirement=" + lock}
		_, err := b.Host.Runner.Run(ctx, host.Command{Argv: argv, Env: append(env, "PYTHONPATH="+pythonPath, "PYTHONDONTWRITEBYTECODE=1", "TMPDIR="+tmp)})
		if ctx.Err() != nil {
			return err
		}
		return host.Hint(err, "check that this machine reaches its Python package index (pip config, network, proxy, certificates) and has space left, then run the same command again")
	})
}

// pin is a package of a lock.
type pin struct {
	name, version string
	hashes        []string
}

// parseLock reads one of this program's locks.
func parseLock(lock []byte) []pin {
	var pins []pin
	for line := range strings.Lines(string(lock)) {
		line = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(line), `\`))
		if name, version, ok := strings.Cut(line, "=="); ok && !strings.HasPrefix(line, "#") {
			version, _, _ = strings.Cut(version, ";")
			pins = append(pins, pin{name: name, version: strings.TrimSpace(version)})
		}
		if hash, ok := strings.CutPrefix(line, "--hash=sha256:"); ok && len(pins) > 0 {
			last := &pins[len(pins)-1]
			last.hashes = append(last.hashes, hash)
		}
	}
	return pins
}

// link is a file that an index offers for a package.
type link struct {
	Name   string            `json:"filename"`
	URL    string            `json:"url"`
	Hashes map[string]string `json:"hashes"`
}

var anchor = regexp.MustCompile(`(?is)<a\s[^>]*?href\s*=\s*["']([^"']*)["']`)

// parseIndex reads the page of a package, in either form that indexes have.
func parseIndex(body []byte, mediaType string) ([]link, error) {
	if strings.Contains(mediaType, "json") {
		var page struct {
			Files []link `json:"files"`
		}
		if err := json.Unmarshal(body, &page); err != nil {
			return nil, fmt.Errorf("the index sent a page that can't be read: %w", err)
		}
		return page.Files, nil
	}
	var links []link
	for _, match := range anchor.FindAllSubmatch(body, -1) {
		address, fragment, _ := strings.Cut(html.UnescapeString(string(match[1])), "#")
		sum, ok := strings.CutPrefix(fragment, "sha256=")
		name, err := url.PathUnescape(path.Base(address))
		if ok && err == nil {
			links = append(links, link{Name: name, URL: address, Hashes: map[string]string{"sha256": sum}})
		}
	}
	return links, nil
}

var (
	machines = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}
	glibcTag = regexp.MustCompile(`manylinux_2_(\d+)_`)
)

// choose returns the wheel that pip and uv would take of those that a lock allows: built for the machine rather than for any, for the
// newest glibc.
func choose(links []link, wanted pin, arch string) (best link, found bool) {
	highest := -1
	for _, each := range links {
		if !slices.Contains(wanted.hashes, each.Hashes["sha256"]) || path.Base(each.Name) != each.Name {
			continue
		}
		if rank := fit(each.Name, arch); rank > highest {
			best, highest, found = each, rank, true
		}
	}
	return best, found
}

// fit tells how well a wheel fits the carried CPython on an architecture; -1 is not at all.
func fit(name, arch string) int {
	base, ok := strings.CutSuffix(name, ".whl")
	tags := strings.Split(base, "-")
	if !ok || len(tags) < 5 {
		return -1
	}
	abi, platforms := tags[len(tags)-2], tags[len(tags)-1]
	if !slices.Contains([]string{"none", "abi3", "cp" + strings.ReplaceAll(pythonMinor, ".", "")}, abi) {
		return -1
	}
	if platforms == "any" {
		return 0
	}
	best := -1
	for tag := range strings.SplitSeq(platforms, ".") {
		if !strings.HasSuffix(tag, "_"+machines[arch]) || !strings.HasPrefix(tag, "manylinux") && !strings.HasPrefix(tag, "linux") {
			continue
		}
		minor := 0
		if match := glibcTag.FindStringSubmatch(tag); match != nil {
			minor, _ = strconv.Atoi(match[1])
		}
		best = max(best, 1+minor)
	}
	return best
}

// unpack writes files of a bundle's one wheel, checked against its lock once more, to where place says; "" leaves a file out. It is no
// durable write: whoever calls it syncs.
func (b *downloads) unpack(ctx context.Context, w Bundle, place func(name string) (to string, mode fs.FileMode)) error {
	file, err := b.wheelOf(w)
	if err != nil {
		return err
	}
	wheel, err := zip.OpenReader(b.Host.Files.Path(file))
	if err != nil {
		return fmt.Errorf("cannot open %s: %w", file, err)
	}
	defer wheel.Close()
	return b.unpackAll(ctx, file, wheel.File, place)
}

func (b *downloads) unpackAll(ctx context.Context, file string, entries []*zip.File, place func(name string) (to string, mode fs.FileMode)) error {
	found := false
	for _, entry := range entries {
		if !filepath.IsLocal(entry.Name) {
			return fmt.Errorf("%s contains the odd name %q", file, entry.Name)
		}
		to, mode := place(entry.Name)
		if to == "" || strings.HasSuffix(entry.Name, "/") {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := extract(entry, b.Host.Files.Path(to), mode); err != nil {
			return fmt.Errorf("%s of %s: %w", entry.Name, path.Base(file), err)
		}
		found = true
	}
	if !found {
		return fmt.Errorf("%s does not contain what is expected", file)
	}
	return nil
}

// wheelOf returns the bundle's one wheel.
func (b *downloads) wheelOf(w Bundle) (string, error) {
	for _, wanted := range parseLock(w.lock()) {
		if file, ok := b.wheelHere(wanted); ok {
			return file, nil
		}
	}
	// Without the mark, the next run fetches it again.
	err := fmt.Errorf("%s has no file with the checksum that is expected", wheelsDir())
	return "", host.Hint(errors.Join(err, b.Host.Files.Remove(w.mark())), "run the same command again")
}

// wheelHere returns a package's wheel that was fetched already, if it is the one that is wanted.
func (b *downloads) wheelHere(wanted pin) (string, bool) {
	prefix := strings.ReplaceAll(wanted.name, "-", "_") + "-" + wanted.version + "-"
	names, _ := b.Host.Files.List(wheelsDir())
	for _, name := range names {
		file := path.Join(wheelsDir(), name)
		if !strings.HasPrefix(strings.ToLower(name), prefix) || fit(name, runtime.GOARCH) < 0 {
			continue
		}
		if sum, err := b.Host.Files.SHA256(file); err == nil && slices.Contains(wanted.hashes, sum) {
			return file, true
		}
	}
	return "", false
}

func extract(entry *zip.File, to string, mode fs.FileMode) (err error) {
	from, err := entry.Open()
	if err != nil {
		return err
	}
	defer from.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := io.Copy(file, from); err != nil {
		return err
	}
	return file.Chmod(mode) // whatever the umask
}
