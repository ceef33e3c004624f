package conda

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPrefixInText(t *testing.T) {
	text := "#!/opt/t/user-1/bin/python\nx=/opt/t/user-10/y '/opt/t/user-1' /opt/t/user-1"
	assert.Equal(t, "#!/opt/t/user-12/bin/python\nx=/opt/t/user-10/y '/opt/t/user-12' /opt/t/user-12", string(Replace([]byte(text), "/opt/t/user-1", "/opt/t/user-12")))
}

func TestPrefixInProgram(t *testing.T) {
	pad := strings.Repeat("\x00", 20)
	program := "ELF\x01/opt/t/user-9/lib:/opt/t/user-9/x" + pad + "rest\x00/opt/t/user-90\x00end"
	for _, after := range []string{"/opt/t/user-8", "/opt/t/user-10", "/o"} {
		moved, err := ReplacePadded([]byte(program), "/opt/t/user-9", after)
		require.NoError(t, err)
		assert.Len(t, moved, len(program))
		assert.True(t, bytes.HasPrefix(moved, []byte("ELF\x01"+after+"/lib:"+after+"/x\x00")))
		assert.True(t, bytes.HasSuffix(moved, []byte("\x00rest\x00/opt/t/user-90\x00end")))
		back, err := ReplacePadded(moved, after, "/opt/t/user-9")
		require.NoError(t, err)
		assert.Equal(t, program, string(back))
	}
	_, err := ReplacePadded([]byte(program), "/opt/t/user-9", "/opt/"+strings.Repeat("x", 40))
	require.ErrorContains(t, err, "no room")
	_, err = ReplacePadded([]byte("no end /opt/t/user-9/x"), "/opt/t/user-9", "/opt/t/user-8")
	require.ErrorContains(t, err, "no end")
}

func FuzzReplacePadded(f *testing.F) {
	f.Add([]byte("a/p/1/x\x00\x00\x00"), "/p/1", "/p/22")
	f.Fuzz(func(t *testing.T, data []byte, before, after string) {
		if before == "" || strings.Contains(before+after, "\x00") {
			t.Skip()
		}
		moved, err := ReplacePadded(data, before, after)
		if err == nil && len(moved) != len(data) {
			t.Fatalf("%d bytes became %d", len(data), len(moved))
		}
	})
}
