package integration

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"tljh/integration-tests/client"
	"tljh/integration-tests/guest"
	"tljh/integration-tests/want"
)

// TestStudentsOwnThings is about what students have in their homes, by which work breaks after a good start.
func TestStudentsOwnThings(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := installed(t)
	teacher := h.admin(t)
	carol := h.student(t, teacher, "carol")
	own := func(t *testing.T, name, text string) {
		data := base64.StdEncoding.EncodeToString([]byte(text))
		h.must(t, fmt.Sprintf("runuser -u jupyter-carol -- sh -c 'mkdir -p $(dirname %[1]s) && echo %[2]s | base64 -d > %[1]s'", home(carol)+"/"+name, data))
	}
	const usual = "/opt/tljh/generations/user-"
	h.reportsOfOthers(t, teacher, carol)

	t.Run("the first package of one's own is imported at once, and its program runs", func(t *testing.T) {
		k := kernel(t, carol)
		h.packageSources(t, k)
		got := compute(t, k, "import subprocess; r = subprocess.run('pip --disable-pip-version-check install -q --no-deps cowsay==6.0', shell=True, capture_output=True, text=True); print(r.returncode == 0 or r.stderr[-400:])")
		want.Equal(t, "True", got)
		want.Contains(t, compute(t, k, "import cowsay; print(cowsay.__file__)"), home(carol)+"/.local/lib/python3.14/site-packages/")
		want.Equal(t, home(carol)+"/.local/bin/cowsay", compute(t, k, "import shutil; print(shutil.which('cowsay'))"))
	})
	t.Run("a kernel python3 whose Python was deleted", func(t *testing.T) {
		own(t, ".local/share/jupyter/kernels/python3/kernel.json", `{"argv": ["/home/jupyter-carol/env/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "Mine", "language": "python"}`)
		want.Contains(t, compute(t, kernel(t, carol), prefix), usual)
		refused := refusal(t, startKernel(t, carol, "python3-broken"), "starting the kernel")
		want.Contains(t, refused.Message, "/home/jupyter-carol/env/bin/python does not exist", "rm -r "+home(carol)+"/.local/share/jupyter/kernels/python3")
		want.Contains(t, h.MustSh(t, "journalctl -u jupyter-carol"), "rm -r "+home(carol)+"/.local/share/jupyter/kernels/python3")
	})
	t.Run("a kernel without the kernel's program", func(t *testing.T) {
		compute(t, kernel(t, carol), "import subprocess, sys; subprocess.run([sys.executable, '-m', 'venv', '--without-pip', '/home/jupyter-carol/env'], check=True)")
		want.Contains(t, compute(t, kernel(t, carol), prefix), usual)
		refused := refusal(t, startKernel(t, carol, "python3-broken"), "starting the kernel")
		want.Contains(t, refused.Message, "lacks the kernel's program (ipykernel)")
		h.must(t, "rm -r "+home(carol)+"/env")
	})
	t.Run("a broken kernel.json", func(t *testing.T) {
		own(t, ".local/share/jupyter/kernels/python3/kernel.json", "{")
		own(t, ".local/share/jupyter/kernels/course/kernel.json", "{")
		want.Contains(t, compute(t, kernel(t, carol), prefix), usual)
		refused := refusal(t, startKernel(t, carol, "course"), "starting the kernel")
		want.Contains(t, refused.Message, "kernel.json is not valid JSON", "rm -r "+home(carol)+"/.local/share/jupyter/kernels/course")
	})
	t.Run("all of it at the next start", func(t *testing.T) {
		want.OK(t, carol.StopServer(t.Context(), "carol"))
		own(t, ".condarc", "channels: [")
		own(t, ".bashrc", "exit 3\n")
		own(t, ".profile", "export PYTHONPATH=/home/jupyter-carol/old\n. ~/.bashrc\n")
		own(t, "old/ipykernel_launcher.py", "raise SystemExit(3)")
		h.must(t, "runuser -u jupyter-carol -- sh -c 'cd ~ && mkdir many && cd many && seq 100000 | xargs touch && cd .. && seq 2000 | xargs touch'")
		h.worksAsUsual(t, carol)
		want.Equal(t, "None", compute(t, kernel(t, carol), "import os; print(os.environ.get('PYTHONPATH'))"))
	})
	shells := func(words string) func(context.Context) error {
		return func(context.Context) error {
			running := h.run(t, `for each in $(find /proc -maxdepth 1 -user jupyter-carol); do tr '\0' ' ' <$each/cmdline; echo; done 2>/dev/null`).Output()
			if !strings.Contains(running, words) {
				return fmt.Errorf("no %s: %s", words, running)
			}
			return nil
		}
	}
	t.Run("a terminal whose shell is ended by .bashrc", func(t *testing.T) {
		_, err := carol.ServerAPI(t.Context(), "carol", http.MethodPost, "terminals", nil, nil)
		want.OK(t, err)
		guest.Until(t, 30*time.Second, shells("bash --noprofile --norc"))
	})
	t.Run("a full home", func(t *testing.T) {
		want.OK(t, carol.StopServer(t.Context(), "carol"))
		h.must(t, "mount -t tmpfs -o size=20M,mode=700,uid=$(id -u jupyter-carol),gid=$(id -g jupyter-carol) none "+home(carol))
		defer h.MustSh(t, "umount -l "+home(carol))
		start(t, carol)
		compute(t, kernel(t, carol), "open('lots', 'wb').write(b'x' * 100)")
		h.run(t, "runuser -u jupyter-carol -- sh -c 'cat /dev/zero > ~/rest'")
		k := kernel(t, carol)
		want.Equal(t, "42", compute(t, k, "print(6 * 7)"))
		h.run(t, "runuser -u jupyter-carol -- sh -c 'cat /dev/zero > ~/more; for n in $(seq 100); do echo x > ~/more$n; done'") // what became free since
		_, err := carol.ServerAPI(t.Context(), "carol", http.MethodDelete, "contents/lots", nil, nil)
		if err != nil { // the trash of some file systems takes a file all the same
			want.Contains(t, refusal(t, err, "deleting").Message, "your home folder is full", "rm -r ~/.local/share/Trash")
		}
		compute(t, k, "import os; os.remove('rest')")
		if err != nil {
			_, err = carol.ServerAPI(t.Context(), "carol", http.MethodDelete, "contents/lots", nil, nil)
		}
		want.OK(t, err)
		want.OK(t, carol.StopServer(t.Context(), "carol"))
	})
	h.reportsOfConfigs(t, carol)
}

// startKernel returns why a kernel does not start.
func startKernel(t *testing.T, b *client.Browser, name string) error {
	t.Helper()
	k, err := b.StartKernelOf(t.Context(), name)
	if err == nil {
		_ = k.Close()
	}
	return err
}
