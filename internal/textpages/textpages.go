// Package textpages lets a process that stays give back the pages of its own
// program that only its start took.
//
// The host maps sixteen pages of a program for each that is touched, and at its
// start a Go program touches some of every package that is linked into it. What
// is needed later is mapped again when it is, from the page cache, which costs
// about a microsecond for sixteen pages.
package textpages

import (
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Types of entries in the auxiliary vector (getauxval(3)).
const (
	atPHDR  = 3
	atPHENT = 4
	atPHNUM = 5
)

// Program headers (elf(5)).
const (
	ptLoad = 1
	ptPHDR = 6
	pfW    = 2
)

// programHeader is an Elf64_Phdr.
type programHeader struct {
	kind, flags               uint32
	offset, vaddr, paddr      uint64
	fileSize, memSize, aligns uint64
}

const pageSize = 4096

// startTime is after what time a start is over. What lives shorter is spared the
// pains.
const startTime = 300 * time.Millisecond

// ReleaseLater gives pages back when the start is over, once. What fails is but
// an economy.
func ReleaseLater() { time.AfterFunc(startTime, func() { release() }) }

// release gives back all pages of the program's read-only segments. Who runs
// code or reads constants meanwhile does not notice.
func release() error {
	segments, err := readOnly()
	if err != nil {
		return err
	}
	for _, s := range segments {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, s[0], s[1]-s[0], unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("giving back pages %#x to %#x of the program: %w", s[0], s[1], errno)
		}
	}
	return nil
}

// readOnly finds the segments that can't be written, so that their pages are
// the file's, from and to page boundaries.
func readOnly() (segments [][2]uintptr, err error) {
	aux, err := unix.Auxv()
	if err != nil {
		return nil, fmt.Errorf("reading the auxiliary vector: %w", err)
	}
	values := map[uintptr]uintptr{}
	for _, a := range aux {
		values[a[0]] = a[1]
	}
	at, n := values[atPHDR], values[atPHNUM]
	if at == 0 || n == 0 || values[atPHENT] != unsafe.Sizeof(programHeader{}) {
		return nil, fmt.Errorf("the host says nothing of the program's headers")
	}
	// The headers are in the program's own first page, for as long as it runs.
	headers := unsafe.Slice((*programHeader)(*(*unsafe.Pointer)(unsafe.Pointer(&at))), n)
	var base uintptr
	for _, h := range headers {
		if h.kind == ptPHDR {
			base = at - uintptr(h.vaddr)
		}
	}
	for _, h := range headers {
		if h.kind == ptLoad && h.flags&pfW == 0 {
			from := base + uintptr(h.vaddr)
			to := from + uintptr(h.memSize)
			segments = append(segments, [2]uintptr{from &^ (pageSize - 1), (to + pageSize - 1) &^ (pageSize - 1)})
		}
	}
	return segments, nil
}
