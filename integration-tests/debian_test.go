package integration

import (
	"testing"
	"time"

	"tljh/integration-tests/want"
)

// TestWhatDebianRestarts lets the real needrestart restart what uses a library that was updated, and an admin restart a server: nobody's work is lost to the one, and
// after the other the server is started anew.
func TestWhatDebianRestarts(t *testing.T) {
	t.Parallel()
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
	want.Equal(t, "running", h.MustSh(t, "systemctl is-system-running || systemctl --failed --no-legend --plain"), "the machine's state")
}
