package integration

import (
	"strings"
	"testing"
	"time"

	"tljh/integration-tests/want"
)

// TestTheHubDoesNotComeUp breaks the hub and lets root run the installer: it says so, with the hub's own words and what to do.
func TestTheHubDoesNotComeUp(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := installed(t)

	t.Run("a file of the admin's own ends it", func(t *testing.T) {
		h.MustSh(t, "echo 'import os; os.write(2, b\"CRITICAL the moon is in the way\" + bytes([10])); os._exit(1)' > /opt/tljh/config/jupyterhub_config.d/own.py")
		r := h.run(t, "tljh-install install")
		want.Equal(t, exitIncomplete, r.Code, r.Output())
		want.Contains(t, r.Output(), "the moon is in the way", "journalctl -u jupyterhub", "same command")
		want.Lacks(t, r.Output(), "hub is up")
		h.MustSh(t, "rm /opt/tljh/config/jupyterhub_config.d/own.py")
		h.must(t, "tljh-install install")
		h.awaitHub(t, 30*time.Second)
	})
	t.Run("nobody's server starts", func(t *testing.T) {
		h.MustSh(t, "chmod a-x /opt/tljh/user/bin/jupyterhub-singleuser && rm /etc/profile.d/tljh.sh") // the second, so that there is something to prove
		r := h.run(t, "tljh-install install")
		want.Equal(t, exitIncomplete, r.Code, r.Output())
		want.Contains(t, r.Output(), "probe user's server", "journalctl -u jupyterhub")
		want.Lacks(t, r.Output(), "hub is up")
		h.MustSh(t, "chmod a+x /opt/tljh/user/bin/jupyterhub-singleuser")
		h.must(t, "tljh-install install")
		h.noProbeUser(t)
	})
	h.usable(t, adminPassword)
}

// TestABadConfigDoesNotReplaceTheGoodOne gives the installer configs that read well and that the hub can't use.
func TestABadConfigDoesNotReplaceTheGoodOne(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := installed(t)
	const good = "users:\n  admin: [alice]\n  allowed: [grace]\nlimits:\n  memory: 1G\n"
	h.config(t, good)
	h.login(t, "grace", passwordOf("grace"))
	applied := func() string { return h.MustSh(t, "cat /opt/tljh/state/config.applied.yaml") }
	history := h.MustSh(t, "tljh-install config history")

	t.Run("an authenticator that is not there is found before anything is changed", func(t *testing.T) {
		want.OK(t, h.Write(t.Context(), "/root/wrong.yaml", 0o600, strings.NewReader("users:\n  admin: [alice]\nauth:\n  type: some.Wrong\n")))
		h.refused(t, "tljh-install install --config /root/wrong.yaml", exitBadInput, "wrong.yaml:4", "some.Wrong")
		h.MustSh(t, "cp /root/wrong.yaml /opt/tljh/config/config.yaml")
		h.refused(t, "tljh-install install", exitBadInput, "config.yaml:4", "some.Wrong")
		h.MustSh(t, "printf '"+strings.ReplaceAll(good, "\n", `\n`)+"' > /opt/tljh/config/config.yaml")
	})
	t.Run("a hub that goes on with the one before is told, and that one stays", func(t *testing.T) {
		// What only a hub at work finds out: the file that it reads is another than the installer's.
		h.MustSh(t, "mkdir -p /etc/systemd/system/jupyterhub.service.d && printf 'users: [\\n' > /root/other.yaml && chmod 600 /root/other.yaml && "+
			"printf '[Service]\\nBindReadOnlyPaths=/root/other.yaml:/opt/tljh/config/config.yaml\\n' > /etc/systemd/system/jupyterhub.service.d/other.conf && systemctl daemon-reload")
		want.OK(t, h.Write(t.Context(), "/root/more.yaml", 0o600, strings.NewReader(good+"  cpu: 1\n")))
		for range 2 { // again, it is no better
			r := h.run(t, "tljh-install install --config /root/more.yaml")
			want.Equal(t, exitIncomplete, r.Code, r.Output())
			want.Contains(t, r.Output(), "did not take the config", "config edit")
		}
		want.Equal(t, strings.TrimSpace(good), applied())
		h.MustSh(t, "rm -r /etc/systemd/system/jupyterhub.service.d && systemctl daemon-reload && printf '"+strings.ReplaceAll(good, "\n", `\n`)+"' > /opt/tljh/config/config.yaml")
		h.must(t, "tljh-install install")
	})
	want.Equal(t, strings.TrimSpace(good), applied())
	want.Equal(t, history, h.MustSh(t, "tljh-install config history"))
	h.MustSh(t, "systemctl restart jupyterhub")
	h.awaitHub(t, 30*time.Second)
	h.login(t, "grace", passwordOf("grace"))
}
