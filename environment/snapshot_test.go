package environment

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
	"tljh/internal/layout"
)

// liveUser makes a generation the live user environment.
func liveUser(t *testing.T, files host.Files, number int) Generation {
	t.Helper()
	generation := complete(t, files, User, number)
	require.NoError(t, Switch(files, generation))
	return generation
}

// install puts a package of one module into an environment, as a wheel's installation leaves it.
func install(t *testing.T, files host.Files, generation Generation, name, version string) {
	t.Helper()
	site := sitePackages(generation.Path())
	names, err := files.List(site)
	require.NoError(t, err)
	for _, old := range names {
		if strings.HasPrefix(old, name+"-") {
			require.NoError(t, files.RemoveTree(path.Join(site, old)))
		}
	}
	module := "version = '" + version + "'\n"
	_ = os.Remove(files.Path(path.Join(site, name+".py"))) // replaced, not written into
	put(t, files, path.Join(site, name+".py"), module)
	sum := sha256.Sum256([]byte(module))
	info := name + "-" + version + ".dist-info"
	program := path.Join(generation.Path(), "bin", name)
	put(t, files, program, "#!"+generation.Path()+"/bin/python\n")
	require.NoError(t, os.Chmod(files.Path(program), 0o755))
	put(t, files, path.Join(site, info, "RECORD"), fmt.Sprintf("%s.py,sha256=%s,%d\n%s/RECORD,,\n../../../bin/%s,sha256=x,1\n__pycache__/%s.pyc,,\n",
		name, base64.RawURLEncoding.EncodeToString(sum[:]), len(module), info, name, name))
}

func TestSnapshotsAreTakenOfChanges(t *testing.T) {
	files := newFiles(t)
	_, _, err := TakeSnapshot(files, time.Unix(0, 0), Occasion{})
	require.ErrorContains(t, err, "no user environment")

	live := liveUser(t, files, 1)
	install(t, files, live, "rich", "13.0")
	first, taken, err := TakeSnapshot(files, time.Unix(100, 0), Occasion{})
	require.NoError(t, err)
	require.True(t, taken)
	_, taken, err = TakeSnapshot(files, time.Unix(200, 0), Occasion{})
	require.NoError(t, err)
	assert.False(t, taken, "nothing had changed")

	install(t, files, live, "rich", "14.0")
	install(t, files, live, "cowsay", "6.0")
	kept, err := Kept(files)
	require.NoError(t, err)
	assert.False(t, kept)
	second, taken, err := TakeSnapshot(files, time.Unix(300, 0), Occasion{})
	require.NoError(t, err)
	require.True(t, taken)
	assert.Equal(t, 2, second.Number)
	assert.Equal(t, []string{"+cowsay 6.0", "rich 13.0 → 14.0"}, Difference(first.Packages, second.Packages))
	assert.Equal(t, []string{"-cowsay 6.0", "rich 14.0 → 13.0"}, Difference(second.Packages, first.Packages))

	data, err := files.Read(path.Join(sitePackages(first.tree()), "rich.py"))
	require.NoError(t, err)
	assert.Equal(t, "version = '13.0'\n", string(data), "the first snapshot changed with the environment")
}

func TestHalfASnapshotIsNone(t *testing.T) {
	files := newFiles(t)
	live := liveUser(t, files, 1)
	install(t, files, live, "rich", "13.0")
	_, _, err := TakeSnapshot(files, time.Unix(0, 0), Occasion{})
	require.NoError(t, err)
	put(t, files, layout.Snapshots+"/2/lib/half", "")
	put(t, files, layout.Snapshots+"/7.json", `{"number": 3}`)
	put(t, files, layout.Snapshots+"/8.json", `{"numb`)
	install(t, files, live, "rich", "14.0")
	second, taken, err := TakeSnapshot(files, time.Unix(1, 0), Occasion{})
	require.NoError(t, err)
	require.True(t, taken)
	assert.Equal(t, 2, second.Number)
	assert.False(t, files.Exists(second.tree()+"/lib/half"))
	all, err := Snapshots(files)
	require.NoError(t, err)
	assert.Len(t, all, 2)
}

func TestOldSnapshotsGo(t *testing.T) {
	files := newFiles(t)
	live := liveUser(t, files, 1)
	for n := range keptNewest + 4 {
		install(t, files, live, "rich", fmt.Sprint(n))
		_, taken, err := TakeSnapshot(files, time.Unix(int64(n)*86400*400, 0), Occasion{})
		require.NoError(t, err)
		require.True(t, taken)
		if n == 2 {
			all, err := Snapshots(files)
			require.NoError(t, err)
			require.NoError(t, NameSnapshot(files, all[2], "exam"))
		}
	}
	all, err := Snapshots(files)
	require.NoError(t, err)
	require.Len(t, all, keptNewest+2)
	assert.Equal(t, []int{1, 3, 5}, []int{all[0].Number, all[1].Number, all[2].Number}, "the first one, one with a name, and the last ten")
	assert.Equal(t, "exam", all[1].Name)
	assert.False(t, files.Exists(layout.Snapshots+"/2"))
}

func TestABrokenStateIsKeptAnewOnceItIsRepaired(t *testing.T) {
	files := newFiles(t)
	live := liveUser(t, files, 1)
	install(t, files, live, "rich", "13.0")
	first, _, err := TakeSnapshot(files, time.Unix(0, 0), Occasion{Broken: "rich.py is missing", Title: "pip install rich", Who: "alice"})
	require.NoError(t, err)
	assert.Equal(t, "alice", first.Who)
	_, taken, err := TakeSnapshot(files, time.Unix(1, 0), Occasion{Broken: "rich.py is missing"})
	require.NoError(t, err)
	assert.False(t, taken)
	second, taken, err := TakeSnapshot(files, time.Unix(2, 0), Occasion{})
	require.NoError(t, err)
	assert.True(t, taken)
	assert.Empty(t, second.Broken)
}

// A command that was killed after the switch leaves it to the watch to take the snapshot, which knows nothing of the command.
func TestGoingBackIsKeptAsThatWhoeverTakesTheSnapshot(t *testing.T) {
	files := newFiles(t)
	require.NoError(t, files.MkdirAll(layout.State, host.Attr{Mode: 0o700}))
	take := func(n int64, why Occasion) Snapshot {
		t.Helper()
		taken, _, err := TakeSnapshot(files, time.Unix(n, 0), why)
		require.NoError(t, err)
		return taken
	}
	live := liveUser(t, files, 1)
	install(t, files, live, "rich", "13.0")
	first := take(1, Occasion{})
	install(t, files, live, "rich", "14.0")
	take(2, Occasion{Title: "pip install rich"})

	back := liveUser(t, files, 2)
	install(t, files, back, "rich", "13.0")
	require.NoError(t, Announce(files, back, Occasion{Title: "env rollback", Who: "root", Of: first.Number}))
	kept := take(3, Occasion{})
	assert.Equal(t, []any{"env rollback", "root", 1, 2}, []any{kept.Title, kept.Who, kept.Of, kept.Tip})
	assert.False(t, files.Exists(layout.Returning))

	require.NoError(t, Announce(files, back, Occasion{Title: "env redo", Who: "root", Of: 2}))
	install(t, files, back, "rich", "15.0")
	kept = take(4, Occasion{Title: "pip install rich"})
	assert.Equal(t, []any{"pip install rich", 0}, []any{kept.Title, kept.Of}, "it was not switched")
}

func TestProgramsOfARestoredEnvironmentAreItsOwn(t *testing.T) {
	files := newFiles(t)
	b := New(Setup{Host: &host.Host{Files: files}})
	dir := layout.Generations + "/user-2"
	before := layout.Generations + "/user-1"
	put(t, files, dir+"/bin/pip", "#!"+before+"/bin/python\nimport pip\n")
	put(t, files, dir+"/bin/activate", "VIRTUAL_ENV='"+before+"'\n")
	put(t, files, dir+"/bin/other", "#!/bin/sh\n# "+before+"7/bin\n")
	require.NoError(t, os.Link(files.Path(dir+"/bin/pip"), files.Path("/kept")))
	require.NoError(t, b.renamePrograms(dir, before))
	for name, want := range map[string]string{
		"pip": "#!" + dir + "/bin/python\nimport pip\n", "activate": "VIRTUAL_ENV='" + dir + "'\n", "other": "#!/bin/sh\n# " + before + "7/bin\n",
	} {
		data, err := files.Read(dir + "/bin/" + name)
		require.NoError(t, err)
		assert.Equal(t, want, string(data))
	}
	data, err := files.Read("/kept")
	require.NoError(t, err)
	assert.Contains(t, string(data), before, "the snapshot's own file was written into")
}

func TestRecordsTellWhatIsBroken(t *testing.T) {
	for name, test := range map[string]struct {
		breaks func(files host.Files, site string) error
		says   string
	}{
		"nothing": {func(host.Files, string) error { return nil }, ""},
		"missing": {func(files host.Files, site string) error { return files.Remove(site + "/rich.py") }, "rich.py is missing"},
		"changed": {func(files host.Files, site string) error {
			return os.WriteFile(files.Path(site+"/rich.py"), []byte("version = '13.1'\n"), 0o644)
		}, "rich.py was changed"},
		"a program is missing": {func(files host.Files, site string) error { return files.Remove(path.Join(site, "../../../bin/rich")) }, "bin/rich is missing"},
		"a program cannot be run": {func(files host.Files, site string) error {
			return os.Chmod(files.Path(path.Join(site, "../../../bin/rich")), 0o644)
		}, "bin/rich cannot be run by all users"},
		"a link": {func(files host.Files, site string) error {
			return files.Link("/etc/passwd", site+"/rich.py")
		}, "rich.py is no file any more"},
		"no record": {func(files host.Files, site string) error { return files.Remove(site + "/rich-13.0.dist-info/RECORD") }, "it has no list of its files"},
		"odd record": {func(files host.Files, site string) error {
			return os.WriteFile(files.Path(site+"/rich-13.0.dist-info/RECORD"), []byte("\"rich"), 0o644)
		}, "the list of its files cannot be read"},
		"a record that is a link": {func(files host.Files, site string) error {
			return files.Link("/etc/shadow", site+"/rich-13.0.dist-info/RECORD")
		}, "it has no list of its files"},
	} {
		t.Run(name, func(t *testing.T) {
			files := newFiles(t)
			live := liveUser(t, files, 1)
			install(t, files, live, "rich", "13.0")
			install(t, files, live, "cowsay", "6.0")
			require.NoError(t, test.breaks(files, sitePackages(live.Path())))
			troubles := examineFiles(t, files, live.Path(), false)
			if test.says == "" {
				require.Empty(t, troubles)
				return
			}
			require.Equal(t, []Trouble{{Package: "rich", Version: "13.0", Words: test.says}}, troubles)
		})
	}
}

func examineFiles(t *testing.T, files host.Files, dir string, byConda bool) []Trouble {
	t.Helper()
	env, err := files.Within(dir)
	require.NoError(t, err)
	defer env.Close()
	x := &examination{env: env, site: siteWithin(env), found: []Trouble{}}
	require.NoError(t, x.all(t.Context(), byConda))
	return x.health().Troubles
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte("rich.py,sha256=x,1\n"))
	f.Add([]byte("../../../etc/passwd,,\n\"a\nb\",,\n,,,,\n"))
	f.Fuzz(func(t *testing.T, record []byte) {
		files := host.Files{Root: t.TempDir()}
		put(t, files, "/e/site/a-1.dist-info/RECORD", string(record))
		env, err := files.Within("/e")
		require.NoError(t, err)
		defer env.Close()
		(&examination{env: env, site: "site"}).wheel("a-1.dist-info")
	})
}

// A description that a disk damaged is no reason to delete the files that it is of.
func TestASnapshotThatCannotBeReadKeepsItsFiles(t *testing.T) {
	files, live := condaEnvironment(t)
	first, _, err := TakeSnapshot(files, time.Unix(1, 0), Occasion{})
	require.NoError(t, err)
	put(t, files, first.meta(), "}{")
	install(t, files, live, "cowsay", "6.0")
	second, taken, err := TakeSnapshot(files, time.Unix(2, 0), Occasion{})
	require.NoError(t, err)
	require.True(t, taken)
	assert.Equal(t, 2, second.Number)
	assert.True(t, files.Exists(path.Join(first.tree(), "conda-meta")), "its files are gone")
	left, err := files.Read(first.meta())
	require.NoError(t, err)
	assert.Equal(t, "}{", string(left))
}
