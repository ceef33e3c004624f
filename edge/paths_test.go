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
