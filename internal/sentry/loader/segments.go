package loader

import (
	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// load is one run of Image.Load.
type load struct {
	image *Image
	m     *mm.MemoryManager
	ctx   platform.Context

	// bias is by how much the program was moved, interpBase where the
	// interpreter's address 0 is (AT_BASE).
	bias, interpBase uint64
	// entry is where execution begins, in the interpreter if there is one.
	entry uint64
	// zeros are the ends of pages that hold the end of a segment's file
	// contents, to be cleared once they are mapped.
	zeros []zero
}

type zero struct{ addr, length uint64 }

// program maps the program and its interpreter and places the heap.
func (l *load) program() error {
	i := l.image
	var err error
	switch {
	case i.elf.pie && i.ielf != nil:
		l.bias = l.m.ProgramBase()&^(i.elf.align-1) - i.elf.base()
	case i.elf.pie:
		// Without an interpreter it may be one itself, and leaves the usual
		// place to the program that it will load.
		if l.bias, err = l.room(i.elf); err != nil {
			return err
		}
	}
	if err := l.segments(i.prog, i.elf, l.bias); err != nil {
		return err
	}
	l.entry = i.elf.entry + l.bias
	if i.ielf != nil {
		if i.ielf.pie {
			if l.interpBase, err = l.room(i.ielf); err != nil {
				return err
			}
		}
		if err := l.segments(i.interp, i.ielf, l.interpBase); err != nil {
			return err
		}
		l.entry = i.ielf.entry + l.interpBase
	} else if !i.elf.pie {
		if err := l.m.AnchorMappings(l.ctx); err != nil {
			return err
		}
	}
	if l.entry >= i.args.Max {
		return unix.EINVAL
	}
	l.describe()
	return nil
}

// room finds a place for a position-independent file and returns its bias.
func (l *load) room(e *elfFile) (bias uint64, err error) {
	at, err := l.m.FindRoom(e.hi-e.base(), e.align)
	return at - e.base(), err
}

// heapSpan is the range of random distances between program and heap.
const heapSpan = 1 << 30

// describe tells the address space where the program's parts are.
func (l *load) describe() {
	e := l.image.elf
	l.m.UpdateInfo(func(i *mm.Info) {
		i.StartCode = ^uint64(0)
		for k := range e.segments {
			s := &e.segments[k]
			start, end := s.addr+l.bias, s.addr+s.fileSize+l.bias
			i.StartCode = min(i.StartCode, start)
			if s.prot&unix.PROT_EXEC != 0 {
				i.EndCode = max(i.EndCode, end)
			}
			i.StartData = max(i.StartData, start)
			i.EndData = max(i.EndData, end)
		}
	})
	end := e.hi + l.bias
	if e.pie && l.image.ielf == nil {
		end = l.m.ProgramBase()
	}
	l.m.SetBrk(end, heapSpan)
}

// segments maps all segments of one file, moved by bias.
func (l *load) segments(f *vfs.FileDescription, e *elfFile, bias uint64) error {
	for k := range e.segments {
		if err := l.segment(f, &e.segments[k], bias, k > 0); err != nil {
			return err
		}
	}
	return nil
}

// segment maps one segment; again says that it is not the file's first.
func (l *load) segment(f *vfs.FileDescription, s *segment, bias uint64, again bool) error {
	start := s.addr + bias
	fileEnd, end := start+s.fileSize, start+s.memSize
	lead := start & pageMask
	from := start - lead // where anonymous memory begins
	if s.fileSize > 0 {
		_, err := l.m.MMap(l.ctx, mm.MMapArgs{
			Addr: start - lead, Length: lead + s.fileSize, Prot: s.prot, Flags: unix.MAP_PRIVATE | unix.MAP_FIXED,
			File: f, Offset: s.offset - lead, Executable: true, SameFile: again,
		})
		if err != nil {
			return err
		}
		from = (fileEnd + pageMask) &^ pageMask
		if rest := from - fileEnd; s.memSize > s.fileSize && rest > 0 && s.prot&unix.PROT_WRITE != 0 {
			l.zeros = append(l.zeros, zero{fileEnd, rest})
		}
	}
	if end <= from {
		return nil
	}
	_, err := l.m.MMap(l.ctx, mm.MMapArgs{
		Addr: from, Length: end - from, Prot: s.prot, Flags: unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_FIXED,
	})
	return err
}
