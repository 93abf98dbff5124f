package syscalls

import (
	"strconv"

	"coffer/internal/sentry/kernel"
)

// Tracer writes what --trace shows.
type Tracer struct{}

func (tb *Table) traced(tr *Tracer, t *kernel.Task, nr uint64, args kernel.Args) (uintptr, error) {
	return tb.call(t, nr, args)
}

// name returns the call's name, or syscall_0x1d7 as strace(1) writes it.
func (tb *Table) name(nr uint64) string {
	if r := tb.Row(nr); r != nil {
		return r.Name
	}
	return "syscall_0x" + strconv.FormatUint(nr, 16)
}
