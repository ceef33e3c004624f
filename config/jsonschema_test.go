package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(JSONSchema()))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("config.json", document))
	schema, err := compiler.Compile("config.json")
	require.NoError(t, err)
	return schema
}

// asJSON reads a text as programs with a YAML library do.
func asJSON(t *testing.T, text string) any {
	t.Helper()
	var tree any
	require.NoError(t, yaml.Unmarshal([]byte(text), &tree), text)
	data, err := json.Marshal(tree)
	require.NoError(t, err, text)
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	require.NoError(t, err)
	return value
}

// values are what generated files are made of; those that the two judge by more than form are left out.
var values = []string{
	"true", "false", "null", "0", "1", "80", "971", "65535", "65536", "-1", "2.5", `""`, `"x"`, `"2G"`, `"2 G"`, `"1.5T"`, "1048576", "1048575", `"/"`, `"/x/"`, `"x/"`,
	`"/srv/homes"`, `"/etc/hub.pem"`, `"/logo.png"`, "[]", "[alice]", `["a/b"]`, "[1]", "[[]]", "[/srv/homework]", "[/opt]", "[/opt/tljh/hub]", "[/var/lib/x/]", "{}", "{a: b}", `{COURSE: "x"}`, `{"PATH": "x"}`, "{g: [alice]}", "{g: 1}", "{jupyterhub-admins: [a]}",
	`"https://example.org/x"`, `"teacher@example.org"`, `[hub.example.org]`, `"native"`, `"no such thing"`, `"none"`, `"all"`, `"notebook"`, `["all"]`, `["group:g"]`, `["group:"]`, `["numpy>=2"]`, `["-r x"]`,
}

func paths() []string {
	found := []string{"limits.disk", "nothing", "users", "limits.groups.g.disk", "shared_folders.Data.read"}
	for _, doc := range Keys() {
		name := "g"
		if doc.Path == "auth.*" {
			name = "FirstUseAuthenticator"
		}
		found = append(found, strings.Replace(doc.Path, "*", name, 1))
	}
	return found
}

// What keys mean together is beyond a schema.
var crossed = []string{"there is no group", "HTTPS needs", "is missing", "cannot both have", "only one can be used", "account of the system's", "is one without"}

func structural(report Report) bool {
	for _, problem := range report.Problems {
		beyond := false
		for _, words := range crossed {
			beyond = beyond || strings.Contains(problem.Message, words)
		}
		if problem.Severity == Error && !beyond {
			return true
		}
	}
	return false
}

// The decoder and the schema have the same verdict on every key with every value.
func TestDecoderAndSchemaAgree(t *testing.T) {
	schema := compiled(t)
	for _, path := range paths() {
		for _, value := range values {
			agree(t, schema, inFlow(path, value))
		}
	}
	// And on whole files of several keys.
	random := rand.New(rand.NewPCG(uint64(*seed), 1))
	all := paths()
	for range 2000 {
		var text strings.Builder
		seen := map[string]bool{}
		for range 1 + random.IntN(4) {
			path := all[random.IntN(len(all))]
			top, _, _ := strings.Cut(path, ".")
			if seen[top] {
				continue
			}
			seen[top] = true
			whole := inFlow(path, values[random.IntN(len(values))])
			fmt.Fprintf(&text, "%s\n", strings.TrimSuffix(strings.TrimPrefix(whole, "{"), "}"))
		}
		agree(t, schema, text.String())
	}
}

func agree(t *testing.T, schema *jsonschema.Schema, text string) {
	t.Helper()
	_, report := Parse("", []byte(text))
	err := schema.Validate(asJSON(t, text))
	assert.Equal(t, structural(report), err != nil, "%s\ndecoder: %v\nschema: %v", text, report.Err(), err)
}

func TestPublishedSchemaAndReferenceAreNew(t *testing.T) {
	for file, want := range map[string][]byte{"../docs/reference/config.schema.json": JSONSchema(), "../docs/reference/config.md": Reference()} {
		if *update {
			require.NoError(t, os.MkdirAll("../docs/reference", 0o755))
			require.NoError(t, os.WriteFile(file, want, 0o644))
		}
		got, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.Equal(t, string(want), string(got), "%s is stale: go test ./config -update", file)
	}
}

func TestComplete(t *testing.T) {
	assert.Equal(t, []string{"limits.memory"}, Complete("limits.m"))
	assert.Equal(t, []string{"limits.memory", "limits.cpu", "limits.groups.", "limits.users."}, Complete("limits."))
	assert.Empty(t, Complete("nothing"))
	assert.Equal(t, []string{"limits.users.bob.memory", "limits.users.bob.cpu"}, Complete("limits.users.bob."))
	assert.Equal(t, []string{"shared_folders.data.write"}, Complete("shared_folders.data.w"))
	assert.Equal(t, []string{"all", "environment", "none"}, CompleteValue("users.admin_sudo", ""))
	assert.Equal(t, []string{"true"}, CompleteValue("https.enabled", "t"))
	assert.Contains(t, CompleteValue("auth.type", "git"), "github")
	assert.Empty(t, CompleteValue("limits.memory", ""))
	assert.Empty(t, CompleteValue("nothing", ""))
}
