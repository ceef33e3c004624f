// Package text reads text files as people's editors and shells write them. It knows encodings and line ends, and nothing of what a text means.
package text

import (
	"bytes"
	"errors"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

var (
	errUTF32  = errors.New("it is in UTF-32: save it as UTF-8")
	errBinary = errors.New("it is no text: save it as UTF-8")
)

// Decode returns a text as UTF-8 without a byte order mark and with line feeds as line ends. It reads UTF-8, UTF-16 (as PowerShell's > writes it), also
// without its byte order mark, and takes what is neither for Windows-1252. The line ends may be those of Windows or of old Macs. A text with NUL
// characters is refused: it is something else.
func Decode(data []byte) ([]byte, error) {
	if bytes.HasPrefix(data, []byte{0xFF, 0xFE, 0, 0}) || bytes.HasPrefix(data, []byte{0, 0, 0xFE, 0xFF}) {
		return nil, errUTF32
	}
	decoded, err := decoder(data).Bytes(data)
	if err != nil {
		return nil, err
	}
	if bytes.IndexByte(decoded, 0) >= 0 {
		return nil, errBinary
	}
	return LineFeeds(decoded), nil
}

// LineFeeds returns a text with a line feed at the end of each line.
func LineFeeds(data []byte) []byte {
	if bytes.IndexByte(data, '\r') < 0 {
		return data
	}
	return bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
}

func decoder(data []byte) *encoding.Decoder {
	switch marked := bytes.HasPrefix(data, []byte{0xFF, 0xFE}) || bytes.HasPrefix(data, []byte{0xFE, 0xFF}); {
	case marked:
		return unicode.UTF16(unicode.LittleEndian, unicode.ExpectBOM).NewDecoder()
	case looksUTF16(data, 1):
		return unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM).NewDecoder()
	case looksUTF16(data, 0):
		return unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM).NewDecoder()
	case utf8.Valid(data):
		return unicode.UTF8BOM.NewDecoder()
	}
	return charmap.Windows1252.NewDecoder()
}

// looksUTF16 reports whether every second byte of the beginning, from the given place on, is NUL and no other is: ASCII in UTF-16.
func looksUTF16(data []byte, nulls int) bool {
	if len(data) < 4 || len(data)%2 != 0 {
		return false
	}
	for i, b := range data[:min(len(data), 64)&^1] {
		if (b == 0) != (i%2 == nulls) {
			return false
		}
	}
	return true
}
