package installer

import (
	"context"
	"errors"
	"fmt"

	"tljh/config"
	"tljh/internal/check"
	"tljh/internal/host"
)

// Ready returns why a config is not put into effect although it is valid and can be saved: because a key lacks another, a file does not fit, or a port is
// taken. The report is that of ConfigFile.Check; before is the config in effect, if there is one.
func Ready(ctx context.Context, h *host.Host, cfg *config.Config, report config.Report, before *config.Config) error {
	if err := Complete(cfg); err != nil {
		return err
	}
	if problem := report.Unready(); problem != nil {
		return &BadInput{Err: host.Hint(errors.New(problem.Message), "%s", problem.Hint)}
	}
	return portsFree(ctx, h, cfg, before)
}

// listening is an address of the edge, with the key that says so.
type listening struct {
	key, address string
	port         int
}

func listeningOf(cfg *config.Config) []listening {
	if cfg == nil {
		return nil
	}
	found := []listening{{"http.port", cfg.HTTP.Address, cfg.HTTP.Port}}
	if cfg.HTTPS.Enabled {
		found = append(found, listening{"https.port", cfg.HTTPS.Address, cfg.HTTPS.Port})
	}
	if cfg.Hub.UserPort != 0 {
		found = append(found, listening{"hub.user_port", userAddress(cfg), cfg.Hub.UserPort})
	}
	return found
}

// portsFree finds ports that another program has, among those that the config in effect does not have.
func portsFree(ctx context.Context, h *host.Host, cfg, before *config.Config) error {
	had, named := map[listening]bool{}, []int{}
	for _, l := range listeningOf(before) {
		had[l] = true
	}
	wanted := listeningOf(cfg)
	for _, l := range wanted {
		named = append(named, l.port)
	}
	for _, l := range wanted {
		if had[l] {
			continue
		}
		taken := check.PortTaken(ctx, h, l.address, l.port, named...)
		if taken == nil {
			continue
		}
		err := fmt.Errorf("port %d of %s is taken by %s", l.port, l.key, taken.By)
		if taken.Free == 0 {
			return &BadInput{Err: host.Hint(err, "choose another: sudo tljh-install config set %s PORT --reload", l.key)}
		}
		return &BadInput{Err: host.Hint(err, "choose another: sudo tljh-install config set %s %d --reload", l.key, taken.Free)}
	}
	return nil
}
