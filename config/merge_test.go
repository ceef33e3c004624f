package config

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// layouts write a list of users, each with a remark of its own, in the ways that people do; between them, remarks in lines of their own.
var layouts = map[string]func(b *strings.Builder, names []string){
	"a block": func(b *strings.Builder, names []string) {
		b.WriteString("  allowed: # all of them\n")
		for _, name := range names {
			fmt.Fprintf(b, "    # above %s\n    - %s # own %s\n", name, name, name)
		}
	},
	"brackets": func(b *strings.Builder, names []string) {
		b.WriteString("  allowed: [ # all of them\n")
		for n, name := range names {
			comma := map[bool]string{true: ",", false: ""}[n < len(names)-1]
			fmt.Fprintf(b, "    # above %s\n    %s%s # own %s\n", name, name, comma, name)
		}
		b.WriteString("    ]\n")
	},
	"brackets with a comma at the end": func(b *strings.Builder, names []string) {
		b.WriteString("  allowed: [ # all of them\n")
		for _, name := range names {
			fmt.Fprintf(b, "    # above %s\n    %s, # own %s\n", name, name, name)
		}
		b.WriteString("  ]\n")
	},
}

// Whatever becomes of a list: who stays keeps the remark in the line, who goes takes it along, and remarks in lines of their own stay.
func TestRemarksOfListsStay(t *testing.T) {
	const others = "# the end\nhub:\n  name: x # of the hub\n"
	random := rand.New(rand.NewPCG(uint64(*seed), 7))
	for layout, write := range layouts {
		t.Run(layout, func(t *testing.T) {
			for range 200 {
				old := []string{"ann", "bob", "cem", "dan", "eve"}[:1+random.IntN(5)]
				names := slices.Concat(old, []string{"xi", "yo"}[:random.IntN(3)])
				random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
				names = names[:random.IntN(len(names)+1)]
				var b strings.Builder
				b.WriteString("users:\n")
				write(&b, old)
				b.WriteString(others)
				edited, err := Set([]byte(b.String()), "users.allowed", "["+strings.Join(names, ", ")+"]")
				require.NoError(t, err, "%s to %v", b.String(), names)
				require.True(t, bytes.HasSuffix(edited, []byte(others)), "%s", edited)
				text := string(edited)
				for _, name := range old {
					stays := slices.Contains(names, name)
					assert.Equal(t, stays, strings.Contains(text, "# own "+name), "%s of %v\n%s", name, names, text)
					assert.Contains(t, text, "# above "+name+"\n", "%v", names)
					if stays {
						assert.Regexp(t, name+`,? # own `+name+"\n", text, "%v", names)
					}
				}
				if !assert.Contains(t, text, "# all of them\n", "%v", names) || t.Failed() {
					return
				}
			}
		})
	}
}
