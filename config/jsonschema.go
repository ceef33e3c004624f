package config

import (
	"encoding/json"
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

// Complete returns the keys that begin with what was typed, for a shell.
func Complete(typed string) []string {
	found := []string{}
	for _, doc := range Keys() {
		if path := doc.Path; strings.HasPrefix(path, typed) {
			// As far as the next name that only the person knows.
			path, _, _ = strings.Cut(path, "*")
			if !slices.Contains(found, path) && path != typed {
				found = append(found, path)
			}
		}
	}
	return found
}
