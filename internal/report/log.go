package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"tljh/internal/host"
)

// pendingLimit is how much a log holds in memory while it has no file, or its disk is full.
const pendingLimit = 8 << 20

// timeFormat is that of every entry in the log, in UTC.
const timeFormat = "2006-01-02T15:04:05.000Z"

// Log keeps everything for whoever has to find out later what happened: every event, and every command with its output. It
// is a Sink and a host.CommandLog. Until Attach it is held in memory, for the folder it goes to may not be there yet. It
// never fails a run: what can't be written, on a full disk, is held and tried again with the next entry.
type Log struct {
	now func() time.Time

	mu      sync.Mutex
	file    *os.File
	pending bytes.Buffer
	dropped bool
	secrets []string
	last    map[string]string // the last progress message of each running step
}

// NewLog returns a log that is held in memory.
func NewLog() *Log { return &Log{now: time.Now, last: map[string]string{}} }

// Attach adds what is held, and everything from now on, to the end of the file path, which gets mode 0600. A log that is attached
// stays where it is.
func (l *Log) Attach(files host.Files, path string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		return nil
	}
	file, err := files.OpenAppend(path, host.Attr{Mode: 0o600, UID: os.Geteuid(), GID: os.Getegid()})
	if err != nil {
		return fmt.Errorf("cannot keep a log: %w", err)
	}
	l.file = file
	l.flush()
	return nil
}

// Redact replaces secret by *** in all that is written from now on, also where it stands quoted for JSON or a web address.
func (l *Log) Redact(secret string) {
	if secret == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	quoted, _ := json.Marshal(secret) // a string always can be
	for _, form := range []string{secret, strings.Trim(string(quoted), `"`), url.QueryEscape(secret), url.PathEscape(secret), quoteWord(secret)} {
		if form != "" && !slices.Contains(l.secrets, form) {
			l.secrets = append(l.secrets, form)
		}
	}
	// The longest first: no part of one may stay because another is part of it.
	slices.SortStableFunc(l.secrets, func(a, b string) int { return len(b) - len(a) })
	held := l.redact(l.pending.String())
	l.pending.Reset()
	l.pending.WriteString(held)
}

func (l *Log) redact(text string) string {
	for _, secret := range l.secrets {
		text = strings.ReplaceAll(text, secret, "***")
	}
	return text
}

// Close writes out what is held and waits until all of it is on disk. It may be called again.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	l.flush()
	err := errors.Join(l.file.Sync(), l.file.Close())
	l.file = nil
	if err == nil && l.pending.Len() > 0 {
		err = errors.New("its last entries are lost; is the disk full?")
	}
	if err != nil {
		return fmt.Errorf("cannot keep the log whole: %w", err)
	}
	return nil
}

// Event implements Sink. The result of a run is not logged: it may hold a password.
func (l *Log) Event(e Event) {
	l.mu.Lock()
	for _, text := range []*string{&e.Step, &e.Title, &e.Phase, &e.Message, &e.Hint} {
		*text = l.redact(*text) // before anything is cleaned or indented, which could hide a secret from the search
	}
	l.mu.Unlock()
	switch {
	case e.Kind == KindResult:
		return
	case e.Kind == KindProgress:
		l.progress(e)
		return
	case e.Kind == KindStep && e.Status == Start:
		l.write(e.Time, row("start", oneLine(e.Title)))
		return
	case e.Kind == KindStep:
		l.mu.Lock()
		delete(l.last, e.Step)
		l.mu.Unlock()
	}
	l.write(e.Time, plainText(e))
}

// progress logs what is new: the same message with other numbers of bytes is not.
func (l *Log) progress(e Event) {
	l.mu.Lock()
	same := l.last[e.Step] == e.Message
	l.last[e.Step] = e.Message
	l.mu.Unlock()
	if !same {
		l.write(e.Time, row("progress", oneLine(e.Title)+": "+clean(e.Message)))
	}
}

// Command implements host.CommandLog.
func (l *Log) Command(cmd host.Command, result host.Result, err error) {
	l.mu.Lock()
	words := slices.Clone(cmd.Argv)
	for n := range words {
		words[n] = l.redact(words[n]) // before quoting, for the same reason
	}
	result.Output = []byte(l.redact(string(result.Output)))
	l.mu.Unlock()
	cmd.Argv = words
	l.write(l.now(), row("command", commandText(cmd, result, err)))
}

// Request implements host.CommandLog.
func (l *Log) Request(line string) { l.write(l.now(), row("request", oneLine(line))) }

// write adds an entry: its first line begins with the time, the others stand below it.
func (l *Log) write(when time.Time, text string) {
	if text == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pending.Len() > pendingLimit {
		l.dropped = true
		return
	}
	if l.dropped {
		l.dropped = false
		text = "(entries are missing here)\n" + text
	}
	text = indentLines(l.redact(text), strings.Repeat(" ", len(timeFormat)+1))
	fmt.Fprintf(&l.pending, "%s %s\n", when.UTC().Format(timeFormat), text)
	l.flush()
}

// flush hands over what is held to the operating system, so that it outlives this process, as far as there is room.
func (l *Log) flush() {
	if l.file == nil || l.pending.Len() == 0 {
		return
	}
	n, _ := l.file.Write(l.pending.Bytes())
	l.pending.Next(max(n, 0))
}

// commandText is what is told of a command: its words, how it ended, how long it took, and what it wrote.
func commandText(cmd host.Command, result host.Result, err error) string {
	text := commandLine(cmd.Argv) + " (" + ending(result, err) + ", " + took(result.Took.Seconds()) + ")"
	if cmd.Quiet {
		return text
	}
	if output := strings.TrimRight(clean(string(result.Output)), "\n "); output != "" {
		text += "\n" + indentLines("    "+output, "    ")
	}
	return text
}

func ending(result host.Result, err error) string {
	var exit *host.ExitError
	switch {
	case errors.As(err, &exit) && exit.Signal != "":
		return oneLine(exit.Signal)
	case errors.As(err, &exit):
		return fmt.Sprintf("exit %d", exit.Code)
	case err != nil:
		return oneLine(err.Error())
	}
	return fmt.Sprintf("exit %d", result.ExitCode)
}

// commandLine writes words as one would type them into a shell.
func commandLine(argv []string) string {
	words := make([]string, 0, len(argv))
	for _, word := range argv {
		words = append(words, quoteWord(clean(word)))
	}
	return strings.Join(words, " ")
}

func quoteWord(word string) string {
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_=+.,:/@%^*", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !safe(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// Commands writes every command with its output as it ends: for --verbose.
type Commands struct {
	mu sync.Mutex
	w  io.Writer
}

// NewCommands returns a command log for a person to watch.
func NewCommands(w io.Writer) *Commands { return &Commands{w: w} }

// Command implements host.CommandLog.
func (c *Commands) Command(cmd host.Command, result host.Result, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = io.WriteString(c.w, row("command", commandText(cmd, result, err))+"\n")
}

// Request implements host.CommandLog.
func (c *Commands) Request(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = io.WriteString(c.w, row("request", oneLine(line))+"\n")
}
