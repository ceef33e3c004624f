package uninstall

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/step"
)

// hubMark begins the comment field of accounts that the hub made, which tljh/accounts.py writes.
const hubMark = "JupyterHub user "

// firstUID is where people's accounts begin; nobody's number is among them.
const firstUID = 1000

// people are the accounts that the hub made, and their homes. The probe user's go in any case: nobody works there.
func (d *dismantling) people() ([]work, error) {
	accounts, err := d.Host.Files.Accounts()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	members, err := d.Host.Files.Members(layout.UsersGroup)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	works := []work{}
	for _, account := range accounts {
		probe := account.Comment == hubMark+layout.ProbeUser
		switch {
		case hubMade(account):
			works = append(works, d.person(account, accounts, d.options.RemoveUsers || probe, d.options.everything() || probe)...)
		case slices.Contains(members, account.Name) && d.options.RemoveUsers:
			works = append(works, work{someone{account: account, why: "the hub did not make it"}, step.Trace{}})
		}
	}
	return works, nil
}

func hubMade(account host.Account) bool {
	return strings.HasPrefix(account.Comment, hubMark) && account.UID >= firstUID && account.UID != host.Nobody
}

// person comes with the home first: an account whose home could not be deleted is still there to try again.
func (d *dismantling) person(account host.Account, all []host.Account, remove, withHome bool) []work {
	if !remove {
		return []work{{someone{account: account, why: "made by the hub; homes stay, too"}, step.Trace{}}}
	}
	works := []work{{home{account, all, withHome}, step.Trace{}}}
	for _, file := range []struct {
		path   string
		theirs bool // what somebody wrote
	}{
		{"/var/lib/systemd/linger/", false}, {"/var/mail/", true}, {"/var/spool/mail/", true}, {"/var/spool/cron/crontabs/", true}, {"/var/spool/cron/", true},
	} {
		if withHome || !file.theirs {
			works = append(works, work{tree{path: file.path + account.Name, kind: "file"}, step.Trace{}})
		}
	}
	return append(works, work{someone{account: account, remove: true}, step.Trace{}})
}

// someone is a person's account.
type someone struct {
	account host.Account
	remove  bool
	why     string
}

func (s someone) Fate(_ context.Context, c *step.Context, _ step.Trace) (step.Fate, error) {
	fate := step.Fate{Verb: step.Keep, Kind: "account", What: s.account.Name, Why: s.why}
	_, _, err := c.Host.Files.AccountIDs(s.account.Name)
	switch {
	case errors.Is(err, host.ErrNoAccount):
		return step.Fate{}, nil
	case s.remove:
		fate.Verb = step.Delete
	}
	return fate, err
}

func (s someone) Undo(ctx context.Context, c *step.Context, _ step.Trace) error {
	return step.DeleteAccount(ctx, c, s.account.Name)
}

// home is a person's home. It goes only where it is certainly that and nobody else's.
type home struct {
	account host.Account
	all     []host.Account
	remove  bool
}

func (h home) Fate(_ context.Context, c *step.Context, _ step.Trace) (step.Fate, error) {
	dir := h.account.Home
	fate := step.Fate{Verb: step.Keep, Kind: "home", What: dir, Why: "what is in it is its owner's"}
	info, err := c.Host.Files.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return step.Fate{}, nil
	}
	if err != nil || !h.remove {
		return fate, err
	}
	shares := func(other host.Account) bool { return other.Name != h.account.Name && within(dir, other.Home) }
	switch {
	case !path.IsAbs(dir) || path.Clean(dir) != dir || strings.Count(dir, "/") < 2 || !info.IsDir():
		fate.Why = "it is no usual home"
	case host.AttrOf(info).UID != h.account.UID:
		fate.Why = fmt.Sprintf("it does not belong to %s", h.account.Name)
	case slices.ContainsFunc(h.all, shares):
		fate.Why = "other accounts have their homes there, too"
	default:
		fate.Verb, fate.Why = step.Delete, ""
	}
	return fate, nil
}

func (h home) Undo(ctx context.Context, c *step.Context, _ step.Trace) error {
	if err := c.Host.Files.End(ctx, func(p host.Process) bool { return p.UID == h.account.UID }); err != nil {
		return err
	}
	return c.Host.Files.RemoveWhole(h.account.Home)
}

// hubGroups are groups that the hub made for its users, of which it keeps a list. Those that the receipt tells of are none of these.
func (d *dismantling) hubGroups() []work {
	works := []work{}
	for _, name := range hubGroupNames(d.Host.Files) {
		if group := (step.Group{Name: name}); !d.receipt.Knows(group.ID()) {
			works = append(works, work{group, step.Trace{First: &step.Before{}}})
		}
	}
	return works
}

func hubGroupNames(files host.Files) []string {
	data, _ := files.Read(layout.HubGroups)
	names := strings.Fields(string(data))
	slices.Sort(names)
	return slices.Compact(names)
}

// forgetHubGroups leaves those in the list that could not be deleted: a group of the same name may be somebody else's one day.
func forgetHubGroups(files host.Files) error {
	left := []string{}
	for _, name := range hubGroupNames(files) {
		if _, err := files.GroupID(name); err == nil {
			left = append(left, name+"\n")
		}
	}
	if len(left) == 0 {
		return files.Remove(layout.HubGroups)
	}
	return files.Write(layout.HubGroups, []byte(strings.Join(left, "")), host.Attr{Mode: 0o600})
}
