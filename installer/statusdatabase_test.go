package installer

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/layout"
)

func TestStatusTellsOfADamagedDatabase(t *testing.T) {
	h, _ := machine(t)
	_, told := lookAtDatabase(h.Files)
	assert.False(t, told)
	require.NoError(t, h.Files.MkdirAll(layout.State, rootDir))
	for text, words := range map[string]string{
		`{"since": 1, "why": "file is not a database", "aside": "/x", "copy": 86400}`: "was damaged (file is not a database); a copy of 1970-01-0",
		`{"since": 1, "why": "it is empty", "aside": "/x", "copy": 0}`:                "there was no copy: it began empty; the damaged one is kept as /x",
		`{`: "cannot be read",
	} {
		require.NoError(t, h.Files.Write(layout.DatabaseTold, []byte(text), secret))
		part, told := lookAtDatabase(h.Files)
		assert.True(t, told && part.Problem)
		assert.Contains(t, part.State, words)
		assert.Contains(t, part.Hint, "sudo rm "+layout.DatabaseTold)
	}
}
