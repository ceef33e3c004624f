package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const root = "../../.."

func TestMetadata(t *testing.T) {
	tests := map[string]entry{
		"Name: Some_Package.Name\nLicense-Expression: MIT AND ISC\nLicense: BSD\n\ntext":                                   {"some-package-name", "MIT AND ISC"},
		"Name: a\nLicense: Apache 2.0\n\n":                                                                                 {"a", "Apache-2.0"},
		"Name: a\nLicense: BSD 3-Clause License\n        Copyright (c) somebody\n\n":                                       {"a", "BSD-3-Clause"},
		"Name: a\nLicense: UNKNOWN\nClassifier: Topic :: X\nClassifier: License :: OSI Approved :: ISC License (ISCL)\n\n": {"a", "ISC"},
		"Name: a\nLicense: ask my aunt\n\n":                                                                                {"a", "see the package"},
	}
	for text, want := range tests {
		got, err := metadata([]byte(text))
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
}

var (
	// pinned finds the names in a lock for pip or uv, with what follows.
	pinned = regexp.MustCompile(`(?m)^([A-Za-z0-9._-]+)==(.*)$`)
	// elsewhere are packages that only other systems get.
	elsewhere = regexp.MustCompile(`; .*== '(win32|Windows|nt|darwin|Darwin)'`)
)

// The page names everything that the locks install: after a change of one, run make licences.
func TestThePageNamesWhatTheLocksInstall(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, page))
	require.NoError(t, err)
	var names []string
	for _, lock := range []string{"hub", "user", "node", "uv"} {
		data, err := os.ReadFile(filepath.Join(root, "hub/locks", lock+".txt"))
		require.NoError(t, err)
		for _, match := range pinned.FindAllStringSubmatch(string(data), -1) {
			if !elsewhere.MatchString(match[2]) {
				names = append(names, normal(match[1]))
			}
		}
	}
	require.Greater(t, len(names), 100)
	proxy, err := locked(filepath.Join(root, "hub/proxy/package-lock.json"))
	require.NoError(t, err)
	require.Greater(t, len(proxy), 5)
	for _, e := range proxy {
		names = append(names, e.name)
	}
	for _, name := range names {
		assert.True(t, strings.Contains(string(text), "\n| "+name+" | "), "docs/licences.md is behind the locks (%s): run make licences", name)
	}
}

// The page names every Go module that is linked into the binary.
func TestThePageNamesTheModules(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, page))
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}", "./cmd/tljh-install")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	out, err := cmd.Output()
	require.NoError(t, err)
	modules := strings.Fields(string(out))
	require.NotEmpty(t, modules)
	major := regexp.MustCompile(`/v[0-9]+$`)
	for _, module := range modules {
		assert.True(t, strings.Contains(string(text), major.ReplaceAllString(module, "")), "docs/licences.md does not name %s", module)
	}
}
