package edge

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"time"
)

// What becomes of connections when there are too many, or when they use too much memory. One that carries a request, or a websocket, is never closed.

// settled is the age at which a connection without a request is one that nobody waits for: browsers open some in advance.
const settledAge = 2 * time.Second

// makeRoomLocked chooses connections to close among those that match, so that there is room for another. Those that never carried a request come first, then
// those that are idle, the oldest first. More than one is chosen when many are old, so that a flood does not cost a look at all of them for each connection.
func (c *connections) makeRoomLocked(match func(*conn) bool) (victims []*conn, room bool) {
	matching := 0
	for other := range c.all {
		if !match(other) {
			continue
		}
		matching++
		if other.running.Load() == 0 {
			victims = append(victims, other)
		}
	}
	if len(victims) == 0 {
		return nil, false
	}
	slices.SortFunc(victims, func(a, b *conn) int {
		if a.used != b.used {
			if a.used {
				return 1
			}
			return -1
		}
		return a.since.Compare(b.since)
	})
	old := c.now().Add(-settledAge)
	most := min(len(victims), max(1, matching/32))
	count := 1
	for count < most && victims[count].since.Before(old) && !victims[count].used {
		count++
	}
	return c.takeLocked(victims[:count]), true
}

// shedHeadersLocked chooses the connections whose unfinished headers take most, by size and age, until a quarter of the memory for headers is free.
func (c *connections) shedHeadersLocked() []*conn {
	type debtor struct {
		*conn
		score float64
	}
	now, debtors := c.now(), []debtor{}
	for other := range c.all {
		if other.held > 0 {
			debtors = append(debtors, debtor{other, float64(other.held) * (now.Sub(other.since).Seconds() + 0.1)})
		}
	}
	slices.SortFunc(debtors, func(a, b debtor) int { return cmp.Compare(b.score, a.score) })
	victims, left := []*conn{}, c.held
	for _, debtor := range debtors {
		if left <= c.limits.Headers/4*3 {
			break
		}
		left -= debtor.held
		victims = append(victims, debtor.conn)
	}
	return c.takeLocked(victims)
}

// shedUnused chooses a tenth of the connections that carry no request, those that never did first.
func (c *connections) shedUnused() int {
	c.lock.Lock()
	victims := []*conn{}
	for other := range c.all {
		if other.running.Load() == 0 {
			victims = append(victims, other)
		}
	}
	slices.SortFunc(victims, func(a, b *conn) int {
		if a.used != b.used {
			if a.used {
				return 1
			}
			return -1
		}
		return cmp.Compare(b.held, a.held)
	})
	victims = c.takeLocked(victims[:(len(victims)+9)/10])
	c.lock.Unlock()
	drop(victims)
	return len(victims)
}

func (c *connections) takeLocked(victims []*conn) []*conn {
	for _, victim := range victims {
		c.forgetLocked(victim)
	}
	return victims
}

// drop closes connections that are counted no more.
func drop(victims []*conn) {
	for _, victim := range victims {
		if fast, ok := victim.Conn.(*net.TCPConn); ok && !victim.used {
			_ = fast.SetLinger(0) // what it has sent is of no interest, and the kernel is to forget it
		}
		_ = victim.Conn.Close()
	}
}

// watchMemory closes unused connections while this process is near the memory that it may use: losing these is better than losing all.
func (c *connections) watchMemory(ctx context.Context) {
	limit := debug.SetMemoryLimit(-1) // the unit's MemoryMax is a third above it
	if limit == math.MaxInt64 {
		return
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if used := memoryUsed(); used > limit+limit/16 {
				dropped := c.shedUnused()
				c.tell("memory", fmt.Sprintf("%d MB of memory are in use, more than planned: %d unused connections were closed", used>>20, dropped))
			}
		}
	}
}

func (c *connections) tell(kind, line string) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.tellLocked(kind, "%s", line)
}

// memoryUsed returns what this process holds of the machine's memory, as GOMEMLIMIT counts it.
func memoryUsed() int64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64() - samples[1].Value.Uint64())
}
