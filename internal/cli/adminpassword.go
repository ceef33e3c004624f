package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"tljh/installer"
	"tljh/internal/host"
)

// passwordLimit is more than any file of passwords needs.
const passwordLimit = 64 << 10

// withPasswords gives the admins of --admin the passwords of a file, and returns them as --admin takes them. No error repeats what the file holds.
func withPasswords(admins []string, file string, in io.Reader) ([]string, error) {
	if file == "" {
		return admins, nil
	}
	bad := func(words, hint string) ([]string, error) {
		return nil, &installer.BadInput{Err: host.Hint(errors.New("--admin-password-file: "+words), "%s", hint)}
	}
	if len(admins) == 0 {
		return bad("there is no admin to give the password to", "name one: --admin alice")
	}
	for _, admin := range admins {
		if name, _, given := strings.Cut(admin, ":"); given {
			return bad("--admin already gives "+name+" a password", "give only the name: --admin "+name)
		}
	}
	lines, err := passwordLines(file, in)
	if err != nil {
		return nil, &installer.BadInput{Err: err}
	}
	if len(admins) == 1 && len(lines) == 1 && !strings.HasPrefix(lines[0], admins[0]+":") {
		return []string{admins[0] + ":" + lines[0]}, nil
	}
	passwords := map[string]string{}
	for _, line := range lines {
		if name, password, ok := strings.Cut(line, ":"); ok {
			passwords[name] = password
		}
	}
	named := []string{}
	for _, admin := range admins {
		password, ok := passwords[admin]
		if !ok {
			return bad("there is no line for "+admin, "write one password for one admin, or a line NAME:PASSWORD for each")
		}
		named = append(named, admin+":"+password)
	}
	if len(passwords) > len(named) || len(lines) > len(passwords) {
		return bad("a line is for none of the admins named with --admin", "write one password for one admin, or a line NAME:PASSWORD for each")
	}
	return named, nil
}

func passwordLines(file string, in io.Reader) ([]string, error) {
	if file != "-" {
		opened, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("cannot read --admin-password-file: %w", err)
		}
		defer opened.Close()
		in = opened
	}
	data, err := io.ReadAll(io.LimitReader(in, passwordLimit))
	if err != nil {
		return nil, fmt.Errorf("cannot read --admin-password-file: %w", err)
	}
	lines := []string{}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return nil, errors.New("--admin-password-file: the file is empty")
	}
	return lines, nil
}
