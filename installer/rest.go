package installer

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"tljh/environment"
	"tljh/internal/host"
)

// Changer is who changed the user environment, and by which command, as far as that was seen.
type Changer = environment.Changer

// How long nothing must change before a change is taken for over, how long that is waited for, and how long conda may owe its history when no conda runs any
// more: it was killed then.
const (
	restTime  = 2 * time.Second
	restLimit = 25 * time.Minute
	oweLimit  = time.Minute
)

// Rest waits until the commands that change the user environment have ended, so that one command makes one snapshot. It needs no lock, and keeps nobody
// from working.
func (k *Keeper) Rest(ctx context.Context) (Changer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, restLimit, errors.New("the user environment does not come to rest"))
	defer cancel()
	w := &waiting{since: k.Now(), idle: k.Now()}
	err := host.Poll(ctx, 100*time.Millisecond, func(context.Context) (bool, error) {
		changed, err := environment.Changed(k.Host.Files)
		if err != nil {
			return false, err
		}
		settled, err := environment.Settled(k.Host.Files)
		if err != nil {
			return false, err
		}
		return w.look(k.Now(), changed, settled, environment.Changers(k.Host.Files)), nil
	})
	return w.changer(), err
}

// waiting is what was seen while changes went on.
type waiting struct {
	last  time.Time // when packages were added or taken away last
	since time.Time // nothing has happened since
	idle  time.Time // no command has run since
	seen  []Changer
}

// look reports whether all has come to rest.
func (w *waiting) look(now, changed time.Time, settled bool, changers []Changer) bool {
	for _, changer := range changers {
		if !slices.Contains(w.seen, changer) {
			w.seen = append(w.seen, changer)
		}
	}
	if len(changers) > 0 {
		w.idle = now
	}
	owes := !settled && now.Sub(w.idle) < oweLimit
	if len(changers) > 0 || owes || !changed.Equal(w.last) {
		w.last, w.since = changed, now
	}
	return now.Sub(w.since) >= restTime
}

// changer sums up what was seen.
func (w *waiting) changer() Changer {
	commands, accounts := []string{}, []string{}
	for _, each := range w.seen {
		if !slices.Contains(commands, each.Command) {
			commands = append(commands, each.Command)
		}
		if !slices.Contains(accounts, each.Who) {
			accounts = append(accounts, each.Who)
		}
	}
	return Changer{Command: environment.Presentable(strings.Join(commands, "; ")), Who: strings.Join(accounts, ", ")}
}
