package vfs

import (
	"math"

	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// File is what a file system gives for one open(2): the behaviour behind an
// open file description. Methods never wait; what cannot go on is EAGAIN,
// whether or not O_NONBLOCK is set, and readiness tells when to try again.
//
// NoFile implements every method with the error that Linux gives for a file
// that cannot do it; Files embed it.
type File interface {
	waiter.Waitable

	// Read fills p from offset off; streams ignore off. 0 is end of file.
	Read(c Caller, p []byte, off int64) (int, error)
	// Write writes p at off; streams ignore off. With flags&unix.O_APPEND it
	// writes at the end, atomically. end is the offset after what was written.
	Write(c Caller, p []byte, off int64, flags uint32) (n int, end int64, err error)
	// Seek works out a new offset from lseek(2)'s arguments and the present
	// one. ESPIPE if the file has no offset.
	Seek(whence int, off, present int64) (int64, error)
	// Readdir calls emit with entries from offset off on, "." and ".." first,
	// until emit returns false or there are none left. Offsets are the Next
	// of the entry before, and 0 at the start.
	Readdir(c Caller, off int64, emit func(DirEntry) bool) error
	// Ioctl answers ioctl(2).
	Ioctl(c Caller, cmd uint32, arg uint64) (uintptr, error)
	// Fsync writes back what is dirty.
	Fsync(dataOnly bool) error
	// Fallocate is as fallocate(2).
	Fallocate(mode uint32, off, length int64) error
	// MapFD returns the host descriptor whose bytes are this file's, at the
	// same offsets, for mmap(2); the caller must not close it, and it lives
	// as long as the File. ENODEV if the file cannot be mapped.
	MapFD() (int, error)
	// Flush is called at each close(2) of a descriptor for the file.
	Flush(c Caller) error
	// Release is called when the last reference to the description is gone.
	Release()
}

// DescriptionSetter is implemented by a File that must know its description,
// for instance to read its flags. It is called once, before first use.
type DescriptionSetter interface {
	SetDescription(*FileDescription)
}

// MessageWriter is implemented by a File that takes each write as one message: nothing is written of one that the
// guest's memory has only the beginning of.
type MessageWriter interface {
	WritesMessages()
}

// AnyOffset is implemented by a File that has no offset to seek to, but is read and written at any as at none.
type AnyOffset interface {
	TakesAnyOffset()
}

// NoFile is the file that can do nothing.
type NoFile struct{}

func (NoFile) Read(Caller, []byte, int64) (int, error) { return 0, unix.EINVAL }
func (NoFile) Write(Caller, []byte, int64, uint32) (int, int64, error) {
	return 0, 0, unix.EINVAL
}
func (NoFile) Seek(int, int64, int64) (int64, error)            { return 0, unix.ESPIPE }
func (NoFile) Readdir(Caller, int64, func(DirEntry) bool) error { return unix.ENOTDIR }
func (NoFile) Ioctl(Caller, uint32, uint64) (uintptr, error)    { return 0, unix.ENOTTY }
func (NoFile) Fsync(bool) error                                 { return unix.EINVAL }
func (NoFile) Fallocate(uint32, int64, int64) error             { return unix.ENODEV }
func (NoFile) MapFD() (int, error)                              { return -1, unix.ENODEV }
func (NoFile) Flush(Caller) error                               { return nil }
func (NoFile) Release()                                         {}
func (NoFile) Readiness(m waiter.Mask) waiter.Mask              { return m & (waiter.Readable | waiter.Writable) }
func (NoFile) Register(*waiter.Entry)                           {}
func (NoFile) Unregister(*waiter.Entry)                         {}

// DirFile is embedded by a File that is an open directory: it can be listed
// and sought in, and neither read nor written.
type DirFile struct{ NoFile }

// Read implements File.
func (DirFile) Read(Caller, []byte, int64) (int, error) { return 0, unix.EISDIR }

// Write implements File.
func (DirFile) Write(Caller, []byte, int64, uint32) (int, int64, error) { return 0, 0, unix.EBADF }

// Seek implements File. An offset is what Readdir gave for it, and its to judge.
func (DirFile) Seek(whence int, off, present int64) (int64, error) {
	return SeekStream(whence, off, present)
}

// Fsync implements File: there is nothing to write back.
func (DirFile) Fsync(bool) error { return nil }

// SeekSized is lseek(2) for a file of size bytes without a hole, whose offsets end with last. Where that is
// no limit (Linux's default_llseek), an offset below 0 is none behind the file's end.
func SeekSized(whence int, off, present, size, last int64) (int64, error) {
	switch whence {
	case unix.SEEK_END:
		whence, present = unix.SEEK_CUR, size
	case unix.SEEK_DATA, unix.SEEK_HOLE:
		if off < 0 && last < math.MaxInt64 || off >= size {
			return 0, unix.ENXIO
		}
		if whence == unix.SEEK_HOLE {
			return size, nil
		}
		whence = unix.SEEK_SET
	}
	to, err := SeekStream(whence, off, present)
	if err == nil && to > last {
		return 0, unix.EINVAL
	}
	return to, err
}

// SeekStream is lseek(2) for a file whose size is not known: SEEK_END and
// what lies before 0 is EINVAL.
func SeekStream(whence int, off, present int64) (int64, error) {
	switch whence {
	case unix.SEEK_SET:
	case unix.SEEK_CUR:
		off += present // which is less than 0 if it is too much
	default:
		return 0, unix.EINVAL
	}
	if off < 0 {
		return 0, unix.EINVAL
	}
	return off, nil
}
