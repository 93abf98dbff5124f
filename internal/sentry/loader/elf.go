package loader

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// The parts of ELF that matter here; see elf(5).
const (
	headerSize  = 64
	phdrSize    = 56
	maxPhdrs    = 65536 / phdrSize // Linux allows 64 KiB of program headers
	typeExec    = 2                // ET_EXEC
	typeDyn     = 3                // ET_DYN
	machineX64  = 62               // EM_X86_64
	ptLoad      = 1
	ptInterp    = 3
	ptGNUStack  = 0x6474e551
	flagX       = 1
	flagW       = 2
	flagR       = 4
	pageSize    = 4096
	pageMask    = pageSize - 1
	maxElfAlign = 1 << 30 // larger alignments of a segment are not honoured
)

// segment is a PT_LOAD entry that was checked: file contents at offset for
// fileSize bytes, zeros up to memSize.
type segment struct {
	prot                            int32
	offset, addr, fileSize, memSize uint64
}

func (s *segment) end() uint64 { return s.addr + s.memSize }

// elfFile is what the loader must know of an ELF file. Addresses are the
// file's own, before a position-independent program is moved.
type elfFile struct {
	pie       bool
	entry     uint64
	segments  []segment
	interp    string
	execStack bool
	// lo and hi are the bounds of all segments, page-aligned.
	lo, hi uint64
	// align is the largest alignment that a segment asks for.
	align uint64
	// phdr is the address of the program headers, 0 if no segment holds them.
	phdr  uint64
	phnum uint64
}

// base is the first segment's address, aligned as the file asks for.
func (e *elfFile) base() uint64 { return e.lo &^ (e.align - 1) }

// parseELF reads and checks a file's headers. No segment lies above limit.
// ENOEXEC if it is not a program for this machine, EINVAL for segments that
// cannot be mapped.
func parseELF(r readAt, limit uint64) (*elfFile, error) {
	var h [headerSize]byte
	if n, err := readFull(r, h[:], 0); err != nil {
		return nil, err
	} else if n < headerSize {
		return nil, unix.ENOEXEC
	}
	le := binary.LittleEndian
	typ, machine := le.Uint16(h[16:]), le.Uint16(h[18:])
	if !bytes.HasPrefix(h[:], []byte("\x7fELF\x02\x01")) || machine != machineX64 || typ != typeExec && typ != typeDyn {
		return nil, unix.ENOEXEC
	}
	e := &elfFile{pie: typ == typeDyn, entry: le.Uint64(h[24:]), align: pageSize, lo: ^uint64(0)}
	phoff := le.Uint64(h[32:])
	e.phnum = uint64(le.Uint16(h[56:]))
	if le.Uint16(h[54:]) != phdrSize || e.phnum == 0 || e.phnum > maxPhdrs || phoff > 1<<62 {
		return nil, unix.ENOEXEC
	}
	table := make([]byte, e.phnum*phdrSize)
	if n, err := readFull(r, table, int64(phoff)); err != nil {
		return nil, err
	} else if n < len(table) {
		return nil, unix.ENOEXEC
	}
	for ; len(table) > 0; table = table[phdrSize:] {
		if err := e.header(r, table[:phdrSize], phoff, limit); err != nil {
			return nil, err
		}
	}
	if len(e.segments) == 0 {
		return nil, unix.ENOEXEC
	}
	if e.hi-e.lo > limit || !e.pie && e.entry >= limit {
		return nil, unix.EINVAL
	}
	return e, nil
}

// header takes in one program header.
func (e *elfFile) header(r readAt, p []byte, phoff, limit uint64) error {
	le := binary.LittleEndian
	flags := le.Uint32(p[4:])
	s := segment{
		offset: le.Uint64(p[8:]), addr: le.Uint64(p[16:]), fileSize: le.Uint64(p[32:]), memSize: le.Uint64(p[40:]),
	}
	switch le.Uint32(p) {
	case ptInterp:
		if e.interp != "" {
			return nil // Linux takes the first
		}
		name, err := readInterp(r, s.offset, s.fileSize)
		e.interp = name
		return err
	case ptGNUStack:
		e.execStack = flags&flagX != 0
	case ptLoad:
		if s.memSize == 0 && s.fileSize == 0 {
			return nil
		}
		if s.fileSize > s.memSize || s.memSize > limit || s.addr > limit-s.memSize || s.offset > 1<<62 ||
			s.fileSize > 0 && (s.offset^s.addr)&pageMask != 0 {
			return unix.EINVAL
		}
		s.prot = prot(flags)
		e.segments = append(e.segments, s)
		e.lo = min(e.lo, s.addr&^pageMask)
		e.hi = max(e.hi, (s.end()+pageMask)&^pageMask)
		if a := le.Uint64(p[48:]); a&(a-1) == 0 && a <= maxElfAlign {
			e.align = max(e.align, a)
		}
		if s.offset <= phoff && phoff < s.offset+s.fileSize {
			e.phdr = phoff - s.offset + s.addr
		}
	}
	return nil
}

// prot turns a segment's flags into protection.
func prot(flags uint32) (p int32) {
	if flags&flagR != 0 {
		p |= unix.PROT_READ
	}
	if flags&flagW != 0 {
		p |= unix.PROT_WRITE
	}
	if flags&flagX != 0 {
		p |= unix.PROT_EXEC
	}
	return p
}

// readInterp reads the interpreter's name, which ends with a NUL. ENOEXEC if it
// doesn't, EIO if the file is too short.
func readInterp(r readAt, off, size uint64) (string, error) {
	if size > unix.PathMax || size < 2 || off > 1<<62 {
		return "", unix.ENOEXEC
	}
	name := make([]byte, size)
	if n, err := readFull(r, name, int64(off)); err != nil {
		return "", err
	} else if n < len(name) {
		return "", unix.EIO
	}
	if name[size-1] != 0 {
		return "", unix.ENOEXEC
	}
	name = name[:bytes.IndexByte(name, 0)]
	if len(name) == 0 {
		return "", unix.ENOENT
	}
	return string(name), nil
}
