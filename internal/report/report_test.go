package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
)

// clockwork is a clock that tests turn.
type clockwork struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clockwork {
	return &clockwork{now: time.Date(2027, time.March, 1, 12, 0, 0, 0, time.UTC)}
}

func (c *clockwork) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clockwork) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// recorder keeps the events it is told.
type recorder struct {
	events  []Event
	flushed int
}

func (r *recorder) Event(e Event) { r.events = append(r.events, e) }
func (r *recorder) Flush()        { r.flushed++ }

func newReporter(clock *clockwork, sinks ...Sink) *Reporter {
	r := New(sinks...)
	r.now = clock.Now
	return r
}

// play is a run as people see it: checks, quick and slow steps, one that fails, another that is stopped by it.
func play(r *Reporter, clock *clockwork) {
	r.Emit(Event{Kind: KindCheck, Step: "root", Title: "administrator rights", Status: OK, Message: "running as root"})
	r.Emit(Event{Kind: KindCheck, Step: "memory", Title: "memory", Status: Warning, Message: "this machine has 1.0 GB", Hint: "count on 100 MB a user"})
	r.Emit(Event{Kind: KindCheck, Step: "dns", Title: "names", Status: Skipped, Message: "nothing has to be fetched"})
	folder := r.Step("folder /opt/tljh", "make the folder /opt/tljh", "folders")
	clock.pass(10 * time.Millisecond)
	folder.Done()
	r.Step("group x", "make the group x", "folders").Unchanged()
	hub := r.Step("hub", "build the hub environment", "environments")
	user := r.Step("user", "build the user environment", "environments")
	clock.pass(2 * time.Second)
	hub.Progress("fetching packages", 12_000_000, 40_000_000)
	hub.Progress("fetching packages", 24_000_000, 40_000_000)
	r.Warn("look at it", "something is odd")
	clock.pass(3 * time.Second)
	failure := host.Hint(errors.New("cannot build the hub environment: uv failed (exit code 1):\n    no space left"), "make room")
	hub.Failed(failure)
	user.Failed(fmt.Errorf("cannot build the user environment: %w", failure))
	r.Note("every command and its output: /opt/tljh/installer.log")
	r.Fail(failure)
	r.Emit(Event{Kind: KindResult, Data: map[string]string{"password": "s3cret"}})
	r.Close()
}

func TestReporterStampsAndOrders(t *testing.T) {
	clock, seen := newClock(), &recorder{}
	r := newReporter(clock, seen)
	step := r.Step("id", "do it", "phase")
	clock.pass(1500 * time.Millisecond)
	step.Progress("half", 1, 2)
	step.Done()
	step.Done()
	step.Failed(errors.New("too late"))
	step.Progress("too late", 0, 0)
	r.Close()
	r.Close()
	r.Note("too late")
	begin := clock.Now().Add(-1500 * time.Millisecond)
	about := Event{Step: "id", Title: "do it", Phase: "phase"}
	start, half, done := about, about, about
	start.Kind, start.Status, start.Time = KindStep, Start, begin
	half.Kind, half.Time, half.Message, half.Bytes, half.TotalBytes, half.Seconds = KindProgress, clock.Now(), "half", 1, 2, 1.5
	done.Kind, done.Status, done.Time, done.Seconds = KindStep, Done, clock.Now(), 1.5
	assert.Equal(t, []Event{start, half, done}, seen.events)
	assert.Equal(t, 1, seen.flushed)
}

func TestNilReporterIsSilent(t *testing.T) {
	var r *Reporter
	step := r.Step("id", "title", "phase")
	step.Progress("x", 1, 2)
	step.Done()
	step.Unchanged()
	step.Failed(errors.New("x"))
	r.Note("x")
	r.Warn("x", "y")
	r.Fail(errors.New("x"))
	r.Emit(Event{})
	r.Close()
}

func TestStepsThatAnotherStoppedAreSkipped(t *testing.T) {
	seen := &recorder{}
	r := New(seen)
	cause := errors.New("disk full")
	first, second, third := r.Step("1", "", ""), r.Step("2", "", ""), r.Step("3", "", "")
	first.Failed(cause)
	second.Failed(fmt.Errorf("cannot do it: %w", cause))
	third.Failed(errors.New("disk full")) // the same words, but a failure of its own
	var statuses []Status
	for _, e := range seen.events[3:] {
		statuses = append(statuses, e.Status)
	}
	assert.Equal(t, []Status{Failed, Skipped, Failed}, statuses)
}

func TestFailTakesTheHint(t *testing.T) {
	seen := &recorder{}
	New(seen).Fail(fmt.Errorf("cannot start: %w", host.Hint(errors.New("port taken"), "stop apache")))
	assert.Equal(t, "cannot start: port taken", seen.events[0].Message)
	assert.Equal(t, "stop apache", seen.events[0].Hint)
	assert.Equal(t, KindError, seen.events[0].Kind)
}

// golden compares with a file in testdata; UPDATE=1 writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if os.Getenv("UPDATE") == "1" {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), got)
}

func TestPlainGolden(t *testing.T) {
	var out bytes.Buffer
	clock := newClock()
	play(newReporter(clock, newPlain(&out, time.Hour)), clock)
	golden(t, "plain", out.String())
}

func TestJSONGolden(t *testing.T) {
	var out bytes.Buffer
	clock := newClock()
	play(newReporter(clock, NewJSON(&out)), clock)
	golden(t, "json", out.String())
	for line := range strings.Lines(out.String()) {
		var e map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &e))
		assert.NotEmpty(t, e["time"])
		assert.NotEmpty(t, e["kind"])
	}
}

func TestJSONKeepsGoingWithDataThatIsNone(t *testing.T) {
	var out bytes.Buffer
	NewJSON(&out).Event(Event{Kind: KindResult, Message: "<b>", Data: func() {}})
	assert.Equal(t, `{"time":"0001-01-01T00:00:00Z","kind":"result","message":"<b>"}`+"\n", out.String())
}

// guarded lets a test look at what a timer writes.
type guarded struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (g *guarded) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.buf.Write(p)
}

func (g *guarded) String() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.buf.String()
}

func TestPlainAnnouncesSlowStepsOnly(t *testing.T) {
	out := &guarded{}
	r := New(newPlain(out, 20*time.Millisecond))
	slow := r.Step("slow", "build it", "")
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "start") }, 10*time.Second, time.Millisecond)
	assert.Equal(t, "start        build it\n", out.String())
	slow.Done()
	assert.Contains(t, out.String(), "done         build it (")

	out = &guarded{}
	r = New(newPlain(out, time.Hour))
	r.Step("quick", "touch it", "").Done()
	r.Step("never ends", "wait", "")
	r.Close()
	assert.Equal(t, "done         touch it (0.0 s)\n", out.String())
}

func TestErrorIsNotRepeatedRightBelow(t *testing.T) {
	var out bytes.Buffer
	r := New(newPlain(&out, time.Hour))
	err := errors.New("cannot do it: because")
	r.Step("1", "do it", "").Failed(err)
	r.Fail(err)
	assert.Equal(t, 1, strings.Count(out.String(), "because"), out.String())
	r.Note("more")
	r.Fail(err)
	assert.Contains(t, out.String(), "error        cannot do it: because (see above)")
}

func TestManyAtOnce(t *testing.T) {
	var plain, jsons, screen guarded
	log := NewLog()
	clock := newClock()
	terminal := newTerminal(&screen, func() int { return 80 }, clock.Now, func() int64 { return 1 }, utf8Marks)
	r := New(newPlain(&plain, time.Microsecond), NewJSON(&jsons), terminal, log)
	var running sync.WaitGroup
	const steps = 40
	for n := range steps {
		running.Go(func() {
			step := r.Step(fmt.Sprint(n), fmt.Sprintf("step number %d", n), "phase")
			for range 10 {
				step.Progress("on the way", 1, 2)
				log.Command(host.Command{Argv: []string{"true"}}, host.Result{Output: []byte("x\n")}, nil)
				log.Redact(fmt.Sprintf("secret%d", n))
				clock.pass(time.Millisecond)
			}
			step.Done()
		})
	}
	running.Wait()
	r.Close()
	assert.Equal(t, steps, strings.Count(plain.String(), "done "))
	lines := strings.Split(strings.TrimSpace(jsons.String()), "\n")
	assert.Len(t, lines, steps*12)
	for _, line := range lines {
		assert.True(t, json.Valid([]byte(line)), line)
	}
}

func TestReceivedCountsWhatComesFromOutside(t *testing.T) {
	files := host.Files{Root: t.TempDir()}
	require.NoError(t, os.MkdirAll(files.Path("/proc/net"), 0o755))
	put := func(lo, eth, wlan int) {
		text := fmt.Sprintf("Inter-|   Receive\n face |bytes    packets\n    lo: %d 1 0\n  eth0:%d 2 0\nwlan0: %d 3 0\n", lo, eth, wlan)
		require.NoError(t, os.WriteFile(files.Path("/proc/net/dev"), []byte(text), 0o644))
	}
	put(100, 1000, 500)
	received := Received(files)
	assert.Zero(t, received())
	put(900, 1300, 501)
	assert.EqualValues(t, 301, received())
	put(900, 1300, 7) // one interface was set up anew
	assert.EqualValues(t, 300, received())
	require.NoError(t, os.Remove(files.Path("/proc/net/dev")))
	assert.Zero(t, received())
	assert.Zero(t, Received(files)())
}

func FuzzNetDev(f *testing.F) {
	f.Add("  eth0: 10 2\n")
	f.Add(":::\n a:-1\n b:99999999999999999999")
	f.Fuzz(func(t *testing.T, text string) {
		for name, n := range parseNetDev(text) {
			if n < 0 || name == "lo" {
				t.Errorf("%s: %d", name, n)
			}
		}
	})
}
