package installer

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestOneCommandIsOneChange(t *testing.T) {
	begin := time.Unix(1000, 0)
	second := func(n float64) time.Time { return begin.Add(time.Duration(n * float64(time.Second))) }
	pip := []Changer{{Command: "pip install scipy pandas scikit-learn", Who: "jupyter-alice"}}
	w := &waiting{since: begin, idle: begin}
	assert.False(t, w.look(second(0), second(0), true, pip))
	for n := 1.0; n < 60; n++ { // the packages come one by one, far apart
		assert.False(t, w.look(second(n), second(float64(int(n)/10*10)), true, pip), "pip still runs")
	}
	assert.False(t, w.look(second(60.5), second(50), true, nil))
	assert.True(t, w.look(second(63), second(50), true, nil))
	assert.Equal(t, pip[0], w.changer())
}

func TestNoSnapshotInTheMiddleOfATransaction(t *testing.T) {
	begin := time.Unix(1000, 0)
	w := &waiting{since: begin, idle: begin}
	conda := []Changer{{Command: "conda update --all", Who: "jupyter-alice"}, {Command: "pip install x", Who: "jupyter-carol"}}
	assert.False(t, w.look(begin, begin, false, conda))
	assert.False(t, w.look(begin.Add(30*time.Second), begin, false, nil), "its history is not written yet")
	assert.False(t, w.look(begin.Add(59*time.Second), begin, false, nil))
	assert.True(t, w.look(begin.Add(62*time.Second), begin, false, nil), "conda was killed: the check says what that left")
	assert.Equal(t, Changer{Command: "conda update --all; pip install x", Who: "jupyter-alice, jupyter-carol"}, w.changer())
}
