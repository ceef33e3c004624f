package installer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

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
	if err := addressesThere(cfg, before); err != nil {
		return err
	}
	return portsFree(ctx, h, cfg, before)
}

// addressesOf are the addresses that a config asks the edge to listen at, by their keys; without one, it is all of the machine's.
func addressesOf(cfg *config.Config) map[string]string {
	if cfg == nil {
		return nil
	}
	found := map[string]string{"http.address": cfg.HTTP.Address}
	if cfg.HTTPS.Enabled {
		found["https.address"] = cfg.HTTPS.Address
	}
	return found
}

// addressesThere finds addresses that this machine lacks, among those that the config in effect does not have.
func addressesThere(cfg, before *config.Config) error {
	had, wanted := addressesOf(before), addressesOf(cfg)
	for _, key := range slices.Sorted(maps.Keys(wanted)) {
		if address := wanted[key]; address != had[key] && check.Lacks(address) {
			words, hint := check.Missing(key, address)
			return &BadInput{Err: host.Hint(errors.New(words), "%s", hint)}
		}
	}
	return nil
}

// lookAtAddresses tells that the machine lost an address that the config names, as one that is given out anew may be.
func lookAtAddresses(cfg *config.Config) []PartStatus {
	parts := []PartStatus{}
	wanted := addressesOf(cfg)
	for _, key := range slices.Sorted(maps.Keys(wanted)) {
		if address := wanted[key]; check.Lacks(address) {
			words, hint := check.Missing(key, address)
			parts = append(parts, PartStatus{Name: "addresses", State: words, Hint: hint, Problem: true})
		}
	}
	return parts
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
