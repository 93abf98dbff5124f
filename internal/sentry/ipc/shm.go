package ipc

import (
	"fmt"
	"sync"

	"coffer/internal/sentry/fs/anon"
	"coffer/internal/sentry/shmem"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

const (
	// MaxSegment is SHMMAX.
	MaxSegment = 1 << 46
	// shmDest in a mode says that the segment goes with its last user.
	shmDest = 0o1000
	// shmHugeTLB is SHM_HUGETLB, a flag of shmget(2).
	shmHugeTLB = 0o4000
	// shmNoReserve is SHM_NORESERVE.
	shmNoReserve = 0o10000
)

// Segments are the shared memory segments of a namespace.
type Segments struct{ registry[*Segment] }

// Segment is one shared memory segment. A memfd holds it.
type Segment struct {
	parent *Segments
	size   uint64
	fd     int
	ino    *anon.Inode
	// reserved is what it takes of the sandbox's account, in bytes.
	reserved int64

	mu                  sync.Mutex
	p                   Perm
	atime, dtime, ctime int64
	cpid, lpid          int32
	// uses are the attachments. Each is a description that mappings refer
	// to, so that fork(2), exec and exit count without knowing of segments.
	uses map[*vfs.FileDescription]struct{}
	gone bool
}

func (s *Segment) perm() *Perm { return &s.p }

func (s *Segment) allow(a Actor, want uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.p.check(a, want)
}

// Get is shmget(2).
func (r *Segments) Get(a Actor, key int32, size uint64, flags uint32) (int32, error) {
	return r.get(a, key, flags, func(s *Segment) error {
		if size > s.size {
			return unix.EINVAL
		}
		return nil
	}, func() (*Segment, error) {
		if size == 0 || size > MaxSegment {
			return nil, unix.EINVAL
		}
		if flags&shmHugeTLB != 0 {
			return nil, unix.ENOMEM // no huge pages are set aside
		}
		fd, reserved, err := newSegmentMemory(int64((size+4095)&^4095), flags&shmNoReserve == 0)
		if err != nil {
			return nil, err
		}
		ino := anon.New(fmt.Sprintf("/SYSV%08x", uint32(key)), unix.S_IFREG|0o777, anon.AnonDev, a.Creds)
		return &Segment{parent: r, size: size, fd: fd, ino: ino, reserved: reserved, p: newPerm(a, key, flags), cpid: a.PID,
			ctime: now(), uses: map[*vfs.FileDescription]struct{}{}}, nil
	})
}

// newSegmentMemory makes a memfd of so many bytes and, as Linux does without
// SHM_NORESERVE, reserves all of them. ENOMEM if the sandbox may not have as
// much; ENOSPC if the host has no descriptor left.
func newSegmentMemory(size int64, reserve bool) (fd int, reserved int64, err error) {
	if reserve {
		if !shmem.Sandbox.Charge(size) {
			return -1, 0, unix.ENOMEM
		}
		reserved = size
	}
	if fd, err = unix.MemfdCreate("coffer-sysv", unix.MFD_CLOEXEC); err != nil {
		shmem.Sandbox.Uncharge(reserved)
		return -1, 0, unix.ENOSPC
	}
	if err := unix.Ftruncate(fd, size); err != nil {
		unix.Close(fd)
		shmem.Sandbox.Uncharge(reserved)
		return -1, 0, unix.ENOMEM
	}
	return fd, reserved, nil
}

// Find returns the segment with an ID.
func (r *Segments) Find(id int32) (*Segment, error) { return r.find(id) }

// ByIndex returns the segment with an index, for SHM_STAT, and its ID.
func (r *Segments) ByIndex(i int32) (*Segment, int32, error) { return r.byIndex(i) }

// Usage returns the number of segments and of the pages in them, and the
// highest index.
func (r *Segments) Usage() (segments int, pages uint64, highest int32) {
	r.mu.Lock()
	for _, s := range r.slots {
		if s != nil {
			pages += (s.size + 4095) / 4096
		}
	}
	r.mu.Unlock()
	segments, highest = r.usage()
	return segments, pages, highest
}

// Size is the segment's size in bytes, as it was asked for.
func (s *Segment) Size() uint64 { return s.size }

// Attach returns a description to map, with one reference. EACCES; EIDRM if
// the segment is gone.
func (s *Segment) Attach(a Actor, readOnly, exec bool) (*vfs.FileDescription, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return nil, unix.EIDRM
	}
	want, flags := uint32(Read|Write), uint32(unix.O_RDWR)
	if readOnly {
		want, flags = Read, unix.O_RDONLY
	}
	if exec {
		want |= 0o111
	}
	if err := s.p.check(a, want); err != nil {
		return nil, err
	}
	f := &attachment{seg: s}
	f.desc = vfs.NewDescription(f, s.ino, vfs.Path{}, flags)
	s.uses[f.desc] = struct{}{}
	s.lpid, s.atime = a.PID, now()
	return f.desc, nil
}

// Detached records a shmdt(2).
func (s *Segment) Detached(a Actor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lpid, s.dtime = a.PID, now()
}

// attachment is the file that mappings of a segment map.
type attachment struct {
	vfs.NoFile
	seg  *Segment
	desc *vfs.FileDescription
}

// SegmentOf returns the segment that a mapped description is of, or nil.
func SegmentOf(d *vfs.FileDescription) *Segment {
	if d == nil {
		return nil
	}
	if f, ok := d.File.(*attachment); ok {
		return f.seg
	}
	return nil
}

// MapFD implements vfs.File.
func (f *attachment) MapFD() (int, error) { return f.seg.fd, nil }

// Release implements vfs.File: the last user of a removed segment ends it.
func (f *attachment) Release() {
	s := f.seg
	s.mu.Lock()
	delete(s.uses, f.desc)
	s.dtime = now()
	s.mu.Unlock()
	s.endIfUnused()
}

// endIfUnused frees a segment that has been removed and has no user.
func (s *Segment) endIfUnused() {
	s.mu.Lock()
	end := s.p.Mode&shmDest != 0 && len(s.uses) == 0 && !s.gone
	s.gone = s.gone || end
	s.mu.Unlock()
	if end {
		s.parent.remove(s)
		unix.Close(s.fd)
		shmem.Sandbox.Uncharge(s.reserved)
	}
}

// Remove is IPC_RMID: the segment has no key any more, and goes when nobody
// has it attached.
func (s *Segment) Remove(a Actor) error {
	s.mu.Lock()
	if err := s.p.mayControl(a); err != nil {
		s.mu.Unlock()
		return err
	}
	s.p.Mode |= shmDest
	s.mu.Unlock()
	s.parent.hide(s)
	s.endIfUnused()
	return nil
}

// Set is IPC_SET.
func (s *Segment) Set(a Actor, p Perm) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.p.mayControl(a); err != nil {
		return err
	}
	if err := s.p.change(p); err != nil {
		return err
	}
	s.ctime = now()
	return nil
}

// MayControl says EPERM unless a owns the segment, for SHM_LOCK.
func (s *Segment) MayControl(a Actor) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.p.mayControl(a)
}

// ShmidSize is sizeof(struct shmid64_ds).
const ShmidSize = 112

// Stat is IPC_STAT: struct shmid64_ds. anyone leaves the permission out.
func (s *Segment) Stat(a Actor, anyone bool) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.p.check(a, Read); err != nil && !anyone {
		return nil, err
	}
	attached := int64(0)
	for d := range s.uses {
		attached += d.RefCount()
	}
	b := make([]byte, ShmidSize)
	p := s.p
	if p.Mode&shmDest != 0 {
		p.Key = Private
	}
	p.Encode(a, b)
	le.PutUint64(b[48:], s.size)
	le.PutUint64(b[56:], uint64(s.atime))
	le.PutUint64(b[64:], uint64(s.dtime))
	le.PutUint64(b[72:], uint64(s.ctime))
	le.PutUint32(b[80:], uint32(s.cpid))
	le.PutUint32(b[84:], uint32(s.lpid))
	le.PutUint64(b[88:], uint64(attached))
	return b, nil
}
