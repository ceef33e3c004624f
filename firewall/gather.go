package firewall

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"tljh/internal/host"
	"tljh/internal/layout"
)

// Gather returns the plan for the users and the slice that are there now.
func Gather(ctx context.Context, h *host.Host) (Plan, error) {
	users, err := userIDs(ctx, h)
	if err != nil {
		return Plan{}, err
	}
	return Plan{Users: users, Slice: usersSlice(h.Files)}, nil
}

const commentMark = "JupyterHub user " // begins the comment of an account that the hub made

// userIDs returns the IDs of all accounts that users' servers run as: those that the hub made, and the members of its group.
func userIDs(ctx context.Context, h *host.Host) ([]uint32, error) {
	accounts, err := h.Files.Accounts()
	if err != nil {
		return nil, err
	}
	members, err := h.Files.Members(layout.UsersGroup)
	if err != nil {
		return nil, err
	}
	elsewhere := map[string]bool{} // members whose accounts are in a directory of the site
	for _, name := range members {
		elsewhere[name] = true
	}
	users := map[uint32]bool{}
	for _, account := range accounts {
		if account.UID > 0 && (elsewhere[account.Name] || strings.HasPrefix(account.Comment, commentMark)) {
			users[uint32(account.UID)] = true
		}
		delete(elsewhere, account.Name)
	}
	for _, uid := range lookUp(ctx, h, slices.Sorted(maps.Keys(elsewhere))) {
		users[uid] = true
	}
	return slices.Sorted(maps.Keys(users)), nil
}

// lookUp asks the system for accounts that are not in its own file. Those that it does not find are left out.
func lookUp(ctx context.Context, h *host.Host, names []string) []uint32 {
	if len(names) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// It ends with an error when one of them is unknown, and has told the others.
	result, _ := h.Runner.Run(ctx, host.Command{Argv: append([]string{"getent", "passwd"}, names...), Env: []string{"PATH=" + host.Path}})
	found := []uint32{}
	for line := range strings.Lines(string(result.Stdout)) {
		fields := strings.Split(line, ":")
		if len(fields) < 3 || !slices.Contains(names, fields[0]) {
			continue
		}
		if uid, err := strconv.ParseUint(fields[2], 10, 32); err == nil && uid > 0 {
			found = append(found, uint32(uid))
		}
	}
	return found
}

// usersSlice returns the users' slice where its control group is one of version 2, alone or beside those of version 1.
func usersSlice(files host.Files) *Slice {
	below := path.Join(layout.Slice, layout.UsersSlice)
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if slice := sliceAt(files.Path(root), below, strings.Count(below, "/")+1); slice != nil {
			return slice
		}
	}
	return nil
}

// State is what was done last, for others to read.
type State struct {
	MayListen bool   `json:"may_listen"`        // nothing is to be closed
	Closed    bool   `json:"closed"`            // users' processes take no connections from outside
	Slice     bool   `json:"slice,omitempty"`   // whatever runs in their slice is known
	Users     int    `json:"users,omitempty"`   // accounts that are known
	Why       string `json:"why,omitempty"`     // why they are not closed
	Details   string `json:"details,omitempty"` // the kernel's words
}

// Words says it in one sentence.
func (s State) Words() string {
	switch {
	case s.MayListen:
		return "open: users.may_listen is on"
	case s.Closed:
		return "closed to other machines"
	}
	return "open to other machines: " + s.Why
}

var readable = host.Attr{Mode: 0o644}

// Read returns what was done last; false when nothing is known.
func Read(files host.Files) (State, bool) {
	var state State
	data, err := files.Read(layout.Firewall)
	if err != nil || json.Unmarshal(data, &state) != nil {
		return State{}, false
	}
	return state, true
}

// Renew brings the table up to date and notes what came of it. It reports whether that is news. Only what nobody expects is an error.
func Renew(ctx context.Context, h *host.Host, mayListen bool) (state State, news bool, err error) {
	state = State{MayListen: mayListen}
	if mayListen {
		err = Remove()
	} else {
		var plan Plan
		if plan, err = Gather(ctx, h); err != nil {
			return state, true, err
		}
		var used Plan
		used, err = Apply(plan)
		state.Closed, state.Slice, state.Users = err == nil, used.Slice != nil, len(used.Users)
	}
	if err != nil && Unsupported(err) != "" {
		state.Why, state.Details, err = Unsupported(err), err.Error(), nil
		if mayListen {
			state.Why, state.Details = "", ""
		}
	}
	if err != nil {
		return state, true, err
	}
	before, known := Read(h.Files)
	if known && before == state {
		return state, false, nil
	}
	data, err := json.Marshal(state)
	if err == nil {
		err = h.Files.Write(layout.Firewall, append(data, '\n'), readable)
	}
	if err != nil {
		return state, true, fmt.Errorf("cannot note the state of the packet filter: %w", err)
	}
	before.Users, before.Details = state.Users, state.Details
	return state, !known || before != state, nil
}
