package config

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"
)

// Machine is what a config may name files of.
type Machine interface {
	Read(path string) ([]byte, error)
}

// CheckMachine finds what is wrong with the files that a config names. The report is the one of its Parse. Where a key is what it is in the config in effect
// (asked for only when something is wrong; nil for none), that is no reason to refuse the rest: it is a warning.
func CheckMachine(c *Config, r Report, m Machine, now time.Time, inEffect func() *Config) []Problem {
	problems := r.more(func(w *walker) {
		w.checkAuthorities(c, m)
		w.checkLogo(c, m)
		if c.HTTPS.Enabled && c.HTTPS.TLS.Cert != "" && c.HTTPS.TLS.Key != "" {
			w.checkPair(c.HTTPS.TLS, m, now)
		}
	})
	if !anyError(problems) {
		return problems
	}
	before := inEffect()
	for i, problem := range problems {
		if before != nil && sameFile(problem.Path, c, before) {
			problems[i].Severity = Warning
		}
	}
	return problems
}

// sameFile tells whether two configs name the same in a place that names a file.
func sameFile(path string, a, b *Config) bool {
	switch path {
	case "sources.ca":
		return a.Sources.CA == b.Sources.CA
	case "https.letsencrypt.ca":
		return a.HTTPS.LetsEncrypt.CA == b.HTTPS.LetsEncrypt.CA
	case "hub.logo":
		return a.Hub.Logo == b.Hub.Logo
	}
	return a.HTTPS.TLS == b.HTTPS.TLS && b.HTTPS.Enabled
}

// readFile tells when a file can't be read.
func (w *walker) readFile(m Machine, path, file string) ([]byte, bool) {
	data, err := m.Read(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		w.fail(w.place(path), path, "there is no file "+short(file), "")
	case errors.Is(err, fs.ErrPermission):
		return nil, false // whoever asks is not root: it can't be judged
	case err != nil:
		w.fail(w.place(path), path, "cannot read "+short(file)+": "+reason(err), "")
	}
	return data, err == nil
}

// reason is an error without the path that it is about.
func reason(err error) string {
	var inner *fs.PathError
	if errors.As(err, &inner) {
		return inner.Err.Error()
	}
	return err.Error()
}

func (w *walker) checkAuthorities(c *Config, m Machine) {
	for path, file := range map[string]string{"sources.ca": c.Sources.CA, "https.letsencrypt.ca": c.HTTPS.LetsEncrypt.CA} {
		if file == "" {
			continue
		}
		if data, ok := w.readFile(m, path, file); ok && !x509.NewCertPool().AppendCertsFromPEM(data) {
			w.fail(w.place(path), path, short(file)+" holds no certificate", "it must be a PEM file: a text with -----BEGIN CERTIFICATE-----")
		}
	}
}

var pictures = map[string]func(data []byte) bool{
	".png": func(data []byte) bool { return bytes.HasPrefix(data, []byte("\x89PNG\r\n")) },
	".jpg": func(data []byte) bool { return bytes.HasPrefix(data, []byte("\xff\xd8\xff")) },
	".svg": func(data []byte) bool { return bytes.Contains(data[:min(len(data), 4096)], []byte("<svg")) },
}

func (w *walker) checkLogo(c *Config, m Machine) {
	if c.Hub.Logo == "" {
		return
	}
	data, ok := w.readFile(m, "hub.logo", c.Hub.Logo)
	form := strings.Replace(strings.ToLower(c.Hub.Logo[strings.LastIndex(c.Hub.Logo, "."):]), "jpeg", "jpg", 1)
	if ok && !pictures[form](data) {
		w.fail(w.place("hub.logo"), "hub.logo", short(c.Hub.Logo)+" is no "+form[1:]+" picture", "")
	}
}

// soon is how long before its end a certificate is worth a warning.
const soon = 14 * 24 * time.Hour

func (w *walker) checkPair(pair TLS, m Machine, now time.Time) {
	const certPath, keyPath = "https.tls.cert", "https.tls.key"
	cert, ok := w.readFile(m, certPath, pair.Cert)
	key, okay := w.readFile(m, keyPath, pair.Key)
	if !ok || !okay {
		return
	}
	block, _ := pem.Decode(cert)
	if block == nil || block.Type != "CERTIFICATE" {
		w.fail(w.place(certPath), certPath, short(pair.Cert)+" holds no certificate", "it must be a PEM file: a text with -----BEGIN CERTIFICATE-----")
		return
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		w.fail(w.place(certPath), certPath, short(pair.Cert)+" holds a certificate that cannot be read", "")
		return
	}
	if message := keyTrouble(key); message != "" {
		w.fail(w.place(keyPath), keyPath, short(pair.Key)+" "+message, "it must be a PEM file with a private key that has no passphrase")
		return
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		w.fail(w.place(keyPath), keyPath, "the key does not belong to the certificate in "+short(pair.Cert), "the first certificate in that file must be the server's")
		return
	}
	w.checkTimes(leaf, now)
}

func keyTrouble(key []byte) string {
	block, _ := pem.Decode(key)
	switch {
	case block == nil || !strings.HasSuffix(block.Type, "PRIVATE KEY"):
		return "holds no private key"
	case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
		return "is protected by a passphrase, which nobody can type when the machine starts"
	}
	return ""
}

func (w *walker) checkTimes(leaf *x509.Certificate, now time.Time) {
	const path = "https.tls.cert"
	switch {
	case now.After(leaf.NotAfter):
		w.fail(w.place(path), path, "the certificate expired on "+leaf.NotAfter.Format(time.DateOnly), "get a new one")
	case now.Before(leaf.NotBefore):
		w.fail(w.place(path), path, "the certificate is valid only from "+leaf.NotBefore.Format(time.DateTime)+" (UTC)", "see whether this machine's clock is right")
	case now.Add(soon).After(leaf.NotAfter):
		w.tell(Warning, w.place(path), path, "the certificate expires on "+leaf.NotAfter.Format(time.DateOnly), "get a new one in time")
	}
}

// AuthenticatorAnswer is what the hub environment says of the classes that a config names.
type AuthenticatorAnswer struct {
	OK      bool   `json:"ok"`
	Error   string `json:"error"` // why the authenticator of auth.type can't be used
	Classes map[string]struct {
		Exists  bool              `json:"exists"`
		Options []string          `json:"options"`
		Refused map[string]string `json:"refused"` // options whose values the class does not take, and why
	} `json:"classes"` // the one of auth.type, and those of the sections
}

// CheckAuthenticator finds authenticators and options that are not there, and values that an option does not take. The report is the one of the config's Parse.
func CheckAuthenticator(c *Config, r Report, answer AuthenticatorAnswer) []Problem {
	return r.more(func(w *walker) {
		if !answer.OK {
			w.fail(w.place("auth.type", "auth"), "auth.type", "the hub cannot use "+short(c.Auth.Type)+": "+answer.Error, "")
		}
		for _, name := range slices.Sorted(maps.Keys(c.Auth.Options)) {
			class := answer.Classes[name]
			if !class.Exists {
				continue // that it is of no effect, a warning has said
			}
			for _, option := range slices.Sorted(maps.Keys(c.Auth.Options[name])) {
				value := c.Auth.Options[name][option]
				path, hint := join(join("auth", name), option), ""
				switch why, refused := class.Refused[option]; {
				case overridden[option] != "":
				case !slices.Contains(class.Options, option):
					if near := nearest(option, class.Options); near != "" {
						hint = "did you mean " + near + "?"
					}
					w.fail(w.place(path), path, fmt.Sprintf("%s has no option %s", name, short(option)), hint)
				case refused:
					w.fail(w.place(path), path, path+": "+why, optionHint(why, value))
				}
			}
		}
	})
}

// optionHint says how to write a value that an option takes. It shows no value: it may be secret.
func optionHint(why string, value any) string {
	switch value.(type) {
	case int64, float64, bool:
		if strings.HasPrefix(why, "must be a text") {
			return "put it in quotes"
		}
	case string:
		if strings.HasPrefix(why, "must be true or false") {
			return "write true or false, without quotes"
		}
		if strings.HasPrefix(why, "must be a whole number") || strings.HasPrefix(why, "must be a number") {
			return "write it without quotes"
		}
	}
	return ""
}
