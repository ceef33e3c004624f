package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"tljh/integration-tests/guest"
	"tljh/integration-tests/want"
)

// finding is what a check said, as --json has it.
type finding struct {
	Kind, Step, Status, Message, Hint string
}

// preflight has the program look at the machine, without changing it. What comes before it runs in a mount namespace of its own: what is mounted there goes with it.
func (h *hub) preflight(t *testing.T, before, args string, code int) map[string]finding {
	t.Helper()
	r := h.run(t, "unshare --mount sh -ec '"+before+" /root/tljh-install install --admin alice --plan --json "+args+"'")
	want.Equal(t, code, r.Code, r.Output())
	found := map[string]finding{}
	for line := range strings.Lines(r.Output()) {
		var f finding
		if json.Unmarshal([]byte(line), &f) == nil && f.Kind == "check" {
			found[f.Step] = f
		}
	}
	return found
}

// says checks a finding's severity and words.
func (f finding) says(t *testing.T, status string, words ...string) {
	t.Helper()
	want.Equal(t, status, f.Status, f.Step+": "+f.Message)
	want.Contains(t, f.Message+"\n"+f.Hint, words...)
}

func TestPreflightTriesTheMachine(t *testing.T) {
	t.Parallel()
	for _, suite := range []string{guest.Bookworm, guest.Trixie} {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			h := bare(t, guest.Options{Suite: suite})
			h.copyProgram(t)
			h.machineAsItIs(t)
			h.machineWithFaults(t)
		})
	}
}

// machineAsItIs is a fresh server: nothing is wrong with it, and two programs are missing.
func (h *hub) machineAsItIs(t *testing.T) {
	before := h.state(t)
	found := h.preflight(t, "", "", 0)
	found["git"].says(t, "warning", "git is not installed", "sudo apt install git")
	found["editor"].says(t, "warning", "no editor", "sudo apt install nano")
	found["sandbox"].says(t, "ok", "start with all of their") // of each service that runs by itself, and of servers
	found["programs"].says(t, "ok", "2.")
	want.SameLines(t, before, h.state(t), "it changed something")
	want.Equal(t, "", h.MustSh(t, "systemctl list-units --all --no-legend --plain 'run-*.service'; systemctl --failed --no-legend --plain"), "what was tried is left")

	h.MustSh(t, "for name in git nano; do printf '#!/bin/sh\\n' >/usr/local/bin/$name && chmod 0755 /usr/local/bin/$name; done")
	start := time.Now()
	for name, f := range h.preflight(t, "", "", 0) {
		if name != "memory" && name != "clock" && name != "package-sources" { // those of the machine that the guest runs on
			want.True(t, f.Status == "ok" || f.Status == "skipped", fmt.Sprintf("%s: %s: %s", name, f.Status, f.Message))
		}
	}
	t.Logf("the plan took %s", time.Since(start))
}

func (h *hub) machineWithFaults(t *testing.T) {
	t.Run("noexec", func(t *testing.T) {
		mount := "mount -t tmpfs -o noexec,size=3G tmpfs /opt;"
		h.preflight(t, mount, "", exitRefused)["noexec"].says(t, "failed", "/opt/tljh is mounted with noexec", "/etc/fstab")
		h.preflight(t, mount, "--ignore-preflight noexec", 0)["noexec"].says(t, "warning", "ignored, as asked")
		h.preflight(t, "mount -t tmpfs -o noexec,size=3G tmpfs /home;", "", 0)["noexec"].says(t, "warning", "/home")
	})
	t.Run("read-only", func(t *testing.T) {
		h.preflight(t, "mount --bind /etc /etc; mount -o remount,bind,ro /etc;", "", exitRefused)["read-only"].says(t, "failed", "nobody can write to /etc", "findmnt -T /etc")
	})
	t.Run("sudo without the folder of rules", func(t *testing.T) {
		h.preflight(t, "mount --bind /dev/null /etc/sudoers;", "", 0)["sudoers"].says(t, "warning", "does not include /etc/sudoers.d", "visudo")
	})
	t.Run("an address of another machine", func(t *testing.T) {
		h.MustSh(t, "printf 'http:\\n  address: 203.0.113.9\\n' >/root/address.yaml")
		h.preflight(t, "", "--config /root/address.yaml", exitRefused)["addresses"].says(t, "failed", "203.0.113.9 (http.address of the config)", "ip address")
	})
	t.Run("a full disk beside /opt", func(t *testing.T) {
		h.preflight(t, "mount -t tmpfs -o size=4M tmpfs /var;", "", exitRefused)["disk"].says(t, "failed", "4 MB is free in /var", "df -h /var")
	})
	t.Run("no memory controller", func(t *testing.T) {
		found := h.preflight(t, "mount -t tmpfs tmpfs /sys/fs/cgroup; echo cpu pids >/sys/fs/cgroup/cgroup.controllers;", "", 0)
		found["limits"].says(t, "warning", "memory limits have no effect")
	})
	t.Run("settings of the kernel", func(t *testing.T) {
		set := func(key string, value int) string {
			return fmt.Sprintf("echo %d >/run/setting; mount --bind /run/setting /proc/sys/%s;", value, key)
		}
		h.preflight(t, set("net/ipv4/ip_unprivileged_port_start", 80), "", 0)["unprivileged-ports"].says(t, "warning", "127.0.0.1:971", "1024")
		h.preflight(t, set("fs/inotify/max_user_instances", 16), "", 0)["inotify"].says(t, "warning", "is 16", "max_user_instances=1024")
		h.MustSh(t, "rm -f /run/setting")
	})
	t.Run("a sandbox that is refused", func(t *testing.T) {
		h.MustSh(t, "mv /var/tmp /var/tmp.away && touch /var/tmp")
		h.preflight(t, "", "", exitRefused)["sandbox"].says(t, "failed", "jupyterhub.service", "PrivateTmp")
		h.MustSh(t, "rm /var/tmp && mv /var/tmp.away /var/tmp")
	})
}
