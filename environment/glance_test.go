package environment

import (
	"bytes"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/hub"
	"tljh/internal/host"
	"tljh/internal/layout"
)

// working makes a user environment that looks as if it worked.
func working(t *testing.T) (host.Files, Generation) {
	t.Helper()
	files := newFiles(t)
	live := liveUser(t, files, 1)
	for _, name := range []string{"bin/python", "bin/jupyterhub-singleuser"} {
		put(t, files, path.Join(live.Path(), name), "")
	}
	for _, name := range vital {
		put(t, files, path.Join(sitePackages(live.Path()), name, "__init__.py"), "")
	}
	install(t, files, live, "jupyterhub", JupyterHubVersion())
	return files, live
}

// recordOf records what a check found at 3:12.
func recordOf(t *testing.T, files host.Files, words string) {
	t.Helper()
	require.NoError(t, files.Mkdir(layout.State, host.Attr{Mode: 0o700}))
	health := Health{}
	if words != "" {
		health.Troubles = []Trouble{{Words: words}}
	}
	before, ok := BeginCheck(files)
	require.True(t, ok)
	require.NoError(t, before.Record(files, time.Date(2026, 11, 30, 3, 12, 0, 0, time.Local), health))
}

// A check that ran while packages were changed says nothing.
func TestACheckDuringAChangeIsNotRecorded(t *testing.T) {
	files, live := working(t)
	require.NoError(t, files.Mkdir(layout.State, host.Attr{Mode: 0o700}))
	before, ok := BeginCheck(files)
	require.True(t, ok)
	install(t, files, live, "numpy", "2.0")
	require.NoError(t, before.Record(files, time.Now(), Health{Troubles: []Trouble{{Words: "half"}}}))
	assert.False(t, files.Exists(layout.Checked))
}

func TestDamageIsSeenAtAGlance(t *testing.T) {
	const site = "lib/python3.14/site-packages"
	for name, test := range map[string]struct {
		breaks func(t *testing.T, files host.Files, live Generation)
		words  string
	}{
		"nothing": {func(*testing.T, host.Files, Generation) {}, ""},
		"a module is gone": {func(t *testing.T, f host.Files, g Generation) {
			require.NoError(t, f.RemoveTree(sitePackages(g.Path())+"/jupyterlab"))
		}, site + "/jupyterlab is missing, or not complete"},
		"all modules are gone": {func(t *testing.T, f host.Files, g Generation) { require.NoError(t, f.RemoveTree(g.Path()+"/lib")) }, site + "/jupyterhub is missing, or not complete"},
		"the program is gone":  {func(t *testing.T, f host.Files, g Generation) { require.NoError(t, f.Remove(g.Path()+"/bin/python")) }, "bin/python is missing"},
		"it is another JupyterHub": {func(t *testing.T, f host.Files, g Generation) { install(t, f, g, "jupyterhub", "4.1.6") },
			"it has JupyterHub 4.1.6; the hub's is " + JupyterHubVersion() + ", and servers of another version do not start"},
		"pip was killed": {func(t *testing.T, f host.Files, g Generation) { put(t, f, sitePackages(g.Path())+"/~ich/x", "") }, site + "/~ich is left of a pip that was interrupted"},
		"conda's records are gone": {func(t *testing.T, f host.Files, g Generation) {
			g.Manager = "conda"
			require.NoError(t, seal(f, g))
		}, "conda's records of what it installed are missing"},
		"an admin works on a module": {func(t *testing.T, f host.Files, g Generation) {
			require.NoError(t, f.RemoveTree(sitePackages(g.Path())+"/jupyterlab"))
			put(t, f, sitePackages(g.Path())+"/jupyterlab-4.5.dist-info/direct_url.json", `{"dir_info": {"editable": true}, "url": "file:///srv/lab"}`)
		}, ""},
		"the last check found something": {func(t *testing.T, f host.Files, g Generation) {
			_, _, err := TakeSnapshot(f, time.Unix(1, 0), Occasion{Broken: "numpy: is half there"})
			require.NoError(t, err)
		}, "numpy: is half there"},
		"something else was changed since": {func(t *testing.T, f host.Files, g Generation) {
			_, _, err := TakeSnapshot(f, time.Unix(1, 0), Occasion{Broken: "numpy: is half there"})
			require.NoError(t, err)
			install(t, f, g, "numpy", "2.0")
		}, ""},
		"the last scheduled check found something": {func(t *testing.T, f host.Files, _ Generation) { recordOf(t, f, "numpy: x.py was changed") },
			"numpy: x.py was changed (found by the check of 2026-11-30 03:12)"},
		"the last scheduled check found nothing": {func(t *testing.T, f host.Files, _ Generation) { recordOf(t, f, "") }, ""},
		"packages were changed since that check": {func(t *testing.T, f host.Files, g Generation) {
			recordOf(t, f, "numpy: x.py was changed")
			install(t, f, g, "numpy", "2.0")
		}, ""},
		"that check was of another environment": {func(t *testing.T, f host.Files, g Generation) {
			recordOf(t, f, "numpy: x.py was changed")
			data, err := f.Read(layout.Checked)
			require.NoError(t, err)
			require.NoError(t, f.Write(layout.Checked, bytes.Replace(data, []byte(g.Path()), []byte("/opt/tljh/generations/user-9"), 1), host.Attr{Mode: 0o600}))
		}, ""},
		"what that check found was repaired": {func(t *testing.T, f host.Files, _ Generation) {
			recordOf(t, f, "numpy: x.py was changed")
			require.NoError(t, ForgetCheck(f))
		}, ""},
		"what that check wrote is no record": {func(t *testing.T, f host.Files, _ Generation) { put(t, f, layout.Checked, "{") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			files, live := working(t)
			test.breaks(t, files, live)
			assert.Equal(t, test.words, Damage(files))
		})
	}
	assert.Equal(t, "it is missing", Damage(newFiles(t)))
}

// The hub starts from the rescue environment where modules are missing: a check that does not name those would call such an environment intact.
func TestWhatTheHubLooksForIsVital(t *testing.T) {
	source, err := fs.ReadFile(hub.PackageFS(), "rescue.py")
	require.NoError(t, err)
	for _, form := range []string{`(?m)^VITAL = \["(\w+)", "(\w+)"\]$`, `(?m)^PAGE = "(\w+)"$`} {
		names := regexp.MustCompile(form).FindStringSubmatch(string(source))
		require.NotNil(t, names, form)
		assert.Subset(t, vital, names[1:])
	}
}

func TestTheCarriedPythonIsThatOfTheHub(t *testing.T) {
	assert.True(t, strings.HasPrefix(PythonRelease, layout.PythonMinor+"."), PythonRelease)
}
