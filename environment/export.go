package environment

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"tljh/conda"
	"tljh/internal/host"
)

// Export describes the live user environment by files that ReadSource reads: name → contents. Locked, conda's packages come with their checksums.
func Export(files host.Files, locked bool) (map[string]string, error) {
	live, ok := Current(files, User)
	if !ok {
		return nil, errNoUserEnvironment
	}
	env, err := files.Within(live.Path())
	if err != nil {
		return nil, err
	}
	defer env.Close()
	all, err := installed(env)
	if err != nil {
		return nil, err
	}
	described := map[string]string{}
	if data, err := env.Read(startProgram, sourceLimit); err == nil {
		described[fileStart] = string(data)
	}
	if locked && live.Manager != "conda" {
		return nil, errNoLock
	}
	if locked {
		files, err := lock(env, all)
		maps.Copy(described, files)
		return described, err
	}
	if live.Manager == "conda" {
		text, err := exportConda(env, all)
		described[fileEnvironment] = text
		return described, err
	}
	python := strings.TrimPrefix(path.Base(path.Dir(siteWithin(env))), "python")
	described[fileRuntime] = "python-" + python + "\n"
	packages := map[string]string{}
	for _, each := range all {
		packages[each.name] = each.version
	}
	described[fileRequirements] = strings.Join(Pins(packages), "\n") + "\n"
	return described, nil
}

// errNoLock is what an environment of uv says to who wants to lock it.
var errNoLock = host.Hint(errors.New("only an environment that conda made can be locked"), "write the checksums into a requirements.txt (pip-compile --generate-hashes): they are verified")

func exportConda(env *host.Within, all []contents) (string, error) {
	channels, specs, pip := []string{}, []any{}, map[string]string{}
	for _, each := range all {
		if !each.byConda {
			pip[each.name] = each.version
			continue
		}
		specs = append(specs, fmt.Sprintf("%s=%s", each.entry.Name, each.version))
		if record, err := each.entry.Read(env); err == nil && record.URL != "" {
			if channel := conda.ChannelOf(record.URL); !slices.Contains(channels, channel) {
				channels = append(channels, channel)
			}
		}
	}
	if len(pip) > 0 {
		specs = append(specs, map[string][]string{"pip": Pins(pip)})
	}
	text, err := yaml.Marshal(struct {
		Channels     []string `yaml:"channels"`
		Dependencies []any    `yaml:"dependencies"`
	}{channels, specs})
	return string(text), err
}
