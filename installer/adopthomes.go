package installer

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"tljh/internal/host"
	"tljh/internal/layout"
)

// What programs that admins run with sudo -E write in the admins' homes, as root. Without it being theirs, conda, pip and npm fail afterwards, or warn each time.
var leftBySudo = []string{
	".R", ".bash_history", ".cache", ".cargo", ".conda", ".condarc", ".config", ".gitconfig", ".ipynb_checkpoints", ".ipython", ".julia", ".jupyter", ".keras", ".local",
	".mamba", ".mambarc", ".matplotlib", ".node-gyp", ".npm", ".npmrc", ".nv", ".python_history", ".rustup", ".viminfo", ".wget-hsts", ".yarn",
}

// givenBack is what of root's became an admin's again.
type givenBack struct {
	Account string `json:"account"`
	host.Returned
}

func (g givenBack) words() string {
	return fmt.Sprintf("%s (%d in %s)", g.Account, g.Count, strings.Join(g.Names, ", "))
}

// giveBackHomes gives the admins of an older TLJH, who are those that its group gives sudo to, what root left in their homes. With look, nothing is changed.
func giveBackHomes(files host.Files, look bool) (found []givenBack, err error) {
	admins, err := files.Members(layout.AdminsGroup)
	if err != nil || len(admins) == 0 {
		return nil, err
	}
	accounts, err := files.Accounts()
	if err != nil {
		return nil, err
	}
	for _, account := range accounts {
		if account.UID == 0 || !slices.Contains(admins, account.Name) {
			continue
		}
		given, giveErr := files.GiveBack(account.Home, host.Attr{UID: account.UID, GID: account.GID}, leftBySudo, look)
		err = errors.Join(err, giveErr)
		if given.Count > 0 {
			found = append(found, givenBack{account.Name, given})
		}
	}
	return found, err
}

// giveBackToAdmins is not worth an adoption's failure.
func (i *Installer) giveBackToAdmins() {
	found, err := giveBackHomes(i.Host.Files, false)
	for _, each := range found {
		i.Report.Note("files of root's in the home of an admin, left by sudo, are the admin's again: %s", each.words())
	}
	if err != nil {
		i.Report.Warn("sudo chown -R ACCOUNT: HOME/.cache HOME/.conda gives them back", "files of root's in the homes of admins could not be given back: %v", err)
	}
}
