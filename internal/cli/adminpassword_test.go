package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
)

func TestAdminPasswordFile(t *testing.T) {
	tests := []struct {
		name, text string
		admins     []string
		want       []string
		words      string
	}{
		{"one", "correct horse\n", []string{"alice"}, []string{"alice:correct horse"}, ""},
		{"without a final newline", "correct horse", []string{"alice"}, []string{"alice:correct horse"}, ""},
		{"of Windows", "correct horse\r\n", []string{"alice"}, []string{"alice:correct horse"}, ""},
		{"with a colon", "correct:horse\n", []string{"alice"}, []string{"alice:correct:horse"}, ""},
		{"with the name", "alice:correct horse\n", []string{"alice"}, []string{"alice:correct horse"}, ""},
		{"two", "bob:staple:1\n\nalice:correct horse\n", []string{"alice", "bob"}, []string{"alice:correct horse", "bob:staple:1"}, ""},
		{"one is missing", "alice:correct horse\n", []string{"alice", "bob"}, nil, "there is no line for bob"},
		{"one too many", "alice:correct horse\nbob:staple\n", []string{"alice"}, nil, "for none of the admins"},
		{"two lines for one", "correct horse\nstaple\n", []string{"alice"}, nil, "there is no line for alice"},
		{"empty", "\n", []string{"alice"}, nil, "the file is empty"},
		{"nobody", "correct horse\n", nil, nil, "there is no admin"},
		{"twice", "correct horse\n", []string{"alice:battery"}, nil, "already gives alice a password"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "password")
			require.NoError(t, os.WriteFile(file, []byte(test.text), 0o600))
			for _, from := range []string{file, "-"} {
				named, err := withPasswords(test.admins, from, strings.NewReader(test.text))
				if test.words == "" {
					require.NoError(t, err)
					assert.Equal(t, test.want, named)
					continue
				}
				require.ErrorContains(t, err, test.words)
				for _, secret := range []string{"horse", "staple", "battery"} {
					assert.NotContains(t, err.Error()+host.HintOf(err), secret)
				}
			}
		})
	}
	_, err := withPasswords([]string{"alice"}, "/nowhere/at/all", nil)
	require.ErrorContains(t, err, "no such file")
	named, err := withPasswords([]string{"alice"}, "", nil)
	require.NoError(t, err)
	assert.Equal(t, []string{"alice"}, named)
}
