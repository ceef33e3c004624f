package config

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each file of testdata/edits is a config; the .txt beside it is the same with carol and the user named "1234" made admins, or why not.
func TestEdits(t *testing.T) {
	files, err := filepath.Glob("testdata/edits/*.yaml")
	require.NoError(t, err)
	require.Greater(t, len(files), 20)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			edited, err := AddToList(data, "users.admin", []string{"carol", "1234"})
			if err != nil {
				edited = []byte("cannot: " + err.Error() + "\n")
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			if *update {
				require.NoError(t, os.WriteFile(golden, edited, 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), string(edited))
		})
	}
}

func TestAddNothing(t *testing.T) {
	data := []byte("users: {admin: [Alice, bob]}  # as it is")
	for _, values := range [][]string{nil, {"alice"}, {"ALICE", "bob"}} {
		edited, err := AddToList(data, "users.admin", values)
		require.NoError(t, err)
		assert.Equal(t, string(data), string(edited))
	}
}

func TestAddRefuses(t *testing.T) {
	for _, c := range []struct{ data, path, value, says string }{
		{"", "users.nosuch", "a", "users.nosuch is no list"},
		{"", "limits.memory", "a", "limits.memory is no list"},
		{"", "users.admin", "bad name", "contains a space"},
		{"limts: {}", "users.admin", "a", "there is no key limts"},
		{"users: {banned: [mallory]}", "users.admin", "mallory", "mallory is in users.banned"},
		{"users: {admin: [alice]}", "users.banned", "Alice", "alice is in users.admin"},
		{"---\nlimits: {}\n...\n", "users.allowed", "a", "by hand"},
		{"users: {admin: [\n  'ali\n  ce']}", "users.admin", "a", "contains a space"},
	} {
		edited, err := AddToList([]byte(c.data), c.path, []string{c.value})
		assert.ErrorContains(t, err, c.says)
		assert.Nil(t, edited)
	}
}

func TestAddToEveryList(t *testing.T) {
	for _, path := range []string{"users.admin", "users.allowed", "users.banned"} {
		data := Starter([]string{"alice"}, Network{})
		edited, err := AddToList(data, path, []string{"dan", "no", "eve"})
		require.NoError(t, err)
		c, report := Parse("", edited)
		require.NoError(t, report.Err())
		assert.Subset(t, *list(c, path), []string{"dan", "no", "eve"})
	}
}

func list(c *Config, path string) *[]string {
	return map[string]*[]string{"users.admin": &c.Users.Admin, "users.allowed": &c.Users.Allowed, "users.banned": &c.Users.Banned}[path]
}

// isSplice tells whether an edit only put something in, or in the place of a null.
func isSplice(before, after []byte) bool {
	n := 0
	for n < min(len(before), len(after)) && before[n] == after[n] {
		n++
	}
	m := 0
	for m < min(len(before), len(after))-n && before[len(before)-1-m] == after[len(after)-1-m] {
		m++
	}
	replaced := before[n : len(before)-m]
	return slices.ContainsFunc([]string{"~", "null", "Null", "NULL"}, func(null string) bool { return bytes.Contains([]byte(null), replaced) })
}

func FuzzAddToList(f *testing.F) {
	files, err := filepath.Glob("testdata/edits/*.yaml")
	require.NoError(f, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(data, "carol", uint8(2))
	}
	for _, text := range corpus(f) {
		f.Add([]byte(text), "1234", uint8(0))
	}
	paths := []string{"users.allowed", "users.banned", "users.admin"}
	f.Fuzz(func(t *testing.T, data []byte, name string, which uint8) {
		path := paths[int(which)%len(paths)]
		edited, err := AddToList(data, path, []string{name})
		before, report := Parse("", data)
		if err != nil {
			return
		}
		if report.Err() != nil {
			t.Fatal("an edit of an invalid file")
		}
		after, report := Parse("", edited)
		if report.Err() != nil {
			t.Fatalf("the edited file is invalid: %s", report.Text())
		}
		if !slices.Contains(*list(after, path), strings.ToLower(name)) {
			t.Fatalf("%q is not in %s of %q", name, path, edited)
		}
		again, err := AddToList(edited, path, []string{name})
		if err != nil || !bytes.Equal(again, edited) {
			t.Fatalf("the second time: %v, %q", err, again)
		}
		*list(after, path), *list(before, path) = nil, nil
		if !assert.ObjectsAreEqual(before, after) {
			t.Fatalf("more has changed: %q to %q", data, edited)
		}
		if !isSplice(data, edited) {
			t.Fatalf("not a splice: %q to %q", data, edited)
		}
	})
}
