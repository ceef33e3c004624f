package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
)

var content = bytes.Repeat([]byte("all of a wheel, "), 4096)

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// bench is a client whose root is a folder, and a server that answers the n-th request as the n-th handler says, the last for all that follow.
type bench struct {
	client   *Client
	root     string
	address  string
	requests atomic.Int32
}

func newBench(t *testing.T, handlers ...http.HandlerFunc) *bench {
	b := &bench{root: t.TempDir()}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := int(b.requests.Add(1)) - 1
		handlers[min(n, len(handlers)-1)](w, r)
	}))
	t.Cleanup(server.Close)
	b.client = &Client{Files: host.Files{Root: b.root}, Pause: time.Millisecond, Stall: 10 * time.Second}
	b.address = server.URL + "/wheel"
	return b
}

func (b *bench) get(t *testing.T) error {
	return b.client.File(t.Context(), b.address, "/wheel", sumOf(content))
}

func (b *bench) holds(t *testing.T, data []byte) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(b.root, "wheel"))
	require.NoError(t, err)
	assert.Equal(t, sumOf(data), sumOf(got))
	assert.NoFileExists(t, filepath.Join(b.root, "wheel.part"))
}

func whole(w http.ResponseWriter, r *http.Request) {
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// noRanges sends everything, whatever part was asked for.
func noRanges(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) }

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// cut sends some bytes of what it announced, then ends the connection.
func cut(data []byte, after int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		_, _ = w.Write(data[:after])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

func TestFileIsBrought(t *testing.T) {
	other := bytes.Repeat([]byte("the login page of a hotel"), 40)
	for name, test := range map[string]struct {
		handlers []http.HandlerFunc
		requests int32
	}{
		"at once":                        {[]http.HandlerFunc{whole}, 1},
		"cut once and continued":         {[]http.HandlerFunc{cut(content, 1000), whole}, 2},
		"cut twice and continued":        {[]http.HandlerFunc{cut(content, 1000), cut(content, 0), whole}, 3},
		"cut, by a server without parts": {[]http.HandlerFunc{cut(content, 1000), noRanges}, 2},
		"after a server that is busy":    {[]http.HandlerFunc{status(503), status(429), whole}, 3},
		"whose beginning was another's":  {[]http.HandlerFunc{cut(other, 500), whole, whole}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, test.handlers...)
			require.NoError(t, b.get(t))
			b.holds(t, content)
			assert.Equal(t, test.requests, b.requests.Load())
		})
	}
}

func TestFileThatIsThereIsNotAskedFor(t *testing.T) {
	b := newBench(t, whole)
	require.NoError(t, os.WriteFile(filepath.Join(b.root, "wheel"), content, 0o644))
	require.NoError(t, b.get(t))
	assert.Zero(t, b.requests.Load())
}

func TestPartOfAnEarlierRunIsContinued(t *testing.T) {
	var asked string
	b := newBench(t, func(w http.ResponseWriter, r *http.Request) { asked = r.Header.Get("Range"); whole(w, r) })
	require.NoError(t, os.WriteFile(filepath.Join(b.root, "wheel.part"), content[:3000], 0o644))
	require.NoError(t, b.get(t))
	assert.Equal(t, "bytes=3000-", asked)
	assert.EqualValues(t, len(content)-3000, b.client.Received())
	b.holds(t, content)
}

func TestPartThatIsWholeAlready(t *testing.T) {
	b := newBench(t, whole)
	require.NoError(t, os.WriteFile(filepath.Join(b.root, "wheel.part"), content, 0o644))
	require.NoError(t, b.get(t))
	b.holds(t, content)
}

func TestPartThatIsLongerThanTheFile(t *testing.T) {
	b := newBench(t, whole)
	require.NoError(t, os.WriteFile(filepath.Join(b.root, "wheel.part"), append(bytes.Clone(content), "more"...), 0o644))
	require.NoError(t, b.get(t))
	b.holds(t, content)
}

func TestFileThatCannotBeHad(t *testing.T) {
	var missing *StatusError
	var wrong *ChecksumError
	t.Run("not there", func(t *testing.T) {
		b := newBench(t, status(404))
		require.ErrorAs(t, b.get(t), &missing)
		assert.EqualValues(t, 1, b.requests.Load(), "asked again for what is not there")
	})
	t.Run("always busy", func(t *testing.T) {
		b := newBench(t, status(503))
		require.ErrorContains(t, b.get(t), "503 Service Unavailable")
		assert.EqualValues(t, 4, b.requests.Load())
	})
	t.Run("another file", func(t *testing.T) {
		b := newBench(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>Please pay first</html>")) })
		require.ErrorAs(t, b.get(t), &wrong)
		assert.EqualValues(t, 1, b.requests.Load())
		assert.NoFileExists(t, filepath.Join(b.root, "wheel"))
	})
	t.Run("always cut", func(t *testing.T) {
		b := newBench(t, cut(content, 0))
		require.ErrorContains(t, b.get(t), "was cut")
	})
}

// A server that stalls is given up, and asked again for the rest.
func TestServerThatStalls(t *testing.T) {
	stalls := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		_, _ = w.Write(content[:100])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
	b := newBench(t, stalls, whole)
	b.client.Stall = 50 * time.Millisecond
	require.NoError(t, b.get(t))
	b.holds(t, content)

	b = newBench(t, stalls)
	b.client.Stall, b.client.Tries = 50*time.Millisecond, 1
	require.ErrorContains(t, b.get(t), "sent nothing for 50ms")
}

func TestInterruptedFetchEndsAtOnceAndKeepsItsPart(t *testing.T) {
	reason := errors.New("interrupted by a person")
	ctx, cancel := context.WithCancelCause(t.Context())
	b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		_, _ = w.Write(content[:5000])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	part := filepath.Join(b.root, "wheel.part")
	go func() {
		for {
			if info, err := os.Stat(part); err == nil && info.Size() == 5000 || ctx.Err() != nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		cancel(reason)
	}()
	require.ErrorIs(t, b.client.File(ctx, b.address, "/wheel", sumOf(content)), reason)
	assert.FileExists(t, part)
}

// Trying again is no cure for a full disk: the error has to be known as one of writing.
func TestFullDiskIsTold(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full")
	}
	file, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer file.Close()
	watch := &writeWatch{to: file}
	_, err = watch.Write(content)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorIs(t, watch.err, syscall.ENOSPC)
}

func TestPage(t *testing.T) {
	page := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.Header.Get("Accept"))
		_, _ = w.Write([]byte("twelve bytes"))
	}
	redirect := func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere/", http.StatusFound) }
	b := newBench(t, status(502), redirect, page)
	body, mediaType, from, err := b.client.Page(t.Context(), b.address, "text/html", 12)
	require.NoError(t, err)
	assert.Equal(t, "twelve bytes", string(body))
	assert.Equal(t, "text/html", mediaType)
	assert.Equal(t, "/elsewhere/", from.Path)
	_, _, _, err = b.client.Page(t.Context(), b.address, "text/html", 11)
	require.ErrorContains(t, err, "longer than 11 bytes")
}

// What the address holds beside the place never gets into an error or the log.
func TestPasswordsOfAnAddressStaySecret(t *testing.T) {
	b := newBench(t, status(404))
	var mutex sync.Mutex
	var log strings.Builder
	b.client.Log = func(line string) { mutex.Lock(); defer mutex.Unlock(); log.WriteString(line + "\n") }
	for _, address := range []string{
		strings.Replace(b.address, "http://", "http://teacher:geheim@", 1) + "?token=geheim",
		"http://teacher:geheim@127.0.0.1:1/wheel", "http://teacher:geheim@bad host/", "ftp://teacher:geheim@127.0.0.1/",
	} {
		b.client.Tries = 1
		err := b.client.File(t.Context(), address, "/wheel", sumOf(content))
		require.Error(t, err)
		assert.NotContains(t, err.Error(), "geheim")
	}
	assert.Contains(t, log.String(), "/wheel: 404")
	assert.NotContains(t, log.String(), "geheim")
}

func TestManyAtOnce(t *testing.T) {
	b := newBench(t, whole)
	var all sync.WaitGroup
	for n := range 20 {
		all.Go(func() {
			assert.NoError(t, b.client.File(t.Context(), b.address, fmt.Sprintf("/wheel-%d", n), sumOf(content)))
		})
	}
	all.Wait()
	assert.EqualValues(t, 20*len(content), b.client.Received())
}
