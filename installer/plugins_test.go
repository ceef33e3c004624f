package installer

import (
	"path"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/config"
	"tljh/environment"
	"tljh/internal/host/hosttest"
	"tljh/internal/layout"
	"tljh/internal/report"
)

// What a plugin changes is written key by key: comments and what it does not know stay.
func TestSettingsOfPlugins(t *testing.T) {
	text := []byte("# ours\nusers:\n  admin: [alice] # the teacher\nlimits:\n  memory: 1G\nhub: {}\n")
	before := map[string]any{"users": map[string]any{"admin": []any{"alice"}}, "limits": map[string]any{"memory": "1G"}, "hub": map[string]any{}}
	after := map[string]any{"users": map[string]any{"admin": []any{"alice"}}, "limits": map[string]any{"cpu": 1.5}, "hub": map[string]any{},
		"user_environment": map[string]any{"default_app": "notebook"}}
	changed, err := withSettings(text, before, after)
	require.NoError(t, err)
	cfg, report := config.Parse("", changed)
	require.NoError(t, report.Err(), string(changed))
	assert.Contains(t, string(changed), "# ours\nusers:\n  admin: [alice] # the teacher\n")
	assert.Empty(t, cfg.Limits.Memory)
	assert.Equal(t, "notebook", cfg.UserEnvironment.DefaultApp)

	same, err := withSettings(text, before, before)
	require.NoError(t, err)
	assert.Equal(t, string(text), string(same))
}

func TestPluginsAreKeptInTheConfig(t *testing.T) {
	text, cfg, err := withPlugins([]byte("users: {admin: [alice]}\n"), config.Default(), []string{"tljh-course==1.0", "tljh-course==1.0"})
	require.NoError(t, err)
	assert.Equal(t, []string{"tljh-course==1.0"}, cfg.Hub.Packages)
	_, again, err := withPlugins(text, cfg, []string{"tljh-course==1.0"})
	require.NoError(t, err)
	assert.Equal(t, cfg.Hub.Packages, again.Hub.Packages)
	var bad *BadInput
	_, _, err = withPlugins(text, cfg, []string{"--index-url=x"})
	require.ErrorAs(t, err, &bad)
	assert.ErrorContains(t, err, "--plugin")
}

func TestAPackageThatIsNoPluginIsNamed(t *testing.T) {
	h, _ := machine(t)
	hub := builtHub(t, h.Files, 1, "course")
	require.NoError(t, environment.Switch(h.Files, hub))
	for name, points := range map[string]string{"tljh_course-1.0": "[tljh]\ncourse = course\n", "tljh_db-0.5": "[console_scripts]\nx = x\n"} {
		info := path.Join(hub.Path(), "lib/python3.14/site-packages", name+".dist-info")
		require.NoError(t, h.Files.MkdirAll(info, rootDir))
		require.NoError(t, h.Files.Write(path.Join(info, "entry_points.txt"), []byte(points), readable))
	}
	i := &Installer{Host: h}
	plain, err := i.noPlugins([]string{"tljh-course==1.0", "TLJH.Course @ https://example.org/c.whl", "tljh-db", "tljh-db>=0.5"})
	require.NoError(t, err)
	assert.Equal(t, []string{"tljh-db"}, plain)
}

// A plugin that fails is told, the next installation tries it again, and one that was served is left alone.
func TestPluginsAreServedOnce(t *testing.T) {
	h, runner := machine(t)
	hub := builtHub(t, h.Files, 1, "course")
	require.NoError(t, environment.Switch(h.Files, hub))
	info := path.Join(hub.Path(), "lib/python3.14/site-packages/course-1.0.dist-info")
	require.NoError(t, h.Files.MkdirAll(info, rootDir))
	require.NoError(t, h.Files.Write(path.Join(info, "entry_points.txt"), []byte("[tljh]\ncourse = course\n"), readable))
	require.NoError(t, h.Files.MkdirAll(layout.ConfigDir, rootDir))
	require.NoError(t, h.Files.Write(layout.Config, []byte("users: {admin: [alice]}\n"), secret))
	python := path.Join(layout.Hub, "bin/python")
	runner.On(hosttest.Answer{Stdout: `{}`}, python, "-I", "-m", "tljh.plugins", "ask")
	runner.On(hosttest.Answer{Stdout: `{"broken": {"course": "tljh_extra_apt_packages: ValueError: no list"}}`, Times: 1}, python, "-I", "-m", "tljh.plugins", "ask")
	runner.On(hosttest.Answer{Stdout: `{"config": {"users": {"admin": ["alice"]}}}`}, python, "-I", "-m", "tljh.plugins", "config")
	runner.On(hosttest.Answer{Stdout: `{}`}, python, "-I", "-m", "tljh.plugins", "finish")
	i := &Installer{Host: h, Report: report.New(), Builder: environment.New(environment.Setup{Host: h}), Now: time.Now}

	failed, err := i.servePlugins(t.Context())
	require.NoError(t, err)
	require.Len(t, failed, 1)
	assert.EqualError(t, failed[0], "plugin course: tljh_extra_apt_packages: ValueError: no list")

	failed, err = i.servePlugins(t.Context())
	require.NoError(t, err)
	assert.Empty(t, failed)
	ran := len(runner.Calls())
	failed, err = i.servePlugins(t.Context())
	require.NoError(t, err)
	assert.Empty(t, failed)
	assert.Len(t, runner.Calls(), ran, "it was served before")
}
