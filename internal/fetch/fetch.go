// Package fetch brings files over HTTP with a person's own settings for proxies and certificates. It tries again after a cut
// and goes on where it was, and takes nothing for whole that has not the checksum asked for.
//
// What to fetch, and from where, is decided elsewhere.
package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tljh/internal/host"
)

// Client fetches. It may be used by many goroutines at once.
type Client struct {
	Files   host.Files
	Environ []string          // of this process
	Log     func(line string) // told of every request; nil for silence

	Tries int           // how often something is tried; 4 when zero
	Stall time.Duration // how long a server may send nothing; 30 s when zero
	Pause time.Duration // before the second attempt, doubled each time; 500 ms when zero

	once     sync.Once
	http     *http.Client
	received atomic.Int64
}

// Received returns the bytes of bodies that came in so far.
func (c *Client) Received() int64 { return c.received.Load() }

// StatusError is an answer that is no success.
type StatusError struct {
	Address string // without name and password
	Status  int
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s answers %d %s", e.Address, e.Status, http.StatusText(e.Status))
}

// ChecksumError is a file that is not the one that was asked for.
type ChecksumError struct {
	Address, Want, Got string
}

func (e *ChecksumError) Error() string {
	return fmt.Sprintf("%s is not the file that was expected: its sha256 is %s instead of %s", e.Address, e.Got, e.Want)
}

// Page returns a document of no more than limit bytes, its type, and the address it came from in the end.
func (c *Client) Page(ctx context.Context, address, accept string, limit int64) (body []byte, mediaType string, from *url.URL, err error) {
	err = c.try(ctx, func(ctx context.Context) error {
		response, err := c.get(ctx, address, http.Header{"Accept": {accept}})
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return &StatusError{Plain(address), response.StatusCode}
		}
		body, err = io.ReadAll(io.LimitReader(response.Body, limit+1))
		if err == nil && int64(len(body)) > limit {
			err = errFinal{fmt.Errorf("%s is longer than %d bytes", Plain(address), limit)}
		}
		mediaType, from = response.Header.Get("Content-Type"), response.Request.URL
		return err
	})
	return body, mediaType, from, err
}

// answerLimit is how long a server may take to say that it has a file.
const answerLimit = 4 * time.Second

// Answers tells, within a short time and without another try, whether a server has a file: nil when it has.
func (c *Client) Answers(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, answerLimit, fmt.Errorf("no answer within %s", answerLimit))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, address, nil)
	if err != nil {
		return fmt.Errorf("%s is no address that can be fetched from", Plain(address))
	}
	request.Header.Set("User-Agent", "tljh-install")
	response, err := c.client().Do(request)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		c.note("HEAD %s: %v", Plain(address), Reason(err))
		return fmt.Errorf("%s can't be reached: %w", Plain(address), Reason(err))
	}
	_ = response.Body.Close()
	c.note("HEAD %s: %d", Plain(address), response.StatusCode)
	if response.StatusCode != http.StatusOK {
		return &StatusError{Plain(address), response.StatusCode}
	}
	return nil
}

// File brings the file with a sha256 (in hex) to a path. What an earlier attempt left at the path with ".part" is continued. A file
// that is there already and right is not fetched again.
func (c *Client) File(ctx context.Context, address, to, sum string) error {
	if got, err := c.Files.SHA256(to); err == nil && got == sum {
		return nil
	}
	part := to + ".part"
	err := c.try(ctx, func(ctx context.Context) error { return c.part(ctx, address, part, sum) })
	if err != nil {
		return err
	}
	if err := os.Rename(c.Files.Path(part), c.Files.Path(to)); err != nil {
		return fmt.Errorf("cannot keep %s: %w", to, err)
	}
	return nil
}

// part fetches what is missing of a file. Only a file that is whole and wrong is thrown away.
func (c *Client) part(ctx context.Context, address, part, sum string) (err error) {
	file, err := os.OpenFile(c.Files.Path(part), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return errFinal{fmt.Errorf("cannot write %s: %w", part, err)}
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	digest := sha256.New()
	have, err := io.Copy(digest, file)
	if err != nil {
		return errFinal{fmt.Errorf("cannot read %s: %w", part, err)}
	}
	if err := c.rest(ctx, address, part, file, digest, have); err != nil {
		return err
	}
	if got := hex.EncodeToString(digest.Sum(nil)); got != sum {
		wrong := &ChecksumError{Plain(address), sum, got}
		if err := file.Truncate(0); err != nil {
			return errFinal{errors.Join(wrong, err)}
		}
		if have > 0 {
			return wrong // the beginning may have been another file's
		}
		return errFinal{wrong}
	}
	return nil
}

// rest asks for what comes after the bytes that are there. A server that can't do that sends everything.
func (c *Client) rest(ctx context.Context, address, part string, file *os.File, digest hash.Hash, have int64) error {
	header := http.Header{"Accept-Encoding": {"identity"}} // the bytes that were summed up
	if have > 0 {
		header.Set("Range", "bytes="+strconv.FormatInt(have, 10)+"-")
	}
	response, err := c.get(ctx, address, header)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode == http.StatusRequestedRangeNotSatisfiable && have > 0:
		return nil // it is all there, or it is another file: the checksum tells
	case response.StatusCode == http.StatusPartialContent && have > 0 && strings.HasPrefix(response.Header.Get("Content-Range"), "bytes "+strconv.FormatInt(have, 10)+"-"):
	case response.StatusCode == http.StatusOK:
		digest.Reset()
		if err := file.Truncate(0); err != nil {
			return errFinal{err}
		}
		have = 0
	default:
		return &StatusError{Plain(address), response.StatusCode}
	}
	if _, err := file.Seek(have, io.SeekStart); err != nil {
		return errFinal{err}
	}
	wrong := &writeWatch{to: file}
	if _, err := io.Copy(io.MultiWriter(wrong, digest), response.Body); err != nil {
		if wrong.err != nil {
			return errFinal{fmt.Errorf("cannot write %s: %w", part, wrong.err)}
		}
		return fmt.Errorf("%s was cut: %w", Plain(address), err)
	}
	return nil
}

// writeWatch remembers that it was the writing that failed, a full disk for one, for which trying again is no cure.
type writeWatch struct {
	to  io.Writer
	err error
}

func (w *writeWatch) Write(data []byte) (int, error) {
	n, err := w.to.Write(data)
	w.err = err
	return n, err
}

// errFinal is an error that another attempt would not cure.
type errFinal struct{ error }

func (e errFinal) Unwrap() error { return e.error }

func final(err error) bool {
	var status *StatusError
	if errors.As(err, &status) {
		return status.Status < 500 && status.Status != http.StatusTooManyRequests && status.Status != http.StatusRequestTimeout
	}
	return errors.As(err, &errFinal{})
}

func (c *Client) try(ctx context.Context, do func(context.Context) error) error {
	tries, pause := c.Tries, c.Pause
	if tries == 0 {
		tries = 4
	}
	if pause == 0 {
		pause = 500 * time.Millisecond
	}
	for n := 1; ; n++ {
		err := do(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil || n == tries || final(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
			pause *= 2
		}
	}
}

// get sends a request. The body it returns ends with an error when the server stalls.
func (c *Client) get(ctx context.Context, address string, header http.Header) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	stall := c.Stall
	if stall == 0 {
		stall = 30 * time.Second
	}
	body := &body{stall: stall, count: &c.received, ctx: ctx}
	body.timer = time.AfterFunc(stall, func() { cancel(fmt.Errorf("the server sent nothing for %s", stall)) })
	body.stop = func() { body.timer.Stop(); cancel(nil) }
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		body.stop()
		return nil, errFinal{fmt.Errorf("%s is no address that can be fetched from", Plain(address))}
	}
	request.Header = header
	request.Header.Set("User-Agent", "tljh-install")
	begin := time.Now()
	response, err := c.client().Do(request)
	if err != nil {
		err = fmt.Errorf("%s can't be fetched: %w", Plain(address), Reason(err))
		if cause := context.Cause(ctx); errors.Is(err, context.Canceled) && cause != nil {
			err = fmt.Errorf("%s can't be fetched: %w", Plain(address), cause)
		}
		body.stop()
		c.note("GET %s: %v", Plain(address), err)
		return nil, err
	}
	c.note("GET %s: %d after %.2f s", Plain(address), response.StatusCode, time.Since(begin).Seconds())
	body.from, response.Body = response.Body, body
	return response, nil
}

func (c *Client) note(format string, args ...any) {
	if c.Log != nil {
		c.Log(fmt.Sprintf(format, args...))
	}
}

func (c *Client) client() *http.Client {
	c.once.Do(func() {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.Proxy = func(r *http.Request) (*url.URL, error) { return ProxyFor(c.Environ, r.URL) }
		transport.TLSClientConfig = TLS(c.Files, c.Environ, "")
		transport.MaxIdleConnsPerHost = 16
		c.http = &http.Client{Transport: &trusting{c, transport}}
	})
	return c.http
}

// trusting takes any certificate of those hosts that the settings call trusted.
type trusting struct {
	c    *Client
	rest *http.Transport
}

func (t *trusting) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" || !trusted(t.c.Environ, r.URL.Hostname()) {
		return t.rest.RoundTrip(r)
	}
	once := t.rest.Clone()
	once.TLSClientConfig, once.DisableKeepAlives = TLS(t.c.Files, t.c.Environ, r.URL.Hostname()), true
	return once.RoundTrip(r)
}

// body counts what comes in and is over when nothing comes for too long.
type body struct {
	ctx   context.Context
	from  io.ReadCloser
	stall time.Duration
	timer *time.Timer
	stop  func()
	count *atomic.Int64
}

func (b *body) Read(data []byte) (int, error) {
	n, err := b.from.Read(data)
	b.count.Add(int64(n))
	if n > 0 {
		b.timer.Reset(b.stall)
	}
	if cause := context.Cause(b.ctx); cause != nil && errors.Is(err, context.Canceled) {
		err = cause
	}
	return n, err
}

func (b *body) Close() error {
	err := b.from.Close()
	b.stop()
	return err
}

// Reason returns what went wrong without the address, which may hold a password.
func Reason(err error) error {
	var inner *url.Error
	if errors.As(err, &inner) {
		return inner.Err
	}
	return err
}

// Plain returns an address without name, password and query.
func Plain(address string) string {
	parsed, err := url.Parse(address)
	if err != nil {
		return "the address"
	}
	parsed.User, parsed.RawQuery, parsed.Fragment = nil, "", ""
	return parsed.String()
}
