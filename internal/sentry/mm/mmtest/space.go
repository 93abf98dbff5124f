// Package mmtest has a platform without a host process: memory is a Go map of
// pages, and operations take effect on it. Tests of what is above the platform
// look there whether the host would have done what was meant.
package mmtest

import (
	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

const pageSize = 4096

// Limits are those of a Platform.
var Limits = platform.Limits{Min: 0x10000, Max: 0x7fffc0000000, VVAR: 0x7fffbfff0000, VDSO: 0x7fffbfff4000, VDSOEnd: 0x7fffbfff6000}

// Platform makes Spaces.
type Platform struct{}

// Name implements platform.Platform, as do the others.
func (Platform) Name() string { return "fake" }

// NewAddressSpace returns an empty Space with one Context.
func (Platform) NewAddressSpace() (platform.AddressSpace, platform.Context, error) {
	s := NewSpace()
	return s, s.NewContext(), nil
}

// Limits returns the package's Limits.
func (Platform) Limits() platform.Limits { return Limits }

// Close does nothing.
func (Platform) Close() {}

// Page is one page of a Space.
type Page struct {
	Prot int32
	Data [pageSize]byte
	// FD and Offset are what OpMmap said, for shared mappings.
	FD     int
	Offset uint64
	Shared bool
}

// Space is an address space of pages.
type Space struct {
	Pages map[uint64]*Page // by page number
	// Ops are all operations that were done.
	Ops []platform.Op
	// Fail, if set, may refuse an operation.
	Fail func(platform.Op) error
	// Discard has operations forgotten instead of done, for benchmarks.
	Discard bool
	Refs    int
	// Unpatched are the ranges of Unpatch.
	Unpatched [][2]uint64
}

// NewSpace returns an empty Space.
func NewSpace() *Space { return &Space{Pages: map[uint64]*Page{}} }

// NewContext returns a Context in s.
func (s *Space) NewContext() *Context { return &Context{Space: s} }

// CopyIn implements platform.AddressSpace, as do the others.
func (s *Space) CopyIn(addr uint64, dst []byte) (int, error) {
	return s.copy(addr, len(dst), unix.PROT_READ, func(p *Page, at, off, n int) { copy(dst[at:at+n], p.Data[off:]) })
}

// CopyOut writes where pages are writable.
func (s *Space) CopyOut(addr uint64, src []byte) (int, error) {
	return s.copy(addr, len(src), unix.PROT_WRITE, func(p *Page, at, off, n int) { copy(p.Data[off:], src[at:at+n]) })
}

// Poke writes where there are pages.
func (s *Space) Poke(addr uint64, src []byte) (int, error) {
	return s.copy(addr, len(src), 0, func(p *Page, at, off, n int) { copy(p.Data[off:], src[at:at+n]) })
}

func (s *Space) copy(addr uint64, n int, need int32, f func(p *Page, at, off, n int)) (int, error) {
	done := 0
	for done < n {
		p := s.Pages[addr/pageSize]
		if p == nil || p.Prot&need != need {
			return done, unix.EFAULT
		}
		off := int(addr % pageSize)
		k := min(n-done, pageSize-off)
		f(p, done, off, k)
		done, addr = done+k, addr+uint64(k)
	}
	return done, nil
}

// Usage counts all pages as resident.
func (s *Space) Usage() platform.Usage {
	return platform.Usage{RSS: uint64(len(s.Pages)) * pageSize, Anon: uint64(len(s.Pages)) * pageSize}
}

// IncRef and DecRef count in Refs.
func (s *Space) IncRef() { s.Refs++ }

// DecRef undoes IncRef.
func (s *Space) DecRef() { s.Refs-- }

// Do makes an operation take effect.
func (s *Space) Do(op platform.Op) error {
	if s.Discard {
		return nil
	}
	s.Ops = append(s.Ops, op)
	if s.Fail != nil {
		if err := s.Fail(op); err != nil {
			return &platform.OpError{Op: op, Errno: err}
		}
	}
	first, n := op.Addr/pageSize, op.Length/pageSize
	switch op.Kind {
	case platform.OpWrite:
		if _, err := s.CopyOut(op.Addr, []byte(op.Data)); err != nil {
			return &platform.OpError{Op: op, Errno: err}
		}
	case platform.OpMmap:
		for i := range n {
			p := &Page{Prot: op.Prot, FD: op.FD, Offset: op.Offset + i*pageSize, Shared: op.Flags&unix.MAP_SHARED != 0}
			if op.FD >= 0 {
				unix.Pread(op.FD, p.Data[:], int64(p.Offset))
			}
			s.Pages[first+i] = p
		}
	case platform.OpMunmap:
		for pn := range s.Pages {
			if pn >= first && pn < first+n {
				delete(s.Pages, pn)
			}
		}
	case platform.OpMprotect:
		for i := range n {
			p := s.Pages[first+i]
			if p == nil {
				return &platform.OpError{Op: op, Errno: unix.ENOMEM}
			}
			p.Prot = op.Prot
		}
	case platform.OpMremap:
		return s.remap(op)
	case platform.OpMadvise:
		if op.Advice == unix.MADV_DONTNEED {
			for i := range n {
				if p := s.Pages[first+i]; p != nil && !p.Shared {
					p.Data = [pageSize]byte{}
				}
			}
		}
	}
	return nil
}

func (s *Space) remap(op platform.Op) error {
	first, n, to, m := op.Addr/pageSize, op.Length/pageSize, op.NewAddr/pageSize, op.NewLength/pageSize
	moved := map[uint64]*Page{}
	var last *Page
	for i := range n {
		p := s.Pages[first+i]
		if p == nil {
			return &platform.OpError{Op: op, Errno: unix.EFAULT}
		}
		moved[i], last = p, p
		delete(s.Pages, first+i)
	}
	if last == nil {
		last = s.Pages[first] // a second mapping of shared memory
		for i := range m {
			p := *last
			p.Offset += i * pageSize
			s.Pages[to+i] = &p
		}
		return nil
	}
	for i := range m {
		if p := moved[i]; p != nil {
			s.Pages[to+i] = p
			continue
		}
		s.Pages[to+i] = &Page{Prot: last.Prot, FD: last.FD, Shared: last.Shared, Offset: last.Offset + (i-n+1)*pageSize}
	}
	if op.Flags&unix.MREMAP_DONTUNMAP != 0 {
		for i := range n {
			s.Pages[first+i] = &Page{Prot: moved[i].Prot, FD: -1}
		}
	}
	return nil
}

// Context is a thread of a Space. It never runs guest code.
type Context struct {
	Space  *Space
	Queued []platform.Op
	regs   abi.Regs
}

// Regs implements platform.Context, as do the others.
func (c *Context) Regs() *abi.Regs { return &c.regs }

// Switch does what is queued.
func (c *Context) Switch() platform.Event {
	if err := c.Flush(); err != nil {
		return platform.Event{Kind: platform.EventOpFailed, Err: err}
	}
	return platform.Event{Kind: platform.EventInterrupt}
}

// Interrupt does nothing.
func (c *Context) Interrupt(bool) {}

// Queue keeps op for Flush.
func (c *Context) Queue(op platform.Op) {
	if !c.Space.Discard {
		c.Queued = append(c.Queued, op)
	}
}

// Flush does what is queued, all of it, and returns the first failure.
func (c *Context) Flush() (err error) {
	ops := c.Queued
	c.Queued = nil
	for _, op := range ops {
		if e := c.Space.Do(op); e != nil && err == nil {
			err = e
		}
	}
	return err
}

// CopyIn reads from the Space.
func (c *Context) CopyIn(addr uint64, dst []byte) (int, error) { return c.Space.CopyIn(addr, dst) }

// CopyOut writes to the Space.
func (c *Context) CopyOut(addr uint64, src []byte) (int, error) { return c.Space.CopyOut(addr, src) }

// CopyOutLate writes to the Space at once.
func (c *Context) CopyOutLate(addr uint64, src []byte) error {
	_, err := c.Space.CopyOut(addr, src)
	return err
}

// LateFailed has nothing to tell.
func (c *Context) LateFailed() bool { return false }

// FillLate has nothing for fill to write to.
func (c *Context) FillLate(uint64, int, func(p []byte) int) bool { return false }

// Resident implements platform.Residency: a page of zeros is not in memory.
func (c *Context) Resident(addr uint64, vec []byte) error {
	for i := range vec {
		p := c.Space.Pages[addr/pageSize+uint64(i)]
		if p == nil {
			return unix.ENOMEM
		}
		vec[i] = 0
		if p.Data != [pageSize]byte{} {
			vec[i] = 1
		}
	}
	return nil
}

// CompareAndSwap32 is not there.
func (c *Context) CompareAndSwap32(uint64, uint32, uint32) (uint32, error) { return 0, unix.ENOSYS }

// SaveFP does nothing.
func (c *Context) SaveFP(uint64) error { return nil }

// RestoreFP does nothing.
func (c *Context) RestoreFP(uint64) error { return nil }

// ResetFP does nothing.
func (c *Context) ResetFP() error { return nil }

// CloneThread returns another Context.
func (c *Context) CloneThread() (platform.Context, error) { return c.Space.NewContext(), nil }

// Fork copies the Space.
func (c *Context) Fork() (platform.AddressSpace, platform.Context, error) {
	s := NewSpace()
	for n, p := range c.Space.Pages {
		q := *p
		s.Pages[n] = &q
	}
	return s, s.NewContext(), nil
}

// AddressSpace returns the Space.
func (c *Context) AddressSpace() platform.AddressSpace { return c.Space }

// Rest implements platform.Context.
func (c *Context) Rest() {}

// Forget implements platform.Context.
func (c *Context) Forget() {}

// CameAlong implements platform.Context.
func (c *Context) CameAlong(uint64, int) bool { return false }

// Bound implements platform.Context.
func (c *Context) Bound() bool { return false }

// Yield implements platform.Context.
func (c *Context) Yield() {}

// PutsOff implements platform.Context.
func (c *Context) PutsOff() bool { return false }

// Later implements platform.Context.
func (c *Context) Later(what platform.Later) { what.Do() }

// Unpatch notes the range.
func (c *Context) Unpatch(addr, length uint64) {
	c.Space.Unpatched = append(c.Space.Unpatched, [2]uint64{addr, addr + length})
}

// Release does nothing.
func (c *Context) Release() {}
