package integration

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tljh/integration-tests/guest"
)

// seconds is how long each test had a guest of its own, from which the slowest are told at the end of a run.
var seconds struct {
	sync.Mutex
	of map[string]time.Duration
}

// timed notes how long a test takes from its first guest on.
func timed(t *testing.T) {
	t.Helper()
	began := time.Now()
	t.Cleanup(func() {
		seconds.Lock()
		defer seconds.Unlock()
		if seconds.of == nil {
			seconds.of = map[string]time.Duration{}
		}
		seconds.of[t.Name()] = max(seconds.of[t.Name()], time.Since(began))
	})
}

// tellSlowest prints the tests that took longest and keeps all of them as an artefact: a gate that takes too long is made of them.
func tellSlowest(n int) error {
	seconds.Lock()
	defer seconds.Unlock()
	names := slices.Collect(maps.Keys(seconds.of))
	if len(names) == 0 {
		return nil
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(seconds.of[b], seconds.of[a]) })
	sum, rows := 0.0, make([]string, 0, len(names))
	for _, name := range names {
		took := seconds.of[name].Seconds()
		sum += took
		rows = append(rows, fmt.Sprintf("%5.0f s  %s\n", took, name))
	}
	text := fmt.Sprintf("%d tests had guests for %.0f s in all; the slowest first:\n", len(names), sum)
	fmt.Print(text, strings.Join(rows[:min(n, len(rows))], ""))
	if err := os.MkdirAll(guest.ArtefactsDir(), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(guest.ArtefactsDir(), "slowest.txt"), []byte(text+strings.Join(rows, "")), 0o644)
}
