package config

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// JSONSchema describes the file for editors and other programs, from the same table that it is read by. What keys mean together, and what YAML
// allows to write, is beyond it.
func JSONSchema() []byte {
	root := sectionSchema(tree(schema(&Config{})), "The Littlest JupyterHub's config.yaml")
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	data, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic(err) // of the table alone: a test finds it
	}
	return append(data, '\n')
}

func sectionSchema(s *section, title string) obj {
	properties := obj{}
	node := obj{"type": []string{"object", "null"}, "properties": properties, "additionalProperties": false}
	if title != "" {
		node["title"] = title
	}
	for name, key := range s.keys {
		if name == "*" {
			node["patternProperties"] = obj{className.String(): keySchema(key)}
			continue
		}
		properties[name] = keySchema(key)
	}
	for name, inner := range s.sections {
		if name == "*" {
			node["additionalProperties"] = sectionSchema(inner, "")
			node["propertyNames"] = s.any.schema
			continue
		}
		properties[name] = sectionSchema(inner, "")
	}
	return node
}

func keySchema(key key) obj {
	described := obj{"description": key.doc}
	if key.typ == anything {
		return described
	}
	if key.def != "null" && !strings.Contains(key.path, "*") {
		described["description"] = key.doc + " Default: " + key.def + "."
	}
	described["anyOf"] = []any{key.schema, obj{"type": "null"}}
	return described
}

// Complete returns the keys that begin with what was typed, for a shell: also those below a name that was typed already.
func Complete(typed string) []string {
	found := []string{}
	parts := strings.Split(typed, ".")
	for _, doc := range Keys() {
		row := strings.Split(doc.Path, ".")
		for i, part := range parts[:len(parts)-1] { // the names that are finished
			if i < len(row)-1 && row[i] == "*" && part != "" {
				row[i] = part
			}
		}
		path := strings.Join(row, ".")
		if !strings.HasPrefix(path, typed) {
			continue
		}
		// As far as the next name that only the person knows.
		path, _, _ = strings.Cut(path, "*")
		if !slices.Contains(found, path) && path != typed {
			found = append(found, path)
		}
	}
	return found
}

// CompleteValue returns the values that a key can have, where these are few.
func CompleteValue(path, typed string) []string {
	t, err := targetOf(path)
	if err != nil || !t.exact {
		return nil
	}
	values := []string{}
	if t.key.schema["type"] == "boolean" {
		values = []string{"true", "false"}
	}
	if form, _ := t.key.schema["pattern"].(string); choices.MatchString(form) {
		values = strings.Split(strings.TrimSuffix(strings.TrimPrefix(form, "^("), ")$"), "|")
	}
	if t.key.path == "auth.type" {
		values = shortNames()
	}
	return slices.DeleteFunc(values, func(value string) bool { return !strings.HasPrefix(value, typed) })
}

// choices is the form of a text that is one of a few words.
var choices = regexp.MustCompile(`^\^\([a-z]+(\|[a-z]+)*\)\$$`)
