package uninstall

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/installer/journal"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/step"
)

// Receipts of every format there ever was name only steps that can be taken back.
func TestTasksOfAllReceiptsCanBeUndone(t *testing.T) {
	fixtures, err := filepath.Glob("../journal/testdata/receipts/*.jsonl")
	require.NoError(t, err)
	require.NotEmpty(t, fixtures)
	for _, fixture := range fixtures {
		data, err := os.ReadFile(fixture)
		require.NoError(t, err)
		files := host.Files{Root: t.TempDir()}
		require.NoError(t, os.MkdirAll(files.Path(layout.State), 0o700))
		require.NoError(t, os.WriteFile(files.Path(layout.Receipt), data, 0o600))
		receipt, err := journal.LoadReceipt(files, time.Now)
		require.NoError(t, err)
		for _, trace := range receipt.Traces() {
			if _, _, ok := step.ByID(trace.ID); !ok {
				assert.True(t, KnownTask(trace.ID), "%s: %s", fixture, trace.ID)
			}
		}
	}
}

// A task of a later release that begins with the same words is not taken for one that needs no undoing.
func TestATaskIsKnownByItsWholeID(t *testing.T) {
	for _, id := range []string{"uv-config", "python-for-everybody", "follow the sun", "cache of somebody", "program /usr/bin/other", "older-anything"} {
		assert.False(t, KnownTask(id), id)
	}
	assert.True(t, KnownTask("uv"))
	assert.True(t, KnownTask(HomesTask+"/srv/homes"))
}
