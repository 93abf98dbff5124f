package loader

import (
	"encoding/binary"
	"testing"

	"coffer/internal/sentry/mm/mmtest"

	"golang.org/x/sys/unix"
)

// simple is a good static program: text and data with bss.
func simple() elfSpec {
	return elfSpec{typ: typeExec, entry: 0x401000, size: 0x3000, phdrs: []phdr{
		{ptLoad, flagR | flagX, 0, 0x400000, 0x1800, 0x1800, 0x1000},
		{ptLoad, flagR | flagW, 0x2010, 0x403010, 0x100, 0x2000, 0x1000},
	}}
}

func TestParseELF(t *testing.T) {
	with := func(f func(*elfSpec)) []byte {
		s := simple()
		f(&s)
		return s.build()
	}
	raw := func(f func([]byte)) []byte {
		b := simple().build()
		f(b)
		return b
	}
	for _, c := range []struct {
		name string
		file []byte
		want error
	}{
		{"good", simple().build(), nil},
		{"empty", nil, unix.ENOEXEC},
		{"short", simple().build()[:40], unix.ENOEXEC},
		{"headers cut off", simple().build()[:100], unix.ENOEXEC},
		{"not ELF", raw(func(b []byte) { b[1] = 'X' }), unix.ENOEXEC},
		{"32-bit", raw(func(b []byte) { b[4] = 1 }), unix.ENOEXEC},
		{"big-endian", raw(func(b []byte) { b[5] = 2 }), unix.ENOEXEC},
		{"ARM", with(func(s *elfSpec) { s.machine = 183 }), unix.ENOEXEC},
		{"relocatable", with(func(s *elfSpec) { s.typ = 1 }), unix.ENOEXEC},
		{"phentsize", raw(func(b []byte) { b[54] = 32 }), unix.ENOEXEC},
		{"no headers", raw(func(b []byte) { b[56] = 0 }), unix.ENOEXEC},
		{"too many headers", raw(func(b []byte) { binary.LittleEndian.PutUint16(b[56:], 0xffff) }), unix.ENOEXEC},
		{"headers far away", raw(func(b []byte) { binary.LittleEndian.PutUint64(b[32:], 1<<63) }), unix.ENOEXEC},
		{"nothing to load", with(func(s *elfSpec) { s.phdrs = []phdr{{typ: ptGNUStack}} }), unix.ENOEXEC},
		{"file larger than memory", with(func(s *elfSpec) { s.phdrs[0].memSize = 1 }), unix.EINVAL},
		{"huge segment", with(func(s *elfSpec) { s.phdrs[1].memSize = 1 << 62 }), unix.EINVAL},
		{"address wraps", with(func(s *elfSpec) { s.phdrs[1].addr = ^uint64(0) &^ 0xfef }), unix.EINVAL},
		{"offset wraps", with(func(s *elfSpec) { s.phdrs[1].offset = ^uint64(0) &^ 0xfef }), unix.EINVAL},
		{"kernel address", with(func(s *elfSpec) { s.phdrs[1].addr = 1<<47 + 0x10 }), unix.EINVAL},
		{"offset not congruent", with(func(s *elfSpec) { s.phdrs[1].offset++ }), unix.EINVAL},
		{"entry in the kernel", with(func(s *elfSpec) { s.entry = 1 << 63 }), unix.EINVAL},
		{"interpreter too long", with(func(s *elfSpec) {
			s.phdrs = append(s.phdrs, phdr{typ: ptInterp, offset: 0x800, fileSize: 1 << 40})
		}), unix.ENOEXEC},
		{"interpreter without NUL", with(func(s *elfSpec) {
			s.phdrs = append(s.phdrs, phdr{typ: ptInterp, offset: 0x800, fileSize: 8})
		}), unix.ENOEXEC},
		{"interpreter cut off", with(func(s *elfSpec) {
			s.phdrs = append(s.phdrs, phdr{typ: ptInterp, offset: 0x2ffc, fileSize: 8})
		}), unix.EIO},
	} {
		e, err := parseELF(bytesReader(c.file), mmtest.Limits.Max)
		if err != c.want {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
		if err == nil && (e.lo != 0x400000 || e.hi != 0x406000 || e.phdr != 0x400040 || e.phnum != 2) {
			t.Errorf("%s: %+v", c.name, e)
		}
	}
}

func FuzzELF(f *testing.F) {
	f.Add(simple().build())
	dyn := simple()
	dyn.typ, dyn.interp = typeDyn, "/lib/ld.so"
	f.Add(dyn.build())
	f.Add(simple().build()[:70])
	f.Fuzz(func(t *testing.T, file []byte) {
		const limit = 1 << 46
		e, err := parseELF(bytesReader(file), limit)
		if err != nil {
			return
		}
		if len(e.segments) == 0 || len(e.segments) > maxPhdrs || e.lo >= e.hi || e.hi > limit+pageSize || e.align&(e.align-1) != 0 {
			t.Errorf("accepted %+v", e)
		}
		for _, s := range e.segments {
			if s.fileSize > s.memSize || s.end() > limit || s.end() < s.addr || s.addr < e.lo || s.end() > e.hi ||
				s.fileSize > 0 && s.offset&pageMask != s.addr&pageMask {
				t.Errorf("accepted segment %+v", s)
			}
		}
	})
}
