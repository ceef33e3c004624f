package config

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"tljh/internal/layout"
)

// longest is what the hub's database holds of a name.
const longest = 255

// CheckUserName tells why a name cannot be a hub user's. Capital letters are taken as small ones, as the hub does.
func CheckUserName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("a user name cannot be empty")
	case !utf8.ValidString(name):
		return fmt.Errorf("a user name must be valid UTF-8")
	case len(name) > longest:
		return fmt.Errorf("the user name %.20s… is too long: at most %d bytes can be used", name, longest)
	case strings.Trim(name, ".") == "":
		return fmt.Errorf("%q cannot be a user name: it means a folder", name)
	case strings.EqualFold(name, layout.ProbeUser):
		return fmt.Errorf("the user name %s is kept for the installation's test of itself", layout.ProbeUser)
	}
	for _, r := range name {
		if err := checkNameRune(name, r); err != nil {
			return err
		}
	}
	return nil
}

func checkNameRune(name string, r rune) error {
	switch {
	case unicode.IsSpace(r):
		return fmt.Errorf("the user name %q contains a space; if these are several, a list has commas between them", name)
	case !unicode.IsGraphic(r):
		return fmt.Errorf("the user name %q contains a character that cannot be shown", name)
	case strings.ContainsRune("“”„«»", r):
		return fmt.Errorf("the user name %q contains the quotation mark %c: programs know the plain ones only, or leave them out", name, r)
	case r == ',':
		return fmt.Errorf("the user name %q contains a comma; if these are several, give each alone", name)
	case strings.ContainsRune(`/\:%?#"<>`, r):
		return fmt.Errorf("the user name %q contains a %c, which a user name cannot", name, r)
	case r > unicode.MaxASCII && unicode.ToLower(r) != r:
		return fmt.Errorf("the user name %q contains the capital letter %c: write it in lower case", name, r)
	}
	return nil
}

var groupName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

// ourGroups are filled by the hub and the installer.
var ourGroups = map[string]string{
	layout.AdminsGroup: "it contains those of users.admin",
	layout.UsersGroup:  "it contains all users",
	layout.ProxyGroup:  "it opens every user's server",
}

// mighty are groups whose members can make themselves root.
var mighty = map[string]bool{
	"root": true, "sudo": true, "wheel": true, "admin": true, "adm": true, "docker": true, "lxd": true, "incus-admin": true, "libvirt": true, "kvm": true,
	"disk": true, "shadow": true, "kmem": true, "staff": true,
}

func checkGroupName(name string) error {
	switch reason, ours := ourGroups[name]; {
	case ours:
		return fmt.Errorf("the group %s is not for this: %s", name, reason)
	case strings.HasPrefix(name, "tljh-"):
		return fmt.Errorf("the group %s is not for this: names that begin with tljh- are the installer's", name)
	case len(name) > 32:
		return fmt.Errorf("the group name %.20s… is too long: at most 32 characters can be used", name)
	case !groupName.MatchString(name):
		return fmt.Errorf("%q cannot be the name of a Linux group", name)
	}
	return nil
}
