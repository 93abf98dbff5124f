package syscalls

import (
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
//	 "number":257,"name":"openat","args":{"dirfd":"AT_FDCWD",...},"result":3,
//	 "duration_ns":12000}
//
// A call that failed has "errno" ("ENOENT", and "ERESTARTSYS" and its kin for
// one that a signal interrupted) with result -1; one that the kernel lacks has
// "missing":true. Arguments are strings, rendered as in text.
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
		b = append(b, '"')
		if name := r.param(i).Name; name != "" {
			b = append(b, name...)
		} else {
			b = append(b, 'a')
			b = strconv.AppendInt(b, int64(i), 10)
		}
		b = append(b, `":`...)
		b = appendJSONString(b, r.args[i])
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

// appendJSONString quotes s; bytes that are not UTF-8 become U+FFFD.
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
			b = utf8.AppendRune(b, r)
			s = s[n:]
			continue
		}
		s = s[1:]
	}
	return append(b, '"')
}
