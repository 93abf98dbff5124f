package devfs

import (
	"crypto/rand"
	"encoding/binary"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// endless is what the memory devices share: an offset that is always 0, and
// being always ready.
type endless struct{ vfs.NoFile }

func (endless) Seek(int, int64, int64) (int64, error) { return 0, nil }

// null is /dev/null: empty, and takes everything.
type null struct{ endless }

func (null) Read(vfs.Caller, []byte, int64) (int, error) { return 0, nil }
func (null) Write(_ vfs.Caller, p []byte, _ int64, _ uint32) (int, int64, error) {
	return len(p), 0, nil
}

// DiscardsWrites implements vfs.Discarder: what is written need not even be
// read from the program's memory.
func (null) DiscardsWrites() bool { return true }

// zero is /dev/zero.
type zero struct{ null }

func (zero) Read(_ vfs.Caller, p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

// MapsAnonymous implements vfs.AnonymousMapper: mapping /dev/zero is how
// programs got anonymous memory before MAP_ANONYMOUS.
func (zero) MapsAnonymous() bool { return true }

// full is /dev/full: a disk that is always full.
type full struct{ endless }

func (full) Read(_ vfs.Caller, p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

func (full) Write(_ vfs.Caller, p []byte, _ int64, _ uint32) (int, int64, error) {
	return 0, 0, unix.ENOSPC
}

// Commands of random(4) and the number of bits that its pool always has.
const (
	rndGetEntCnt   = 0x80045200
	rndAddToEntCnt = 0x40045201
	rndAddEntropy  = 0x40085203
	rndZapEntCnt   = 0x5204
	rndClearPool   = 0x5206
	rndReseedCrng  = 0x5207
	entropyBits    = 256
)

// random is /dev/random and /dev/urandom, which are the same once a system
// has booted.
type random struct{ endless }

func (random) Read(_ vfs.Caller, p []byte, _ int64) (int, error) {
	rand.Read(p) // never fails
	return len(p), nil
}

// Write mixes nothing in: the generator is the host's.
func (random) Write(_ vfs.Caller, p []byte, _ int64, _ uint32) (int, int64, error) {
	return len(p), 0, nil
}

func (random) Ioctl(c vfs.Caller, cmd uint32, arg uint64) (uintptr, error) {
	switch cmd {
	case rndGetEntCnt:
		var b [4]byte
		binary.LittleEndian.PutUint32(b[:], entropyBits)
		_, err := c.CopyOut(arg, b[:])
		return 0, err
	case rndAddToEntCnt, rndAddEntropy, rndZapEntCnt, rndClearPool, rndReseedCrng:
		if !c.Credentials().Can(unix.CAP_SYS_ADMIN) {
			return 0, unix.EPERM
		}
		return 0, nil
	}
	return 0, unix.EINVAL
}
