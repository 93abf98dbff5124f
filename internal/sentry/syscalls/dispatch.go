package syscalls

import (
	"strconv"

	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

// Dispatch implements kernel.Syscalls: it runs call number nr for t. As on
// Linux only the low 32 bits of the register count.
func (tb *Table) Dispatch(t *kernel.Task, nr uint64, args kernel.Args) (uintptr, error) {
	nr = uint64(uint32(nr))
	if tr := tb.tracer.Load(); tr != nil {
		return tb.traced(tr, t, nr, args)
	}
	return tb.call(t, nr, args)
}

// Describe implements kernel.Syscalls: it renders a call as its name and its
// arguments in hexadecimal.
func (tb *Table) Describe(nr uint64, args kernel.Args) string {
	nr = uint64(uint32(nr))
	n := len(args)
	if r := tb.Row(nr); r != nil {
		n = len(r.Params)
	}
	b := append([]byte(tb.name(nr)), '(')
	for i, a := range args[:n] {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = strconv.AppendUint(append(b, "0x"...), a, 16)
	}
	return string(append(b, ')'))
}

func (tb *Table) call(t *kernel.Task, nr uint64, args kernel.Args) (uintptr, error) {
	if t.Filtered() {
		if v, answered, err := t.FilterCall(&nr, &args); answered {
			return v, err
		}
	}
	if nr < tableSize {
		if r := tb.rows[nr]; r != nil && r.Fn != nil {
			return r.Fn(t, args)
		}
		tb.unanswered[nr].Add(1)
		return 0, unix.ENOSYS
	}
	tb.unanswered[tableSize].Add(1)
	return 0, unix.ENOSYS
}

// Unanswered is how often a call was made that has no function.
type Unanswered struct {
	// Number is -1 for all numbers that Linux does not have either.
	Number int
	Name   string
	Count  uint64
}

// Unanswered reports the calls that were answered with ENOSYS because the
// kernel lacks them, by number.
func (tb *Table) Unanswered() []Unanswered {
	var list []Unanswered
	for nr := range tb.unanswered {
		n := tb.unanswered[nr].Load()
		switch {
		case n == 0:
		case nr == tableSize:
			list = append(list, Unanswered{-1, "unknown", n})
		default:
			list = append(list, Unanswered{nr, tb.name(uint64(nr)), n})
		}
	}
	return list
}
