package config

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
)

// migration is a step from a schema to the next.
type migration struct {
	why    string // for people, as what was done: "limits.ram is limits.memory now"
	change func(text []byte) ([]byte, error)
}

// Schema is the number of the schema that this program's configs have. Those of 0.1.0 have 1.
func Schema() int { return 1 + len(migrations) }

// Migrate makes a config of an older schema one of this program's. It tells what it changed; the text is the same where there was nothing to do. That
// the result is valid as a whole is for Parse to say.
func Migrate(text []byte, from int) (migrated []byte, why []string, err error) {
	return migrate(text, from, migrations)
}

func migrate(text []byte, from int, steps []migration) (migrated []byte, why []string, err error) {
	if from < 1 || from > 1+len(steps) {
		return nil, nil, fmt.Errorf("the config has schema %d, and this program knows 1 to %d", from, 1+len(steps))
	}
	for n, step := range steps[from-1:] {
		next, err := step.change(text)
		if err != nil {
			return nil, why, fmt.Errorf("cannot bring the config from schema %d to %d: %w", from+n, from+n+1, err)
		}
		if string(next) != string(text) {
			why = append(why, step.why)
		}
		text = next
	}
	return text, why, nil
}

// rename gives a key another name in its section, whichever of the two this program's schema knows. A file without the key stays; so does one that
// has the new name as well, for Parse to complain of.
func rename(text []byte, path, name string) ([]byte, error) {
	src, problems := newSource(text)
	if anyError(problems) {
		return nil, errUnreadable
	}
	root, problems := src.parse()
	if anyError(problems) {
		return nil, errUnreadable
	}
	parts, err := splitPath(path)
	if err != nil {
		return nil, err
	}
	tree := decodeYAML(string(text))
	value, found := find(tree, parts)
	renamed := append(slices.Clone(parts[:len(parts)-1]), name)
	if _, there := find(tree, renamed); !found || there {
		return text, nil
	}
	key, _, _ := walk(root, parts)
	start := src.offset(key.Line, key.Column)
	bare, marked := bytes.CutPrefix(text, []byte(bom))
	edited := slices.Concat(bare[:start], []byte(scalarText(name)), bare[src.scalarEnd(key, start):])
	if marked {
		edited = append([]byte(bom), edited...)
	}
	if !reflect.DeepEqual(decodeYAML(string(edited)), put(drop(tree, parts), renamed, value)) {
		return nil, (&target{path: path}).byHand()
	}
	return edited, nil
}
