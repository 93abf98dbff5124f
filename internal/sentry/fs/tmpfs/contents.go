package tmpfs

import (
	"math"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	// heapMax is the largest size of a file whose contents live on the heap.
	heapMax = 128 << 10
	// heapLast is the largest if there are no memfds to be had.
	heapLast = 64 << 20
	// maxSize is the largest size of a file, MAX_LFS_FILESIZE.
	maxSize = math.MaxInt64
)

type page [pageSize]byte

// contents are the bytes of a regular file: heap pages, or a memfd.
type contents struct {
	fs *FS
	mu sync.RWMutex
	// size is written under mu, and read without.
	size atomic.Int64

	// pages are the heap's; nil stands for a hole, as does what is beyond the
	// slice. Bytes beyond size are zero.
	pages []*page

	// fd is the memfd, or -1. Its size is size.
	fd int
	// charged is how many pages are counted for this file.
	charged int64
	// dense says that the pages below it are there; sparse, that there may be
	// others, so that only the host knows how many there are.
	dense  int64
	sparse bool
	// mapped says that fd was given out for mmap(2) since the file was last
	// opened by nobody: pages can come up at any time.
	mapped bool
	opens  int

	// seals are those of fcntl(2), F_SEAL_*.
	seals uint32
}

// read fills p from off and returns how many bytes there were.
func (c *contents) read(p []byte, off int64) (int, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	size := c.size.Load()
	if off >= size || off < 0 {
		return 0, nil
	}
	p = p[:min(int64(len(p)), size-off)]
	if c.fd >= 0 {
		return pread(c.fd, p, off)
	}
	for done := 0; done < len(p); {
		i, in := (off+int64(done))/pageSize, (off+int64(done))%pageSize
		n := min(len(p)-done, pageSize-int(in))
		if i < int64(len(c.pages)) && c.pages[i] != nil {
			copy(p[done:done+n], c.pages[i][in:])
		} else {
			clear(p[done : done+n])
		}
		done += n
	}
	return len(p), nil
}

// write writes p at off, or at the end, and returns the offset after what was
// written. limit is RLIMIT_FSIZE. EFBIG beyond it, ENOSPC.
func (c *contents) write(p []byte, off int64, atEnd bool, limit uint64) (n int, end int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if atEnd {
		off = c.size.Load()
	}
	if len(p) == 0 {
		return 0, off, nil
	}
	if c.seals&(unix.F_SEAL_WRITE|unix.F_SEAL_FUTURE_WRITE) != 0 {
		return 0, off, unix.EPERM
	}
	most := uint64(maxSize)
	if limit < most {
		most = limit
	}
	if uint64(off) >= most {
		return 0, off, unix.EFBIG
	}
	if uint64(len(p)) > most-uint64(off) {
		p = p[:most-uint64(off)]
	}
	end = off + int64(len(p))
	if size := c.size.Load(); end > size && c.seals&unix.F_SEAL_GROW != 0 {
		// What lies within the size may be written.
		if off >= size {
			return 0, off, unix.EPERM
		}
		p = p[:size-off]
	}
	if err := c.makeRoom(end); err != nil {
		return 0, off, err
	}
	if c.fd >= 0 {
		n, err = c.writeMemfd(p, off)
	} else {
		n, err = c.writeHeap(p, off)
	}
	if end = off + int64(n); n > 0 && end > c.size.Load() {
		c.size.Store(end)
	}
	if n > 0 {
		err = nil // a partial result comes before the error
	}
	return n, end, err
}

// makeRoom moves the contents to a memfd if the file is to reach to end and
// that is too far for the heap. Where memfds are used up the heap has to do.
func (c *contents) makeRoom(end int64) error {
	if c.fd >= 0 || end <= heapMax {
		return nil
	}
	if err := c.moveToMemfd(); err != nil && end > heapLast {
		return err
	}
	return nil
}

func (c *contents) writeHeap(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		i, in := int((off+int64(done))/pageSize), int((off+int64(done))%pageSize)
		pg, err := c.heapPage(i)
		if err != nil {
			return done, err
		}
		done += copy(pg[in:], p[done:])
	}
	return done, nil
}

// heapPage returns page i, which it makes if it is a hole.
func (c *contents) heapPage(i int) (*page, error) {
	for i >= len(c.pages) {
		c.pages = append(c.pages, nil)
	}
	if c.pages[i] == nil {
		if !c.fs.charge(1) {
			return nil, unix.ENOSPC
		}
		c.charged++
		c.pages[i] = new(page)
	}
	return c.pages[i], nil
}

// truncate sets the size.
func (c *contents) truncate(size int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.size.Load()
	if size < old && c.seals&unix.F_SEAL_SHRINK != 0 || size > old && c.seals&unix.F_SEAL_GROW != 0 {
		return unix.EPERM
	}
	if size > old {
		if err := c.makeRoom(size); err != nil {
			return err
		}
	}
	if c.fd >= 0 {
		if size == 0 && !c.mapped && c.seals == 0 {
			c.dropMemfd()
		} else {
			return c.truncateMemfd(size)
		}
	}
	c.size.Store(size)
	if size <= old {
		c.cut(size)
	}
	return nil
}

// cut drops the heap's bytes from size on.
func (c *contents) cut(size int64) {
	keep := int(pagesOf(size))
	for i := keep; i < len(c.pages); i++ {
		c.dropPage(i)
	}
	if keep < len(c.pages) {
		c.pages = c.pages[:keep]
	}
	if in := size % pageSize; in != 0 && keep == len(c.pages) && c.pages[keep-1] != nil {
		clear(c.pages[keep-1][in:])
	}
}

func (c *contents) dropPage(i int) {
	if c.pages[i] != nil {
		c.pages[i] = nil
		c.charged--
		c.fs.uncharge(1)
	}
}

// allocate makes [off, off+length) take memory, as fallocate(2) with mode 0
// or FALLOC_FL_KEEP_SIZE.
func (c *contents) allocate(off, length int64, keepSize bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	end := off + length
	grows := end > c.size.Load()
	if grows && !keepSize && c.seals&unix.F_SEAL_GROW != 0 {
		return unix.EPERM
	}
	if err := c.makeRoom(end); err != nil {
		return err
	}
	if c.fd >= 0 {
		if err := c.allocateMemfd(off, length, keepSize); err != nil {
			return err
		}
	} else if err := c.allocateHeap(off, end); err != nil {
		return err
	}
	if grows && !keepSize {
		c.size.Store(end)
	}
	return nil
}

// allocateHeap fills the holes of a range, all or none.
func (c *contents) allocateHeap(off, end int64) error {
	var made []int
	for i := int(off / pageSize); i < int(pagesOf(end)); i++ {
		hole := i >= len(c.pages) || c.pages[i] == nil
		if _, err := c.heapPage(i); err != nil {
			for _, i := range made {
				c.dropPage(i)
			}
			return err
		}
		if hole {
			made = append(made, i)
		}
	}
	return nil
}

// punch makes [off, off+length) a hole.
func (c *contents) punch(off, length int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seals&(unix.F_SEAL_WRITE|unix.F_SEAL_FUTURE_WRITE) != 0 {
		return unix.EPERM
	}
	if c.fd >= 0 {
		return c.punchMemfd(off, length)
	}
	end := min(off+length, int64(len(c.pages))*pageSize)
	for off < end {
		i, in := int(off/pageSize), off%pageSize
		n := min(pageSize-in, end-off)
		if n == pageSize {
			c.dropPage(i)
		} else if c.pages[i] != nil {
			clear(c.pages[i][in : in+n])
		}
		off += n
	}
	return nil
}

// seek finds data or a hole at or after off (SEEK_DATA, SEEK_HOLE).
func (c *contents) seek(off int64, whence int) (int64, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	size := c.size.Load()
	if off < 0 || off >= size {
		return 0, unix.ENXIO
	}
	if c.fd >= 0 {
		return unix.Seek(c.fd, off, whence)
	}
	for at := off; at < size; at = (at/pageSize + 1) * pageSize {
		i := at / pageSize
		data := i < int64(len(c.pages)) && c.pages[i] != nil
		if data == (whence == unix.SEEK_DATA) {
			return at, nil
		}
	}
	if whence == unix.SEEK_DATA {
		return 0, unix.ENXIO
	}
	return size, nil
}

// blocks is how many pages the file takes.
func (c *contents) blocks() int64 {
	c.mu.RLock()
	mapped := c.mapped
	n := c.charged
	c.mu.RUnlock()
	if !mapped {
		return n
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd >= 0 {
		c.settle()
	}
	return c.charged
}

// open and close count those who have the file open.
func (c *contents) open() {
	c.mu.Lock()
	c.opens++
	c.mu.Unlock()
}

func (c *contents) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.opens--; c.opens > 0 || c.fd < 0 {
		return
	}
	// A mapping keeps its file open, so there is none any more.
	if c.mapped {
		c.settle()
		c.mapped = false
	}
	if scarce() && c.seals == 0 {
		c.moveToHeap()
	}
}

// free gives everything back.
func (c *contents) free() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd >= 0 {
		c.dropMemfd()
	}
	c.cut(0)
	c.size.Store(0)
}
