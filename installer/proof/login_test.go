package proof

import (
	"cmp"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/layout"
)

const formOfTests = `<div id="login-main"><form action="/hub/login?next=" method="post"><input type="hidden" name="_xsrf" value="a&amp;b"/>
<input name="username"/><input id="p" type="password" name="password"/></form></div>`

// loginOfTests is a hub with one kind of login page.
func loginOfTests(t *testing.T, page, post http.HandlerFunc) (*Proof, *[]string) {
	t.Helper()
	asked := []string{}
	mux := http.NewServeMux()
	note := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			asked = append(asked, r.Method+" "+r.URL.Path)
			h(w, r)
		}
	}
	mux.HandleFunc("GET /hub/login", note(page))
	if post != nil {
		mux.HandleFunc("POST /hub/login", note(post))
	}
	mux.HandleFunc("GET /hub/oauth_login", note(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", cmp.Or(r.URL.Query().Get("to"), "oauth_login"))
		w.WriteHeader(http.StatusFound)
	}))
	mux.HandleFunc("GET /hub/tmplogin", note(func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "jupyterhub-hub-login", Value: "x", Path: "/hub/"})
		http.Redirect(w, r, "/hub/spawn", http.StatusFound)
	}))
	mux.HandleFunc("GET /hub/api/user", note(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"name": "a-new-one"}`) }))
	mux.HandleFunc("DELETE /hub/api/users/a-new-one", note(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	p, _ := newProof(t, &hubOfTests{})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	require.NoError(t, p.prepare())
	p.door, p.hubDoor = server.URL, server.URL
	return p, &asked
}

func answers(status int, words string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, words)
	}
}

func TestTheLoginOfAFormIsTried(t *testing.T) {
	for _, status := range []int{http.StatusOK, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests} {
		p, asked := loginOfTests(t, answers(http.StatusOK, formOfTests), func(w http.ResponseWriter, r *http.Request) {
			assert.Equal(t, layout.ProbeUser, r.PostFormValue("username"))
			assert.Equal(t, "a&b", r.PostFormValue("_xsrf"))
			assert.Equal(t, "navigate", r.Header.Get("Sec-Fetch-Mode"))
			w.WriteHeader(status)
		})
		require.NoError(t, p.authenticator(t.Context()))
		assert.Equal(t, []string{"GET /hub/login", "POST /hub/login"}, *asked)
	}
}

func TestALoginThatIsAnErrorOfTheServerIsNoHubThatWorks(t *testing.T) {
	p, asked := loginOfTests(t, answers(http.StatusOK, formOfTests), answers(http.StatusInternalServerError, `<div class="error"><h1>500 : Internal Server Error</h1><p>x</p></div>`))
	err := p.authenticator(t.Context())
	require.ErrorContains(t, err, "a login that must be refused is answered with an error of the server, 500: 500 : Internal Server Error x")
	assert.Len(t, *asked, 2*loginTries)
	p, _ = loginOfTests(t, answers(http.StatusOK, formOfTests), answers(http.StatusServiceUnavailable, `<p class="login_error">The directory &amp; all</p>`))
	require.ErrorContains(t, p.authenticator(t.Context()), "503: The directory & all")
	p, _ = loginOfTests(t, answers(http.StatusInternalServerError, ""), nil)
	require.ErrorContains(t, p.authenticator(t.Context()), "the login page is answered with an error of the server, 500")
}

func button(to string) http.HandlerFunc {
	return answers(http.StatusOK, `<a href="/elsewhere">x</a><div id="login-main"><p>x</p><a role="button" href='/hub/oauth_login?to=`+to+`'>Sign in</a></div>`)
}

func TestTheLinkToAProviderIsFollowed(t *testing.T) {
	for to, words := range map[string]string{
		"https%3A%2F%2Fidp.example.org%2Fa%3Fredirect_uri%3Dx%26client_id%3Dhub": "",
		"https%3A%2F%2Fidp.example.org%2Fa%3Fredirect_uri%3Dx%26client_id%3D":    "without a client_id",
		"%3Fredirect_uri%3Dx":            "to no provider",
		"oauth_login%3Fto%3Doauth_login": "in a circle",
		"mailto%3Aa%40b":                 "no web address",
	} {
		p, asked := loginOfTests(t, button(to), nil)
		err := p.tryLogin(t.Context())
		assert.Contains(t, *asked, "GET /hub/oauth_login")
		if words == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, words)
		}
	}
}

func TestWhomALoginPageMakesDoesNotStay(t *testing.T) {
	p, asked := loginOfTests(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/hub/tmplogin", http.StatusFound) }, nil)
	require.NoError(t, p.authenticator(t.Context()))
	assert.Equal(t, []string{"GET /hub/login", "GET /hub/tmplogin", "GET /hub/api/user", "DELETE /hub/api/users/a-new-one"}, *asked)
}

func TestAHubThatIsShutIsNoHubThatIsBroken(t *testing.T) {
	p, _ := loginOfTests(t, answers(http.StatusForbidden, "JupyterHub"), nil)
	require.NoError(t, p.authenticator(t.Context()))
}
