package syscalls

import (
	"bytes"
	"errors"
	"strconv"
	"time"
	"unicode/utf8"

	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

// appendJSON renders a call as one object:
//
//	{"time":"2026-01-02T03:04:05.000000006Z","pid":12,"tid":13,"comm":"sh",
//	 "number":0,"name":"read","args":{"fd":3,"fd_path":"/etc/x","buf":"ab\n",
//	 "count":100},"result":3,"duration_ns":12000}
//
// A call that failed has "errno" ("ENOENT", and "ERESTARTSYS" and its kin for
// one that a signal interrupted) with result -1; one that the kernel lacks has
// "missing":true. See appendJSONArgument for arguments.
func (tb *Table) appendJSON(b []byte, r *record, t *kernel.Task) []byte {
	b = append(b, `{"time":"`...)
	b = r.start.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","pid":`...)
	b = strconv.AppendInt(b, int64(t.ThreadGroup().ID()), 10)
	b = append(b, `,"tid":`...)
	b = strconv.AppendInt(b, int64(t.TID()), 10)
	b = append(b, `,"comm":`...)
	b = appendJSONString(b, []byte(t.Comm()))
	b = append(b, `,"number":`...)
	b = strconv.AppendUint(b, r.nr, 10)
	b = append(b, `,"name":"`...)
	b = append(b, tb.name(r.nr)...)
	b = append(b, `","args":{`...)
	for i := range r.n {
		if i > 0 {
			b = append(b, ',')
		}
		p := r.params[i]
		if p.Name == "" {
			p.Name = "a" + strconv.Itoa(i)
		}
		b = appendJSONArgument(b, &r.mem, p, r.args[i])
	}
	b = append(b, `},"result":`...)
	if r.err != nil {
		b = append(b, `-1,"errno":`...)
		b = appendJSONString(b, []byte(errorName(r.err)))
	} else {
		b = strconv.AppendInt(b, int64(r.result), 10)
	}
	if tb.lacks(r.row) {
		b = append(b, `,"missing":true`...)
	}
	b = append(b, `,"duration_ns":`...)
	b = strconv.AppendInt(b, int64(r.duration), 10)
	return append(b, "}\n"...)
}

// appendJSONArgument renders one argument, of which text is the rendering in
// text, as a key and its value:
//
//   - A number is a number. So is a descriptor, which is followed by a second
//     key, "fd_path" for "fd", if it is open and has a name.
//   - A path, string or buffer is a string of what it holds, with "..." at the
//     end if it was cut; a null pointer is null, and one that can't be read or
//     that the call did not fill in is its address, "0x...".
//   - All else (AT_FDCWD, flags, structures, addresses) is a string of what
//     text shows.
//
// mem is scratch space.
func appendJSONArgument(b []byte, mem *[]byte, p Param, text []byte) []byte {
	b = append(append(append(b, '"'), p.Name...), `":`...)
	switch p.Kind {
	case Dec, Unsigned:
		return append(b, text...)
	case FD, DirFD:
		if string(text) == "AT_FDCWD" {
			break
		}
		number, path, named := bytes.Cut(text, []byte{'<'})
		b = append(b, number...)
		if named {
			b = append(append(append(b, `,"`...), p.Name...), `_path":`...)
			*mem = appendUnescaped((*mem)[:0], path[:len(path)-1])
			b = appendJSONString(b, *mem)
		}
		return b
	case PathStr, Str, OutStr, Buf, OutBuf:
		if string(text) == "NULL" {
			return append(b, "null"...)
		}
		if end := bytes.LastIndexByte(text, '"'); end > 0 {
			*mem = appendUnescaped((*mem)[:0], text[1:end])
			*mem = append(*mem, text[end+1:]...)
			return appendJSONString(b, *mem)
		}
	}
	return appendJSONString(b, text)
}

// appendUnescaped undoes appendEscaped.
func appendUnescaped(b, s []byte) []byte {
	for len(s) > 0 {
		c := s[0]
		s = s[1:]
		if c == '\\' {
			c = s[0]
			s = s[1:]
			switch c {
			case 'n':
				c = '\n'
			case 't':
				c = '\t'
			case 'r':
				c = '\r'
			case 'x':
				c = unhex(s[0])<<4 | unhex(s[1])
				s = s[2:]
			}
		}
		b = append(b, c)
	}
	return b
}

// unhex is the value of a digit that appendEscaped wrote.
func unhex(c byte) byte {
	if c >= 'a' {
		return c - 'a' + 10
	}
	return c - '0'
}

func errorName(err error) string {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return err.Error()
	}
	if name, _ := restartName(errno); name != "" {
		return name
	}
	return errnoName(errno)
}

// appendJSONString quotes s; bytes that are not UTF-8 become \xNN, as in text.
func appendJSONString(b, s []byte) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for len(s) > 0 {
		c := s[0]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20 || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c < utf8.RuneSelf:
			b = append(b, c)
		default:
			r, n := utf8.DecodeRune(s)
			if r == utf8.RuneError && n == 1 {
				b = append(b, '\\', '\\', 'x', hex[c>>4], hex[c&15])
			} else {
				b = utf8.AppendRune(b, r)
			}
			s = s[n:]
			continue
		}
		s = s[1:]
	}
	return append(b, '"')
}
