package installer

import (
	"testing"

	"github.com/stretchr/testify/assert"

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
		"hub: {domain: hub.example.org}\nhttp: {public_url: 'https://front.example.org'}":                                                                         "https://front.example.org/",
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
