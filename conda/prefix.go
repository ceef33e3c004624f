package conda

import (
	"bytes"
	"fmt"
)

// Replace puts another prefix in the place of one that conda wrote into a text.
func Replace(data []byte, before, after string) []byte {
	return replace(data, before, func([]byte) []byte { return []byte(after) })
}

// ReplacePadded does so in a program, where every text that holds the prefix ends with a zero and has room to grow: conda's packages are built with a
// prefix of 255 bytes. Nothing in the file moves.
func ReplacePadded(data []byte, before, after string) ([]byte, error) {
	moved := bytes.Clone(data)
	for at := 0; ; {
		n := index(moved[at:], before)
		if n < 0 {
			return moved, nil
		}
		begin := at + n
		end := bytes.IndexByte(moved[begin:], 0)
		if end < 0 {
			return nil, fmt.Errorf("a text with the prefix has no end")
		}
		end += begin
		room := end
		for room < len(moved) && moved[room] == 0 {
			room++
		}
		text := Replace(moved[begin:end], before, after)
		if len(text) >= room-begin {
			return nil, fmt.Errorf("there is no room for the prefix %s", after)
		}
		// Zeros fill what a shorter text leaves; a longer one takes of those that were there.
		for i := range moved[begin : begin+max(len(text), end-begin)] {
			moved[begin+i] = 0
		}
		copy(moved[begin:], text)
		at = begin + max(len(text), 1)
	}
}

// index finds the prefix where it is one: /opt/x/user-1 is no part of /opt/x/user-10.
func index(data []byte, prefix string) int {
	for at := 0; ; {
		n := bytes.Index(data[at:], []byte(prefix))
		if n < 0 {
			return -1
		}
		next := at + n + len(prefix)
		if next >= len(data) || !isNameByte(data[next]) {
			return at + n
		}
		at = next
	}
}

func isNameByte(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b == '-' || b == '_' || b == '.'
}

func replace(data []byte, before string, with func([]byte) []byte) []byte {
	var made bytes.Buffer
	for {
		n := index(data, before)
		if n < 0 {
			made.Write(data)
			return made.Bytes()
		}
		made.Write(data[:n])
		made.Write(with(data[n : n+len(before)]))
		data = data[n+len(before):]
	}
}
