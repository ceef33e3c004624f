package environment

import (
	"os"
	"path"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWhatAdminsLeaveIsNoDamage(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	files := newFiles(t)
	put(t, files, "/etc/passwd", "tljh-env:x:900:900::/:/bin/sh\njupyter-alice:x:1001:1001::/:/bin/sh\njupyter-bob:x:1002:1002::/:/bin/sh\n")
	put(t, files, "/etc/group", "jupyterhub-admins:x:901:jupyter-alice\n")
	live := liveUser(t, files, 1)
	cached := path.Join(sitePackages(live.Path()), "pip/__pycache__/main.pyc")
	put(t, files, cached, "")
	for _, test := range []struct {
		owner int
		words []Trouble
	}{
		{0, []Trouble{}}, {900, []Trouble{}}, {1001, []Trouble{}},
		{1002, []Trouble{{Words: "lib/python3.14/site-packages/pip/__pycache__/main.pyc belongs to jupyter-bob"}}},
	} {
		require.NoError(t, os.Chown(files.Path(cached), test.owner, test.owner))
		env, err := files.Within(live.Path())
		require.NoError(t, err)
		x := &examination{env: env, found: []Trouble{}}
		require.NoError(t, x.whose(files))
		require.NoError(t, env.Close())
		assert.Equal(t, test.words, x.health().Troubles)
	}
}
