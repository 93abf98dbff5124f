package syscalls

import (
	"encoding/binary"
	"math"
	"time"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// What select(2) calls readable, writable and exceptional, as its manual page
// says. POLLRDBAND and POLLWRBAND are 0x80 and 0x200.
const (
	selectIn  = waiter.Readable | 0x80 | waiter.Hup | waiter.Err
	selectOut = waiter.Writable | 0x200 | waiter.Err
	selectEx  = waiter.Pri
)

// sysSelect is select(2); as the system call it updates the time-out.
func sysSelect(t *kernel.Task, a kernel.Args) (uintptr, error) {
	var deadline time.Time
	once := false
	if a[4] != 0 {
		sec, usec, err := t.CopyInTime(a[4])
		if err != nil {
			return 0, err
		}
		// Unlike elsewhere more than a million microseconds are allowed.
		d, err := toDuration(sec+usec/1e6, usec%1e6*1000)
		if err != nil {
			return 0, err
		}
		deadline, once = fromNow(d), d == 0
	}
	n, err := selectFiles(t, a, deadline, once)
	if a[4] != 0 && !deadline.IsZero() {
		l := left(deadline)
		tellTimeLeft(t, a[4], int64(l/time.Second), int64(l%time.Second/time.Microsecond))
	}
	return n, err
}

// sysPselect6 is pselect(2)'s system call, whose sixth argument points to the
// mask's address and size.
func sysPselect6(t *kernel.Task, a kernel.Args) (uintptr, error) {
	var deadline time.Time
	once := false
	if a[4] != 0 {
		d, err := copyInTimespec(t, a[4])
		if err != nil {
			return 0, err
		}
		deadline, once = fromNow(d), d == 0
	}
	if a[5] != 0 {
		var arg [16]byte
		if _, err := t.CopyIn(a[5], arg[:]); err != nil {
			return 0, err
		}
		mask, size := binary.LittleEndian.Uint64(arg[:]), binary.LittleEndian.Uint64(arg[8:])
		if err := pushMask(t, mask, size); err != nil {
			return 0, err
		}
	}
	n, err := selectFiles(t, a, deadline, once)
	t.PopMask(err == abi.ERESTARTNOHAND)
	if a[4] != 0 && !deadline.IsZero() {
		l := left(deadline)
		tellTimeLeft(t, a[4], int64(l/time.Second), int64(l%time.Second))
	}
	return n, err
}

// tellTimeLeft writes the time that was left, if the guest's structure can be written: it is
// no error if not.
func tellTimeLeft(t *kernel.Task, addr uint64, sec, fraction int64) {
	if t.MM().CheckRange(addr, 16, true) != nil {
		return
	}
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, 16), uint64(sec))
	_ = t.CopyOutLate(addr, binary.LittleEndian.AppendUint64(b, uint64(fraction)))
}

// selectFiles answers select(2) for the sets at a[1], a[2] and a[3].
// ERESTARTNOHAND if a signal came.
func selectFiles(t *kernel.Task, a kernel.Args, deadline time.Time, once bool) (uintptr, error) {
	n := int(a.Int(0))
	if n < 0 {
		return 0, unix.EINVAL
	}
	// Linux looks at no more bits than the descriptor table has room for.
	n = min(n, int(min(t.Limit(unix.RLIMIT_NOFILE), maxPolled)))
	words := (n + 63) / 64
	p := newPolling(0)
	defer p.release()
	raw := p.raw(3*words*8 + setsSpan)
	clear(raw)
	var sets [3][]byte
	for i := range sets {
		sets[i] = raw[i*words*8 : (i+1)*words*8]
	}
	if err := copyInSets(t, a[1:4], sets, raw[3*words*8:]); err != nil {
		return 0, err
	}
	if err := addSelected(t, p, sets, n); err != nil {
		return 0, err
	}
	_, err := p.wait(t, deadline, once)
	if err == abi.ERESTARTSYS {
		err = abi.ERESTARTNOHAND
	}
	if err != nil {
		return 0, err
	}
	total := reportSelected(p, sets, n)
	for i := range sets {
		if a[1+i] == 0 {
			continue
		}
		if err := t.CopyOutLate(a[1+i], sets[i]); err != nil {
			return 0, err
		}
	}
	return uintptr(total), nil
}

// setsSpan is within how many bytes sets are read at once: they mostly lie next to each
// other, and each read on its own is a call to the host.
const setsSpan = 1024

// copyInSets reads the sets whose addresses are not 0. span has room for what lies between.
func copyInSets(t *kernel.Task, addrs []uint64, sets [3][]byte, span []byte) error {
	first, end := uint64(math.MaxUint64), uint64(0)
	for i, addr := range addrs {
		if addr != 0 && addr < userEnd {
			first, end = min(first, addr), max(end, addr+uint64(len(sets[i])))
		}
	}
	together := false
	if first < end && end-first <= setsSpan && !cameAlong(t, addrs, sets) {
		// What is between them need not be there.
		_, err := t.CopyIn(first, span[:end-first])
		together = err == nil
	}
	for i, addr := range addrs {
		switch {
		case addr == 0:
		case together && addr < userEnd:
			copy(sets[i], span[addr-first:])
		default:
			if _, err := t.CopyIn(addr, sets[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// cameAlong reports whether all sets came along with the call.
func cameAlong(t *kernel.Task, addrs []uint64, sets [3][]byte) bool {
	for i, addr := range addrs {
		if addr != 0 && !t.CameAlong(addr, len(sets[i])) {
			return false
		}
	}
	return true
}

func hasBit(set []byte, i int) bool { return set[i/8]>>(i%8)&1 != 0 }

// addSelected adds the descriptors below n that are in any of the sets. EBADF
// if one is not open.
func addSelected(t *kernel.Task, p *polling, sets [3][]byte, n int) error {
	for fd := range n {
		if fd%8 == 0 && sets[0][fd/8]|sets[1][fd/8]|sets[2][fd/8] == 0 {
			continue
		}
		var want waiter.Mask
		for i, m := range [3]waiter.Mask{selectIn, selectOut, selectEx} {
			if hasBit(sets[i], fd) {
				want |= m
			}
		}
		if want == 0 {
			continue
		}
		p.add(t, int32(fd), uint32(want))
		last := &p.polled[len(p.polled)-1]
		if last.got == waiter.Nval {
			return unix.EBADF
		}
		// select does not report what it was not asked for.
		last.want = want
	}
	return nil
}

// reportSelected leaves in the sets the bits of what is ready, and counts
// them.
func reportSelected(p *polling, sets [3][]byte, n int) int {
	total, next := 0, 0
	for fd := range n {
		var in [3]bool
		any := false
		for i := range sets {
			in[i] = hasBit(sets[i], fd)
			any = any || in[i]
		}
		if !any {
			continue
		}
		got := p.polled[next].got
		next++
		for i, m := range [3]waiter.Mask{selectIn, selectOut, selectEx} {
			switch {
			case !in[i]:
			case got&m != 0:
				total++
			default:
				sets[i][fd/8] &^= 1 << (fd % 8)
			}
		}
	}
	// Bits above n in the last words were never looked at.
	for i := range sets {
		for fd := n; fd < len(sets[i])*8; fd++ {
			sets[i][fd/8] &^= 1 << (fd % 8)
		}
	}
	return total
}
