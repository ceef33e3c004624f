package environment

import (
	"os"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/conda"
)

func TestCommandsThatChangeTheEnvironmentAreKnown(t *testing.T) {
	ours := []string{"/opt/tljh/user", "/opt/tljh/generations/user-3"}
	for line, want := range map[string]string{
		"/opt/tljh/user/bin/python /opt/tljh/user/bin/pip install scipy pandas":                         "pip install scipy pandas",
		"/opt/tljh/generations/user-3/bin/python3.14 -m pip install --quiet toolz":                      "pip install --quiet toolz",
		"python -m pip uninstall rich":                                                                  "pip uninstall rich",
		"/opt/tljh/user/bin/python /opt/tljh/user/bin/pip3.14 install x":                                "pip install x",
		"/opt/tljh/conda/bin/python /opt/tljh/conda/bin/conda update --all":                             "conda update --all",
		"/opt/tljh/conda/bin/python /opt/tljh/conda/bin/mamba install numpy":                            "conda install numpy",
		"/opt/tljh/conda/bin/python /opt/tljh/conda/bin/conda install -p /opt/tljh/user x":              "conda install -p /opt/tljh/user x",
		"/opt/tljh/tools/uv-1/bin/uv pip install --python /opt/tljh/generations/user-3/bin/python rich": "uv pip install --python /opt/tljh/generations/user-3/bin/python rich",
		"pip install --index-url https://alice:secret@pypi.example.org/simple x":                        "pip install --index-url https://…@pypi.example.org/simple x",

		"/opt/tljh/user/bin/python /opt/tljh/user/bin/pip list":                 "",
		"/opt/tljh/user/bin/python /opt/tljh/user/bin/pip install --user x":     "",
		"/opt/tljh/user/bin/python /opt/tljh/user/bin/pip install -t /tmp/x x":  "",
		"/home/jupyter-alice/venv/bin/python -m pip install x":                  "",
		"/opt/tljh/conda/bin/python /opt/tljh/conda/bin/conda install -n geo x": "",
		"/opt/tljh/conda/bin/python /opt/tljh/conda/bin/conda create -n geo x":  "",
		"vi pip install":        "",
		"python":                "",
		"python -c pip install": "",
		"-bash":                 "",
	} {
		assert.Equal(t, want, changingCommand(strings.Split(line, " "), ours), line)
	}
	assert.Equal(t, "a b", Presentable("a\x1bb\n"))
}

func TestOnlyThoseWhoMayChangeItAreWaitedFor(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	files := newFiles(t)
	put(t, files, "/etc/passwd", "tljh-env:x:900:900::/:/bin/sh\njupyter-alice:x:1001:1001::/:/bin/sh\njupyter-bob:x:1002:1002::/:/bin/sh\n")
	put(t, files, "/etc/group", "jupyterhub-admins:x:901:jupyter-alice\n")
	liveUser(t, files, 1)
	line := "/opt/tljh/user/bin/python\x00/opt/tljh/user/bin/pip\x00install\x00toolz\x00"
	put(t, files, "/proc/10/cmdline", line)
	put(t, files, "/proc/11/cmdline", line)
	require.NoError(t, os.Chown(files.Path("/proc/10"), 1001, 1001))
	require.NoError(t, os.Chown(files.Path("/proc/11"), 1002, 1002))
	assert.Equal(t, []Changer{{"pip install toolz", "jupyter-alice"}}, Changers(files))
}

func TestCondaWritesItsHistoryLast(t *testing.T) {
	files, live := condaEnvironment(t)
	at := func(name string, when time.Time) {
		require.NoError(t, os.Chtimes(files.Path(path.Join(live.Path(), name)), when, when))
	}
	now := time.Now()
	at(conda.History, now)
	settled, err := Settled(files)
	require.NoError(t, err)
	assert.True(t, settled)
	at(conda.Meta+"/python-3.14.1-0.json", now.Add(time.Second))
	settled, err = Settled(files)
	require.NoError(t, err)
	assert.False(t, settled, "conda is in the middle of what it does")
}
