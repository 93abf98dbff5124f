package syscalls

import (
	"encoding/binary"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/mm"

	"golang.org/x/sys/unix"
)

func processMemoryRows() []Row {
	return []Row{
		partial(279, "move_pages", sysMovePages, nodeCaveat+"; another process's mapped pages count as present",
			P("pid", Dec), P("count", Unsigned), P("pages", Addrs).counts(-1), P("nodes", Ints).counts(-2), P("status", OutInts).counts(-3), PF("flags", Flags, mbindFlags)),
		partial(440, "process_madvise", sysProcessMadvise, "advice about another process's memory is checked and does nothing",
			P("pidfd", FD), P("iov", RangeVec), P("iovcnt", Unsigned), PF("advice", Enum, madviceValues), P("flags", Hex)),
		partial(448, "process_mrelease", sysProcessMrelease, "memory is released as fast as the host does it anyway",
			P("pidfd", FD), P("flags", Hex)),
	}
}

// remoteMemory returns a process's memory for a call that needs the right to
// trace it. nil for one that has none left.
func remoteMemory(t *kernel.Task, g *kernel.ThreadGroup) (*mm.MemoryManager, error) {
	if g == t.ThreadGroup() {
		return t.MM(), nil
	}
	for _, o := range g.Tasks() {
		if err := t.MayTrace(o); err != nil {
			return nil, unix.EPERM
		}
		if m, _, _ := o.Resources(); m != nil {
			return m, nil
		}
	}
	return nil, nil
}

func sysProcessMadvise(t *kernel.Task, a kernel.Args) (uintptr, error) {
	advice := a.Int(3)
	if a.Uint(4) != 0 {
		return 0, unix.EINVAL
	}
	spans, err := readSpans(t, a[1], a[2])
	if err != nil {
		return 0, err
	}
	g, err := pidfdGroup(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	m, err := remoteMemory(t, g)
	if err != nil {
		return 0, err
	}
	if m == nil {
		return 0, unix.ESRCH
	}
	own := m == t.MM()
	if !own {
		switch advice {
		case unix.MADV_COLD, unix.MADV_PAGEOUT, unix.MADV_WILLNEED:
		default:
			return 0, unix.EINVAL
		}
		if !t.Credentials().Can(unix.CAP_SYS_NICE) {
			return 0, unix.EPERM
		}
	}
	var done uintptr
	for _, s := range spans {
		switch {
		case own:
			err = m.Madvise(t.Context(), s.addr, s.length, advice)
		case s.addr&mm.PageMask != 0:
			err = unix.EINVAL
		case m.CheckRange(s.addr, s.length, false) != nil:
			err = unix.ENOMEM
		}
		if err != nil {
			break
		}
		done += uintptr(s.length)
	}
	if done > 0 {
		return done, nil
	}
	return 0, err
}

func sysProcessMrelease(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a.Uint(1) != 0 {
		return 0, unix.EINVAL
	}
	g, err := pidfdGroup(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	switch {
	case len(g.Tasks()) == 0:
		return 0, unix.ESRCH
	case !g.Ending():
		return 0, unix.EINVAL
	}
	return 0, nil
}

// movePagesChunk is how many pages move_pages(2) looks at at a time.
const movePagesChunk = 512

func sysMovePages(t *kernel.Task, a kernel.Args) (uintptr, error) {
	const move, moveAll = 2, 4 // MPOL_MF_MOVE, MPOL_MF_MOVE_ALL
	flags := a.Uint(5)
	if flags&^(move|moveAll) != 0 {
		return 0, unix.EINVAL
	}
	if flags&moveAll != 0 && !t.Credentials().Can(unix.CAP_SYS_NICE) {
		return 0, unix.EPERM
	}
	g, err := processOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	m, err := remoteMemory(t, g)
	if err != nil {
		return 0, err
	}
	if m == nil {
		return 0, unix.EINVAL
	}
	var pages [movePagesChunk * 8]byte
	var nodes, status [movePagesChunk * 4]byte
	le := binary.LittleEndian
	for done := uint64(0); done < a[1]; done += movePagesChunk {
		if t.Interrupted() {
			return 0, abi.ERESTARTSYS
		}
		n := min(a[1]-done, movePagesChunk)
		if _, err := t.CopyIn(a[2]+done*8, pages[:n*8]); err != nil {
			return 0, err
		}
		if a[3] != 0 {
			if _, err := t.CopyIn(a[3]+done*4, nodes[:n*4]); err != nil {
				return 0, err
			}
		}
		for i := range n {
			if a[3] != 0 && le.Uint32(nodes[i*4:]) != 0 {
				return 0, unix.ENODEV
			}
			le.PutUint32(status[i*4:], uint32(nodeOfPage(t, m, le.Uint64(pages[i*8:]))))
		}
		if _, err := t.CopyOut(a[4]+done*4, status[:n*4]); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// nodeOfPage is on which node the page at an address is: 0, or an errno below
// zero.
func nodeOfPage(t *kernel.Task, m *mm.MemoryManager, addr uint64) int32 {
	if addr > mm.TaskSize || m.CheckRange(addr, 1, false) != nil {
		return -int32(unix.EFAULT)
	}
	if m != t.MM() {
		return 0
	}
	var resident [1]byte
	if _, err := m.Resident(t.Context(), addr&^mm.PageMask, resident[:]); err != nil || resident[0]&1 == 0 {
		return -int32(unix.ENOENT)
	}
	return 0
}
