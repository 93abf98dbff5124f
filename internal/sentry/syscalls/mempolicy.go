package syscalls

import (
	"encoding/binary"

	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/mm"

	"golang.org/x/sys/unix"
)

// There is one memory node, number 0: policies are checked, and change nothing.
const nodeCaveat = "there is one memory node; policies are checked and change nothing"

func mempolicyRows() []Row {
	return []Row{
		partial(237, "mbind", sysMbind, nodeCaveat, P("addr", Addr), P("len", Unsigned), PF("mode", Flags, policyModes),
			P("nodemask", NodeSet), P("maxnode", Unsigned), PF("flags", Flags, mbindFlags)),
		partial(238, "set_mempolicy", sysSetMempolicy, nodeCaveat, PF("mode", Flags, policyModes), P("nodemask", NodeSet), P("maxnode", Unsigned)),
		partial(239, "get_mempolicy", sysGetMempolicy, nodeCaveat, P("mode", OutInt), P("nodemask", OutNodeSet), P("maxnode", Unsigned),
			P("addr", Addr), PF("flags", Flags, policyFlags)),
		partial(256, "migrate_pages", sysMigratePages, nodeCaveat, P("pid", Dec), P("maxnode", Unsigned), P("old_nodes", NodeSet).counts(-1), P("new_nodes", NodeSet).counts(-2)),
		partial(450, "set_mempolicy_home_node", sysSetHomeNode, nodeCaveat, P("start", Addr), P("len", Unsigned), P("home_node", Unsigned), P("flags", Hex)),
	}
}

// Policies, mbind(2).
const (
	policyDefault    = 0
	policyPreferred  = 1
	policyBind       = 2
	policyInterleave = 3
	policyLocal      = 4
	policyManyPref   = 5
	policyWeighted   = 6
	policyModeFlags  = 0xe000 // MPOL_F_STATIC_NODES, RELATIVE_NODES, NUMA_BALANCING
)

var policyModes = &FlagSet{Mask: 0xffff &^ policyModeFlags, Values: []FlagName{
	{policyDefault, "MPOL_DEFAULT"}, {policyPreferred, "MPOL_PREFERRED"}, {policyBind, "MPOL_BIND"},
	{policyInterleave, "MPOL_INTERLEAVE"}, {policyLocal, "MPOL_LOCAL"}, {policyManyPref, "MPOL_PREFERRED_MANY"},
	{policyWeighted, "MPOL_WEIGHTED_INTERLEAVE"},
}, Names: []FlagName{
	{0x8000, "MPOL_F_STATIC_NODES"}, {0x4000, "MPOL_F_RELATIVE_NODES"}, {0x2000, "MPOL_F_NUMA_BALANCING"},
}}

var (
	mbindFlags = &FlagSet{Names: []FlagName{
		{1, "MPOL_MF_STRICT"}, {2, "MPOL_MF_MOVE"}, {4, "MPOL_MF_MOVE_ALL"},
	}}
	// policyFlags are those of get_mempolicy(2).
	policyFlags = &FlagSet{Names: []FlagName{
		{1, "MPOL_F_NODE"}, {2, "MPOL_F_ADDR"}, {4, "MPOL_F_MEMS_ALLOWED"},
	}}
)

// maxNodes is how many bits a node mask may have, as a page of them on Linux.
const maxNodes = mm.PageSize * 8

// readNodes reads a node mask of maxnode-1 bits. EINVAL if it names a node
// beyond 63 or is too long.
func readNodes(t *kernel.Task, addr, maxnode uint64) (uint64, error) {
	if addr == 0 || maxnode <= 1 {
		return 0, nil
	}
	bits := maxnode - 1
	if bits > maxNodes {
		return 0, unix.EINVAL
	}
	buf := make([]byte, (bits+63)/64*8)
	if _, err := t.CopyIn(addr, buf); err != nil {
		return 0, err
	}
	for _, b := range buf[8:] {
		if b != 0 {
			return 0, unix.EINVAL
		}
	}
	mask := binary.LittleEndian.Uint64(buf)
	if bits < 64 {
		mask &= 1<<bits - 1
	}
	return mask, nil
}

// checkPolicy checks a mode with its nodes.
func checkPolicy(t *kernel.Task, mode uint32, addr, maxnode uint64) error {
	nodes, err := readNodes(t, addr, maxnode)
	if err != nil {
		return err
	}
	switch mode &^ policyModeFlags {
	case policyDefault, policyLocal:
		if nodes != 0 {
			return unix.EINVAL
		}
	case policyPreferred:
		if nodes != 0 && nodes&1 == 0 {
			return unix.EINVAL
		}
	case policyBind, policyInterleave, policyManyPref, policyWeighted:
		if nodes&1 == 0 {
			return unix.EINVAL
		}
	default:
		return unix.EINVAL
	}
	return nil
}

func sysSetMempolicy(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return 0, checkPolicy(t, a.Uint(0), a[1], a[2])
}

func sysMbind(t *kernel.Task, a kernel.Args) (uintptr, error) {
	const known = 7 // MPOL_MF_STRICT | MPOL_MF_MOVE | MPOL_MF_MOVE_ALL
	start, length := a[0], a[1]
	if a[5]&^known != 0 || start&mm.PageMask != 0 {
		return 0, unix.EINVAL
	}
	if a[5]&4 != 0 && !t.Credentials().Can(unix.CAP_SYS_NICE) {
		return 0, unix.EPERM
	}
	if err := checkPolicy(t, a.Uint(2), a[3], a[4]); err != nil {
		return 0, err
	}
	end := start + (length+mm.PageMask)&^mm.PageMask
	if end < start {
		return 0, unix.EINVAL
	}
	if end > start && a.Uint(2) != policyDefault && !t.MM().Mapped(start, end) {
		return 0, unix.EFAULT
	}
	return 0, nil
}

func sysGetMempolicy(t *kernel.Task, a kernel.Args) (uintptr, error) {
	const node, addr, allowed = 1, 2, 4 // MPOL_F_NODE, MPOL_F_ADDR, MPOL_F_MEMS_ALLOWED
	flags := a[4]
	switch {
	case flags&^(node|addr|allowed) != 0,
		a[1] != 0 && (a[2] == 0 || a[2] > maxNodes),
		flags&allowed != 0 && flags != allowed,
		flags&addr == 0 && a[3] != 0,
		flags&(node|addr) == node: // only for an interleaving policy
		return 0, unix.EINVAL
	}
	if flags&addr != 0 {
		if !t.MM().Mapped(a[3], a[3]+1) {
			return 0, unix.EFAULT
		}
	}
	// The mode is MPOL_DEFAULT, the node 0: the same word.
	if a[0] != 0 && flags&allowed == 0 {
		if err := t.CopyOutUint32(a[0], 0); err != nil {
			return 0, err
		}
	}
	if a[1] == 0 {
		return 0, nil
	}
	mask := make([]byte, (a[2]+63)/64*8)
	if flags&allowed != 0 {
		mask[0] = 1
	}
	_, err := t.CopyOut(a[1], mask)
	return 0, err
}

func sysMigratePages(t *kernel.Task, a kernel.Args) (uintptr, error) {
	for _, addr := range [...]uint64{a[2], a[3]} {
		if _, err := readNodes(t, addr, a[1]); err != nil {
			return 0, err
		}
	}
	if pid := a.Int(0); pid != 0 && t.PIDs().ThreadGroup(pid) == nil {
		return 0, unix.ESRCH
	}
	return 0, nil
}

func sysSetHomeNode(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[0]&mm.PageMask != 0 || a[3] != 0 || a[2] != 0 || a[0]+a[1] < a[0] {
		return 0, unix.EINVAL
	}
	return 0, unix.ENOENT // no mapping has a policy of its own
}
