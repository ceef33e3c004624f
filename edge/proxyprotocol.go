package edge

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
)

// The beginnings of a connection whose proxy says first, before a byte of the visitor's, who that is: the PROXY protocol, in its two versions.
var (
	proxyOne = []byte("PROXY ")
	proxyTwo = []byte("\r\n\r\n\x00\r\nQUIT\n")
)

const (
	longestOne = 107     // bytes of the line, as the protocol has it
	longestTwo = 4 << 10 // of what follows the fixed part; addresses take 36, proxies add some words
)

var errProxyProtocol = errors.New("what the proxy says of its visitor cannot be read")

type frontedKey struct{}

// fronted is a connection from a trusted proxy.
type fronted struct {
	net.Conn

	once   sync.Once
	rest   []byte // that was read and is the visitor's
	failed error
	client netip.Addr // who the proxy says that the visitor is; not valid when it says nothing
}

// Read implements net.Conn.
func (f *fronted) Read(data []byte) (int, error) {
	f.once.Do(func() { f.failed = f.begin() })
	if f.failed != nil {
		return 0, f.failed
	}
	if len(f.rest) > 0 {
		n := copy(data, f.rest)
		f.rest = f.rest[n:]
		return n, nil
	}
	return f.Conn.Read(data)
}

// begin reads as far as it takes to know that there is no such beginning, or to the end of it.
func (f *fronted) begin() error {
	for {
		mayBeOne, isOne := begins(f.rest, proxyOne)
		mayBeTwo, isTwo := begins(f.rest, proxyTwo)
		switch {
		case isOne:
			return f.readOne()
		case isTwo:
			return f.readTwo()
		case !mayBeOne && !mayBeTwo:
			return nil
		}
		if err := f.more(); err != nil {
			return err
		}
	}
}

// begins reports whether data can still become something with this beginning, and whether it is.
func begins(data, with []byte) (may, is bool) {
	n := min(len(data), len(with))
	may = bytes.Equal(data[:n], with[:n])
	return may, may && n == len(with)
}

func (f *fronted) more() error {
	buffer := make([]byte, 512)
	n, err := f.Conn.Read(buffer)
	f.rest = append(f.rest, buffer[:n]...)
	if n > 0 {
		return nil
	}
	return err
}

func (f *fronted) readOne() error {
	for {
		line, rest, found := bytes.Cut(f.rest, []byte("\r\n"))
		switch {
		case found && len(line) <= longestOne:
			f.rest = rest
			return f.tellOne(strings.Fields(string(line)))
		case len(f.rest) > longestOne:
			return errProxyProtocol
		}
		if err := f.more(); err != nil {
			return err
		}
	}
}

func (f *fronted) tellOne(words []string) error {
	if len(words) >= 2 && words[1] == "UNKNOWN" {
		return nil
	}
	if len(words) != 6 || words[1] != "TCP4" && words[1] != "TCP6" {
		return errProxyProtocol
	}
	client, err := netip.ParseAddr(words[2])
	f.client = client
	return err
}

func (f *fronted) readTwo() error {
	const fixed = 16
	for len(f.rest) < fixed {
		if err := f.more(); err != nil {
			return err
		}
	}
	version, family, length := f.rest[12], f.rest[13], int(binary.BigEndian.Uint16(f.rest[14:fixed]))
	if version>>4 != 2 || length > longestTwo {
		return errProxyProtocol
	}
	for len(f.rest) < fixed+length {
		if err := f.more(); err != nil {
			return err
		}
	}
	told := f.rest[fixed : fixed+length]
	f.rest = f.rest[fixed+length:]
	if version&0xf == 0 { // the proxy's own, to see whether somebody is there
		return nil
	}
	size := map[byte]int{0x1: 4, 0x2: 16}[family>>4]
	if size == 0 {
		return nil // of a socket that has no address
	}
	if len(told) < 2*size+4 {
		return errProxyProtocol
	}
	f.client, _ = netip.AddrFromSlice(told[:size])
	return nil
}
