package journal

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/step"
)

var update = flag.Bool("update", false, "write the golden files anew")

// strict takes no damaged line.
func strict(number int, err error) error { return fmt.Errorf("line %d: %w", number, err) }

// Whatever the moment at which a run ends, the fingerprint of a step counts only when its last attempt ended well.
func TestFingerprintsOfInterruptedStepsDoNotCount(t *testing.T) {
	x, c := newExecutor(t), &tally{}
	_, err := x.Run(context.Background(), Plan{Nodes: []Node{c.node("a", nil)}})
	require.NoError(t, err)
	assert.Equal(t, "stamp of a", reopened(t, x.Host).Receipt.Recorded("a"))

	require.NoError(t, x.Receipt.Write(Record{Event: EventBegin, Step: "a"}))
	assert.Empty(t, reopened(t, x.Host).Receipt.Recorded("a"))
}

func TestReceiptIsWholeWhereverItIsTorn(t *testing.T) {
	x, c := newExecutor(t), &tally{}
	_, err := x.Run(context.Background(), Plan{Nodes: []Node{c.node("a", nil), c.node("b", nil, "a")}})
	require.NoError(t, err)
	whole, err := x.Host.Files.Read(layout.Receipt)
	require.NoError(t, err)

	for length := range len(whole) {
		require.NoError(t, x.Host.Files.Write(layout.Receipt, whole[:length], receiptAttr))
		torn := reopened(t, x.Host)
		require.NoError(t, torn.Receipt.Write(Record{Event: EventBegin, Step: "c"}))
		data, err := x.Host.Files.Read(layout.Receipt)
		require.NoError(t, err)
		records, end, err := parseReceipt(data, strict)
		require.NoError(t, err, "torn at byte %d", length)
		assert.Len(t, data, end)
		assert.Equal(t, "c", records[len(records)-1].Step)
	}
}

func TestDamagedReceiptIsAnErrorWithAWayOut(t *testing.T) {
	x := newExecutor(t)
	require.NoError(t, x.Host.Files.Write(layout.Receipt, []byte("{\"event\":\"run\"}\nnot json\n{\"event\":\"end\"}\n"), receiptAttr))
	_, err := LoadReceipt(x.Host.Files, time.Now)
	require.ErrorContains(t, err, "line 2 is damaged")
	assert.NotEmpty(t, host.HintOf(err))
}

func TestReceiptOfANewerReleaseIsNotTouched(t *testing.T) {
	x := newExecutor(t)
	require.NoError(t, x.Host.Files.Write(layout.Receipt, []byte("{\"event\":\"run\",\"format\":99,\"version\":\"9.0.0\"}\n"), receiptAttr))
	_, err := LoadReceipt(x.Host.Files, time.Now)
	require.ErrorContains(t, err, "newer release (9.0.0)")
}

func TestReceiptWaitsForItsFolder(t *testing.T) {
	files := host.Files{Root: t.TempDir()}
	x := reopened(t, &host.Host{Files: files})
	attr := host.Attr{Mode: 0o755, UID: os.Getuid(), GID: os.Getgid()}
	nodes := []Node{}
	for _, path := range []string{"/opt", layout.Root, layout.State} {
		dir := step.Dir{Path: path, Attr: attr}
		after := []string{}
		if len(nodes) > 0 {
			after = append(after, nodes[len(nodes)-1].Step.ID())
		}
		nodes = append(nodes, Node{Step: dir, After: after})
	}
	_, err := x.Run(context.Background(), Plan{Nodes: nodes})
	require.NoError(t, err)
	data, err := files.Read(layout.Receipt)
	require.NoError(t, err)
	assert.Equal(t, 7, strings.Count(string(data), "\n"), "a run, and two lines for each folder")
	info, err := files.Lstat(layout.Receipt)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func FuzzParseReceipt(f *testing.F) {
	f.Add([]byte("{\"event\":\"run\",\"format\":1}\n{\"event\":\"begin\",\"step\":\"link /usr/local/bin/tljh-install\"}\n"))
	f.Add([]byte("{\"event\":\"run\",\"format\":2}\n{\"event\":\"sum\",\"step\":\"a\",\"left\":[{\"sha256\":\"x\"}]}\n{\"event\":\"same\",\"step\":\"a\"}\n{\"event\":\"uninstall\"}\n"))
	f.Add([]byte("{\"event\":\"begin\",\"step\":\"a\",\"before\":null,\"leaves\":{\"target\":\"/x\"}}\n{\"event\":\"end\"}\n"))
	f.Add([]byte("{\"event\":\"ru"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, whole, _ := parseReceipt(data, strict)
		if whole < 0 || whole > len(data) {
			t.Fatalf("%d of %d bytes", whole, len(data))
		}
		// Whatever can be read can be summed up, and tells the same then.
		files := host.Files{}
		records, _, _ := parseReceipt(data, func(int, error) error { return nil })
		r := NewReceipt(files, time.Now)
		for _, record := range records {
			r.take(record)
		}
		lines, err := linesOf(r.sum())
		if err != nil {
			t.Fatal(err)
		}
		summed, whole, err := parseReceipt(lines, strict)
		if err != nil || whole != len(lines) {
			t.Fatalf("%v in its own sum:\n%s", err, lines)
		}
		again := NewReceipt(files, time.Now)
		for _, record := range summed {
			again.take(record)
		}
		_, before, _ := strings.Cut(told(r), "\n")
		_, after, _ := strings.Cut(told(again), "\n")
		if before != after {
			t.Fatalf("told before:\n%s\nafter:\n%s", before, after)
		}
	})
}

// told is what a receipt comes to, in words.
func told(r *Receipt) string {
	var text strings.Builder
	fmt.Fprintf(&text, "finished: %t\n", r.Finished())
	for _, t := range r.Traces() {
		first, _ := json.Marshal(t.First)
		fmt.Fprintf(&text, "%s\n\tby %s, before %s, left %s, fingerprint %q\n", t.ID, t.By, first, t.Left, r.Recorded(t.ID))
	}
	return text.String()
}

// Receipts of every format there ever was are read for ever, and tell what they told.
func TestReceiptsOfAllFormatsAreRead(t *testing.T) {
	fixtures, err := filepath.Glob("testdata/receipts/*.jsonl")
	require.NoError(t, err)
	formats := map[int]bool{}
	for _, fixture := range fixtures {
		t.Run(filepath.Base(fixture), func(t *testing.T) {
			data, err := os.ReadFile(fixture)
			require.NoError(t, err)
			number, _, _ := strings.Cut(filepath.Base(fixture), "-")
			format, err := strconv.Atoi(number)
			require.NoError(t, err, "a fixture's name begins with its format")
			require.Contains(t, string(data[:strings.IndexByte(string(data), '\n')]), fmt.Sprintf(`"format":%d`, format))
			formats[format] = true

			x := newExecutor(t)
			require.NoError(t, x.Host.Files.Write(layout.Receipt, data, receiptAttr))
			receipt, err := LoadReceipt(x.Host.Files, time.Now)
			require.NoError(t, err)
			golden := strings.TrimSuffix(fixture, ".jsonl") + ".txt"
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(told(receipt)), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), told(receipt))
			assertSummedUp(t, receipt)
		})
	}
	for format := 1; format <= receiptFormat; format++ {
		assert.True(t, formats[format], "there is no receipt of format %d in testdata", format)
	}
}

// assertSummedUp wants that a sum tells what its receipt told.
func assertSummedUp(t *testing.T, receipt *Receipt) {
	t.Helper()
	require.NoError(t, receipt.sumUp())
	again, err := LoadReceipt(receipt.files, receipt.now)
	require.NoError(t, err)
	_, before, _ := strings.Cut(told(receipt), "\n")
	_, after, _ := strings.Cut(told(again), "\n")
	assert.Equal(t, before, after)
}

// Ten years of a changed config a day, and an installation now and then.
func TestReceiptOfYearsStaysShort(t *testing.T) {
	if testing.Short() {
		t.Skip("writes thousands of lines, each synced")
	}
	x := newExecutor(t)
	attr := host.Attr{Mode: 0o644, UID: os.Getuid(), GID: os.Getgid()}
	most := 0
	for run := range 200 {
		x = reopened(t, x.Host)
		nodes := []Node{}
		for n := range 4 {
			nodes = append(nodes, Node{Step: step.File{Path: fmt.Sprintf("/file-%d", n), Content: []byte(fmt.Sprintf("# %s\n%d", step.Mark, run%9)), Attr: attr}})
		}
		outcome, err := x.Run(t.Context(), Plan{Nodes: nodes})
		require.NoError(t, err)
		require.NoError(t, x.Finish(len(outcome.Changed) > 0))
		info, err := x.Host.Files.Lstat(layout.Receipt)
		require.NoError(t, err)
		most = max(most, int(info.Size()))
	}
	assert.Less(t, most, mostBytes+mostBytes/8)
	receipt := reopened(t, x.Host).Receipt
	require.Len(t, receipt.Traces(), 4)
	for _, trace := range receipt.Traces() {
		assert.False(t, trace.First.Existed, "what stood there first is forgotten")
		assert.Len(t, trace.Left, 9)
	}
	copies, err := x.Host.Files.List(layout.State + "/before")
	require.NoError(t, err)
	assert.Empty(t, copies, "copies of what was ours")
}

func TestWhatOlderReceiptsDoNotTellIsFoundOut(t *testing.T) {
	x := newExecutor(t)
	file := step.File{Path: "/file", Content: []byte("ours"), Attr: host.Attr{Mode: 0o644, UID: os.Getuid(), GID: os.Getgid()}}
	require.NoError(t, x.Host.Files.Write("/file", file.Content, file.Attr))
	require.NoError(t, x.Host.Files.Write(layout.Receipt, []byte("{\"event\":\"run\",\"format\":1,\"version\":\"0.1.0\"}\n"+
		"{\"event\":\"begin\",\"step\":\"file /file\",\"before\":{\"existed\":false}}\n{\"event\":\"end\",\"step\":\"file /file\"}\n{\"event\":\"done\"}\n"), receiptAttr))
	x = reopened(t, x.Host)
	assert.Empty(t, x.Receipt.Left(file.ID()))
	for range 2 {
		x = reopened(t, x.Host)
		outcome, err := x.Run(t.Context(), Plan{Nodes: []Node{{Step: file}}})
		require.NoError(t, err)
		assert.Empty(t, outcome.Changed)
		require.NoError(t, x.Finish(false))
	}
	assert.Equal(t, []step.Left{file.Leaves()}, reopened(t, x.Host).Receipt.Left(file.ID()))
	data, err := x.Host.Files.Read(layout.Receipt)
	require.NoError(t, err)
	assert.Equal(t, 1, strings.Count(string(data), EventSame), "once is enough")
}

func TestUninstallingMakesFingerprintsVoid(t *testing.T) {
	x, c := newExecutor(t), &tally{}
	_, err := x.Run(t.Context(), Plan{Nodes: []Node{c.node("a", nil), c.node("b", nil, "a")}})
	require.NoError(t, err)
	require.NoError(t, x.Receipt.Write(Record{Event: EventUninstall}))
	for _, r := range []*Receipt{x.Receipt, reopened(t, x.Host).Receipt} {
		assert.Empty(t, r.Recorded("a"))
		assert.False(t, r.Finished())
		assert.Len(t, r.Traces(), 2)
	}
	require.NoError(t, x.Receipt.Forget(func(id string) bool { return id == "b" }))
	again := reopened(t, x.Host).Receipt
	require.Len(t, again.Traces(), 1)
	assert.Equal(t, "b", again.Traces()[0].ID)
	assert.Equal(t, programVersion(), again.Traces()[0].By)
}

func TestDamagedLinesCanBePassedOver(t *testing.T) {
	x := newExecutor(t)
	require.NoError(t, x.Host.Files.Write(layout.Receipt, []byte("{\"event\":\"run\",\"format\":2}\nnot json\n{\"event\":\"begin\",\"step\":\"a\"}\n"), receiptAttr))
	damaged := []int{}
	r, err := LoadDamagedReceipt(x.Host.Files, time.Now, func(number int, _ error) error { damaged = append(damaged, number); return nil })
	require.NoError(t, err)
	assert.Equal(t, []int{2}, damaged)
	require.Len(t, r.Traces(), 1)
	assert.Nil(t, r.Traces()[0].First, "nobody knows what stood there")
}
