package installer

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"tljh/config"
	"tljh/internal/check"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/step"
)

// sshRule keeps users who are not admins from logging in by ssh with a key that they put into their homes: nothing confines such a session. Match all ends
// the block for what is read after this file.
const sshRule = `# Made by tljh-install: users.ssh in ` + layout.Config + ` says whether users of the hub can log in here.
Match Group ` + layout.UsersGroup + `,!` + layout.AdminsGroup + `
	DenyUsers *
Match all
`

// sshUnread is there while sshd is to read the rule and may not have done it. A start of the machine has it read in any case.
const sshUnread = layout.Runtime + "/sshd.unread"

// sshStep is the rule's file, or its absence.
func sshStep(cfg *config.Config) step.Step {
	if !closesSSH(cfg) {
		return sshOpen{step.Gone{Path: layout.SSHRule, What: "rule for sshd"}}
	}
	return sshClosed{step.File{Path: layout.SSHRule, What: "rule for sshd", Content: []byte(sshRule), Attr: readable, Vet: vetSSH}}
}

// closesSSH reports whether users are kept out of ssh. Accounts that a site made itself are the site's.
func closesSSH(cfg *config.Config) bool { return !cfg.Users.SSH && cfg.Users.AccountPrefix != "" }

type sshClosed struct{ step.File }

func (s sshClosed) Check(ctx context.Context, c *step.Context) (step.State, error) {
	return unread(c, s.File.Check)(ctx)
}

func (s sshClosed) Apply(ctx context.Context, c *step.Context) error {
	return tellSSH(ctx, c, s.File.Apply)
}

type sshOpen struct{ step.Gone }

func (s sshOpen) Check(ctx context.Context, c *step.Context) (step.State, error) {
	return unread(c, s.Gone.Check)(ctx)
}

func (s sshOpen) Apply(ctx context.Context, c *step.Context) error {
	return tellSSH(ctx, c, s.Gone.Apply)
}

// unread is the file's own check, but for an sshd that has not read what the file says now.
func unread(c *step.Context, look func(context.Context, *step.Context) (step.State, error)) func(context.Context) (step.State, error) {
	return func(ctx context.Context) (step.State, error) {
		state, err := look(ctx, c)
		if err == nil && state == step.Same && c.Host.Files.Exists(sshUnread) {
			state = step.Different
		}
		return state, err
	}
}

// tellSSH makes the change and has sshd read it, if one runs. An sshd that does not is somebody's own, and keeps nobody from a hub.
func tellSSH(ctx context.Context, c *step.Context, change func(context.Context, *step.Context) error) error {
	unit, err := step.RunningSSH(ctx, c.Host)
	if err != nil {
		return err
	}
	if unit == "" {
		return change(ctx, c)
	}
	if err := c.Host.Files.Write(sshUnread, nil, secret); err != nil {
		return err
	}
	if err := change(ctx, c); err != nil {
		return err
	}
	if err := step.ReloadSSH(ctx, c.Host, unit); err != nil {
		c.Tell("%v", err)
		return nil
	}
	return c.Host.Files.Remove(sshUnread)
}

// vetSSH has an sshd that is there read the rule before it goes live.
func vetSSH(ctx context.Context, c *step.Context, content []byte) error {
	const sshd = "/usr/sbin/sshd"
	if !c.Host.Files.Exists(sshd) {
		return nil
	}
	err := vetDraft(ctx, c, path.Join(layout.State, "sshd.draft"), content, secret, sshd, "-T", "-C", "user=root", "-f")
	return host.Hint(err, "sudo tljh-install config set users.ssh true   # leaves sshd as it is")
}

// lookAtSSH says when users could log in by ssh although they should not.
func lookAtSSH(files host.Files, cfg *config.Config) (PartStatus, bool) {
	part := PartStatus{Name: "ssh for students", Hint: "sudo systemctl reload ssh; sudo sshd -t shows what is wrong with its settings"}
	main, _, _ := files.ReadFile("/etc/ssh/sshd_config")
	switch {
	case !closesSSH(cfg) || len(main) == 0:
		return part, false
	case files.Exists(sshUnread):
		part.State = "sshd has not read the rule that keeps them out"
	case !strings.Contains(string(main), path.Dir(layout.SSHRule)+"/"):
		part.State = "not closed: /etc/ssh/sshd_config includes no files"
		part.Hint = "write DenyUsers " + cfg.Users.AccountPrefix + "* into /etc/ssh/sshd_config, or: sudo tljh-install config set users.ssh true"
	default:
		return part, false
	}
	return part, true
}

// lookOutside lists what accounts that are kept out of ssh run all the same outside of their servers, where nothing confines them: sessions and user managers of
// systemd that began while they could log in, and what starts automatically.
func lookOutside(files host.Files, cfg *config.Config) (PartStatus, bool) {
	part := PartStatus{Name: "students outside of servers", Hint: "sudo loginctl disable-linger NAME; sudo loginctl terminate-user NAME; sudo crontab -r -u NAME"}
	users, _ := files.Members(layout.UsersGroup)
	admins, _ := files.Members(layout.AdminsGroup)
	accounts, err := files.Accounts()
	if err != nil || !closesSSH(cfg) {
		return part, false
	}
	processes, found := files.Processes(), []string{}
	for _, account := range accounts {
		if !slices.Contains(users, account.Name) || slices.Contains(admins, account.Name) {
			continue
		}
		if how := outside(files, processes, account); len(how) > 0 {
			found = append(found, fmt.Sprintf("%s (%s)", account.Name, strings.Join(how, ", ")))
		}
	}
	part.State = "without limits and not confined: " + strings.Join(found, ", ")
	return part, len(found) > 0
}

// outside says how an account runs something outside of its servers.
func outside(files host.Files, processes []host.Process, account host.Account) []string {
	how := []string{}
	if files.Exists("/var/lib/systemd/linger/" + account.Name) {
		how = append(how, "lingers")
	}
	if files.Exists("/var/spool/cron/crontabs/"+account.Name) || files.Exists("/var/spool/cron/"+account.Name) {
		how = append(how, "has a crontab")
	}
	slice := fmt.Sprintf("user-%d.slice", account.UID)
	if slices.ContainsFunc(processes, func(p host.Process) bool { return p.In(slice) }) {
		how = append(how, "has a session")
	}
	return how
}

// checkSSHKeys looks for users of a legacy hub who will not be able to log in by ssh any more.
func checkSSHKeys(_ context.Context, about *preflight) check.Finding {
	files := about.Host.Files
	users, _ := files.Members(layout.UsersGroup)
	admins, _ := files.Members(layout.AdminsGroup)
	accounts, err := files.Accounts()
	shut := []string{}
	for _, account := range accounts {
		student := slices.Contains(users, account.Name) && !slices.Contains(admins, account.Name)
		if student && files.Exists(path.Join(account.Home, ".ssh/authorized_keys")) {
			shut = append(shut, account.Name)
		}
	}
	if err != nil || !closesSSH(about.in.Config) || len(shut) == 0 {
		return check.Fine("no user who is not an admin has any that they will miss")
	}
	return check.Warn("to leave ssh open to all users: sudo tljh-install config set users.ssh true",
		"they will not be able to log in by ssh: %s", strings.Join(shut, ", "))
}
