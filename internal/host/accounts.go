package host

import (
	"fmt"
	"strconv"
	"strings"
)

// Account is a local account.
type Account struct {
	Name     string
	UID, GID int
	Comment  string // the first part of its comment field
	Home     string
}

// Accounts returns the local accounts. What is no entry is passed over.
func (f Files) Accounts() ([]Account, error) {
	data, err := f.Read("/etc/passwd")
	if err != nil {
		return nil, fmt.Errorf("cannot read the accounts: %w", err)
	}
	found := []Account{}
	for line := range strings.Lines(string(data)) {
		fields := strings.Split(strings.TrimRight(line, "\n"), ":")
		if len(fields) < 7 {
			continue
		}
		uid, uidErr := strconv.Atoi(fields[2])
		gid, gidErr := strconv.Atoi(fields[3])
		if uidErr != nil || gidErr != nil {
			continue
		}
		comment, _, _ := strings.Cut(fields[4], ",")
		found = append(found, Account{Name: fields[0], UID: uid, GID: gid, Comment: comment, Home: fields[5]})
	}
	return found, nil
}

// Members returns who is listed as a member of a group; none when there is no such group.
func (f Files) Members(group string) ([]string, error) {
	data, err := f.Read("/etc/group")
	if err != nil {
		return nil, fmt.Errorf("cannot read the groups: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) < 4 || fields[0] != group || fields[3] == "" {
			continue
		}
		return strings.Split(fields[3], ","), nil
	}
	return nil, nil
}
