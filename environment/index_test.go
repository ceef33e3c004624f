package environment

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"tljh/internal/host"
	"tljh/internal/host/hosttest"
)

func TestPipsFilesAreRead(t *testing.T) {
	const file = "# the campus\n[global]\nindex-url = https://mirror.example.org/simple\nextra_index_url =\n    https://one.example.org/simple\n" +
		"    https://two.example.org:8443/simple\n; and\ntimeout: 60\n[install]\nno-index = false\n"
	for name, want := range map[string]string{
		"index-url":       "https://mirror.example.org/simple",
		"extra-index-url": "https://one.example.org/simple https://two.example.org:8443/simple",
		"timeout":         "60",
		"no-index":        "false",
		"find-links":      "",
	} {
		assert.Equal(t, want, optionOf([]byte(file), name), name)
	}
}

// A campus that has set up pip, and nothing else, is served from there whatever fetches.
func TestUVLooksWherePipWasToldTo(t *testing.T) {
	for name, c := range map[string]struct {
		environ []string
		files   map[string]string
		want    []string
		lacks   []string
		args    []string
		index   string
	}{
		"a file": {
			files: map[string]string{"/etc/pip.conf": "[global]\nindex-url = https://a.example.org/simple\ntrusted-host = a.example.org\n  b.example.org\n"},
			want:  []string{"UV_DEFAULT_INDEX=https://a.example.org/simple", "UV_INSECURE_HOST=a.example.org b.example.org"},
			index: "https://a.example.org/simple",
		},
		"root's file wins over the machine's, a named one over both": {
			environ: []string{"PIP_CONFIG_FILE=/srv/pip.ini"},
			files: map[string]string{
				"/etc/pip.conf": "[global]\nindex-url = https://a.example.org\n", "/root/.config/pip/pip.conf": "[global]\nindex-url=https://b.example.org\n",
				"/srv/pip.ini": "[global]\nindex-url=https://c.example.org\n",
			},
			want: []string{"UV_DEFAULT_INDEX=https://c.example.org"}, index: "https://c.example.org",
		},
		"a variable": {
			environ: []string{"PIP_INDEX_URL=https://v.example.org"}, files: map[string]string{"/etc/pip.conf": "[global]\nindex-url = https://a.example.org\n"},
			want: []string{"UV_DEFAULT_INDEX=https://v.example.org"}, index: "https://v.example.org",
		},
		"uv's own variables hold": {
			environ: []string{"UV_INDEX_URL=https://u.example.org", "UV_INDEX=https://x.example.org"},
			files:   map[string]string{"/etc/pip.conf": "[global]\nindex-url = https://a.example.org\nextra-index-url = https://b.example.org\n"},
			want:    []string{"UV_INDEX_URL=https://u.example.org"}, lacks: []string{"UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_INDEX_STRATEGY"},
			index: "https://u.example.org",
		},
		"several indexes are equal, as they are to pip": {
			environ: []string{"PIP_EXTRA_INDEX_URL=https://b.example.org  https://c.example.org", "PIP_INDEX_URL=https://a.example.org"},
			want:    []string{"UV_EXTRA_INDEX_URL=https://b.example.org https://c.example.org", "UV_INDEX_STRATEGY=unsafe-best-match"}, index: "https://a.example.org",
		},
		"a folder of wheels and nothing else": {
			environ: []string{"PIP_NO_INDEX=1", "PIP_FIND_LINKS=/srv/wheels /srv/more", "PIP_INDEX_URL=https://a.example.org"},
			want:    []string{"UV_FIND_LINKS=/srv/wheels,/srv/more"}, args: []string{"--no-index"}, index: "https://a.example.org",
		},
	} {
		t.Run(name, func(t *testing.T) {
			files := newFiles(t)
			for file, text := range c.files {
				put(t, files, file, text)
			}
			b := New(Setup{Host: &host.Host{Files: files, Runner: &hosttest.Runner{}}, Environ: c.environ})
			env, args := b.forUV()
			assert.Subset(t, env, c.want)
			assert.Equal(t, c.args, args)
			for _, name := range c.lacks {
				assert.False(t, slices.ContainsFunc(env, func(pair string) bool { return strings.HasPrefix(pair, name+"=") }), name)
			}
			index, err := b.Index()
			assert.NoError(t, err)
			assert.Equal(t, c.index, index)
		})
	}
}
