package sudoers

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestRenderGolden(t *testing.T) {
	for name, params := range map[string]Params{"classic": {Admins: "jupyterhub-admins", Classic: true}, "any": {}, "environment": {Classic: true, Environment: true}, "environment-any": {Environment: true}} {
		golden := filepath.Join("testdata", name)
		got := Render(params)
		if *update {
			require.NoError(t, os.WriteFile(golden, got, 0o644))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
	}
}

func TestIsClassic(t *testing.T) {
	require.True(t, IsClassic("Sudo version 1.9.16p2\nSudoers policy plugin version 1.9.16p2\n"))
	require.False(t, IsClassic("sudo-rs 0.2.5\n"))
	require.False(t, IsClassic(""))
}

// visudo judges a file by the rules of the real sudo. On a machine with sudo-rs it takes neither classic settings nor odd names.
func visudo(t *testing.T, content []byte) (string, error) {
	t.Helper()
	program, err := exec.LookPath("visudo")
	if err != nil {
		if program = "/usr/sbin/visudo"; !exists(program) {
			t.Skip("visudo is not on this machine: install the package sudo")
		}
	}
	file := filepath.Join(t.TempDir(), "tljh")
	require.NoError(t, os.WriteFile(file, content, 0o440))
	out, err := exec.Command(program, "--check", "--strict", "--file", file).CombinedOutput()
	return string(out), err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestVisudoAccepts(t *testing.T) {
	for _, group := range []string{"jupyterhub-admins", "lehrende_ä.2", `domain admins`, `DOM\staff`, "a%b", "x,y=z:!\"", "évil\nALL ALL=(ALL) ALL"} {
		for _, classic := range []bool{true, false} {
			out, err := visudo(t, Render(Params{Admins: group, Classic: classic}))
			require.NoError(t, err, "%q: %s", group, out)
		}
	}
}

func TestVisudoRefusesBrokenRules(t *testing.T) {
	_, err := visudo(t, append(Render(Params{}), "%jupyterhub-admins ALL=(ALL NOPASSWD\n"...))
	require.Error(t, err, "visudo takes anything: the other test proves nothing")
}

func FuzzRender(f *testing.F) {
	f.Add("jupyterhub-admins")
	f.Add("a\nb ALL")
	f.Add(`\`)
	lines := strings.Count(string(Render(Params{Admins: "x"})), "\n")
	f.Fuzz(func(t *testing.T, group string) {
		file := string(Render(Params{Admins: group}))
		if got := strings.Count(file, "\n"); got != lines {
			t.Fatalf("%q makes %d lines of %d", group, got, lines)
		}
		if strings.Contains(file, "\r") || strings.Contains(file, "\x00") {
			t.Fatalf("%q brings a control character", group)
		}
	})
}

// Where others than root can write, root looks last: a program of the system has its name before anything that they put there.
func TestSystemFoldersComeFirst(t *testing.T) {
	for _, p := range []Params{{}, {Classic: true}, {Environment: true}, {Environment: true, Classic: true}} {
		rules := string(Render(p))
		_, path, ok := strings.Cut(rules, `secure_path="`)
		if !ok {
			t.Fatal("there is no secure_path")
		}
		path, _, _ = strings.Cut(path, `"`)
		if want := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/tljh/shims:/opt/tljh/user/bin"; path != want {
			t.Errorf("secure_path is %s, not %s", path, want)
		}
	}
}
