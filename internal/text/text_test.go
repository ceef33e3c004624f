package text

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestDecode(t *testing.T) {
	for name, test := range map[string]struct{ given, want string }{
		"UTF-8":                    {"numpy\n", "numpy\n"},
		"empty":                    {"", ""},
		"UTF-8 with a mark":        {"\xef\xbb\xbfnumpy\n", "numpy\n"},
		"PowerShell":               {"\xff\xfen\x00p\x00\r\x00\n\x00", "np\n"},
		"UTF-16, big end first":    {"\xfe\xff\x00n\x00p\x00\n", "np\n"},
		"UTF-16 without a mark":    {"n\x00p\x00\n\x00#\x00", "np\n#"},
		"UTF-16 BE without a mark": {"\x00n\x00p\x00\n\x00#", "np\n#"},
		"surrogates":               {"\xff\xfe\x3d\xd8\x00\xde", "😀"},
		"Windows line ends":        {"a\r\nb\r\n", "a\nb\n"},
		"old Macs' line ends":      {"a\rb\r", "a\nb\n"},
		"umlauts of Windows":       {"# f\xfcr die Klasse \x96 \x80\n", "# für die Klasse – €\n"},
		"umlauts of UTF-8":         {"# für\n", "# für\n"},
		"only a mark":              {"\xff\xfe", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Decode([]byte(test.given))
			require.NoError(t, err)
			require.Equal(t, test.want, string(got))
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, test := range map[string]struct{ given, says string }{
		"UTF-32":    {"\xff\xfe\x00\x00n\x00\x00\x00", "UTF-32"},
		"a program": {"\x7fELF\x02\x01\x01\x00\x00\x00", "no text"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Decode([]byte(test.given))
			require.ErrorContains(t, err, test.says)
		})
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{"numpy\r\n", "\xff\xfen\x00", "\xef\xbb\xbfa", "\xfe\xff\xd8\x3d", "a\x00b\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := Decode(bytes.Clone(data))
		if err != nil {
			return
		}
		require.True(t, utf8.Valid(got))
		require.False(t, strings.ContainsAny(string(got), "\r\x00"))
		again, err := Decode(got)
		if err == nil && !bytes.HasPrefix(got, []byte("\ufeff")) {
			require.Equal(t, string(got), string(again), "a text that is read twice")
		}
	})
}
