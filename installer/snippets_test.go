package installer

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/installer/hubnotes"
	"tljh/internal/host"
	"tljh/internal/layout"
)

func TestStatusNamesTheFilesThatTheHubDoesNotUse(t *testing.T) {
	files := host.Files{Root: t.TempDir()}
	require.NoError(t, os.MkdirAll(files.Path(layout.State), 0o700))
	write := func(told hubnotes.Snippets) {
		data, err := json.Marshal(told)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(files.Path(layout.Snippets), data, 0o600))
	}
	_, ok := lookAtSnippets(files)
	assert.False(t, ok)
	write(hubnotes.Snippets{})
	_, ok = lookAtSnippets(files)
	assert.False(t, ok, "there are no files")

	write(hubnotes.Snippets{Files: []string{"a.py", "b.py"}, Notes: []hubnotes.SnippetNote{{File: "b.py", Words: "c.DockerSpawner has no effect"}}})
	part, ok := lookAtSnippets(files)
	assert.True(t, ok)
	assert.Equal(t, PartStatus{Name: "jupyterhub_config.d", State: "in effect: a.py, b.py; b.py: c.DockerSpawner has no effect"}, part)

	write(hubnotes.Snippets{Files: []string{"a.py"}, Problems: []hubnotes.SnippetNote{{File: "a.py", Words: "left out as a whole"}, {File: "a.py", Words: "and more"}}, Closed: true})
	part, _ = lookAtSnippets(files)
	assert.True(t, part.Problem)
	assert.Equal(t, "a.py: left out as a whole; a.py: and more; only admins can log in until this is fixed", part.State)
	ofFiles := part.Hint
	assert.Contains(t, ofFiles, "correct the files in "+layout.ConfigD)

	write(hubnotes.Snippets{Files: []string{"plugin a"}, Problems: []hubnotes.SnippetNote{{File: "plugin a", Words: "left out as a whole"}, {File: "plugin b", Words: "and more"}}})
	part, _ = lookAtSnippets(files)
	ofPlugins := part.Hint
	assert.Contains(t, ofPlugins, "config remove hub.packages NAME")
	write(hubnotes.Snippets{Files: []string{"a.py"}, Problems: []hubnotes.SnippetNote{{File: "plugin a", Words: "left out as a whole"}, {File: "a.py", Words: "and more"}}})
	part, _ = lookAtSnippets(files)
	assert.Equal(t, ofPlugins+"; "+ofFiles, part.Hint)

	require.NoError(t, os.WriteFile(files.Path(layout.Snippets), []byte("["), 0o600))
	part, _ = lookAtSnippets(files)
	assert.True(t, part.Problem)
}
