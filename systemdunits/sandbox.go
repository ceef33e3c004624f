package systemdunits

import (
	"fmt"
	"slices"
	"strings"
)

// Sandbox is what a service asks of systemd and the kernel, before it needs anything of the installation.
type Sandbox struct {
	Unit       string
	Properties []string // NAME=VALUE each, in the unit's order
}

// sandboxed are the directives that a machine may refuse: a container without nesting, a kernel without an option, an old systemd. Those that name files
// of the installation are left out, as they can be tried before there is one.
var sandboxed = strings.Fields(`AmbientCapabilities CapabilityBoundingSet DynamicUser IPAddressAllow IPAddressDeny LimitNOFILE LockPersonality MemoryDenyWriteExecute
	NoNewPrivileges OOMPolicy OOMScoreAdjust PrivateDevices PrivateIPC PrivateNetwork PrivateTmp PrivateUsers ProcSubset ProtectClock ProtectControlGroups ProtectHome ProtectHostname
	ProtectKernelLogs ProtectKernelModules ProtectKernelTunables ProtectProc ProtectSystem RemoveIPC RestrictAddressFamilies RestrictNamespaces RestrictRealtime
	RestrictSUIDSGID SocketBindDeny SystemCallArchitectures SystemCallErrorNumber SystemCallFilter UMask`)

// Sandboxes returns the sandbox of each service, as its unit has it for a release of systemd.
func Sandboxes(systemd int) ([]Sandbox, error) {
	units, err := Render(Params{HTTP: []Address{{Port: 80}}, SystemdVersion: max(systemd, MinimumSystemd)})
	if err != nil {
		return nil, fmt.Errorf("cannot find out how services are confined: %w", err)
	}
	found := []Sandbox{}
	for _, unit := range units {
		if sandbox := sandboxOf(unit); len(sandbox.Properties) > 0 {
			found = append(found, sandbox)
		}
	}
	return found, nil
}

func sandboxOf(unit Unit) Sandbox {
	sandbox := Sandbox{Unit: unit.Name}
	for line := range strings.Lines(string(unit.Content)) {
		line = strings.TrimSpace(line)
		if name, _, pair := strings.Cut(line, "="); pair && slices.Contains(sandboxed, name) {
			sandbox.Properties = append(sandbox.Properties, line)
		}
	}
	return sandbox
}
