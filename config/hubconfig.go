package config

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// ForHub is what the hub is told of a config: whether it can be used and, if so, all that the hub reads of it, every value in its one form. The hub reads no
// YAML of its own, so that there is one opinion of what a file says.
type ForHub struct {
	Valid    bool           `json:"valid"`
	Problems []string       `json:"problems"` // why it can't be used, in words that hold no secret
	Config   map[string]any `json:"config,omitempty"`
}

// toldToHub is how many problems the hub has use for.
const toldToHub = 10

// ReadForHub reads a file for the hub.
func ReadForHub(data []byte) ForHub {
	c, report := Parse("", data)
	if c != nil {
		return ForHub{Valid: true, Problems: []string{}, Config: c.forHub()}
	}
	told := ForHub{}
	for _, problem := range report.Problems {
		if problem.Severity != Error {
			continue
		}
		if len(told.Problems) == toldToHub {
			told.Problems = append(told.Problems, "and more: tljh-install config validate tells all of it")
			break
		}
		words := "line " + strconv.Itoa(problem.Line) + ": " + printable(problem.Message)
		if problem.Hint != "" {
			words += " (" + printable(problem.Hint) + ")"
		}
		told.Problems = append(told.Problems, words)
	}
	return told
}

// keptForHub is what the hub reads of the config that it works with, for when it cannot ask.
type keptForHub struct {
	SHA256 string         `json:"sha256"` // of the text
	Config map[string]any `json:"config"`
}

// KeepForHub returns what the hub keeps of a config that it works with.
func KeepForHub(text []byte) ([]byte, error) {
	told := ReadForHub(text)
	if !told.Valid {
		return nil, fmt.Errorf("the config is not valid: %s", strings.Join(told.Problems, "; "))
	}
	return json.Marshal(keptForHub{SHA256: sumOf(text), Config: told.Config})
}

// IsKeptForHub reports whether the hub has kept these values of a text.
func IsKeptForHub(kept, text []byte) bool {
	var found keptForHub
	return json.Unmarshal(kept, &found) == nil && found.SHA256 == sumOf(text)
}

func sumOf(text []byte) string { return fmt.Sprintf("%x", sha256.Sum256(text)) }

// forHub returns what the hub reads, as sections within sections.
func (c *Config) forHub() map[string]any {
	root := map[string]any{}
	for _, key := range schema(c) {
		if key.touches&onHub == 0 {
			continue
		}
		path, _, _ := strings.Cut(key.path, ".*")
		parts := strings.Split(path, ".")
		at := root
		for _, part := range parts[:len(parts)-1] {
			inner, ok := at[part].(map[string]any)
			if !ok {
				inner = map[string]any{}
				at[part] = inner
			}
			at = inner
		}
		if last := parts[len(parts)-1]; key.path != "auth.*" {
			at[last] = hubValue(key.value())
		}
	}
	for class, options := range c.Auth.Options { // beside auth.type
		root["auth"].(map[string]any)[class] = exact(options)
	}
	return root
}

// AuthenticatorQuestion is what the hub environment is asked about the authenticator: its answer is for CheckAuthenticator.
func (c *Config) AuthenticatorQuestion() ([]byte, error) {
	sections := map[string]any{}
	for class, options := range c.Auth.Options {
		sections[class] = exact(options)
	}
	return json.Marshal(map[string]any{"type": c.Auth.Type, "sections": sections})
}

func hubValue(value any) any {
	switch v := value.(type) {
	case *Bytes:
		if v == nil {
			return nil
		}
		return int64(*v)
	case *float64:
		if v == nil {
			return nil
		}
		return *v
	case []string:
		return append([]string{}, v...)
	case map[string]Limit:
		found := map[string]any{}
		for name, limit := range v {
			said := map[string]any{}
			if limit.MemorySet {
				said["memory"] = hubValue(limit.Memory)
			}
			if limit.CPUSet {
				said["cpu"] = hubValue(limit.CPU)
			}
			found[name] = said
		}
		return found
	case map[string]SharedFolder:
		found := map[string]any{}
		for name, folder := range v {
			found[name] = map[string]any{"read": hubValue(folder.Read), "write": hubValue(folder.Write)}
		}
		return found
	case map[string][]string:
		found := map[string]any{}
		for name, list := range v {
			found[name] = hubValue(list)
		}
		return found
	}
	return value
}

// exact makes JSON keep whole numbers and others apart, as the options of an authenticator may.
func exact(value any) any {
	switch v := value.(type) {
	case float64:
		text := strconv.FormatFloat(v, 'g', -1, 64)
		if !strings.ContainsAny(text, ".e") {
			text += ".0"
		}
		return json.Number(text)
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = exact(item)
		}
		return list
	case map[string]any:
		found := map[string]any{}
		for name, inner := range v {
			found[name] = exact(inner)
		}
		return found
	}
	return value
}
