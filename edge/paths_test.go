package edge

import (
	"net"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBaseURL(t *testing.T) {
	for text, want := range map[string]string{"": "/", "/": "/", "//": "/", "kurs": "/kurs/", "/a/b": "/a/b/", "/a/": "/a/"} {
		require.Equal(t, want, baseURL(text), text)
	}
}

func TestLocate(t *testing.T) {
	cases := []struct {
		base, path string
		where      place
		ask        string
	}{
		{"/", "/", ofHub, "/hub/health"},
		{"/", "/hub/login", ofHub, "/hub/health"},
		{"/", "/favicon.ico", ofHub, "/hub/health"},
		{"/", "/user", ofHub, "/hub/health"},
		{"/", "/user/", ofHub, "/hub/health"},
		{"/", "/users/a/b", ofHub, "/hub/health"},
		{"/", "/user/a", ofUser, "/user/a/api"},
		{"/", "/user/a%2Fb/lab", ofUser, "/user/a%2Fb/api"},
		{"/", "/user/a/files/hub/user/x", ofUser, "/user/a/api"},
		{"/", "/services/grades/x", ofService, "/hub/health"},
		{"/kurs/", "/kurs/user/a/lab", ofUser, "/kurs/user/a/api"},
		{"/kurs/", "/kurs/hub/", ofHub, "/kurs/hub/health"},
		{"/kurs/", "/kurs/", ofHub, "/kurs/hub/health"},
		{"/kurs/", "/kurs", outside, ""},
		{"/kurs/", "/user/a", outside, ""},
		{"/", "*", outside, ""},
	}
	for _, c := range cases {
		address, err := url.Parse(c.path)
		require.NoError(t, err)
		where, ask := locate(c.base, address)
		require.Equal(t, c.where, where, c.path)
		require.Equal(t, c.ask, ask, c.path)
	}
}

func TestNamesInAddressesAreWrittenAsTheHubDoes(t *testing.T) {
	cases := []struct{ base, path, want string }{
		{"/", "/user/dana%40example.org/proxy/80/a%40b", "/user/dana@example.org/proxy/80/a%40b"},
		{"/", "/user/%7ebob", "/user/~bob"},
		{"/kurs/", "/kurs/user/a%40b/", "/kurs/user/a@b/"},
		{"/", "/user/a@b/lab", "/user/a@b/lab"},
		{"/", "/user/z%C3%AB/lab", "/user/z%C3%AB/lab"},
		{"/", "/user/a%2540b/x", "/user/a%2540b/x"},
		{"/", "/user/a%40b%2Fc/x", "/user/a@b%2Fc/x"},
		{"/", "/hub/user/a%40b/", "/hub/user/a%40b/"},
		{"/kurs/", "/user/a%40b/", "/user/a%40b/"},
		{"/", "/user/x/%40", "/user/x/%40"},
	}
	for _, c := range cases {
		address, err := url.Parse(c.path)
		require.NoError(t, err)
		before := address.Path
		writeNameAsHub(c.base, address)
		require.Equal(t, c.want, address.EscapedPath(), c.path)
		require.Equal(t, before, address.Path, c.path)
	}
}

func TestLinks(t *testing.T) {
	near, far := net.Pipe()
	links := &links{}
	require.False(t, links.settled(), "nobody has answered yet")
	conn := links.add(near)
	links.settle(links.state())
	require.True(t, links.settled())
	early := links.state()
	require.NoError(t, far.Close())
	_, err := conn.Read(make([]byte, 1))
	require.Error(t, err)
	require.False(t, links.settled(), "the other side ended the connection")
	links.settle(early)
	require.False(t, links.settled(), "that answer came from before")
	links.settle(links.state())
	require.True(t, links.settled())
	require.NoError(t, conn.Close())
	require.False(t, links.settled(), "nothing is left by which a restart could be noticed")
	require.ErrorIs(t, conn.Close(), nil)
	links.settle(links.state())
	second, _ := net.Pipe()
	require.NoError(t, links.add(second).Close())
	require.False(t, links.settled())
}
