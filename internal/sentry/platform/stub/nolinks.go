package stub

import (
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The stub answers a readlink(2) that failed the last time by itself, in stubNoLink, if
// nothing has changed since that paths depend on: it finds the path in its thread's table,
// with the epoch that holds. The word with the epoch lies behind the gates, where guests can
// read it but not write; what a guest writes to its table it is told itself.
//
// A thread has a table once it has asked about some paths in vain.

const (
	noLinkTables  = 4 // a process's: they take memory
	noLinkEntries = 1 << 8
	noLinkSize    = noLinkEntries << noLinkShift
	noLinkShift   = 7 // of an entry's size
	noLinkPath    = 112
	noLinksOffset = stagingOffset - noLinkTables*noLinkSize
	// noLinkAfter is how many failures are worth a table.
	noLinkAfter = 8
	// epochOffset is where the epoch is, from the stub's text on.
	epochOffset = textSize + 4*gatesMax
	// hashBasis and hashPrime are FNV-1a's; hashMix has all bits have a say in the first ones.
	hashBasis = 2166136261
	hashPrime = 16777619
	hashMix   = 0x2c1b3c6d
)

// noLink is an entry: what readlink(2) of path, which ends with a NUL, says in epoch.
type noLink struct {
	epoch  uint64
	result int64
	path   [noLinkPath]byte
}

const (
	_ = uint(1<<noLinkShift - unsafe.Sizeof(noLink{}))
	_ = uint(unsafe.Sizeof(noLink{}) - 1<<noLinkShift)
)

// noLinks is a thread's table, if it has one, in the sentry.
type noLinks struct {
	table *[noLinkEntries]noLink
	// number is the table's from 1 on.
	number int
	// failures counts those before the thread has a table.
	failures uint8
}

// Epoch implements platform.NoLinkKeeper.
func (t *Thread) Epoch() *atomic.Uint64 { return t.proc.stubs.gates.epoch() }

// KeepNoLink implements platform.NoLinkKeeper.
func (t *Thread) KeepNoLink(path string, errno unix.Errno, epoch uint64) {
	if len(path) >= noLinkPath {
		return
	}
	n := &t.noLinks
	if n.table == nil {
		if n.failures++; n.failures < noLinkAfter || !t.takeNoLinks() {
			return
		}
	}
	e := &n.table[hashPath(path)]
	e.epoch, e.result = epoch, -int64(errno)
	e.path[copy(e.path[:], path)] = 0
}

// hashPath is the number of a path's entry, as stubNoLink finds it.
func hashPath(path string) uint32 {
	h := uint32(hashBasis)
	for i := range len(path) {
		h = (h ^ uint32(path[i])) * hashPrime
	}
	return (h ^ h>>15) * hashMix >> (32 - 8)
}

// takeNoLinks gets the thread a table, if there is one, with nothing in it. If there is none
// it asks again after as many failures.
func (t *Thread) takeNoLinks() bool {
	p := t.proc
	p.mu.Lock()
	defer p.mu.Unlock()
	t.noLinks.failures = 0
	for i := range p.noLinked {
		if p.noLinked[i] || p.mem == 0 {
			continue
		}
		p.noLinked[i], p.noLinks = true, true
		offset := uintptr(noLinksOffset + i*noLinkSize)
		t.noLinks = noLinks{table: (*[noLinkEntries]noLink)(p.at(0, offset)), number: i + 1}
		for j := range t.noLinks.table {
			t.noLinks.table[j].epoch = 0
		}
		t.page.kept = 0
		t.page.noLinks = p.stubs.base + uint64(offset)
		return true
	}
	return false
}

// giveNoLinks gives it back. The thread runs no guest code.
func (t *Thread) giveNoLinks() {
	n := t.noLinks.number
	if n == 0 {
		return
	}
	p := t.proc
	p.mu.Lock()
	defer p.mu.Unlock()
	t.noLinks = noLinks{}
	p.noLinked[n-1] = false
	if p.mem != 0 {
		t.page.noLinks = 0
	}
}

// scrubNoLinks clears all tables. Process.mu is held.
func (p *Process) scrubNoLinks() {
	if p.noLinks {
		p.noLinks = false
		syscall.Syscall(syscall.SYS_MADVISE, uintptr(p.at(0, noLinksOffset)), noLinkTables*noLinkSize, unix.MADV_REMOVE)
	}
}

// Kept implements platform.NoLinkKeeper. It is the guest's word.
func (t *Thread) Kept() uint64 {
	if t.noLinks.table == nil {
		return 0
	}
	n := t.page.kept
	t.page.kept = 0
	return uint64(n)
}
