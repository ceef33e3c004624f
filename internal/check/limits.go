package check

import (
	"context"
	"path"
	"slices"
	"strings"

	"tljh/internal/host"
)

// cgroups is where the kernel's control groups are: of version 2, or a folder a controller of version 1.
const cgroups = "/sys/fs/cgroup"

// controllers are those that users' limits rest on, with what has no effect without them.
var controllers = []struct{ name, limit string }{
	{"memory", "memory limits"}, {"cpu", "CPU limits"}, {"pids", "limits of processes"},
}

func checkLimits(_ context.Context, env *Env) Finding { return Limits(env.Host.Files) }

// Limits tells whether the kernel keeps users' servers to their limits.
func Limits(files host.Files) Finding {
	there, err := controllersOf(files)
	if err != nil || len(there) == 0 {
		return Skip("the kernel shows no control groups in %s", cgroups)
	}
	missing, without := []string{}, []string{}
	for _, controller := range controllers {
		if !slices.Contains(there, controller.name) {
			missing = append(missing, controller.name)
			without = append(without, controller.limit)
		}
	}
	if len(missing) == 0 {
		return Fine("memory, CPU and processes are limited")
	}
	return Warn(controllerHint(files, missing), "%s have no effect: the kernel's controller %s is off", strings.Join(without, " and "), strings.Join(missing, ", "))
}

func controllersOf(files host.Files) ([]string, error) {
	if text, err := files.Read(path.Join(cgroups, "cgroup.controllers")); err == nil {
		return strings.Fields(string(text)), nil
	}
	return files.List(cgroups)
}

// firmware are the kernel's command lines of a Raspberry Pi, today's first. Its kernel leaves the memory controller off.
var firmware = []string{"/boot/firmware/cmdline.txt", "/boot/cmdline.txt"}

const grub = "/etc/default/grub"

// controllerHint is how controllers are switched on.
func controllerHint(files host.Files, missing []string) string {
	at := slices.IndexFunc(firmware, files.Exists)
	switch {
	case files.Exists(container):
		return "the container's host has to give it the controllers: " + strings.Join(missing, ", ")
	case !slices.Contains(missing, "memory"):
		return "take cgroup_disable=" + strings.Join(missing, ",") + " from the kernel's command line (cat /proc/cmdline shows it), or start the kernel of your distribution"
	case at >= 0:
		return "sudo sed -i '1s/$/ cgroup_memory=1 cgroup_enable=memory/' " + firmware[at] + " && sudo reboot"
	case disabledAtBoot(files, "memory"):
		return "take cgroup_disable=memory out of GRUB_CMDLINE_LINUX in " + grub + ", then: sudo update-grub && sudo reboot"
	case files.Exists(grub):
		return "add cgroup_enable=memory to GRUB_CMDLINE_LINUX in " + grub + ", then: sudo update-grub && sudo reboot"
	}
	return "add cgroup_enable=memory to the kernel's command line, then: sudo reboot"
}

func disabledAtBoot(files host.Files, controller string) bool {
	line, _ := files.Read("/proc/cmdline")
	return slices.ContainsFunc(strings.Fields(string(line)), func(word string) bool {
		off, found := strings.CutPrefix(word, "cgroup_disable=")
		return found && slices.Contains(strings.Split(off, ","), controller)
	})
}
