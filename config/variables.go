package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

const (
	setBySystemd = "systemd sets it for each server"
	setByAccount = "it comes from the user's account"
	setByLimits  = "JupyterHub sets it from limits: set limits.memory or limits.cpu"
)

// ownVariables are variables that the hub and the servers depend on, with the reason why the config cannot set them. hub/src/tljh/variables.py has the
// variables that it can set, too; a test compares the two.
var ownVariables = map[string]string{
	"CPU_GUARANTEE":         setByLimits,
	"CPU_LIMIT":             setByLimits,
	"CREDENTIALS_DIRECTORY": setBySystemd,
	"HOME":                  setByAccount,
	"INVOCATION_ID":         setBySystemd,
	"JOURNAL_STREAM":        setBySystemd,
	"JUPYTER_RUNTIME_DIR":   "kernels are reached through sockets in the server's own /tmp, whose paths must be short; JUPYTER_DATA_DIR can be set",
	"LISTEN_FDS":            setBySystemd,
	"LISTEN_PID":            setBySystemd,
	"LOGNAME":               setByAccount,
	"MEMORY_PRESSURE_WATCH": setBySystemd,
	"MEMORY_PRESSURE_WRITE": setBySystemd,
	"MEM_GUARANTEE":         setByLimits,
	"MEM_LIMIT":             setByLimits,
	"NOTIFY_SOCKET":         setBySystemd,
	"PATH":                  "servers find their programs by it; to add folders, write c.SystemdSpawner.extra_paths = [...] in a file in jupyterhub_config.d",
	"PYTHONHOME":            "it would lead single-user servers to another Python",
	"PYTHONPATH":            "single-user servers would load what it leads to; install packages for all users instead",
	"RUNTIME_DIRECTORY":     setBySystemd,
	"SHELL":                 "write c.SystemdSpawner.default_shell in a file in jupyterhub_config.d",
	"SYSTEMD_EXEC_PID":      setBySystemd,
	"USER":                  setByAccount,
}

// ownPrefixes begin the names of variables that the hub, its servers and the dynamic linker read.
var ownPrefixes = []string{"LD_", "JUPYTERHUB_", "JPY_", "CONFIGPROXY_"}

// refusedVariables is a pattern of the names that cannot be set.
func refusedVariables() string {
	names := []string{}
	for name := range ownVariables {
		names = append(names, name)
	}
	slices.Sort(names)
	return "^(" + strings.Join(names, "$|") + "$|" + strings.Join(ownPrefixes, "|") + ")"
}

func checkVariable(name string) error {
	if !variableName.MatchString(name) {
		return fmt.Errorf("%s cannot be the name of an environment variable", short(name))
	}
	if reason, ok := ownVariables[name]; ok {
		return fmt.Errorf("%s cannot be set here: %s", short(name), reason)
	}
	if slices.ContainsFunc(ownPrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
		return fmt.Errorf("%s cannot be set here: single-user servers depend on it", short(name))
	}
	return nil
}
