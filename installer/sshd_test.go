package installer

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/check"
	"tljh/internal/host/hosttest"
	"tljh/internal/layout"
	"tljh/internal/step"
)

const (
	sshOwn      = "users: {ssh: false, account_prefix: jupyter-}\n"
	sshToAll    = "users: {ssh: true}\n"
	sshOfASite  = `users: {account_prefix: ""}` + "\n"
	sshdInclude = "Include /etc/ssh/sshd_config.d/*.conf\n"
)

// sshSite has an sshd that runs, under the name that Debian gives it.
func sshSite(t *testing.T) (*wholeSite, *step.Context, *[]string) {
	t.Helper()
	s := newWholeSite(t)
	s.put("/etc/ssh/sshd_config", sshdInclude)
	s.put("/etc/ssh/sshd_config.d/own.conf", "")
	s.put("/usr/sbin/sshd", "")
	s.put("/etc/systemd/system/ssh.service", "[Service]\n")
	s.put(layout.Runtime+"/here", "")
	s.put(layout.State+"/here", "")
	require.NoError(t, s.systemd.Do(t.Context(), "start", "ssh.service"))
	told := &[]string{}
	return s, &step.Context{Host: s.host, Tell: func(format string, args ...any) { *told = append(*told, fmt.Sprintf(format, args...)) }}, told
}

func applyStep(t *testing.T, c *step.Context, s step.Step) {
	t.Helper()
	require.NoError(t, s.Apply(t.Context(), c))
}

func TestSSHRule(t *testing.T) {
	s, c, told := sshSite(t)
	s.runner.On(hosttest.Answer{}, "/usr/sbin/sshd")
	s.runner.On(hosttest.Answer{}, "systemctl", "reload", "ssh.service")
	s.runner.On(hosttest.Answer{Code: 1, Stderr: "no good", Times: 1}, "systemctl", "reload", "ssh.service")
	closed := sshStep(parse(t, sshOwn))
	state := func(each step.Step) step.State {
		state, err := each.Check(t.Context(), c)
		require.NoError(t, err)
		return state
	}
	assert.Equal(t, step.Absent, state(closed))
	applyStep(t, c, closed)
	require.Len(t, *told, 1, "an sshd that does not read it keeps nobody from a hub")
	assert.Contains(t, (*told)[0], "sudo sshd -t")
	assert.Equal(t, step.Different, state(closed), "what sshd has not read is done again")
	applyStep(t, c, closed)
	assert.Len(t, *told, 1)
	assert.Equal(t, step.Same, state(closed))
	assert.Equal(t, sshRule, string(s.read(layout.SSHRule)))

	for _, open := range []string{sshToAll, sshOfASite} {
		applyStep(t, c, closed)
		opened := sshStep(parse(t, open))
		assert.Equal(t, step.Different, state(opened), open)
		applyStep(t, c, opened)
		assert.Equal(t, step.Same, state(opened), open)
		assert.False(t, s.files.Exists(layout.SSHRule), open)
	}
}

// A rule that sshd refuses would end it at its next start: it never gets its name.
func TestSSHRuleIsJudgedBeforeItIsLive(t *testing.T) {
	s, c, _ := sshSite(t)
	s.runner.On(hosttest.Answer{Code: 255, Stderr: "bad"}, "/usr/sbin/sshd")
	require.ErrorContains(t, sshStep(parse(t, sshOwn)).Apply(t.Context(), c), "bad")
	assert.False(t, s.files.Exists(layout.SSHRule))
}

func TestStatusOfSSH(t *testing.T) {
	for name, c := range map[string]struct {
		config, main string
		unread       bool
		state        string
	}{
		"closed":        {sshOwn, sshdInclude, false, ""},
		"not read":      {sshOwn, sshdInclude, true, "has not read"},
		"no includes":   {sshOwn, "PermitRootLogin no\n", false, "includes no files"},
		"no sshd":       {sshOwn, "", true, ""},
		"open to all":   {sshToAll, sshdInclude, true, ""},
		"site accounts": {sshOfASite, sshdInclude, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newWholeSite(t)
			s.put("/etc/ssh/sshd_config", c.main)
			if c.unread {
				s.put(sshUnread, "")
			}
			part, shown := lookAtSSH(s.files, parse(t, c.config))
			assert.Equal(t, c.state != "", shown)
			if shown {
				assert.Contains(t, part.State, c.state)
			}
		})
	}
}

func TestSSHKeysAreNamed(t *testing.T) {
	s := newWholeSite(t)
	s.put("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\n"+bob+"jupyter-eve:x:1002:1002::/home/jupyter-eve:/bin/bash\njupyter-ann:x:1003:1003::/home/jupyter-ann:/bin/bash\n")
	s.put("/etc/group", "jupyterhub-users:x:991:jupyter-bob,jupyter-eve,jupyter-ann\njupyterhub-admins:x:990:jupyter-ann\n")
	assert.Equal(t, check.OK, s.finding(s.installer(), &Inputs{Config: parse(t, sshOwn)}, "ssh-keys").Severity)
	s.put("/home/jupyter-bob/.ssh/authorized_keys", "")
	s.put("/home/jupyter-ann/.ssh/authorized_keys", "")
	found := s.finding(s.installer(), &Inputs{Config: parse(t, sshOwn)}, "ssh-keys")
	assert.Equal(t, check.Warning, found.Severity)
	assert.Contains(t, found.Message, "jupyter-bob")
	assert.NotContains(t, found.Message, "jupyter-ann", "admins are let in")
	assert.Contains(t, found.Hint, "users.ssh true")
	assert.Equal(t, check.OK, s.finding(s.installer(), &Inputs{Config: parse(t, sshToAll)}, "ssh-keys").Severity)
}

// What a student set up while users.ssh was on runs on when the key is off again.
func TestStatusOfWhatRunsOutsideOfServers(t *testing.T) {
	s := newWholeSite(t)
	s.put("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\n"+bob+"jupyter-eve:x:1002:1002::/home/jupyter-eve:/bin/bash\njupyter-ann:x:1003:1003::/home/jupyter-ann:/bin/bash\n"+
		"guest:x:1004:1004::/home/guest:/bin/bash\n")
	s.put("/etc/group", "jupyterhub-users:x:991:jupyter-bob,jupyter-eve,jupyter-ann\njupyterhub-admins:x:990:jupyter-ann\n")
	_, found := lookOutside(s.files, parse(t, sshOwn))
	require.False(t, found)
	for _, name := range []string{"jupyter-ann", "guest"} {
		s.put("/var/lib/systemd/linger/"+name, "")
	}
	s.put("/proc/7/status", "Name:\tsleep\nState:\tS\nPPid:\t1\nUid:\t1002\t1002\t1002\t1002\n")
	s.put("/proc/7/cgroup", "0::/tljh.slice/tljh-users.slice/jupyter-eve.service\n")
	_, found = lookOutside(s.files, parse(t, sshOwn))
	require.False(t, found, "admins, accounts that are not the hub's, and servers")

	s.put("/var/lib/systemd/linger/jupyter-bob", "")
	s.put("/var/spool/cron/crontabs/jupyter-bob", "")
	s.put("/proc/8/status", "Name:\tsleep\nState:\tS\nPPid:\t1\nUid:\t1002\t1002\t1002\t1002\n")
	s.put("/proc/8/cgroup", "0::/user.slice/user-1002.slice/user@1002.service/app.slice/x.service\n")
	part, found := lookOutside(s.files, parse(t, sshOwn))
	require.True(t, found)
	assert.Equal(t, "without limits and not confined: jupyter-bob (lingers, has a crontab), jupyter-eve (has a session)", part.State)
	assert.Contains(t, part.Hint, "loginctl disable-linger")
	for _, config := range []string{sshToAll, sshOfASite} {
		_, found = lookOutside(s.files, parse(t, config))
		assert.False(t, found, config)
	}
}
