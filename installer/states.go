package installer

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"tljh/installer/journal"
	"tljh/installer/switchover"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/version"
)

// State is how far the installation on a machine is. Every command says in the table Verbs in which states it may run.
type State string

// The states. One machine is in one of them.
const (
	StateNone           State = "none"
	StateUnfinished     State = "unfinished"
	StateUnproved       State = "unproved"
	StateInstalled      State = "installed"
	StateOtherProgram   State = "other-program"
	StateUpgrading      State = "upgrade-pending"
	StateGoingBack      State = "going-back-pending"
	StateRollingBack    State = "rollback-pending"
	StateLegacy         State = "legacy"
	StateLegacyBroken   State = "legacy-incomplete"
	StateAdoptPreparing State = "adoption-preparing"
	StateAdoptSwitching State = "adoption-switching"
	StateAdoptBack      State = "adoption-back"
	StateAdoptProved    State = "adoption-proved"
	StateUninstalling   State = "uninstall-pending"
)

// Standing words for a state: what it is, and the one command that is right in it.
type stateWords struct {
	State   State
	Words   string
	Command string // "" where nothing has to be done
}

// states is every state in the order in which the manual lists them.
var states = []stateWords{
	{StateNone, NotInstalled, "sudo tljh-install install"},
	{StateUnfinished, "the installation was interrupted", "sudo tljh-install install"},
	{StateUnproved, "the installation has not ended yet", "sudo tljh-install install"},
	{StateInstalled, "the hub is installed", ""},
	{StateOtherProgram, "this program is of another release than the hub", "sudo tljh-install install"},
	{StateUpgrading, "an upgrade was interrupted", "sudo tljh-install upgrade"},
	{StateGoingBack, "an upgrade was interrupted while going back to the release before", "sudo tljh-install upgrade"},
	{StateRollingBack, "a rollback was interrupted", "sudo tljh-install rollback"},
	{StateLegacy, "The Littlest JupyterHub 1.x/2.x (Python) is installed, and has not been adopted", "sudo tljh-install install"},
	{StateLegacyBroken, "a part of The Littlest JupyterHub 1.x/2.x (Python) is installed", "sudo tljh-install install --plan"},
	{StateAdoptPreparing, "an adoption was interrupted while it was prepared; the legacy hub runs as before", "sudo tljh-install install"},
	{StateAdoptSwitching, "an adoption was interrupted while the hubs were switched", "sudo tljh-install install"},
	{StateAdoptBack, "an adoption was interrupted while going back to the legacy hub", "sudo tljh-install install"},
	{StateAdoptProved, "an adoption was interrupted while what is left of the legacy hub was removed", "sudo tljh-install install"},
	{StateUninstalling, "an uninstallation was interrupted", "sudo tljh-install uninstall"},
}

// StateNames lists all states.
func StateNames() []State {
	names := []State{}
	for _, s := range states {
		names = append(names, s.State)
	}
	return names
}

func (s State) words() stateWords {
	return states[slices.IndexFunc(states, func(w stateWords) bool { return w.State == s })]
}

// Words say what the state is.
func (s State) Words() string { return s.words().Words }

// Command is the one command that is right in a state; "" where nothing has to be done.
func (s State) Command() string { return s.words().Command }

// FindState looks how far the installation is. What only root can read is taken for not there: whoever can't read it can't change anything, either.
func FindState(files host.Files) (State, error) {
	adoption, err := loadAdoption(files)
	if unreadable(err) {
		return StateNone, err
	}
	if adoption != nil {
		return adoptionStates[adoption.Phase], nil
	}
	change, err := loadChange(files)
	if unreadable(err) {
		return StateNone, err
	}
	if change != nil && change.Phase != switchover.Preparing {
		return change.state(), nil
	}
	if found, missing := recogniseOlder(files); found {
		if len(missing) > 0 {
			return StateLegacyBroken, nil
		}
		return StateLegacy, nil
	}
	return installedState(files)
}

func unreadable(err error) bool { return err != nil && !errors.Is(err, fs.ErrPermission) }

var adoptionStates = map[string]State{
	switchover.Preparing: StateAdoptPreparing, switchover.Switching: StateAdoptSwitching, switchover.Back: StateAdoptBack, switchover.Proved: StateAdoptProved,
}

func (c *Change) state() State {
	switch {
	case c.Rollback:
		return StateRollingBack
	case c.Phase == switchover.Switching:
		return StateUpgrading
	}
	return StateGoingBack
}

// installedState tells apart what the receipt and the record of releases know. Damage in either is found by the commands that need it.
func installedState(files host.Files) (State, error) {
	receipt, err := journal.LoadReceipt(files, time.Now)
	known := err == nil && len(receipt.Traces()) > 0
	if known && receipt.Undoing() {
		return StateUninstalling, nil
	}
	releases, err := LoadReleases(files)
	if unreadable(err) {
		return StateNone, err
	}
	live := releases != nil && releases.Live != nil
	switch {
	case !files.Exists(layout.Hub) && !known:
		return StateNone, nil
	case !files.Exists(layout.Hub):
		return StateUnfinished, nil
	case known && !live && !receipt.Finished():
		return StateUnproved, nil
	case live && releases.Live.Version != version.Version:
		return StateOtherProgram, nil
	}
	return StateInstalled, nil
}

// Need is whether a command needs root.
type Need int

// The needs. Those of OfHub need root for the hub's own config, and not for another file.
const (
	Anybody Need = iota
	Root
	OfHub
)

// Verb is what a command needs, and the states in which it may run.
type Verb struct {
	Need Need
	In   []State
}

var (
	inAny      = StateNames()
	inSettled  = []State{StateUnproved, StateInstalled}
	inRunning  = []State{StateUnproved, StateInstalled, StateOtherProgram}
	inChange   = []State{StateUpgrading, StateGoingBack, StateRollingBack}
	inRelease  = slices.Concat(inRunning, inChange)
	inAdoption = []State{StateAdoptPreparing, StateAdoptSwitching, StateAdoptBack, StateAdoptProved}
	// Nothing of ours serves users yet, and the config is what the next command begins with.
	inBegun   = []State{StateUnfinished, StateLegacy, StateLegacyBroken, StateAdoptPreparing}
	inFile    = slices.DeleteFunc(StateNames(), func(s State) bool { return s == StateNone })
	inInstall = slices.DeleteFunc(StateNames(), func(s State) bool { return slices.Contains(inChange, s) })
)

// Verbs is the table of all commands: the command line, its hints, the manual and the tests are made from it. A row with an option holds where that is
// given. Commands of systemd's and between releases run in every state.
var Verbs = map[string]Verb{
	"install":                {Root, inInstall},
	"install --plan":         {Anybody, inInstall},
	"upgrade":                {Root, inRelease},
	"upgrade --plan":         {Root, inRunning},
	"upgrade --check":        {Anybody, inRelease},
	"upgrade --staged":       {Root, inAny},
	"upgrade --settle":       {Root, inAny},
	"rollback":               {Root, []State{StateInstalled, StateGoingBack, StateRollingBack}},
	"releases":               {Anybody, inRelease},
	"uninstall":              {Root, slices.DeleteFunc(StateNames(), func(s State) bool { return slices.Contains(inAdoption[1:], s) })},
	"status":                 {Root, inAny},
	"version":                {Anybody, inAny},
	"verify-release":         {Anybody, inAny},
	"password":               {Root, inRunning},
	"edge":                   {Anybody, inAny},
	"edge certificate":       {Anybody, inAny},
	"config show":            {OfHub, inFile},
	"config get":             {OfHub, inFile},
	"config validate":        {OfHub, inFile},
	"config explain":         {OfHub, inFile},
	"config history":         {OfHub, inFile},
	"firewall apply":         {Anybody, inAny},
	"firewall show":          {Anybody, inAny},
	"firewall remove":        {Anybody, inAny},
	"env redo":               {Root, inSettled},
	"config schema":          {Anybody, inAny},
	"config for-hub":         {Anybody, inAny},
	"config set":             {OfHub, slices.Concat(inSettled, inBegun)},
	"config unset":           {OfHub, slices.Concat(inSettled, inBegun)},
	"config add":             {OfHub, slices.Concat(inSettled, inBegun)},
	"config remove":          {OfHub, slices.Concat(inSettled, inBegun)},
	"config set --reload":    {OfHub, inSettled},
	"config unset --reload":  {OfHub, inSettled},
	"config add --reload":    {OfHub, inSettled},
	"config remove --reload": {OfHub, inSettled},
	"config edit":            {OfHub, inSettled},
	"config reload":          {OfHub, inSettled},
	"config revert":          {OfHub, inSettled},
	"config test-auth":       {OfHub, inRunning},
	"config break-glass":     {OfHub, inRelease},
	"env history":            {Root, inRelease},
	"env list":               {Anybody, inRelease},
	"env diff":               {Root, inRelease},
	"env export":             {Anybody, inRelease},
	"env check":              {Root, inRelease},
	"env check --scheduled":  {Root, inAny},
	"env repair":             {Root, inSettled},
	"env rollback":           {Root, inSettled},
	"env install":            {Root, inSettled},
	"env apply":              {Root, inSettled},
	"env kernels":            {Anybody, inRelease},
	"env kernels --remove":   {Root, inSettled},
	"env snapshot":           {Root, inAny},
}

// other is for a command that the table does not name.
var other = Verb{Root, inSettled}

// OlderVerbs are the names that the legacy command line has for the same.
var OlderVerbs = map[string]string{
	"tljh-config show": "config show", "tljh-config set": "config set", "tljh-config unset": "config unset", "tljh-config add-item": "config add",
	"tljh-config remove-item": "config remove", "tljh-config reload": "config reload",
}

// VerbOf returns the row for a command, without the program's name, and the options that were given.
func VerbOf(command string, given func(option string) bool) Verb {
	row, ok := Verbs[command]
	if !ok {
		row = other
	}
	for _, name := range slices.Sorted(maps.Keys(Verbs)) {
		if option, of := strings.CutPrefix(name, command+" --"); of && given(option) {
			row = Verbs[name]
		}
	}
	return row
}

// CommandRefused reports that a command may not run. Nothing has been changed.
type CommandRefused struct{ Err error }

func (e *CommandRefused) Error() string { return e.Err.Error() }
func (e *CommandRefused) Unwrap() error { return e.Err }

// NeedRoot is what every command says to whoever is not root.
func NeedRoot(command string) error {
	return &CommandRefused{host.Hint(fmt.Errorf("only root can run %s; nothing was changed", command), "put sudo in front: sudo %s", command)}
}

// Permit refuses a command, named in full, in a state in which it may not run, and names the one that is right.
func (v Verb) Permit(command string, files host.Files) error {
	if len(v.In) == len(inAny) {
		return nil
	}
	state, err := FindState(files)
	if err != nil || slices.Contains(v.In, state) {
		return err
	}
	if state == StateNone {
		return &CommandRefused{errNotInstalled}
	}
	if holder := atWork(files); holder != "" {
		return host.Hint(&journal.BusyError{Holder: holder}, "wait until it has ended, then run the same command again")
	}
	err = fmt.Errorf("cannot run %s: %s; nothing was changed", command, describe(files, state))
	if state.Command() == "" {
		return &CommandRefused{err}
	}
	first := "run this first"
	if strings.Contains(state.Words(), "interrupted") {
		first = "complete it first"
	}
	return &CommandRefused{host.Hint(err, "%s: %s", first, state.Command())}
}

// atWork returns who holds the installation's lock; "" where nobody does, or only root can tell.
func atWork(files host.Files) string {
	unlock, holder, free, err := files.Lock(layout.Lock, layout.SnapshotNote)
	switch {
	case err != nil:
		return ""
	case free:
		unlock()
		return ""
	}
	return holder
}

// lookAtState reports a state that is not the usual one, unless somebody is at it.
func lookAtState(files host.Files, state State) []PartStatus {
	part := PartStatus{Name: "state", State: state.Words()}
	if state == StateInstalled {
		return []PartStatus{part}
	}
	if holder := atWork(files); holder != "" {
		part.State = "a command is running (" + holder + ")"
		return []PartStatus{part}
	}
	part.State, part.Problem, part.Hint = describe(files, state), true, state.Command()
	return []PartStatus{part}
}

// describe says what a state is, with its releases where it has any.
func describe(files host.Files, state State) string {
	switch state {
	case StateUpgrading, StateGoingBack, StateRollingBack:
		if change, err := loadChange(files); err == nil && change != nil {
			return change.words()
		}
	case StateOtherProgram:
		if releases, err := LoadReleases(files); err == nil && releases.Live != nil {
			return fmt.Sprintf("this program is of %s, and the hub of %s", version.Version, releases.Live.Version)
		}
	}
	return state.Words()
}

// KeptProgram returns the program of the hub's release where another has taken its place; "" where there is none.
func KeptProgram(files host.Files) (kept, release string, err error) {
	releases, err := LoadReleases(files)
	if err != nil || releases.Live == nil || releases.Live.Version == version.Version {
		return "", "", err
	}
	kept = program(releases.Live.Version)
	if info, err := files.Lstat(kept); err != nil || !info.Mode().IsRegular() || host.AttrOf(info).UID != 0 {
		return "", releases.Live.Version, nil
	}
	return files.Path(kept), releases.Live.Version, nil
}
