package switchover

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/report"
)

const journalFile = "/opt/tljh/state/journal.json"

// hubs notes what is asked of it. A part whose name is in fails ends with an error.
type hubs struct {
	t     *testing.T
	files host.Files
	phase string
	fails string
	asked []string
	cause error
	stop  context.CancelCauseFunc // called by Switch
}

func newHubs(t *testing.T) *hubs {
	t.Helper()
	files := host.Files{Root: t.TempDir()}
	require.NoError(t, files.MkdirAll(layout.State, host.Attr{Mode: 0o700}))
	return &hubs{t: t, files: files, phase: Preparing}
}

func (h *hubs) ask(part string) error {
	h.asked = append(h.asked, part)
	for name := range strings.FieldsSeq(h.fails) {
		if name == part {
			return errors.New(part + " failed")
		}
	}
	return nil
}

func (h *hubs) Phase() string { return h.phase }

func (h *hubs) Enter(phase string, _ error) error {
	h.phase = phase
	if err := h.ask("enter-" + phase); err != nil {
		return err
	}
	return Write(h.files, journalFile, map[string]string{"phase": phase})
}

func (h *hubs) Prepare(context.Context) error { return h.ask("prepare") }

func (h *hubs) NotBegun(_ context.Context, cause error) error {
	return errors.Join(cause, h.ask("not-begun"))
}
func (h *hubs) Room() int64 { return 4096 }

func (h *hubs) Switch(context.Context) error {
	assert.True(h.t, h.files.Exists(layout.Room), "there is room for going back while hubs are switched")
	if h.stop != nil {
		h.stop(errors.New("Ctrl-C"))
	}
	return h.ask("switch")
}

func (h *hubs) Settle(context.Context) error {
	assert.False(h.t, h.files.Exists(layout.Room), "the room is given back")
	return h.ask("settle")
}

func (h *hubs) Restore(ctx context.Context) error {
	assert.False(h.t, h.files.Exists(layout.Room), "what goes back may write")
	assert.NoError(h.t, ctx.Err(), "nobody interrupts going back")
	return h.ask("restore")
}

func (h *hubs) GoneBack(cause, err error) error {
	h.cause = cause
	return errors.Join(cause, err)
}

func TestWhatIsAskedAndWhen(t *testing.T) {
	for name, c := range map[string]struct {
		phase, fails, asked, err string
	}{
		"all works":                       {Preparing, "", "prepare enter-switching switch settle", ""},
		"nothing can be built":            {Preparing, "prepare", "prepare not-begun", "prepare failed"},
		"it cannot be journalled":         {Preparing, "enter-switching", "prepare enter-switching not-begun", "enter-switching failed"},
		"the new hub does not work":       {Preparing, "switch", "prepare enter-switching switch enter-back restore", "switch failed"},
		"nor is the old one back":         {Preparing, "switch restore", "prepare enter-switching switch enter-back restore", "restore failed"},
		"going back without a journal":    {Preparing, "switch enter-back", "prepare enter-switching switch enter-back restore", "switch failed"},
		"that fails, and is journalled":   {Preparing, "switch enter-back restore", "prepare enter-switching switch enter-back restore enter-back", "restore failed"},
		"something is left to do":         {Preparing, "settle", "prepare enter-switching switch settle", "settle failed"},
		"a switch that was interrupted":   {Switching, "", "prepare switch settle", ""},
		"that one fails":                  {Switching, "switch", "prepare switch enter-back restore", "switch failed"},
		"only the end was left to do":     {Proved, "", "prepare settle", ""},
		"building it again does not work": {Switching, "prepare", "prepare not-begun", "prepare failed"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHubs(t)
			h.phase, h.fails = c.phase, c.fails
			if c.phase == Switching {
				require.NoError(t, Reserve(h.files, 4096))
			}
			err := Run(t.Context(), h.files, report.New(), h)
			assert.Equal(t, c.asked, strings.Join(h.asked, " "))
			if c.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.err)
			}
			if !strings.Contains(c.fails, "prepare") {
				assert.False(t, h.files.Exists(layout.Room), "no room stays taken")
			}
		})
	}
}

// Ctrl-C is the cause that people read, whatever it made fail.
func TestInterruptedWhileSwitching(t *testing.T) {
	h := newHubs(t)
	ctx, stop := context.WithCancelCause(t.Context())
	h.stop, h.fails = stop, "switch"
	require.ErrorContains(t, Run(ctx, h.files, report.New(), h), "Ctrl-C")
	assert.EqualError(t, h.cause, "Ctrl-C")
}

// What was begun is completed by whoever finds its journal; nobody goes back twice.
func TestGoingBackIsCompleted(t *testing.T) {
	for _, phase := range []string{Back, Restored} {
		h := newHubs(t)
		h.phase = phase
		require.NoError(t, GoBack(t.Context(), h.files, report.New(), h, nil))
		assert.Equal(t, []string{"restore"}, h.asked)
	}
}

func TestJournal(t *testing.T) {
	h := newHubs(t)
	type journal struct {
		Phase string `json:"phase"`
	}
	read, err := Load[journal](h.files, journalFile, "a switch")
	require.NoError(t, err)
	assert.Nil(t, read)
	require.NoError(t, Write(h.files, journalFile, journal{Switching}))
	read, err = Load[journal](h.files, journalFile, "a switch")
	require.NoError(t, err)
	assert.Equal(t, Switching, read.Phase)
	require.NoError(t, h.files.Write(journalFile, []byte("{"), host.Attr{Mode: 0o600}))
	_, err = Load[journal](h.files, journalFile, "a switch")
	require.ErrorContains(t, err, journalFile)
}
