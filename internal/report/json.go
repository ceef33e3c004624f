package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"unicode"
)

// JSON writes every event as one JSON object a line: for programs.
type JSON struct {
	mu sync.Mutex
	w  io.Writer
}

// NewJSON returns a sink that writes one JSON object a line.
func NewJSON(w io.Writer) Sink { return &JSON{w: w} }

// Event implements Sink. Data that is no JSON is left out.
func (j *JSON) Event(e Event) {
	line, err := encode(e)
	if err != nil {
		e.Data = nil
		line, _ = encode(e)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	_, _ = j.w.Write(line)
}

func encode(e Event) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(e); err != nil {
		return nil, err
	}
	return escapeControls(out.Bytes()), nil
}

// escapeControls writes as \uXXXX what encoding/json leaves as it is and a terminal would obey: people look at JSON lines, too.
func escapeControls(line []byte) []byte {
	var out bytes.Buffer
	for _, r := range string(line) {
		if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
			fmt.Fprintf(&out, `\u%04x`, r)
			continue
		}
		out.WriteRune(r)
	}
	return out.Bytes()
}
