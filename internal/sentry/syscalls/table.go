package syscalls

import (
	"fmt"
	"sync/atomic"
)

// family is a list of rows under the group that --trace-filter=@group selects.
// Several lists may share a group.
type family struct {
	group string
	rows  func() []Row
}

// families are the rows of all calls: one line per family file. The groups are
// desc, file, ipc, memory, network, process, signal, system and time. Rows are made
// when a kernel is: all other roles of the program start without them.
var families = []family{
	{"ipc", futexRows},
	{"process", identityRows},
	{"process", limitRows},
	{"process", prctlRows},
	{"process", seccompRows},
	{"process", ptraceRows},
	{"process", schedRows},
	{"process", rseqRows},
	{"system", systemRows},
	{"time", timeRows},
	{"time", timerRows},
	{"desc", readWriteRows},
	{"desc", sendfileRows},
	{"desc", spliceRows},
	{"desc", syncRows},
	{"desc", getdentsRows},
	{"desc", ioctlRows},
	{"memory", mmapRows},
	{"memory", memlockRows},
	{"memory", mempolicyRows},
	{"memory", membarrierRows},
	{"memory", pkeyRows},
	{"memory", processVMRows},
	{"process", cloneRows},
	{"process", namespaceRows},
	{"file", mountAPIRows},
	{"file", statmountRows},
	{"process", execRows},
	{"process", exitRows},
	{"process", waitRows},
	{"process", processRows},
	{"signal", signalRows},
	{"signal", killRows},
	{"desc", pipeRows},
	{"desc", eventfdRows},
	{"desc", timerfdRows},
	{"desc", signalfdRows},
	{"desc", epollRows},
	{"desc", pollRows},
	{"file", inotifyRows},
	{"network", socketRows},
	{"network", socketOptionRows},
	{"network", socketMessageRows},
	{"ipc", sysvshmRows},
	{"ipc", sysvsemRows},
	{"ipc", sysvmsgRows},
	{"ipc", mqueueRows},
	{"file", openRows},
	{"desc", fcntlRows},
	{"file", pathRows},
	{"file", statRows},
	{"file", attrRows},
	{"file", xattrRows},
	{"file", xattrAtRows},
	{"file", fileHandleRows},
	{"file", fileSystemRows},
	{"desc", cachestatRows},
	{"memory", processMemoryRows},
	{"process", lsmRows},
	{"file", mountRows},
	{"desc", memfdRows},
}

// MaxNumber is the highest number of a call in Linux 6.18's amd64 table.
const MaxNumber = 469

// tableSize leaves no number of Linux's table out.
const tableSize = MaxNumber + 1

// Table is the system call table of one kernel. It implements
// kernel.Syscalls and is safe for concurrent use.
type Table struct {
	rows   [tableSize]*Row
	groups [tableSize]string
	// tracer is nil while tracing is off.
	tracer atomic.Pointer[Tracer]
	// unanswered counts calls that got ENOSYS because there is no function,
	// by number; the last element counts numbers beyond the table.
	unanswered [tableSize + 1]atomic.Uint64
}

// New returns a table of all families' rows. It panics if two rows share a
// number or a name, or a row contradicts itself: such a table must not run.
func New() *Table {
	tb := new(Table)
	names := make(map[string]bool)
	for _, f := range families {
		rows := f.rows()
		for i := range rows {
			tb.add(&rows[i], f.group, names)
		}
	}
	missing := missingRows()
	for i := range missing {
		if r := &missing[i]; tb.rows[r.Number] == nil {
			tb.add(r, groupOfMissing, names)
		}
	}
	return tb
}

// groupOfMissing is the group of the calls that no family claims.
const groupOfMissing = "missing"

func (tb *Table) add(r *Row, group string, names map[string]bool) {
	switch {
	case r.Number >= tableSize:
		panic(fmt.Sprintf("syscalls: %s has number %d, beyond Linux's table", r.Name, r.Number))
	case tb.rows[r.Number] != nil:
		panic(fmt.Sprintf("syscalls: %s and %s share number %d", tb.rows[r.Number].Name, r.Name, r.Number))
	case names[r.Name]:
		panic(fmt.Sprintf("syscalls: two rows are named %s", r.Name))
	case r.Support != Missing && r.Fn == nil:
		panic(fmt.Sprintf("syscalls: %s has no function", r.Name))
	case r.Support == Partial && r.Caveat == "":
		panic(fmt.Sprintf("syscalls: %s is partial without a caveat", r.Name))
	case len(r.Params) > 6:
		panic(fmt.Sprintf("syscalls: %s has %d parameters", r.Name, len(r.Params)))
	}
	names[r.Name] = true
	tb.rows[r.Number] = r
	tb.groups[r.Number] = group
}

// Row returns the row of call number nr, or nil.
func (tb *Table) Row(nr uint64) *Row {
	if nr >= tableSize {
		return nil
	}
	return tb.rows[nr]
}

// Rows returns all rows by number.
func (tb *Table) Rows() []*Row {
	var rows []*Row
	for _, r := range tb.rows {
		if r != nil {
			rows = append(rows, r)
		}
	}
	return rows
}
