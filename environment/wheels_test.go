package environment

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/hub"
	"tljh/internal/fetch"
	"tljh/internal/host"
	"tljh/internal/host/hosttest"
	"tljh/internal/layout"
)

func TestEveryLockIsRead(t *testing.T) {
	for _, bundle := range Bundles {
		lock := bundle.lock()
		pins := parseLock(lock)
		assert.Len(t, pins, strings.Count(string(lock), "=="), bundle)
		hashes := 0
		for _, each := range pins {
			assert.Regexp(t, `^[a-z0-9][a-z0-9.-]*$`, each.name)
			assert.Regexp(t, `^[0-9][0-9a-z.+!]*$`, each.version)
			require.NotEmpty(t, each.hashes, each.name)
			for _, hash := range each.hashes {
				assert.Regexp(t, `^[0-9a-f]{64}$`, hash)
			}
			hashes += len(each.hashes)
		}
		assert.Equal(t, strings.Count(string(lock), "--hash=sha256:"), hashes, bundle)
	}
}

func TestLockWithMarkers(t *testing.T) {
	pins := parseLock([]byte("# a==1\na==1 ; python_version > '3' \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\nb==2 --hash=sha256:cc\n"))
	require.NotEmpty(t, pins)
	assert.Equal(t, pin{"a", "1", []string{"aa", "bb"}}, pins[0])
}

func TestFit(t *testing.T) {
	for name, want := range map[string]int{
		"a-1-py3-none-any.whl":     0,
		"a-1-py2.py3-none-any.whl": 0,
		"a-1-cp314-cp314-manylinux_2_17_x86_64.manylinux2014_x86_64.whl": 18,
		"a-1-cp314-cp314-manylinux2014_x86_64.manylinux_2_17_x86_64.whl": 18,
		"a-1-cp39-abi3-manylinux_2_28_x86_64.whl":                        29,
		"a-1-cp314-cp314-linux_x86_64.whl":                               1,
		"a-1-cp314-cp314-manylinux_2_17_aarch64.whl":                     -1,
		"a-1-cp314-cp314-musllinux_1_2_x86_64.whl":                       -1,
		"a-1-cp314-cp314t-manylinux_2_28_x86_64.whl":                     -1,
		"a-1-cp313-cp313-manylinux_2_28_x86_64.whl":                      -1,
		"a-1-cp314-cp314-macosx_11_0_arm64.whl":                          -1,
		"a-1-cp314-cp314-win_amd64.whl":                                  -1,
		"a-1.tar.gz":                                                     -1,
		"":                                                               -1,
		"a.whl":                                                          -1,
		"a-1-cp314-cp314-manylinux_2_99999999999999999999_x86_64.whl":    -1,
	} {
		assert.Equal(t, want, fit(name, "amd64"), name)
	}
	assert.Equal(t, 18, fit("a-1-cp314-cp314-manylinux_2_17_aarch64.whl", "arm64"))
}

func TestChoose(t *testing.T) {
	links := []link{
		{Name: "a-1-py3-none-any.whl", Hashes: map[string]string{"sha256": "any"}},
		{Name: "a-1-cp314-cp314-manylinux_2_17_x86_64.whl", Hashes: map[string]string{"sha256": "old"}},
		{Name: "a-1-cp314-cp314-manylinux_2_28_x86_64.whl", Hashes: map[string]string{"sha256": "new"}},
		{Name: "../a-1-cp314-cp314-manylinux_2_34_x86_64.whl", Hashes: map[string]string{"sha256": "odd"}},
	}
	for want, hashes := range map[string][]string{"new": {"any", "old", "new", "odd"}, "old": {"any", "old"}, "any": {"any"}} {
		best, ok := choose(links, pin{"a", "1", hashes}, "amd64")
		require.True(t, ok)
		assert.Equal(t, want, best.Hashes["sha256"])
	}
	_, ok := choose(links, pin{"a", "1", []string{"odd", "none"}}, "amd64")
	assert.False(t, ok)
}

func FuzzParseIndex(f *testing.F) {
	f.Add([]byte(`{"files": [{"filename": "a-1-py3-none-any.whl", "url": "a.whl", "hashes": {"sha256": "aa"}}]}`), true)
	f.Add([]byte(`<a href="../a-1-py3-none-any.whl#sha256=aa" data-x='&amp;'>a</a><A HREF='b%2Fc.whl#sha256=bb'>`), false)
	f.Fuzz(func(t *testing.T, body []byte, asJSON bool) {
		mediaType := "text/html"
		if asJSON {
			mediaType = "application/vnd.pypi.simple.v1+json"
		}
		links, err := parseIndex(body, mediaType)
		if err != nil {
			return
		}
		if best, ok := choose(links, pin{"a", "1", []string{"aa"}}, "amd64"); ok {
			assert.Equal(t, "aa", best.Hashes["sha256"])
			assert.NotContains(t, best.Name, "/")
		}
	})
}

func FuzzParseLock(f *testing.F) {
	f.Add([]byte("a==1 \\\n    --hash=sha256:aa\n"))
	f.Fuzz(func(t *testing.T, lock []byte) {
		for _, each := range parseLock(lock) {
			assert.NotContains(t, each.name+each.version, "\n")
		}
	})
}

// shelf is a package index with one wheel, and a machine to bring it to.
type shelf struct {
	builder *Builder
	index   string
	wheel   []byte
	wanted  pin
	asked   atomic.Int32 // for the wheel itself
	page    http.HandlerFunc
}

const wheelName = "An_odd.name-1.0-py3-none-any.whl"

func newShelf(t *testing.T, names ...string) *shelf {
	s := &shelf{wheel: wheelWith(t, names...)}
	sum := sha256.Sum256(s.wheel)
	s.wanted = pin{"an-odd.name", "1.0", []string{strings.Repeat("0", 64), hex.EncodeToString(sum[:])}}
	mux := http.NewServeMux()
	mux.HandleFunc("/simple/an-odd.name/", func(w http.ResponseWriter, r *http.Request) { s.page(w, r) })
	mux.HandleFunc("/files/"+wheelName, func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		_, _ = w.Write(s.wheel)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.index = server.URL + "/simple"
	s.page = s.html
	files := host.Files{Root: t.TempDir()}
	require.NoError(t, os.MkdirAll(files.Path(wheelsDir()), 0o700))
	s.builder = New(Setup{Host: &host.Host{Files: files, Runner: &hosttest.Runner{}}, Client: &fetch.Client{Files: files, Tries: 1}})
	return s
}

func wheelWith(t *testing.T, names ...string) []byte {
	var data bytes.Buffer
	archive := zip.NewWriter(&data)
	for _, name := range names {
		entry, err := archive.Create(name)
		require.NoError(t, err)
		_, err = entry.Write([]byte("what " + name + " holds"))
		require.NoError(t, err)
	}
	require.NoError(t, archive.Close())
	return data.Bytes()
}

func (s *shelf) html(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	fmt.Fprintf(w, `<!DOCTYPE html><body><a class="x" href="../../files/%s#sha256=%s">%s</a></body>`, wheelName, s.wanted.hashes[1], wheelName)
}

func (s *shelf) json(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/vnd.pypi.simple.v1+json; charset=UTF-8")
	_ = json.NewEncoder(w).Encode(map[string]any{"files": []any{
		map[string]any{"filename": wheelName, "url": "/files/" + wheelName, "hashes": map[string]string{"sha256": s.wanted.hashes[1]}, "yanked": false}}})
}

func TestWheelIsFetchedFromBothKindsOfIndex(t *testing.T) {
	s := newShelf(t, "a.py")
	for name, page := range map[string]http.HandlerFunc{"html": s.html, "json": s.json} {
		s := newShelf(t, "a.py")
		s.page = page
		size, err := s.builder.fetchWheel(t.Context(), s.index, s.wanted)
		require.NoError(t, err, name)
		assert.EqualValues(t, len(s.wheel), size)
		file, ok := s.builder.wheelHere(s.wanted)
		require.True(t, ok)
		assert.Equal(t, wheelName, filepath.Base(file))
		_, err = s.builder.fetchWheel(t.Context(), s.index, s.wanted)
		require.NoError(t, err)
		assert.EqualValues(t, 1, s.asked.Load(), "fetched twice")
	}
}

func TestWheelThatIsDamagedHereIsFetchedAgain(t *testing.T) {
	s := newShelf(t, "a.py")
	require.NoError(t, os.WriteFile(s.builder.Host.Files.Path(wheelsDir()+"/"+wheelName), s.wheel[:10], 0o644))
	_, ok := s.builder.wheelHere(s.wanted)
	require.False(t, ok)
	_, err := s.builder.fetchWheel(t.Context(), s.index, s.wanted)
	require.NoError(t, err)
	_, ok = s.builder.wheelHere(s.wanted)
	require.True(t, ok)
}

// What the simple way can't do is told, so that pip is asked.
func TestIndexesThatAreNoneOfOurs(t *testing.T) {
	for name, page := range map[string]http.HandlerFunc{
		"no checksums": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `<a href="/files/%s">`, wheelName) },
		"other wheels": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `<a href="/files/%s#sha256=%s">`, wheelName, strings.Repeat("1", 64))
		},
		"a login page": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `<form>name and password, please</form>`) },
		"broken json": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"files": 7`)
		},
		"nothing":       func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) },
		"an odd target": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<a href='::/"+wheelName+"'>") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf(t, "a.py")
			s.page = page
			_, err := s.builder.fetchWheel(t.Context(), s.index, s.wanted)
			require.Error(t, err)
			assert.Zero(t, s.asked.Load())
		})
	}
}

func TestSettingsBeyondOneIndexAreLeftToPip(t *testing.T) {
	for _, key := range beyond {
		s := newShelf(t, "a.py")
		s.builder.Environ = []string{key + "=1"}
		assert.ErrorContains(t, s.builder.fetchSimply(t.Context(), UVWheel, func(int64) {}), key)
	}
}

// The uv wheel's checksum is that of the real one, so what stands in its place is refused before anything is unpacked.
func TestWheelThatIsNotTheLocksIsNotUnpacked(t *testing.T) {
	s := newShelf(t)
	wanted := parseLock(UVWheel.lock())[0]
	name := fmt.Sprintf("uv-%s-py3-none-manylinux_2_17_%s.whl", wanted.version, machines[runtime.GOARCH])
	require.NoError(t, os.WriteFile(s.builder.Host.Files.Path(wheelsDir()+"/"+name), wheelWith(t, "uv/uv"), 0o644))
	require.NoError(t, s.builder.Host.Files.Write(UVWheel.mark(), []byte(UVWheel.digest(s.builder.Host.Files)), host.Attr{Mode: 0o644}))
	require.True(t, UVWheel.Fetched(s.builder.Host.Files))
	err := s.builder.unpack(t.Context(), UVWheel, func(string) (string, fs.FileMode) { t.Error("unpacked"); return "", 0 })
	require.ErrorContains(t, err, "checksum")
	assert.False(t, UVWheel.Fetched(s.builder.Host.Files), "the next run would not fetch it again")
	assert.Len(t, parseLock(hub.Lock("uv")), 1)
	assert.Equal(t, layout.Cache+"/wheels", wheelsDir())
}

func TestExtractRefusesNamesThatLead(t *testing.T) {
	for _, name := range []string{"../evil", "/etc/evil", "a/../../evil"} {
		s := newShelf(t, name)
		wheel, err := zip.NewReader(bytes.NewReader(s.wheel), int64(len(s.wheel)))
		if err != nil {
			continue
		}
		err = s.builder.unpackAll(t.Context(), "the wheel", wheel.File, func(name string) (string, fs.FileMode) { return "/opt/" + name, 0o644 })
		require.ErrorContains(t, err, "odd name")
	}
	s := newShelf(t, "a/b.py", "left/out")
	wheel, err := zip.NewReader(bytes.NewReader(s.wheel), int64(len(s.wheel)))
	require.NoError(t, err)
	place := func(name string) (string, fs.FileMode) {
		if name == "left/out" {
			return "", 0
		}
		return "/opt/" + name, 0o755
	}
	require.NoError(t, s.builder.unpackAll(t.Context(), "the wheel", wheel.File, place))
	info, err := s.builder.Host.Files.Lstat("/opt/a/b.py")
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o755), info.Mode())
	assert.NoFileExists(t, s.builder.Host.Files.Path("/opt/left/out"))

	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, s.builder.unpackAll(stopped, "the wheel", wheel.File, func(string) (string, fs.FileMode) { return "/opt/c", 0o644 }))
}

// A power cut may leave wheels short that were fetched before it.
func TestWheelsOfAnEarlierBootAreLookedAtAgain(t *testing.T) {
	s := newShelf(t)
	files := s.builder.Host.Files
	const bootID = "/proc/sys/kernel/random/boot_id"
	put(t, files, bootID, "one\n")
	require.NoError(t, files.Write(HubWheels.mark(), []byte(HubWheels.digest(files)), host.Attr{Mode: 0o644}))
	require.True(t, HubWheels.Fetched(files))
	put(t, files, bootID, "two\n")
	assert.False(t, HubWheels.Fetched(files))
}

func TestWheelsAreLookedAtAgainWhenTheyCannotBeInstalled(t *testing.T) {
	s := newShelf(t)
	files := s.builder.Host.Files
	for _, bundle := range Bundles {
		require.NoError(t, files.Write(bundle.mark(), []byte(bundle.digest(files)), host.Attr{Mode: 0o644}))
	}
	require.Error(t, s.builder.uvInstall(t.Context(), "/lock.txt", hubCache, "/python"))
	for _, bundle := range Bundles {
		assert.False(t, bundle.Fetched(files), bundle)
	}
}

// What an interrupted build unpacked is not what the next one links into its generation.
func TestABuildBeginsWithoutWhatAnotherUnpacked(t *testing.T) {
	s := newShelf(t)
	files := s.builder.Host.Files
	require.NoError(t, os.MkdirAll(files.Path(layout.Generations), 0o755))
	s.builder.Now = func() time.Time { return time.Unix(0, 0) }
	builds := map[string]func(context.Context) error{
		hubCache: func(ctx context.Context) error { _, err := s.builder.BuildHub(ctx, nil); return err },
		userCache: func(ctx context.Context) error {
			_, err := s.builder.BuildUser(ctx, UV{Builder: s.builder})
			return err
		},
	}
	for cache, build := range builds {
		put(t, files, uvCache(cache)+"/archive-v0/short.py", "")
		require.Error(t, build(t.Context()), "there is no uv")
		assert.NoFileExists(t, files.Path(uvCache(cache)+"/archive-v0/short.py"))
	}
}

func TestPlacesAreThoseOfTheLocks(t *testing.T) {
	places := hub.Places()
	known := map[string]bool{}
	for _, bundle := range Bundles {
		for _, wanted := range parseLock(bundle.lock()) {
			for _, sum := range wanted.hashes {
				if place := places[sum]; place != "" {
					known[sum] = true
					assert.Regexp(t, `^packages/[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{60}/[^/]+\.whl$`, place)
					assert.True(t, strings.HasPrefix(strings.ToLower(filepath.Base(place)), strings.ReplaceAll(wanted.name, "-", "_")+"-"), place)
				}
			}
		}
	}
	assert.Len(t, places, len(known), "places of other files; hub/locks/remake.sh makes them with the locks")
}

// An index that keeps files by their digests, and nothing but one page of a package.
func TestWheelsAreFetchedFromTheirPlaces(t *testing.T) {
	var first, other pin
	for _, wanted := range parseLock(HubWheels.lock()) {
		if len(wanted.hashes) == 1 && first.name == "" {
			first = wanted
		} else if len(wanted.hashes) == 1 {
			other = wanted
			break
		}
	}
	places := hub.Places()
	var asked []string
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		if r.URL.Path == "/simple/"+first.name+"/" {
			place := places[first.hashes[0]]
			fmt.Fprintf(w, `<a href="%s/files/%s#sha256=%s">`, server.URL, place, first.hashes[0])
			return
		}
		http.NotFound(w, r)
	}))
	defer server.Close()
	s := newShelf(t)
	s.builder.learnBase(t.Context(), server.URL+"/simple")
	require.Equal(t, server.URL+"/files/", s.builder.base.get())

	// It is asked for there; where it is not, its page is, and those of all others.
	_, err := s.builder.fetchWheel(t.Context(), server.URL+"/simple", other)
	require.Error(t, err)
	assert.Equal(t, []string{"/simple/" + first.name + "/", "/files/" + places[other.hashes[0]], "/simple/" + other.name + "/"}, asked)
	assert.Empty(t, s.builder.base.get())

	// Another kind of index tells nothing.
	s = newShelf(t)
	s.builder.learnBase(t.Context(), s.index)
	assert.Empty(t, s.builder.base.get())
}

func TestAWheelFromItsPlaceIsTheOneThatIsWanted(t *testing.T) {
	wanted := parseLock(UVWheel.lock())[0]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "something else") }))
	defer server.Close()
	s := newShelf(t)
	s.builder.base.set(server.URL + "/")
	_, ok := s.builder.fetchPlaced(t.Context(), wanted)
	require.False(t, ok)
	_, there := s.builder.wheelHere(wanted)
	assert.False(t, there)
}

// A package that is built may run what it likes, and a file that is not the lock's may be anything: neither is ever given to root's installation.
func TestWheelsAreInstalledAsTheLockHasThem(t *testing.T) {
	s := newShelf(t)
	runner := &hosttest.Runner{}
	runner.On(hosttest.Answer{}, uvProgram())
	s.builder.Host.Runner = runner
	require.NoError(t, s.builder.uvInstall(t.Context(), "/lock.txt", "hub", "/opt/tljh/hub/bin/python"))
	runs := runner.Calls()
	require.Len(t, runs, 1)
	for _, option := range []string{"--require-hashes", "--only-binary=:all:", "--no-deps", "--no-index", "--offline", "--no-config"} {
		assert.Contains(t, runs[0].Argv, option)
	}
}
