package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const portsSize = 65535

// Apply makes the table what the plan says, at once or not at all. What the kernel has learnt of users' ports stays. It returns the plan that is in effect: one
// without the slice where the kernel cannot tell processes by it.
func Apply(p Plan) (Plan, error) {
	p = p.tidy()
	plans := []Plan{p}
	if p.Slice != nil {
		plans = append(plans, Plan{Users: p.Users})
	}
	var first error
	for _, plan := range plans {
		for _, anew := range []bool{false, true} { // a table of another release may be in the way
			err := apply(plan, anew)
			if err == nil {
				return plan, nil
			}
			if first == nil {
				first = err
			}
		}
	}
	return Plan{}, first
}

// Remove removes the table, if there is one.
func Remove() error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: Table}) // or there may be none to remove
	conn.DelTable(table)
	return conn.Flush()
}

// Unsupported says in words why the table cannot be made here, or returns "" for another error.
func Unsupported(err error) string {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "this machine does not let it set up a packet filter (containers often do not)"
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP),
		errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOSYS):
		return "this kernel has no nf_tables, or not all that is needed of it"
	}
	return ""
}

func apply(p Plan, anew bool) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: Table})
	if anew {
		conn.DelTable(table)
		table = conn.AddTable(table)
	}
	users := &nftables.Set{Table: table, Name: usersSet, KeyType: nftables.TypeUID, KeyByteOrder: binaryutil.NativeEndian}
	ports := &nftables.Set{
		Table: table, Name: portsSet, KeyType: nftables.TypeInetService, KeyByteOrder: binaryutil.BigEndian,
		Dynamic: true, HasTimeout: true, Timeout: portsKept, Size: portsSize,
	}
	if err := errors.Join(conn.AddSet(users, nil), conn.AddSet(ports, nil)); err != nil {
		return err
	}
	conn.FlushSet(users)
	for part := range chunks(p.Users) {
		if err := conn.SetAddElements(users, part); err != nil {
			return err
		}
	}
	addRules(conn, table, p, users, ports)
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("cannot set up the packet filter: %w", err)
	}
	return nil
}

// chunks yields the elements of a set in parts that a message can hold.
func chunks(users []uint32) func(func([]nftables.SetElement) bool) {
	const most = 1000
	return func(yield func([]nftables.SetElement) bool) {
		for len(users) > 0 {
			part := []nftables.SetElement{}
			for _, user := range users[:min(most, len(users))] {
				part = append(part, nftables.SetElement{Key: binaryutil.NativeEndian.PutUint32(user)})
			}
			users = users[len(part):]
			if !yield(part) {
				return
			}
		}
	}
}

func addRules(conn *nftables.Conn, table *nftables.Table, p Plan, users, ports *nftables.Set) {
	chain := func(name string, hook *nftables.ChainHook) *nftables.Chain {
		accept := nftables.ChainPolicyAccept
		made := conn.AddChain(&nftables.Chain{Name: name, Table: table, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: nftables.ChainPriorityFilter, Policy: &accept})
		conn.FlushChain(made)
		return made
	}
	add := func(chain *nftables.Chain, parts ...[]expr.Any) {
		rule := &nftables.Rule{Table: table, Chain: chain}
		for _, part := range parts {
			rule.Exprs = append(rule.Exprs, part...)
		}
		conn.AddRule(rule)
	}
	arriving, answers := chain(inChain, nftables.ChainHookInput), chain(outChain, nftables.ChainHookOutput)
	drop := []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}}
	begins := tcpFlags(flagFIN|flagSYN|flagRST|flagACK, flagSYN)

	add(arriving, onLoopback(expr.MetaKeyIIFNAME))
	if p.Slice != nil {
		add(arriving, begins, []expr.Any{
			&expr.Socket{Key: expr.SocketKeyCgroupv2, Level: uint32(p.Slice.Level), Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.NativeEndian.AppendUint64(nil, p.Slice.ID)},
		}, drop)
	}
	add(arriving, begins, []expr.Any{port(2), &expr.Lookup{SourceRegister: 1, SetName: ports.Name, SetID: ports.ID}}, drop)

	add(answers, onLoopback(expr.MetaKeyOIFNAME))
	// An answer that has no owner is one that the kernel makes when a port is flooded (SYN cookies). By then the port is known.
	add(answers, tcpFlags(flagSYN|flagACK, flagSYN|flagACK), []expr.Any{
		&expr.Meta{Key: expr.MetaKeySKUID, Register: 1},
		&expr.Lookup{SourceRegister: 1, SetName: users.Name, SetID: users.ID},
		port(0),
		&expr.Dynset{SrcRegKey: 1, SetName: ports.Name, SetID: ports.ID, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: portsKept},
	}, drop)
}

func onLoopback(key expr.MetaKey) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, loopback)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name}, &expr.Verdict{Kind: expr.VerdictAccept}}
}

const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	_
	flagACK
)

// tcpFlags matches TCP segments of whose flags those in mask are just these.
func tcpFlags(mask, want byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{mask}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{want}},
	}
}

// port loads the port at an offset of the TCP header.
func port(offset uint32) expr.Any {
	return &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2}
}

// sliceAt returns the control group at a path, where it can be told by nf_tables.
func sliceAt(root, path string, level int) *Slice {
	var system unix.Statfs_t
	if unix.Statfs(root, &system) != nil || system.Type != unix.CGROUP2_SUPER_MAGIC {
		return nil
	}
	info, err := os.Stat(root + "/" + path)
	if err != nil {
		return nil
	}
	status, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return &Slice{Path: path, Level: level, ID: status.Ino}
}
