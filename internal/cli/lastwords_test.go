package cli

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"tljh/installer"
)

// A terminal of 80 columns breaks no line of the last words inside a word, and colours change nothing of what they say.
func TestLastWordsFitIntoEightyColumns(t *testing.T) {
	result := &installer.Result{
		Changed: true, Addresses: []string{"http://192.0.2.1/", "http://[2001:db8::1]/"}, Seconds: 24, Received: 224e6,
		Admins:  []installer.AdminResult{{Name: "alice", Password: "abcdefghijklmnop"}, {Name: "bob", Kept: true}},
		Origins: installer.Origins{State: "not separate: a page of a student's server can act on the hub as anyone who opens it", Hint: "to separate them: sudo tljh-install config set hub.user_port 8443 --reload"},
		Memory:  installer.Memory{Limit: "1792M", Auto: true, All: "7G"},
		Advice:  []string{"Ports that students' processes open can be reached from other machines: nft is not there."},
		Next: []installer.Next{
			{What: "Students", Words: "add their names at http://192.0.2.1/hub/admin, one a line; each chooses a password at the first login"},
			{What: "Limits", Command: "sudo tljh-install config set limits.cpu 2 --reload", Words: "keeps one server from taking all 4 processors of this machine"},
		},
	}
	text := resultText(result, false, 80)
	for _, line := range strings.Split(text, "\n") {
		assert.LessOrEqual(t, len([]rune(line)), 80, line)
	}
	assert.Contains(t, text, "\nNext\n\n  Students  add their names at http://192.0.2.1/hub/admin, one a line;")
	assert.Contains(t, text, "To separate them: sudo tljh-install config set hub.user_port 8443 --reload\n", "a command stays on one line")
	assert.Contains(t, text, "  sudo tljh-install config set limits.cpu 2 --reload\n", "a command ends its line")
	painted := resultText(result, true, 80)
	assert.Contains(t, painted, "\x1b[1mNext\x1b[0m")
	assert.Equal(t, text, strings.NewReplacer("\x1b[1m", "", "\x1b[0m", "").Replace(painted))
}
