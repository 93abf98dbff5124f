package platform

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// NoLinkKeeper is implemented by contexts that can answer readlink(2) by themselves where it
// has failed before. realpath(3) asks about each directory on its way whether it is a symbolic
// link, and compilers do so for each header.
type NoLinkKeeper interface {
	// Epoch is a word that the context sees. It is never zero.
	Epoch() *atomic.Uint64
	// KeepNoLink says that readlink(2) of path fails with errno for the context's thread while
	// its buffer has a size, until the epoch is another one. The guest need not ask then; or it
	// does, as always after BeginDebug.
	KeepNoLink(path string, errno unix.Errno, epoch uint64)
	// Kept reports how often it did not ask, since it was last asked about that.
	Kept() uint64
}
