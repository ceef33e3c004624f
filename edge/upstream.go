package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// Reasons why a request got no answer from behind the door.
var (
	errProxyAway  = errors.New("the proxy does not answer")
	errHubAway    = errors.New("the hub does not answer")
	errServerAway = errors.New("the user's server or the service does not answer")
	errNowhere    = errors.New("there is nothing at this address")
	errBusy       = errors.New("too many requests are waiting already")
)

// dialError marks an error that came before a single byte was sent: any request may be tried again.
type dialError struct{ error }

func (e dialError) Unwrap() error { return e.error }

// upstream is the way to the proxy. While the proxy or the hub is away, requests wait here.
type upstream struct {
	address string
	home    string // the hub's base URL
	wait    time.Duration
	base    *http.Transport
	waiting chan struct{} // holds one for each request that waits
	gate    gate
	stopped chan struct{} // closed when nobody should wait any more
	once    sync.Once
	links   links
	asking  singleflight.Group // questions whether the hub answers

	proxyState, hubState state
}

func newUpstream(options Options, log *log.Logger) *upstream {
	u := &upstream{
		address: options.Upstream, home: options.BaseURL, wait: options.Wait, waiting: make(chan struct{}, options.MaxWaiting), stopped: make(chan struct{}),
		proxyState: state{log: log, away: "the proxy at " + options.Upstream + " does not answer; requests wait for it", back: "the proxy answers again"},
		hubState:   state{log: log, away: "the hub does not answer, or has told the proxy no routes yet; requests wait for it", back: "the hub answers again"},
	}
	u.gate.probe = func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		conn, err := u.dial(ctx, "tcp", u.address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}
	u.base = &http.Transport{
		DialContext:            u.dial,
		DisableCompression:     true, // bytes pass as they are
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    256,
		IdleConnTimeout:        time.Minute, // less than the proxy's own, so that it is this side that closes
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 1 << 20,
	}
	return u
}

func (u *upstream) dial(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, dialError{err}
	}
	return u.links.add(conn), nil
}

// stop makes those that wait give up after a while.
func (u *upstream) stop(after time.Duration) {
	u.once.Do(func() { time.AfterFunc(after, func() { close(u.stopped) }) })
}

const resends = 3 // of a request that a broken connection may have carried

// RoundTrip sends a request to the proxy, and again where that is safe: always when no byte of it was sent, and otherwise when it has no body and
// changes nothing. Others are sent only when there is someone to receive them, as far as anyone can know.
func (u *upstream) RoundTrip(r *http.Request) (*http.Response, error) {
	turn := &turn{upstream: u, request: r}
	defer turn.end()
	if !resendable(r) {
		if err := turn.lookAhead(); err != nil {
			return nil, err
		}
	}
	return turn.send(r)
}

// resendable tells whether a request does no harm when it arrives twice.
func resendable(r *http.Request) bool {
	safe := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
	return safe && (r.Body == nil || r.Body == http.NoBody)
}

// turn is one request's way through RoundTrip.
type turn struct {
	upstream *upstream
	request  *http.Request
	until    time.Time // zero until the request had to wait
	delay    time.Duration
	hubless  bool // the proxy has told it that there is no hub
	doubted  bool // it was sent again, since an answer may have been the proxy's although the hub answers
}

// lookAhead keeps a request that can't be sent twice until there is someone to receive it. The proxy, once it has been restarted, has no routes, and
// for a request to the hub it is the hub that may be away: so something harmless is asked for there first.
func (t *turn) lookAhead() error {
	where, ask := locate(t.upstream.home, t.request.URL)
	if where == outside || where != ofHub && t.upstream.links.settled() {
		return nil
	}
	address := *t.request.URL
	address.RawPath, address.RawQuery = ask, ""
	address.Path, _ = url.PathUnescape(ask)
	request, err := http.NewRequestWithContext(t.request.Context(), http.MethodGet, address.String(), nil)
	if err != nil {
		return nil // the request itself will tell what is wrong
	}
	request.Host = t.request.Host
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port"} {
		request.Header[name] = t.request.Header[name]
	}
	for range 5 {
		var response *http.Response
		response, err = t.send(request)
		if err != nil {
			break
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // the connection can be used again
		_ = response.Body.Close()
		if where != ofUser || !isRedirect(response) || t.pause(errServerAway) != nil {
			return nil
		}
	}
	for _, fatal := range []error{errHubAway, errProxyAway, errBusy, t.request.Context().Err()} {
		if fatal != nil && errors.Is(err, fatal) {
			return err
		}
	}
	return nil
}

// isRedirect tells whether an answer for a user's server comes from the hub instead, which takes what no one else does. Soon after a restart of the
// proxy that may mean that the hub has told it its own route and not yet the user's.
func isRedirect(response *http.Response) bool { return response.StatusCode == http.StatusFound }

// send sends a request as often as is due.
func (t *turn) send(r *http.Request) (*http.Response, error) {
	u := t.upstream
	for sent := 0; ; {
		state, settled := u.links.state(), u.links.settled()
		response, err := u.base.RoundTrip(attempt(r))
		var dial dialError
		switch {
		case err == nil:
			u.proxyState.set(false, nil)
			switch t.judge(r, response, state, settled) {
			case othersOwn:
				t.answered(r, response, state)
				return response, nil
			case proxysOwn:
				_ = response.Body.Close()
				err = t.refused(r, response.StatusCode)
			case unsure:
				_ = response.Body.Close()
			}
		case r.Context().Err() != nil:
			return nil, err
		case errors.As(err, &dial):
			u.proxyState.set(true, dial.error)
			err = t.passGate()
		case resendable(r) && sent < resends:
			sent++
			err = t.pause(err)
		}
		if err != nil {
			return nil, err
		}
	}
}

// answered notes that somebody behind the proxy has answered.
func (t *turn) answered(r *http.Request, response *http.Response, state uint64) {
	where, _ := locate(t.upstream.home, r.URL)
	if where == outside {
		return
	}
	if where != ofUser || !isRedirect(response) {
		t.upstream.links.settle(state)
	}
	if where == ofHub || t.hubless {
		t.upstream.hubState.set(false, nil)
	}
}

// refused deals with an answer of the proxy's own. It returns nil when the request is to be sent again.
func (t *turn) refused(r *http.Request, status int) error {
	where, _ := locate(t.upstream.home, r.URL)
	switch {
	case where == outside:
		return errNowhere
	case status == http.StatusServiceUnavailable && where != ofHub:
		return errServerAway
	}
	t.hubless = true
	if resendable(r) || t.upstream.hubIsAway(r.Host) { // a hub that is there may end the connection of a request with a body that it does not take
		t.upstream.hubState.set(true, nil)
	}
	if !resendable(r) {
		return errHubAway
	}
	return t.pause(errHubAway)
}

// attempt returns the request for the next attempt. The transport closes a request's body even when it could not connect; as long as nothing of it
// has been read it is still good.
func attempt(r *http.Request) *http.Request {
	if r.Body == nil || r.Body == http.NoBody {
		return r
	}
	again := *r
	again.Body = &unread{ReadCloser: r.Body}
	return &again
}

// unread is a body that may be closed and yet be used again, unless something was read from it.
type unread struct {
	io.ReadCloser
	begun atomic.Bool
}

func (b *unread) Read(data []byte) (int, error) {
	b.begun.Store(true)
	return b.ReadCloser.Read(data)
}

func (b *unread) Close() error {
	if !b.begun.Load() {
		return nil
	}
	return b.ReadCloser.Close()
}

// begin takes one of the places for those that wait, once.
func (t *turn) begin() error {
	if !t.until.IsZero() {
		return nil
	}
	select {
	case t.upstream.waiting <- struct{}{}:
	default:
		return errBusy
	}
	t.until = time.Now().Add(t.upstream.wait)
	return nil
}

func (t *turn) end() {
	if !t.until.IsZero() {
		<-t.upstream.waiting
	}
}

const (
	firstDelay = 100 * time.Millisecond
	lastDelay  = time.Second
)

// pause waits a while, each time longer. It returns why when it is no use to wait any longer.
func (t *turn) pause(why error) error {
	if err := t.begin(); err != nil {
		return err
	}
	t.delay = min(max(t.delay*2, firstDelay), lastDelay)
	delay := t.delay/2 + rand.N(t.delay/2) // or all that wait would come at once
	if time.Now().Add(delay).After(t.until) {
		return why
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-t.upstream.stopped:
		return why
	case <-t.request.Context().Done():
		return t.request.Context().Err()
	}
}

// passGate waits until the proxy takes connections.
func (t *turn) passGate() error {
	if err := t.begin(); err != nil {
		return err
	}
	left := time.Until(t.until)
	if left <= 0 {
		return errProxyAway
	}
	open, leave := t.upstream.gate.enter()
	defer leave()
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-open:
		return nil
	case <-timer.C:
		return errProxyAway
	case <-t.upstream.stopped:
		return errProxyAway
	case <-t.request.Context().Done():
		return t.request.Context().Err()
	}
}

// gate lets one look for the proxy on behalf of all that wait for it: it has enough to do when it starts.
type gate struct {
	probe func() bool

	lock    sync.Mutex
	waiting int
	open    chan struct{} // closed when the proxy is there; nil when nobody looks for it
}

// enter returns a channel that is closed when the proxy takes connections, and a function to be called when that is of no interest any more.
func (g *gate) enter() (open <-chan struct{}, leave func()) {
	g.lock.Lock()
	defer g.lock.Unlock()
	g.waiting++
	if g.open == nil {
		g.open = make(chan struct{})
		go g.look(g.open)
	}
	return g.open, func() {
		g.lock.Lock()
		defer g.lock.Unlock()
		g.waiting--
	}
}

func (g *gate) look(open chan struct{}) {
	const every = 50 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		<-tick.C
		there := g.probe()
		g.lock.Lock()
		if there || g.waiting == 0 {
			g.open = nil
			close(open)
			g.lock.Unlock()
			return
		}
		g.lock.Unlock()
	}
}

// state tells the log when something goes away and when it comes back, once each.
type state struct {
	log        *log.Logger
	away, back string

	gone  atomic.Bool
	lock  sync.Mutex
	since time.Time
}

func (s *state) set(gone bool, why error) {
	if s.gone.Load() == gone {
		return
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.gone.Load() == gone {
		return
	}
	s.gone.Store(gone)
	if !gone {
		s.log.Printf("%s, after %s", s.back, time.Since(s.since).Round(10*time.Millisecond))
		return
	}
	s.since = time.Now()
	line := s.away
	if why != nil {
		line = fmt.Sprintf("%s (%v)", line, why)
	}
	s.log.Print(line)
}
