package integration

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"tljh/integration-tests/guest"
	"tljh/integration-tests/want"
)

// TestExposures holds the table of docs/security.md to what systemd says on the machine.
func TestExposures(t *testing.T) {
	t.Parallel()
	installed(t).exposures(t)
}

var exposureRow = regexp.MustCompile("(?m)^\\| `([a-zA-Z-]+\\.service)` \\| ([0-9.]+)")

// aims are the figures that must not be exceeded, whatever the page says.
var aims = map[string]float64{"jupyter-NAME.service": 4.5, "jupyterhub.service": 3.3}

func (h *hub) exposures(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(guest.RepositoryRoot(), "docs/security.md"))
	want.OK(t, err)
	rows := exposureRow.FindAllStringSubmatch(string(page), -1)
	want.Equal(t, 6, len(rows), "units in the table")
	h.student(t, h.admin(t), "bob")
	h.rightsOfServices(t)
	for _, row := range rows {
		figure, err := strconv.ParseFloat(row[2], 64)
		want.OK(t, err)
		aim, has := aims[row[1]]
		want.True(t, !has || figure <= aim, row[1])
		row[1] = strings.Replace(row[1], "NAME", "bob", 1)
		got := h.MustSh(t, "systemd-analyze security --no-pager "+row[1]+" | grep -o 'Overall exposure level.*' || true")
		want.True(t, strings.Contains(got, ": "+row[2]+" "), "the page says "+row[2]+" of "+row[1]+", systemd: "+got)
	}
}

// listening prints where the processes listen that its arguments name.
const listening = `
import os, socket, sys
ours = {os.readlink(f"/proc/{pid}/fd/{fd}") for pid in sys.argv[1:] for fd in os.listdir(f"/proc/{pid}/fd")}
for kind, length in (("tcp", 8), ("tcp6", 32)):
    for row in list(open(f"/proc/net/{kind}"))[1:]:
        fields = row.split()
        address, port = fields[1].split(":")
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in ours:
            host = socket.inet_ntoa(bytes.fromhex(address)[::-1]) if length == 8 else "[" + address + "]"
            print(host + ":" + str(int(port, 16)))
`

// rightsOfServices looks at what runs: accounts of their own, without rights, behind ports that only the system's own may open, below a ceiling for users.
func (h *hub) rightsOfServices(t *testing.T) {
	t.Helper()
	status := func(unit, field string) string {
		return h.MustSh(t, "awk '/^"+field+":/ { print $2 }' /proc/$(systemctl show -P MainPID "+unit+")/status")
	}
	const bindToLowPorts = 1 << 10
	for unit, rights := range map[string]uint64{"tljh-edge.service": 0, "configurable-http-proxy.service": bindToLowPorts} {
		account, err := strconv.Atoi(status(unit, "Uid"))
		want.OK(t, err)
		want.True(t, account >= 61184 && account <= 65519, fmt.Sprintf("%s runs as %d, which is no account made for the time it runs", unit, account))
		for _, set := range []string{"CapPrm", "CapEff", "CapBnd"} {
			held, err := strconv.ParseUint(status(unit, set), 16, 64)
			want.OK(t, err)
			want.Equal(t, rights, held, unit+": "+set)
		}
		want.Equal(t, "1", status(unit, "NoNewPrivs"), unit)
		want.Equal(t, "2", status(unit, "Seccomp"), unit)
	}
	const setSystemTime, loadModules, administer, trace, rawPackets = 1 << 25, 1 << 16, 1 << 21, 1 << 19, 1 << 13
	held, err := strconv.ParseUint(status("jupyterhub.service", "CapBnd"), 16, 64)
	want.OK(t, err)
	want.Equal(t, uint64(0), held&(setSystemTime|loadModules|administer|trace|rawPackets), "rights of the hub that it does not need")

	addresses := strings.Fields(h.MustSh(t, "/opt/tljh/hub/bin/python -c '"+listening+"' $(systemctl show -P MainPID jupyterhub.service configurable-http-proxy.service)"))
	want.True(t, len(addresses) >= 3, "hub and proxy listen at "+strings.Join(addresses, " "))
	for _, address := range addresses {
		host, port, err := net.SplitHostPort(address)
		want.OK(t, err)
		number, err := strconv.Atoi(port)
		want.OK(t, err)
		want.True(t, host == "127.0.0.1" && number < 1024, "hub or proxy listen at "+address)
	}
	want.Contains(t, h.property(t, "jupyter-bob.service", "ControlGroup"), "/tljh.slice/tljh-users.slice/")
	ceiling, err := strconv.ParseUint(h.property(t, "tljh-users.slice", "MemoryMax"), 10, 64)
	want.OK(t, err)
	machine, err := strconv.ParseUint(h.MustSh(t, "echo $(($(awk '/^MemTotal/ { print $2 }' /proc/meminfo) * 1024))"), 10, 64)
	want.OK(t, err)
	want.True(t, ceiling > 0 && ceiling < machine, fmt.Sprintf("users may take %d of %d bytes", ceiling, machine))
}
