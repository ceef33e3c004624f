package report

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	redrawEvery = 200 * time.Millisecond
	maxLive     = 6   // running steps that are shown; the screen may be low
	quickSteps  = 0.5 // seconds; below this a step is only counted
)

// Terminal shows what was done as calm lines, and below them, redrawn, what is being done, for how long, and the bytes
// received. Steps that took no time and checks that found nothing are counted, not listed.
type Terminal struct {
	w        io.Writer
	width    func() int
	now      func() time.Time
	received func() int64
	marks    marks
	paint    Paint

	mu      sync.Mutex
	start   time.Time
	running []liveStep
	held    strings.Builder // finished lines, not on the screen yet
	drawn   []int           // the columns of the live lines on the screen
	last    time.Time       // of the last redraw
	phase   string
	checks  int
	quick   int // steps of no duration
	same    int // steps with nothing to do
	told    told
	stop    chan struct{} // ends the ticker; nil while nothing runs
}

type liveStep struct {
	id, title, detail string
	since             time.Time
}

// marks are the signs before lines.
type marks struct {
	done, failed, warning, running, ellipsis string
	ascii                                    bool
}

var (
	utf8Marks  = marks{done: "✓", failed: "✗", warning: "!", running: "…", ellipsis: "…"}
	asciiMarks = marks{done: "+", failed: "x", warning: "!", running: ".", ellipsis: "...", ascii: true}
)

// NewTerminal returns a sink for a terminal whose present width width tells. It uses letters outside ASCII only where the locale
// says that the terminal knows them. Received tells the bytes received so far; nil leaves them out.
func NewTerminal(w io.Writer, width func() int, received func() int64) Sink {
	chosen := asciiMarks
	if isUTF8(os.Getenv) {
		chosen = utf8Marks
	}
	t := newTerminal(w, width, time.Now, received, chosen)
	t.paint = PaintFor(w)
	return t
}

func newTerminal(w io.Writer, width func() int, now func() time.Time, received func() int64, chosen marks) *Terminal {
	return &Terminal{w: w, width: width, now: now, received: received, marks: chosen, start: now()}
}

// isUTF8 looks at the first of the variables that is set, as setlocale(3) does.
func isUTF8(getenv func(string) string) bool {
	for _, key := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if value := getenv(key); value != "" {
			value = strings.ToLower(strings.ReplaceAll(value, "-", ""))
			return strings.Contains(value, "utf8")
		}
	}
	return false
}

// Event implements Sink.
func (t *Terminal) Event(e Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e.Kind {
	case KindStep:
		t.step(e)
	case KindProgress:
		t.progress(e)
	case KindCheck:
		t.check(e)
	case KindNote, KindWarning, KindError:
		t.message(e)
	}
	if t.now().Sub(t.last) >= redrawEvery {
		t.draw()
	}
	t.tick()
}

func (t *Terminal) step(e Event) {
	if e.Status == Start {
		t.running = append(t.running, liveStep{id: e.Step, title: t.plain(oneLine(e.Title)), since: e.Time})
		return
	}
	t.running = slices.DeleteFunc(t.running, func(s liveStep) bool { return s.id == e.Step })
	title := oneLine(e.Title)
	switch e.Status {
	case Unchanged:
		t.same++
	case Done:
		if e.Seconds < quickSteps {
			t.quick++
			return
		}
		t.line(e.Phase, t.paint.Good(t.marks.done), title+"  "+took(e.Seconds))
	case WouldChange:
		t.line(e.Phase, t.marks.running, "would "+title)
		if e.Message != "" {
			t.hold("    " + clean(e.Message))
		}
	case Failed:
		t.sum() // nothing is to follow the error that need not
		t.line(e.Phase, t.paint.Bad(t.marks.failed), title+"  "+took(e.Seconds))
		t.text(e)
	default:
		t.line(e.Phase, t.paint.Warn(t.marks.warning), title+": "+clean(e.Message))
	}
}

// text shows all of a failure, warning or note, with its hint.
func (t *Terminal) text(e Event) {
	word := map[Kind]string{KindStep: "error", KindError: "error", KindWarning: "warning"}[e.Kind]
	e, shown := t.told.see(e)
	if !shown {
		return
	}
	message := clean(e.Message)
	if word != "" {
		message = word + ": " + message
	}
	painted := map[string]func(string) string{"error": t.paint.Bad, "warning": t.paint.Warn}[word]
	t.words(message, word, painted)
	if e.Hint != "" {
		t.words("hint: "+clean(e.Hint), "hint", t.paint.Strong)
	}
}

// words holds a text that no line of the screen breaks inside a word. The word that it begins with is painted afterwards: colours take no columns.
func (t *Terminal) words(text, first string, painted func(string) string) {
	text = WrapLines(text, t.columns(), "")
	if painted != nil && strings.HasPrefix(text, first+":") {
		text = painted(first+":") + text[len(first)+1:]
	}
	t.hold(text)
}

func (t *Terminal) message(e Event) {
	t.sum()
	t.phase = ""
	t.text(e)
	t.draw()
}

func (t *Terminal) progress(e Event) {
	at := slices.IndexFunc(t.running, func(s liveStep) bool { return s.id == e.Step })
	if at < 0 {
		return
	}
	parts := slices.DeleteFunc([]string{t.plain(oneLine(e.Message)), amount(e.Bytes, e.TotalBytes)}, func(s string) bool { return s == "" })
	t.running[at].detail = strings.Join(parts, ", ")
}

func (t *Terminal) check(e Event) {
	switch e.Status {
	case OK, Skipped:
		t.checks++
		return
	case Failed:
		t.hold(t.paint.Bad(t.marks.failed) + " " + WrapLines(oneLine(e.Step)+": "+clean(e.Message), t.columns()-2, "  "))
	default:
		t.hold(t.paint.Warn(t.marks.warning) + " " + WrapLines(oneLine(e.Step)+": "+clean(e.Message), t.columns()-2, "  "))
	}
	if e.Hint != "" {
		t.hold(WrapLines("  hint: "+clean(e.Hint), t.columns(), "  "))
	}
	t.told.since = true
}

// line holds a finished line, below the name of its phase where that is another than the last line's.
func (t *Terminal) line(phase, mark, text string) {
	t.sumChecks()
	if phase != t.phase && phase != "" {
		t.hold(t.paint.Strong(oneLine(phase)))
		t.phase = phase
	}
	t.hold("  " + mark + " " + text)
	t.told.since = true
}

// sum holds lines for what was only counted.
func (t *Terminal) sum() {
	t.sumChecks()
	if t.quick > 0 {
		t.hold("  " + t.paint.Good(t.marks.done) + " " + plural(t.quick, "quick step", "quick steps"))
	}
	if t.same > 0 {
		t.hold("  " + t.paint.Good(t.marks.done) + " " + plural(t.same, "step had", "steps had") + " nothing to do")
	}
	t.quick, t.same = 0, 0
}

func (t *Terminal) sumChecks() {
	if t.checks > 0 {
		t.hold(t.paint.Good(t.marks.done) + " " + plural(t.checks, "check", "checks") + " passed")
		t.checks = 0
	}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func (t *Terminal) hold(text string) {
	t.held.WriteString(t.plain(strings.TrimRight(text, "\n")) + "\n")
}

func (t *Terminal) plain(text string) string {
	if t.marks.ascii {
		return ascii(text)
	}
	return text
}

// draw puts the finished lines on the screen in the place of the live ones, and these below them as they are now.
func (t *Terminal) draw() {
	width := t.columns()
	var out strings.Builder
	if rows := t.rows(width); rows > 0 {
		// Up to the first live line, and clear from there to the end of the screen.
		fmt.Fprintf(&out, "\r\x1b[%dA\x1b[J", rows)
	}
	out.WriteString(t.held.String())
	t.held.Reset()
	t.drawn = t.drawn[:0]
	for _, line := range t.live() {
		// One column stays free: a line that fills its row may wrap.
		line = clip(line, width-1, t.marks.ellipsis)
		t.drawn = append(t.drawn, columns(line))
		out.WriteString(line + "\n")
	}
	t.last = t.now()
	if out.Len() > 0 {
		_, _ = io.WriteString(t.w, out.String())
	}
}

// rows is how many rows of the screen the live lines take: a window made narrower since has wrapped them.
func (t *Terminal) rows(width int) int {
	rows := 0
	for _, columns := range t.drawn {
		rows += max(1, (columns+width-1)/width)
	}
	return rows
}

func (t *Terminal) columns() int {
	if width := t.width(); width > 0 {
		return max(width, 2)
	}
	return 80
}

func (t *Terminal) live() []string {
	now, lines := t.now(), []string{}
	for n, step := range t.running {
		if n == maxLive {
			lines = append(lines, fmt.Sprintf("  %s and %d more", t.marks.running, len(t.running)-n))
			break
		}
		line := "  " + t.marks.running + " " + step.title + "  " + clock(now.Sub(step.since))
		if step.detail != "" {
			line += "  " + step.detail
		}
		lines = append(lines, line)
	}
	if len(lines) > 0 {
		lines = append(lines, "    "+t.total(now))
	}
	return lines
}

func (t *Terminal) total(now time.Time) string {
	text := clock(now.Sub(t.start)) + " in all"
	if t.received != nil {
		text += ", " + size(t.received()) + " received"
	}
	return text
}

// clock is an elapsed time that does not flicker: whole seconds.
func clock(d time.Duration) string {
	seconds := max(0, int(d.Seconds()))
	if seconds < 60 {
		return fmt.Sprintf("%d s", seconds)
	}
	return fmt.Sprintf("%d min %d s", seconds/60, seconds%60)
}

// tick sees to it that the screen is redrawn while steps run, or something is held back.
func (t *Terminal) tick() {
	busy := len(t.running) > 0 || t.held.Len() > 0 || len(t.drawn) > 0
	switch {
	case busy && t.stop == nil:
		t.stop = make(chan struct{})
		go t.redraw(t.stop)
	case !busy && t.stop != nil:
		close(t.stop)
		t.stop = nil
	}
}

func (t *Terminal) redraw(stop chan struct{}) {
	ticker := time.NewTicker(redrawEvery)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		t.mu.Lock()
		if t.stop == stop {
			t.draw()
			t.tick()
		}
		t.mu.Unlock()
	}
}

// Flush takes the live lines off the screen and shows what was held back or counted.
func (t *Terminal) Flush() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running = nil
	t.sum()
	t.draw()
	t.tick()
}
