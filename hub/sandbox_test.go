package hub

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSandboxOfServersIsThatOfTheSpawner(t *testing.T) {
	sandbox := ServerSandbox()
	for _, property := range []string{"OOMPolicy=continue", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "ProtectSystem=full", "SystemCallErrorNumber=EPERM"} {
		assert.Contains(t, sandbox, property)
	}
	assert.Greater(t, len(sandbox), 20)
}

func TestATableThatIsNotUnderstoodIsAnError(t *testing.T) {
	code := "COMMON = {\n    # why\n    \"OOMPolicy\": \"continue\",  # a reason\n}\nOTHER = {\n    \"A\": \"b\",\n}\nCONFINED = {\n    \"LockPersonality\": \"yes\",\n}\n"
	found, err := sandboxIn(code)
	require.NoError(t, err)
	assert.Equal(t, []string{"OOMPolicy=continue", "LockPersonality=yes"}, found)
	_, err = sandboxIn(strings.Replace(code, `"yes"`, "yes_or_no()", 1))
	assert.ErrorContains(t, err, "CONFINED")
}
