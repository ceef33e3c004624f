package config

import (
	"fmt"
	"strings"

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

` + "`" + layout.Config + "`" + ` says all there is to say about a hub. It is YAML; every key may be left out, and a key without a value says nothing. ` + "`NAME`" + ` stands
for a name of your choice.

` + "```shell" + `
sudo tljh-install config edit                  # edits it, checks it, puts it into effect
sudo tljh-install config set limits.memory 2G  # changes one key and leaves comments alone
sudo tljh-install config reload                # puts what was changed into effect
` + "```" + `

[config.schema.json](config.schema.json) describes the same for editors. This page is made from the table that the file is read by.

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
		fmt.Fprintf(&b, "### `%s`\n\n%s\n\n", name, doc.Doc)
		if doc.Type == anything {
			continue
		}
		fmt.Fprintf(&b, "- Type: %s\n- Default: `%s`\n- Touches: %s\n\n```yaml\n%s```\n\n", doc.Type, doc.Default, touched(key.touches), exampleOf(doc, name))
	}
	return []byte(strings.TrimRight(b.String(), "\n") + "\n")
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
