package cli

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWhatAnAuthenticatorSays(t *testing.T) {
	yes := true
	for words, answer := range map[string]authAnswer{
		"alice could log in.":                                       {OK: true, Tried: true},
		"alice could log in, as an admin.":                          {OK: true, Tried: true, Admin: &yes},
		"alice could not log in: the password is wrong":             {Tried: true, Reason: "the password is wrong"},
		"cannot be checked from here: users log in on another site": {Reason: "users log in on another site"},
	} {
		assert.Equal(t, words, answer.verdict("alice"))
	}
}
