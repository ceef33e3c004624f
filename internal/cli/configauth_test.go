package cli

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWhatAnAuthenticatorSays(t *testing.T) {
	yes := true
	for words, answer := range map[string]authAnswer{
		"alice would be let in.":                                  {OK: true, Tried: true},
		"alice would be let in, as an admin.":                     {OK: true, Tried: true, Admin: &yes},
		"alice would not be let in: the password is wrong":        {Tried: true, Reason: "the password is wrong"},
		"cannot be tried from here: users log in on another site": {Reason: "users log in on another site"},
	} {
		assert.Equal(t, words, answer.verdict("alice"))
	}
}
