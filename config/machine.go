package config

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tljh/internal/keypair"
	"tljh/internal/layout"
)

// Machine is what a config may name files of.
type Machine interface {
	Read(path string) ([]byte, error)
}

// Resources are what a machine has; 0 is unknown.
type Resources struct {
	Memory Bytes
	CPUs   int
}

// CheckMachine finds what is wrong with the files that a config names. The report is the one of its Parse. Where a key is what it is in the config in effect
// (asked for only when something is wrong; nil for none), that is no reason to refuse the rest: it is a warning.
func CheckMachine(c *Config, r Report, m Machine, has Resources, now time.Time, inEffect func() *Config) []Problem {
	problems := r.more(func(w *walker) {
		w.checkLimits(c, has)
		w.checkAuthorities(c, m)
		w.checkLogo(c, m)
		w.checkWritablePaths(c, m)
		if c.HTTPS.Enabled && c.HTTPS.TLS.Cert != "" && c.HTTPS.TLS.Key != "" {
			w.checkPair(c, m, now)
		}
	})
	if !slices.ContainsFunc(problems, func(p Problem) bool { return p.Severity == Error || p.Unready }) {
		return problems
	}
	before := inEffect()
	for i, problem := range problems {
		if before != nil && sameFile(problem.Path, c, before) && (!problem.Unready || slices.Equal(namesOf(c), namesOf(before))) {
			problems[i].Severity, problems[i].Unready = Warning, false
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

// checkLimits warns of limits that are larger than the machine.
func (w *walker) checkLimits(c *Config, has Resources) {
	w.checkLimit("limits", Limit{Memory: c.Limits.Memory, CPU: c.Limits.CPU}, has)
	for _, group := range slices.Sorted(maps.Keys(c.Limits.Groups)) {
		w.checkLimit("limits.groups."+group, c.Limits.Groups[group], has)
	}
	for _, user := range slices.Sorted(maps.Keys(c.Limits.Users)) {
		w.checkLimit("limits.users."+user, c.Limits.Users[user], has)
	}
}

func (w *walker) checkLimit(path string, limit Limit, has Resources) {
	above := func(what, value, all string) {
		key := path + "." + what
		w.tell(Warning, w.place(key, path, "limits"), key, fmt.Sprintf("%s is %s, and this machine has %s: the limit has no effect", key, value, all), "")
	}
	if limit.Memory != nil && has.Memory > 0 && *limit.Memory > has.Memory {
		above("memory", limit.Memory.String(), fmt.Sprintf("%.1fG", float64(has.Memory)/(1<<30)))
	}
	if limit.CPU != nil && has.CPUs > 0 && *limit.CPU > float64(has.CPUs) {
		above("cpu", strconv.FormatFloat(*limit.CPU, 'f', -1, 64), counted(has.CPUs, "CPU"))
	}
}

func (w *walker) checkAuthorities(c *Config, m Machine) {
	for path, file := range map[string]string{"sources.ca": c.Sources.CA, "https.letsencrypt.ca": c.HTTPS.LetsEncrypt.CA} {
		if file == "" {
			continue
		}
		if data, ok := w.readFile(m, path, file); ok {
			if _, err := keypair.Authorities(data); err != nil {
				w.failPart(path, file, err)
			}
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

// checkWritablePaths warns of folders that are not there: systemd gives the hub only what it finds when the hub starts.
func (w *walker) checkWritablePaths(c *Config, m Machine) {
	const path = "hub.writable_paths"
	for _, folder := range c.Hub.WritablePaths {
		if _, err := m.Read(folder); errors.Is(err, fs.ErrNotExist) {
			w.tell(Warning, w.place(path+"["+folder+"]", path), path, "there is no folder "+short(folder), "make it, then restart the hub: mkdir "+folder+"; systemctl restart "+layout.HubUnit)
		}
	}
}

// soon is how long before its end a certificate is worth a warning.
const soon = 14 * 24 * time.Hour

// unready is what keeps a config from being put into effect, and not from being saved: keys are set one after the other.
func (w *walker) unready(path, message, hint string) {
	before := len(w.problems)
	w.tell(Warning, w.place(path), path, message, hint)
	for n := range w.problems[before:] {
		w.problems[before+n].Unready = true
	}
}

func (w *walker) checkPair(c *Config, m Machine, now time.Time) {
	pair := c.HTTPS.TLS
	const certPath, keyPath = "https.tls.cert", "https.tls.key"
	cert, ok := w.readFile(m, certPath, pair.Cert)
	key, okay := w.readFile(m, keyPath, pair.Key)
	if !ok || !okay {
		return
	}
	found, err := keypair.Read(cert, key)
	if errors.Is(err, keypair.ErrMismatch) {
		w.unready(keyPath, fmt.Sprintf("the key %s does not belong to the certificate %s: they are not put into effect until both match", short(pair.Key), short(pair.Cert)),
			"set the other one too, https.tls.cert or https.tls.key; or set both at once: sudo tljh-install config edit")
		return
	}
	if problem := new(keypair.Problem); errors.As(err, &problem) && problem.Part == keypair.Key {
		w.failPart(keyPath, pair.Key, err)
		return
	}
	if err != nil {
		w.failPart(certPath, pair.Cert, err)
		return
	}
	w.checkTimes(found.Leaf, now)
	w.checkNames(c, found.Leaf)
}

// namesOf returns the names that browsers ask the hub's certificate for, as far as the config says; *. stands for any name below.
func namesOf(c *Config) []string {
	names := []string{}
	switch {
	case c.Hub.UserDomain != "":
		names = append(names, c.HubDomain(), "*."+c.Hub.UserDomain)
	case c.Hub.Domain != "":
		names = append(names, c.Hub.Domain)
	}
	if public, err := url.Parse(c.HTTP.PublicURL); err == nil && public.Hostname() != "" && len(c.HTTP.TrustedProxies) == 0 && !slices.Contains(names, public.Hostname()) {
		names = append(names, public.Hostname()) // no proxy in front has a certificate of its own for it
	}
	return names
}

// holds reports whether browsers take a certificate for a name.
func holds(leaf *x509.Certificate, name string) bool {
	return leaf.VerifyHostname(strings.Replace(name, "*", "any-user", 1)) == nil
}

// checkNames finds names that the certificate lacks: browsers refuse the hub, or every single-user server, without a word in any log.
func (w *walker) checkNames(c *Config, leaf *x509.Certificate) {
	const path = "https.tls.cert"
	wanted := namesOf(c)
	missing := slices.DeleteFunc(slices.Clone(wanted), func(name string) bool { return holds(leaf, name) })
	if len(missing) == 0 {
		return
	}
	held := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		held = append(held, ip.String())
	}
	message := fmt.Sprintf("the certificate lacks %s; it has %s", strings.Join(missing, " and "), listed(held))
	hint := "get one that has " + strings.Join(wanted, " and ")
	each := strings.HasPrefix(missing[0], "*.") && slices.ContainsFunc(held, func(name string) bool { return strings.HasSuffix(name, missing[0][1:]) })
	if len(missing) == 1 && each { // perhaps one by one for each user
		w.tell(Warning, w.place(path), path, message, hint)
		return
	}
	w.unready(path, message+": browsers refuse the addresses that it lacks", hint)
}

// failPart reports a file that holds no usable certificate or key.
func (w *walker) failPart(path, file string, err error) {
	if problem := new(keypair.Problem); errors.As(err, &problem) {
		w.fail(w.place(path), path, short(file)+" "+problem.Why, problem.Hint)
		return
	}
	w.fail(w.place(path), path, "cannot read "+short(file)+": "+err.Error(), "")
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
	Hint    string `json:"hint"`  // what to do; "" where a module is not what is missing
	Pending bool   `json:"-"`     // hub.packages has changed since the hub environment was built
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
			w.authenticatorMissing(c, answer)
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

// authenticatorMissing reports a class that the hub environment lacks. The next installation may bring the package that holds it.
func (w *walker) authenticatorMissing(c *Config, answer AuthenticatorAnswer) {
	const path = "auth.type"
	if answer.Hint == "" || !answer.Pending {
		w.fail(w.place(path, "auth"), path, "the hub cannot use "+short(c.Auth.Type)+": "+answer.Error, answer.Hint)
		return
	}
	w.unready(path, "the hub cannot use "+short(c.Auth.Type)+" until hub.packages is installed: "+answer.Error, "sudo tljh-install install")
	w.problems[len(w.problems)-1].Installs = true
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
