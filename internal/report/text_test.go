package report

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"

	"tljh/internal/host"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain\ttext":                              "plain text",
		"\x1b[31mred\x1b[0m":                       "red",
		"\x1b]0;title\aafter":                      "after",
		"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\": "link",
		"\x1b]0;never closed\nnext line":           "\nnext line",
		"\x1bPq#1\x1b\\x":                          "x",
		"\u009b31mred\u009d0;t\u009cx":             "redx",
		"\x1b(Bx\x1bcy\x1b":                        "xy",
		"10%\r50%\r100%\n":                         "100%\n",
		"dos\r\nlines\r\n":                         "dos\nlines\n",
		"bad\xffbyte":                              "bad\uFFFDbyte",
		"bell\a null\x00 del\x7f":                  "bell null del",
		"\u202egnp.exe":                            "gnp.exe",
		"ümläut 漢字 ✓":                              "ümläut 漢字 ✓",
		"\x1b\x1b[31mx":                            "x",
	} {
		assert.Equal(t, want, clean(in), "%q", in)
	}
}

// harmless tells whether a terminal only shows text: its own codes have been taken out before.
func harmless(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool {
		return r != '\n' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
	}) < 0
}

func FuzzNoEventSteersATerminal(f *testing.F) {
	for _, seed := range []string{"\x1b[31mred", "\x1b]52;c;eA==\a", "\u009b2J", "a\rb", "\x1b[\x1b[2J2J", "\xc2", "\x9b2J", "\xc2\x1b[A", "\x1bP\x1b", "\x1b[1;2", "%s%d\n\n", "\u202e"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if once := clean(text); clean(once) != once || !harmless(once) || !utf8.ValidString(once) {
			t.Errorf("clean(%q) is %q", text, once)
		}
		var plain, jsons, commands bytes.Buffer
		log := NewLog()
		screen := newScreen(t, 40)
		clock := newClock()
		terminal := newTerminal(screen, func() int { return 40 }, clock.Now, nil, utf8Marks)
		p := newPlain(&plain, time.Hour)
		sinks := []Sink{p, NewJSON(&jsons), log, terminal}
		for _, kind := range []Kind{KindStep, KindCheck, KindProgress, KindNote, KindWarning, KindError, KindResult, Kind(text)} {
			for _, status := range []Status{Start, Done, Failed, Warning, WouldChange, Status(text)} {
				for _, sink := range sinks {
					sink.Event(Event{Kind: kind, Status: status, Step: text, Title: text, Phase: text, Message: text, Hint: text, Data: text})
				}
				clock.pass(time.Second)
			}
		}
		cmd := host.Command{Argv: []string{text, text}}
		result := host.Result{Output: []byte(text)}
		log.Command(cmd, result, &host.ExitError{Argv: cmd.Argv, Signal: text})
		NewCommands(&commands).Command(cmd, result, nil)
		terminal.Flush() // the screen fails the test when it meets what is not shown
		p.Flush()
		for name, out := range map[string]string{"plain": plain.String(), "json": jsons.String(), "log": log.pending.String(), "commands": commands.String()} {
			if !harmless(out) {
				t.Errorf("%s lets through %q", name, out)
			}
		}
	})
}

func FuzzClip(f *testing.F) {
	f.Add("build the hub environment", 10)
	f.Add("漢字漢字", 3)
	f.Fuzz(func(t *testing.T, text string, width int) {
		text = oneLine(text)
		if got := clip(text, width, "…"); width >= 0 && columns(got) > width {
			t.Errorf("clip(%q, %d) is %q, %d columns", text, width, got, columns(got))
		}
	})
}

func TestUnits(t *testing.T) {
	assert.Equal(t, "0.0 s", took(0))
	assert.Equal(t, "9.9 s", took(9.94))
	assert.Equal(t, "60 s", took(59.6))
	assert.Equal(t, "2 min 5 s", took(125))
	assert.Equal(t, "850 kB", size(850_123))
	assert.Equal(t, "43 MB", size(43_000_000))
	assert.Equal(t, "1.2 GB", size(1_234_000_000))
	assert.Equal(t, "", amount(0, 0))
	assert.Equal(t, "1 kB of 2 kB", amount(1000, 2000))
}
