package report

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// screen is a terminal of endless height that wraps at its width. It knows the few codes that Terminal uses, and fails on others.
type screen struct {
	t        testing.TB
	width    int
	rows     [][]rune
	row, col int
}

func newScreen(t testing.TB, width int) *screen {
	return &screen{t: t, width: width, rows: [][]rune{{}}}
}

func (s *screen) Write(p []byte) (int, error) {
	for text := string(p); text != ""; {
		r, n := utf8.DecodeRuneInString(text)
		text = text[n:]
		switch {
		case r == '\n':
			s.row, s.col = s.row+1, 0
			s.reach()
		case r == '\r':
			s.col = 0
		case r == 0x1b:
			text = s.code(text)
		case r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError && n == 1:
			s.t.Errorf("control character %q on the screen", r)
		default:
			s.put(r)
		}
	}
	return len(p), nil
}

func (s *screen) reach() {
	for len(s.rows) <= s.row {
		s.rows = append(s.rows, nil)
	}
}

func (s *screen) put(r rune) {
	columns := runeColumns(r)
	if s.col+columns > s.width {
		s.row, s.col = s.row+1, 0
		s.reach()
	}
	for len(s.rows[s.row]) < s.col {
		s.rows[s.row] = append(s.rows[s.row], ' ')
	}
	s.rows[s.row] = append(s.rows[s.row][:s.col], r)
	for range columns - 1 {
		s.rows[s.row] = append(s.rows[s.row], 0)
	}
	s.col += columns
}

func (s *screen) code(text string) string {
	end := strings.IndexFunc(text, func(r rune) bool { return r >= 'A' && r <= 'Z' })
	if !strings.HasPrefix(text, "[") || end < 0 {
		s.t.Errorf("unknown code %q", text)
		return ""
	}
	switch parameter, final := text[1:end], text[end]; {
	case final == 'A':
		n, err := strconv.Atoi(parameter)
		if err != nil || n < 1 || n > s.row {
			s.t.Errorf("up %q from row %d", parameter, s.row)
			n = min(max(n, 0), s.row)
		}
		s.row -= n
	case final == 'J' && parameter == "":
		s.rows = s.rows[:s.row+1]
		s.rows[s.row] = s.rows[s.row][:min(s.col, len(s.rows[s.row]))]
	default:
		s.t.Errorf("unknown code %q", text[:end+1])
	}
	return text[end+1:]
}

// resize wraps anew what does not fit, as terminals do when their window gets narrower.
func (s *screen) resize(width int) {
	var rows [][]rune
	for n, row := range s.rows {
		if n == s.row {
			s.row = len(rows)
		}
		for len(row) > width {
			rows, row = append(rows, row[:width]), row[width:]
		}
		rows = append(rows, row)
	}
	s.rows, s.width = rows, width
}

func (s *screen) String() string {
	var lines []string
	for _, row := range s.rows {
		lines = append(lines, strings.TrimRight(strings.ReplaceAll(string(row), "\x00", ""), " "))
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n") + "\n"
}

type stage struct {
	*Terminal
	screen   *screen
	clock    *clockwork
	reporter *Reporter
}

func newStage(t *testing.T, width int, chosen marks) *stage {
	s := &stage{screen: newScreen(t, width), clock: newClock()}
	s.Terminal = newTerminal(s.screen, func() int { return s.screen.width }, s.clock.Now, func() int64 { return 42_400_000 }, chosen)
	s.reporter = newReporter(s.clock, s.Terminal)
	t.Cleanup(s.reporter.Close)
	return s
}

// look draws, as the ticker does, and returns what is on the screen.
func (s *stage) look() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draw()
	return s.screen.String()
}

func TestTerminalGolden(t *testing.T) {
	for name, chosen := range map[string]marks{"terminal": utf8Marks, "terminal-ascii": asciiMarks} {
		s := newStage(t, 80, chosen)
		play(s.reporter, s.clock)
		golden(t, name, s.screen.String())
		if chosen.ascii {
			for _, r := range s.screen.String() {
				assert.Less(t, r, rune(0x7f))
			}
		}
	}
}

func TestTerminalShowsWhatRuns(t *testing.T) {
	s := newStage(t, 80, utf8Marks)
	hub := s.reporter.Step("hub", "build the hub environment", "environments")
	user := s.reporter.Step("user", "build the user environment", "environments")
	s.clock.pass(65 * time.Second)
	hub.Progress("fetching packages", 12_000_000, 40_000_000)
	assert.Equal(t, `  … build the hub environment  1 min 5 s  fetching packages, 12 MB of 40 MB
  … build the user environment  1 min 5 s
    1 min 5 s in all, 42 MB received
`, s.look())
	hub.Done()
	s.clock.pass(2 * time.Second)
	assert.Equal(t, `environments
  ✓ build the hub environment  1 min 5 s
  … build the user environment  1 min 7 s
    1 min 7 s in all, 42 MB received
`, s.look())
	user.Done()
	s.reporter.Close()
	assert.Equal(t, `environments
  ✓ build the hub environment  1 min 5 s
  ✓ build the user environment  1 min 7 s
`, s.look())
}

func TestTerminalCountsWhatIsNotWorthALine(t *testing.T) {
	s := newStage(t, 80, utf8Marks)
	for n := range 12 {
		s.reporter.Emit(Event{Kind: KindCheck, Step: fmt.Sprint(n), Status: OK, Message: "fine"})
	}
	for n := range 30 {
		s.reporter.Step(fmt.Sprint(n), "make it", "phase").Unchanged()
	}
	s.reporter.Step("x", "make it", "phase").Done()
	s.reporter.Close()
	assert.Equal(t, "✓ 12 checks passed\n  ✓ 1 quick step\n  ✓ 30 steps had nothing to do\n", s.screen.String())
}

func TestTerminalEndsWithTheError(t *testing.T) {
	s := newStage(t, 80, utf8Marks)
	s.reporter.Step("1", "make the folder", "folders").Done()
	err := errors.New("cannot fetch uv: no network")
	s.reporter.Step("2", "fetch uv", "environments").Failed(err)
	s.reporter.Fail(err)
	s.reporter.Close()
	assert.Equal(t, "  ✓ 1 quick step\nenvironments\n  ✗ fetch uv  0.0 s\nerror: cannot fetch uv: no network\n", s.screen.String())
}

func TestTerminalNarrowerThanTheText(t *testing.T) {
	for width := 1; width < 60; width++ {
		s := newStage(t, width, utf8Marks)
		step := s.reporter.Step("1", "build the hub environment 漢字漢字漢字 of this machine", "environments")
		other := s.reporter.Step("2", "wait", "environments")
		for range 3 {
			s.clock.pass(time.Second)
			step.Progress("fetching many packages with long names", 1, 2)
			s.look()
		}
		if width > 2 {
			assert.Len(t, strings.Split(strings.TrimRight(s.look(), "\n"), "\n"), 3, "each live line takes one row of %d columns:\n%s", width, s.look())
		}
		step.Failed(errors.New("no space left on this very small device"))
		other.Done()
		s.reporter.Close()
		all := strings.ReplaceAll(s.screen.String(), "\n", "")
		assert.Contains(t, all, strings.Repeat("漢字", 3), "finished lines are never cut")
		assert.Contains(t, strings.ReplaceAll(all, " ", ""), "error:nospaceleftonthisverysmalldevice")
		assert.NotContains(t, all, "received", "nothing live stays")
		if t.Failed() {
			break
		}
	}
}

func TestTerminalThatIsMadeNarrower(t *testing.T) {
	s := newStage(t, 80, utf8Marks)
	s.reporter.Note("first")
	step := s.reporter.Step("1", "build the hub environment from packages", "environments")
	s.clock.pass(time.Second)
	step.Progress("fetching", 0, 0)
	s.look()
	s.screen.resize(20)
	assert.Equal(t, "first\n  … build the hub …\n    1 s in all, 42…\n", s.look())
	s.screen.resize(80)
	step.Done()
	s.reporter.Close()
	assert.Equal(t, "first\nenvironments\n  ✓ build the hub environment from packages  1.0 s\n", s.screen.String())
}

func TestTerminalShowsFewOfManySteps(t *testing.T) {
	s := newStage(t, 80, utf8Marks)
	for n := range 20 {
		s.reporter.Step(fmt.Sprint(n), fmt.Sprintf("step %d", n), "")
	}
	lines := strings.Split(strings.TrimSpace(s.look()), "\n")
	assert.Len(t, lines, maxLive+2)
	assert.Equal(t, "  … and 14 more", lines[maxLive])
}

// counter counts writes.
type counter struct {
	io.Writer
	writes int
}

func (c *counter) Write(p []byte) (int, error) {
	c.writes++
	return c.Writer.Write(p)
}

func TestTerminalIsNotRedrawnForEveryEvent(t *testing.T) {
	clock := newClock()
	count := &counter{Writer: io.Discard}
	terminal := newTerminal(count, func() int { return 80 }, clock.Now, nil, utf8Marks)
	for range 1000 { // ten seconds
		terminal.mu.Lock()
		terminal.running = []liveStep{{id: "1", title: "x", since: clock.Now()}}
		if terminal.stop == nil {
			terminal.stop = make(chan struct{}) // no ticker: the clock of this test is another
		}
		terminal.mu.Unlock()
		terminal.Event(Event{Kind: KindProgress, Step: "1", Message: "on"})
		clock.pass(10 * time.Millisecond)
	}
	assert.InDelta(t, 50, count.writes, 2)
}

func TestTerminalDrawsByItself(t *testing.T) {
	out := &guarded{}
	terminal := NewTerminal(out, func() int { return 0 }, nil)
	r := New(terminal)
	r.Step("1", "build it", "")
	require.Eventually(t, func() bool { return strings.Count(out.String(), "build it") >= 3 }, 10*time.Second, 5*time.Millisecond)
	assert.NotContains(t, out.String(), "received")
	r.Close()
	assert.Nil(t, terminal.(*Terminal).stop, "the ticker is stopped")
}

func TestLocale(t *testing.T) {
	for _, test := range []struct {
		env  map[string]string
		want bool
	}{
		{map[string]string{"LANG": "de_DE.UTF-8"}, true},
		{map[string]string{"LANG": "C.utf8"}, true},
		{map[string]string{"LANG": "de_DE"}, false},
		{map[string]string{"LANG": "de_DE.UTF-8", "LC_ALL": "C"}, false},
		{map[string]string{"LANG": "C", "LC_CTYPE": "C.UTF-8"}, true},
		{nil, false},
	} {
		assert.Equal(t, test.want, isUTF8(func(key string) string { return test.env[key] }), "%v", test.env)
	}
}
