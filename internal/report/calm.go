package report

// Calm leaves out steps that had nothing to do.
func Calm(to Sink) Sink { return &calm{to: to, begun: map[string]Event{}} }

type calm struct {
	to    Sink
	begun map[string]Event // steps of which nobody knows yet whether they have anything to do
}

// Event implements Sink.
func (c *calm) Event(e Event) {
	switch begin, known := c.begun[e.Step]; {
	case e.Kind != KindStep:
	case e.Status == Start:
		c.begun[e.Step] = e
		return
	case e.Status == Unchanged:
		delete(c.begun, e.Step)
		return
	case known:
		delete(c.begun, e.Step)
		c.to.Event(begin)
	}
	c.to.Event(e)
}

// Flush shows what the sink behind holds back.
func (c *calm) Flush() {
	if held, ok := c.to.(flusher); ok {
		held.Flush()
	}
}
