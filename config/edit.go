package config

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// AddToList adds names to a list of users, such as users.admin, and leaves every other byte as it is. Names that are in the list
// already are not added again. The list is made when there is none. The file must be valid, and what is returned has been read again.
func AddToList(data []byte, path string, values []string) ([]byte, error) {
	return bytesOf(Read("the config", data).addNames(path, values))
}

func (d *Document) addNames(path string, values []string) (*Document, error) {
	if listOf(&Config{}, path) == nil {
		return nil, fmt.Errorf("%s is no list", path)
	}
	if err := d.Report.Err(); err != nil {
		return nil, err
	}
	missing, err := notIn(*listOf(d.Config, path), values)
	if err != nil {
		return nil, err
	}
	if len(missing) == 0 {
		return d, nil
	}
	if err := contradiction(d.Config, path, missing); err != nil {
		return nil, err
	}
	text, marked := d.text()
	e := &editor{src: d.src, newline: lineBreak(text)}
	edited, ok := e.put(d.root, strings.Split(path, "."), payload{items: texts(missing)})
	if marked {
		edited = append([]byte(bom), edited...)
	}
	var after *Document
	if ok {
		after = Read(d.Report.File, edited)
	}
	if !ok || !addsOnly(d.Config, after.Config, path, missing) {
		return nil, fmt.Errorf("%s is written in a way that only a person can edit safely: add %s there by hand", path, strings.Join(missing, ", "))
	}
	return after, nil
}

// listOf returns the field of a list of users, or nil.
func listOf(c *Config, path string) *[]string {
	for _, key := range schema(c) {
		if key.path == path && strings.HasPrefix(path, "users.") {
			return key.list
		}
	}
	return nil
}

func notIn(list, values []string) ([]string, error) {
	var missing []string
	for _, value := range values {
		if err := CheckUserName(value); err != nil {
			return nil, err
		}
		if name := strings.ToLower(value); !slices.Contains(list, name) && !slices.Contains(missing, name) {
			missing = append(missing, name)
		}
	}
	return missing, nil
}

// contradiction finds who would be both banned and an admin.
func contradiction(c *Config, path string, names []string) error {
	other := map[string]string{"users.admin": "users.banned", "users.banned": "users.admin"}[path]
	if other == "" {
		return nil
	}
	for _, name := range names {
		if slices.Contains(*listOf(c, other), name) {
			return fmt.Errorf("%s is in %s, and cannot be in %s as well", name, other, path)
		}
	}
	return nil
}

// addsOnly tells whether an edited config means what it did before, with names added to one list.
func addsOnly(old, now *Config, path string, added []string) bool {
	if now == nil {
		return false
	}
	list, before := *listOf(now, path), *listOf(old, path)
	if !slices.Equal(list, slices.Concat(before, added)) {
		return false
	}
	*listOf(now, path) = before
	same := reflect.DeepEqual(now, old)
	*listOf(now, path) = list
	return same
}

// texts writes names so that they are read as themselves.
func texts(names []string) []string {
	var written []string
	for _, name := range names {
		written = append(written, scalarText(name))
	}
	return written
}

func lineBreak(data []byte) string {
	at := bytes.IndexAny(data, "\r\n")
	switch {
	case at < 0 || data[at] == '\n':
		return "\n"
	case at+1 < len(data) && data[at+1] == '\n':
		return "\r\n"
	}
	return "\r"
}
