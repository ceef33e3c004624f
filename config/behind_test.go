package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// What stands in front is written in one form, and what would open the door to everybody's claims is refused.
func TestWhatStandsInFront(t *testing.T) {
	c, report := Parse("", []byte("http:\n  public_url: https://Hub.example.org:4443/\n  trusted_proxies: [192.0.2.10, 10.1.2.3/8, '2001:DB8::1', 'unix:/run/hub/http.sock']\n"))
	assert.NoError(t, report.Err())
	assert.Equal(t, "https://hub.example.org:4443", c.HTTP.PublicURL)
	assert.Equal(t, []string{"192.0.2.10", "10.0.0.0/8", "2001:db8::1", "unix:/run/hub/http.sock"}, c.HTTP.TrustedProxies)
	for text, says := range map[string]string{
		"public_url: hub.example.org":                                     "beginning of a web address",
		"public_url: https://hub.example.org/jupyter":                     "beginning of a web address",
		"public_url: https://a:b@hub.example.org":                         "beginning of a web address",
		"public_url: https://hub.example.org:99999":                       "port",
		"trusted_proxies: [proxy.example.org]":                            "neither an address nor a network",
		"trusted_proxies: [0.0.0.0/0]":                                    "whole internet",
		"trusted_proxies: 192.0.2.10":                                     "a list",
		"trusted_proxies: ['unix:hub.sock']":                              "unix:/run/hub.sock",
		"trusted_proxies: ['unix:/tmp/hub.sock']":                         "no unix socket below /run",
		"trusted_proxies: ['unix:/run/../tmp/x']":                         "no unix socket below /run",
		"trusted_proxies: ['unix:/run/a b']":                              "no unix socket below /run",
		"trusted_proxies: ['unix:/run/user/1000/x']":                      "/run/user is for other files",
		"trusted_proxies: ['unix:/run/lock/x']":                           "/run/lock is for other files",
		"trusted_proxies: ['unix:/run/tljh-edge/x']":                      "/run/tljh-edge is for other files",
		"trusted_proxies: ['unix:/run/" + strings.Repeat("x", 103) + "']": "at most 107",
	} {
		_, report := Parse("", []byte("http:\n  "+text+"\n"))
		assert.ErrorContains(t, report.Err(), says, text)
	}
	_, report = Parse("", []byte("http:\n  public_url: http://hub.example.org\nhttps:\n  enabled: true\n  tls: {key: /k, cert: /c}\n"))
	assert.ErrorContains(t, report.Err(), "one without")
}
