package integration

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"tljh/integration-tests/authority"
	"tljh/integration-tests/client"
	"tljh/integration-tests/guest"
	"tljh/integration-tests/want"
)

// TestLetsEncryptOnARunningHub gives a hub that has been at work without HTTPS a certificate of an authority, key by key, and takes it away again, while a
// student's kernel runs all along. It is not parallel: the authority is told by variables of this process how to behave.
func TestLetsEncryptOnARunningHub(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := installed(t)
	bob := h.student(t, h.admin(t), "bob")
	work := kernel(t, bob)
	compute(t, work, "x = 42")
	ca := h.authority(t, "hub.example.org", "bob.users.example.org", "nobody.users.example.org")

	// Incomplete HTTPS is a warning: the keys may come in any order, and nothing is in effect before they are complete.
	want.Contains(t, h.must(t, "tljh-install config set https.enabled true"), "HTTPS needs", "not in effect until then")
	want.Contains(t, h.must(t, "tljh-install config set https.letsencrypt.email teacher@example.org"), "The change is saved, but cannot be applied", "the domains are missing")
	for _, change := range []string{
		"add https.letsencrypt.domains hub.example.org", "set https.letsencrypt.directory " + ca.Directory,
		"set https.letsencrypt.ca /etc/authority.pem",
	} {
		want.Contains(t, h.must(t, "tljh-install config "+change), "To apply it: sudo tljh-install config reload")
	}
	hubProcess := h.property(t, "jupyterhub.service", "MainPID")
	begin := time.Now()
	h.must(t, "tljh-install config reload")

	secure, err := client.NewSecure("hub.example.org", h.Address(), "bob", ca.Roots)
	want.OK(t, err)
	guest.Until(t, 60*time.Second, func(ctx context.Context) error { return showsLogin(ctx, secure) })
	t.Logf("from reload to a page with the authority's certificate: %.1f s", time.Since(begin).Seconds())
	want.Equal(t, hubProcess, h.property(t, "jupyterhub.service", "MainPID"), "the hub was restarted for the door's sake")
	want.OK(t, secure.Login(t.Context(), passwordOf("bob")))
	want.OK(t, secure.OpenLab(t.Context()))
	want.Equal(t, "42", recall(t, secure, work), "bob's kernel, over HTTPS")
	want.Contains(t, h.must(t, "tljh-install status"), "https://hub.example.org/")
	want.Contains(t, h.MustSh(t, "curl -s -o /dev/null -w '%{redirect_url}' -H 'Host: hub.example.org' http://127.0.0.1/hub/login"), "https://hub.example.org/hub/login")

	h.namesOfUsers(t, ca)

	h.must(t, "tljh-install config unset hub.user_domain")
	h.set(t, "unset https")
	guest.Until(t, 60*time.Second, reaches(bob))
	want.Equal(t, "42", recall(t, bob, work), "bob's kernel after all of this")
}

// namesOfUsers gives single-user servers names below a domain: a certificate for one is fetched when somebody first opens it, and for users' names only.
func (h *hub) namesOfUsers(t *testing.T, ca *authority.Server) {
	t.Helper()
	h.must(t, "tljh-install config set hub.user_domain users.example.org --reload")
	open := func(ctx context.Context, name string) error {
		dialer := &tls.Dialer{Config: &tls.Config{ServerName: name, RootCAs: ca.Roots}}
		conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(h.Address(), "443"))
		if err == nil {
			_ = conn.Close()
		}
		return err
	}
	begin := time.Now()
	guest.Until(t, 60*time.Second, func(ctx context.Context) error { return open(ctx, "bob.users.example.org") })
	t.Logf("the first visit to a user's name got its certificate after %.1f s", time.Since(begin).Seconds())
	begin = time.Now()
	want.OK(t, open(t.Context(), "bob.users.example.org"))
	want.True(t, time.Since(begin) < 5*time.Second, "a certificate that is there is fetched again")
	err := open(t.Context(), "nobody.users.example.org")
	want.True(t, err != nil, "a name of no user has a certificate")
	h.must(t, "test -z \"$(find /var/lib/tljh-edge /var/lib/private/tljh-edge -name '*nobody*' 2>/dev/null)\"")
}

// authority starts one that the guest reaches, and that finds these names at the guest.
func (h *hub) authority(t *testing.T, known ...string) *authority.Server {
	t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort(h.Gateway(), "0"))
	want.OK(t, err)
	names := map[string]string{}
	for _, name := range known {
		names[name] = h.Address()
	}
	ca := authority.Start(t, authority.Options{HTTP: 80, HTTPS: 443, Names: names, Listener: ln})
	// Its own certificate is for example.com.
	ca.Directory = strings.Replace(ca.Directory, h.Gateway(), "example.com", 1)
	h.MustSh(t, "echo '"+h.Gateway()+" example.com' >> /etc/hosts")
	want.OK(t, h.Write(t.Context(), "/etc/authority.pem", 0o600, strings.NewReader(string(ca.Own))))
	return ca
}
