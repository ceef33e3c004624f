package installer

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/layout"
)

func TestStatusTellsOfADamagedDatabase(t *testing.T) {
	for _, c := range []struct{ file, name, next string }{
		{layout.DatabaseTold, "database", "on the Admin page"},
		{layout.PasswordsTold, "passwords", "sudo tljh-install password --generate NAME"},
	} {
		h, _ := machine(t)
		assert.Empty(t, lookAtStores(h.Files))
		require.NoError(t, h.Files.MkdirAll(layout.State, rootDir))
		for text, words := range map[string]string{
			`{"since": 1, "why": "file is not a database", "aside": "/x", "copy": 86400}`: "damaged (file is not a database); a copy of 1970-01-0",
			`{"since": 1, "why": "it is empty", "aside": "/x", "copy": 0}`:                "; the damaged one is kept as /x",
			`{`: "cannot be read",
		} {
			require.NoError(t, h.Files.Write(c.file, []byte(text), secret))
			parts := lookAtStores(h.Files)
			require.Len(t, parts, 1)
			assert.True(t, parts[0].Problem)
			assert.Equal(t, c.name, parts[0].Name)
			assert.Contains(t, parts[0].State, words)
			assert.Contains(t, parts[0].Hint, c.next)
			assert.Contains(t, parts[0].Hint, "sudo rm "+c.file)
		}
	}
}
