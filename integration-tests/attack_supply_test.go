package integration

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"tljh/integration-tests/release"
	"tljh/integration-tests/want"
	signed "tljh/internal/release"
)

// shelf is a folder of a release that a test may change: the files of another, with a program that differs by a byte at its end and does the same.
func shelf(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	for _, name := range releaseFiles {
		data, err := os.ReadFile(filepath.Join(from, name))
		want.OK(t, err)
		if name == "tljh-install-linux-"+runtime.GOARCH {
			data = append(data, '\n')
		}
		want.OK(t, os.WriteFile(filepath.Join(to, name), data, 0o755))
	}
	return to
}

// TestPastedLineAgain pastes the line again where its address holds something else by now. Whoever holds the address, or stands on the way to it, gets
// no program onto a hub that its publisher did not sign; and what the hub would not go on with replaces nothing.
func TestPastedLineAgain(t *testing.T) {
	t.Parallel()
	h := before(t)
	ws, err := workshop()
	want.OK(t, err)
	next, old := variant(t, release.Next(newVersion)), variant(t, release.Previous(oldVersion))
	was := h.installedState(t)
	paste := func(t *testing.T, folder, args string, code int, words ...string) {
		t.Helper()
		r := h.run(t, release.Line(h.serve(t, folder).URL(), "", args))
		want.Equal(t, code, r.Code, r.Output())
		want.Contains(t, r.Output(), words...)
	}
	unchanged := func(t *testing.T) {
		t.Helper()
		want.SameLines(t, was, h.installedState(t), "something was changed")
		want.Equal(t, oldVersion, h.version(t))
		want.Equal(t, "active", h.MustSh(t, "systemctl is-active jupyterhub"))
	}
	t.Run("a newer release", func(t *testing.T) {
		paste(t, next, "", exitRefused, "0.0.9 is installed on this machine, and this is 0.1.0", "sudo tljh-install upgrade --from http://", "Nothing was changed")
		unchanged(t)
	})
	t.Run("a release that nobody has signed", func(t *testing.T) {
		folder := shelf(t, old)
		want.OK(t, ws.Sign(folder, oldVersion))
		want.OK(t, os.Remove(filepath.Join(folder, signed.Signature)))
		paste(t, folder, "", exitBadInput, "is not signed", "--unsigned", "Nothing was changed")
		unchanged(t)
	})
	t.Run("other checksums behind the signature that was there", func(t *testing.T) {
		folder := shelf(t, old)
		signature, err := os.ReadFile(filepath.Join(folder, signed.Signature))
		want.OK(t, err)
		want.OK(t, ws.Sign(folder, oldVersion))
		want.OK(t, os.WriteFile(filepath.Join(folder, signed.Signature), signature, 0o644))
		paste(t, folder, "", exitBadInput, "is not one of the key that this program trusts", "Nothing was changed")
		unchanged(t)
	})
	t.Run("another program behind good checksums", func(t *testing.T) {
		folder := shelf(t, old)
		want.OK(t, ws.Sign(folder, oldVersion))
		program, err := os.OpenFile(filepath.Join(folder, "tljh-install-linux-"+runtime.GOARCH), os.O_APPEND|os.O_WRONLY, 0)
		want.OK(t, err)
		_, err = program.WriteString("\n")
		want.OK(t, err)
		want.OK(t, program.Close())
		paste(t, folder, "", exitFailed, "the download is not the file that the release names")
		unchanged(t)
	})
	t.Run("the first program, checked by hand", func(t *testing.T) {
		folder := shelf(t, old)
		want.OK(t, ws.Sign(folder, oldVersion))
		lines := strings.Split(strings.TrimSpace(ws.Public()), "\n")
		want.OK(t, h.Write(t.Context(), "/root/release.pub", 0o644, strings.NewReader("untrusted comment: as in the source tree\n"+lines[len(lines)-1]+"\n")))
		address := h.serve(t, folder).URL()
		h.must(t, "export DEBIAN_FRONTEND=noninteractive; apt-get update -qq && apt-get install -y -qq --no-install-recommends minisign")
		h.must(t, "cd /root && curl -fsSO "+address+"/SHA256SUMS && curl -fsSO "+address+"/SHA256SUMS.minisig && minisign -Vm SHA256SUMS -p release.pub")
		want.Differ(t, 0, h.run(t, "cd /root && echo >>SHA256SUMS && minisign -Vm SHA256SUMS -p release.pub").Code, "minisign takes changed sums")
	})
	t.Run("the same release, built anew", func(t *testing.T) {
		folder := shelf(t, old)
		want.OK(t, ws.Sign(folder, oldVersion))
		paste(t, folder, "", 0, "is signed by the key that the installed program trusts (signed today)", "he hub is up")
		want.OK(t, os.Remove(filepath.Join(folder, signed.Signature)))
		paste(t, folder, "", 0, "The installer is already here")
	})
	t.Run("a build of one's own", func(t *testing.T) {
		folder := shelf(t, shelf(t, old))
		want.OK(t, ws.Sign(folder, oldVersion))
		want.OK(t, os.Remove(filepath.Join(folder, signed.Signature)))
		paste(t, folder, "--unsigned", 0, "he hub is up")
	})
	t.Run("a mirror that hides what it has shown", func(t *testing.T) {
		r := h.upgrade(t, exitUpgrade, "--check --from "+h.serve(t, next).URL())
		want.Contains(t, r.Output(), "Release 0.1.0 is signed ")
		r = h.upgrade(t, exitRefused, "--check --from "+h.serve(t, old).URL())
		want.Contains(t, r.Output(), "newer releases are held back there", "--from")
		want.Contains(t, h.run(t, "tljh-install status").Output(), "newest release seen", "0.1.0, signed ")
	})
	t.Run("a program of another release than the hub", func(t *testing.T) {
		program, err := os.Open(filepath.Join(next, "tljh-install-linux-"+runtime.GOARCH))
		want.OK(t, err)
		defer program.Close()
		want.OK(t, h.Write(t.Context(), "/opt/tljh/bin/another", 0o755, program))
		h.MustSh(t, "mv -f /opt/tljh/bin/another /opt/tljh/bin/tljh-install")
		want.Equal(t, newVersion, h.version(t))
		r := h.run(t, "tljh-install status")
		want.Equal(t, exitFailed, r.Code, r.Output())
		want.Contains(t, r.Output(), "this program is of 0.1.0, and the hub of 0.0.9", "hint: state: sudo tljh-install install")
		for _, verb := range []string{"config reload", "rollback --yes", "env rollback"} {
			r := h.run(t, "tljh-install "+verb)
			want.Equal(t, exitRefused, r.Code, verb+": "+r.Output())
			want.Contains(t, r.Output(), "sudo tljh-install install", "nothing was changed")
		}
		want.Contains(t, h.must(t, "tljh-install install"), "switching back to the program of 0.0.9")
		want.Equal(t, oldVersion, h.version(t))
		want.Equal(t, 0, h.run(t, "tljh-install status").Code)
	})
	t.Run("programs in the user environment that have the names of the system's", func(t *testing.T) {
		h.MustSh(t, `useradd --create-home --shell /bin/bash --groups jupyterhub-admins teacher
for name in id ls bash visudo; do printf '#!/bin/sh\nid -u >>/tmp/ran-as\n' >/opt/tljh/user/bin/$name && chmod 0755 /opt/tljh/user/bin/$name; done`)
		for _, line := range []string{"sudo id -u", "sudo -E ls /root", "JUPYTERHUB_USER=teacher sudo -E bash -lc 'id -u'", "sudo JUPYTERHUB_USER=teacher bash -lc 'id -u'"} {
			r := h.run(t, "runuser -u teacher -- sh -c \""+line+"\"")
			want.Equal(t, 0, r.Code, line+": "+r.Output())
			want.Equal(t, "", h.MustSh(t, "cat /tmp/ran-as 2>/dev/null || true"), "root ran what others can write: "+line)
		}
		h.MustSh(t, "rm /opt/tljh/user/bin/id /opt/tljh/user/bin/ls /opt/tljh/user/bin/bash /opt/tljh/user/bin/visudo")
		want.Contains(t, h.must(t, "runuser -u teacher -- sh -c 'sudo -E pip --version'"), "/opt/tljh/")
	})
}

// refusesWhileAdopting tries the commands that would write our units, config or environment over a hub that is half another's. Each is refused, changes
// nothing, and names the one command that is right; status does, too, and recommends nothing else.
func (h *hub) refusesWhileAdopting(t *testing.T) {
	t.Helper()
	if h.MustSh(t, "ls /opt/tljh/state/adopt.json 2>/dev/null || true") == "" {
		return
	}
	const look = "cat /etc/systemd/system/jupyterhub.service /opt/tljh/config/config.yaml /opt/tljh/state/adopt.json 2>&1 | sha256sum"
	was := h.MustSh(t, look)
	for _, verb := range []string{"config reload", "config set limits.memory 1G --reload", "config revert", "env rollback", "password alice"} {
		r := h.run(t, "echo a-long-password | /opt/tljh/bin/tljh-install "+verb)
		want.Equal(t, exitRefused, r.Code, verb+": "+r.Output())
		want.Contains(t, r.Output(), "an adoption was interrupted", "complete it first: sudo tljh-install install", "nothing was changed")
	}
	want.Equal(t, was, h.MustSh(t, look), "what was changed all the same")
	r := h.run(t, "/opt/tljh/bin/tljh-install status")
	want.Equal(t, exitFailed, r.Code, r.Output())
	want.Contains(t, r.Output(), "an adoption was interrupted", "hint: state: sudo tljh-install install")
	want.Lacks(t, r.Output(), "config reload", "mv ")
}
