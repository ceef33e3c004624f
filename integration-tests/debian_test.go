package integration

import (
	"strings"
	"testing"
	"time"

	"tljh/integration-tests/want"
)

// TestWhatDebianRestarts lets the real needrestart restart what uses a library that was updated, and an admin restart a server: nobody's work is lost to the one, and
// after the other the server is started anew.
func TestWhatDebianRestarts(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := installed(t)
	b := h.student(t, h.login(t, admin, adminPassword), "bob")
	k := kernel(t, b)
	compute(t, k, "x = 41")
	h.MustSh(t, "export DEBIAN_FRONTEND=noninteractive; apt-get update -qq && apt-get install -y -qq --no-install-recommends needrestart >/dev/null")
	before := h.property(t, "jupyter-bob.service", "InvocationID")
	hub := h.property(t, "jupyterhub.service", "InvocationID")
	// As an update does it: another file in its place.
	h.MustSh(t, "for lib in /lib/x86_64-linux-gnu/libc.so.6; do cp -p $lib $lib.new && mv $lib.new $lib; done")
	said := h.MustSh(t, "NEEDRESTART_SUSPEND= needrestart -r a -k -l 2>&1; needrestart -b -l 2>&1")
	t.Log(said)
	h.awaitHub(t, time.Minute)
	want.Differ(t, hub, h.property(t, "jupyterhub.service", "InvocationID"), "needrestart did nothing, so this test says nothing")
	want.Equal(t, before, h.property(t, "jupyter-bob.service", "InvocationID"))
	want.Equal(t, "41", recall(t, b, k), "what was in memory") // the edge and the proxy were restarted, too

	h.MustSh(t, "systemctl restart jupyter-bob.service || true")
	b = h.login(t, "bob", passwordOf("bob"))
	start(t, b)
	want.Equal(t, "42", compute(t, kernel(t, b), "print(6*7)"))
	t.Run("an sshd that is installed later keeps students out", func(t *testing.T) { studentsBySSH(t, h) })
	want.Equal(t, "running", h.MustSh(t, "systemctl is-system-running || systemctl --failed --no-legend --plain"), "the machine's state")
}

// studentsBySSH logs in by ssh as a student would from the own server, to get out of all confinement, and as an admin and another account of the machine do.
func studentsBySSH(t *testing.T, h *hub) {
	start(t, h.admin(t)) // who has an account from then on
	h.MustSh(t, `set -e; export DEBIAN_FRONTEND=noninteractive; apt-get install -y -qq --no-install-recommends openssh-server openssh-client >/dev/null
useradd -m -s /bin/bash carol; ssh-keygen -q -t ed25519 -N '' -f /root/key
for name in carol jupyter-bob jupyter-`+admin+`; do
	home=$(getent passwd $name | cut -d: -f6)
	install -d -o $name -m 700 $home/.ssh && install -o $name -m 600 /root/key.pub $home/.ssh/authorized_keys
done
systemctl start ssh`)
	into := func(account string) string {
		said, err := h.Sh(t.Context(), "ssh -i /root/key -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "+account+"@127.0.0.1 id -un 2>&1")
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(said.Stdout)
	}
	want.Contains(t, into("jupyter-bob"), "Permission denied")
	want.Equal(t, "jupyter-"+admin, into("jupyter-"+admin), "an admin")
	want.Equal(t, "carol", into("carol"), "an account that is none of the hub's")
	h.MustSh(t, "tljh-install config set users.ssh true --reload")
	want.Equal(t, "jupyter-bob", into("jupyter-bob"))
	h.MustSh(t, "tljh-install config set users.ssh false --reload")
	want.Contains(t, into("jupyter-bob"), "Permission denied")
	h.MustSh(t, "tljh-install status")
}
