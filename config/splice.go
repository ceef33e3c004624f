package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Set gives a key a value, which is text as it is typed at a shell, and leaves every other byte as it is. Where the key takes a text, the value is that
// text; elsewhere it is read as YAML: numbers, true, null, [lists, of, things], {mappings: too}. The result has been read again and is valid.
func Set(data []byte, path, value string) ([]byte, error) {
	return bytesOf(Read("the config", data).Set(path, value))
}

// Unset takes a key out, with the comment in its line, and sections that are empty then unless there are comments in them. What stands above the key stays.
func Unset(data []byte, path string) ([]byte, error) {
	return bytesOf(Read("the config", data).Unset(path))
}

// Add adds values to a list, which is made when there is none. Those that are in it already are not added again.
func Add(data []byte, path string, values ...string) ([]byte, error) {
	return bytesOf(Read("the config", data).Add(path, values...))
}

func bytesOf(d *Document, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return d.Data, nil
}

// Set is the function of that name. The document stays as it is, as with all edits.
func (d *Document) Set(path, value string) (*Document, error) {
	t, err := targetOf(path)
	if err != nil {
		return nil, err
	}
	t.asWritten(d)
	text, err := t.encode(value)
	if err != nil {
		return nil, err
	}
	want := func(tree any) any { return put(tree, t.parts, decodeYAML(text)) }
	after, err := t.edit(d, want, func(e *editor, root *yaml.Node) ([]byte, bool) { return e.set(root, t.parts, text) })
	if err != nil { // rather without its remarks than not at all
		after, err = t.edit(d, want, func(e *editor, root *yaml.Node) ([]byte, bool) { return e.replace(root, t.parts, text) })
	}
	return after, err
}

// Unset also takes out what is no key at all, such as one that was mistyped.
func (d *Document) Unset(path string) (*Document, error) {
	t, err := targetOf(path)
	if parts, splitErr := splitPath(path); err != nil && splitErr == nil {
		if _, there := find(d.values(), parts); there || isSection(parts) {
			t, err = &target{path: path, parts: parts}, nil
		}
	}
	if err != nil {
		return nil, err
	}
	t.asWritten(d)
	return t.edit(d, func(tree any) any { return drop(tree, t.parts) }, func(e *editor, root *yaml.Node) ([]byte, bool) {
		return e.unset(root, t.parts)
	})
}

// Add is the function of that name.
func (d *Document) Add(path string, values ...string) (*Document, error) {
	if listOf(&Config{}, path) != nil {
		return d.addNames(path, values)
	}
	t, err := targetOf(path)
	if err != nil {
		return nil, err
	}
	if !t.list() {
		return nil, fmt.Errorf("%s is no list", path)
	}
	t.asWritten(d)
	old, _ := get(d.values(), t.parts).([]any)
	items := slices.Clone(old)
	missing := []string{}
	for _, value := range values {
		text := t.item(value)
		if item := decodeYAML(text); !slices.ContainsFunc(items, func(other any) bool { return reflect.DeepEqual(other, item) }) {
			items, missing = append(items, item), append(missing, text)
		}
	}
	if len(missing) == 0 {
		return d.unchanged()
	}
	return t.edit(d, func(tree any) any { return put(tree, t.parts, items) }, func(e *editor, root *yaml.Node) ([]byte, bool) {
		return e.put(root, t.parts, payload{items: missing})
	})
}

// Remove is the function of that name.
func (d *Document) Remove(path string, values ...string) (*Document, error) {
	t, err := targetOf(path)
	if err != nil {
		return nil, err
	}
	if !t.list() {
		return nil, fmt.Errorf("%s is no list", path)
	}
	t.asWritten(d)
	items, _ := get(d.values(), t.parts).([]any)
	unwanted := func(item any) bool {
		return slices.ContainsFunc(values, func(value string) bool {
			text, isText := item.(string)
			return reflect.DeepEqual(item, decodeYAML(t.item(value))) || isText && t.folded && strings.EqualFold(text, value)
		})
	}
	for n := len(items) - 1; n >= 0; n-- {
		if !unwanted(items[n]) {
			continue
		}
		left := slices.Delete(slices.Clone(items), n, n+1)
		d, err = t.edit(d, func(tree any) any { return put(tree, t.parts, left) }, func(e *editor, root *yaml.Node) ([]byte, bool) {
			return e.removeItem(root, t.parts, n)
		})
		if err != nil {
			return nil, err
		}
		items = left
	}
	return d.unchanged()
}

// unchanged is the result of an edit that had nothing to do. A file that is not valid is told even then.
func (d *Document) unchanged() (*Document, error) {
	switch {
	case !d.readable:
		return nil, errUnreadable
	case d.Config == nil:
		return nil, invalid(d.Report)
	}
	return d, nil
}

// Get returns the value of a key, or of a section, as YAML: what the file says, or else the default.
func Get(data []byte, path string) (string, error) {
	value, err := valueOf(data, path)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(value); err != nil {
		return "", err
	}
	return out.String(), nil
}

// GetJSON is Get as JSON.
func GetJSON(data []byte, path string) ([]byte, error) {
	value, err := valueOf(data, path)
	if err != nil {
		return nil, err
	}
	return json.MarshalIndent(value, "", "  ")
}

func valueOf(data []byte, path string) (any, error) {
	d := Read("", data)
	if !d.readable {
		return nil, errors.New("the config cannot be read: tljh-install config validate shows why")
	}
	tree := d.values()
	if path == "" {
		return tree, nil
	}
	parts, err := splitPath(path)
	if err != nil {
		return nil, err
	}
	if t, err := targetOf(path); err == nil {
		t.asWritten(d)
		parts = t.parts
	}
	value, found := find(tree, parts)
	if found && value != nil {
		return value, nil
	}
	t, err := targetOf(path)
	if err != nil {
		if section := isSection(parts); section {
			return map[string]any{}, nil
		}
		return nil, err
	}
	if t.exact {
		return decodeYAML(t.key.def), nil
	}
	if !found {
		return nil, fmt.Errorf("%s is not set", path)
	}
	return nil, nil
}

// keyIn returns a key of a section.
func keyIn(section []string) string {
	for _, key := range schema(&Config{}) {
		row := strings.Split(key.path, ".")
		if len(row) <= len(section) {
			continue
		}
		fits := true
		for i, part := range section {
			fits = fits && (row[i] == part || row[i] == "*")
		}
		if fits {
			return strings.Join(append(slices.Clone(section), row[len(section):]...), ".")
		}
	}
	return "one of its keys"
}

func isSection(parts []string) bool {
	at := tree(schema(&Config{}))
	for _, part := range parts {
		next := at.sections[part]
		if next == nil {
			next = at.sections["*"]
		}
		if next == nil {
			// The options of a class are a section that the table has as one row.
			return at.keys["*"].read != nil && className.MatchString(part) && part == parts[len(parts)-1]
		}
		at = next
	}
	return true
}

// splitPath takes a path apart at its dots, but for those between quotes: limits.users."carol.x".memory.
func splitPath(path string) ([]string, error) {
	parts, part, quotes := []string{}, strings.Builder{}, false
	for _, r := range path {
		switch {
		case r == '"':
			quotes = !quotes
		case r == '.' && !quotes:
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteRune(r)
		}
	}
	parts = append(parts, part.String())
	if quotes || slices.Contains(parts, "") {
		return nil, fmt.Errorf("%s is not the path of a key: write, for example, limits.memory", short(path))
	}
	return parts, nil
}

// target is a place in a config that an edit is about.
type target struct {
	path   string
	parts  []string
	key    key
	exact  bool // the place is the key itself, not something within its value
	folded bool // capital letters are taken as small ones: names of users
}

// targetOf finds the key that a path leads to, or into the value of which.
func targetOf(path string) (*target, error) {
	parts, err := splitPath(path)
	if err != nil {
		return nil, err
	}
	for _, key := range schema(&Config{}) {
		row := strings.Split(key.path, ".")
		if key.typ == anything && slices.Equal(row, parts[:min(len(row), len(parts))]) {
			return nil, fmt.Errorf("%s is not used: %s", key.path, strings.TrimSuffix(key.doc, "."))
		}
		if key.typ == anything || len(row) > len(parts) {
			continue
		}
		fits := true
		for i, part := range row {
			// The options of a class are not the type of the authenticator.
			fits = fits && (part == parts[i] || part == "*" && (key.path != "auth.*" || className.MatchString(parts[i])))
		}
		if !fits {
			continue
		}
		t := &target{path: path, parts: parts, key: key, exact: len(row) == len(parts)}
		t.folded = strings.HasPrefix(path, "users.") || strings.HasPrefix(path, "shared_folders.")
		if t.exact || t.deeper(len(parts)-len(row)) {
			return t, nil
		}
	}
	if isSection(parts) {
		return nil, fmt.Errorf("%s is a section: give one of its keys, such as %s", short(path), keyIn(parts))
	}
	if unquoted := withoutQuotes(parts); unquoted != nil {
		return nil, unquoted
	}
	w := &walker{keys: schema(&Config{})}
	section, at := tree(w.keys), 0
	for at < len(parts)-1 {
		next := section.sections[parts[at]]
		if next == nil && section.any != nil {
			next = section.sections["*"]
		}
		if next == nil {
			break
		}
		section = next
		at++
	}
	hint := w.suggestion(parts[at], strings.Join(parts[:at], "."), section)
	if near := nearest(parts[at], section.names); near != "" && near != parts[at] {
		whole := slices.Clone(parts)
		whole[at] = near
		if t, err := targetOf(strings.Join(whole, ".")); err == nil {
			hint = "did you mean " + t.path + "?"
		}
	}
	return nil, fmt.Errorf("there is no key %s; %s", short(path), hint)
}

// UnquotedError is a path with a name in it that holds dots and stands without quotes.
type UnquotedError struct {
	Path, Name string
	Quoted     string // the same path with the name between quotes
}

func (e *UnquotedError) Error() string {
	return fmt.Sprintf("there is no key %s; put the name %s between quotes: '%s'", short(e.Path), short(e.Name), e.Quoted)
}

// withoutQuotes finds the name in a path of more parts than its key has.
func withoutQuotes(parts []string) *UnquotedError {
	for _, key := range schema(&Config{}) {
		row := strings.Split(key.path, ".")
		var check func(string) error
		switch {
		case key.any != nil:
			check = key.any.check
		case key.path == "users.extra_user_groups":
			row, check = append(row, "*"), checkGroupName
		default:
			continue
		}
		star := slices.Index(row, "*")
		behind := row[star+1:]
		end := len(parts) - len(behind)
		if end-star < 2 || !slices.Equal(parts[:star], row[:star]) || !slices.Equal(parts[end:], behind) {
			continue
		}
		name := strings.Join(parts[star:end], ".")
		if check(name) != nil {
			continue
		}
		quoted := slices.Concat(row[:star], []string{`"` + name + `"`}, behind)
		return &UnquotedError{Path: strings.Join(parts, "."), Name: name, Quoted: strings.Join(quoted, ".")}
	}
	return nil
}

// deeper tells whether a key's value can hold something so many levels down.
func (t *target) deeper(levels int) bool {
	switch t.key.path {
	case "auth.*":
		return true
	case "users.extra_user_groups", "user_environment.variables":
		return levels == 1
	}
	return false
}

func (t *target) free() bool { return t.key.path == "auth.*" && !t.exact }

// text tells whether the place takes a text, whatever that looks like.
func (t *target) text() bool {
	if t.free() { // a password is a text, even one of digits
		return len(t.parts) == 3 && isSecret(t.parts[2]) && !strings.HasSuffix(t.parts[2], "s")
	}
	return t.exact && t.key.schema["type"] == "string" || !t.exact && t.key.path == "user_environment.variables"
}

func (t *target) list() bool {
	return t.exact && t.key.schema["type"] == "array" || !t.exact && t.key.path == "users.extra_user_groups" || t.free()
}

// encode writes a value as YAML on one line.
func (t *target) encode(value string) (string, error) {
	switch {
	case strings.ContainsRune(value, 0) || !utf8.ValidString(value) || len(value) > MaxSize:
		return "", errors.New("the value is no text, or is far too long")
	case t.text():
		return t.item(value), nil
	case t.list() && !t.free() && !strings.HasPrefix(strings.TrimSpace(value), "["):
		return "", fmt.Errorf("%[1]s takes a list: write '[%[2]s]', or add to it: tljh-install config add %[1]s %[2]s", t.path, scalarText(value))
	case strings.ContainsAny(value, "\r\n"):
		return t.item(value), nil
	}
	value = strings.TrimSpace(value)
	if value == "" {
		return `""`, nil
	}
	if t.exact && t.key.schema["type"] == "boolean" && yesNo.MatchString(value) {
		return strconv.FormatBool(truth(value)), nil
	}
	if isFlow(value) || t.free() && isQuoted(value) {
		return value, nil
	}
	return t.item(value), nil
}

// isQuoted tells whether a value is a whole text in quotes.
func isQuoted(value string) bool {
	var node yaml.Node
	if value[0] != '"' && value[0] != '\'' || decode(yaml.NewDecoder(strings.NewReader(value)), &node) != nil || len(node.Content) != 1 {
		return false
	}
	return node.Content[0].Kind == yaml.ScalarNode && node.Content[0].Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 && node.Content[0].LineComment == ""
}

// isFlow tells whether a text is a whole list or mapping on one line.
func isFlow(value string) bool {
	var node yaml.Node
	if value[0] != '[' && value[0] != '{' || strings.Contains(value, " #") || decode(yaml.NewDecoder(strings.NewReader(value)), &node) != nil {
		return false
	}
	return len(node.Content) == 1 && (node.Content[0].Kind == yaml.SequenceNode || node.Content[0].Kind == yaml.MappingNode)
}

// item writes one scalar.
func (t *target) item(value string) string {
	plain := readPlain(value, (&yaml.Node{Kind: yaml.ScalarNode, Value: value}).ShortTag())
	named := t.list() && !t.free() // names and the like are texts
	switch {
	case !t.text() && !named && slices.Contains([]reading{asNull, asBool, asWhole, asFraction}, plain) && value != "":
		return value
	case safeText.MatchString(value) && plain == asText:
		return value
	}
	return quotedAll(value)
}

// quotedAll writes any text between quotes.
func quotedAll(text string) string {
	data, err := json.Marshal(text) // JSON's texts are YAML's, but for a few characters
	if err != nil {
		return quoted(text)
	}
	return strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&", "\u007f", `\x7f`, "\u0085", `\x85`, "\ufeff", `\ufeff`).Replace(string(data))
}

// asWritten takes a name in the way that the file writes it, where capital letters mean the same.
func (t *target) asWritten(d *Document) {
	if t.key.any == nil || !t.key.any.folds {
		return
	}
	row := strings.Split(t.key.path, ".")
	n := slices.Index(row, "*")
	section, _ := get(d.values(), t.parts[:n]).(map[string]any)
	if _, there := section[t.parts[n]]; there {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(section)) {
		if t.key.any.kept(name) == t.key.any.kept(t.parts[n]) {
			t.parts[n] = name
			return
		}
	}
}

// edit makes one change to a file and sees that it is the one that was meant, and that what comes out is valid.
func (t *target) edit(d *Document, change func(tree any) any, splice func(e *editor, root *yaml.Node) ([]byte, bool)) (*Document, error) {
	if !d.readable {
		return nil, errUnreadable
	}
	want := change(d.values())
	if t.same(want, d.values()) {
		return d.unchanged()
	}
	text, marked := d.text()
	e := &editor{src: d.src, newline: lineBreak(text)}
	edited, ok := splice(e, d.root)
	if !ok {
		return nil, t.byHand()
	}
	if marked {
		edited = append([]byte(bom), edited...)
	}
	after := Read(d.Report.File, edited)
	switch {
	case after.Config == nil && after.readable:
		return nil, invalid(after.Report)
	case after.Config == nil || !t.same(after.values(), want):
		return nil, t.byHand()
	}
	return after, nil
}

// same tells whether two trees say the same, and have the same in the target's place, be it null.
func (t *target) same(a, b any) bool {
	x, hasX := find(a, t.parts)
	y, hasY := find(b, t.parts)
	return hasX == hasY && reflect.DeepEqual(x, y) && reflect.DeepEqual(prune(a), prune(b))
}

var errUnreadable = errors.New("the config cannot be read as it is: tljh-install config validate shows why, tljh-install config edit opens it")

func (t *target) byHand() error {
	return fmt.Errorf("%s is written in a way that only a person can edit safely: tljh-install config edit", short(t.path))
}

// invalid is the report of a change that would not be valid, without the places of a file that is never written.
func invalid(report Report) error {
	var words []string
	for _, problem := range report.Problems {
		if problem.Severity == Error && len(words) < 3 {
			text := problem.Message
			if problem.Hint != "" {
				text += " (" + problem.Hint + ")"
			}
			words = append(words, text)
		}
	}
	return errors.New("that would not be valid: " + strings.Join(words, "; "))
}

func treeOfNode(node *yaml.Node, depth int) any {
	if depth > 2*deepest {
		return nil
	}
	switch node.Kind {
	case yaml.MappingNode:
		found := map[string]any{}
		for i := 0; i+1 < len(node.Content); i += 2 {
			found[node.Content[i].Value] = treeOfNode(node.Content[i+1], depth+1)
		}
		return found
	case yaml.SequenceNode:
		list := []any{}
		for _, item := range node.Content {
			list = append(list, treeOfNode(item, depth+1))
		}
		return list
	case yaml.ScalarNode:
		return scalarOf(node)
	}
	return nil
}

// scalarOf returns what a scalar is read as; the text of one that programs do not agree on.
func scalarOf(node *yaml.Node) any {
	switch read(node) {
	case asNull:
		return nil
	case asBool:
		return truth(node.Value)
	case asWhole:
		if n, err := strconv.ParseInt(node.Value, 10, 64); err == nil {
			return n
		}
	case asFraction:
		if n, err := strconv.ParseFloat(node.Value, 64); err == nil {
			return n
		}
	}
	return node.Value
}

func decodeYAML(text string) any {
	var node yaml.Node
	if decode(yaml.NewDecoder(strings.NewReader(text)), &node) != nil || len(node.Content) == 0 {
		return nil
	}
	return treeOfNode(node.Content[0], 0)
}

func find(tree any, parts []string) (any, bool) {
	for _, part := range parts {
		section, ok := tree.(map[string]any)
		if !ok {
			return nil, false
		}
		if tree, ok = section[part]; !ok {
			return nil, false
		}
	}
	return tree, true
}

func get(tree any, parts []string) any {
	value, _ := find(tree, parts)
	return value
}

// put returns a tree with a value in a place. The tree that is given stays.
func put(tree any, parts []string, value any) any {
	if len(parts) == 0 {
		return value
	}
	section := map[string]any{}
	if old, ok := tree.(map[string]any); ok {
		for name, inner := range old {
			section[name] = inner
		}
	}
	section[parts[0]] = put(section[parts[0]], parts[1:], value)
	return section
}

func drop(tree any, parts []string) any {
	old, ok := tree.(map[string]any)
	if !ok {
		return tree
	}
	section := map[string]any{}
	for name, inner := range old {
		if name != parts[0] {
			section[name] = inner
		} else if len(parts) > 1 {
			section[name] = drop(inner, parts[1:])
		}
	}
	return section
}

// prune takes out what says nothing: sections that are empty or null.
func prune(tree any) any {
	section, ok := tree.(map[string]any)
	if !ok {
		return tree
	}
	left := map[string]any{}
	for name, inner := range section {
		if kept := prune(inner); kept != nil {
			left[name] = kept
		}
	}
	if len(left) == 0 {
		return nil
	}
	return left
}
