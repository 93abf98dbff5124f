package syscalls

import (
	"cmp"
	"encoding/binary"
	"strconv"

	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// guestView renders arguments from the guest's memory. It only reads, and a
// pointer that can't be read is shown as an address.
type guestView struct {
	t    *kernel.Task
	from memory
	max  int // bytes of a string or buffer
	args kernel.Args

	// Of a call that has returned:
	returned bool
	result   uintptr
	failed   bool
}

// memory is guest memory; a Task is one.
type memory interface {
	CopyIn(addr uint64, dst []byte) (int, error)
}

const (
	maxTracePath  = unix.PathMax
	maxTraceVec   = 16       // elements of argv, iovec, pollfd
	maxTraceArray = 16 << 10 // about so many bytes of a rendered array
	traceCopyStep = 256      // a string is read in steps of so many bytes
)

var native = binary.NativeEndian

// append renders argument i. mem is scratch space.
func (g *guestView) append(b []byte, mem *[]byte, p Param, i int) []byte {
	v := g.args[i]
	switch {
	case p.Kind.isPointer():
		return g.appendPointer(b, mem, p, i)
	case p.Kind == DirFD && int32(v) == unix.AT_FDCWD:
		return append(b, "AT_FDCWD"...)
	case p.Kind == FD || p.Kind == DirFD:
		return appendFD(b, g.t, int32(v))
	}
	return appendValue(b, p.Kind, p.Flags, v)
}

// appendPointer renders what argument i points to.
func (g *guestView) appendPointer(b []byte, mem *[]byte, p Param, i int) []byte {
	addr := g.args[i]
	if addr == 0 || p.Kind == Addr || p.Kind.isOut() && g.failed && p.Kind != PollFDs {
		return appendPtr(b, addr)
	}
	if l, ok := layouts()[p.Kind]; ok {
		s := g.read(mem, addr, l.size)
		if len(s) < l.size {
			return appendPtr(b, addr)
		}
		return l.append(b, s)
	}
	return pointers()[p.Kind](g, b, mem, addr, g.argument(i+cmp.Or(p.Count, 1)))
}

// argument returns argument i, or 0 if there is none.
func (g *guestView) argument(i int) uint64 {
	if i >= 0 && i < len(g.args) {
		return g.args[i]
	}
	return 0
}

// read copies n bytes of guest memory into scratch space; fewer if the rest
// can't be read.
func (g *guestView) read(mem *[]byte, addr uint64, n int) []byte {
	if cap(*mem) < n {
		*mem = make([]byte, n)
	}
	b := (*mem)[:n]
	got, _ := g.from.CopyIn(addr, b)
	return b[:max(got, 0)]
}

// appendString renders a NUL-terminated string of which at most limit bytes
// are shown.
func (g *guestView) appendString(b []byte, mem *[]byte, addr uint64, limit int) []byte {
	if addr == 0 {
		return append(b, "NULL"...)
	}
	start := len(b)
	b = append(b, '"')
	for shown := 0; shown < limit; {
		step := min(traceCopyStep-int(addr%traceCopyStep), limit-shown)
		s := g.read(mem, addr, step)
		for _, c := range s {
			if c == 0 {
				return append(b, '"')
			}
			b = appendEscaped(b, c)
		}
		if len(s) < step {
			return appendPtr(b[:start], addr)
		}
		shown += step
		addr += uint64(step)
	}
	return append(b, `"...`...)
}

// appendBuffer renders n bytes, of which at most max are shown.
func (g *guestView) appendBuffer(b []byte, mem *[]byte, addr, n uint64) []byte {
	if addr == 0 {
		return append(b, "NULL"...)
	}
	want := int(min(n, uint64(g.max)))
	s := g.read(mem, addr, want)
	if len(s) < want {
		return appendPtr(b, addr)
	}
	return appendQuoted(b, s, n > uint64(want))
}

// appendQuoted renders bytes as a C string.
func appendQuoted(b, s []byte, more bool) []byte {
	b = append(b, '"')
	for _, c := range s {
		b = appendEscaped(b, c)
	}
	b = append(b, '"')
	if more {
		b = append(b, "..."...)
	}
	return b
}

func appendEscaped(b []byte, c byte) []byte {
	switch c {
	case '\n':
		return append(b, `\n`...)
	case '\t':
		return append(b, `\t`...)
	case '\r':
		return append(b, `\r`...)
	case '"', '\\':
		return append(b, '\\', c)
	}
	if c >= 0x20 && c < 0x7f {
		return append(b, c)
	}
	const hex = "0123456789abcdef"
	return append(b, '\\', 'x', hex[c>>4], hex[c&15])
}

// appendStrings renders argv or envp.
func (g *guestView) appendStrings(b []byte, mem *[]byte, addr, _ uint64) []byte {
	start := len(b)
	b = append(b, '[')
	for i := range maxTraceVec {
		p := g.read(mem, addr+uint64(i)*8, 8)
		if len(p) < 8 {
			return appendPtr(b[:start], addr)
		}
		ptr := native.Uint64(p)
		if ptr == 0 {
			return append(b, ']')
		}
		if i > 0 {
			b = append(b, ", "...)
		}
		b = g.appendString(b, mem, ptr, g.max)
	}
	return append(b, ", ...]"...)
}

// appendArray renders an array of n elements of size bytes, the first ones.
// element may use the scratch space when it has taken its bytes.
func (g *guestView) appendArray(b []byte, mem *[]byte, addr, n uint64, size int, element func(b, s []byte) []byte) []byte {
	start := len(b)
	b = append(b, '[')
	for i := range n {
		if i > 0 {
			b = append(b, ", "...)
		}
		if i == maxTraceVec || len(b)-start > maxTraceArray {
			b = append(b, "..."...)
			break
		}
		s := g.read(mem, addr+i*uint64(size), size)
		if len(s) < size {
			return appendPtr(b[:start], addr)
		}
		b = element(b, s)
	}
	return append(b, ']')
}

// appendFD renders a descriptor and, if it is open, what it is.
func appendFD(b []byte, t *kernel.Task, fd int32) []byte {
	b = strconv.AppendInt(b, int64(fd), 10)
	if t == nil || t.FDs() == nil || fd < 0 {
		return b
	}
	f := t.FDs().Get(fd)
	if f == nil {
		return b
	}
	defer f.DecRef()
	name := fileName(t, f)
	if name == "" {
		return b
	}
	b = append(b, '<')
	for i := range len(name) {
		b = appendEscaped(b, name[i])
	}
	return append(b, '>')
}

// fileName is what /proc/PID/fd would show for a description.
func fileName(t *kernel.Task, f *vfs.FileDescription) string {
	if f.Path.Valid() {
		fs := t.FS()
		if fs == nil || fs.Mounts() == nil {
			return ""
		}
		root := fs.Root()
		defer root.DecRef()
		name, _ := fs.Mounts().PathName(root, f.Path)
		return name
	}
	if n, ok := f.Inode.(vfs.LinkNamer); ok {
		return n.LinkName()
	}
	return ""
}
