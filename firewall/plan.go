// Package firewall keeps users' processes from taking connections from outside: over plain HTTP a browser sends the hub's cookies to every port of the hub's name.
//
// It has a table of nftables for itself, inet tljh, and touches nothing else. A Plan says what is in the table; Apply puts it into the kernel.
package firewall

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// Table is the name of the table.
	Table = "tljh"

	usersSet  = "users"
	portsSet  = "ports"
	inChain   = "arriving"
	outChain  = "answers"
	loopback  = "lo"
	portsKept = 5 * time.Minute
)

// Plan is what the table holds. Users' processes are known in two ways, of which one is enough: they run in the slice of users' servers, or as a user's account.
type Plan struct {
	Users []uint32 // user IDs of users' accounts
	Slice *Slice   // nil where the kernel cannot tell processes by their slice
}

// Slice is the control group (v2) of users' servers.
type Slice struct {
	Path  string // below the root of control groups
	Level int    // how deep that is
	ID    uint64
}

// tidy returns the plan with each user once, in order.
func (p Plan) tidy() Plan {
	users := slices.Clone(p.Users)
	slices.Sort(users)
	p.Users = slices.Compact(users)
	return p
}

// String returns the table in nft's language.
func (p Plan) String() string {
	p = p.tidy()
	var text strings.Builder
	line := func(format string, values ...any) { fmt.Fprintf(&text, format+"\n", values...) }
	line("table inet %s {", Table)
	line("\tset %s {\n\t\ttype uid", usersSet)
	if len(p.Users) > 0 {
		line("\t\telements = { %s }", strings.Trim(strings.ReplaceAll(fmt.Sprint(p.Users), " ", ", "), "[]"))
	}
	line("\t}\n\tset %s {\n\t\ttype inet_service\n\t\tsize %d\n\t\tflags dynamic,timeout\n\t\ttimeout %dm\n\t}", portsSet, portsSize, int(portsKept.Minutes()))
	line("\tchain %s {\n\t\ttype filter hook input priority filter; policy accept;", inChain)
	line("\t\tiifname %q accept", loopback)
	if p.Slice != nil {
		line("\t\ttcp flags & (fin | syn | rst | ack) == syn socket cgroupv2 level %d %q counter drop", p.Slice.Level, p.Slice.Path)
	}
	line("\t\ttcp flags & (fin | syn | rst | ack) == syn tcp dport @%s counter drop", portsSet)
	line("\t}\n\tchain %s {\n\t\ttype filter hook output priority filter; policy accept;", outChain)
	line("\t\toifname %q accept", loopback)
	line("\t\ttcp flags & (syn | ack) == syn | ack meta skuid @%s update @%s { tcp sport } counter drop", usersSet, portsSet)
	line("\t}\n}")
	return text.String()
}
