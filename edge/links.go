package edge

import (
	"errors"
	"net"
	"os"
	"sync"
)

// links watch the connections to the proxy, to know whether it may have been restarted since somebody behind it was last heard of: when it ends one,
// or when there is none left by which it could be noticed.
type links struct {
	lock    sync.Mutex
	open    int
	changes uint64 // how often that may have happened
	heard   uint64 // the value of changes, plus one, when somebody was heard of
}

// state is to be taken before a request is sent, and given to settle when it was answered.
func (l *links) state() uint64 {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.changes
}

// settle notes an answer to a request that was sent at that state.
func (l *links) settle(state uint64) {
	l.lock.Lock()
	defer l.lock.Unlock()
	l.heard = max(l.heard, state+1)
}

// settled tells whether the proxy has its routes, as far as anyone can know.
func (l *links) settled() bool {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.heard == l.changes+1
}

func (l *links) add(conn net.Conn) net.Conn {
	l.lock.Lock()
	defer l.lock.Unlock()
	l.open++
	return &link{Conn: conn, links: l}
}

// link is one connection to the proxy.
type link struct {
	net.Conn
	links *links
	once  sync.Once
}

func (l *link) Read(data []byte) (int, error) {
	n, err := l.Conn.Read(data)
	if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrDeadlineExceeded) {
		l.links.lock.Lock()
		l.links.changes++
		l.links.lock.Unlock()
	}
	return n, err
}

func (l *link) Close() error {
	l.once.Do(func() {
		l.links.lock.Lock()
		defer l.links.lock.Unlock()
		if l.links.open--; l.links.open == 0 {
			l.links.changes++
		}
	})
	return l.Conn.Close()
}
