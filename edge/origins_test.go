package edge

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// apart is an edge that serves single-user servers on an origin of their own.
type apart struct {
	hub, users string // host:port
}

func openApart(t *testing.T, origins Origins) apart {
	t.Helper()
	upstream := newBehind(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "served "+r.URL.Path) }).start()
	hub, users := newListener(t), newListener(t)
	doors := []Door{{Listener: hub, Scheme: schemeHTTP}}
	if origins.UserDomain == "" {
		origins.UserPort = portOf(users.Addr())
		doors = append(doors, Door{Listener: users, Scheme: schemeHTTP, Users: true})
	}
	server := New(Options{Upstream: upstream.address, Origins: origins, Log: &notes{}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, doors...) }()
	t.Cleanup(func() { cancel(); <-ended })
	return apart{hub.Addr().String(), users.Addr().String()}
}

// askAt sends a request to an address with any Host, and returns the status and the target of a redirect or the body.
func askAt(t *testing.T, method, address, host, path string, header ...string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+path, nil)
	require.NoError(t, err)
	if host != "" {
		request.Host = host
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := client(t).Transport.RoundTrip(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	if target := response.Header.Get("Location"); target != "" {
		return response.StatusCode, target
	}
	return response.StatusCode, string(body)
}

func TestAPortForSingleUserServers(t *testing.T) {
	a := openApart(t, Origins{})
	get := func(address, path string, header ...string) (int, string) {
		return askAt(t, "GET", address, "", path, header...)
	}
	expect := func(status int, text string) func(int, string) {
		return func(got int, body string) {
			t.Helper()
			require.Equal(t, status, got, body)
			require.Contains(t, body, text)
		}
	}
	expect(200, "served /user/alice/lab")(get(a.users, "/user/alice/lab"))
	expect(200, "served /hub/home")(get(a.hub, "/hub/home"))
	expect(302, "http://"+a.users+"/user/alice/lab?x=1&y=%2F")(get(a.hub, "/user/alice/lab?x=1&y=%2F"))
	expect(302, "http://"+a.hub+"/hub/api/oauth2/authorize?client_id=a")(get(a.users, "/hub/api/oauth2/authorize?client_id=a"))
	expect(302, "http://"+a.hub+"/")(get(a.users, "/"))
	expect(302, "http://"+a.hub+"/services/x/")(get(a.users, "/services/x/"))
	expect(421, "served at")(askAt(t, "POST", a.users, "", "/hub/login"))
	expect(421, "served at")(askAt(t, "PUT", a.hub, "", "/user/alice/api/contents/x"))
	expect(400, "not valid")(get(a.hub, "//user/alice/"))
	expect(400, "not valid")(get(a.users, "/user/alice/../bob/x"))
	for _, path := range []string{"/user/alice/..%2f..%2fx", "/user/alice/..%5c..%5cx", "//evil.test/user/alice/x"} {
		expect(400, "not valid")(get(a.hub, path)) // the proxy leads it to alice's server
	}
	expect(302, a.hub)(get(a.users, "/user/alice/../../hub/home"))
	// Programs with a token may use either port; browsers with cookies may not.
	expect(200, "served")(get(a.hub, "/user/alice/api", "Authorization", "token x"))
	expect(302, a.users)(get(a.hub, "/user/alice/api", "Authorization", "token x", "Cookie", "a=b"))
}

// What a page of a single-user server makes a browser send to the hub is refused; what a person does there is not.
func TestTheHubRefusesRequestsOfUsersPages(t *testing.T) {
	a := openApart(t, Origins{})
	b := openApart(t, Origins{UserDomain: "users.test", HubDomain: "hub.test"})
	for name, c := range map[string]struct{ address, host, own, users string }{
		"port": {a.hub, a.hub, "http://" + a.hub, "http://" + a.users}, "domain": {b.hub, "hub.test", "http://hub.test", "http://mallory.users.test"},
	} {
		for _, x := range []struct {
			method, header string
			status         int
		}{
			{"PATCH", "Origin: USERS", 403}, {"POST", "Origin: USERS", 403}, {"OPTIONS", "Origin: USERS", 403}, {"GET", "Origin: USERS", 403},
			{"POST", "Origin: null", 403}, {"POST", "Origin: null|Sec-Fetch-Site: same-site", 403}, {"POST", "Origin: null|Sec-Fetch-Site: cross-site", 200},
			{"GET", "Sec-Fetch-Site: same-site|Sec-Fetch-Mode: no-cors|Sec-Fetch-Dest: image|Referer: USERS/user/mallory/", 403},
			{"GET", "Sec-Fetch-Site: same-site|Sec-Fetch-Mode: no-cors|Sec-Fetch-Dest: image", 403},
			{"GET", "Sec-Fetch-Site: same-site|Sec-Fetch-Mode: navigate|Sec-Fetch-Dest: iframe|Referer: USERS/", 403},
			{"POST", "Sec-Fetch-Site: same-site|Sec-Fetch-Mode: navigate|Sec-Fetch-Dest: document|Origin: USERS", 403},
			{"GET", "Sec-Fetch-Site: same-site|Sec-Fetch-Mode: navigate|Sec-Fetch-Dest: document|Referer: USERS/", 200},
			{"GET", "", 200}, {"POST", "", 200}, {"POST", "Origin: OWN|Sec-Fetch-Site: same-origin", 200}, {"GET", "Sec-Fetch-Site: none", 200},
			{"POST", "Origin: https://lms.example|Sec-Fetch-Site: cross-site", 200},
		} {
			var header []string
			for part := range strings.SplitSeq(x.header, "|") {
				if key, value, ok := strings.Cut(part, ": "); ok {
					header = append(header, key, strings.NewReplacer("USERS", c.users, "OWN", c.own).Replace(value))
				}
			}
			status, body := askAt(t, x.method, c.address, c.host, "/hub/api/users/mallory", header...)
			require.Equal(t, x.status, status, "%s: %s %s: %s", name, x.method, x.header, body)
		}
	}
}

// Where browsers say where a request begins, a page of a user's has the hub start or end nothing just by opening an address of it.
func TestTheHubStartsNothingForUsersPages(t *testing.T) {
	a := openApart(t, Origins{})
	for _, x := range []struct {
		site, path, want string
		status           int
	}{
		{"same-site", "/hub/spawn/alice", "/hub/home", 302}, {"same-site", "/hub/spawn", "/hub/home", 302}, {"same-site", "/hub/logout", "/hub/home", 302},
		{"same-site", "/hub/%73pawn/alice", "/hub/home", 302}, {"same-site", "//x/hub/spawn", "/hub/home", 302}, {"same-site", "/hub/home", "served /hub/home", 200},
		{"same-origin", "/hub/spawn/alice", "served /hub/spawn/alice", 200}, {"none", "/hub/spawn/alice", "served /hub/spawn/alice", 200},
		{"cross-site", "/hub/spawn/alice", "served /hub/spawn/alice", 200}, {"", "/hub/logout", "served /hub/logout", 200}, {"same-site", "/hub/spawned", "served /hub/spawned", 200},
	} {
		status, got := askAt(t, "GET", a.hub, "", x.path, "Sec-Fetch-Site", x.site, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")
		require.Equal(t, x.status, status, "%s %s: %s", x.site, x.path, got)
		require.Equal(t, x.want, got, "%s %s", x.site, x.path)
	}
}

func TestADomainForSingleUserServers(t *testing.T) {
	a := openApart(t, Origins{UserDomain: "users.test", HubDomain: "hub.test"})
	_, port, err := net.SplitHostPort(a.hub)
	require.NoError(t, err)
	for _, x := range []struct {
		host, path string
		status     int
		want       string
	}{
		{"hub.test", "/hub/home", 200, "served /hub/home"},
		{"hub.test", "/user/alice/lab?a", 302, "http://alice.users.test/user/alice/lab?a"},
		{"hub.test:" + port, "/user/alice/lab", 302, "http://alice.users.test:" + port + "/user/alice/lab"},
		{"alice.users.test", "/user/alice/lab", 200, "served /user/alice/lab"},
		{"ALICE.users.test.", "/user/alice/lab", 200, "served /user/alice/lab"},
		{"alice.users.test", "/user/bob/lab", 302, "http://bob.users.test/user/bob/lab"},
		{"alice.users.test", "/hub/home", 302, "http://hub.test/hub/home"},
		{"x.alice.users.test", "/user/alice/", 302, "http://alice.users.test/user/alice/"},
		{"alice.users.test:" + port, "/", 302, "http://hub.test:" + port + "/"},
		{"hub.test", "/user/J%C3%BCrgen/", 302, "http://" + label("jürgen") + ".users.test/user/J%C3%BCrgen/"},
		{"users.test", "/hub/home", 200, "served /hub/home"},
		{"127.0.0.1", "/hub/home", 200, "served /hub/home"},
	} {
		status, got := askAt(t, "GET", a.hub, x.host, x.path)
		require.Equal(t, x.status, status, "%s%s: %s", x.host, x.path, got)
		require.Equal(t, x.want, got, "%s%s", x.host, x.path)
	}
}

// No two users share a name, whatever they are called.
func TestLabels(t *testing.T) {
	require.Equal(t, "alice", label("Alice"))
	for user, want := range map[string]string{ // the hub's Python has the same: hub/tests/test_origins.py
		"a-1": "a-1", "jürgen": "u-19b720a911fced55aecd", "a.b": "u-2e7336dc8eba87ef472d", "u-x": "u-1275a32ada4ff619a56b", strings.Repeat("a", 40): strings.Repeat("a", 40),
	} {
		require.Equal(t, want, label(user))
	}
	seen := map[string]string{}
	for _, user := range []string{"alice", "a.b", "a-b", "a_b", "a@b.c", "u-x", label("a.b"), "-a", "a-", "a--b", "jürgen", strings.Repeat("a", 41), "1234", "www"} {
		name := label(user)
		require.Regexp(t, `^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`, name)
		require.Empty(t, seen[name], "%s and %s", user, seen[name])
		seen[name] = user
	}
}
