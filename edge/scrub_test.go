package edge

import (
	"io"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUserPath(t *testing.T) {
	for path, want := range map[string]struct {
		name string
		odd  bool
	}{
		"/user/alice/": {"alice", false}, "/user/alice": {"alice", false}, "/user/a%40b/lab": {"a@b", false}, "/user/alice/files/x%2Fy": {"alice", false},
		"/user/": {}, "/user": {}, "/hub/user/alice/": {}, "/userx/alice": {}, "/": {}, "/user/../hub/home": {}, "/user/alice/../../hub/home": {},
		"/hub/../user/alice/": {"alice", true}, "//user/alice/": {"alice", true}, "/user%2falice/x": {"alice", true}, "/%75ser/alice/": {"alice", true},
		// The proxy decodes after it has tidied, and takes what follows two slashes for a host.
		"/user/alice/..%2f..%2fx": {"alice", true}, "/user/alice/..%5c..%5cx": {"alice", true}, "/user/alice/%2e%2e%2f../hub/home": {"alice", true},
		"/user/alice/..%2fbob/": {"alice", true}, "//evil.test/user/alice/x": {"alice", true}, "///evil.test/user/alice": {"alice", true},
		"//evil.test/hub/home": {}, "/hub/%2e%2e/user/alice/": {"alice", true}, "/user/%2e%2e/%2e%2e/hub/": {}, "/user/al%ffce/x": {"al\xffce", false},
		"/user/alice/../bob/": {"bob", true}, `/user\alice/`: {"alice", true}, "/user/alice/%2e%2e/bob/": {"bob", true}, "/user/alice/./x": {"alice", true},
	} {
		address, err := url.ParseRequestURI(path)
		require.NoError(t, err)
		name, ok, odd := userPath("/", address)
		require.Equal(t, want.name, name, path)
		require.Equal(t, want.name != "", ok, path)
		require.Equal(t, want.odd, odd && ok, path)
	}
	name, ok, _ := userPath("/jupyter/", &url.URL{Path: "/jupyter/user/alice/lab"})
	require.Equal(t, "alice", name)
	require.True(t, ok)
	_, ok, _ = userPath("/jupyter/", &url.URL{Path: "/user/alice/lab"})
	require.False(t, ok)
}

func TestOwnCookies(t *testing.T) {
	for given, want := range map[string]string{
		"a=b; Path=/user/alice/":                  "a=b; Path=/user/alice/",
		"a=b; HttpOnly; path=/user/alice; Secure": "a=b; HttpOnly; Secure; Path=/user/alice",
		"a=b":                                      "a=b; Path=/user/alice/",
		"a=b; Path=":                               "a=b; Path=/user/alice/",
		`a=b; Path="/"`:                            "a=b; Path=/user/alice/",
		"a=b; Domain=; Path=/user/alice/x":         "a=b; Path=/user/alice/x",
		"a=b; Path=/":                              "",
		"a=b; Path=/hub/":                          "",
		"a=b; Path=/user/alice/; Path=/":           "",
		"a=b; Path=/; Path=/user/alice/":           "a=b; Path=/user/alice/",
		"a=b; Path=/user/alicex/":                  "",
		"a=b; Path=/user":                          "",
		"a=b; Path=/user/alice/; Domain=hub.test":  "",
		"a=b; Path=/user/alice/;\tDOMAIN = .x":     "",
		"a=b; Path=/user/bob/":                     "",
		"a=b; Max-Age=5; Path=/user/alice/lab; x":  "a=b; Max-Age=5; x; Path=/user/alice/lab",
		"_xsrf=2|x|y; Path=/user/%61lice/; foo=1 ": "_xsrf=2|x|y; foo=1 ; Path=/user/%61lice/",
	} {
		got, ok := ownCookie(given, "/user/alice")
		require.Equal(t, want, got, given)
		require.Equal(t, want != "", ok, given)
	}
	got, _ := ownCookie("a=b", "/user/j ü@x")
	require.Equal(t, "a=b; Path=/user/j%20%C3%BC@x/", got)
}

func TestOwnLinksAndRefreshes(t *testing.T) {
	from := &url.URL{Path: "/user/alice/lab/tree"}
	for value, want := range map[string]bool{
		"</user/alice/static/x.css>; rel=preload":        true,
		"<x.css>; rel=preload, <../y.js>; rel=preload":   true,
		"</hub/home>; rel=prefetch":                      false,
		"<x.css>; rel=preload, </hub/api>; rel=prefetch": false,
		"<//evil.test/x>; rel=preload":                   false,
		"<https://hub.test/hub/>; rel=prerender":         false,
		`<\\hub.test\hub>; rel=prefetch`:                 false,
		"<../../../hub/home>; rel=prefetch":              false,
		"<x; rel=preload":                                false,
	} {
		require.Equal(t, want, ownLinks(value, from, "/user/alice"), value)
	}
	for value, want := range map[string]bool{
		"5": true, "0; url=/user/alice/lab": true, "0;url=tree": true, "0; URL='/hub/logout'": false, "1, url=//evil.test": false, "0; /hub/home": false, "0/hub": false,
	} {
		require.Equal(t, want, ownRefresh(value, from, "/user/alice"), value)
	}
}

// What a user's server answers reaches no further than its own path; other answers are left as they are.
func TestAnswersOfUsersServersAreScrubbed(t *testing.T) {
	sent := map[string]string{
		"Service-Worker-Allowed": "/", "Clear-Site-Data": `"*"`, "Strict-Transport-Security": "max-age=1", "NEL": "{}", "Report-To": "{}",
		"Reporting-Endpoints": `a="/hub/"`, "Alt-Svc": `h2="evil.test:443"`, "Origin-Agent-Cluster": "?1", "Accept-CH": "x", "Speculation-Rules": `"/x"`,
		"Set-Login": "logged-out", "Refresh": "0; url=/hub/logout", "Link": "</hub/home>; rel=prefetch", "Use-As-Dictionary": `match="/*"`,
	}
	upstream := newBehind(t, func(w http.ResponseWriter, r *http.Request) {
		for name, value := range sent {
			w.Header().Set(name, value)
		}
		w.Header().Add("Set-Cookie", "jupyterhub-session-id=x; Path=/")
		w.Header().Add("Set-Cookie", "own=1; Path=/user/alice/")
		if r.URL.Path != "/hub/home" {
			w.Header().Set("Link", "</hub/home>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
		}
		w.Header().Set("X-Cookies", r.Header.Get("Cookie"))
		_, _ = io.WriteString(w, "ok")
	}).start()
	door := open(t, Options{Upstream: upstream.address})
	for _, path := range []string{"/user/alice/lab", "/user/alice", "//user/alice/", "/user%2falice/", "/x/../user/alice/", "/user/alice/..%2f..%2fx",
		"/user/alice/..%5c..%5cx", "//evil.test/user/alice/x"} {
		response, body := door.get(t, path, "Cookie", "a=1; jupyterhub-hub-login=secret; b=2", "Cookie", "jupyterhub-hub-login=secret")
		require.Equal(t, "ok", body)
		for name := range sent {
			require.Empty(t, response.Header.Get(name), "%s of %s", name, path)
		}
		require.Equal(t, []string{"own=1; Path=/user/alice/"}, response.Header["Set-Cookie"], path)
		require.Equal(t, "a=1; b=2", response.Header.Get("X-Cookies"))
	}
	response, _ := door.get(t, "/hub/home", "Cookie", "jupyterhub-hub-login=mine")
	require.Equal(t, "/", response.Header.Get("Service-Worker-Allowed"))
	require.Len(t, response.Header["Set-Cookie"], 2)
	require.Equal(t, "jupyterhub-hub-login=mine", response.Header.Get("X-Cookies"))
}

func TestEarlyHintsOfUsersServersEndHere(t *testing.T) {
	upstream := newBehind(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</hub/home>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "ok")
	}).start()
	door := open(t, Options{Upstream: upstream.address})
	conn, reader := door.raw(t, "GET /user/alice/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	defer conn.Close()
	text, err := io.ReadAll(reader)
	require.NoError(t, err)
	require.Contains(t, string(text), "200 OK")
	require.NotContains(t, string(text), "103")
	require.NotContains(t, string(text), "preload")
}
