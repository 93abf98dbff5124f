package tmpfs

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// memfdBudget is how many memfds all instances together may hold: the
// descriptors of the process are limited, and others need them too.
var memfdBudget int64 = 8192

var memfds atomic.Int64

// scarce reports whether memfds should be given back where that is possible.
func scarce() bool { return memfds.Load() > memfdBudget/2 }

// mfdExec is MFD_EXEC: guests map the contents executable. Kernels before 6.3
// do not know the flag and need it not.
const mfdExec = 0x10

// newMemfd makes an empty memfd. ENOSPC if the budget is used up.
func newMemfd() (int, error) {
	if memfds.Add(1) > memfdBudget {
		memfds.Add(-1)
		return -1, unix.ENOSPC
	}
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("tmpfs", flags|mfdExec)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate("tmpfs", flags)
	}
	if err != nil {
		memfds.Add(-1)
		return -1, unix.ENOSPC
	}
	return fd, nil
}

func closeMemfd(fd int) {
	unix.Close(fd)
	memfds.Add(-1)
}

// rawMax is the longest copy that is made without telling Go's scheduler
// about the system call: a memfd never blocks, and this takes 20 µs.
const rawMax = 64 << 10

// pread reads from a memfd; p lies within its size.
func pread(fd int, p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(p) <= rawMax {
		n, _, e := unix.RawSyscall6(unix.SYS_PREAD64, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), uintptr(off), 0, 0)
		if e != 0 {
			return 0, e
		}
		return int(n), nil
	}
	return unix.Pread(fd, p, off)
}

func pwrite(fd int, p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(p) <= rawMax {
		n, _, e := unix.RawSyscall6(unix.SYS_PWRITE64, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), uintptr(off), 0, 0)
		if e != 0 {
			return 0, e
		}
		return int(n), nil
	}
	return unix.Pwrite(fd, p, off)
}

// moveToMemfd moves the heap's pages to a new memfd. mu is held, as in all
// that follows.
func (c *contents) moveToMemfd() error {
	fd, err := newMemfd()
	if err != nil {
		return err
	}
	err = unix.Ftruncate(fd, c.size.Load())
	c.dense, c.sparse = 0, false
	for i, pg := range c.pages {
		if pg == nil || err != nil {
			continue
		}
		at := int64(i) * pageSize
		if n := min(pageSize, c.size.Load()-at); n > 0 {
			_, err = unix.Pwrite(fd, pg[:n], at)
		} else {
			// Allocated beyond the end, and empty.
			err = unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, at, pageSize)
		}
		c.filled(int64(i), int64(i+1))
	}
	if err != nil {
		closeMemfd(fd)
		return unix.ENOSPC
	}
	c.fd, c.pages = fd, nil
	return nil
}

// moveToHeap is the way back, for small files that nobody has open.
func (c *contents) moveToHeap() {
	size := c.size.Load()
	if size > heapMax {
		return
	}
	pages := make([]*page, pagesOf(size))
	var n int64
	for i := range pages {
		pg := new(page)
		got, err := unix.Pread(c.fd, pg[:], int64(i)*pageSize)
		if err != nil {
			return
		}
		if *pg == (page{}) && got > 0 {
			continue // as good as a hole
		}
		pages[i] = pg
		n++
	}
	c.dropMemfd()
	c.pages, c.charged = pages, n
	c.fs.uncharge(-n)
}

// dropMemfd closes the memfd and gives its pages back.
func (c *contents) dropMemfd() {
	closeMemfd(c.fd)
	c.fs.uncharge(c.charged)
	c.fd, c.charged, c.dense, c.sparse, c.mapped = -1, 0, 0, false, false
}

// filled notes that the pages [first, end) are there now.
func (c *contents) filled(first, end int64) {
	if first <= c.dense {
		c.dense = max(c.dense, end)
	} else {
		c.sparse = true
	}
}

// settle makes the count agree with what the host has allocated.
func (c *contents) settle() {
	var st unix.Stat_t
	if unix.Fstat(c.fd, &st) != nil {
		return
	}
	have := st.Blocks * 512 / pageSize
	c.fs.uncharge(c.charged - have)
	c.charged = have
}

// reserve charges for the pages of [first, end) that are not there, or for
// as many from the front as there is room for, and returns where these end.
func (c *contents) reserve(first, end int64) int64 {
	from := max(first, min(c.dense, end))
	need := end - from
	if need == 0 {
		return end
	}
	if c.fs.charge(need) {
		c.charged += need
		return end
	}
	if c.sparse || c.mapped {
		// Some of them may be there: count exactly.
		for p := from; p < end; p++ {
			at, err := unix.Seek(c.fd, p*pageSize, unix.SEEK_DATA)
			if err == nil && at == p*pageSize {
				continue
			}
			if !c.fs.charge(1) {
				return p
			}
			c.charged++
		}
		return end
	}
	for from < end && c.fs.charge(1) {
		c.charged++
		from++
	}
	return from
}

func (c *contents) writeMemfd(p []byte, off int64) (int, error) {
	first, end := off/pageSize, pagesOf(off+int64(len(p)))
	exact := !c.sparse && !c.mapped
	got := end
	if end > c.dense || !exact {
		if got = c.reserve(first, end); got < end {
			room := got*pageSize - off
			if room <= 0 {
				return 0, unix.ENOSPC
			}
			p = p[:room]
		}
	}
	n, err := pwrite(c.fd, p, off)
	if n > 0 && end > c.dense {
		c.filled(first, pagesOf(off+int64(n)))
	}
	if !exact || c.sparse || n < len(p) {
		c.settle()
	}
	return n, err
}

func (c *contents) truncateMemfd(size int64) error {
	if err := unix.Ftruncate(c.fd, size); err != nil {
		return err
	}
	c.size.Store(size)
	if n := pagesOf(size); n < c.dense {
		c.dense = n
	}
	c.settle()
	return nil
}

func (c *contents) allocateMemfd(off, length int64, keepSize bool) error {
	first, end := off/pageSize, pagesOf(off+length)
	if c.reserve(first, end) < end {
		c.settle()
		return unix.ENOSPC
	}
	var mode uint32
	if keepSize {
		mode = unix.FALLOC_FL_KEEP_SIZE
	}
	err := unix.Fallocate(c.fd, mode, off, length)
	if err == nil {
		c.filled(first, end)
	}
	c.settle()
	return err
}

func (c *contents) punchMemfd(off, length int64) error {
	err := unix.Fallocate(c.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, length)
	if first := off / pageSize; err == nil && first < c.dense {
		c.dense, c.sparse = first, true
	}
	c.settle()
	return err
}

// mapFD returns the memfd for mmap(2).
func (c *contents) mapFD() (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		if err := c.moveToMemfd(); err != nil {
			return -1, unix.ENFILE
		}
	}
	c.mapped, c.sparse = true, true
	return c.fd, nil
}

// addSeals adds seals, which the host's memfd gets too, so that mappings obey
// them: EBUSY if a writable one is there.
func (c *contents) addSeals(seals uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seals&unix.F_SEAL_SEAL != 0 {
		return unix.EPERM
	}
	if c.fd < 0 {
		if err := c.moveToMemfd(); err != nil {
			return unix.ENOMEM
		}
	}
	if _, err := unix.FcntlInt(uintptr(c.fd), unix.F_ADD_SEALS, int(seals&^(unix.F_SEAL_SEAL|fSealExec))); err != nil {
		return err
	}
	c.seals |= seals
	return nil
}
