package syscalls

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"sync"
	"time"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

// TraceFormat is how a Tracer writes a call.
type TraceFormat int

// The formats.
const (
	// TraceText is one readable line, like strace(1)'s.
	TraceText TraceFormat = iota
	// TraceJSON is one JSON object a line; see appendJSON.
	TraceJSON
)

// DefaultTraceString is how many bytes of a string or buffer are shown.
const DefaultTraceString = 32

// maxTraceString bounds TraceOptions.MaxString: it is copied for each call.
const maxTraceString = 64 << 10

// TraceOptions say what is traced and how.
type TraceOptions struct {
	Format TraceFormat
	// Filter selects calls; see NewFilter. The zero value passes all.
	Filter Filter
	// MaxString is how many bytes of strings and buffers are shown; 0 stands
	// for DefaultTraceString. Paths are always shown in full.
	MaxString int
}

// Tracer writes a line for each system call when it has returned. Lines of
// tasks that run at once never mix: each is one Write.
type Tracer struct {
	opt TraceOptions

	mu  sync.Mutex
	out io.Writer
}

// NewTracer returns a Tracer that writes to out.
func NewTracer(out io.Writer, opt TraceOptions) *Tracer {
	if opt.MaxString <= 0 {
		opt.MaxString = DefaultTraceString
	}
	opt.MaxString = min(opt.MaxString, maxTraceString)
	return &Tracer{opt: opt, out: out}
}

// SetTracer starts tracing, or ends it with nil. Calls that are running are not
// shown.
func (tb *Table) SetTracer(tr *Tracer) { tb.tracer.Store(tr) }

// record is one call as it is traced. Records are pooled.
type record struct {
	row    *Row // nil for numbers without a name
	nr     uint64
	params [6]Param // what the arguments are in this call
	args   [6][]byte
	n      int // how many args

	start    time.Time
	duration time.Duration
	result   uintptr
	err      error

	line []byte
	// mem is what guest memory is copied to for rendering.
	mem []byte
}

var records = sync.Pool{New: func() any { return new(record) }}

// traced runs a call and writes it if the filter lets it pass.
func (tb *Table) traced(tr *Tracer, t *kernel.Task, nr uint64, args kernel.Args) (uintptr, error) {
	if !tr.opt.Filter.passes(nr) {
		return tb.call(t, nr, args)
	}
	r := records.Get().(*record)
	defer records.Put(r)
	r.row, r.nr, r.n = tb.Row(nr), nr, 6
	if r.row != nil {
		r.n = len(r.row.Params)
		if r.row.Params == nil && r.row.Fn == nil {
			r.n = 6
		}
	}
	// The memory of a program that calls execve is another afterwards.
	view := guestView{t: t, from: t, max: tr.opt.MaxString, args: args}
	for i := range r.n {
		r.params[i] = r.param(i).resolve(args)
		if p := r.params[i]; !p.Kind.isOut() {
			r.args[i] = view.append(r.args[i][:0], &r.mem, p, i)
		}
	}
	r.start = time.Now()
	r.result, r.err = tb.call(t, nr, args)
	r.duration = time.Since(r.start)
	result, err := r.result, r.err

	if tr.opt.Filter.errorsOnly && (err == nil || isRestart(err)) {
		return result, err
	}
	view.returned, view.result, view.failed = true, result, err != nil
	for i := range r.n {
		switch p := r.params[i]; {
		case p.Kind.isOut():
			r.args[i] = view.append(r.args[i][:0], &r.mem, p, i)
		case p.Kind.isInOut() && err == nil:
			// What the call changed: "[28] => [2]".
			r.line = view.append(r.line[:0], &r.mem, p, i)
			if !bytes.Equal(r.line, r.args[i]) {
				r.args[i] = append(append(r.args[i], " => "...), r.line...)
			}
		}
	}
	// What is shown as nothing is no argument of this call.
	for r.n > 0 && len(r.args[r.n-1]) == 0 {
		r.n--
	}
	switch tr.opt.Format {
	case TraceJSON:
		r.line = tb.appendJSON(r.line[:0], r, t)
	default:
		r.line = tb.appendText(r.line[:0], r, t)
	}
	tr.mu.Lock()
	tr.out.Write(r.line) // nobody to tell of an error
	tr.mu.Unlock()
	return result, err
}

// param returns the row's parameter i: in hex if nothing is known.
func (r *record) param(i int) Param {
	if r.row == nil || i >= len(r.row.Params) {
		return Param{Kind: Hex}
	}
	return r.row.Params[i]
}

// name returns the call's name, or syscall_0x1d7 as strace(1) writes it.
func (tb *Table) name(nr uint64) string {
	if r := tb.Row(nr); r != nil {
		return r.Name
	}
	return "syscall_0x" + strconv.FormatUint(nr, 16)
}

// appendText renders
//
//	[12] openat(AT_FDCWD, "/etc/passwd", O_RDONLY) = 3</etc/passwd> <0.000012>
func (tb *Table) appendText(b []byte, r *record, t *kernel.Task) []byte {
	b = append(b, '[')
	b = strconv.AppendInt(b, int64(t.TID()), 10)
	b = append(b, "] "...)
	b = append(b, tb.name(r.nr)...)
	b = append(b, '(')
	for i := range r.n {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, r.args[i]...)
	}
	b = append(b, ") = "...)
	b = r.appendResult(b, t)
	if tb.lacks(r.row) {
		b = append(b, " [not implemented]"...)
	}
	b = append(b, " <"...)
	b = strconv.AppendFloat(b, r.duration.Seconds(), 'f', 6, 64)
	return append(b, ">\n"...)
}

// lacks reports whether the kernel has no function for a row.
func (tb *Table) lacks(r *Row) bool { return r == nil || r.Fn == nil }

func (r *record) appendResult(b []byte, t *kernel.Task) []byte {
	if r.nr == unix.SYS_EXIT || r.nr == unix.SYS_EXIT_GROUP {
		return append(b, '?') // it does not return
	}
	if r.err != nil {
		return appendError(b, r.err)
	}
	kind := Dec
	if r.row != nil {
		kind = r.row.Result
	}
	switch {
	case kind == FD:
		return appendFD(b, t, int32(r.result))
	case kind == Hex || r.result > 1<<32 && int64(r.result) > 0:
		return appendHex(b, uint64(r.result))
	}
	return strconv.AppendInt(b, int64(r.result), 10)
}

// appendError renders "-1 ENOENT (no such file or directory)", and for a call
// that a signal interrupted "? ERESTARTSYS (to be restarted)".
func appendError(b []byte, err error) []byte {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return append(append(b, "? "...), err.Error()...)
	}
	if name, why := restartName(errno); name != "" {
		b = append(append(b, "? "...), name...)
		b = append(append(b, " ("...), why...)
		return append(b, ')')
	}
	b = append(append(b, "-1 "...), errnoName(errno)...)
	b = append(append(b, " ("...), errno.Error()...)
	return append(b, ')')
}

func errnoName(e unix.Errno) string {
	if n := unix.ErrnoName(e); n != "" {
		return n
	}
	return "errno " + strconv.Itoa(int(e))
}

func isRestart(err error) bool {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return false
	}
	name, _ := restartName(errno)
	return name != ""
}

func restartName(e unix.Errno) (name, why string) {
	switch e {
	case abi.ERESTARTSYS:
		return "ERESTARTSYS", "to be restarted if SA_RESTART is set"
	case abi.ERESTARTNOINTR:
		return "ERESTARTNOINTR", "to be restarted"
	case abi.ERESTARTNOHAND:
		return "ERESTARTNOHAND", "to be restarted if no handler runs"
	case abi.ERESTARTRESTARTBLOCK:
		return "ERESTART_RESTARTBLOCK", "interrupted by a signal"
	}
	return "", ""
}
