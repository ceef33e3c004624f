package installer

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/check"
	"tljh/internal/host"
)

// finding is what one check of the preflight says before an adoption or an installation.
func (s *wholeSite) finding(i *Installer, in *Inputs, name string) check.Finding {
	s.t.Helper()
	for _, row := range preflightChecks {
		if row.Name == name {
			return row.Run(s.t.Context(), &preflight{Env: i.checkEnv(in), installer: i, in: in})
		}
	}
	s.t.Fatalf("there is no check %s", name)
	return check.Finding{}
}

// What is typed after --ignore-preflight is told apart by command, and named in the refusal of a wrong name.
func TestWhichChecksCanBePassedOver(t *testing.T) {
	install, upgrade := CheckNames(), UpgradeCheckNames()
	assert.Contains(t, install, "hooks")
	assert.NotContains(t, install, "health")
	assert.NotContains(t, install, "older-tljh", "nothing can be taken over without it")
	assert.Contains(t, upgrade, "health")
	assert.NotContains(t, upgrade, "hooks")
	for _, row := range check.Machine {
		assert.Contains(t, install, row.Name)
		assert.Contains(t, upgrade, row.Name)
	}
	err := KnownChecks([]string{"memory", "memry"})
	require.ErrorContains(t, err, `"memry"`)
	for _, name := range install {
		assert.Contains(t, host.HintOf(err), name)
	}
}

func TestChecksHaveNamesOfTheirOwn(t *testing.T) {
	seen := []string{}
	for _, row := range preflightChecks {
		assert.Regexp(t, `^[a-z]+(-[a-z]+)*$`, row.Name)
		assert.False(t, slices.Contains(seen, row.Name), row.Name)
		assert.NotEmpty(t, row.Title, row.Name)
		seen = append(seen, row.Name)
	}
}

// A check that may be passed over says how; one without which nothing can be done does not.
func TestThatAnotherCommandIsAtWorkIsSaidOnce(t *testing.T) {
	busy := check.Finding{Name: "lock", Severity: check.Failed, Message: "another command is changing this installation: process 42", Hint: "wait"}
	assert.EqualError(t, (&RefusedError{Findings: []check.Finding{busy}}).withWay(nil), "another command is changing this installation: process 42")
}

func TestTheWayOutOfARefusal(t *testing.T) {
	refusal := func(names ...string) string {
		refused := &RefusedError{}
		for _, name := range names {
			refused.Findings = append(refused.Findings, check.Finding{Name: name, Message: "root, process 7", Hint: "wait"})
		}
		return host.HintOf(refused.withWay(CheckNames()))
	}
	assert.NoError(t, (&RefusedError{}).withWay(nil))
	assert.Contains(t, refusal("memory", "lock"), "--ignore-preflight memory")
	assert.NotContains(t, refusal("older-hub"), "--ignore-preflight")
	assert.Equal(t, "wait", refusal("lock"))
}
