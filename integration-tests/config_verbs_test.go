package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"tljh/integration-tests/guest"
	"tljh/integration-tests/want"
)

// TestConfigVerbs uses what is asked of the config's commands beyond setting keys: a version by its number, reports for programs, an editor that waits, and the
// address of releases.
func TestConfigVerbs(t *testing.T) {
	t.Parallel()
	h := installed(t)
	t.Run("back to a version by its number", func(t *testing.T) {
		h.set(t, "set limits.cpu 2")
		two := h.newestVersion(t)
		h.set(t, "set limits.cpu 3")
		h.set(t, "set hub.name Physics")
		want.Contains(t, h.must(t, "tljh-install config revert "+two), "-  cpu: 3", "+  cpu: 2", "-hub:")
		want.Contains(t, h.must(t, "tljh-install status"), "valid, in effect")
		want.Lacks(t, h.MustSh(t, "cat /opt/tljh/state/config.applied.yaml"), "Physics", "cpu: 3")
		want.Contains(t, h.must(t, "tljh-install config history"), "revert to "+two)
		before := h.MustSh(t, "cat /opt/tljh/config/config.yaml")
		r := h.run(t, "tljh-install config revert 4711")
		want.Equal(t, exitBadInput, r.Code, r.Output())
		want.Contains(t, r.Output(), "there is no version 4711", "config history")
		want.Equal(t, before, h.MustSh(t, "cat /opt/tljh/config/config.yaml"))
	})
	t.Run("reload for programs", func(t *testing.T) {
		h.must(t, "tljh-install config set hub.name Chemistry && tljh-install config set user_environment.packages '[six]'")
		result := report(t, h.must(t, "tljh-install config reload --json"))
		want.Contains(t, strings.Join(result.Changed, " "), "unit jupyterhub.service")
		want.Equal(t, "user_environment.packages", strings.Join(result.Left, " "))
		result = report(t, h.must(t, "tljh-install config reload --json"))
		want.Equal(t, 0, len(result.Changed), "something was done the second time")
		h.MustSh(t, "echo 'limits: {memory: lots}' >> /opt/tljh/config/config.yaml")
		r := h.run(t, "tljh-install config reload --json")
		want.Equal(t, exitBadInput, r.Code, r.Output())
		for line := range strings.Lines(r.Stdout) {
			want.True(t, json.Valid([]byte(line)), "this is no JSON: "+line)
		}
		want.Contains(t, r.Stdout, "limits")
		h.must(t, "tljh-install config revert && tljh-install config unset user_environment.packages && tljh-install config unset hub.name --reload")
	})
	t.Run("an editor that waits for another", func(t *testing.T) { h.waitingEditor(t) })
	t.Run("the address of releases", func(t *testing.T) {
		hubProcess := h.property(t, "jupyterhub.service", "MainPID")
		h.must(t, "tljh-install config set upgrade.url http://me:s3cret@127.0.0.1:9/tljh --reload")
		want.Equal(t, hubProcess, h.property(t, "jupyterhub.service", "MainPID"), "the hub was restarted for the address of releases")
		r := h.run(t, "tljh-install upgrade --yes; tljh-install upgrade --check; tljh-install releases; tljh-install releases --json")
		want.Contains(t, r.Output(), "127.0.0.1:9/tljh", "given by upgrade.url of the config")
		want.Lacks(t, r.Output()+h.MustSh(t, "cat /opt/tljh/installer.log; journalctl -o cat"), "s3cret")
		h.must(t, "tljh-install config set upgrade.url "+h.release.URL()+" --reload")
		want.Contains(t, h.run(t, "tljh-install upgrade --check").Output(), h.release.URL(), "by upgrade.url in the config")
		want.Contains(t, h.run(t, "runuser -u nobody -- tljh-install releases").Output(), "only root can read")
		h.must(t, "tljh-install config unset upgrade.url --reload")
	})
}

func (h *hub) waitingEditor(t *testing.T) {
	first := h.slowEditor(t, "; echo \"limits: {memory: 2G}\" > \"$1\"")

	h.MustSh(t, "printf '#!/bin/sh\\ncp \"$1\" /root/seen; echo \"hub: {name: Second}\" >> \"$1\"\\n' > /root/quick && chmod +x /root/quick")
	second, err := h.Start(t.Context(), "env", "EDITOR=/root/quick", "tljh-install", "config", "edit", "--wait")
	want.OK(t, err)
	guest.Until(t, 60*time.Second, func(context.Context) error {
		if said := second.Output(); !strings.Contains(said, "Waiting: the config is being edited by root, process ") {
			return fmt.Errorf("the second one does not say whom it waits for: %q", said)
		}
		return nil
	})
	want.Equal(t, "no", h.MustSh(t, "[ -e /root/seen ] && echo yes || echo no"), "the second editor did not wait")
	h.MustSh(t, "echo > /root/go")
	for _, editor := range []*guest.Process{first, second} {
		r, err := editor.Wait()
		want.OK(t, err)
		want.Equal(t, 0, r.Code, r.Output())
	}
	want.Contains(t, h.MustSh(t, "cat /root/seen"), "memory: 2G")
	want.Contains(t, h.MustSh(t, "cat /opt/tljh/state/config.applied.yaml"), "memory: 2G", "name: Second")
}

// newestVersion is the number of the config's version that is in effect.
func (h *hub) newestVersion(t *testing.T) string {
	t.Helper()
	rows := strings.Split(h.must(t, "tljh-install config history"), "\n")
	return strings.Fields(rows[1])[0]
}

// reported is what the last line of a reload's report for programs says.
type reported struct {
	Changed, Left []string
}

func report(t *testing.T, output string) reported {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(output), "\n")
	var event struct{ Data reported }
	want.OK(t, json.Unmarshal([]byte(lines[len(lines)-1]), &event), output)
	return event.Data
}
