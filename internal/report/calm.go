package report

// Calm leaves out steps that had nothing to do.
func Calm(to Sink) Sink { return calm{to} }

type calm struct{ to Sink }

// Event implements Sink.
func (c calm) Event(e Event) {
	if e.Kind != KindStep || e.Status != Unchanged {
		c.to.Event(e)
	}
}

// Flush shows what the sink behind holds back.
func (c calm) Flush() {
	if held, ok := c.to.(flusher); ok {
		held.Flush()
	}
}
