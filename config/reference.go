package config

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"tljh/internal/layout"
)

// documents are examples of keys that make no sense alone, or whose NAME has to be one.
var documents = map[string]string{
	"auth.*":                 "auth:\n  FirstUseAuthenticator:\n    create_users: true\n",
	"limits.groups.*.memory": "users:\n  extra_user_groups:\n    course-a: [bob]\nlimits:\n  groups:\n    course-a:\n      memory: 4G\n",
	"limits.groups.*.cpu":    "users:\n  extra_user_groups:\n    course-a: [bob]\nlimits:\n  groups:\n    course-a:\n      cpu: 2\n",
	"limits.users.*.memory":  "limits:\n  users:\n    bob:\n      memory: 4G\n",
	"limits.users.*.cpu":     "limits:\n  users:\n    bob:\n      cpu: 2\n",
	"https.enabled":          "https:\n  enabled: true\n  letsencrypt:\n    email: teacher@example.org\n    domains: [hub.example.org]\n",
	"shared_folders.*.read":  "shared_folders:\n  data:\n    read: [all]\n    write: [admins]\n",
	"shared_folders.*.write": "shared_folders:\n  data:\n    read: [all]\n    write: [admins, \"bob\"]\n",
}

const introduction = `# Keys of config.yaml

` + "`" + layout.Config + "`" + ` contains all settings of a hub. It is YAML; every key is optional, and a key without a
value sets nothing. ` + "`NAME`" + ` stands for a name of your choice.

` + "```shell" + `
sudo tljh-install config edit                  # edit it, check it and apply it
sudo tljh-install config set limits.memory 2G  # change one key, and keep the comments
sudo tljh-install config reload                # apply the changes
` + "```" + `

[config.schema.json](config.schema.json) contains the same as a JSON Schema, for editors. This page is generated
from the table of keys in the program.

`

// Reference returns the page of all keys, in Markdown.
func Reference() []byte {
	var b strings.Builder
	b.WriteString(introduction)
	section := ""
	for i, key := range schema(&Config{}) {
		doc := Keys()[i]
		if top, _, _ := strings.Cut(doc.Path, "."); top != section {
			section = top
			fmt.Fprintf(&b, "## %s\n\n", top)
		}
		name := strings.Replace(doc.Path, "*", "NAME", 1)
		fmt.Fprintf(&b, "### `%s`\n\n%s\n\n", name, wrapped(doc.Doc))
		if doc.Type == anything {
			continue
		}
		fmt.Fprintf(&b, "- Type: %s\n- Default: `%s`\n%s\n\n```yaml\n%s```\n\n", doc.Type, doc.Default, listItem("Touches: "+touched(key.touches)), exampleOf(doc, name))
	}
	return []byte(strings.TrimRight(b.String(), "\n") + "\n")
}

// listItem is an item of a list, whose further lines are indented.
func listItem(text string) string { return strings.ReplaceAll(wrapped("- "+text), "\n", "\n  ") }

// wrapped breaks a text into lines that fit the manual's 120 columns.
func wrapped(text string) string {
	const columns = 120
	var b strings.Builder
	column := 0
	for _, word := range strings.Fields(text) {
		switch width := utf8.RuneCountInString(word); {
		case column == 0:
			column = width
		case column+1+width > columns:
			b.WriteByte('\n')
			column = width
		default:
			b.WriteByte(' ')
			column += 1 + width
		}
		b.WriteString(word)
	}
	return b.String()
}

func touched(t touches) string {
	if names := t.names(); len(names) > 0 {
		return strings.Join(names, ", ")
	}
	return "nothing that runs"
}

func exampleOf(doc KeyDoc, name string) string {
	if whole := documents[doc.Path]; whole != "" {
		return whole
	}
	return asBlock(name, doc.Example)
}

// asBlock writes a key under its sections.
func asBlock(path, value string) string {
	var b strings.Builder
	parts := strings.Split(path, ".")
	for i, part := range parts {
		b.WriteString(strings.Repeat("  ", i) + part + ":")
		if i == len(parts)-1 {
			b.WriteString(" " + value)
		}
		b.WriteString("\n")
	}
	return b.String()
}
