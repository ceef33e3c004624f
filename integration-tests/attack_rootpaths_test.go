package integration

import (
	_ "embed"
	"strings"
	"testing"
	"time"

	"tljh/integration-tests/want"
)

//go:embed testdata/swap.py
var swapper string

//go:embed testdata/evil.py
var evilPackage string

// asOwner begins a command that the account of the user environment runs.
const asOwner = "setpriv --reuid=tljh-env --regid=tljh-env --clear-groups "

// postBuild of a course that somebody wrote against the machine. It leaves processes behind, and says that a generation of its own is complete.
const hostileBuild = `#!/bin/bash
setsid bash -c 'trap "" TERM HUP INT; exec -a survivor sleep 1000' &
(setsid python3 -c '
import os, time
if os.fork(): os._exit(0)
time.sleep(1000)' &)
echo '{"kind":"user","number":99}' >"$NB_PYTHON_PREFIX/generation.json"
echo "bounding $(grep CapBnd /proc/self/status)"
touch /opt/tljh/user/touched /tmp/left-by-build
exit 0
`

// ownerRuns lists what the account of the user environment runs.
const ownerRuns = `for p in /proc/[0-9]*; do [ "$(stat -c %U $p 2>/dev/null)" = tljh-env ] && tr '\0' ' ' <$p/cmdline; done; true`

// TestFoldersOfOthersAreNoWayToRoot attacks root where it works in the user environment, which other accounts may change.
func TestFoldersOfOthersAreNoWayToRoot(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := attacked(t)
	h.MustSh(t, "mkdir -p /srv/course /root/decoy")
	course := func(postBuild string) {
		want.OK(t, h.Write(t.Context(), "/srv/course/postBuild", 0o755, strings.NewReader(postBuild)))
		want.OK(t, h.Write(t.Context(), "/srv/course/start", 0o755, strings.NewReader("#!/bin/sh\nexec \"$@\"\n")))
	}
	// quick runs a command that must not wait for what somebody else put there.
	quick := func(t *testing.T, command string) string {
		t.Helper()
		begun := time.Now()
		r := h.run(t, "timeout 60 "+command)
		want.True(t, time.Since(begun) < 45*time.Second && r.Code != 124, command+" hangs")
		return r.Output()
	}

	t.Run("what a build starts does not outlive it", func(t *testing.T) {
		course(hostileBuild)
		h.MustSh(t, asOwner+"setsid sh -c 'exec -a earlier sleep 1000' >/dev/null 2>&1 &")
		h.must(t, "tljh-install env apply /srv/course")
		want.Equal(t, "", h.MustSh(t, ownerRuns))
		want.Equal(t, "", h.MustSh(t, "ls /run/tljh/work; ls -d /opt/tljh/user/touched /tmp/left-by-build 2>/dev/null; true"))
		want.Contains(t, h.MustSh(t, "grep bounding /opt/tljh/installer.log"), "0000000000000000")
		want.Equal(t, "tljh-env", h.MustSh(t, "stat -c %U $(readlink /opt/tljh/user)/etc/tljh/start"))
	})
	t.Run("a package that is built", func(t *testing.T) {
		want.OK(t, h.Write(t.Context(), "/srv/evil.py", 0o644, strings.NewReader(evilPackage)))
		h.MustSh(t, "/opt/tljh/hub/bin/python /srv/evil.py source /srv/evil-1.tar.gz; "+
			"systemd-run --quiet --unit=packages /opt/tljh/hub/bin/python -m http.server --bind 127.0.0.1 --directory /srv 18777")
		defer h.MustSh(t, "systemctl stop packages")
		h.MustSh(t, "curl -sf --retry 20 --retry-all-errors --retry-delay 1 -o /dev/null http://127.0.0.1:18777/evil-1.tar.gz")
		h.must(t, "tljh-install env install 'evil @ http://127.0.0.1:18777/evil-1.tar.gz'")
		told := h.MustSh(t, "cat /opt/tljh/user/site-packages/evil_told.txt")
		want.Contains(t, told, "account "+h.MustSh(t, "id -u tljh-env"), "rights 0000000000000000", "wrote []") // what it sees of /root is a folder of the unit's own
		want.Equal(t, "", h.MustSh(t, ownerRuns), "what it started outlives it")
	})
	t.Run("a link in the place of a folder", func(t *testing.T) {
		course("#!/bin/sh\nmkdir -p $NB_PYTHON_PREFIX/etc && ln -s /run/systemd/generator $NB_PYTHON_PREFIX/etc/tljh\n")
		before := h.MustSh(t, "readlink /opt/tljh/user")
		want.Equal(t, exitFailed, h.run(t, "tljh-install env apply /srv/course").Code)
		want.Equal(t, before, h.MustSh(t, "readlink /opt/tljh/user"))
		want.Equal(t, "", h.MustSh(t, "ls /run/systemd/generator | grep start; true"))
	})
	t.Run("folders are swapped all the time", func(t *testing.T) {
		course("#!/bin/sh\nexit 0\n")
		want.OK(t, h.Write(t.Context(), "/srv/swap.py", 0o755, strings.NewReader(swapper)))
		// An admin's loop starts it anew whenever it is ended.
		h.MustSh(t, "touch /root/stamp; sleep 1; systemd-run --quiet --unit=swapping sh -c 'while :; do "+asOwner+"python3 /srv/swap.py /root/decoy; done'")
		for _, command := range []string{"env apply /srv/course", "env snapshot", "env export /root/exported", "env check", "status", "env apply /srv/course"} {
			h.run(t, "timeout 300 tljh-install "+command) // it may fail
		}
		h.MustSh(t, "systemctl kill --signal=KILL swapping; systemctl stop swapping; rm -rf /root/exported")
		want.Equal(t, "", h.MustSh(t, "find /root/decoy /run/systemd/generator -mindepth 1 -newer /root/stamp; stat -c %U /root/decoy | grep -v root; true"))
		h.MustSh(t, "for g in /opt/tljh/generations/user-*; do for n in etc/tljh etc site-packages conda-meta generation.json .lock; do [ -L $g/$n ] && rm $g/$n; done; rm -f $g/.trap-*; done; true")
		course("#!/bin/sh\nexit 0\n")
		h.must(t, "tljh-install env apply /srv/course")
		want.Contains(t, h.must(t, "tljh-install env check"), "is healthy")
	})
	t.Run("a file of root's is exported", func(t *testing.T) {
		h.MustSh(t, "echo top-secret >/root/secret; chmod 600 /root/secret; cd $(readlink /opt/tljh/user); mv etc/tljh/start /root/start.kept; ln -s /root/secret etc/tljh/start")
		h.run(t, "tljh-install env export /root/exported")
		want.Equal(t, "", h.MustSh(t, "grep -rs top-secret /root/exported; true"))
		h.MustSh(t, "cd $(readlink /opt/tljh/user); rm -rf etc/tljh/start /root/exported; mv /root/start.kept etc/tljh/start")
	})
	t.Run("a source that leads elsewhere", func(t *testing.T) {
		h.MustSh(t, "install -d -o nobody /srv/theirs && cd /srv/theirs && "+
			"setpriv --reuid=nobody --clear-groups ln -s /root theirs && mkdir /root/binder && echo rich >/root/requirements.txt")
		r := h.run(t, "tljh-install env apply /srv/theirs/theirs")
		want.Contains(t, r.Output(), "link that another account can change")
		h.MustSh(t, "rm -r /root/binder /root/requirements.txt")
	})
	t.Run("a description that is no file", func(t *testing.T) {
		live := h.MustSh(t, "readlink /opt/tljh/user")
		h.MustSh(t, "mv /opt/tljh/generations/.made /root/made") // as the release before left it
		for _, put := range []string{"mkfifo g", "truncate -s 1T g", "ln -s /root/secret g", "mkdir g", "truncate -s 1T /srv/huge; ln -s /srv/huge g"} {
			h.MustSh(t, "cd "+live+" && rm -rf generation.json g && "+put+" && mv -T g generation.json")
			for _, command := range []string{"status", "env history", "env list", "env snapshot"} {
				want.Lacks(t, quick(t, "tljh-install "+command), "top-secret")
			}
		}
		h.MustSh(t, "rm -rf "+live+"/generation.json && mv /root/made /opt/tljh/generations/.made")
		want.Contains(t, quick(t, "tljh-install env check"), "is healthy")
	})
	t.Run("packages that look at other processes", func(t *testing.T) {
		spy := `import os,sys,glob; me=os.getpid(); seen=[p for p in glob.glob("/proc/[0-9]*") if int(p[6:])!=me]; sys.stderr.write("uid %d sees %d others\n" % (os.getuid(), len(seen))); os._exit(3)`
		h.MustSh(t, `cd $(readlink /opt/tljh/user)/site-packages && cat >spy.pth <<'X'`+"\n"+spy+"\nX\n")
		says := quick(t, "tljh-install env check")
		want.Contains(t, says, "sees 0 others")
		want.Lacks(t, says, "uid 65534")
		h.MustSh(t, "rm $(readlink /opt/tljh/user)/site-packages/spy.pth")
		culler := h.MustSh(t, "systemctl show -P MainPID tljh-culler")
		want.Lacks(t, h.MustSh(t, "tr '\\0' '\\n' </proc/"+culler+"/environ"), "JUPYTERHUB_API_TOKEN")
		want.Differ(t, 0, h.run(t, "setpriv --reuid=nobody --clear-groups cat /proc/"+culler+"/environ").Code)
		want.Differ(t, "65534", h.MustSh(t, "stat -c %u /proc/"+culler))
	})
}
