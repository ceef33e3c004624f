package edge

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// Answers of the proxy itself say that something is away, and the edge then waits, asks again and reports it. A user's server can send an answer that looks just like
// one. So the looks are only a reason to ask: an outage of the hub is believed when the proxy cannot reach the hub's own address, at which no user's server answers.

// verdict is who made an answer.
type verdict int

const (
	othersOwn verdict = iota // the hub, a user's server or a service
	proxysOwn
	unsure // the proxy, perhaps, a moment ago: to be asked again
)

// judge returns who made an answer. settled says whether the proxy had its routes when the request was sent, as far as anyone could know then, and state
// whether that has changed: a proxy that was restarted a moment before is noticed only when the connections to the one before have ended.
func (t *turn) judge(r *http.Request, response *http.Response, state uint64, settled bool) verdict {
	if !resemblesProxys(r, response) {
		return othersOwn
	}
	where, _ := locate(t.upstream.home, r.URL)
	switch {
	case where == ofHub && isPlain(r.URL):
		return proxysOwn // no user's server answers here
	case where == outside, response.StatusCode == http.StatusServiceUnavailable && where != ofHub:
		return proxysOwn // no outage of the hub is concluded from it, and nothing is sent again
	case t.upstream.hubIsAway(r.Host):
		return proxysOwn
	case settled && state == t.upstream.links.state() || t.doubted || !resendable(r):
		return othersOwn
	}
	t.doubted = true
	return unsure
}

const askTimeout = 3 * time.Second

// hubIsAway reports whether the proxy says, now, that the hub is away. A hub that is only slow is there.
func (u *upstream) hubIsAway(host string) bool {
	away, _, _ := u.asking.Do("hub", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+u.address+u.home+"hub/health", nil)
		if err != nil {
			return false, nil
		}
		request.Host = host
		state := u.links.state()
		response, err := u.base.RoundTrip(request)
		if err != nil {
			var dial dialError
			return errors.As(err, &dial), nil
		}
		defer response.Body.Close()
		if resemblesProxys(request, response) {
			return true, nil
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // the connection can be used again
		u.links.settle(state)
		return false, nil
	})
	is, _ := away.(bool)
	return is
}

// resemblesProxys reports whether an answer looks like one that the proxy makes itself: 404 when it has no route, 503 when the route's target does not answer.
// Such an answer comes from no known server and is a short page with the proxy's name, or nothing but the status's; to a websocket it says even less. The answer's
// body can be read as before.
func resemblesProxys(r *http.Request, response *http.Response) bool {
	header := response.Header
	kind := header.Get("Content-Type")
	if response.StatusCode != http.StatusNotFound && response.StatusCode != http.StatusServiceUnavailable ||
		kind != "" && kind != "text/html" || header.Get("Server") != "" || header.Get("X-Jupyterhub-Version") != "" {
		return false
	}
	words := http.StatusText(response.StatusCode)
	if r.Header.Get("Upgrade") != "" {
		return response.ContentLength == 0 && header.Get("Date") == "" && !strings.Contains(response.Status, words)
	}
	if r.Method == http.MethodHead {
		return response.StatusCode == http.StatusServiceUnavailable
	}
	begin, err := io.ReadAll(io.LimitReader(response.Body, 1024))
	response.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(begin), response.Body), response.Body}
	return err == nil && (kind == "" && string(begin) == words || kind != "" && bytes.Contains(begin, proxysMark))
}

// proxysMark is in the pages that configurable-http-proxy brings along.
var proxysMark = []byte("<p>configurable-http-proxy</p>")
