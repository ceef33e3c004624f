// Package want holds the few comparisons that the integration tests share. Each says what was wanted and what came.
package want

import (
	"strings"
	"testing"
)

// OK ends the test at an error.
func OK(t testing.TB, err error, doing ...string) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s%v", prefix(doing), err)
	}
}

// Equal compares two values.
func Equal[T comparable](t testing.TB, wanted, got T, saying ...string) {
	t.Helper()
	if wanted != got {
		t.Errorf("%swanted %v, got %v", prefix(saying), wanted, got)
	}
}

// Differ complains about two values that are the same.
func Differ[T comparable](t testing.TB, unwanted, got T, saying ...string) {
	t.Helper()
	if unwanted == got {
		t.Errorf("%sdid not want %v", prefix(saying), got)
	}
}

// True complains when something does not hold.
func True(t testing.TB, holds bool, saying string) {
	t.Helper()
	if !holds {
		t.Error(saying)
	}
}

// Contains looks for every one of the parts in a text.
func Contains(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("wanted %q in:\n%s", part, text)
		}
	}
}

// Lacks complains about each of the parts that is in a text.
func Lacks(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if strings.Contains(text, part) {
			t.Errorf("did not want %q in:\n%s", part, text)
		}
	}
}

func prefix(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return strings.Join(words, " ") + ": "
}

// SameLines compares two listings and shows only the lines that differ.
func SameLines(t testing.TB, before, after, saying string) {
	t.Helper()
	if before == after {
		return
	}
	count := map[string]int{}
	for line := range strings.Lines(before) {
		count[line]++
	}
	var differ strings.Builder
	for line := range strings.Lines(after) {
		if count[line]--; count[line] < 0 {
			differ.WriteString("+ " + line)
		}
	}
	for line, n := range count {
		if n > 0 {
			differ.WriteString("- " + line)
		}
	}
	t.Errorf("%s:\n%s", saying, differ.String())
}
