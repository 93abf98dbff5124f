package coredump

import (
	"bytes"
	"debug/elf"
	"errors"
	"slices"
	"testing"

	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
)

// memory is one that has the pages of its map, each full of one byte.
type memory map[uint64]byte

func (m memory) Next(addr, end uint64) (from, to uint64, err error) {
	for from = addr; from < end; from += pageSize {
		if _, ok := m[from]; ok {
			return from, from + pageSize, nil
		}
	}
	return end, end, nil
}

func (m memory) Read(addr uint64, b []byte) int {
	for n := 0; n < len(b); n += pageSize {
		v, ok := m[addr+uint64(n)]
		if !ok {
			return n
		}
		for i := range b[n : n+pageSize] {
			b[n+i] = v
		}
	}
	return len(b)
}

// file is an Output that fails at a byte, if that is not 0.
type file struct {
	data []byte
	size int64
	bad  int64
}

var errBad = errors.New("bad")

func (f *file) WriteAt(b []byte, off int64) error {
	if end := off + int64(len(b)); f.bad > 0 && end > f.bad {
		return errBad
	} else if end > int64(len(f.data)) {
		f.data = append(f.data, make([]byte, end-int64(len(f.data)))...)
	}
	copy(f.data[off:], b)
	return nil
}

func (f *file) SetSize(n int64) error {
	f.size = n
	f.data = append(f.data, make([]byte, max(0, n-int64(len(f.data))))...)
	return nil
}

func example() (*Process, memory) {
	rw := int32(unix.PROT_READ | unix.PROT_WRITE)
	p := &Process{
		PID: 7, PPID: 1, PGID: 7, SID: 7, UID: 1000, GID: 100, Comm: "program", Args: "program -x",
		Signal: abi.Siginfo{Signo: 11, Code: 1}, Auxv: make([]byte, 32),
		Threads: []Thread{{TID: 8, Regs: abi.Regs{Rip: 0x401234, Rsp: 0x7ff0}, FP: make([]byte, 832)}, {TID: 7}},
		Regions: []Region{
			{Start: 0x400000, End: 0x403000, Prot: unix.PROT_READ | unix.PROT_EXEC, Dumped: pageSize, FileName: "/bin/program"},
			{Start: 0x600000, End: 0x700000, Prot: rw, Dumped: 0x100000},
			{Start: 0x7ff000, End: 0x800000, Prot: rw},
		},
	}
	return p, memory{0x400000: 1, 0x600000: 2, 0x601000: 0, 0x602000: 3, 0x6ff000: 4, 0x7ff000: 5}
}

func TestWrite(t *testing.T) {
	p, m := example()
	var f file
	if err := p.Write(&f, m, ^uint64(0)); err != nil {
		t.Fatal(err)
	}
	e, err := elf.NewFile(bytes.NewReader(f.data))
	if err != nil {
		t.Fatal(err)
	}
	if e.Type != elf.ET_CORE || e.Machine != elf.EM_X86_64 || len(e.Progs) != 4 || e.Progs[0].Type != elf.PT_NOTE {
		t.Fatalf("%+v with %d segments", e.FileHeader, len(e.Progs))
	}
	for i, r := range p.Regions {
		s := e.Progs[i+1]
		if s.Type != elf.PT_LOAD || s.Vaddr != r.Start || s.Memsz != r.End-r.Start || s.Filesz != r.Dumped {
			t.Errorf("region %d: %+v", i, s.ProgHeader)
		}
		data := make([]byte, s.Filesz)
		s.ReadAt(data, 0)
		for at := uint64(0); at < s.Filesz; at += pageSize {
			if want := m[r.Start+at]; data[at] != want || data[at+pageSize-1] != want {
				t.Errorf("page at %#x: %d, want %d", r.Start+at, data[at], want)
			}
		}
	}
	if f.size != int64(e.Progs[3].Off) {
		t.Errorf("%d bytes, want %d", f.size, e.Progs[3].Off)
	}
	// The notes, and what debuggers look at in them.
	b := make([]byte, e.Progs[0].Filesz)
	e.Progs[0].ReadAt(b, 0)
	var kinds []uint32
	for len(b) > 0 {
		name, desc, kind := le.Uint32(b), le.Uint32(b[4:]), le.Uint32(b[8:])
		kinds = append(kinds, kind)
		d := b[12+(name+3)&^3:]
		switch {
		case kind == ntPRStatus && len(kinds) == 1:
			if desc != statusSize || le.Uint16(d[12:]) != 11 || le.Uint32(d[32:]) != 8 || le.Uint64(d[112+16*8:]) != 0x401234 || d[328] != 1 {
				t.Errorf("the first thread: % x", d[:desc])
			}
		case kind == ntPRStatus:
			if le.Uint32(d[32:]) != 7 || d[328] != 0 {
				t.Errorf("the second thread: % x", d[:desc])
			}
		case kind == ntPRPSInfo:
			if desc != psinfoSize || le.Uint32(d[16:]) != 1000 || !bytes.HasPrefix(d[40:], []byte("program\x00")) || !bytes.HasPrefix(d[56:], []byte("program -x\x00")) {
				t.Errorf("the process: % x", d[:desc])
			}
		case kind == ntFile:
			if le.Uint64(d) != 1 || le.Uint64(d[16:]) != 0x400000 || string(d[40:desc]) != "/bin/program\x00" {
				t.Errorf("the files: % x", d[:desc])
			}
		}
		b = d[(desc+3)&^3:]
	}
	if want := []uint32{ntPRStatus, ntPRPSInfo, ntSiginfo, ntAuxv, ntFile, ntFPRegSet, ntXState, ntPRStatus}; !slices.Equal(kinds, want) {
		t.Errorf("notes %x, want %x", kinds, want)
	}
}

// TestLimits cuts the file off at each page, and has writes fail there.
func TestLimits(t *testing.T) {
	p, m := example()
	var whole file
	if err := p.Write(&whole, m, ^uint64(0)); err != nil {
		t.Fatal(err)
	}
	for limit := int64(100); limit < whole.size; limit += pageSize {
		var f file
		if err := p.Write(&f, m, uint64(limit)); err != nil || int64(len(f.data)) != limit || f.size != limit || !bytes.Equal(f.data, whole.data[:limit]) {
			t.Errorf("limit %d: %v, %d bytes", limit, err, len(f.data))
		}
	}
	for _, bad := range []int64{10, 1000, 5000} {
		if err := p.Write(&file{bad: bad}, m, ^uint64(0)); err != errBad {
			t.Errorf("a write fails at %d: %v", bad, err)
		}
	}
}
