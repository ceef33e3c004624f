package fetch

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestProxyFor(t *testing.T) {
	for _, test := range []struct {
		environ, address, want string
	}{
		{"", "https://index.test/", ""},
		{"https_proxy=http://p:3128", "https://index.test/", "http://p:3128"},
		{"https_proxy=http://p:3128", "http://index.test/", ""},
		{"HTTPS_PROXY=p:3128", "https://index.test/", "http://p:3128"},
		{"all_proxy=socks5://p:1080", "http://index.test/", "socks5://p:1080"},
		{"https_proxy=http://p no_proxy=index.test", "https://index.test/", ""},
		{"https_proxy=http://p no_proxy=.test", "https://index.test/", ""},
		{"https_proxy=http://p no_proxy=other.test,ndex.test", "https://index.test/", "http://p"},
		{"https_proxy=http://p NO_PROXY=*", "https://index.test/", ""},
		{"https_proxy=http://p no_proxy=.index.test", "https://index.test/", ""},
		{"https_proxy=http://p no_proxy=*.index.test", "https://index.test/", ""},
		{"https_proxy=http://p", "https://127.0.0.1/", "http://p"},
		{"https_proxy=http://p", "https://localhost/", "http://p"},
		{"https_proxy=http://p no_proxy=10.0.0.0/8", "https://10.1.2.3/", ""},
		{"https_proxy=http://p no_proxy=10.0.0.0/8", "https://11.1.2.3/", "http://p"},
	} {
		address, err := url.Parse(test.address)
		require.NoError(t, err)
		proxy, err := ProxyFor(strings.Fields(test.environ), address)
		require.NoError(t, err)
		got := ""
		if proxy != nil {
			got = proxy.String()
		}
		assert.Equal(t, test.want, got, "%+v", test)
	}
	_, err := ProxyFor([]string{"https_proxy=http://"}, &url.URL{Scheme: "https", Host: "index.test"})
	require.ErrorContains(t, err, "proxy")
}
