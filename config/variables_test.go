package config

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The hub's table of servers' variables and the names that a config cannot set are one.
func TestVariablesThatTheHubSetsAreRefusedOrHonoured(t *testing.T) {
	text, err := os.ReadFile("../hub/src/tljh/variables.py")
	require.NoError(t, err)
	rows := regexp.MustCompile(`(?m)^    "([A-Za-z_]+)": \((HONOURED|JOINED|REFUSED), `).FindAllStringSubmatch(string(text), -1)
	require.Greater(t, len(rows), 20)
	refused := []string{}
	for _, row := range rows {
		_, report := Parse("c.yaml", []byte("user_environment: {variables: {"+row[1]+": x}}\n"))
		if row[2] != "REFUSED" {
			assert.NoError(t, report.Err(), row[1])
			continue
		}
		refused = append(refused, row[1])
		require.Error(t, report.Err(), row[1])
		assert.Contains(t, report.Err().Error(), row[1]+" cannot be set here: "+ownVariables[row[1]])
	}
	for name, reason := range ownVariables {
		assert.Contains(t, refused, name)
		assert.NotEmpty(t, reason, name)
	}
	prefixes := regexp.MustCompile(`(?m)^PREFIXES = \((.*)\)$`).FindStringSubmatch(string(text))
	require.NotNil(t, prefixes)
	found := strings.Split(strings.ReplaceAll(prefixes[1], `"`, ""), ", ")
	slices.Sort(found)
	ours := slices.Sorted(slices.Values(ownPrefixes))
	assert.Equal(t, ours, found)
}
