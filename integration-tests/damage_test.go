package integration

import (
	"strings"
	"testing"
	"time"

	"tljh/integration-tests/want"
	"tljh/internal/layout"
)

const repairCommand = "sudo tljh-install env repair"

// TestDamageIsReportedAndRepaired breaks what only a check found before: status and install report it at once, servers start from the rescue environment
// where pages or kernels cannot work, and the repair happens in place.
func TestDamageIsReportedAndRepaired(t *testing.T) {
	t.Parallel()
	h := installed(t)
	teacher := h.admin(t)
	bob := h.student(t, teacher, "bob")
	compute(t, kernel(t, bob), "open('diary', 'w').write('mine')")
	want.OK(t, bob.StopServer(t.Context(), "bob"))
	certificates := "PIP_CERT=/etc/ssl/certs/ca-certificates.crt "
	pip := certificates + "/opt/tljh/user/bin/python -m pip install -q --no-deps --root-user-action=ignore "
	healthy := func(t *testing.T) {
		t.Helper()
		want.Equal(t, 0, h.run(t, "tljh-install status").Code)
		want.Contains(t, h.must(t, "tljh-install install"), "Nothing to do")
	}
	healthy(t)
	h.must(t, pip+"six && tljh-install env snapshot")

	for _, broken := range []struct {
		name, breaking, words string
		rescue                bool
	}{
		{"JupyterLab is gone", "rm -rf " + userSite + "/jupyterlab", "jupyterlab is missing", true},
		{"the kernel is gone", "rm -rf " + userSite + "/ipykernel", "ipykernel is missing", true},
		{"JupyterHub is another", pip + "jupyterhub==1.0.0", "has JupyterHub 1.0.0", true},
		{"pip was killed while it replaced a package", "cd " + userSite + " && mv six-*.dist-info $(ls -d six-*.dist-info | sed s/^s/~/) && mv six.py ~ix.py", "left of a pip that was interrupted", false},
		{"half a package", "rm -rf " + userSite + "/six-*.dist-info && tljh-install env snapshot", "six.py is there, and its record is not", false},
	} {
		t.Run(broken.name, func(t *testing.T) {
			live := h.MustSh(t, "readlink "+layout.User)
			h.must(t, broken.breaking)
			began := time.Now()
			r := h.run(t, "tljh-install status")
			t.Logf("status took %.2f s", time.Since(began).Seconds())
			want.Differ(t, 0, r.Code, "status")
			want.Contains(t, r.Output(), broken.words, repairCommand)
			r = h.run(t, "tljh-install install")
			want.Equal(t, exitIncomplete, r.Code, r.Output())
			want.Contains(t, r.Output(), broken.words, repairCommand)
			want.Lacks(t, r.Output(), "up and healthy")
			if broken.rescue {
				h.worksFromRescue(t, bob)
			} else {
				want.Contains(t, h.run(t, "tljh-install env check").Output(), "six", "interrupted")
			}
			h.must(t, "tljh-install env repair")
			want.Equal(t, live, h.MustSh(t, "readlink "+layout.User), "the environment that was repaired in its place")
			want.Contains(t, h.must(t, "tljh-install env check"), "is healthy")
			h.must(t, "/opt/tljh/user/bin/python -c 'import six, jupyterlab, ipykernel'")
			if broken.rescue {
				want.OK(t, bob.StopServer(t.Context(), "bob"))
				h.worksAsUsual(t, bob)
				want.OK(t, bob.StopServer(t.Context(), "bob"))
			}
			healthy(t)
		})
	}
	t.Run("a snapshot of half a package is never offered", func(t *testing.T) {
		want.Contains(t, h.must(t, "tljh-install env history"), "its record is not")
	})
	t.Run("a file that only the check of all files finds", func(t *testing.T) {
		h.must(t, "echo broken >> "+userSite+"/six.py && systemctl start tljh-check.service")
		r := h.run(t, "tljh-install status")
		want.Differ(t, 0, r.Code, "status")
		want.Contains(t, r.Output(), "six.py was changed (found by the check of ", repairCommand)
		h.must(t, "tljh-install env repair")
		healthy(t)
	})
	t.Run("the receipt is lost, or damaged", func(t *testing.T) {
		for _, lost := range []struct{ how, mend string }{
			{"rm " + layout.Receipt, "tljh-install install"},
			{"echo no json >> " + layout.Receipt + " && echo '{}' >> " + layout.Receipt, "mv " + layout.Receipt + " " + layout.Receipt + ".damaged; tljh-install install"},
		} {
			h.must(t, lost.how)
			r := h.run(t, "tljh-install status")
			want.Differ(t, 0, r.Code, "status")
			want.Contains(t, r.Output(), "receipt", "sudo tljh-install install")
			h.must(t, "tljh-install config reload || true; "+lost.mend)
			healthy(t)
		}
	})
	t.Run("a snapshot that was killed", func(t *testing.T) {
		before := h.must(t, "tljh-install env history | wc -l")
		h.must(t, `flock `+layout.Lock+` -c 'touch /tmp/held; until test -e /tmp/released; do sleep 0.2; done' & until test -e /tmp/held; do sleep 0.1; done
/opt/tljh/user/bin/python -m pip uninstall -q -y --root-user-action=ignore six
timeout 60 sh -c 'until systemctl is-active tljh-environment.service | grep -q ^activating; do sleep 0.1; done'; sleep 2
systemctl kill -s KILL tljh-environment.service; sleep 1; touch /tmp/released; wait`)
		want.Lacks(t, h.run(t, "tljh-install status").Output(), "tljh-environment.service")
		h.must(t, "timeout 90 sh -c 'until test $(tljh-install env history | wc -l) -gt "+strings.TrimSpace(before)+"; do sleep 1; done'")
		healthy(t)
		h.must(t, pip+"six && tljh-install env snapshot")
	})
	t.Run("a timer that was stopped", func(t *testing.T) {
		h.MustSh(t, "systemctl stop tljh-firewall.timer")
		r := h.run(t, "tljh-install status")
		want.Differ(t, 0, r.Code, "status")
		want.Contains(t, r.Output(), "tljh-firewall.timer", "systemctl restart tljh-firewall.timer")
		h.MustSh(t, "systemctl restart tljh-firewall.timer")
		healthy(t)
	})
	t.Run("the database is damaged", func(t *testing.T) {
		h.MustSh(t, "rm -r /opt/tljh/state/copies && systemctl restart jupyterhub && timeout 60 sh -c 'until ls /opt/tljh/state/copies/jupyterhub-*.sqlite; do sleep 0.2; done'")
		h.MustSh(t, "systemctl stop jupyterhub && printf 'no database at all' | dd of=/opt/tljh/state/jupyterhub.sqlite conv=notrunc && systemctl start jupyterhub")
		h.awaitHub(t, time.Minute)
		h.worksAsUsual(t, h.login(t, "bob", passwordOf("bob"))) // the Admin page added him: only the database knows him
		r := h.run(t, "tljh-install status")
		want.Equal(t, exitFailed, r.Code, r.Output())
		want.Contains(t, r.Output(), "was damaged (file is not a database); a copy of", "/opt/tljh/state/jupyterhub.sqlite.damaged-", "sudo rm "+layout.DatabaseTold)
		want.Contains(t, h.MustSh(t, "journalctl --no-pager -u jupyterhub"), "THE DATABASE WAS DAMAGED")
		h.must(t, "rm "+layout.DatabaseTold)
		healthy(t)
	})
	t.Run("the passwords are damaged", func(t *testing.T) {
		for _, damage := range []string{"rm /opt/tljh/state/passwords.sqlite", ": > /opt/tljh/state/passwords.sqlite", "head -c 8192 /dev/urandom > /opt/tljh/state/passwords.sqlite"} {
			h.MustSh(t, "timeout 60 sh -c 'until ls /opt/tljh/state/copies/passwords-*.sqlite; do sleep 0.2; done'; "+damage)
			refusal(t, h.browser(t, "bob").Login(t.Context(), "another-password"), "logging in with a wrong password")
			h.login(t, "bob", passwordOf("bob"))
			r := h.run(t, "tljh-install status")
			want.Equal(t, exitFailed, r.Code, r.Output())
			want.Contains(t, r.Output(), "were damaged", "a copy of", "password --generate NAME", "sudo rm "+layout.PasswordsTold)
			h.must(t, "rm "+layout.PasswordsTold)
			healthy(t)
		}
	})
	t.Run("a damaged token", func(t *testing.T) {
		h.MustSh(t, "cd /opt/tljh/state && head -c 64 /dev/urandom | tee proxy.env edge.env > installer.token; ! timeout 60 systemctl restart configurable-http-proxy jupyterhub")
		h.must(t, "tljh-install install")
		h.login(t, "bob", passwordOf("bob"))
		healthy(t)
	})
	t.Run("the config is gone", func(t *testing.T) {
		h.set(t, "set limits.memory 2G")
		before := h.MustSh(t, "cat /opt/tljh/config/config.yaml && rm /opt/tljh/config/config.yaml")
		for _, command := range []string{"config reload", "install", "install --admin eve:" + passwordOf("eve"), "config set limits.memory 1G", "config edit", "config get limits.memory"} {
			r := h.run(t, "EDITOR=true tljh-install "+command)
			want.Differ(t, 0, r.Code, command)
			want.Contains(t, r.Output(), "config.yaml is missing, and nothing was changed", "sudo tljh-install config revert")
			want.Equal(t, "gone", h.MustSh(t, "test -e /opt/tljh/config/config.yaml || echo gone"), command)
		}
		want.Contains(t, h.run(t, "tljh-install status").Output(), "sudo tljh-install config revert")
		h.must(t, "tljh-install config revert")
		want.Equal(t, strings.TrimSpace(before), strings.TrimSpace(h.MustSh(t, "cat /opt/tljh/config/config.yaml")))
		healthy(t)
	})
}
