package step

import (
	"context"
	"fmt"

	"tljh/internal/host"
	"tljh/internal/layout"
)

// sshUnits are the names under which distributions run sshd.
var sshUnits = []string{"ssh.service", "sshd.service"}

// RunningSSH returns the unit of the sshd that runs, or "".
func RunningSSH(ctx context.Context, h *host.Host) (string, error) {
	for _, name := range sshUnits {
		unit, err := h.Systemd.Unit(ctx, name)
		if err != nil || unit.Active == "active" {
			return name, err
		}
	}
	return "", nil
}

// ReloadSSH ends no session.
func ReloadSSH(ctx context.Context, h *host.Host, unit string) error {
	if _, err := h.Runner.Run(ctx, host.Command{Argv: []string{"systemctl", "reload", unit}}); err != nil {
		return fmt.Errorf("sshd does not read %s: %w; sudo sshd -t shows why", layout.SSHRule, err)
	}
	return nil
}
