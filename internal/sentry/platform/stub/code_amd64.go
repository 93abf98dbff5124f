package stub

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The pieces of code_amd64.s, in order. They are never called from Go.
func stubText()
func stubHandler()
func stubEntry()
func stubFetch()
func stubUnfetched()
func stubNoLink()
func stubPost()
func stubWait()
func stubGo()
func stubStore()
func stubDone()
func stubFixup()
func stubNext()
func stubForked()
func stubStart()
func stubExit()
func stubExitEnd()
func stubTextEnd()

// code tells where the pieces that the sentry must know are, as offsets from
// the beginning of the stub's text.
type code struct {
	text           uintptr // address in the sentry
	size           uintptr
	handler, start uintptr
	run, entry     uintptr
}

// symbols returns the addresses of stubText, stubHandler, stubStart, stubGo,
// stubEntry and stubTextEnd in the sentry's own text.
func symbols() (text, handler, start, run, entry, end uintptr)

// findCode locates the stub's code. The linker keeps a file's functions
// together and in order; this is where it is checked.
func findCode() (code, error) {
	text, handler, start, run, entry, end := symbols()
	for _, p := range []uintptr{handler, start, run, entry} {
		if p <= text || p >= end {
			return code{}, fmt.Errorf("the stub's code is not in one piece in this binary (%#x is outside of [%#x, %#x)): it was linked in an unknown way", p, text, end)
		}
	}
	if end-text > fetchOffset {
		return code{}, fmt.Errorf("the stub's code takes %d bytes, more than the %d of its pages that it may", end-text, fetchOffset)
	}
	return code{
		text: text, size: end - text,
		handler: handler - text, start: start - text, run: run - text, entry: entry - text,
	}, nil
}

// copyFor returns the code as it goes into stubs whose slots are at base, with
// the table behind it.
func (c code) copyFor(base uint64, fetches *[fetchCalls]uint64) []byte {
	b := make([]byte, textSize)
	copy(b, unsafe.Slice((*byte)(funcAddr(c.text)), c.size))
	for nr, e := range fetches {
		binary.LittleEndian.PutUint64(b[fetchOffset+8*nr:], e)
	}
	mark := binary.LittleEndian.AppendUint32(nil, baseMark)
	if bytes.Count(b, mark) != 1 {
		panic("stub: the code does not hold its mark once")
	}
	binary.LittleEndian.PutUint32(b[bytes.Index(b, mark):], uint32(base>>baseShift))
	return b
}

// funcAddr makes a pointer of the address of code, which no collector moves.
func funcAddr(a uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&a)) }

// askClockGettime is what clock_gettime is as a function of no more than the
// system call: mov $228, %eax; syscall; ret. Its arguments are where the call
// wants them.
var askClockGettime = []byte{0xb8, unix.SYS_CLOCK_GETTIME, 0, 0, 0, 0x0f, 0x05, 0xc3}
