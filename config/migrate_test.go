package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// trial are migrations as there may be some day: of a schema that called limits.memory ram, and knew the app of old notebooks by another name.
var trial = []migration{
	{"limits.ram is called memory", func(text []byte) ([]byte, error) { return rename(text, "limits.ram", "memory") }},
	{"user_environment.default_app classic is called notebook", func(text []byte) ([]byte, error) {
		app, err := Get(text, "user_environment.default_app")
		if err != nil || strings.TrimSpace(app) != "classic" {
			return text, err
		}
		return Set(text, "user_environment.default_app", "notebook")
	}},
}

// Each file of testdata/migrations is a config of schema 1, a line, and the same of schema 3; after another line, what was done.
func TestMigrations(t *testing.T) {
	files, err := filepath.Glob("testdata/migrations/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		parts := strings.Split(string(data), "=====\n")
		require.Len(t, parts, 3, file)
		got, why, err := migrate([]byte(parts[0]), 1, trial)
		require.NoError(t, err, file)
		assert.Equal(t, parts[1], string(got), file)
		assert.Equal(t, strings.TrimSpace(parts[2]), strings.Join(why, "\n"), file)
		_, report := Parse(file, got)
		assert.NoError(t, report.Err(), file)

		again, why, err := migrate(got, 3, trial)
		require.NoError(t, err)
		assert.Equal(t, string(got), string(again), file)
		assert.Empty(t, why)
	}
}

func TestSchemasThatAreNotKnown(t *testing.T) {
	for _, from := range []int{0, 4, -1} {
		_, _, err := migrate(nil, from, trial)
		assert.ErrorContains(t, err, "this program knows 1 to 3")
	}
}

func TestAConfigThatNobodyCanReadIsNotMigrated(t *testing.T) {
	_, _, err := migrate([]byte("limits: [\n"), 1, trial)
	assert.ErrorContains(t, err, "from schema 1 to 2")
}

// The product's own migrations leave a config of today alone.
func TestTheStarterNeedsNoMigration(t *testing.T) {
	text := Starter([]string{"alice"}, Network{})
	got, why, err := Migrate(text, 1)
	require.NoError(t, err)
	assert.Empty(t, why)
	assert.Equal(t, string(text), string(got))
}
