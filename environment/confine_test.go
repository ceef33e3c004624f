package environment

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
	"tljh/internal/host/hosttest"
	"tljh/internal/layout"
)

// What may run code of others, conda and uv with its builds above all, runs as the environment's account, enclosed, and changes nothing but the environment.
func TestPackagesAreInstalledAsTheEnvironmentsAccount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("changes owners")
	}
	files := host.Files{Root: t.TempDir()}
	const dir, uid, gid = layout.Generations + "/user-1", 900, 901
	put(t, files, "/etc/passwd", "tljh-env:x:900:901::/:/bin/sh\n")
	put(t, files, dir+"/bin/python", "")
	require.NoError(t, os.Chown(files.Path(dir), uid, gid))
	runner := &hosttest.Runner{}
	runner.On(hosttest.Answer{})
	b := New(Setup{Host: &host.Host{Files: files, Runner: runner}})

	require.NoError(t, b.add(t.Context(), dir, "", []string{"rich"}))
	_, err := (Conda{Builder: b}).run(t.Context(), dir, []string{"/opt/tljh/conda/bin/conda", "install", "rich"})
	require.NoError(t, err)
	require.NoError(t, b.postBuild(t.Context(), dir, &Source{Dir: "/srv/unpacked/course"}))
	calls := runner.Calls()
	require.Len(t, calls, 3)
	for _, call := range calls {
		assert.Equal(t, uint32(uid), call.UID, call.Line())
		assert.Equal(t, uint32(gid), call.GID, call.Line())
		require.NotNil(t, call.Confine, call.Line())
		for _, writable := range call.Confine.Writable {
			assert.Contains(t, []string{dir, layout.Root, "/srv/unpacked"}, writable, call.Line())
		}
	}
}
