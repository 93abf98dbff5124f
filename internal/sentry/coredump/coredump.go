// Package coredump writes core(5) files: the memory of a process that a signal
// has ended, and the state of its threads, as ELF for debuggers.
//
// It must not know tasks or file systems: who calls it says what to write, reads
// the memory and takes the file.
package coredump

import (
	"bytes"
	"time"

	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
)

const (
	pageSize = 4096
	// chunk is how much memory is read at once.
	chunk = 64 * pageSize

	ehdrSize = 64
	phdrSize = 56
)

// Process is what a core file tells of a process.
type Process struct {
	PID, PPID, PGID, SID int32
	UID, GID             uint32
	Nice                 int32
	// Comm is its name, Args its arguments with spaces between them.
	Comm, Args string
	Signal     abi.Siginfo
	// ChildUser and ChildSystem are its children's times.
	ChildUser, ChildSystem time.Duration
	Auxv                   []byte
	// Threads begin with the one that the signal struck.
	Threads []Thread
	// Regions are in order of address.
	Regions []Region
}

// Thread is the state of one thread.
type Thread struct {
	TID              int32
	Regs             abi.Regs
	FP               []byte // an XSAVE area, or nil
	Pending, Blocked uint64
	User, System     time.Duration
}

// Region is a mapping, and how many bytes of it, from its beginning, the file
// shall have.
type Region struct {
	Start, End uint64
	Prot       int32
	Dumped     uint64
	// FileName and Offset tell which part of which file is mapped, if any.
	FileName string
	Offset   uint64
}

// Memory reads a process's memory.
type Memory interface {
	// Read reads up to len(b) bytes, and returns how many could be read.
	Read(addr uint64, b []byte) int
	// Next returns the range of pages from addr on, up to end, that may be
	// something else than zeros: the first such, of no great length; end twice if
	// there is none. An error gives up.
	Next(addr, end uint64) (from, to uint64, err error)
}

// Output is the file. Nothing has been written to it, and what is left out is
// zeros.
type Output interface {
	WriteAt(b []byte, off int64) error
	// SetSize gives the file its size.
	SetSize(n int64) error
}

// Write writes the file, of limit bytes at most: it is cut off there. What
// cannot be read is zeros, as what is not present.
func (p *Process) Write(out Output, m Memory, limit uint64) error {
	w := &writer{out: out, limit: limit}
	n := p.notes()
	header, size := p.header(len(n))
	if err := w.write(0, header); err != nil {
		return err
	}
	if err := w.write(uint64(len(header)), n); err != nil {
		return err
	}
	off := memoryStart(len(header) + len(n))
	for i := range p.Regions {
		r := &p.Regions[i]
		if err := w.region(off, r, m); err != nil {
			return err
		}
		off += r.Dumped
	}
	return out.SetSize(int64(min(size, limit)))
}

// memoryStart is where memory begins in the file, after so many bytes.
func memoryStart(n int) uint64 { return uint64(n+pageSize-1) / pageSize * pageSize }

// header makes the ELF and program headers, for so many bytes of notes, and
// tells how large the file is to be.
func (p *Process) header(notes int) (b []byte, size uint64) {
	phnum := 1 + len(p.Regions)
	b = append(b, "\x7fELF\x02\x01\x01"...) // 64 bits, little-endian, version 1
	b = append(b, make([]byte, 9)...)
	half := func(v uint16) { b = le.AppendUint16(b, v) }
	word := func(v uint32) { b = le.AppendUint32(b, v) }
	long := func(v uint64) { b = le.AppendUint64(b, v) }
	half(4)  // ET_CORE
	half(62) // EM_X86_64
	word(1)
	long(0)
	long(ehdrSize)
	long(0)
	word(0)
	half(ehdrSize)
	half(phdrSize)
	half(uint16(phnum)) // there are fewer mappings than PN_XNUM
	half(0)
	half(0)
	half(0)
	start := ehdrSize + phdrSize*phnum
	program := func(kind, flags uint32, off, addr, inFile, inMemory, align uint64) {
		word(kind)
		word(flags)
		long(off)
		long(addr)
		long(0)
		long(inFile)
		long(inMemory)
		long(align)
	}
	const ptLoad, ptNote = 1, 4
	program(ptNote, 0, uint64(start), 0, uint64(notes), 0, 4)
	size = memoryStart(start + notes)
	for i := range p.Regions {
		r := &p.Regions[i]
		program(ptLoad, flags(r.Prot), size, r.Start, r.Dumped, r.End-r.Start, pageSize)
		size += r.Dumped
	}
	return b, size
}

// flags are a protection as program headers have it: PF_X, PF_W and PF_R.
func flags(prot int32) (f uint32) {
	for _, v := range [...]struct {
		prot int32
		flag uint32
	}{{unix.PROT_EXEC, 1}, {unix.PROT_WRITE, 2}, {unix.PROT_READ, 4}} {
		if prot&v.prot != 0 {
			f |= v.flag
		}
	}
	return f
}

// writer writes up to a limit.
type writer struct {
	out   Output
	limit uint64
	buf   [chunk]byte
}

func (w *writer) write(off uint64, b []byte) error {
	if off >= w.limit {
		return nil
	}
	return w.out.WriteAt(b[:min(uint64(len(b)), w.limit-off)], int64(off))
}

var zeros [pageSize]byte

// region writes the pages of a region that are not zeros.
func (w *writer) region(off uint64, r *Region, m Memory) error {
	for at := uint64(0); at < r.Dumped && off+at < w.limit; {
		from, to, err := m.Next(r.Start+at, r.Start+r.Dumped)
		if err != nil {
			return err
		}
		at = from - r.Start
		n := min(to-from, chunk)
		b := w.buf[:n]
		clear(b[m.Read(r.Start+at, b):])
		for done := uint64(0); done < n; {
			// Neighbours that are not zeros are written at once.
			end := done
			for end < n && !bytes.Equal(b[end:end+pageSize], zeros[:]) {
				end += pageSize
			}
			if end > done {
				if err := w.write(off+at+done, b[done:end]); err != nil {
					return err
				}
			}
			done = max(end, done+pageSize)
		}
		at += n
	}
	return nil
}
