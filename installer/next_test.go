package installer

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNextSteps(t *testing.T) {
	next := func(text string, processors int) map[string]Next {
		found := map[string]Next{}
		for _, n := range nextSteps(parse(t, text), "http://192.0.2.1/", processors) {
			found[n.What] = n
		}
		return found
	}
	plain := next("{}", 4)
	for _, what := range []string{"Students", "Packages", "Limits", "HTTPS", "Status", "Manual"} {
		assert.Contains(t, plain, what)
	}
	assert.Contains(t, plain["Students"].Words, "http://192.0.2.1/hub/admin,")
	assert.Equal(t, "sudo tljh-install config set limits.cpu 2 --reload", plain["Limits"].Command)
	assert.Equal(t, "sudo tljh-install config get limits", next("limits: {cpu: 1}\n", 4)["Limits"].Command, "there is one")
	assert.Equal(t, "sudo tljh-install config get limits", next("{}", 1)["Limits"].Command, "there is nothing to share")
	assert.NotContains(t, next("https:\n  enabled: true\n  tls: {key: /k, cert: /c}\n", 4), "HTTPS")
	assert.Contains(t, plain["Students"].Words, "each chooses a password at the first login")
	assert.Contains(t, next("users: {first_login: code, class_code: maple-42-river}\n", 4)["Students"].Words, "with the class code")
	assert.Contains(t, next("users: {first_login: password}\n", 4)["Students"].Words, "password --one-time --all")
	assert.Contains(t, next("auth: {type: native}\n", 4)["Students"].Words, "who may log in")
}
