package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
)

// Certificates for names of single-user servers are fetched when somebody first comes by such a name, and only for users of the hub: whoever makes up names causes
// no order at the authority, and only a few questions to the hub.

// demand decides for which names below a domain certificates are fetched.
type demand struct {
	origins Origins
	exists  func(ctx context.Context, label string) (bool, error)
	now     func() time.Time

	lock  sync.Mutex
	tried map[string]time.Time // labels that were allowed, and when
	asked []time.Time          // when the hub was asked lately
}

const (
	retryAfter  = time.Minute // between two orders for one name
	askedWithin = time.Minute
	mostAsked   = 120 // questions to the hub in that time
	mostTried   = 10000
)

var (
	errNoUser  = errors.New("it is no user's name")
	errTooMany = errors.New("too many names were asked for")
	errTried   = errors.New("it was tried a moment ago")
)

func newDemand(origins Origins, hub, base string) *demand {
	client := &http.Client{Timeout: 5 * time.Second}
	return &demand{origins: origins, now: time.Now, tried: map[string]time.Time{}, exists: func(ctx context.Context, label string) (bool, error) {
		return askHub(ctx, client, "http://"+hub+base+"hub/user-label/"+label)
	}}
}

// askHub asks the hub whether a user has a label. It answers only who asks it directly, from this machine.
func askHub(ctx context.Context, client *http.Client, address string) (bool, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return false, err
	}
	response, err := client.Do(request)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10))
	switch response.StatusCode {
	case http.StatusNoContent:
		return true, nil
	case http.StatusNotFound:
		return false, nil
	}
	return false, fmt.Errorf("the hub answers %s", response.Status)
}

// covers reports whether a name is one of a single-user server's.
func (d *demand) covers(name string) bool {
	if d == nil {
		return false
	}
	label, below := d.origins.below(strings.TrimSuffix(strings.ToLower(name), "."))
	return below && len(label) <= 40 && plainLabel.MatchString(label)
}

// allow is asked before a certificate is looked for or ordered.
func (d *demand) allow(ctx context.Context, name string) error {
	if !d.covers(name) {
		return errNoUser
	}
	label, _ := d.origins.below(strings.ToLower(name))
	if err := d.reserve(label); err != nil {
		return err
	}
	there, err := d.exists(ctx, label)
	if err != nil {
		return fmt.Errorf("cannot ask the hub whether there is such a user: %w", err)
	}
	if !there {
		return errNoUser
	}
	d.lock.Lock()
	defer d.lock.Unlock()
	if len(d.tried) >= mostTried {
		clear(d.tried)
	}
	d.tried[label] = d.now()
	return nil
}

func (d *demand) reserve(label string) error {
	d.lock.Lock()
	defer d.lock.Unlock()
	now := d.now()
	if now.Sub(d.tried[label]) < retryAfter {
		return errTried
	}
	for len(d.asked) > 0 && now.Sub(d.asked[0]) >= askedWithin {
		d.asked = d.asked[1:]
	}
	if len(d.asked) >= mostAsked {
		return errTooMany
	}
	d.asked = append(d.asked, now)
	return nil
}

// onDemand is config with certificates that are fetched when they are needed.
func (a *acmeKeeper) onDemand(config certmagic.Config) {
	if a.demand == nil {
		return
	}
	config.DefaultServerName, config.FallbackServerName = "", ""
	config.OnDemand = &certmagic.OnDemandConfig{DecisionFunc: a.demand.allow}
	a.demanded = certmagic.New(a.cache, config)
	a.demanded.Issuers = []certmagic.Issuer{a.issuer}
}

// showDemanded returns the certificate of a single-user server's name.
func (a *acmeKeeper) showDemanded(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if a.demanded == nil {
		return nil, errNoCertificate
	}
	return a.demanded.GetCertificate(hello)
}
