package environment

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
)

func TestReadSource(t *testing.T) {
	environmentYML := "name: course\nchannels:\n  - conda-forge\n  - nodefaults\ndependencies:\n  - python=3.12\n  - numpy>=2\n  - pip:\n      - rich==13.0\n      - -r more.txt\n"
	for name, test := range map[string]struct {
		files map[string]string
		want  Source
		says  string
	}{
		"requirements": {files: map[string]string{"requirements.txt": "rich\n", "README.md": "x"}, want: Source{Requirements: true}},
		"everything": {
			files: map[string]string{
				"environment.yml": environmentYML, "requirements.txt": "left to environment.yml", "runtime.txt": "left, too", "apt.txt": "graphviz # a remark\n\nlibx11-6 fonts-dejavu\n",
				"postBuild": "#!/bin/sh\n", "start": "#!/bin/sh\nexec \"$@\"\n",
			},
			want: Source{
				Apt: []string{"graphviz", "libx11-6", "fonts-dejavu"}, Channels: []string{"conda-forge"}, Conda: []string{"python=3.12", "numpy>=2"},
				Pip: []string{"rich==13.0", "-r more.txt"}, PostBuild: true, Start: true,
			},
		},
		"a binder folder":     {files: map[string]string{"binder/requirements.txt": "rich\n", "Dockerfile": "FROM x\n"}, want: Source{Requirements: true}},
		"two binder folders":  {files: map[string]string{"binder/apt.txt": "x", ".binder/apt.txt": "x"}, says: "keep one of them"},
		"Python's version":    {files: map[string]string{"runtime.txt": "python-3.11\n", "requirements.txt": ""}, want: Source{Python: "3.11", Requirements: true}},
		"R's version":         {files: map[string]string{"runtime.txt": "r-4.3-2024-01-01\n"}, want: Source{Unsupported: []string{"runtime.txt: r-4.3-2024-01-01 is not supported: only python-3.N is"}}},
		"what is no package":  {files: map[string]string{"apt.txt": "-o=x\n"}, says: `"-o=x" is no name of a package`},
		"an option for conda": {files: map[string]string{"environment.yml": "dependencies: [--file=/etc/passwd]\n"}, says: `line 1: "--file=/etc/passwd" is no package`},
		"an odd channel":      {files: map[string]string{"environment.yml": "channels: [--json]\ndependencies: []\n"}, says: "is no channel"},
		"another section":     {files: map[string]string{"environment.yml": "dependencies: [{npm: [x]}]\n"}, says: "a dependency is a package, or a section pip"},
		"no YAML":             {files: map[string]string{"environment.yml": "a: [\n"}, says: "environment.yml: it cannot be read"},
		"nothing of ours":     {files: map[string]string{"README.md": "x"}, says: "none of the files that describe an environment"},
	} {
		t.Run(name, func(t *testing.T) {
			files := host.Files{Root: t.TempDir()}
			for file, text := range test.files {
				put(t, files, "/source/"+file, text)
			}
			got, err := readSource(files, "/source")
			if test.says != "" {
				require.ErrorContains(t, err, test.says)
				return
			}
			require.NoError(t, err)
			got.Dir, got.start = "", nil
			assert.Equal(t, test.want, *got)
		})
	}
}

func TestBeyond(t *testing.T) {
	source := Source{Conda: []string{"pip", "numpy", "r-base"}, Python: "3.11", Unsupported: []string{"Dockerfile: no"}}
	assert.Equal(t, []string{"Dockerfile: no"}, source.Beyond("conda"))
	beyond := source.Beyond("uv")
	require.Len(t, beyond, 3)
	assert.Contains(t, beyond[1], "numpy is conda's")
	assert.Contains(t, beyond[2], "Python 3.11 is not the one")
	assert.Empty(t, (&Source{Conda: []string{"python=3.14", "pip"}, Pip: []string{"rich"}}).Beyond("uv"))
}

func FuzzEnvironmentYML(f *testing.F) {
	f.Add([]byte("dependencies:\n- a\n- pip: [b]\n"))
	f.Add([]byte("dependencies: {a: *b}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &Source{}
		_ = s.readEnvironment(data)
		for _, spec := range s.Conda {
			if spec == "" || spec[0] == '-' {
				t.Fatalf("%q would be an option", spec)
			}
		}
	})
}

func readSource(files host.Files, dir string) (*Source, error) {
	env, err := files.Within(dir)
	if err != nil {
		return nil, err
	}
	defer env.Close()
	return ReadSourceWithin(env, dir)
}
