package conda

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

func TestPick(t *testing.T) {
	usual, err := Settings{}.Pick("amd64")
	require.NoError(t, err)
	assert.Contains(t, usual.Address, "/"+Version+"/Miniforge3-"+Version+"-Linux-x86_64.sh")
	mirrored, err := Settings{Mirror: "https://mirror.example.org/mf/", SHA256: "aa11223344556677"}.Pick("arm64")
	require.NoError(t, err)
	assert.Equal(t, "https://mirror.example.org/mf/Miniforge3-"+Version+"-Linux-aarch64.sh", mirrored.Address)
	assert.Equal(t, "aa11223344556677", mirrored.SHA256)
	assert.NotEqual(t, usual.Folder(), mirrored.Folder())
	_, err = Settings{}.Pick("riscv64")
	require.ErrorContains(t, err, "riscv64")
}

func TestLacking(t *testing.T) {
	specs := []string{"python=3.14", "jupyter-resource-usage", "nbgitpuller>=1", "conda-forge::rich"}
	for _, words := range []string{
		"\nPackagesNotFoundError: The following packages are not available from current channels:\n\n  - nbgitpuller>=1\n  - rich\n\nCurrent channels:\n\n  - https://x/python\n",
		"PackagesNotFoundInChannelsError: not available:\n  - nbgitpuller >=1\n  - rich=2\n",
	} {
		assert.Equal(t, []string{"nbgitpuller>=1", "conda-forge::rich"}, Lacking(words, specs))
	}
	assert.Empty(t, Lacking("UnsatisfiableError:\n  - nbgitpuller\n", specs))
}

func TestUnreachable(t *testing.T) {
	assert.True(t, Unreachable("CondaHTTPError: HTTP 000 CONNECTION FAILED for url"))
	assert.False(t, Unreachable("PackagesNotFoundError: x"))
}

func TestCondarcIsYAML(t *testing.T) {
	settings := Settings{Channel: `https://c.example.org/a"b`, Alias: "https://a.example.org", CA: "/etc/x.pem"}
	var read map[string]any
	require.NoError(t, yaml.Unmarshal(settings.Condarc(), &read))
	assert.Equal(t, map[string]any{
		"channels": []any{settings.Channel}, "channel_alias": settings.Alias, "ssl_verify": settings.CA, "auto_update_conda": false, "notify_outdated_conda": false,
		"envs_dirs": []any{"/opt/tljh/envs", "~/.conda/envs"}, "default_activation_env": "/opt/tljh/user",
	}, read)
	require.NoError(t, yaml.Unmarshal(Settings{}.Condarc(), &read))
	assert.Equal(t, []any{"conda-forge"}, read["channels"])
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"name":"a","version":"1","paths_data":{"paths":[{"_path":"x"}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if record, err := ParseRecord(data); err == nil {
			record.Explicitly()
		}
	})
}
