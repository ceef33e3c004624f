package host

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A disk that is not mounted yet has no folder to follow the link into.
func TestWhereALinkLeads(t *testing.T) {
	root := t.TempDir()
	files := Files{Root: root}
	for link, target := range map[string]string{"home": "/data/home", "relative": "data/./home", "twice": "/home", "circle": "/circle"} {
		require.NoError(t, os.Symlink(target, filepath.Join(root, link)))
	}
	require.NoError(t, os.Mkdir(filepath.Join(root, "folder"), 0o755))
	for link, target := range map[string]string{"/home": "/data/home", "/relative": "/data/home", "/twice": "/data/home", "/circle": "", "/folder": "", "/nothing": ""} {
		assert.Equal(t, target, files.linkTarget(link), link)
	}
}
