package systemdunits

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/layout"
)

// untried are the directives of services that a preflight does not try: what they name is not there yet, or no machine refuses them.
var untried = strings.Fields(`BindReadOnlyPaths CPUSchedulingPolicy Environment EnvironmentFile ExecPaths ExecReload ExecStart ExecStartPre IOSchedulingClass InaccessiblePaths KillMode LogLevelMax MemoryAccounting MemoryMax MemoryMin Nice
	NoExecPaths ReadWritePaths Restart RestartSec RuntimeDirectory RuntimeDirectoryMode RuntimeDirectoryPreserve Slice StateDirectory StateDirectoryMode SupplementaryGroups SyslogLevel
	TimeoutStartSec TimeoutStopSec Type WorkingDirectory`)

func TestEveryLineOfAServiceIsTriedOrNamedAsUntried(t *testing.T) {
	seen := map[string]bool{}
	for _, params := range []Params{usual, unusual, own, acme, users, domain} {
		for name, file := range render(t, params) {
			_, service, ok := strings.Cut(file, "[Service]\n")
			if !ok {
				continue
			}
			service, _, _ = strings.Cut(service, "[Install]")
			for _, match := range directive.FindAllStringSubmatch(service, -1) {
				seen[match[1]] = true
				assert.True(t, slices.Contains(sandboxed, match[1]) != slices.Contains(untried, match[1]), "%s: %s", name, match[1])
			}
		}
	}
	for _, name := range slices.Concat(sandboxed, untried) {
		assert.True(t, seen[name], "no service has %s any more", name)
	}
}

func TestSandboxesAreThoseOfTheUnits(t *testing.T) {
	sandboxes, err := Sandboxes(257)
	require.NoError(t, err)
	names := []string{}
	for _, sandbox := range sandboxes {
		names = append(names, sandbox.Unit)
		for _, property := range sandbox.Properties {
			assert.NotContains(t, property, layout.Root, "%s: it is not there yet", sandbox.Unit)
		}
	}
	assert.ElementsMatch(t, []string{layout.HubUnit, layout.ProxyUnit, layout.EdgeUnit, certificateUnit, layout.WatchUnit, layout.CheckUnit, layout.FirewallUnit}, names)
	proxy := sandboxes[slices.Index(names, layout.ProxyUnit)].Properties
	assert.Contains(t, proxy, "SystemCallFilter=@system-service")
	assert.Contains(t, proxy, "SystemCallFilter=~@privileged @resources")

	older, err := Sandboxes(0)
	require.NoError(t, err)
	assert.NotContains(t, strings.Join(older[0].Properties, "\n")+strings.Join(older[1].Properties, "\n"), "ProtectProc", "it came with systemd 247")
}
