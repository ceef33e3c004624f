package firewall

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"tljh/internal/host"
	"tljh/internal/host/hosttest"
)

func TestPlanInWords(t *testing.T) {
	plan := Plan{Users: []uint32{1002, 1001, 1002}, Slice: &Slice{Path: "tljh.slice/tljh-users.slice", Level: 2, ID: 7}}
	require.Equal(t, `table inet tljh {
	set users {
		type uid
		elements = { 1001, 1002 }
	}
	set ports {
		type inet_service
		size 65535
		flags dynamic,timeout
		timeout 5m
	}
	chain arriving {
		type filter hook input priority filter; policy accept;
		iifname "lo" accept
		tcp flags & (fin | syn | rst | ack) == syn socket cgroupv2 level 2 "tljh.slice/tljh-users.slice" counter drop
		tcp flags & (fin | syn | rst | ack) == syn tcp dport @ports counter drop
	}
	chain answers {
		type filter hook output priority filter; policy accept;
		oifname "lo" accept
		tcp flags & (syn | ack) == syn | ack meta skuid @users update @ports { tcp sport } counter drop
	}
}
`, plan.String())
	if nft, err := exec.LookPath("nft"); err == nil && os.Getuid() == 0 {
		check := exec.Command(nft, "--check", "-f", "-")
		check.Stdin = strings.NewReader(Plan{Users: plan.Users}.String()) // the slice is not there
		if out, err := check.CombinedOutput(); err != nil && !strings.Contains(string(out), "not permitted") && !strings.Contains(string(out), "not supported") {
			t.Errorf("nft does not understand it: %s", out)
		}
	}
}

func TestUsersAreThoseOfTheHub(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		require.NoError(t, os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o644))
	}
	write("/etc/passwd", `root:x:0:0:JupyterHub user root:/root:/bin/sh
jupyter-bob:x:1001:1001:JupyterHub user bob:/home/jupyter-bob:/bin/bash
carol:x:1002:1002:,,,:/home/carol:/bin/bash
admin:x:1003:1003:,,,:/home/admin:/bin/bash
`)
	write("/etc/group", "jupyterhub-users:x:998:jupyter-bob,carol,from-ldap,nobody-knows\n")
	runner := &hosttest.Runner{}
	runner.On(hosttest.Answer{Code: 2, Stdout: "from-ldap:*:70001:70001::/home/from-ldap:/bin/sh\nother:*:5:5::/:/bin/sh\n"}, "getent")
	plan, err := Gather(t.Context(), &host.Host{Files: host.Files{Root: root}, Runner: runner})
	require.NoError(t, err)
	require.Equal(t, []uint32{1001, 1002, 70001}, plan.Users)
	require.Nil(t, plan.Slice)
}

func TestStateInWords(t *testing.T) {
	require.Equal(t, "closed to other machines", State{Closed: true}.Words())
	require.Equal(t, "open: users.may_listen is on", State{MayListen: true}.Words())
	require.Equal(t, "open to other machines: this kernel has no nf_tables, or not all that is needed of it", State{Why: Unsupported(unix.EPROTONOSUPPORT)}.Words())
	require.Empty(t, Unsupported(unix.ENOMEM))
	require.NotEmpty(t, Unsupported(unix.EPERM))
}
