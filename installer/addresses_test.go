package installer

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
)

// The address that is shown is the one at which the hub works: with a name of its own, that name.
func TestTheHubIsShownUnderItsOwnName(t *testing.T) {
	files := host.Files{Root: t.TempDir()}
	for text, want := range map[string]string{
		"hub: {domain: hub.example.org}": "http://hub.example.org/",
		"hub: {domain: hub.example.org, user_domain: users.example.org}\nhttp: {port: 8080}":                                                                      "http://hub.example.org:8080/",
		"hub: {user_domain: users.example.org}\nbase_url: /a/":                                                                                                    "http://users.example.org/a/",
		"hub: {domain: hub.example.org, user_domain: users.example.org}\nhttps: {enabled: true, letsencrypt: {email: a@example.org, domains: [www.example.org]}}": "https://hub.example.org/",
		"http: {address: 192.0.2.7}":                                                                           "http://192.0.2.7/",
		"http: {address: 192.0.2.7}\nhub: {domain: hub.example.org}":                                           "http://hub.example.org/",
		"http: {address: 127.0.0.1, port: 8000}\nhttps: {enabled: false}":                                      "http://127.0.0.1:8000/",
		"http: {address: 192.0.2.7}\nhttps: {enabled: true, address: '2001:db8::7', tls: {key: /k, cert: /c}}": "https://[2001:db8::7]/",
		"hub: {domain: hub.example.org}\nhttp: {public_url: 'https://front.example.org'}":                      "https://front.example.org/",
	} {
		assert.Equal(t, []string{want}, addresses(files, parse(t, text)), text)
	}
}

// What an installation and status say names no file that is not on the server.
func TestHintsNameNoPageThatIsNotOnTheServer(t *testing.T) {
	said := originsOf(parse(t, "")).Hint
	for _, text := range []string{"", "auth: {type: pam}"} {
		for _, next := range nextSteps(parse(t, text), "http://192.0.2.1/", 4) {
			said += next.Command + next.Words
		}
	}
	assert.NotContains(t, said, ".md")
	assert.Contains(t, said, "sudo tljh-install config set hub.user_port 8443 --reload")
}

// An address that no interface has is found before it is put into effect; one that the machine lost is a problem of it.
func TestAnAddressThatTheMachineLacks(t *testing.T) {
	lost := parse(t, "http: {address: 192.0.2.7}")
	err := addressesThere(lost, parse(t, ""))
	var bad *BadInput
	require.ErrorAs(t, err, &bad)
	assert.EqualError(t, err, "no network interface of this machine has the address 192.0.2.7 (http.address of the config)")
	assert.Contains(t, host.HintOf(err), "sudo tljh-install config unset http.address --reload")
	require.NoError(t, addressesThere(lost, lost), "in effect already: it may come back")
	require.NoError(t, addressesThere(parse(t, "http: {address: 127.0.0.1}"), nil))
	require.NoError(t, addressesThere(parse(t, "https: {address: 192.0.2.7}"), nil), "not in use")

	assert.Empty(t, lookAtAddresses(parse(t, "http: {address: 127.0.0.1}")))
	parts := lookAtAddresses(lost)
	require.Len(t, parts, 1)
	assert.True(t, parts[0].Problem)
	assert.Contains(t, parts[0].State, "192.0.2.7")
}
