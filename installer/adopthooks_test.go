package installer

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"tljh/internal/check"
	"tljh/internal/host/hosttest"
	"tljh/internal/layout"
)

// hooks has the older Python find these in jupyterhub_config.d.
func (s *wholeSite) hooks(found string) {
	s.t.Helper()
	s.runner.On(hosttest.Answer{Stdout: found}, layout.Hub+"/bin/python3", "-I", "-", s.files.Path(layout.ConfigD))
}

func TestHooksThatTheNewHubRefusesAreNamedBeforeTheSwitch(t *testing.T) {
	for name, c := range map[string]struct {
		found, yaml string
		failed      bool
		words, hint []string
	}{
		"nothing":        {`[]`, "", false, []string{"no other folders"}, nil},
		"not to be read": {`it is no JSON`, "", false, []string{"no other folders"}, nil},
		"no Python":      {`[{"file": "a.py", "line": 1, "kind": "broken", "path": ""}]`, "", false, nil, nil},
		"where it may":   {`[{"file": "a.py", "line": 2, "kind": "write", "path": "/home/jupyter-bob/x"}, {"file": "a.py", "line": 2, "kind": "write", "path": "/etc/motd"}, {"file": "a.py", "line": 2, "kind": "write", "path": "/dev/null"}]`, "", false, nil, nil},
		"a new folder": {
			`[{"file": "a.py", "line": 2, "kind": "write", "path": "/srv/homework"}]`, "", true,
			[]string{"a.py:2 writes to /srv/homework"}, []string{"sudo mkdir -p /srv/homework && sudo /opt/tljh/bin/tljh-install config add hub.writable_paths /srv/homework"},
		},
		"a file and a folder": {
			`[{"file": "a.py", "line": 2, "kind": "write", "path": "/data/log.txt"}, {"file": "b.py", "line": 3, "kind": "write", "path": "/data/course/x"}, {"file": "b.py", "line": 9, "kind": "write", "path": "/data/course"}]`, "", true,
			[]string{"a.py:2 writes to /data/log.txt", "b.py:3 writes"}, []string{"permit it: sudo /opt/tljh/bin/tljh-install config add hub.writable_paths /data /data/course"},
		},
		"permitted":  {`[{"file": "a.py", "line": 2, "kind": "write", "path": "/srv/homework/x"}]`, "hub:\n  writable_paths: [/srv/homework]\n", false, nil, nil},
		"home root":  {`[{"file": "a.py", "line": 2, "kind": "write", "path": "/srv/homes/x"}]`, "users:\n  home_root: /srv/homes\n", false, nil, nil},
		"the system": {`[{"file": "a.py", "line": 2, "kind": "write", "path": "/usr/local/bin/x"}]`, "", true, []string{"/usr/local/bin/x"}, []string{"change the code", "/usr/local/bin/x"}},
		"sudo":       {`[{"file": "a.py", "line": 7, "kind": "sudo", "path": ""}]`, "hub:\n  writable_paths: [/srv/homework]\n", true, []string{"a.py:7 calls sudo"}, []string{"runuser"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := olderSite(t)
			s.put("/data/course/.keep", "")
			s.hooks(c.found)
			in := s.olderInputs(olderConfig)
			if strings.HasPrefix(c.yaml, "users:") {
				in.Config = parse(t, c.yaml)
			} else {
				in.Config = parse(t, olderConfig+c.yaml)
			}
			got := s.finding(s.installer(), in, "hooks")
			assert.Equal(t, c.failed, got.Severity == check.Failed, got.Message)
			for _, words := range c.words {
				assert.Contains(t, got.Message, words)
			}
			for _, words := range c.hint {
				assert.Contains(t, got.Hint, words)
			}
		})
	}
}
