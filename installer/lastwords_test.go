package installer

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
	"tljh/internal/layout"
)

func TestOpenPortsAreSaid(t *testing.T) {
	files := host.Files{Root: t.TempDir()}
	require.NoError(t, os.MkdirAll(files.Path(layout.Runtime), 0o755))
	advice := func() []string { return adviceFor(files, parse(t, "https: {enabled: true}\n")) }
	write := func(state string) {
		t.Helper()
		require.NoError(t, files.Write(layout.Firewall, []byte(state), host.Attr{Mode: 0o644}))
	}
	_, known := lookAtFirewall(files)
	assert.False(t, known, "nobody has looked yet")

	write(`{"closed": true}`)
	part, known := lookAtFirewall(files)
	assert.True(t, known)
	assert.Equal(t, "closed to other machines", part.State)
	assert.Empty(t, part.Hint)
	assert.NotContains(t, advice(), "students' processes")

	write(`{"closed": false, "why": "this kernel has no nf_tables"}`)
	part, _ = lookAtFirewall(files)
	assert.Equal(t, "open to other machines: this kernel has no nf_tables", part.State)
	assert.Contains(t, part.Hint, "serve the hub over HTTPS")
	assert.Contains(t, advice(), "Ports that students' processes open can be reached from other machines: this kernel has no nf_tables.")
}
