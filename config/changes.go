package config

import (
	"encoding/json"
	"reflect"
	"strings"
)

// Change is a key, or a section of names, whose value is another one now.
type Change struct {
	Path    string   `json:"path"`
	Touches []string `json:"touches"` // what has to be seen to: "hub restart", "sudo rules", …; none when nothing that runs is concerned

	Hub          bool `json:"-"` // the hub reads it
	OnlyHub      bool `json:"-"` // and nothing else does
	NeedsInstall bool `json:"-"` // a reload does not see to it
}

// Changes compares what two configs mean.
func Changes(before, after *Config) []Change {
	old, now := schema(before), schema(after)
	changes := []Change{}
	for i, key := range now {
		if reflect.DeepEqual(old[i].value(), key.value()) || plainEqual(old[i].value(), key.value()) {
			continue
		}
		path, _, _ := strings.Cut(key.path, ".*")
		if n := len(changes); n > 0 && changes[n-1].Path == path {
			continue // two rows of one section
		}
		changes = append(changes, Change{
			Path: path, Touches: key.touches.names(), Hub: key.touches&onHub != 0, OnlyHub: key.touches == onHub,
			NeedsInstall: key.touches&^onServers == onNothing || key.touches&(onEnvironment|onHubEnvironment) != 0,
		})
	}
	return changes
}

// plainEqual makes a list that is empty and one that is not there the same.
func plainEqual(a, b any) bool {
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	return x.IsValid() && y.IsValid() && (x.Kind() == reflect.Slice || x.Kind() == reflect.Map) && x.Len() == 0 && y.Len() == 0
}

func (t touches) names() []string {
	found := []string{}
	for _, effect := range effects {
		if t&effect.touch != 0 {
			found = append(found, effect.name)
		}
	}
	return found
}

// HubView is all of a config that the hub reads, in a form to compare: the hub has to be restarted when it differs, and only then.
func (c *Config) HubView() string {
	view := map[string]any{}
	for _, key := range schema(c) {
		if key.touches&onHub != 0 {
			view[key.path] = key.value()
		}
	}
	data, err := json.Marshal(view)
	if err != nil {
		return err.Error() // never: values come from YAML
	}
	return string(data)
}
