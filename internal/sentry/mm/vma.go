package mm

import (
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// vmaFlags are properties of a mapping beside its protection.
type vmaFlags uint16

const (
	flagShared     vmaFlags = 1 << iota // MAP_SHARED
	flagGrowsDown                       // MAP_GROWSDOWN, and the main stack
	flagLocked                          // mlock(2)
	flagLockFault                       // MLOCK_ONFAULT
	flagDontFork                        // MADV_DONTFORK
	flagWipeOnFork                      // MADV_WIPEONFORK
	flagDontDump                        // MADV_DONTDUMP
	flagNoReserve                       // MAP_NORESERVE
	flagSpecial                         // [vvar], [vdso]: the platform's, shown to the guest
	flagHidden                          // the platform's, not shown
	flagSealed                          // mseal(2)
	flagText                            // the platform may have mapped an image of the file (platform.TextMapper)
)

// vma is one mapping: a range of pages with the same properties. Ranges are
// page-aligned and do not overlap. It is a node of a vmaSet.
type vma struct {
	start, end uint64
	// prot and maxProt are unix.PROT_* bits; maxProt is what mprotect(2) may
	// give (a shared mapping of a file opened read-only never becomes
	// writable).
	prot, maxProt int32
	flags         vmaFlags
	// file is a mapped file, with a reference, or nil. shm is shared memory
	// without a file. offset is where start lies in them.
	file   *vfs.FileDescription
	shm    *sharedMemory
	offset uint64
	// name is shown in /proc/PID/maps for what has no file.
	name string

	node
}

// anonymous reports whether the mapping has neither file nor shared memory.
func (v *vma) anonymous() bool { return v.file == nil && v.shm == nil }

// isStack reports whether the mapping counts as stack.
func (v *vma) isStack() bool { return v.flags&flagGrowsDown != 0 }

// isData reports whether the mapping counts against RLIMIT_DATA: private,
// writable, and not a stack.
func (v *vma) isData() bool {
	return v.prot&unix.PROT_WRITE != 0 && v.flags&(flagShared|flagGrowsDown) == 0
}

// platforms reports whether the mapping belongs to the platform.
func (v *vma) platforms() bool { return v.flags&(flagSpecial|flagHidden) != 0 }

// like reports whether two mappings have the same properties.
func (v *vma) like(w *vma) bool {
	return v.prot == w.prot && v.maxProt == w.maxProt && v.flags == w.flags &&
		v.file == w.file && v.shm == w.shm && v.name == w.name
}

// continues reports whether w could be the rest of v.
func (v *vma) continues(w *vma) bool {
	return v.end == w.start && v.like(w) && !v.platforms() &&
		(v.anonymous() || v.offset+(v.end-v.start) == w.offset)
}

// ref takes another reference to what is mapped, for a copy of the vma.
func (v *vma) ref() {
	if v.file != nil {
		v.file.IncRef()
	}
	v.shm.incRef()
}

// clone returns a copy that is in no set, with references of its own.
func (v *vma) clone() *vma {
	c := *v
	c.node = node{}
	c.ref()
	return &c
}
