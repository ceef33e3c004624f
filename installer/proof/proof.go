package proof

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"tljh/config"
	"tljh/installer/hubnotes"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/report"
)

// Proof shows that an installation works, by using it as people do. It never rests on what systemd says.
type Proof struct {
	Host    *host.Host
	Report  *report.Reporter
	BaseURL string // of the hub, with slashes at both ends: "/"
	Public  string // the edge as this machine reaches it: "http://127.0.0.1:80", or with https
	Plain   string // where Public is https: the door that only sends people on
	Name    string // by which Public is asked for; "" is none
	Cell    bool   // a notebook's cell is run, too
	Pending bool   // the certificate comes from an authority, and may not be there yet

	hubDoor, proxyDoor, proxyAPI string // where hub and proxy listen

	patience   time.Duration // with an answer that does not come
	prefix     string        // of accounts' names
	door       string        // what people get to: Public, or the proxy itself while there is no certificate
	token      string
	proxyToken string
	client     *http.Client
}

// New makes the proof of a config.
func New(h *host.Host, r *report.Reporter, cfg *config.Config) *Proof {
	p := &Proof{Host: h, Report: r, BaseURL: cfg.BaseURL, Public: "http://" + EdgeAddress(cfg.HTTP.Address, cfg.HTTP.Port)}
	p.hubDoor, p.proxyDoor, p.proxyAPI = "http://"+layout.HubAddress, "http://"+layout.ProxyAddress, "http://"+layout.ProxyAPIAddress
	p.patience, p.prefix = answerTime, cfg.Users.AccountPrefix
	if !cfg.HTTPS.Enabled {
		return p
	}
	p.Plain, p.Public = p.Public, "https://"+EdgeAddress(cfg.HTTPS.Address, cfg.HTTPS.Port)
	if domains := cfg.HTTPS.LetsEncrypt.Domains; len(domains) > 0 {
		p.Name, p.Pending = domains[0], true
	}
	return p
}

// Time limits of a proof. A server may have a small share of a small machine's CPU while it starts.
const (
	answerTime = 2 * time.Minute
	issueTime  = 45 * time.Second // that an authority usually needs for a certificate
	spawnTime  = 5 * time.Minute
	pollEvery  = 100 * time.Millisecond
)

// Quick proves that the hub answers through the edge and over its API, and that the proxy knows the way to it.
func (p *Proof) Quick(ctx context.Context) error {
	if err := p.prepare(); err != nil {
		return err
	}
	for _, part := range []struct {
		id, title string
		prove     func(context.Context) error
		unit      string
	}{
		{"prove api", "ask the hub's API", p.api, layout.HubUnit},
		{"prove routes", "look for the proxy's routes", p.routes, layout.ProxyUnit},
		{"prove login", "open the login page through the edge", p.login, layout.EdgeUnit},
		{"prove authenticator", "try the authenticator with a login that it must refuse", p.authenticator, layout.HubUnit},
	} {
		if err := p.step(ctx, part.id, part.title, part.unit, part.prove); err != nil {
			return err
		}
	}
	if told, err := hubnotes.ReadSnippets(p.Host.Files); err == nil && told.NotUsed() != "" {
		p.Report.Note("not used by the hub: %s; %s", told.NotUsed(), told.Hint())
	}
	return nil
}

// Whole is Quick, and a server of a user made for it, who is removed again.
func (p *Proof) Whole(ctx context.Context) error {
	if err := p.Quick(ctx); err != nil {
		return err
	}
	return p.step(ctx, "prove spawn", "start a server for a probe user", layout.HubUnit, p.spawn)
}

func (p *Proof) step(ctx context.Context, id, title, unit string, prove func(context.Context) error) error {
	run := p.Report.Step(id, title, "proof")
	began := time.Now()
	if err := prove(ctx); err != nil {
		if ctx.Err() == nil {
			err = p.explain(ctx, unit, began, err)
		}
		run.Failed(err)
		return err
	}
	run.Done()
	return nil
}

// explain adds the last words of the unit that is most likely to know why: not those of what went wrong another time.
func (p *Proof) explain(ctx context.Context, unit string, since time.Time, err error) error {
	if host.OutOfSpace(p.Host.Files, layout.Root, err) { // neither the hub nor the journal could write why
		return host.Hint(fmt.Errorf("%w; the disk of %s is full", err, layout.Root), "make room (df -h shows where), then run the same command again")
	}
	return host.Hint(host.LastWords(err, unit, complaints(p.Host.Journal(ctx, unit, 300, since))), "see all of it: journalctl -u %s; then run the same command again", unit)
}

// complaints returns the last lines of a journal that tell more than that a request was answered.
func complaints(journal string) string {
	const most = 12
	lines := []string{}
	for line := range strings.Lines(journal) {
		if !strings.HasPrefix(line, "INFO") {
			lines = append(lines, line)
		}
	}
	return strings.TrimSpace(strings.Join(lines[max(0, len(lines)-most):], ""))
}

func (p *Proof) prepare() error {
	token, err := p.Host.Files.Read(layout.Token)
	if err != nil {
		return fmt.Errorf("cannot read the installer's token: %w", err)
	}
	p.token = strings.TrimSpace(string(token))
	if p.proxyToken, err = proxyToken(p.Host.Files); err != nil {
		return err
	}
	p.client = &http.Client{
		Timeout: 30 * time.Second,
		Transport: &http.Transport{
			Proxy: nil, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			// It is asked for over loopback, by no name that a certificate could hold. Whether browsers trust it is another question.
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: p.Name},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return nil
}

// EdgeAddress is where this machine reaches its own edge.
func EdgeAddress(address string, port int) string {
	if ip := net.ParseIP(address); ip == nil || ip.IsUnspecified() {
		address = "127.0.0.1"
	}
	return net.JoinHostPort(address, strconv.Itoa(port))
}

// answer is a response that was read whole.
type answer struct {
	status int
	body   []byte
}

func (p *Proof) call(ctx context.Context, method, address, token string, body any) (answer, error) {
	var reader io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		reader = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, address, reader)
	if err != nil {
		return answer{}, err
	}
	if token != "" {
		request.Header.Set("Authorization", "token "+token)
	}
	response, err := p.client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	return answer{response.StatusCode, data}, err
}

func (p *Proof) hub(ctx context.Context, method, name string) (answer, error) {
	return p.call(ctx, method, p.hubDoor+path.Join(p.BaseURL, "hub/api", name), p.token, nil)
}

// until polls a request until good says yes, and returns the last reason why not when the time is up.
func until(ctx context.Context, limit time.Duration, what string, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s: nothing after %s", what, limit))
	defer cancel()
	var last error
	err := host.Poll(ctx, pollEvery, func(ctx context.Context) (bool, error) {
		err := try(ctx)
		var final *finalError
		if errors.As(err, &final) {
			return false, final.error
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		return err == nil, nil
	})
	if err != nil && last != nil && ctx.Err() != nil {
		return fmt.Errorf("%w; last answer: %w", err, last)
	}
	return err
}

// finalError ends until at once.
type finalError struct{ error }

func (p *Proof) api(ctx context.Context) error {
	return until(ctx, p.patience, "the hub's API does not answer", func(ctx context.Context) error {
		got, err := p.hub(ctx, http.MethodGet, "info")
		return expect(got, err, http.StatusOK)
	})
}

func (p *Proof) routes(ctx context.Context) error {
	return until(ctx, p.patience, "the proxy has no route to the hub", func(ctx context.Context) error {
		got, err := p.call(ctx, http.MethodGet, p.proxyAPI+"/api/routes", p.proxyToken, nil)
		if err := expect(got, err, http.StatusOK); err != nil {
			return err
		}
		var routes map[string]json.RawMessage
		if err := json.Unmarshal(got.body, &routes); err != nil {
			return fmt.Errorf("cannot read the proxy's routes: %w", err)
		}
		if len(routes) == 0 {
			return errors.New("no route")
		}
		return nil
	})
}

func (p *Proof) login(ctx context.Context) error {
	p.door = p.Public
	if !p.Pending {
		return until(ctx, p.patience, "the login page does not come through the edge", p.loginPage)
	}
	err := until(ctx, issueTime, "there is no certificate", p.loginPage)
	if err == nil || ctx.Err() != nil {
		return err
	}
	// An authority that can't reach this machine yet is no reason to call the hub broken. The door has to say so to visitors, though.
	got, httpErr := p.call(ctx, http.MethodGet, p.Plain+path.Join(p.BaseURL, "hub/login"), "", nil)
	if expect(got, httpErr, http.StatusServiceUnavailable) != nil {
		return err
	}
	p.Report.Note("there is no certificate for %s yet; the server goes on trying. Visitors see why, and so does: journalctl -u %s", p.Name, layout.EdgeUnit)
	p.door = p.proxyDoor
	return until(ctx, p.patience, "the login page does not come through the proxy", p.loginPage)
}

func (p *Proof) loginPage(ctx context.Context) error {
	got, err := p.call(ctx, http.MethodGet, p.door+path.Join(p.BaseURL, "hub/login"), "", nil)
	// An authenticator that sends people elsewhere at once is a login page, too; and one that lets nobody in says so.
	if err := expect(got, err, http.StatusOK, http.StatusFound, http.StatusForbidden); err != nil {
		return err
	}
	if got.status != http.StatusFound && !bytes.Contains(got.body, []byte("JupyterHub")) && !bytes.Contains(got.body, []byte("login")) {
		return errors.New("what answers is not a JupyterHub")
	}
	return nil
}

func (p *Proof) spawn(ctx context.Context) (err error) {
	user := "users/" + layout.ProbeUser
	if err := p.removeProbe(ctx); err != nil {
		return err
	}
	// What was begun is cleared away even when we are told to end.
	defer func() {
		clear, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if removeErr := p.removeProbe(clear); err == nil {
			err = removeErr
		}
	}()
	got, err := p.hub(ctx, http.MethodPost, user)
	if err := expect(got, err, http.StatusCreated); err != nil {
		return fmt.Errorf("cannot make the probe user: %w", err)
	}
	got, err = p.hub(ctx, http.MethodPost, user+"/server")
	if err := expect(got, err, http.StatusCreated, http.StatusAccepted); err != nil {
		return fmt.Errorf("cannot start the probe user's server: %w", err)
	}
	if err := until(ctx, spawnTime, "the probe user's server does not start", p.serverReady); err != nil {
		return err
	}
	// The hub forgets what it told before as soon as a server starts as usual.
	if told, err := hubnotes.ReadRescue(p.Host.Files); err != nil || told != nil {
		return errors.Join(err, p.notAsUsual(told))
	}
	err = until(ctx, p.patience, "the probe user's server does not answer through the edge", func(ctx context.Context) error {
		got, err := p.call(ctx, http.MethodGet, p.server("api/status"), p.token, nil)
		return expect(got, err, http.StatusOK)
	})
	if err != nil || !p.Cell {
		return err
	}
	return p.cell(ctx)
}

// server is an address of the probe user's server, through the edge.
func (p *Proof) server(name string) string {
	return p.door + path.Join(p.BaseURL, "user", layout.ProbeUser, name)
}

func (p *Proof) notAsUsual(told *hubnotes.Rescue) error {
	if told == nil {
		return nil
	}
	return fmt.Errorf("the probe user's server did not start as usual: %s; %s", told.Words(), hubnotes.RepairHint)
}

// serverReady reads how the probe user's server comes along. One that has stopped will not come.
func (p *Proof) serverReady(ctx context.Context) error {
	got, err := p.hub(ctx, http.MethodGet, "users/"+layout.ProbeUser)
	if err := expect(got, err, http.StatusOK); err != nil {
		return err
	}
	var user struct {
		Pending *string
		Servers map[string]struct{ Ready bool }
	}
	if err := json.Unmarshal(got.body, &user); err != nil {
		return fmt.Errorf("cannot read the hub's answer: %w", err)
	}
	if user.Servers[""].Ready {
		return nil
	}
	if user.Pending == nil {
		return &finalError{errors.New("the probe user's server failed to start")}
	}
	return errors.New("still starting")
}

// removeProbe takes away the probe user's server, the user, the account and the home, as far as they are there.
func (p *Proof) removeProbe(ctx context.Context) error {
	user := "users/" + layout.ProbeUser
	err := until(ctx, p.patience, "cannot remove the probe user", func(ctx context.Context) error {
		if got, err := p.hub(ctx, http.MethodDelete, user+"/server"); err != nil || got.status == http.StatusAccepted {
			return errors.Join(err, errors.New("its server is still stopping"))
		}
		got, err := p.hub(ctx, http.MethodDelete, user)
		return expect(got, err, http.StatusNoContent, http.StatusNotFound)
	})
	if err != nil {
		return err
	}
	return p.removeAccount(ctx, p.prefix+layout.ProbeUser)
}

func (p *Proof) removeAccount(ctx context.Context, account string) error {
	return until(ctx, p.patience, "cannot remove the probe user's account", func(ctx context.Context) error {
		passwd, err := p.Host.Files.Read("/etc/passwd")
		if err != nil || !strings.Contains("\n"+string(passwd), "\n"+account+":") {
			return err
		}
		_, err = p.Host.Runner.Run(ctx, host.Command{Argv: []string{"userdel", "--remove", account}, Whole: true})
		return err
	})
}

func expect(got answer, err error, good ...int) error {
	if err != nil {
		return err
	}
	for _, status := range good {
		if got.status == status {
			return nil
		}
	}
	var words struct{ Message string }
	_ = json.Unmarshal(got.body, &words)
	if words.Message != "" {
		return fmt.Errorf("the answer is %d: %s", got.status, words.Message)
	}
	return fmt.Errorf("the answer is %d", got.status)
}
