package edge

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap/zapcore"

	"tljh/internal/layout"
)

// problem is what an authority says against something.
type problem struct{ kind, detail string }

// told takes what certmagic writes to its log: what no event tells.
func (a *acmeKeeper) told(message string, fields map[string]any) {
	a.lock.Lock()
	defer a.lock.Unlock()
	switch domain, _ := fields["identifier"].(string); message {
	case "challenge failed":
		values, _ := fields["problem"].(map[string]any)
		kind, _ := values["type"].(string)
		detail, _ := values["detail"].(string)
		way, _ := fields["challenge_type"].(string)
		if a.failures[domain] == nil {
			a.failures[domain] = map[string]problem{}
		}
		a.failures[domain][way] = problem{kind, detail}
	case "could not get certificate from issuer", "will retry", "validating authorization": // failed has told it
	case "final attempt; giving up": // after 30 days
		a.log.Printf("no certificate was given in all this time, and it is not tried any more: systemctl restart %s begins anew", layout.EdgeUnit)
	case "tls-alpn challenge": // strangers can cause it
	case "unable to unlock", "unable to clean up lock in storage backend": // who ends and who cleans up may both release it; one that is left behind ends by itself
	default:
		reason := fmt.Sprint(fields["error"])
		if strings.Contains(reason, context.Canceled.Error()) {
			return // the door closes
		}
		for _, raw := range a.raw {
			if raw != "" && strings.Contains(reason, raw) {
				return
			}
		}
		a.log.Printf("certificates: %s: %s", message, reason)
	}
}

// words says why there is no certificate for a domain, and what to do about it.
func (a *acmeKeeper) words(domain string, err error) string {
	// What the authority found at the ports says more than that no way is left to try.
	for _, way := range []string{acme.ChallengeTypeHTTP01, acme.ChallengeTypeTLSALPN01} {
		if p, ok := a.failures[domain][way]; ok {
			return wordsOf(p, domain, a.host())
		}
	}
	var p acme.Problem
	if errors.As(err, &p) {
		return wordsOf(problem{p.Type, p.Detail}, domain, a.host())
	}
	return a.wayWords(err)
}

// advice says what a kind of problem means. %[1]s is the domain, %[2]s the authority.
var advice = map[string]string{
	acme.ProblemTypeDNS:                "the name %[1]s cannot be looked up. The manager of the domain has to point it to this server's public address (a record A or AAAA)",
	acme.ProblemTypeConnection:         "%[2]s gets no connection to this server by the name %[1]s. The name has to point to this server's public address, and the ports 80 and 443 have to be open from the internet",
	acme.ProblemTypeTLS:                "%[2]s gets no proper answer at the port for HTTPS of %[1]s. Does the name point to this server, and is nothing else in between?",
	acme.ProblemTypeUnauthorized:       "another server answers at %[1]s. The name has to point to this server's public address, and nothing else may take its port 80",
	acme.ProblemTypeIncorrectResponse:  "another server answers at %[1]s. The name has to point to this server's public address, and nothing else may take its port 80",
	acme.ProblemTypeRateLimited:        "%[2]s has been asked too often and wants a pause. Nothing needs to be done but to wait; for trying out there is https.letsencrypt.staging",
	acme.ProblemTypeCAA:                "the domain forbids this authority to give certificates for %[1]s (record CAA)",
	acme.ProblemTypeRejectedIdentifier: "%[2]s gives no certificates for %[1]s",
	acme.ProblemTypeInvalidContact:     "%[2]s does not take the address in https.letsencrypt.email",
	acme.ProblemTypeUnsupportedContact: "%[2]s does not take the address in https.letsencrypt.email",
	acme.ProblemTypeServerInternal:     "%[2]s has a fault of its own",

	acme.ProblemTypeExternalAccountRequired: "%[2]s wants an account that was made beforehand, which this server cannot have: use a certificate of your own (https.tls)",
	acme.ProblemTypeUserActionRequired:      "%[2]s wants its terms of service to be agreed to",
}

func wordsOf(p problem, domain, host string) string {
	text, known := advice[p.kind]
	if !known {
		text = "%[2]s refuses it"
	}
	words := fmt.Sprintf(text, domain, host)
	if !strings.Contains(text, "%[2]") {
		words = host + " says that " + words
	}
	if p.detail != "" {
		words += " (it says: " + oneLine(p.detail) + ")"
	}
	return words
}

// wayWords words errors on the way to the authority.
func (a *acmeKeeper) wayWords(err error) string {
	var (
		lookup  *net.DNSError
		dial    *net.OpError
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		timeout net.Error
	)
	switch {
	case errors.As(err, &lookup):
		return fmt.Sprintf("the name of the authority, %s, cannot be looked up from here. Has this server a way to the internet and a working name server? (%s)", a.host(), oneLine(lookup.Error()))
	case errors.As(err, &unknown), errors.As(err, &name):
		return fmt.Sprintf("%s shows a certificate that this server does not trust. For an authority of your own, name its certificates in https.letsencrypt.ca", a.host())
	case errors.As(err, &dial), errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Sprintf("%s cannot be reached from here. Has this server a way to the internet? (%s)", a.host(), oneLine(innermost(dial, err).Error()))
	}
	return oneLine(err.Error())
}

// innermost leaves out what was being done when a connection could not be made.
func innermost(dial *net.OpError, err error) error {
	if dial != nil {
		return dial
	}
	return err
}

// oneLine keeps what others say from filling pages.
func oneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > 400 {
		return string(runes[:400]) + "…"
	}
	return strings.TrimSuffix(text, ".")
}

// journal is where certmagic writes its log: errors, to be worded.
type journal struct {
	fields []zapcore.Field
	take   func(message string, fields map[string]any)
}

// Enabled implements zapcore.Core.
func (j *journal) Enabled(level zapcore.Level) bool { return level >= zapcore.ErrorLevel }

// With implements zapcore.Core.
func (j *journal) With(fields []zapcore.Field) zapcore.Core {
	return &journal{fields: append(j.fields[:len(j.fields):len(j.fields)], fields...), take: j.take}
}

// Check implements zapcore.Core.
func (j *journal) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if j.Enabled(entry.Level) {
		return checked.AddCore(entry, j)
	}
	return checked
}

// Write implements zapcore.Core.
func (j *journal) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	values := zapcore.NewMapObjectEncoder()
	for _, field := range append(j.fields[:len(j.fields):len(j.fields)], fields...) {
		field.AddTo(values)
	}
	j.take(entry.Message, values.Fields)
	return nil
}

// Sync implements zapcore.Core.
func (j *journal) Sync() error { return nil }
