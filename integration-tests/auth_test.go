package integration

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/oauth2-proxy/mockoidc"

	"tljh/integration-tests/client"
	"tljh/integration-tests/want"
)

// TestAuthenticators logs people in by each kind of authenticator, through the edge: at a real directory, a real provider, PAM and sign-up. What single
// providers are like is tested in hub/tests.
func TestAuthenticators(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := installed(t)
	t.Run("NativeAuthenticator", h.native)
	t.Run("tmp", h.tmp)
	t.Run("LDAP by slapd", h.ldap)
	t.Run("OpenID Connect", h.openID)
	t.Run("PAM", h.pam)
}

// comesIn wants somebody to be let in.
func (h *hub) comesIn(t *testing.T, user, password string, admin bool) *client.Browser {
	t.Helper()
	b := h.login(t, user, password)
	me, err := b.Me(t.Context())
	want.OK(t, err)
	want.Equal(t, admin, me.Admin, user+" is an admin")
	return b
}

// staysOut wants somebody to be refused, in words and not by an error of the server.
func (h *hub) staysOut(t *testing.T, user, password string) {
	t.Helper()
	no := refusal(t, h.browser(t, user).Login(t.Context(), password), user)
	want.Equal(t, http.StatusForbidden, no.Status, user+": "+no.Message)
}

func (h *hub) native(t *testing.T) {
	h.set(t, "add users.banned eve", "set auth.type native")
	h.staysOut(t, "bob", passwordOf("bob"))
	for _, name := range []string{admin, "bob", "eve"} {
		b := h.browser(t, name)
		page, err := b.Open(t.Context(), "/hub/signup")
		want.OK(t, err)
		want.Equal(t, http.StatusOK, page.Status)
		page, err = b.Submit(t.Context(), "/hub/signup", url.Values{"username": {name}, "signup_password": {passwordOf(name)}, "signup_password_confirmation": {passwordOf(name)}})
		want.OK(t, err)
		want.Equal(t, http.StatusOK, page.Status)
	}
	h.staysOut(t, "bob", passwordOf("bob"))
	alice := h.comesIn(t, admin, passwordOf(admin), true)
	for _, name := range []string{"bob", "eve"} {
		page, err := alice.Open(t.Context(), "/hub/authorize/"+name)
		want.OK(t, err)
		want.Equal(t, http.StatusOK, page.Status)
	}
	h.staysOut(t, "bob", "wrong-password")
	h.staysOut(t, "eve", passwordOf("eve"))
	start(t, h.comesIn(t, "bob", passwordOf("bob"), false))
}

func (h *hub) tmp(t *testing.T) {
	h.must(t, "tljh-install config set auth.type tmp --reload")
	names := map[string]bool{}
	for range 2 {
		b := h.browser(t, "")
		page, err := b.Open(t.Context(), "/hub/login?next=%2Fhub%2Fhome")
		want.OK(t, err)
		want.Equal(t, http.StatusOK, page.Status)
		var me client.User
		_, err = b.API(t.Context(), http.MethodGet, "user", nil, &me)
		want.OK(t, err)
		names[me.Name] = true
	}
	want.Equal(t, 2, len(names), "users")
	users := h.MustSh(t, `/opt/tljh/hub/bin/python -c "import sqlite3; print(*[n for n, in sqlite3.connect('/opt/tljh/state/jupyterhub.sqlite').execute('select name from users')])"`)
	for _, name := range strings.Fields(users) {
		want.True(t, names[name] || len(name) < 30, "the proof's own try left the user "+name)
	}
}

const directory = `dn: ou=people,dc=nodomain
objectClass: organizationalUnit
ou: people
`

func (h *hub) ldap(t *testing.T) {
	h.must(t, "export DEBIAN_FRONTEND=noninteractive; apt-get update -qq && apt-get install -y -qq --no-install-recommends slapd && systemctl stop slapd")
	ldif := strings.Builder{}
	ldif.WriteString(directory)
	for _, name := range []string{admin, "dora", "eve", "frank"} {
		ldif.WriteString("\ndn: uid=" + name + ",ou=people,dc=nodomain\nobjectClass: inetOrgPerson\nuid: " + name + "\ncn: " + name + "\nsn: " + name + "\nuserPassword: " + passwordOf(name) + "\n")
	}
	want.OK(t, h.Write(t.Context(), "/root/people.ldif", 0o600, strings.NewReader(ldif.String())))
	h.must(t, "slapadd -n 1 -l /root/people.ldif && chown -R openldap: /var/lib/ldap")
	set := "tljh-install config set auth.LDAPAuthenticator.server_address 127.0.0.1 && tljh-install config set auth.LDAPAuthenticator.tls_strategy insecure && " +
		"tljh-install config add auth.LDAPAuthenticator.bind_dn_template 'uid={username},ou=people,dc=nodomain' && tljh-install config add users.allowed dora && tljh-install config set auth.type ldap"
	h.must(t, set)
	r := h.run(t, "echo x | tljh-install config test-auth dora; tljh-install config reload")
	want.Equal(t, exitFailed, r.Code, r.Output())
	want.Contains(t, r.Output(), "cannot be checked from here: The directory", "a login that must be refused is answered with an error of the server, 503")
	h.must(t, "systemctl start slapd && "+set+" --reload")
	want.Contains(t, h.must(t, "echo "+passwordOf("dora")+" | tljh-install config test-auth dora"), "could log in")
	start(t, h.comesIn(t, "dora", passwordOf("dora"), false))
	h.comesIn(t, admin, passwordOf(admin), true)
	h.staysOut(t, "dora", "wrong-password")
	h.staysOut(t, "dora", "")
	h.staysOut(t, "eve", passwordOf("eve"))
	h.staysOut(t, "frank", passwordOf("frank")) // whom the directory knows and nobody has allowed
	h.staysOut(t, "nobody", passwordOf("dora"))
	h.staysOut(t, "dora)(uid=*", passwordOf("dora"))
	h.must(t, "systemctl stop slapd")
	no := refusal(t, h.browser(t, "dora").Login(t.Context(), passwordOf("dora")), "without a directory")
	want.Equal(t, http.StatusServiceUnavailable, no.Status)
	want.Contains(t, no.Message, "cannot be reached")
	h.must(t, "systemctl start slapd")
}

// openID is a provider on another machine.
func (h *hub) openID(t *testing.T) {
	provider, err := mockoidc.NewServer(nil)
	want.OK(t, err)
	var mu sync.Mutex
	asked := []url.Values{}
	want.OK(t, provider.AddMiddleware(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == mockoidc.AuthorizationEndpoint {
				mu.Lock()
				asked = append(asked, r.URL.Query())
				mu.Unlock()
			}
			next.ServeHTTP(w, r)
		})
	}))
	ln, err := net.Listen("tcp", net.JoinHostPort(h.Gateway(), "0"))
	want.OK(t, err)
	want.OK(t, provider.Start(ln, nil))
	t.Cleanup(func() { _ = provider.Shutdown() })
	const class = "auth.GenericOAuthenticator."
	for key, value := range map[string]string{
		"client_id": provider.ClientID, "client_secret": provider.ClientSecret, "authorize_url": provider.AuthorizationEndpoint(),
		"token_url": provider.TokenEndpoint(), "userdata_url": provider.UserinfoEndpoint(), "username_claim": "preferred_username",
	} {
		h.must(t, "tljh-install config set "+class+key+" '"+value+"'")
	}
	h.must(t, "tljh-install config add "+class+"scope openid && tljh-install config add "+class+"scope profile && tljh-install config set auth.type generic-oauth --reload")
	want.Contains(t, h.run(t, "echo x | tljh-install config test-auth dora").Output(), "cannot be checked from here", "another site")
	come := func(name string) (*client.Browser, client.Page) {
		provider.QueueUser(&mockoidc.MockUser{Subject: name, PreferredUsername: name})
		b := h.browser(t, name)
		page, err := b.Open(t.Context(), "/hub/oauth_login?next=%2Fhub%2Fhome")
		want.OK(t, err)
		return b, page
	}
	for name, isAdmin := range map[string]bool{admin: true, "dora": false} {
		b, page := come(name)
		want.Equal(t, http.StatusOK, page.Status, name)
		want.Equal(t, "/hub/home", page.URL.Path)
		me, err := b.Me(t.Context())
		want.OK(t, err)
		want.Equal(t, isAdmin, me.Admin, name)
	}
	for _, name := range []string{"eve", "grace"} {
		_, page := come(name)
		want.Equal(t, http.StatusForbidden, page.Status, name)
	}
	page, err := h.browser(t, "dora").Open(t.Context(), "/hub/oauth_callback?code=made-up&state=made-up")
	want.OK(t, err)
	want.Equal(t, http.StatusBadRequest, page.Status)
	mu.Lock()
	defer mu.Unlock()
	for _, query := range asked {
		want.Equal(t, h.url()+"/hub/oauth_callback", query.Get("redirect_uri"))
		want.Equal(t, "S256", query.Get("code_challenge_method"))
	}
	want.True(t, len(asked) >= 4, "the provider was asked")
}

func (h *hub) pam(t *testing.T) {
	h.must(t, "useradd -m dora && useradd -m eve && echo dora:"+passwordOf("dora")+" | chpasswd && echo eve:"+passwordOf("eve")+" | chpasswd")
	h.set(t, "set auth.type pam")
	h.comesIn(t, "dora", passwordOf("dora"), false)
	h.staysOut(t, "dora", "wrong-password")
	h.staysOut(t, "eve", passwordOf("eve"))
	h.staysOut(t, "nobody", "")
}
